"""The largest eigenvalue of a symmetric matrix by products alone, from where it was last."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.linalg.reductions import inner


class Largest(NamedTuple):
    """The upper end of a spectrum, as far as it was sought.

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
    most: int | Array,
    room: int,
) -> Largest:
    """Rayleigh–Ritz in a space that grows by the residual of its best pair; traceable.

    From one start this is Lanczos with full reorthogonalisation; from several it begins with what
    an earlier, similar matrix left.

    Args:
        product: vector -> A·vector.
        starts: vectors to begin with; those that depend on others are left out.
        tolerance: it ends when the residual is below tolerance·|λ|, or what rounding explains.
        most: at most so many products, at least one for each start.
        room: vectors that are kept; bounds `most` statically.

    Reference:
        Davidson 1975, "The iterative calculation of a few of the lowest eigenvalues", without
        preconditioning; Golub and Van Loan 2013, section 10.1, for the equivalence to Lanczos.
    """
    count, size = starts.shape
    epsilon, tiny = jnp.finfo(starts.dtype).eps, jnp.finfo(starts.dtype).tiny
    zero = jnp.zeros((), starts.dtype)

    along = jax.vmap(inner, (0, None))  # whose error is the eigenvalue's

    def advance(s):
        k, basis = s["k"], s["basis"]
        vector = jnp.where(k < count, starts[jnp.minimum(k, count - 1)], s["residual"])
        vector = vector / jnp.maximum(abs(vector).max(), tiny)  # its square could underflow
        vector = vector / jnp.maximum(jnp.linalg.norm(vector), tiny)
        for _ in range(2):  # once is not enough: Parlett 1998, section 6.9
            vector = vector - along(basis, vector) @ basis
        length = jnp.linalg.norm(vector)
        live = s["live"].at[k].set(length > 100 * epsilon)
        vector = jnp.where(live[k], vector / jnp.maximum(length, tiny), 0)
        basis = basis.at[k].set(vector)
        image = product(vector)
        images = s["images"].at[k].set(image)
        column = along(basis, image)
        projected = s["projected"].at[k].set(column).at[:, k].set(column)

        def best_pairs():
            # rows not in use go below all others
            below = 1 + 2 * jnp.linalg.norm(projected)
            values, mixtures = jnp.linalg.eigh(projected - jnp.diag(jnp.where(live, 0, below)))
            mixtures = mixtures[:, -count:].T[::-1]
            return values[-1], mixtures, mixtures[0] @ images - values[-1] * (mixtures[0] @ basis)

        def none_yet():
            return s["value"], s["mixtures"], s["residual"]

        last = (k + 1 >= count) | (k + 1 >= most)
        value, mixtures, residual = jax.lax.cond(last, best_pairs, none_yet)
        norm = jnp.linalg.norm(projected)
        return {
            "k": k + 1,
            "basis": basis,
            "images": images,
            "projected": projected,
            "live": live,
            "mixtures": mixtures,
            "value": value,
            "residual": residual,
            "size": jnp.linalg.norm(residual),
            "enough": jnp.maximum(tolerance * abs(value), 10 * epsilon * norm),
        }

    def going_on(s):
        left = (s["k"] < count) | (s["size"] > s["enough"])
        return (s["k"] < jnp.minimum(most, room)) & left

    start = {
        "k": jnp.int32(0),
        "basis": jnp.zeros((room, size), starts.dtype),
        "images": jnp.zeros((room, size), starts.dtype),
        "projected": jnp.zeros((room, room), starts.dtype),
        "live": jnp.zeros(room, bool),
        "mixtures": jnp.zeros((count, room), starts.dtype),
        "value": zero,
        "residual": starts[0],
        "size": zero + jnp.inf,
        "enough": zero,
    }
    s = jax.lax.while_loop(going_on, advance, start)
    return Largest(s["value"], s["size"], s["mixtures"] @ s["basis"], s["k"])
