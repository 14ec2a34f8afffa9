"""Lengths and distances that a loss has of itself, so that its units do not matter."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.landscape.operators.hessian import flatten
from jaxml.linalg.reductions import norm

# steps by 2^(1/2), 2^(1/4), …, by which a length is found to 2 % from its power of two
_SHORTER = 5


def first_power_of_two(condition: Callable, dtype) -> Float[Array, ""]:
    """The least power of two d for which `condition(d)` is true, ∞ where none is; traceable.

    By bisection: over 1e-90 to 1e90 in float64, over 1e-30 to 1e30 in float32. The condition is
    taken to be true from some d on.
    """
    reach, steps = _powers_of_two(dtype)

    def halve(_, ends):
        below, above = ends
        middle = (below + above) // 2
        true = condition(jnp.ldexp(jnp.ones((), dtype), middle))
        return jnp.where(true, below, middle), jnp.where(true, middle, above)

    ends = jnp.int32(-reach), jnp.int32(reach)
    _, least = jax.lax.fori_loop(0, steps, halve, ends)
    return jnp.where(least < reach, jnp.ldexp(jnp.ones((), dtype), least), jnp.inf)


def _powers_of_two(dtype) -> tuple[int, int]:
    """The largest exponent looked at, and how many bisections leave one power of two."""
    return (300, 10) if dtype == jnp.float64 else (100, 8)


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
    dtype, epsilon, differentiate = x.dtype, jnp.finfo(x.dtype).eps, jax.value_and_grad(f)
    away = norm(x)
    directions = jax.random.normal(jax.random.key(0), (2, x.size), dtype)
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    # every derivative of the loss is compiled by itself, so that all are taken in two loops
    beside = x + away * directions[0]
    points = jnp.stack([x, x, beside, 2 * x, 2 * beside])
    (values, gradients), (_, products) = jax.lax.map(
        lambda pair: jax.jvp(differentiate, pair[:1], pair[1:]),
        (points, directions[jnp.array([0, 1, 0, 0, 0])]),
    )
    value, gradient, products = values[0], gradients[0], products[:2]
    curvature = norm(products)
    # of the gradient; ‖Hu‖ of random directions is ‖H‖ over the root of the size, in the mean
    full = x.size**0.5 * curvature
    rounding = 10 * epsilon * (full * away + jnp.sqrt(abs(value)) * jnp.sqrt(full))
    rounding += 10 * epsilon * norm(gradient)

    # beyond it not even a quadratic is a number of this dtype
    furthest = (jnp.finfo(dtype).max ** 0.5 / 100) / jnp.sqrt(
        jnp.maximum(full, jnp.finfo(dtype).tiny)
    )
    around = jnp.concatenate([directions, -directions])
    pairs = around, jnp.concatenate([products, -products])

    def look(d):
        """Whether the gradient departs from its linear model, and its largest norm."""

        def at(pair):
            u, product = pair
            there, moved = differentiate(x + d * u)
            error = norm(moved - gradient - d * product)
            departs = ~jnp.isfinite(there) | ~(error <= d * curvature / 2 + rounding)
            return departs, norm(moved)

        departs, sizes = jax.lax.map(at, pairs)
        return departs.any(), jnp.where(jnp.isfinite(sizes), sizes, 0).max()

    homogeneous = _homogeneous(gradients[jnp.array([0, 2])], gradients[3:])
    homogeneous |= (away == 0) & ~gradient.any()

    def final(length):
        at_least = jnp.where(homogeneous, jnp.maximum(1, away), away)
        none = (length == jnp.inf) | (curvature == 0)
        # the length of a homogeneous loss is that of the point itself
        only_its_own = homogeneous & (length <= 4 * away)
        length = jnp.where(only_its_own, jnp.maximum(length, at_least), length)
        return jnp.where(none, at_least, length)

    reach, halvings = _powers_of_two(dtype)
    last = halvings + _SHORTER

    def advance(k, c):
        middle = (c["below"] + c["above"]) // 2
        halving, ending = k < halvings, k == last
        shorter = c["length"] * jnp.exp2(-(0.5 ** (k - halvings + 1).astype(dtype)))
        length = jnp.where(halving, jnp.ldexp(jnp.ones((), dtype), middle), shorter)
        length = jnp.where(ending, final(c["length"]), length)
        departs, steepness = look(jnp.where(ending, length, jnp.minimum(length, furthest)))
        below = jnp.where(halving & ~departs, middle, c["below"])
        above = jnp.where(halving & departs, middle, c["above"])
        reached = jnp.where(above < reach, jnp.ldexp(jnp.ones((), dtype), above), jnp.inf)
        kept = jnp.where(departs | ending, length, c["length"])
        return {
            "below": below,
            "above": above,
            "length": jnp.where(halving, reached, kept),
            "steepness": steepness,
        }

    start = {
        "below": jnp.int32(-reach),
        "above": jnp.int32(reach),
        "length": jnp.full((), jnp.inf, dtype),
        "steepness": jnp.zeros((), dtype),
    }
    end = jax.lax.fori_loop(0, last + 1, advance, start)
    return end["length"], end["steepness"]


def _homogeneous(near, far):
    """Whether ∇f(2y) = c∇f(y), with one c of at least 3/2, of the gradients at both; not at 0."""
    unit = jnp.where(near[0].any(), norm(near[0]), 1)
    ratio = norm(far[0]) / unit
    errors = jax.lax.map(norm, (far - ratio * near) / unit)
    sizes = jax.lax.map(norm, far / unit)
    return (ratio > 1.5) & (errors <= jnp.finfo(near.dtype).eps ** 0.5 * sizes).all()
