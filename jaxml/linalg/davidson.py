"""The largest eigenvalue of a symmetric matrix by products alone, from where it was last."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.linalg.krylov import orthogonalize
from jaxml.linalg.reductions import combine, from_blocks, norm, project, to_blocks


class Largest(NamedTuple):
    """The largest eigenvalue, as far as it was sought.

    Attributes:
        eigenvalue: λ, a lower bound of the largest one.
        residual: ‖Av − λv‖, from the product itself: an eigenvalue lies within it of λ.
        vectors: v, and the next best, as orthonormal rows of shape `(starts, size)`.
        products: how many were taken.
    """

    eigenvalue: Array
    residual: Array
    vectors: Array
    products: Array


def largest(
    product: Callable,
    starts: Float[Array, "starts size"],
    *,
    tolerance: float,
    max_matvecs: int | Array,
    max_basis: int,
) -> Largest:
    """Rayleigh–Ritz in a space that grows by the residual of its best pair; traceable.

    From one start this is Lanczos with full reorthogonalisation; from several it begins with what
    an earlier, similar matrix left.

    Args:
        product: vector -> A·vector.
        starts: vectors to begin with; those that depend on others are left out.
        tolerance: it ends when the residual is below tolerance·|λ|, or what rounding explains.
        max_matvecs: at most so many products, at least one for each start.
        max_basis: vectors that are kept; bounds `max_matvecs` statically.

    Reference:
        Davidson 1975, "The iterative calculation of a few of the lowest eigenvalues", without
        preconditioning; Golub and Van Loan 2013, section 10.1, for the equivalence to Lanczos.
    """
    count, size = starts.shape
    epsilon, tiny = jnp.finfo(starts.dtype).eps, jnp.finfo(starts.dtype).tiny
    zero, given = jnp.zeros((), starts.dtype), to_blocks(starts)

    def advance(s):
        k, basis = s["k"], s["basis"]
        vector = jnp.where(k < count, given[:, jnp.minimum(k, count - 1)], s["residual"])
        vector, _ = orthogonalize(basis, vector / jnp.maximum(norm(vector), tiny))
        length = norm(vector)
        live = s["live"].at[k].set(length > 100 * epsilon)
        vector = jnp.where(live[k], vector / jnp.maximum(length, tiny), 0)
        basis = basis.at[:, k].set(vector)
        image = to_blocks(product(from_blocks(vector, size)))
        images = s["images"].at[:, k].set(image)
        column = project(basis, image)
        projected = s["projected"].at[k].set(column).at[:, k].set(column)

        def best_pairs():
            # rows not in use go below all others
            below = 1 + 2 * norm(projected)
            values, mixtures = jnp.linalg.eigh(projected - jnp.diag(jnp.where(live, 0, below)))
            mixtures = mixtures[:, -count:].T[::-1]
            residual = combine(mixtures[0], images) - values[-1] * combine(mixtures[0], basis)
            return values[-1], mixtures, residual

        def none_yet():
            return s["value"], s["mixtures"], s["residual"]

        last = (k + 1 >= count) | (k + 1 >= max_matvecs)
        value, mixtures, residual = jax.lax.cond(last, best_pairs, none_yet)
        return {
            "k": k + 1,
            "basis": basis,
            "images": images,
            "projected": projected,
            "live": live,
            "mixtures": mixtures,
            "value": value,
            "residual": residual,
            "size": norm(residual),
            "enough": jnp.maximum(tolerance * abs(value), 10 * epsilon * norm(projected)),
        }

    def going_on(s):
        left = (s["k"] < count) | (s["size"] > s["enough"])
        return (s["k"] < jnp.minimum(max_matvecs, max_basis)) & left

    blocks, _, width = given.shape
    empty = jnp.zeros((blocks, max_basis, width), starts.dtype)
    start = {
        "k": jnp.int32(0),
        "basis": empty,
        "images": empty,
        "projected": jnp.zeros((max_basis, max_basis), starts.dtype),
        "live": jnp.zeros(max_basis, bool),
        "mixtures": jnp.zeros((count, max_basis), starts.dtype),
        "value": zero,
        "residual": given[:, 0],
        "size": zero + jnp.inf,
        "enough": zero,
    }
    s = jax.lax.while_loop(going_on, advance, start)
    vectors = from_blocks(combine(s["mixtures"], s["basis"]), size)
    return Largest(s["value"], s["size"], vectors, s["k"])
