"""Lanczos' method: orthonormal Krylov bases, and what a symmetric operator is in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float

from jaxml.core.checks import require
from jaxml.core.seeds import words
from jaxml.linalg.reductions import (
    Scaling,
    combine,
    from_blocks,
    inner,
    no_scaling,
    norm,
    project,
    scaled_product,
    to_blocks,
)


def remove(rows: Float[Array, "blocks rows width"], vector: Float[Array, "blocks width"]) -> tuple:
    """A vector less its projection on orthonormal rows, and the inner products with them."""
    coefficients = project(rows, vector)
    return vector - combine(coefficients, rows), coefficients


def orthogonalize(
    rows: Float[Array, "blocks rows width"], vector: Float[Array, "blocks width"]
) -> tuple[Float[Array, "blocks width"], Float[Array, " rows"]]:
    """The same, and once more for what rounding has left along the rows.

    Reference:
        Giraud, Langou, Rozložník and van den Eshof 2005, "Rounding error analysis of the classical
        Gram–Schmidt orthogonalization process": twice is enough.
    """
    vector, first = remove(rows, vector)
    vector, second = remove(rows, vector)
    return vector, first + second


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
        Lanczos 1950; Daniel, Gragg, Kaufman and Stewart 1976 for when to orthogonalise again.
    """
    epsilon, tiny = jnp.finfo(start.dtype).eps, jnp.finfo(start.dtype).tiny
    zero, size = jnp.zeros((), start.dtype), start.size
    first = to_blocks(start / norm(start))

    def advance(i, s):
        alphas, betas, basis, v, v_old, beta, largest, scaling = s
        image, scaling = scaled_product(product, from_blocks(v, size), scaling)
        w = to_blocks(image) - beta * v_old
        alpha = inner(v, w)
        w = w - alpha * v
        before = jnp.sqrt(inner(w, w))
        w, _ = remove(basis, w)
        again = jnp.sqrt(inner(w, w)) < before / 2**0.5
        w = jax.lax.cond(again, lambda w: remove(basis, w)[0], lambda w: w, w)
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


class Basis(NamedTuple):
    """A Krylov basis under construction, of a scaled operator; a pytree.

    Unlike `lanczos` it can begin with known vectors, be extended, and be restarted from any
    combinations of its rows: all of VᵀAV is kept, not its two diagonals.

    Attributes:
        rows: orthonormal, in blocks (see `reductions`); those after the row `filled` are zero.
        images: the operator times each row before `filled`; None where nobody asks for them.
        projected: rows·imagesᵀ on and above the diagonal, and below it the length of what was
            left of an image when the rows were projected out.
        filled: how many rows have been multiplied; the row `filled` is next.
        scaling: of the operator in the images and in what is projected.
    """

    rows: Float[Array, "blocks capacity+1 width"]
    images: Float[Array, "blocks capacity width"] | None
    projected: Float[Array, "capacity+1 capacity+1"]
    filled: Array
    scaling: Scaling


def key_data(seed: int, *numbers: int) -> np.ndarray:
    """What a compiled function makes a key of: a key made here would be compiled by itself.

    Args:
        seed: a whole number.
        *numbers: others of 32 bits, folded in.
    """
    low, high = words(seed)
    more = [high] if high else []
    return np.array([low, *numbers, *more], np.uint64).astype(np.uint32)


def key_of(data: Array) -> Array:
    """The key of `key_data`; traceable."""
    key = jax.random.key(data[0])
    for number in data[1:]:
        key = jax.random.fold_in(key, number)
    return key


def random_row(rows: Float[Array, "blocks rows width"], size: int, key: Array) -> Array:
    """A random unit vector orthogonal to the rows, zero where they span the space; traceable."""
    drawn = to_blocks(jax.random.normal(key, (size,), rows.dtype))
    row = orthogonalize(rows, drawn / norm(drawn))[0]
    length = norm(row)
    spanned = length < 100 * jnp.finfo(rows.dtype).eps
    return jnp.where(spanned, 0.0, row / jnp.where(spanned, 1.0, length))


@jax.jit(static_argnames=("capacity", "with_images"))
def begin(
    rows: Float[Array, "known size"], random: Array, capacity: int, with_images: bool = True
) -> Basis:
    """A basis whose next row is the last of those given; a random one if it is zero.

    The rows before it are only projected out: they are in no image.

    Args:
        rows: orthonormal but for the last.
        random: from `key_data`.
        capacity: how many rows there can be.
        with_images: whether images are kept.
    """
    known, size = rows.shape
    given = to_blocks(rows)
    blocks, _, width = given.shape
    padded = jnp.zeros((blocks, capacity + 1, width), rows.dtype).at[:, :known].set(given)
    last = given[:, -1]
    length = norm(last)
    others = padded.at[:, known - 1].set(0.0)
    row = jax.lax.cond(
        length > 0,
        lambda: last / jnp.where(length > 0, length, 1),
        lambda: random_row(others, size, key_of(random)),
    )
    return Basis(
        padded.at[:, known - 1].set(row),
        jnp.zeros((blocks, capacity, width), rows.dtype) if with_images else None,
        jnp.zeros((capacity + 1, capacity + 1), rows.dtype),
        jnp.int32(known - 1),
        no_scaling(rows.dtype),
    )


@jax.jit(static_argnames="size")
def extend(product: Partial, basis: Basis, stop: ArrayLike, random: Array, size: int) -> Basis:
    """Lanczos steps until so many rows have been multiplied.

    Where the space turns out invariant, it goes on from a random vector orthogonal to it.

    Args:
        product: vector -> A·vector, a pytree.
        basis: from `begin`.
        stop: how many rows, at most the basis's capacity.
        random: from `key_data`.
        size: of a vector.
    """

    def step(basis):
        rows, images, projected, j, scaling = basis
        image, scaling = scaled_product(product, from_blocks(rows[:, j], size), scaling)
        image = to_blocks(image)
        rest, coefficients = orthogonalize(rows, image)
        length = jnp.sqrt(inner(rest, rest))
        projected = projected.at[:, j].set(coefficients)
        floor = 10 * jnp.finfo(rows.dtype).eps * abs(projected).max()
        invariant = length <= floor
        following = jax.lax.cond(
            invariant,
            lambda: random_row(rows, size, jax.random.fold_in(key_of(random), j)),
            lambda: rest / jnp.where(invariant, 1, length),
        )
        return Basis(
            rows.at[:, j + 1].set(following),
            None if images is None else images.at[:, j].set(image),
            projected.at[j + 1, j].set(length),
            j + 1,
            scaling,
        )

    return jax.lax.while_loop(lambda basis: basis.filled < stop, step, basis)


class RitzValues(NamedTuple):
    """The spectrum of a basis's projection, on the host in float64.

    Attributes:
        values: the Ritz values, ascending.
        weights: of each on the rows, in columns.
        rest: the length of what the last image left over.
    """

    values: np.ndarray
    weights: np.ndarray
    rest: float

    @property
    def estimates(self) -> np.ndarray:
        """The residual of each Ritz pair as the recurrence has it."""
        return self.rest * abs(self.weights[-1])


def unit(basis: Basis) -> float:
    """What a number of the basis is multiplied by to be one of the operator."""
    before, after = (float(power) for power in basis.scaling)
    return 1 / (after or 1.0) / before


def rayleigh_ritz(basis: Basis, skip: int = 0, unit: float = 1.0) -> RitzValues:
    """The Ritz values on the rows from `skip` to `filled`, in multiples of 1/`unit`.

    Raises:
        ValueError: if a product was not finite.
    """
    count = int(basis.filled)
    matrix = unit * np.asarray(basis.projected, np.float64)[: count + 1, :count]
    bad = int((~np.isfinite(matrix)).any(axis=0).sum())
    require(bad == 0, "finite matrix-vector products", f"{bad} of {count} that are not")
    upper = np.triu(matrix[skip:count, skip:])
    values, weights = np.linalg.eigh(upper + np.triu(upper, 1).T)
    return RitzValues(values, weights, float(matrix[count, count - 1]))
