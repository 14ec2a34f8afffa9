"""Japanese vowels: nine speakers told apart by short series of unequal length."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import numpy as np

from jaxml.data.dataset import Dataset
from jaxml.data.fetching import Fetched, fetch
from jaxml.data.sources import Arrays, File, address, wheel
from jaxml.data.splits import generator, split

LONGEST = 29
COEFFICIENTS = 12
TRAIN_UTTERANCES = (30,) * 9
TEST_UTTERANCES = (31, 35, 88, 44, 29, 24, 40, 50, 29)
"""Of each speaker, in the order of the publisher's files."""


def read_ts(contents: Sequence[bytes]) -> Arrays:
    """Arrays from two files in the format of sktime and aeon: a case a line, `:` in between."""
    arrays: Arrays = {}
    for part, content in zip(("train", "test"), contents, strict=True):
        _, _, lines = content.decode().partition("@data")
        cases = [line.split(":") for line in lines.split()]
        series = [np.array([row.split(",") for row in case[:-1]], np.float32).T for case in cases]
        arrays |= _arrays(part, series, [int(case[-1]) - 1 for case in cases])
    return arrays


def read_zip(contents: Sequence[bytes]) -> Arrays:
    """Arrays from the publisher's archive: frames a line, a blank line between utterances."""
    arrays: Arrays = {}
    with zipfile.ZipFile(io.BytesIO(contents[0])) as archive:
        for part, sizes in (("train", TRAIN_UTTERANCES), ("test", TEST_UTTERANCES)):
            blocks = archive.read(f"ae.{part}").decode().replace("\r", "").split("\n\n")
            series = [
                np.array([line.split() for line in block.strip().split("\n")], np.float32)
                for block in blocks
                if block.strip()
            ]
            arrays |= _arrays(part, series, np.repeat(np.arange(len(sizes)), sizes))
    return arrays


def _arrays(
    part: str, series: Sequence[np.ndarray], speakers: Sequence[int] | np.ndarray
) -> Arrays:
    x = np.zeros((len(series), LONGEST, COEFFICIENTS), np.float32)
    for row, values in zip(x, series, strict=True):
        row[: len(values)] = values
    length = np.array([len(values) for values in series], np.int32)
    return {f"x_{part}": x, f"length_{part}": length, f"y_{part}": np.array(speakers, np.int32)}


JAPANESE_VOWELS = Fetched(
    meta={
        "name": "japanese_vowels",
        "task": "classification",
        "classes": 9,
        "description": "two vowels by nine speakers, 7 to 29 frames of 12 coefficients",
        "source": "UCI Machine Learning Repository, data set 128",
        "licence": "CC BY 4.0",
        "citation": "Kudo, M., Toyama, J. & Shimbo, M. (1999). Multidimensional curve "
        "classification using passing-through regions. Pattern Recognition Letters 20(11-13), "
        "1103-1111. doi:10.24432/C5NS47",
    },
    counts={"train": 270, "validation": 0, "test": 370},
    sha256="29e1d31f348d87bdce42a4de6cc7afe403a95ad18d8699bc081143620f8cf6a1",
    sources=(
        address(
            "https://archive.ics.uci.edu/static/public/128/",
            [File("japanese+vowels.zip")],
            read_zip,
            size=None,
        ),
        wheel(
            "aeon",
            "1.6.0",
            [
                File(
                    "aeon/datasets/data/JapaneseVowels/JapaneseVowels_TRAIN.ts",
                    "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
                ),
                File(
                    "aeon/datasets/data/JapaneseVowels/JapaneseVowels_TEST.ts",
                    "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
                ),
            ],
            read_ts,
            size=6_421_000,
        ),
    ),
)


def japanese_vowels(*, validation: float = 0.0, seed: int = 0) -> Dataset:
    """640 utterances of /ae/ by nine men, to tell who speaks; fetched when first needed.

    The official split: 30 utterances of each speaker to train on, 24 to 88 in the test.

    Args:
        validation: fraction of the training utterances to hold out, by speaker in proportion,
            in [0, 1); 0 makes no such split and leaves them in their order.
        seed: of that split; a whole number of at least 0.

    Returns:
        `x` float32 `(N, 29, 12)`, cepstrum coefficients of linear prediction by frame (25.6 ms
        every 6.4 ms), padded with 0 at the end; `x_length` int32 `(N,)`, frames, 7 to 29; `y` int32
        `(N,)`, the speaker from 0 to 8.

    Raises:
        ValueError: if an option is out of range, or the set cannot be fetched or cached.

    Reference:
        Kudo, Toyama & Shimbo (1999), Pattern Recognition Letters 20:1103-1111.
    """
    rng = generator(seed)
    arrays, _ = fetch(JAPANESE_VOWELS)
    train, test = (
        {name: arrays[f"{name.removeprefix('x_')}_{part}"] for name in ("x", "x_length", "y")}
        for part in ("train", "test")
    )
    held_out = None
    if validation != 0:
        train, held_out, _ = split(train, validation=validation, test=0, rng=rng, labels=train["y"])
    return Dataset(train, held_out, test, meta=JAPANESE_VOWELS.meta)
