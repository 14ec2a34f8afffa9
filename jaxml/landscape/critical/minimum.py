"""The way down to a point from which no descent is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxml.core.checks import require_positive_int
from jaxml.core.types import Params
from jaxml.landscape.critical.analysis import Analysis, analyze
from jaxml.landscape.critical.descent import descend
from jaxml.landscape.critical.escape import NoDescentError, escape
from jaxml.landscape.critical.symmetry_group import Declared
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import read_problem

# steps in a trust region where L-BFGS did not arrive
_NEWTON_STEPS = 200
# what a Newton step may still promise at the bottom, as a share of the loss and of its fall
_PROMISE = 1e-10


@takes_modules
def find_minimum(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    max_steps: int = 5000,
    rounds: int = 5,
    float64: bool | None = None,
    symmetries: Declared = (),
) -> Analysis:
    """Descend to a critical point from which no descent is found, and analyse it.

    By L-BFGS, and by Newton's method in a trust region from its end where that is not the
    bottom: where the point is not certified and a Newton step still promises more than 1e-10 of
    the loss or of its fall. L-BFGS converges to a saddle where the start lies on its stable
    manifold, which a symmetry of the network suffices for; such a saddle is left, and the descent
    goes on.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: where to start.
        max_steps: of each descent.
        rounds: descents at most.
        float64: compute in float64, the default wherever the loss can be; in float32 if `False`,
            unless a parameter is in float64.
        symmetries: transformations that leave the loss unchanged, see `analyze`: it is a minimum
            on the quotient that is looked for. A gradient has no part along an orbit, and neither
            has the descent.

    Returns:
        The analysis of the end: its `kind` says what was reached, `not critical` too where the
        steps did not suffice.

    Raises:
        ValueError: as `analyze`.

    Warns:
        UserWarning: if the loss cannot be computed in float64, and so is in float32.

    Example:
        >>> import jax.numpy as jnp
        >>> find_minimum(lambda w: (1 - w[0] * w[1]) ** 2, jnp.array([1.0, -1.0])).loss < 1e-15
        True
    """
    loss, float64 = read_problem(loss, params, float64)
    point = _bottom(loss, params, max_steps, float64, symmetries)
    for _ in range(require_positive_int("rounds", rounds) - 1):
        if point.descent is None:
            break
        try:
            way = escape(loss, point.params, direction=point.descent, max_steps=0, float64=float64)
        except NoDescentError:  # it falls along a curve alone, which no straight line shows
            break
        point = _bottom(loss, way.params, max_steps, float64, symmetries)
    return point


def _bottom(
    loss: Callable, start: Params, max_steps: int, float64: bool, symmetries: Declared
) -> Analysis:
    below = descend(loss, start, float64=float64, max_steps=max_steps)
    point = analyze(loss, below.params, float64=float64, symmetries=symmetries)
    highest = float(below.path["loss"][0])
    if _arrived(point, highest):
        return point
    steps = min(max_steps, _NEWTON_STEPS)
    below = descend(loss, below.params, "trust_region", float64=float64, max_steps=steps)
    point = analyze(loss, below.params, float64=float64, symmetries=symmetries)
    ended = len(below.path["loss"]) - 1 < steps
    if ended or _arrived(point, highest):
        return point
    return dataclasses.replace(point, kind="not critical")


def _arrived(point: Analysis, highest: float) -> bool:
    """Whether a Newton step promises next to nothing: ½gᵀH⁺g ≤ ½‖g‖‖H⁺g‖."""
    promise = 0.5 * point.gradient_norm * point.distance  # NaN where the point is not critical
    return point.certified or promise <= _PROMISE * max(abs(point.loss), highest - point.loss)
