"""How far rounding moves an eigenvalue, and what counts as zero for it."""

from __future__ import annotations

from typing import Any

import numpy as np


def rounding_error(size: int, dtype: Any, norm: float) -> float:
    """√size·ε·‖A‖: what rounding leaves uncertain of an eigenvalue of a matrix.

    Reference:
        Higham 2002, section 2.8: rounding errors add up like a random walk, so that the factor
        `size` of the worst case becomes its root.
    """
    return size**0.5 * float(np.finfo(dtype).eps) * norm


def zero_tolerance(size: int, dtype: Any, norm: float) -> float:
    """The size up to which an eigenvalue counts as zero: ten times what rounding explains."""
    return 10 * rounding_error(size, dtype, norm)
