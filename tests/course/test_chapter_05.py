"""What chapter 5's experiments measure with, against independent truths."""

import ast
import itertools

import jax
import numpy as np
import pytest

from jaxml.core.seeds import key
from jaxml.course.chapter_05 import exact, exposure, scheduled, stresses, toy, verses
from jaxml.sequence import tokens
from jaxml.sequence.scheduled_sampling import mixed


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_free_accuracy_is_that_of_the_chain(rate):
    """Right to right if nothing is misread or a misread digit is the right one by chance."""
    right = 1.0
    for step in range(1, 30):
        hit = rate / exposure.BASE
        right = right * (1 - rate + hit) + (1 - right) * hit
        assert exposure.free_accuracy(rate, step) == pytest.approx(right, abs=1e-12)
    assert exposure.free_accuracy(rate, 1) == pytest.approx(exposure.forced_accuracy(rate))


def test_sums_are_of_the_digits_that_are_not_misread():
    read, sums = exposure.running_sums(np.random.default_rng(0), 5, 7, 0.0)
    np.testing.assert_array_equal(sums, read.cumsum(1) % exposure.BASE + 1)
    read, sums = exposure.running_sums(np.random.default_rng(0), 20_000, 2, 0.5)
    shares = (read[:, 0] + 1 == sums[:, 0]).mean()
    assert shares == pytest.approx(exposure.forced_accuracy(0.5), abs=0.015)


@pytest.mark.parametrize("right", [False, True])
def test_the_best_possible_is_that_of_all_paths(right):
    """Of ten misread digits and glimpses: the sum over all thousand paths of three sums."""
    data = scheduled._glimpsed(np.random.default_rng(0), 10, 3)
    found = scheduled.likeliest(data, right=right)
    digit, glimpse = scheduled.MISREAD / 10, scheduled.BLURRED / 10
    for row in range(10):
        chances = np.zeros((3, 10))
        for t in range(3):
            for path in itertools.product(range(10), repeat=t + 1):
                before = [0, *path[:-1]]
                if right and t and path[t - 1] != data["y"][row, t - 1] - 1:
                    continue
                chance = 1.0
                for (read, seen), a, b in zip(data["x"][row], before, path, strict=False):
                    chance *= digit + (1 - scheduled.MISREAD) * ((b - a) % 10 == read)
                    chance *= glimpse + (1 - scheduled.BLURRED) * (b == seen)
                chances[t, path[-1]] += chance
        np.testing.assert_array_equal(found[row], chances.argmax(1) + 1)


@pytest.mark.slow
def test_its_own_sums_are_those_of_passes_over_all():
    data = scheduled._glimpsed(np.random.default_rng(0), 10, 3)
    params, _ = jax.jit(scheduled.NETWORK.init)(key(0))
    # what decoding does not write is never likeliest
    bias = np.where(np.isin(np.arange(exposure.VOCABULARY), (0, exposure.END)), -9.0, 0)
    params["output"]["bias"] = np.float32(bias)
    options = {"begin": exposure.BEGIN, "own": "likeliest", "passes": 2}
    mix = jax.jit(lambda params: mixed(scheduled.NETWORK, params, data, 1.0, key(0), **options))
    found = mix(params)
    np.testing.assert_array_equal(scheduled._free(params, data)[:, :2], found[:, 1:])


def test_a_table_gives_the_sequences_their_probabilities():
    table = np.exp(toy.table_of(toy.SEQUENCES, toy.VOCABULARY).astype(float))
    table /= table.sum(1, keepdims=True)
    for sequence, known in toy.SEQUENCES.items():
        rows = [toy.node(sequence[:i], toy.VOCABULARY) for i in range(len(sequence))]
        assert np.prod(table[rows, sequence]) == pytest.approx(known, rel=1e-6)


def words(*of):
    """Rows of words: of each phoneme (a consonant is 9, without stress) and its stress."""
    size = max(map(len, of))
    x, y, mask = np.zeros((3, len(of), size), int)
    for i, word in enumerate(of):
        for j, (phoneme, level) in enumerate(word):
            x[i, j], y[i, j], mask[i, j] = phoneme, level or 0, level is not None
    return {"x": x, "y": y, "mask": mask.astype(bool)}


def test_stress_by_two_rules_by_hand():
    consonant = (9, None)
    train = words(
        [(1, 0), (2, 1)], [(1, 0), consonant, (2, 1)], [(1, 1), (2, 0)], [(1, 2), consonant]
    )
    rows = words(
        [consonant, (1, 0), (2, 1)],  # as two of three in training
        [(1, 1)],  # alone, which was 2
        [(2, 1), (2, 0)],  # the first was never seen there, the second was
        [consonant, (3, 1), consonant, (3, 0), (3, 2)],  # never seen
    )
    first, table = stresses.first_vowel(rows), stresses.by_table(train, rows)
    assert first.tolist() == [[0, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert table.tolist() == [[0, 0, 1, 0, 0], [2, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert stresses.scores(first, rows) == {"vowels": 5 / 8, "words": 2 / 4}
    assert stresses.scores(table, rows) == {"vowels": 5 / 8, "words": 1 / 4}


def test_links_are_missed_as_counted_by_hand():
    """The first word has moved to the end, and the last two to the front."""
    links = [[[0, 3, 10, 13], [4, 7, 6, 9], [8, 14, 0, 5]]]
    pair = verses.Verses(["uno dos y tres"], ["three two one"], links)
    letters = tokens.characters([*pair.sources, *pair.targets])
    assert verses.in_tokens(letters, pair) == links
    # "th" is one token, and so is the blank with the "o" of "one"
    pairs = tokens.Tokenizer(None, (("t", "h"), ("Ġ", "o")))
    assert verses.in_tokens(pairs, pair) == [[[0, 3, 8, 11], [4, 7, 5, 8], [8, 14, 0, 4]]]
    diagonal = verses.diagonal(letters, pair)
    assert diagonal[0].shape == (13, 14)
    assert verses.missed(links, diagonal) == 1
    same = verses.Verses(["a b"], ["a b"], [[[0, 1, 0, 1], [2, 3, 2, 3]]])
    assert verses.missed(same.links, verses.diagonal(letters, same)) == 0
    right = np.zeros((1, 20, 20))  # maps are padded
    for start, stop, begin, end in links[0]:
        right[0, begin:end, start:stop] = 1
    assert verses.missed(links, right) == 0
    right[0, 6, 7] = 4  # "t" looks at the blank behind "dos", and most of all
    assert verses.missed(links, right) == pytest.approx(1 / 3)


def by_python(node):
    """Operators behind what they apply to, by Python's own grammar."""
    if isinstance(node, ast.Name):
        return node.id
    operators = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
    return by_python(node.left) + by_python(node.right) + operators[type(node.op)]


def test_formulas_are_parsed_as_python_does():
    random = np.random.default_rng(0)
    drawn = [exact.formula(random, *between) for between in ((3, 10), (11, 20)) for _ in range(300)]
    sizes = [len(text) for text in drawn]
    assert (min(sizes[:300]), max(sizes[:300])) == (3, 9)
    assert min(sizes[300:]) == 11
    assert max(sizes) == 19
    assert sum("(" in text for text in drawn) > 200
    for text in drawn:
        assert exact.postfix(text) == by_python(ast.parse(text, mode="eval").body)
        # each bracket is needed
        for start, symbol in enumerate(text):
            if symbol == "(":
                depth = np.cumsum([(s == "(") - (s == ")") for s in text[start:]])
                stop = start + int(np.flatnonzero(depth == 0)[0])
                without = text[:start] + text[start + 1 : stop] + text[stop + 1 :]
                assert exact.postfix(without) != exact.postfix(text)
