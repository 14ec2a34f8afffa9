"""Quadratic models in a trust region, minimised by products alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.linalg.reductions import inner, norm


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

    Reference:
        Steihaug 1983 and Toint 1981, as Nocedal and Wright 2006, algorithm 7.2.
    """
    size = norm(gradient)
    tolerance = jnp.minimum(0.5, jnp.sqrt(size)) * size

    def advance(c):
        d, r = c["d"], c["r"]
        Hd = product(d)
        curvature, rr = inner(d, Hd), inner(r, r)
        alpha = rr / curvature
        # the positive root of ‖p + τd‖ = radius
        pd, dd = inner(c["p"], d), inner(d, d)
        left = jnp.maximum(radius**2 - inner(c["p"], c["p"]), 0)
        tau = left / (pd + jnp.sqrt(pd**2 + dd * left))
        out = (curvature <= 0) | ~(alpha < tau)
        length = jnp.where(out, tau, alpha)
        r = r + length * Hd
        return {
            "p": c["p"] + length * d,
            "Hp": c["Hp"] + length * Hd,
            "r": r,
            "d": inner(r, r) / rr * d - r,
            "k": c["k"] + 1,
            "out": out,
        }

    def going_on(c):
        small = norm(c["r"]) <= tolerance
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
