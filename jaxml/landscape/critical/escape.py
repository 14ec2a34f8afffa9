"""The way out of a saddle: along the most negative curvature, then downhill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.critical.analysis import analyze
from jaxml.landscape.critical.descent import check_gradient_tolerance, descend_checked
from jaxml.landscape.critical.scale import first_power_of_two, length_scale, loss_rounding
from jaxml.landscape.critical.symmetry_checks import check_symmetries
from jaxml.landscape.critical.symmetry_group import Declared, Symmetries
from jaxml.landscape.operators.hessian import flatten, hessian
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import checked_problem, ravel_host, unravel_host
from jaxml.landscape.spectra.eigenpairs import eigenpairs
from jaxml.linalg.reductions import norm

# parameters up to which the direction is that of the dense analysis: a second or two
DENSE_SIZE = 2000


class NoDescentError(ValueError):
    """There is no way down from a point, or none was found."""


@flax.struct.dataclass
class Escape(Result):
    """A way out. All arrays are numpy's.

    Attributes:
        params: its end.
        loss: the loss there.
        gradient_norm: the gradient's 2-norm there.
        direction: the direction along which the start was left, a pytree of unit length.
        distance: how far along it the line search went; negative for the opposite sense.
        path: `"loss"`, `"gradient_norm"` and `"distance"` (from the start), each of shape
            `(points,)`: the start, the end of the line search, and the point after each step of
            the descent.
    """

    params: Params
    loss: float
    gradient_norm: float
    direction: Params
    distance: float
    path: dict[str, np.ndarray]


@takes_modules
def escape(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    direction: Params | None = None,
    one_sided: bool = False,
    max_steps: int = 500,
    gradient_tolerance: float | None = None,
    float64: bool = False,
    memory: int | None = None,
    symmetries: Declared = (),
) -> Escape:
    """Leave a critical point that is no minimum, or a plateau, and descend.

    A line search from the point along the direction, with both signs, as far as the loss falls;
    then L-BFGS from the lower of the two ends.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: where to start.
        direction: a pytree like the parameters, such as `Analysis.descent`; by default that of
            `analyze` up to 2,000 parameters, beyond them the Hessian's lowest eigenvector, found
            by products alone.
        one_sided: whether to leave in the direction's own sense only.
        max_steps: steps of the descent at most; 0 ends at the line search's point.
        gradient_tolerance: the gradient norm at which the descent ends; ε^(2/3) by default.
        float64: compute in float64, as is done anyway where a parameter is in it.
        memory: bytes that the dense analysis may take, see `analyze`.
        symmetries: transformations that leave the loss unchanged, see `analyze`: the direction of
            the dense analysis is not along their orbits.

    Returns:
        The path, see `Escape`.

    Raises:
        ValueError: for a bad loss, bad parameters or direction.
        NoDescentError: (a `ValueError`) if the point has no direction of descent (a minimum, or a
            degenerate point where none was found); if the loss does not fall along the direction.
        BackendError: if the backend computes known answers wrong.

    Example:
        >>> import jax.numpy as jnp
        >>> out = escape(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2))
        >>> out.loss < 1e-10
        True
    """
    require(isinstance(max_steps, int) and max_steps >= 0, "max_steps of at least 0", max_steps)
    check_gradient_tolerance(gradient_tolerance)
    with checked_problem(loss, params, float64) as problem:
        loss, params = problem
        held = check_symmetries(symmetries, loss, params)
        own = direction is None
        if own:
            direction = _direction(loss, params, memory, held)
        shapes = jax.tree.map(np.shape, (direction, params))
        alike = jax.tree.structure(direction) == jax.tree.structure(params)
        require(alike and shapes[0] == shapes[1], f"a direction of shapes {shapes[1]}", shapes[0])
        v, x = ravel_host(direction), ravel_host(params)
        length = float(np.linalg.norm(v))
        require(0 < length < np.inf, "a direction of finite length above 0", length)
        unit = (v / length).astype(x.dtype)
        if own and not one_sided:  # an eigenvector's sign is rounding's
            unit *= np.sign(unit[np.argmax(np.abs(unit))])
        signs = np.array([1.0] if one_sided else [1.0, -1.0], x.dtype)
        distance, before, after = jax.device_get(
            _line_search(loss, params, unit, signs, length_scale(loss, params)[0])
        )
        if distance == 0:
            raise NoDescentError(
                "expected a loss that falls along the direction, "
                f"got {before['loss']:.6g}, which falls in "
                f"{'that sense not' if one_sided else 'neither sense'}"
            )
        left = unravel_host(params, x + distance * unit)
        way = {name: [before[name], after[name]] for name in before}
        if max_steps:
            below = descend_checked(loss, left, params, gradient_tolerance, max_steps)
            for name, values in way.items():
                values.extend(below.path[name][1:])
            left = below.params
        path = {name: np.array(values) for name, values in way.items()}
        return Escape(
            params=left,
            loss=float(path["loss"][-1]),
            gradient_norm=float(path["gradient_norm"][-1]),
            direction=unravel_host(params, unit),
            distance=float(distance),
            path=path,
        )


def _direction(loss, params, memory, symmetries: Symmetries) -> Params:
    """The direction in which the loss falls."""
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    if size <= DENSE_SIZE:
        point = analyze(loss, params, memory=memory, symmetries=symmetries)
        direction, lowest, tolerance = point.descent, point.eigenvalues[0], point.tolerance
    else:
        found = eigenpairs(hessian(loss, params), top=0, lowest=1, tolerance=1e-4, max_products=300)
        # any Rayleigh quotient below zero is a way down, converged or not
        lowest, tolerance = found.values[0], found.rounding
        direction = unravel_host(params, found.vectors[0]) if lowest < -tolerance else None
    if direction is None:
        raise NoDescentError(
            "expected a point with a direction of descent, "
            f"got none: lowest eigenvalue {lowest:.3g}, tolerance {tolerance:.1e}"
        )
    return direction


@jax.jit
def _line_search(loss, params, unit, signs, length):
    """The first local minimum along ±unit on a grid of distances, the lower of the two; 0 if none.

    Of two that are equal up to rounding, that of the first sign.

    Only with the signs given, 1 and −1 or one of them.

    The grid goes by factors of √2 from the power of two at which the loss first departs from its
    value by more than rounding, whatever the units, to eight times the length over which the
    Hessian changes, the one given, or 64 times where it begins if that is more.

    Returns:
        The signed distance, and the measures at the start and at the end.
    """
    f, x = flatten(loss, params)
    value = f(x)
    rounding = loss_rounding(f, x, value) / 10

    def departs(d):
        there = jax.lax.map(lambda sense: f(x + sense * d * unit), jnp.array([1, -1], x.dtype))
        return jnp.any(~(abs(there - value) <= rounding))

    first = first_power_of_two(departs, x.dtype)
    # finite, so that a search ends where the loss is constant and nothing is first
    last = jnp.minimum(jnp.maximum(8 * length, 64 * first), jnp.finfo(x.dtype).max)

    def first_minimum(sense):
        def at(k):  # exact where k is even
            distance = jnp.ldexp(first, k // 2) * jnp.where(k % 2 == 1, 2**0.5, 1).astype(x.dtype)
            there = f(x + sense * distance * unit)
            return distance, jnp.where(distance <= last, there, jnp.inf)

        def found(c):
            return (c["loss"] < value - rounding) & ~(c["next"] < c["loss"])

        def advance(c):
            distance, there = at(c["k"] + 1)
            return {"k": c["k"] + 1, "loss": c["next"], "next": there,
                    "distance": c["beyond"], "beyond": distance}  # fmt: skip

        # what comes in with the first two steps are the distances −2 and −1
        none, inf = jnp.zeros((), x.dtype), jnp.full((), jnp.inf, x.dtype)
        start = {"k": jnp.int32(-3), "loss": inf, "next": inf,
                 "distance": none, "beyond": none}  # fmt: skip
        going_on = lambda c: ~found(c) & (c["distance"] <= last)  # noqa: E731
        end = jax.lax.while_loop(going_on, advance, start)
        falls = found(end) & (first < jnp.inf)
        # the start itself where none falls
        return jnp.where(falls, end["loss"], value), jnp.where(falls, sense * end["distance"], 0)

    losses, ends = jax.lax.map(first_minimum, signs)
    # where both are equal but for rounding, as along a symmetry of the loss, the first
    distance = jnp.where(losses[-1] < losses[0] - rounding, ends[-1], ends[0])

    def measure(t):
        value, gradient = jax.value_and_grad(f)(x + t * unit)
        return {"loss": value, "gradient_norm": norm(gradient), "distance": abs(t)}

    both = jax.lax.map(measure, jnp.stack([jnp.zeros_like(distance), distance]))
    return distance, *({name: v[i] for name, v in both.items()} for i in (0, 1))
