"""The length over which a loss changes, and by how much: units in which a search sees O(1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.linalg.reductions import norm, power_of_two

# doublings of a length at most: from 1 to beyond 1e20, or back
_DOUBLINGS = 80


class Units(NamedTuple):
    """Of a loss f at a point x. Length and height are powers of two, so that scaling is exact.

    Attributes:
        length: the distance against the gradient over which the slope changes by up to 3/4.
        height: length·‖∇f(x)‖, rounded.
        value: f(x).
        gradient: ∇f(x).
        gradient_norm: ‖∇f(x)‖.
    """

    length: Array
    height: Array
    value: Array
    gradient: Array
    gradient_norm: Array

    @property
    def slope(self) -> Array:
        """The unit of gradients."""
        return self.height / self.length

    def scaled(self, f: Callable) -> Callable:
        """f(length·y)/height, whose gradient at the point is of norm 1, nearly."""
        return lambda y: f(self.length * y) / self.height

    def start(self, x: Array) -> tuple[Array, Array, Array]:
        """The point x and its value and gradient, of the scaled function."""
        return x / self.length, self.value / self.height, self.gradient / self.slope


def natural_units(f: Callable, x: Float[Array, " size"]) -> Units:
    """The units of a function at a point, from gradients alone; traceable.

    For s·f(x/t) they are t and s times those of f, up to the rounding to powers of two, so that
    what a method does in them does not depend on the units that its user has chosen. At a
    critical point, where there is no slope to follow, they are 1.
    """
    value, gradient = jax.value_and_grad(f)(x)
    size = norm(gradient)
    known = (size > 0) & jnp.isfinite(size)
    direction = gradient / jnp.where(known, size, 1)

    def straight(length):
        slope = jax.grad(f)(x - length * direction) @ direction
        return abs(slope - size) <= 0.75 * size  # false where the loss is not defined

    away = norm(x)
    guess = jnp.where(away > 0, away, jnp.where(value == 0, 1, abs(value) / size))
    guess = jnp.where(known & (guess > 0) & jnp.isfinite(guess), guess, 1)
    length = last_length(straight, power_of_two(guess), known)
    limits = jnp.finfo(x.dtype)
    height = jnp.clip(length * jnp.where(known, size, 1), 4 * limits.tiny, limits.max / 4)
    return Units(length, power_of_two(height), value, gradient, size)


def last_length(holds: Callable, length: Array, known: Array) -> Array:
    """The largest length, of doublings or halvings of the given one, up to which a test holds.

    Args:
        holds: length -> whether it does.
        length: where to begin.
        known: whether to look at all; the given length where not.
    """

    def going_on(c):
        return known & c["going"] & (c["k"] < _DOUBLINGS)

    def advance(c):
        held = holds(c["trial"])
        upwards = jnp.where(c["k"] == 0, held, c["upwards"])
        return {
            "length": jnp.where(held | ~upwards, c["trial"], c["length"]),
            "trial": jnp.where(upwards, 2 * c["trial"], c["trial"] / 2),
            "upwards": upwards,
            "going": (c["k"] == 0) | (held == upwards),
            "k": c["k"] + 1,
        }

    no = jnp.bool_(False)
    start = {"length": length, "trial": length, "upwards": no, "going": ~no, "k": jnp.int32(0)}
    return jax.lax.while_loop(going_on, advance, start)["length"]
