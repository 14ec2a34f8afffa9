"""Optimisers on a surface of two or a few numbers: where each goes, and why it leaves or stays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxml.core.checks import require, require_positive_int
from jaxml.core.programs import as_read
from jaxml.core.result import Result
from jaxml.studies.sweep.lane_optimizer import two_slots, update


def ravine(w: Float[Array, " 2"]) -> Float[Array, ""]:
    """The course's ravine: ½(w₀²/100 + 10·w₁²), a thousand times as steep across as along."""
    return 0.5 * (w[0] ** 2 / 100 + 10 * w[1] ** 2)


def plateau(w: Float[Array, " 2"]) -> Float[Array, ""]:
    """A valley behind a plateau: 1 − exp(−|w|²/2) + |w|²/1000, which hardly falls from afar."""
    square = (w**2).sum()
    return 1 - jnp.exp(-square / 2) + square / 1000


def saddle(w: Float[Array, " 2"]) -> Float[Array, ""]:
    """A saddle between two valleys: ½w₀² + ¼w₁⁴ − ½w₁², its valleys of loss −¼ at w₁ = ±1."""
    return 0.5 * w[0] ** 2 + 0.25 * w[1] ** 4 - 0.5 * w[1] ** 2


SURFACES = {
    "ravine": (ravine, (-8.0, 1.0)),
    "plateau": (plateau, (3.5, 2.5)),
    "saddle": (saddle, (-1.5, 1e-3)),
}
"""Name -> surface and where the optimisers start."""


@dataclasses.dataclass(frozen=True)
class Descents(Result):
    """Optimisers from one start.

    Attributes:
        names: of the optimisers.
        rates: η of each: the one of its grid that ends lowest.
        path: shape (optimisers, steps + 1, size).
        losses: along it, shape (optimisers, steps + 1).
        slopes: ‖∇f‖ along it.
        lowest: the lowest eigenvalue of the Hessian along it.
        reached: the step at which the loss is first within a hundredth of the fall from the start
            to the lowest loss of all; infinite if it never is.
        why: of each, in words.
    """

    names: list[str]
    rates: np.ndarray
    path: np.ndarray
    losses: np.ndarray
    slopes: np.ndarray
    lowest: np.ndarray
    reached: np.ndarray
    why: list[str]


def descents(
    surface: Callable[[jax.Array], jax.Array],
    start: Sequence[float],
    *,
    optimizers: Sequence[str] = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"),
    rates: Sequence[float] | Mapping[str, Sequence[float]] = tuple(np.geomspace(1e-3, 1.0, 13)),
    momentum: float = 0.9,
    steps: int = 300,
) -> Descents:
    """Run optimisers on a surface, each at the best rate of a grid, all in one program.

    Args:
        surface: `w -> scalar`, of a vector.
        start: where all begin.
        optimizers: their names.
        rates: η of all, or by name.
        momentum: β, Adam's β₁.
        steps: updates.

    Raises:
        ValueError: for an unknown name, an empty grid, or a start that is not a vector.

    Example:
        >>> found = descents(*SURFACES["saddle"], optimizers=["sgd", "adam"], steps=200)
        >>> found.names, found.path.shape
        (['sgd', 'adam'], (2, 201, 2))
    """
    x = jnp.asarray(start, float)
    require(x.ndim == 1 and x.size > 0, "a start that is a vector", f"shape {x.shape}")
    steps = require_positive_int("steps", steps)
    require(len(optimizers) > 0, "at least one optimizer", "none")
    names, values = [], []
    for name in optimizers:
        own = rates[name] if isinstance(rates, Mapping) else rates
        require(len(own) > 0, f"rates of {name}", "none")
        names += [name] * len(own)
        values += list(own)
    coefficients = two_slots(names, [momentum] * len(names))
    path, losses, slopes, lowest = map(
        np.asarray, _run(as_read(surface, x), x, coefficients, jnp.asarray(values), steps)
    )
    ends = np.where(np.isfinite(losses), losses, np.inf)
    # of rates that end alike, the one that was there first
    score = ends[:, -1] + 1e-3 * np.clip(ends, None, 1e9).mean(1)
    best = [
        int(own[np.argmin(score[own])])
        for own in (np.flatnonzero(np.array(names) == name) for name in optimizers)
    ]
    path, losses, slopes, lowest = (array[best] for array in (path, losses, slopes, lowest))
    floor = np.nanmin(np.where(np.isfinite(losses), losses, np.nan))
    near = losses <= floor + 0.01 * (losses[0, 0] - floor)
    reached = np.where(near.any(1), near.argmax(1), np.inf)
    why = [_why(*row) for row in zip(losses, slopes, lowest, reached, strict=True)]
    return Descents(
        list(optimizers), np.array(values)[best], path, losses, slopes, lowest, reached, why
    )


@functools.partial(jax.jit, static_argnames=("surface", "steps"))
def _run(surface, start, coefficients, rates, steps):
    def lane(optimizer, rate):
        def step(carry, t):
            w, slots = carry
            value, gradient = jax.value_and_grad(surface)(w)
            lowest = jnp.linalg.eigvalsh(jax.hessian(surface)(w))[0]
            seen = (w, value, jnp.linalg.norm(gradient), lowest)
            return update(optimizer, rate, t, w, slots, gradient), seen

        zeros = jnp.zeros_like(start)
        _, seen = jax.lax.scan(step, (start, (zeros, zeros)), jnp.arange(steps + 1))
        return seen

    return jax.vmap(lane)(coefficients, rates)


def _why(losses, slopes, lowest, reached) -> str:
    """What held it up longest, and whether it got over that."""
    if not np.isfinite(losses).all():
        return "diverges"
    last = len(losses) - 1
    until = int(min(reached, last))
    slow = slopes[: until + 1] < 0.1 * slopes.max()
    at_saddle = int((slow & (lowest[: until + 1] < 0)).sum())
    bounces = int((np.diff(losses[: until + 1]) > 0).sum())
    if np.isfinite(reached):
        if at_saddle > 0.2 * until:
            return f"{at_saddle} steps at small slopes under negative curvature, out at {until}"
        if bounces > 0.2 * until:
            return f"there at {until}, oscillating: the loss rises in {bounces} steps"
        return f"there at {until}"
    if lowest[-1] < 0 and slopes[-1] < 0.1 * slopes.max():
        return f"stays where the slope is {slopes[-1]:.1e} and the curvature negative"
    return f"still on its way: slope {slopes[-1]:.1e}, lowest curvature {lowest[-1]:.1e}"
