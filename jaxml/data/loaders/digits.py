"""Handwritten digits, small enough to come with scikit-learn."""

from __future__ import annotations

import numpy as np

from jaxml.data.dataset import Dataset
from jaxml.data.splits import generator, split


def digits(*, seed: int = 0) -> Dataset:
    """1,797 images of handwritten digits, 8 by 8, flattened; nothing is downloaded.

    Ten classes of 174 to 183 images. Split by class into 1,077 to train on, 360 for validation
    and 360 for the test.

    Args:
        seed: of the split; a whole number of at least 0.

    Returns:
        `x` float32 `(N, 64)`, row by row from the top left, ink from 0 to 1 in sixteenths;
        `y` int32 `(N,)`, the digit. `everything()` has all 1,797.

    Raises:
        ValueError: if the seed is out of range.

    Reference:
        Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
        Repository, doi:10.24432/C50P49: its test set, as in `sklearn.datasets.load_digits`. The
        original split by writer is not part of that copy.

    >>> digits().meta["counts"]
    {'train': 1077, 'validation': 360, 'test': 360}
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415 - slow to import, used here alone

    rng = generator(seed)
    x, y = load_digits(return_X_y=True)
    rows = {"x": (x / 16).astype(np.float32), "y": y.astype(np.int32)}
    parts = split(rows, validation=360 / 1797, test=360 / 1797, rng=rng, labels=rows["y"])
    return Dataset(
        *parts,
        meta={
            "name": "digits",
            "task": "classification",
            "classes": 10,
            "image_shape": (8, 8),
            "description": "8x8 images of handwritten digits, flattened",
            "source": "sklearn.datasets.load_digits",
            "licence": "CC BY 4.0",
            "citation": "Alpaydin, E. & Kaynak, C. (1998). Optical Recognition of Handwritten "
            "Digits. UCI Machine Learning Repository. doi:10.24432/C50P49",
        },
    )
