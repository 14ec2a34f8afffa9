"""What MNIST and the sets made in its likeness share: 28 by 28 images of ten classes."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxml.core.checks import require
from jaxml.data.dataset import Dataset, Split
from jaxml.data.fetching import Fetched, fetch
from jaxml.data.sources import Arrays, File

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
COUNTS = {"train": 50_000, "validation": 10_000, "test": 10_000}


def files(*sha256: str) -> list[File]:
    """The four files, with the SHA-256 of each if it is given."""
    return [File(name, *sha256[i : i + 1]) for i, name in enumerate(FILES)]


def read(contents: Sequence[bytes]) -> Arrays:
    """Arrays from the contents of the four files."""
    x_train, y_train, x_test, y_test = map(parse_idx, map(gzip.decompress, contents))
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def parse_idx(content: bytes) -> np.ndarray:
    """The bytes of an IDX file as an array.

    Raises:
        ValueError: if it is another file, or holds more or less than its header says.

    Reference:
        LeCun, Cortes & Burges, The MNIST database of handwritten digits, "file formats".

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    array([7, 9], dtype=uint8)
    """
    require(content[:3] == b"\0\0\x08" and len(content) > 3, "an IDX file of bytes", content[:4])
    start = 4 + 4 * content[3]
    shape = [int(size) for size in np.frombuffer(content[4:start], ">u4")]
    require(
        len(content) == start + math.prod(shape),
        f"an IDX file of shape {tuple(shape)}",
        f"{len(content) - start} bytes of values",
    )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def dataset(fetched: Fetched, validation: Any) -> Dataset:
    """The set with its last training images held out.

    Raises:
        ValueError: if `validation` is no number of images that leaves some to train on.
    """
    whole = not isinstance(validation, bool) and hasattr(validation, "__index__")
    require(
        whole and 0 <= int(validation) < 60_000,
        "validation to be a whole number of images from 0 to 59,999",
        repr(validation),
    )
    arrays, _ = fetch(fetched)
    left = len(arrays["x_train"]) - int(validation)

    def split(part: str, rows: slice) -> Split:
        x = arrays[f"x_{part}"][rows, :, :, None] / np.float32(255)
        return {"x": x, "y": arrays[f"y_{part}"][rows].astype(np.int32)}

    return Dataset(
        split("train", slice(left)),
        split("train", slice(left, None)) if validation else None,
        split("test", slice(None)),
        meta={**fetched.meta, "image_shape": (28, 28, 1)},
    )
