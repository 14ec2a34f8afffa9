"""Numbers in digits, and as English says them."""

from __future__ import annotations

import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.data.dataset import Dataset, Split
from jaxml.data.splits import generator, split

_SMALL = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_GROUPS = ("million", "thousand", "")

DIGITS = ("", *"0123456789")
LETTERS = ("", " ", "-", *"abcdefghijklmnopqrstuvwxyz")
SIZE, LONGER = 6, 9


def spelled(number: int) -> str:
    """A number from 1 to 999,999,999 in words, as in British English but without commas.

    >>> spelled(1045)
    'one thousand and forty-five'
    """
    thousands = (number // 10**6, number // 1000 % 1000, number % 1000)
    said = [
        f"{_below_thousand(three)} {name}".strip()
        for three, name in zip(thousands, _GROUPS, strict=True)
        if three
    ]
    alone = len(said) > 1 and 0 < thousands[2] < 100
    return " ".join([*said[:-1], "and", said[-1]] if alone else said)


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    tens, ones = divmod(rest, 10)
    small = _SMALL[rest] if rest < 20 else "-".join(filter(None, (_TENS[tens], _SMALL[ones])))
    large = f"{_SMALL[hundreds]} hundred" if hundreds else ""
    return " and ".join(filter(None, (large, small)))


def number_words(
    *, n: int = 10_000, seed: int = 0, validation: float = 0.1, test: float = 0.1
) -> Dataset:
    """Numbers of 1 to 6 digits, and the letters of their English names.

    So many digits are as likely as any other number of them; no number is twice there, so that the
    short ones are all there and rare.

    Args:
        n: how many numbers, from 60 to 100,000.
        seed: of numbers and split; a whole number of at least 0.
        validation: fraction of the numbers, in [0, 1); 0 makes no such split.
        test: likewise.

    Returns:
        `x` int32 `(N, n)`, digits, and `y` int32 `(N, t)`, letters, both padded with 0 at the end;
        `x_length` and `y_length` int32 `(N,)`. Number i stands for `meta["input_vocabulary"][i]`
        and `meta["target_vocabulary"][i]`. Beside the splits there is `longer`, of as many numbers
        of 7 to 9 digits as the test has, if it has any.

    Raises:
        ValueError: if an option is out of range.

    >>> numbers = number_words(n=200)
    >>> numbers.meta["counts"]
    {'train': 160, 'validation': 20, 'test': 20, 'longer': 20}
    """
    n = require_positive_int("n", n)
    require(60 <= n <= 100_000, "n from 60 to 100,000", n)
    random = generator(seed)
    rows = _rows(_drawn(random, n, 1, SIZE))
    parts = split(rows, validation=validation, test=test, rng=random)
    held_out = parts[-1]
    others = {}
    if held_out is not None:
        others["longer"] = _rows(_drawn(random, len(held_out["x"]), SIZE + 1, LONGER))
    return Dataset(
        *parts,
        meta={
            "name": "number_words",
            "task": "sequence_to_sequence",
            "input_vocabulary": DIGITS,
            "target_vocabulary": LETTERS,
            "description": "numbers in digits and in English words, letter by letter",
            "source": "generated",
            "licence": "none needed",
            "citation": "",
        },
        others=others,
    )


def _drawn(random: np.random.Generator, n: int, fewest: int, most: int) -> np.ndarray:
    """Different numbers of so many digits, in about equal parts as far as there are as many."""
    kept: dict[int, None] = {}
    while len(kept) < n:
        digits = random.integers(fewest, most + 1, n)
        drawn = random.integers(10 ** (digits - 1), 10**digits)
        kept |= dict.fromkeys(drawn.tolist())
    return np.array(list(kept)[:n])


def _rows(numbers: np.ndarray) -> Split:
    x, x_length = coded([str(number) for number in numbers], DIGITS)
    y, y_length = coded([spelled(number) for number in numbers.tolist()], LETTERS)
    return {"x": x, "x_length": x_length, "y": y, "y_length": y_length}


def coded(texts: list[str], vocabulary: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as numbers of their characters, padded with 0 to the longest, and their lengths."""
    code = {symbol: i for i, symbol in enumerate(vocabulary)}
    lengths = np.array([len(text) for text in texts], np.int32)
    padded = np.zeros((len(texts), lengths.max()), np.int32)
    padded[np.arange(lengths.max()) < lengths[:, None]] = [code[s] for text in texts for s in text]
    return padded, lengths
