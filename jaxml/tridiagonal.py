"""Lanczos' tridiagonal matrix of a symmetric operator, with an orthonormal basis."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Tridiagonal(NamedTuple):
    """VᵀAV of a Krylov space, the rows of `basis` being V's columns.

    Attributes:
        alphas: the diagonal, shape `(steps,)`.
        betas: beside it, shape `(steps,)`: `betas[i]` couples rows i and i + 1, the last one the
            space to what is left out of it. Zero from where the space is invariant.
        basis: shape `(steps + 1, size)`, the last row the next vector; zero beyond an invariant
            space.
    """

    alphas: Float[Array, " steps"]
    betas: Float[Array, " steps"]
    basis: Float[Array, "rows size"]


def lanczos(product: Callable, start: Float[Array, " size"], steps: int) -> Tridiagonal:
    """Lanczos' method with full reorthogonalisation; traceable.

    The two terms of the recurrence are taken off first, then all that rounding left along the
    basis, and that once more where little remained. The basis lies in rows, since a product with
    its transpose otherwise takes ten times as long on CPU.

    Args:
        product: vector -> A·vector.
        start: any vector but zero.
        steps: how many products.

    Reference:
        Lanczos 1950; Daniel, Gragg, Kaufman and Stewart 1976 for when to orthogonalise again;
        Giraud, Langou, Rozložník and van den Eshof 2005 for that twice is enough.
    """
    epsilon, tiny = jnp.finfo(start.dtype).eps, jnp.finfo(start.dtype).tiny
    zero = jnp.zeros((), start.dtype)
    first = start / jnp.linalg.norm(start)

    def orthogonal(basis, w):
        return w - (basis @ w) @ basis

    def advance(i, s):
        alphas, betas, basis, v, v_old, beta, norm = s
        w = product(v) - beta * v_old
        alpha = v @ w
        w = w - alpha * v
        before = jnp.linalg.norm(w)
        w = orthogonal(basis, w)
        again = jnp.linalg.norm(w) < before / 2**0.5
        w = jax.lax.cond(again, orthogonal, lambda _, w: w, basis, w)
        norm = jnp.maximum(norm, jnp.sqrt(alpha**2 + beta**2))
        beta = jnp.linalg.norm(w)
        beta = jnp.where(beta > 10 * epsilon * norm, beta, 0.0)  # a NaN ends here; alpha keeps it
        v_new = jnp.where(beta > 0, w / jnp.maximum(beta, tiny), 0.0)
        return (
            alphas.at[i].set(alpha),
            betas.at[i].set(beta),
            jax.lax.dynamic_update_index_in_dim(basis, v_new, i + 1, 0),
            v_new,
            v,
            beta,
            norm,
        )

    zeros = jnp.zeros(steps, start.dtype)
    basis = jnp.zeros((steps + 1, start.size), start.dtype).at[0].set(first)
    start_state = (zeros, zeros, basis, first, jnp.zeros_like(start), zero, zero)
    return Tridiagonal(*jax.lax.fori_loop(0, steps, advance, start_state)[:3])
