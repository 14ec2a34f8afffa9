"""Numbers and their names."""

import numpy as np
import pytest

from jaxml import data
from jaxml.data.loaders.number_words import spelled


def test_names_are_those_of_num2words():
    num2words = pytest.importorskip("num2words").num2words
    random = np.random.default_rng(0)
    numbers = np.concatenate(
        [np.arange(1, 1200), random.integers(1, 10 ** random.integers(4, 10, 2000))]
    )
    round_ones = [1000, 1005, 10**6, 10**6 + 1, 10**6 + 1000, 10**6 + 10**5, 999_999_999]
    for number in [*numbers.tolist(), *round_ones]:
        assert spelled(number) == num2words(number).replace(",", "")


def test_rows_are_numbers_and_their_names():
    numbers = data.load("number_words", n=300, seed=1)
    digits, letters = (numbers.meta[f"{of}_vocabulary"] for of in ("input", "target"))
    seen = []
    for name, rows in numbers.splits.items():
        for x, n, y, m in zip(*(rows[k] for k in ("x", "x_length", "y", "y_length")), strict=True):
            number = "".join(digits[i] for i in x)
            assert len(number) == n
            assert "".join(letters[i] for i in y) == spelled(int(number))
            assert (y > 0).sum() == m
            assert 7 <= n <= 9 if name == "longer" else 1 <= n <= 6
            seen.append(number)
    assert len({*seen}) == len(seen) == 330
    assert "longer" not in data.load("number_words", n=300, test=0).splits
    with pytest.raises(ValueError, match="n from 60 to 100,000, got 59"):
        data.load("number_words", n=59)
