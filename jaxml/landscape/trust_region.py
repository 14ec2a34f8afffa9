"""Newton's method in a trust region, by products alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def trust_region_newton(
    f: Callable,
    x: Float[Array, " size"],
    measure: Callable,
    tolerance: float | Array,
    max_steps: int,
) -> tuple[Float[Array, " size"], Array, dict[str, Array], Array]:
    """Minimise `f` from `x` until a size is below the tolerance; traceable.

    Args:
        f: vector -> scalar.
        x: where to start.
        measure: `(x, f(x), ∇f(x)) -> (the size that should vanish, dict of numbers to record)`.
        tolerance: of that size.
        max_steps: at most so many steps, those included that are rejected.

    Returns:
        The end, the number of steps, the record, each of shape `(max_steps + 1,)` and NaN after
        the end, and the number of Hessian-vector products.

    Reference:
        Nocedal and Wright 2006, algorithms 4.1 and 7.2 (Steihaug 1983, Toint 1981). Where the
        loss changes by less than its rounding, the gradient's norm decides on a step instead.
    """
    differentiate = jax.value_and_grad(f)
    epsilon = jnp.finfo(x.dtype).eps

    def advance(c):
        x, value, gradient = c["x"], c["value"], c["gradient"]
        _, product = jax.linearize(jax.grad(f), x)
        p, Hp, products = steihaug(product, gradient, c["radius"])
        trial = x + p
        new_value, new_gradient = differentiate(trial)
        predicted = -(gradient @ p + p @ Hp / 2)
        ratio = (value - new_value) / predicted
        # what the loss cannot tell
        blind = predicted <= 10 * epsilon * jnp.maximum(1, abs(value))
        smaller = jnp.linalg.norm(new_gradient) < jnp.linalg.norm(gradient)
        ratio = jnp.where(blind, jnp.where(smaller, 0.5, 0.0), ratio)
        length = jnp.linalg.norm(p)
        edge = length >= 0.99 * c["radius"]
        radius = jnp.where(ratio > 0.75, jnp.where(edge, 2 * c["radius"], c["radius"]), c["radius"])
        radius = jnp.where(ratio >= 0.25, radius, length / 4)  # NaN too
        accept = ratio > 0.15
        x, value, gradient = jax.tree.map(
            lambda new, old: jnp.where(accept, new, old),
            (trial, new_value, new_gradient),
            (x, value, gradient),
        )
        size, numbers = measure(x, value, gradient)
        return {
            "x": x,
            "value": value,
            "gradient": gradient,
            "radius": radius,
            "k": c["k"] + 1,
            "products": c["products"] + products,
            "record": {
                name: c["record"][name].at[c["k"] + 1].set(numbers[name]) for name in numbers
            },
            "size": size,
            "moved": (trial != c["x"]).any(),
        }

    def going_on(c):
        return (c["k"] < max_steps) & (c["size"] > tolerance) & c["moved"]

    value, gradient = differentiate(x)
    size, numbers = measure(x, value, gradient)
    empty = jnp.full(max_steps + 1, jnp.nan, x.dtype)
    end = jax.lax.while_loop(
        going_on,
        advance,
        {
            "x": x,
            "value": value,
            "gradient": gradient,
            "radius": jnp.ones((), x.dtype),
            "k": jnp.int32(0),
            "products": jnp.int32(0),
            "record": {name: empty.at[0].set(number) for name, number in numbers.items()},
            "size": size,
            "moved": jnp.bool_(True),
        },
    )
    return end["x"], end["k"], end["record"], end["products"]


def steihaug(
    product: Callable, gradient: Float[Array, " size"], radius: float | Array
) -> tuple[Float[Array, " size"], Float[Array, " size"], Array]:
    """A step p that lowers gᵀp + ½pᵀHp within ‖p‖ ≤ radius, by conjugate gradients; traceable.

    It ends where the residual is below min(½, √‖g‖)·‖g‖, and goes on to the boundary along a
    direction that leads out or has no positive curvature.

    Args:
        product: vector -> H·vector.
        gradient: g.
        radius: of the trust region.

    Returns:
        p, Hp and the number of products.
    """
    size = jnp.linalg.norm(gradient)
    tolerance = jnp.minimum(0.5, jnp.sqrt(size)) * size

    def advance(c):
        d, r = c["d"], c["r"]
        Hd = product(d)
        curvature, rr = d @ Hd, r @ r
        alpha = rr / curvature
        # the positive root of ‖p + τd‖ = radius
        pd, dd = c["p"] @ d, d @ d
        left = jnp.maximum(radius**2 - c["p"] @ c["p"], 0)
        tau = left / (pd + jnp.sqrt(pd**2 + dd * left))
        out = (curvature <= 0) | ~(alpha < tau)
        length = jnp.where(out, tau, alpha)
        r = r + length * Hd
        return {
            "p": c["p"] + length * d,
            "Hp": c["Hp"] + length * Hd,
            "r": r,
            "d": r @ r / rr * d - r,
            "k": c["k"] + 1,
            "out": out,
        }

    def going_on(c):
        small = jnp.linalg.norm(c["r"]) <= tolerance
        return ~small & ~c["out"] & (c["k"] < 2 * gradient.size)

    zeros = jnp.zeros_like(gradient)
    start = {
        "p": zeros,
        "Hp": zeros,
        "r": gradient,
        "d": -gradient,
        "k": jnp.int32(0),
        "out": jnp.bool_(False),
    }
    end = jax.lax.while_loop(going_on, advance, start)
    return end["p"], end["Hp"], end["k"]
