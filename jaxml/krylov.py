"""The Krylov space of a symmetric matrix that is known by its products."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def lanczos(
    product: Callable, start: Float[Array, " size"], steps: int
) -> tuple[Float[Array, "steps size"], Float[Array, "steps steps"]]:
    """An orthonormal basis V of a Krylov space, in rows, and T = VAVᵀ; traceable.

    Args:
        product: vector -> A·vector, for a symmetric A.
        start: the first vector; its length does not matter.
        steps: products to take, at most the size. Where the space is exhausted before, the rows
            of V and the rows and columns of T that are left are zero.

    Reference:
        Lanczos 1950, with each vector orthogonalised twice against all before it (Giraud,
        Langou and Rozložník 2005).
    """
    epsilon, tiny = jnp.finfo(start.dtype).eps, jnp.finfo(start.dtype).tiny

    def advance(k, carry):
        basis, T, v, norm = carry
        basis = basis.at[k].set(v)
        w = product(v)
        alpha = v @ w
        norm = jnp.maximum(norm, jnp.linalg.norm(w))
        for _ in range(2):
            w = w - (basis @ w) @ basis
        beta = jnp.linalg.norm(w)
        beta = jnp.where(beta > 10 * epsilon * norm, beta, 0)
        v = jnp.where(beta > 0, w / jnp.maximum(beta, tiny), 0)
        # the last β belongs to a vector outside the basis, and indices beyond T are dropped
        T = T.at[k, k].set(alpha).at[k, k + 1].set(beta).at[k + 1, k].set(beta)
        return basis, T, v, norm

    zero = jnp.zeros((), start.dtype)
    unit = start / jnp.maximum(jnp.linalg.norm(start), tiny)
    empty = jnp.zeros((steps, start.size), start.dtype)
    T = jnp.zeros((steps, steps), start.dtype)
    basis, T, _, _ = jax.lax.fori_loop(0, steps, advance, (empty, T, unit, zero))
    return basis, T
