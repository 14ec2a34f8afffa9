"""The spectrum of a Hessian by one call, whatever its size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxml.core.types import Params
from jaxml.landscape.critical.analysis import Analysis, analyze
from jaxml.landscape.inspection import inspect
from jaxml.landscape.inspection_result import Inspection
from jaxml.landscape.operators.dense_hessian import available_memory
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import needs_float64

# up to so many parameters the matrix and its eigenvectors take a minute at most
_EXACT = 3000


@takes_modules
def spectrum(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    exact: bool | None = None,
    memory: int | None = None,
) -> Analysis | Inspection:
    """How a loss curves at a point: all eigenvalues of its Hessian, or what products tell of them.

    Both results begin with a verdict and can be plotted. For more of a large network, such as its
    layers, a plane, or progress, see `inspect`.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: the point; a pytree of arrays, or a module of NNX or Equinox.
        exact: whether by the matrix; up to 3,000 parameters by default, as far as it fits into
            memory.
        memory: bytes it may take; half of what is free by default.

    Returns:
        By the matrix an `Analysis`: every eigenvalue and the kind of the point, as of `analyze`. By
        products an `Inspection`: the five largest eigenvalues and the lowest one with error
        bounds, the distribution of all, and how many are negative.

    Raises:
        ValueError: for a bad loss or bad parameters, as `hessian`; if the matrix is asked for and
            does not fit into memory.
        BackendError: if the backend computes known answers wrong.

    Example:
        >>> point = spectrum(lambda w: (1 - w[0] * w[1]) ** 2, np.zeros(2))
        >>> point.kind, point.eigenvalues.tolist()
        ('saddle', [-2.0, 2.0])
    """
    if exact is None:
        size = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
        bound = available_memory() // 2 if memory is None else memory
        matrix = size**2 * (8 if needs_float64(params, False) else 4)
        exact = size <= _EXACT and 6 * matrix <= bound
    if exact:
        return analyze(loss, params, memory=memory)
    parts = ("eigenpairs", "index", "density")
    return inspect(loss, params, parts, memory=memory)
