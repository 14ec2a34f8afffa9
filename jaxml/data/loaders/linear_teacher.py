"""Linear regression whose true answer is known."""

from __future__ import annotations

import math

import numpy as np

from jaxml.core.checks import require_positive_int
from jaxml.data.dataset import Dataset
from jaxml.data.splits import generator, require_nonnegative, split


def linear_teacher(
    *,
    n: int = 1000,
    inputs: int = 8,
    outputs: int = 1,
    noise: float = 0.1,
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
) -> Dataset:
    """Standard normal inputs, and what a random linear map makes of them: y = W x + noise.

    The entries of W are normal with variance 1 / inputs, so that each output has unit variance
    on average before the noise. W depends on the seed and its shape, not on `n` or `noise`.

    Args:
        n: number of rows, at least 1.
        inputs: length of x, at least 1.
        outputs: length of y, at least 1.
        noise: standard deviation of the Gaussian noise on every output; the square of it is the
            mean squared error of the teacher itself.
        seed: of teacher, rows and split; a whole number of at least 0.
        validation: fraction of the rows, in [0, 1); 0 makes no such split.
        test: likewise.

    Returns:
        `x` float32 `(N, inputs)`; `y` float32 `(N, outputs)`. `meta["teacher"]` is W, float64
        `(outputs, inputs)`, and `meta["noise"]` the standard deviation.

    Raises:
        ValueError: if an option is out of range.

    >>> linear_teacher(inputs=3, outputs=2).train["y"].shape
    (600, 2)
    """
    for name, value in (("n", n), ("inputs", inputs), ("outputs", outputs)):
        require_positive_int(name, value)
    noise = require_nonnegative("noise", noise)
    rng = generator(seed)
    teacher = rng.standard_normal((outputs, inputs)) / math.sqrt(inputs)
    x = rng.standard_normal((n, inputs))
    y = x @ teacher.T + noise * rng.standard_normal((n, outputs))
    rows = {"x": x.astype(np.float32), "y": y.astype(np.float32)}
    return Dataset(
        *split(rows, validation=validation, test=test, rng=rng),
        meta={
            "name": "linear_teacher",
            "task": "regression",
            "teacher": teacher,
            "noise": noise,
            "description": "a linear map of Gaussian inputs, with Gaussian noise",
            "source": "generated",
            "licence": "none needed",
            "citation": None,
        },
    )
