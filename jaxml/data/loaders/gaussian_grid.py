"""A grid of Gaussians: more modes than a ring's, in the middle too."""

from __future__ import annotations

import numpy as np

from jaxml.core.checks import require_positive_int
from jaxml.data.dataset import Dataset
from jaxml.data.loaders.ring import mixture
from jaxml.data.splits import require_nonnegative


def gaussian_grid(
    *,
    n: int = 4000,
    side: int = 5,
    spacing: float = 2.0,
    noise: float = 0.05,
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
) -> Dataset:
    """Points from Gaussians whose centres are those of a square grid around the origin.

    The modes have the same number of points, up to one.

    Args:
        n: number of points, at least 1.
        side: centres in a row and in a column, at least 1.
        spacing: of neighbouring centres.
        noise: standard deviation of each Gaussian along either axis.
        seed: of points and split; a whole number of at least 0.
        validation: fraction of the points, in [0, 1); 0 makes no such split.
        test: likewise.

    Returns:
        `x` float32 `(N, 2)`; `y` int32 `(N,)`, the mode that the point is from.
        `meta["centres"]` is float64 `(side², 2)`, row by row from the lowest left, and
        `meta["noise"]` the standard deviation.

    Raises:
        ValueError: if an option is out of range.

    Reference:
        Dumoulin et al. (2017), Adversarially Learned Inference, arXiv:1606.00704, whose toy problem
        has 25 modes.

    >>> gaussian_grid().meta["centres"][[0, -1]].tolist()
    [[-4.0, -4.0], [4.0, 4.0]]
    """
    require_positive_int("side", side)
    spacing = require_nonnegative("spacing", spacing)
    line = spacing * (np.arange(side) - (side - 1) / 2)
    across, up = np.meshgrid(line, line)
    meta = {
        "name": "gaussian_grid",
        "description": f"{side**2} Gaussians on a grid",
        "citation": "Dumoulin, V., Belghazi, I., Poole, B., Mastropietro, O., Lamb, A., Arjovsky, "
        "M. & Courville, A. (2017). Adversarially Learned Inference. arXiv:1606.00704",
    }
    centres = np.stack([across.ravel(), up.ravel()], axis=1)
    return mixture(centres, meta, n, noise, seed, validation, test)
