"""Errors of sequences against sacrebleu, jiwer and what can be counted by hand."""

import jax
import jax.numpy as jnp
import jiwer
import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxml.sequence import metrics

WORDS = st.lists(st.integers(0, 3), max_size=8)


def padded(sequences, size=8):
    array = np.zeros((len(sequences), size), np.int32)
    for row, sequence in zip(array, sequences, strict=True):
        row[: len(sequence)] = sequence
    return array, np.array([len(s) for s in sequences], np.int32)


def by_recursion(first, second):
    """The edit distance by its definition."""
    if not first or not second:
        return len(first) + len(second)
    same = by_recursion(first[:-1], second[:-1]) + (first[-1] != second[-1])
    return min(same, 1 + by_recursion(first[:-1], second), 1 + by_recursion(first, second[:-1]))


@given(st.lists(st.tuples(WORDS.filter(lambda w: len(w) < 6), WORDS), min_size=4, max_size=4))
@settings(max_examples=30, deadline=None)
def test_edit_distance_is_that_of_the_recursion(pairs):
    first, second = zip(*pairs, strict=True)
    found = metrics.edit_distance(*padded(first), *padded(second))
    known = [by_recursion(list(a), list(b)[:5]) for a, b in pairs if len(b) < 6]
    assert [d for d, (_, b) in zip(found.tolist(), pairs, strict=True) if len(b) < 6] == known


def random_corpus(random, sentences, vocabulary, longest, empty=False):
    lengths = random.integers(0 if empty else 1, longest + 1, sentences)
    return [random.integers(0, vocabulary, n).tolist() for n in lengths]


def texts(corpus):
    return [" ".join(map(str, sentence)) for sentence in corpus]


def test_error_rates_are_jiwer_s():
    random = np.random.default_rng(0)
    for vocabulary in (2, 50):
        references = random_corpus(random, 100, vocabulary, 30)
        hypotheses = random_corpus(random, 100, vocabulary, 30, empty=True)
        known = jiwer.process_words(texts(references), texts(hypotheses))
        found = metrics.error_rate(hypotheses, [[r] for r in references])
        assert found == pytest.approx(known.wer, abs=1e-12)
        each = metrics.edit_distance(*padded(hypotheses, 30), *padded(references, 30))
        edits = [
            jiwer.process_words(r, h)
            for r, h in zip(texts(references), texts(hypotheses), strict=True)
        ]
        assert each.tolist() == [e.substitutions + e.insertions + e.deletions for e in edits]


def test_the_nearest_of_several_references_counts():
    hypotheses = [list("abc"), list("xy")]
    references = [[list("zzzzz"), list("abcd"), list("ab")], [list("xy"), list("q")]]
    assert metrics.error_rate(hypotheses, references) == 1 / 6  # 1 of abcd's 4, 0 of xy's 2
    assert metrics.error_rate(hypotheses, [own[::-1] for own in references]) == 1 / 6
    assert metrics.sequence_error_rate(hypotheses, references) == 0.5
    assert metrics.error_rate([[]], [[[1, 2]]]) == 1.0
    assert metrics.sequence_error_rate([(1, 2)], [[np.array([1, 2])]]) == 0.0


def as_sacrebleu(hypotheses, references):
    """Its score of tokens; the references of one sentence stand in as many lists."""
    streams = [texts(column) for column in zip(*references, strict=True)]
    return sacrebleu.corpus_bleu(texts(hypotheses), streams, tokenize="none", force=True).score


def test_bleu_is_sacrebleu_s_on_random_corpora():
    random = np.random.default_rng(0)
    seen = []
    for i in range(1000):
        vocabulary, longest = random.integers(1, 8), random.integers(1, 13)
        sentences, count = random.integers(1, 6), random.integers(1, 4)
        references = [random_corpus(random, count, vocabulary, longest) for _ in range(sentences)]
        hypotheses = random_corpus(random, sentences, vocabulary, longest, empty=True)
        kind = i % 5
        if kind == 0:  # all empty
            hypotheses = [[] for _ in hypotheses]
        elif kind == 1:  # repeated
            hypotheses = [own[0] * 2 for own in references]
        elif kind == 2:  # shorter
            hypotheses = [own[0][:-1] for own in references]
        elif kind == 3:  # one word
            hypotheses = [own[0][:1] for own in references]
        found, known = metrics.bleu(hypotheses, references), as_sacrebleu(hypotheses, references)
        assert found == pytest.approx(known, abs=1e-9), (hypotheses, references)
        seen.append(found)
    assert 300 < np.count_nonzero(seen) < 900
    assert len({round(score, 3) for score in seen}) > 200


def test_sentence_bleu_is_sacrebleu_s():
    random = np.random.default_rng(0)
    references = random_corpus(random, 400, 3, 12)
    hypotheses = random_corpus(random, 400, 3, 12, empty=True)
    hypotheses[:50] = references[:50]
    found = metrics.sentence_bleu(*padded(hypotheses, 12), *padded(references, 12))
    known = [
        sacrebleu.sentence_bleu(h, [r], tokenize="none").score
        for h, r in zip(texts(hypotheses), texts(references), strict=True)
    ]
    np.testing.assert_allclose(found, known, rtol=1e-5, atol=1e-4)
    assert len(set(np.round(known, 2))) > 100


def test_bleu_by_hand():
    """Papineni et al.'s "the the the …": two of seven, for "the" is twice in a reference."""
    the = ["the"] * 7
    references = [t.split() for t in ("the cat is on the mat", "there is a cat on the mat")]
    p = [2 / 7, 1 / (2 * 6), 1 / (4 * 5), 1 / (8 * 4)]
    assert metrics.bleu([the], [references]) == pytest.approx(100 * np.prod(p) ** 0.25, rel=1e-12)
    short = ["the", "cat", "is", "on"]
    brevity = np.exp(1 - 6 / 4)
    assert metrics.bleu([short], [references[:1]]) == pytest.approx(100 * brevity, rel=1e-12)
    whole, lengths = padded([[1, 2, 3, 4], [1, 2]], 6)
    known, known_lengths = padded([[1, 2, 3, 4, 5, 1]] * 2, 6)
    found = metrics.sentence_bleu(whole, lengths, known, known_lengths)
    np.testing.assert_allclose(found, [100 * brevity, 100 * np.exp(1 - 6 / 2)], rtol=1e-5)


def test_nothing_is_worth_nothing():
    assert metrics.bleu([[]], [[[1, 2]]]) == 0.0
    assert metrics.bleu([[3, 3, 3, 3]], [[[1, 2]]]) == 0.0
    found = metrics.sentence_bleu(*padded([[], [9]], 5), *padded([[1], [1]], 5))
    assert found.tolist() == [0.0, 0.0]


def test_rewards_are_compiled_in_a_larger_program():
    """Lengths and tokens may be traced; padding does not count, whatever is in it."""
    tokens, lengths = padded([[1, 2, 3, 4], [1, 2]])

    @jax.jit
    def both(tokens, lengths):
        return (
            metrics.sentence_bleu(tokens, lengths, tokens, lengths),
            metrics.edit_distance(tokens, lengths, tokens, lengths[::-1]),
        )

    filled = np.where(np.arange(8) < lengths[:, None], tokens, 7)
    for given_ in (tokens, filled):
        scores, _ = both(jnp.asarray(given_), jnp.asarray(lengths))
        assert scores.tolist() == [100.0, 100.0]
    assert both(jnp.asarray(tokens), jnp.asarray(lengths))[1].tolist() == [2, 2]


def test_texts_are_scored_by_sacrebleu():
    hypotheses, references = ["A cat sat, there."], [["The cat sat there.", "A cat sat there!"]]
    found = metrics.text_bleu(hypotheses, references)
    known = sacrebleu.corpus_bleu(hypotheses, [[text] for text in references[0]])
    assert found.score == known.score
    assert found.signature.startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    lower = metrics.text_bleu(["a CAT sat on it"], [["A cat sat on it"]], lowercase=True)
    assert lower.score == pytest.approx(100)
    assert "case:lc" in lower.signature
    with pytest.raises(ValueError, match="texts as references at 0, not empty"):
        metrics.text_bleu(["a"], [[""]])
    with pytest.raises(ValueError, match="equally many references everywhere, got 2"):
        metrics.text_bleu(["a", "b"], [["a"], ["b", "c"]])


def test_alignment_errors_by_hand():
    """Three of four links are possible, two of them sure; one sure link is missed."""
    links = [{(0, 0), (1, 1)}, {(0, 1), (2, 2)}]
    sure, possible = [{(0, 0), (1, 1)}, {(1, 0)}], [{(0, 1)}, {(0, 1)}]
    assert metrics.alignment_error_rate(links, sure, possible) == 1 - (2 + 3) / (4 + 3)
    assert metrics.alignment_error_rate(links, links) == 0
    assert metrics.alignment_error_rate([set(), set()], sure) == 1
    with pytest.raises(ValueError, match="sure links of 2 sentences, got 1"):
        metrics.alignment_error_rate(links, sure[:1])
    with pytest.raises(ValueError, match="a link that was found or is sure, got none"):
        metrics.alignment_error_rate([()], [()])


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (([], []), "at least one hypothesis, got none"),
        (([["a"]], []), "references of 1 hypotheses, got 0"),
        (([["a"]], [[]]), "one or more references at 0"),
        (([["a"]], [[[]]]), "a list of tokens as reference at 0, not empty"),
        (([["a"]], [["a"]]), "a list of tokens as reference at 0, not empty, got 'a'"),
        ((["a"], [[["a"]]]), "a list of tokens at 0, got 'a'"),
        (([["a"]], ["a"]), "a list of one or more references at 0, got 'a'"),
    ],
)
def test_bad_corpora_are_refused(corpus, message):
    for metric in (metrics.bleu, metrics.error_rate, metrics.sequence_error_rate):
        with pytest.raises(ValueError, match=message):
            metric(*corpus)


def test_bad_arrays_are_refused():
    good = padded([[1, 2]])
    for metric in (metrics.edit_distance, metrics.sentence_bleu):
        with pytest.raises(ValueError, match=r"hypotheses of shape \(rows, k\), got \(8,\)"):
            metric(good[0][0], good[1], *good)
        with pytest.raises(ValueError, match="hypotheses to be of whole numbers, got float64"):
            metric(good[0] * 1.0, good[1], *good)
        with pytest.raises(ValueError, match=r"references of shape \(1, k\), got \(2, 8\)"):
            metric(*good, *padded([[1], [2]]))
        with pytest.raises(ValueError, match=r"reference_lengths from 0 to 8, got \[9"):
            metric(*good, good[0], np.array([9]))
        with pytest.raises(ValueError, match="lengths as 1 whole numbers, got float64"):
            metric(good[0], np.array([1.0]), *good)
