"""The analysis along a training run."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require
from jaxml.core.result import Result
from jaxml.core.selfcheck import require_sound_backend
from jaxml.core.types import Params
from jaxml.landscape.operators.dense_hessian import checked, dense_hessian, plan_dense
from jaxml.landscape.operators.hessian import flatten
from jaxml.landscape.operators.validation import check_problem, needs_float64, precision
from jaxml.linalg.reductions import norm


@flax.struct.dataclass
class Followed(Result):
    """The surface at each of many points; all arrays are numpy's, of the points' leading axes.

    Attributes:
        loss: the loss.
        gradient_norm: the gradient's 2-norm.
        eigenvalues: the Hessian's, ascending, on one more axis.
        index: how many of them are below −tolerance.
        minimum_ratio: the share of them above the tolerance.
        tolerance: size·ε·‖H‖, the rounding error of the eigenvalues, and what underflows.
    """

    loss: Any
    gradient_norm: Any
    eigenvalues: Any
    index: Any
    minimum_ratio: Any
    tolerance: Any


def follow(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    axes: int = 1,
    float64: bool = False,
    memory: int | None = None,
) -> Followed:
    """Spectrum, index and gradient norm at many points, in one compiled program.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: the points, stacked: what `training.snapshots` kept.
        axes: how many leading axes the stack has: 1 for the snapshots of one run, 2 for those
            of `fit_many` (snapshots, lanes).
        float64: compute in float64, as is done anyway where a parameter is in it.
        memory: bytes that the dense Hessian may take; half of what is free by default.

    Returns:
        Arrays with the leading axes of the stack, see `Followed`.

    Raises:
        ValueError: for a bad loss or bad parameters, as `hessian`; if the leaves of the stack do
            not share their leading axes.
        BackendError: if the backend computes known answers wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> followed = follow(lambda w: (1 - w[0] * w[1]) ** 2, jnp.array([[0.0, 0.0], [1.0, 1.0]]))
        >>> followed.index.tolist()
        [1, 0]
    """
    shapes = {np.shape(leaf)[:axes] for leaf in jax.tree.leaves(params)}
    leading = shapes.pop() if len(shapes) == 1 else ()
    require(
        len(leading) == axes and 0 not in leading,
        f"parameters stacked along {axes} leading axes",
        f"leading shapes {[np.shape(leaf) for leaf in jax.tree.leaves(params)]}",
    )
    require_sound_backend()
    float64 = needs_float64(params, float64)
    with precision(float64):
        points = math.prod(leading)
        flat = jax.tree.map(lambda x: np.reshape(x, (points, *np.shape(x)[axes:])), params)
        for leaf in jax.tree.leaves(flat):
            bad = np.argwhere(~np.isfinite(leaf))
            require(bad.size == 0, "finite parameters", f"those of point {bad[:1, :1]}")
        loss, first = check_problem(loss, jax.tree.map(lambda x: x[0], flat), float64=float64)
        plan = plan_dense(loss, first, memory, copies=6)
        stack = jax.tree.map(lambda leaf, one: jnp.asarray(leaf.astype(one.dtype)), flat, first)
        result = jax.device_get(checked(lambda plan: _follow(loss, stack, plan), plan))
    return jax.tree.map(lambda array: array.reshape(leading + array.shape[1:]), result)


@functools.partial(jax.jit, static_argnames="plan")
def _follow(loss, stack, plan):
    def at(params):
        f, x = flatten(loss, params)
        value, gradient = jax.value_and_grad(f)(x)
        matrix, error = dense_hessian(loss, params, plan)
        eigenvalues = jnp.linalg.eigvalsh(matrix)
        kind, largest = jnp.finfo(x.dtype), jnp.abs(eigenvalues).max()
        tolerance = x.size * (kind.eps * largest + jnp.where(largest > 0, kind.tiny, 0))
        followed = Followed(
            loss=value,
            gradient_norm=norm(gradient),
            eigenvalues=eigenvalues,
            index=(eigenvalues < -tolerance).sum(),
            minimum_ratio=(eigenvalues > tolerance).mean(dtype=x.dtype),
            tolerance=tolerance,
        )
        return followed, error

    return jax.lax.map(at, stack)
