"""What chapter 5's experiments measure with, against independent truths."""

import numpy as np
import pytest

from jaxml.course.chapter_05 import exposure, toy


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
