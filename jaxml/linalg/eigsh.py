"""The extreme eigenvalues of a symmetric operator: Lanczos with thick restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float

from jaxml.linalg.krylov import (
    Basis,
    RitzValues,
    begin,
    extend,
    key_data,
    key_of,
    random_row,
    rayleigh_ritz,
    unit,
)
from jaxml.linalg.reductions import combine, from_blocks, inner, norm, scaled_product, to_blocks

# rows of a basis: what a few outliers need, and what the dense side of a spectrum needs
_SMALL, _LARGE = 32, 96
# products between two looks at the Ritz values, far from the end and close to it
_CHUNK = 4
# looks at a residual that no longer falls before rounding is what is left of it
_PATIENCE = 8
# how much of a warm start's vector is random: enough for what the earlier vectors do not contain
_RANDOM_SHARE = 0.03


class RitzPairs(NamedTuple):
    """Approximate eigenpairs with what bounds their errors. All arrays are numpy's.

    Attributes:
        values: ascending, shape `(pairs,)`.
        vectors: of unit length, in rows, shape `(pairs, size)`.
        residuals: ‖Av − θv‖ of each, from products, with `rounding` added.
        bounds: how far each value is from an eigenvalue.
        converged: whether the residual is at most tolerance·‖A‖ and, where multiplicities were
            asked for, the last search changed nothing.
        products: how many were taken.
        norm: ‖A‖, from below.
        rounding: ‖Az − Σcᵢ(Avᵢ)‖ for one z = Σcᵢvᵢ of unit length.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    bounds: np.ndarray
    converged: np.ndarray
    products: int
    norm: float
    rounding: float


def useful_rows(pairs: int, size: int) -> tuple[int, int]:
    """How many rows a basis needs at least for so many pairs, and how many are of use."""
    return min(pairs + 4, size), min(size, max(_LARGE, 3 * pairs))


def eigsh(
    product: Partial,
    size: int,
    dtype: np.dtype,
    *,
    top: int,
    lowest: int,
    tolerance: float,
    multiplicities: bool,
    max_products: int,
    rows: int,
    start: Float[np.ndarray, "vectors size"] | None,
    seed: int,
    on_progress: Callable[[int, int], bool | None] | None = None,
) -> RitzPairs:
    """The algebraically largest and lowest eigenvalues of a symmetric operator.

    Args:
        product: vector -> A·vector, a pytree.
        size: of a vector.
        dtype: of a vector.
        top: how many of the largest.
        lowest: how many of the lowest.
        tolerance: of the residuals, relative to ‖A‖.
        multiplicities: whether to search again from a random vector orthogonal to the pairs
            found, until that changes nothing.
        max_products: at most so many products.
        rows: of the basis, at most; at least what `useful_rows` says.
        start: vectors to begin with a mixture of, or None for a random one.
        seed: of the random vectors.
        on_progress: called with the products done and `max_products`; ends the search if it
            returns True.

    Raises:
        ValueError: if a product is not finite.

    Reference:
        Wu and Simon 2000, "Thick-restart Lanczos method for large symmetric eigenvalue problems",
        with full reorthogonalisation and Rayleigh–Ritz on the explicit V·AV in place of the
        recurrence; Parlett 1998, chapter 11, for the bounds.
    """
    epsilon = float(np.finfo(dtype).eps)
    first = np.zeros(size, dtype)
    if start is not None:
        first = _mixture(np.asarray(start, dtype), key_data(seed))
    capacity = min(rows, max(_SMALL, 2 * (top + lowest) + 8))
    basis = begin(first[None], key_data(seed), capacity)
    count = products = extra = looks = 0
    chunk, best, rounding, before = _CHUNK, np.inf, 0.0, None
    while True:
        # one product is left for the last look
        stop = min(count + chunk, capacity, count + max_products - 1 - products)
        basis = extend(product, basis, stop, key_data(seed, products), size)
        products, count = products + stop - count, stop
        ended = count == size or products >= max_products - 1
        ended |= on_progress is not None and bool(on_progress(products, max_products))

        seen = rayleigh_ritz(basis)
        norm = float(abs(seen.values).max())
        asked = _extremes(count, top, lowest)
        # a second search also has to show what comes next on each side
        wanted = _extremes(count, top + extra * (top > 0), lowest + extra * (lowest > 0))
        strict = min(tolerance, 0.1 * size**-0.5)
        aim = np.where(np.isin(wanted, asked), tolerance, strict) * norm
        # of less than rounding the recurrence's estimate says nothing
        goal = np.maximum(aim - rounding, 2 * epsilon * norm)
        estimates = seen.estimates[wanted]
        enough = len(wanted) == min(size, top + lowest + extra * ((top > 0) + (lowest > 0)))
        chunk = 1 if enough and (estimates <= 30 * goal).all() else max(_CHUNK, count // 8)
        if ended or (enough and (estimates <= goal).all()):
            vectors, images, residuals, drifts = _pairs(basis, seen, wanted)
            looks = 0 if residuals.max() < 0.7 * best else looks + 1
            best = min(best, residuals.max())
            done = enough and (residuals + rounding <= aim).all()
            ended |= looks >= _PATIENCE
            settled = done and (not multiplicities or count == size)
            if done and not settled:
                found = seen.values[asked]
                settled = before is not None and abs(found - before).max() <= 2 * tolerance * norm
                if not settled and not ended:
                    basis = _restart(basis, size, seen, asked, key_data(seed, 1, products))
                    count, extra, looks, best, before = len(asked), 1, 0, np.inf, found
                    continue
            if done or ended:
                rounding = float(_defect(product, basis.scaling, vectors, images, size))
                products += 1
                done = (residuals + rounding <= aim).all()
                if done or ended or rounding > aim.min() / 2 or products >= max_products - 1:
                    break
        if count == capacity < rows:
            basis, capacity = _grow(basis, rows - capacity), rows
        elif count == capacity:
            kept = _kept(count, top, lowest, extra)
            basis = _restart(basis, size, seen, kept)
            count = len(kept)

    # Parlett 1998, theorem 11.7.1, with the gap to the other Ritz values where they can be
    others = abs(seen.values[wanted][:, None] - seen.values) - seen.estimates
    others[np.arange(len(wanted)), wanted] = np.inf
    gaps = others.min(axis=1, initial=np.inf)
    residuals = residuals + rounding
    squared = residuals**2 / np.where(gaps > residuals, gaps, np.inf)
    # the quotient of the vector that is there, not of the one meant, is that close
    bounds = np.where(gaps > residuals, squared + drifts + rounding, np.inf)
    bounds = np.minimum(bounds + 4 * epsilon * norm, residuals)
    chosen = np.isin(wanted, asked)
    exact = seen.values[wanted] * unit(basis)
    values = exact.astype(dtype)
    lost = abs(exact - values)  # of what is too small for the dtype
    return RitzPairs(
        values=values[chosen],
        vectors=np.asarray(from_blocks(vectors, size))[chosen],
        residuals=(residuals * unit(basis) + lost)[chosen],
        bounds=(bounds * unit(basis) + lost)[chosen],
        converged=(residuals <= tolerance * norm)[chosen] & (settled or not multiplicities),
        products=products,
        norm=norm * unit(basis),
        rounding=rounding * unit(basis),
    )


@jax.jit(static_argnames="size")
def _mix(basis, mixing, projected, count, fresh, random, size):
    """The basis with combinations of its rows in their place, for a restart.

    Row `count` of what is returned is the next one: the old next one, or a random one.
    """
    rows = combine(mixing, basis.rows)
    others = rows.at[:, count].set(0.0)
    following = jax.lax.cond(
        fresh,
        lambda: random_row(others, size, key_of(random)),
        lambda: rows[:, count] / norm(rows[:, count]),
    )
    images = combine(mixing[:-1, :-1], basis.images)
    rows = others.at[:, count].set(following)
    return Basis(rows, images, projected, jnp.int32(count), basis.scaling)


@jax.jit(static_argnames="more")
def _grow(basis, more):
    pad = lambda array, *after: jnp.pad(array, [(0, k) for k in after])  # noqa: E731
    return basis._replace(
        rows=pad(basis.rows, 0, more, 0),
        images=pad(basis.images, 0, more, 0),
        projected=pad(basis.projected, more, more),
    )


@jax.jit
def _ritz(basis, weights, values):
    """Ritz vectors of unit length, their images, residuals, and Rayleigh quotients less values."""
    vectors = combine(weights, basis.rows[:, :-1])
    images = combine(weights, basis.images)
    lengths = _norms(vectors)[None, :, None]
    vectors, images = vectors / lengths, images / lengths
    residuals = images - values[:, None] * vectors
    drifts = jax.vmap(inner, in_axes=1)(vectors, residuals)
    return vectors, images, _norms(residuals), drifts


def _norms(blocks):
    return jax.vmap(norm, in_axes=1)(blocks)


@jax.jit(static_argnames="size")
def _defect(product, scaling, vectors, images, size):
    """‖Az − Σcᵢ(Avᵢ)‖ for z = Σcᵢvᵢ of unit length."""
    count = vectors.shape[1]
    weights = jnp.full(count, count**-0.5, vectors.dtype)
    mixture = combine(weights, vectors)
    image, _ = scaled_product(product, from_blocks(mixture, size), scaling)
    gap = to_blocks(image) - combine(weights, images)
    return norm(gap) / norm(mixture)


@jax.jit
def _mixture(vectors, random):
    """The sum of the vectors with a little of everything else, to start from."""
    total = vectors.sum(axis=0)
    drawn = jax.random.normal(key_of(random), total.shape, total.dtype)
    return total / norm(total) + _RANDOM_SHARE * (drawn / norm(drawn))


def _extremes(count: int, top: int, lowest: int) -> np.ndarray:
    """The places of the lowest and of the largest of so many ascending values."""
    return np.union1d(np.arange(min(lowest, count)), np.arange(max(count - top, 0), count))


def _kept(count: int, top: int, lowest: int, extra: int) -> np.ndarray:
    """The places of the Ritz values that a restart keeps: half of those that are not wanted."""
    pairs = top + lowest
    more = min((count - pairs) // 2, count - pairs - 2)
    above = max(round(more * top / pairs), extra * (top > 0))
    below = max(more - above, extra * (lowest > 0))
    return _extremes(count, top + above, lowest + below)


def _pairs(basis: Basis, seen: RitzValues, places: np.ndarray) -> tuple:
    """Ritz vectors and their images on the device, residuals and drifts on the host."""
    dtype = basis.rows.dtype
    weights = np.zeros((len(places), basis.rows.shape[1] - 1), dtype)
    weights[:, : len(seen.values)] = seen.weights[:, places].T
    vectors, images, residuals, drifts = _ritz(basis, weights, seen.values[places].astype(dtype))
    return vectors, images, np.asarray(residuals, np.float64), abs(np.asarray(drifts, np.float64))


def _restart(
    basis: Basis, size: int, seen: RitzValues, kept: np.ndarray, random: np.ndarray | None = None
) -> Basis:
    """The basis of the Ritz vectors kept, to go on with its next row, or a random one."""
    rows, dtype, count = basis.rows.shape[1], basis.rows.dtype, len(kept)
    mixing, projected = np.zeros((2, rows, rows), dtype)
    mixing[:count, : len(seen.values)] = seen.weights[:, kept].T
    mixing[count, len(seen.values)] = 1
    projected[np.arange(count), np.arange(count)] = seen.values[kept]
    drawn = key_data(0, 0, 0) if random is None else random
    return _mix(basis, mixing, projected, count, random is not None, drawn, size)
