"""The exclusive or, the smallest problem that no linear model solves."""

from __future__ import annotations

import numpy as np

from jaxml.data.dataset import Dataset


def xor() -> Dataset:
    """The four rows of the exclusive or, all in `train`.

    Returns:
        `x` float32 `(4, 2)`, the corners of the unit square; `y` int32 `(4,)`, 1 where exactly
        one coordinate is. There is no validation and no test: four rows are the whole function.

    Reference:
        Minsky & Papert (1969), Perceptrons, for what it shows.

    >>> xor().train["y"]
    array([0, 1, 1, 0], dtype=int32)
    """
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    return Dataset(
        {"x": x, "y": np.array([0, 1, 1, 0], dtype=np.int32)},
        validation=None,
        test=None,
        meta={
            "name": "xor",
            "task": "classification",
            "classes": 2,
            "description": "exclusive or of two bits",
            "source": "generated",
            "licence": "none needed",
            "citation": "Minsky, M. & Papert, S. (1969). Perceptrons. MIT Press",
        },
    )
