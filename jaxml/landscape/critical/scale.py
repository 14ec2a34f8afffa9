"""Lengths and distances that a loss has of itself, so that its units do not matter."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.landscape.operators.hessian import flatten, hessian_vector_product
from jaxml.linalg.reductions import norm


def first_power_of_two(condition: Callable, dtype) -> Float[Array, ""]:
    """The least power of two d for which `condition(d)` is true, ∞ where none is; traceable.

    By bisection: over 1e-90 to 1e90 in float64, over 1e-30 to 1e30 in float32. The condition is
    taken to be true from some d on.
    """
    reach, steps = (300, 10) if dtype == jnp.float64 else (100, 8)

    def halve(_, ends):
        below, above = ends
        middle = (below + above) // 2
        true = condition(jnp.ldexp(jnp.ones((), dtype), middle))
        return jnp.where(true, below, middle), jnp.where(true, middle, above)

    ends = jnp.int32(-reach), jnp.int32(reach)
    _, least = jax.lax.fori_loop(0, steps, halve, ends)
    return jnp.where(least < reach, jnp.ldexp(jnp.ones((), dtype), least), jnp.inf)


def loss_rounding(f: Callable, x: Float[Array, " size"], value) -> Float[Array, ""]:
    """What rounding explains of a difference between losses near x; traceable.

    100 ε|f(x)|, and four times what f changes by over one rounding of x: the terms of a loss that
    cancel round as they are, not as their sum.
    """
    epsilon = jnp.finfo(x.dtype).eps
    signs = jax.random.rademacher(jax.random.key(1), (4, x.size), x.dtype)
    changes = jax.lax.map(lambda sign: f(x * (1 + 2 * epsilon * sign)), signs) - value
    changes = jnp.where(jnp.isfinite(changes), changes, 0)
    return 100 * epsilon * abs(value) + 4 * abs(changes).max()


@jax.jit
def length_scale(loss, params) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The distance over which the Hessian at a point changes by about half its size.

    Over it the gradient along random directions u departs from its linear model,
    ‖∇f(x + du) − ∇f(x) − d·Hu‖ > ½d‖Hu‖ (a loss that is not finite there departs too): the
    distance d, to 2 %, at which it begins to. It is in the units of the parameters
    and does not depend on those of the loss: that of s·f(x/t) at tx is t times that of f at x.

    A loss whose Hessian changes nowhere has no such length, and then it is ‖x‖. Where the loss
    is homogeneous about 0 (Σw², Σw⁴), so that nothing at the point sets it apart from any other
    on its ray, or x and the gradient are 0, it is at least 1: the only length that remains.

    Returns:
        The length, and the largest norm of the gradient at that distance in random directions.
    """
    f, x = flatten(loss, params)
    epsilon, differentiate = jnp.finfo(x.dtype).eps, jax.value_and_grad(f)
    value, gradient = differentiate(x)
    directions = jax.random.normal(jax.random.key(0), (2, x.size), x.dtype)
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    products = jax.lax.map(lambda u: hessian_vector_product(f, x, u), directions)
    curvature = norm(products)
    away = norm(x)
    # of the gradient; ‖Hu‖ of random directions is ‖H‖ over the root of the size, in the mean
    full = x.size**0.5 * curvature
    rounding = 10 * epsilon * (full * away + jnp.sqrt(abs(value)) * jnp.sqrt(full))
    rounding += 10 * epsilon * norm(gradient)

    # beyond it not even a quadratic is a number of this dtype
    furthest = (jnp.finfo(x.dtype).max ** 0.5 / 100) / jnp.sqrt(
        jnp.maximum(full, jnp.finfo(x.dtype).tiny)
    )

    def departs(d):
        d = jnp.minimum(d, furthest)

        def at(u, product):
            there, moved = differentiate(x + d * u)
            error = norm(moved - gradient - d * product)
            return ~jnp.isfinite(there) | ~(error <= d * curvature / 2 + rounding)

        pairs = [jnp.concatenate([rows, -rows]) for rows in (directions, products)]
        return jax.lax.map(lambda pair: at(*pair), tuple(pairs)).any()

    def shorten(k, length):
        shorter = length * jnp.exp2(-(0.5 ** k.astype(x.dtype)))
        return jnp.where(departs(shorter), shorter, length)

    length = jax.lax.fori_loop(1, 6, shorten, first_power_of_two(departs, x.dtype))
    homogeneous = _homogeneous(f, x, directions[0]) | ((away == 0) & ~gradient.any())
    at_least = jnp.where(homogeneous, jnp.maximum(1, away), away)
    none = (length == jnp.inf) | (curvature == 0)
    # the length of a homogeneous loss is that of the point itself
    only_its_own = homogeneous & (length <= 4 * away)
    length = jnp.where(only_its_own, jnp.maximum(length, at_least), length)
    length = jnp.where(none, at_least, length)
    around = jnp.concatenate([directions, -directions])
    sizes = jax.lax.map(lambda u: norm(jax.grad(f)(x + length * u)), around)
    return length, jnp.where(jnp.isfinite(sizes), sizes, 0).max()


def _homogeneous(f, x, u):
    """Whether ∇f(2y) = c∇f(y), with one c of at least 3/2, at x and beside it; not at 0."""
    places = jnp.stack([x, x + norm(x) * u])
    near, far = (jax.lax.map(lambda y, k=k: jax.grad(f)(k * y), places) for k in (1, 2))
    unit = jnp.where(near[0].any(), norm(near[0]), 1)
    ratio = norm(far[0]) / unit
    errors = jax.lax.map(norm, (far - ratio * near) / unit)
    sizes = jax.lax.map(norm, far / unit)
    return (ratio > 1.5) & (errors <= jnp.finfo(x.dtype).eps ** 0.5 * sizes).all()
