"""Symmetric linear systems that may be singular, by products alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.linalg.reductions import inner, norm


def minres(
    product: Callable, b: Float[Array, " size"], tolerance: float | Array, max_steps: int
) -> Float[Array, " size"]:
    """The least-squares solution of Ax = b for a symmetric A, singular or indefinite; traceable.

    Args:
        product: vector -> A·vector.
        b: the right-hand side.
        tolerance: of the residual r: it ends when ‖r‖ ≤ tolerance·‖b‖ or, where the system is
            incompatible, ‖Ar‖ ≤ min(tolerance, 1e-2)·‖A‖‖r‖: at a looser one b itself would
            soon pass for the residual of a solution, which is then 0.
        max_steps: at most so many products.

    Returns:
        x of the Krylov space of b.

    Reference:
        Paige and Saunders 1975, section 5; the recurrences follow Choi, Paige and Saunders 2011
        (arXiv:1003.4042), table 3.1, without the QLP part.
    """
    epsilon, tiny = jnp.finfo(b.dtype).eps, jnp.finfo(b.dtype).tiny
    beta1 = norm(b)
    zero, zeros = jnp.zeros((), b.dtype), jnp.zeros_like(b)
    least_tolerance = jnp.minimum(tolerance, 1e-2)

    def advance(s):
        v = s["v"]
        w = product(v) - s["beta"] * s["v_old"]
        alpha = inner(w, v)
        w = w - alpha * v
        beta = norm(w)
        # the last left rotation, then the new one
        delta = s["c"] * s["dbar"] + s["s"] * alpha
        gbar = s["s"] * s["dbar"] - s["c"] * alpha
        epsilon_new, dbar = s["s"] * beta, -s["c"] * beta
        gamma = jnp.maximum(jnp.hypot(gbar, beta), tiny)
        c, sn = gbar / gamma, beta / gamma
        d = (v - s["eps"] * s["d_older"] - delta * s["d_old"]) / gamma
        largest = jnp.maximum(s["largest"], jnp.sqrt(alpha**2 + beta**2 + s["beta"] ** 2))
        # ‖Ar‖ before this step: zero at a least-squares solution, where the step would be 0/0
        normal = s["phi"] * jnp.hypot(gbar, dbar)
        least = normal <= least_tolerance * largest * s["phi"]
        return {
            "k": s["k"] + 1,
            "x": jnp.where(least, s["x"], s["x"] + s["phi"] * c * d),
            "v_old": v,
            "v": w / jnp.maximum(beta, tiny),
            "beta": beta,
            "c": c,
            "s": sn,
            "dbar": dbar,
            "eps": epsilon_new,
            "d_older": s["d_old"],
            "d_old": d,
            "phi": s["phi"] * sn,
            "largest": largest,
            "ended": least | (beta <= epsilon * largest),
        }

    def going_on(s):
        return (s["k"] < max_steps) & (s["phi"] > tolerance * beta1) & ~s["ended"]

    start = {
        "k": jnp.int32(0),
        "x": zeros,
        "v_old": zeros,
        "v": b / jnp.maximum(beta1, tiny),
        "beta": zero,
        "c": zero - 1,
        "s": zero,
        "dbar": zero,
        "eps": zero,
        "d_older": zeros,
        "d_old": zeros,
        "phi": beta1,
        "largest": zero,
        "ended": beta1 == 0,
    }
    return jax.lax.while_loop(going_on, advance, start)["x"]
