"""What chapter 5's experiments measure with, against independent truths."""

import numpy as np
import pytest

from jaxml.course.chapter_05 import exposure, stresses, toy


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
    read, sums = exposure._sums(np.random.default_rng(0), 5, 7, 0.0)
    np.testing.assert_array_equal(sums, read.cumsum(1) % exposure.BASE + 1)
    read, sums = exposure._sums(np.random.default_rng(0), 20_000, 2, 0.5)
    shares = (read[:, 0] + 1 == sums[:, 0]).mean()
    assert shares == pytest.approx(exposure.forced_accuracy(0.5), abs=0.015)


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
