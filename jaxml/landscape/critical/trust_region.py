"""Newton's method in a trust region, by products alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.landscape.critical.units import Units, last_length
from jaxml.linalg.reductions import inner, norm
from jaxml.linalg.steihaug import steihaug

# rejected steps in a row that promised less than the loss's rounding, after which it ends
_IDLE = 3


def trust_region_newton(
    f: Callable,
    x: Float[Array, " size"],
    units: Units,
    measure: Callable,
    tolerance: float | Array,
    max_steps: int,
) -> tuple[Float[Array, " size"], Array, dict[str, Array], Array]:
    """Minimise `f` from `x` until a size is below the tolerance; traceable.

    The first region reaches as far as the slope against the gradient is that of a parabola.

    Args:
        f: vector -> scalar.
        x: where to start.
        units: of `f` at `x`, see `natural_units`.
        measure: `(x, f(x), ‖∇f(x)‖) -> (the size that should vanish, dict of numbers to record)`.
        tolerance: of that size.
        max_steps: at most so many steps, those included that are rejected.

    Returns:
        The end, the number of steps, the record, each of shape `(max_steps + 1,)` and NaN after
        the end, and the number of Hessian-vector products.

    Reference:
        Nocedal and Wright 2006, algorithms 4.1 and 7.2 (Steihaug 1983, Toint 1981). Where the
        loss changes by less than its rounding, the gradient's norm decides on a step instead.
    """
    scaled, epsilon = units.scaled(f), jnp.finfo(x.dtype).eps
    differentiate = jax.value_and_grad(scaled)

    def measured(y, value, gradient):
        point = units.length * y, units.height * value, units.slope * norm(gradient)
        return measure(*point)

    def advance(c):
        y, value, gradient = c["y"], c["value"], c["gradient"]
        _, product = jax.linearize(jax.grad(scaled), y)
        p, Hp, products = steihaug(product, gradient, c["radius"])
        trial = y + p
        new_value, new_gradient = differentiate(trial)
        predicted = -(inner(gradient, p) + inner(p, Hp) / 2)
        ratio = (value - new_value) / predicted
        # what the loss cannot tell
        blind = predicted <= 10 * epsilon * jnp.maximum(1, abs(value))
        smaller = norm(new_gradient) < norm(gradient)
        ratio = jnp.where(blind, jnp.where(smaller, 0.5, 0.0), ratio)
        defined = jnp.isfinite(new_value) & jnp.isfinite(new_gradient).all()
        length = norm(p)
        edge = length >= 0.99 * c["radius"]
        radius = jnp.where(ratio > 0.75, jnp.where(edge, 2 * c["radius"], c["radius"]), c["radius"])
        radius = jnp.where(defined & (ratio >= 0.25), radius, length / 4)
        accept = defined & (ratio > 0.15)
        y, value, gradient = jax.tree.map(
            lambda new, old: jnp.where(accept, new, old),
            (trial, new_value, new_gradient),
            (y, value, gradient),
        )
        size, numbers = measured(y, value, gradient)
        return {
            "y": y,
            "value": value,
            "gradient": gradient,
            "radius": radius,
            "k": c["k"] + 1,
            "products": c["products"] + products,
            "record": {
                name: c["record"][name].at[c["k"] + 1].set(numbers[name]) for name in numbers
            },
            "size": size,
            "idle": jnp.where(blind & ~accept, c["idle"] + 1, 0),
            "moved": (trial != c["y"]).any(),
        }

    def going_on(c):
        stalled = ~c["moved"] | (c["idle"] >= _IDLE)
        return (c["k"] < max_steps) & (c["size"] > tolerance) & ~stalled

    y, value, gradient = units.start(x)
    size, numbers = measured(y, value, gradient)
    empty = jnp.full(max_steps + 1, jnp.nan, x.dtype)
    end = jax.lax.while_loop(
        going_on,
        advance,
        {
            "y": y,
            "value": value,
            "gradient": gradient,
            "radius": _first_radius(scaled, y, gradient),
            "k": jnp.int32(0),
            "products": jnp.int32(0),
            "record": {name: empty.at[0].set(number) for name, number in numbers.items()},
            "size": size,
            "idle": jnp.int32(0),
            "moved": jnp.bool_(True),
        },
    )
    return units.length * end["y"], end["k"], end["record"], end["products"]


def _first_radius(f: Callable, x: Float[Array, " size"], gradient: Float[Array, " size"]) -> Array:
    """How far against the gradient the slope is that of a parabola, to 3/4 of the larger term."""
    size = norm(gradient)
    known = (size > 0) & jnp.isfinite(size)
    direction = gradient / jnp.where(known, size, 1)

    def change(length):
        return size - jax.grad(f)(x - length * direction) @ direction

    one = jnp.ones((), x.dtype)
    curvature = change(one)

    def parabolic(length):
        there = length * curvature
        return abs(change(length) - there) <= 0.75 * jnp.maximum(size, abs(there))

    return last_length(parabolic, one, known)


def damping_of_length(step: Callable, radius: Array, low: Array, high: Array) -> Array:
    """The damping at which a step is as long as the radius, where its length falls in it.

    Args:
        step: damping -> step.
        radius: the length.
        low: log of a damping at which it is too long.
        high: log of one at which it is short enough, as it is at the one returned.
    """

    def halve(_, interval):
        low, high = interval
        middle = (low + high) / 2
        long = norm(step(jnp.exp(middle))) > radius
        return jnp.where(long, middle, low), jnp.where(long, high, middle)

    _, high = jax.lax.fori_loop(0, 40, halve, (low, high))
    return jnp.exp(high)
