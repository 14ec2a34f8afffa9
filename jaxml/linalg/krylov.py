"""Lanczos' tridiagonal matrix of a symmetric operator, with an orthonormal basis."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.linalg.reductions import (
    combine,
    from_blocks,
    inner,
    no_scaling,
    norm,
    project,
    scaled_product,
    to_blocks,
)


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
    basis, and that once more where little remained. The matrix is multiplied near a scale of one:
    its own may be near the ends of the dtype's range.

    Args:
        product: vector -> A·vector.
        start: any vector but zero.
        steps: how many products.

    Reference:
        Lanczos 1950; Daniel, Gragg, Kaufman and Stewart 1976 for when to orthogonalise again;
        Giraud, Langou, Rozložník and van den Eshof 2005 for that twice is enough.
    """
    epsilon, tiny = jnp.finfo(start.dtype).eps, jnp.finfo(start.dtype).tiny
    zero, size = jnp.zeros((), start.dtype), start.size
    first = to_blocks(start / norm(start))

    def orthogonal(basis, w):
        return w - combine(project(basis, w), basis)

    def advance(i, s):
        alphas, betas, basis, v, v_old, beta, largest, scaling = s
        image, scaling = scaled_product(product, from_blocks(v, size), scaling)
        w = to_blocks(image) - beta * v_old
        alpha = inner(v, w)
        w = w - alpha * v
        before = jnp.sqrt(inner(w, w))
        w = orthogonal(basis, w)
        again = jnp.sqrt(inner(w, w)) < before / 2**0.5
        w = jax.lax.cond(again, orthogonal, lambda _, w: w, basis, w)
        largest = jnp.maximum(largest, jnp.sqrt(alpha**2 + beta**2))
        beta = jnp.sqrt(inner(w, w))
        beta = jnp.where(beta > 10 * epsilon * largest, beta, 0.0)  # a NaN ends here; alpha has it
        v_new = jnp.where(beta > 0, w / jnp.maximum(beta, tiny), 0.0)
        return (
            alphas.at[i].set(alpha),
            betas.at[i].set(beta),
            basis.at[:, i + 1].set(v_new),
            v_new,
            v,
            beta,
            largest,
            scaling,
        )

    zeros = jnp.zeros(steps, start.dtype)
    blocks, width = first.shape
    basis = jnp.zeros((blocks, steps + 1, width), start.dtype).at[:, 0].set(first)
    scaling = no_scaling(start.dtype)
    state = (zeros, zeros, basis, first, jnp.zeros_like(first), zero, zero, scaling)
    alphas, betas, basis, *_, scaling = jax.lax.fori_loop(0, steps, advance, state)
    return Tridiagonal(alphas * scaling.unit, betas * scaling.unit, from_blocks(basis, size))
