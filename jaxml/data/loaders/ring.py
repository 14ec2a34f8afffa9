"""A ring of Gaussians: a target for generative models whose modes can be counted."""

from __future__ import annotations

import numpy as np

from jaxml.core.checks import require_positive_int
from jaxml.data.dataset import Dataset
from jaxml.data.splits import generator, require_nonnegative, split


def ring(
    *,
    n: int = 4000,
    modes: int = 8,
    radius: float = 2.0,
    noise: float = 0.02,
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
) -> Dataset:
    """Points from Gaussians whose centres stand evenly on a circle around the origin.

    The modes have the same number of points, up to one.

    Args:
        n: number of points, at least 1.
        modes: number of Gaussians, at least 1.
        radius: of the circle.
        noise: standard deviation of each Gaussian along either axis.
        seed: of points and split; a whole number of at least 0.
        validation: fraction of the points, in [0, 1); 0 makes no such split.
        test: likewise.

    Returns:
        `x` float32 `(N, 2)`; `y` int32 `(N,)`, the mode that the point is from.
        `meta["centres"]` is float64 `(modes, 2)`, counter-clockwise from `(radius, 0)`, and
        `meta["noise"]` the standard deviation.

    Raises:
        ValueError: if an option is out of range.

    Reference:
        Metz, Poole, Pfau & Sohl-Dickstein (2016), Unrolled Generative Adversarial Networks,
        arXiv:1611.02163, whose toy problem has the defaults.

    >>> ring().meta["centres"].shape
    (8, 2)
    """
    require_positive_int("modes", modes)
    radius = require_nonnegative("radius", radius)
    angle = 2 * np.pi * np.arange(modes) / modes
    meta = {
        "name": "ring",
        "description": f"{modes} Gaussians on a circle",
        "citation": "Metz, L., Poole, B., Pfau, D. & Sohl-Dickstein, J. (2016). Unrolled "
        "Generative Adversarial Networks. arXiv:1611.02163",
    }
    centres = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return mixture(centres, meta, n, noise, seed, validation, test)


def mixture(
    centres: np.ndarray,
    meta: dict[str, str],
    n: int,
    noise: float,
    seed: int,
    validation: float,
    test: float,
) -> Dataset:
    """Points from Gaussians of one width around the centres, as many from each, up to one."""
    require_positive_int("n", n)
    noise = require_nonnegative("noise", noise)
    rng = generator(seed)
    y = np.arange(n, dtype=np.int32) % len(centres)
    x = centres[y] + noise * rng.standard_normal((n, 2))
    return Dataset(
        *split(
            {"x": x.astype(np.float32), "y": y},
            validation=validation,
            test=test,
            rng=rng,
            labels=y,
        ),
        meta={
            **meta,
            "task": "generation",
            "centres": centres,
            "noise": noise,
            "source": "generated",
            "licence": "none needed",
        },
    )
