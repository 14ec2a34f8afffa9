"""Two spirals wound around each other: in the plane, yet hard for a small network."""

from __future__ import annotations

import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.data.dataset import Dataset
from jaxml.data.splits import generator, require_nonnegative, split


def two_spirals(
    *,
    n: int = 1000,
    noise: float = 0.0,
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
) -> Dataset:
    """Points on two spirals of three turns each, one the other turned by half a circle.

    Point t in [0, 1] of the first lies at angle 6πt, from the second axis towards the first, and
    at radius 6.5 - 6t. Neighbouring arms of different spirals are one unit apart.

    Args:
        n: number of points, even and at least 4; half of them on each spiral, evenly spaced in t.
        noise: standard deviation of the Gaussian noise on both coordinates, in units of `x`.
        seed: of noise and split; a whole number of at least 0.
        validation: fraction of the points, in [0, 1); 0 makes no such split.
        test: likewise.

    Returns:
        `x` float32 `(N, 2)`; `y` int32 `(N,)`, 0 or 1, the spiral.

    Raises:
        ValueError: if an option is out of range.

    Reference:
        Lang & Witbrock (1988), Learning to tell two spirals apart, Proc. Connectionist Models
        Summer School: `n=194, noise=0, validation=0, test=0` gives their 194 points.

    >>> two_spirals(noise=0.1).train["x"].shape
    (600, 2)
    """
    require(
        require_positive_int("n", n) % 2 == 0 and n >= 4, "n to be even and at least 4", repr(n)
    )
    noise = require_nonnegative("noise", noise)
    rng = generator(seed)
    t = np.linspace(0, 1, n // 2)
    angle, radius = 6 * np.pi * t, 6.5 - 6 * t
    arm = radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    x = np.concatenate([arm, -arm]) + noise * rng.standard_normal((n, 2))
    y = np.repeat(np.arange(2, dtype=np.int32), n // 2)
    rows = {"x": x.astype(np.float32), "y": y}
    return Dataset(
        *split(rows, validation=validation, test=test, rng=rng, labels=y),
        meta={
            "name": "two_spirals",
            "task": "classification",
            "classes": 2,
            "noise": noise,
            "description": "two intertwined spirals in the plane",
            "source": "generated",
            "licence": "none needed",
            "citation": "Lang, K. J. & Witbrock, M. J. (1988). Learning to tell two spirals "
            "apart. Proc. 1988 Connectionist Models Summer School, 52-59",
        },
    )
