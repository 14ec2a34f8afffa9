"""The ends of a spectrum, by products alone: Lanczos with thick restarts and measured residuals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float

from jaxml.core.checks import require, require_positive_int
from jaxml.core.seeds import require_seed, words
from jaxml.core.selfcheck import require_sound_backend
from jaxml.landscape.operators.dense_hessian import gib
from jaxml.landscape.operators.hessian import SymmetricOperator, available_memory
from jaxml.landscape.operators.validation import precision
from jaxml.linalg.reductions import (
    Scaling,
    combine,
    from_blocks,
    inner,
    no_scaling,
    norm,
    scaled_product,
    to_blocks,
)
from jaxml.linalg.reductions import project as inner_products

# rows of a basis: what a few outliers need, and what the dense side of a spectrum needs
_SMALL, _LARGE = 32, 96
# products between two looks at the Ritz values, far from the end and close to it
_CHUNK = 4
# looks at a residual that no longer falls before rounding is what is left of it
_PATIENCE = 8
# how much of a warm start's vector is random: enough for what the earlier vectors do not contain
_FRESH_SHARE = 0.03


@dataclasses.dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues at the ends of a spectrum, each with its error bound. All arrays are numpy's.

    Attributes:
        values: ascending, the lowest first, shape `(pairs,)`.
        vectors: of unit length, in rows, shape `(pairs, size)`; `operator.unravel(row)` is a
            pytree like the parameters.
        residuals: ‖Hv − θv‖ of each pair: an eigenvalue lies within so much of θ. Computed from
            products, not from the recurrence, and with `rounding` added.
        bounds: how far each value is from an eigenvalue: the residual r, or r²/gap with what
            rounding adds to it where that is less, with the gap to the rest of the spectrum as
            far as it has been seen.
        converged: whether the residual is at most tolerance·‖H‖ and, where multiplicities were
            asked for, the last search changed nothing.
        products: Hessian-vector products used.
        norm: ‖H‖, estimated from below by the largest |θ| seen, those not asked for included.
        rounding: what rounding leaves uncertain of a product: ‖Hz − Σcᵢ(Hvᵢ)‖ for one z = Σcᵢvᵢ
            of unit length. Large where the loss is random.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    bounds: np.ndarray
    converged: np.ndarray
    products: int
    norm: float
    rounding: float

    def __str__(self) -> str:
        """The eigenvalues and how sure they are, in one line."""
        values = ", ".join(
            f"{v:.6g} ± {b:.1e}" for v, b in zip(self.values, self.bounds, strict=True)
        )
        left = int((~self.converged).sum())
        unsure = f" ({left} not converged)" if left else ""
        if left and (size := self.vectors.shape[1]):
            room = gib(size**2 * self.values.dtype.itemsize)
            unsure = (
                f" ({left} not converged; all of them: `eigenvalues(operator.dense())`, whose "
                f"matrix takes {room})"
            )
        return f"eigenvalues {values}{unsure}; {self.products} products"


def eigenpairs(
    operator: SymmetricOperator,
    *,
    top: int = 5,
    lowest: int = 0,
    tolerance: float = 1e-5,
    multiplicities: bool = False,
    max_products: int = 1000,
    start: Eigenpairs | None = None,
    seed: int = 0,
    memory: int | None = None,
    on_progress: Callable[[int, int], bool | None] | None = None,
) -> Eigenpairs:
    """The algebraically largest and lowest eigenvalues of a symmetric operator.

    One Krylov space serves both ends. Its basis V is kept orthonormal to rounding, so that no
    eigenvalue shows twice, and HV is kept beside it, so that the residual of every Ritz pair
    costs no further product. One more product, of a mixture of the vectors found, measures what
    rounding adds.

    The products needed grow with ‖H‖ over the gaps between the eigenvalues sought. Of a spectrum
    that falls over many orders of magnitude the lowest ones may not converge in 20,000 products.
    What helps there:

    - `eigenvalues(operator.dense())`, while size² numbers fit into memory: every eigenvalue to
      rounding, some ε·‖H‖, so in float64 where those sought are below 1e-6·‖H‖.
    - A larger `tolerance`, where it is enough that they are so small.
    - Other units of the parameters, where the scales are those of single parameters. The Hessian
      of `lambda u: loss(scales * u)` at `params / scales`, with `scales` 1/√|diagonal|, has as many
      negative, zero and positive eigenvalues, of like sizes; see `diagonal`.

    Args:
        operator: from `hessian`, or any other `SymmetricOperator`.
        top: how many of the largest.
        lowest: how many of the lowest.
        tolerance: of the residuals, relative to ‖H‖. A Krylov space sees the largest first, so
            that one much looser than 1/√size may end before a later one has shown.
        multiplicities: whether to search again from a random vector orthogonal to the pairs
            found, until that changes nothing: a Krylov space holds one vector of each eigenspace,
            so that without it a repeated eigenvalue may count once. It at least doubles the
            products.
        max_products: at most so many products.
        start: what this returned at a point nearby, which saves products.
        seed: of the random starting vector.
        memory: bytes; half of what is free by default. Half of them are for the basis, four
            arrays of (rows, size) at its largest. Up to 96 rows are used (more for many pairs).
        on_progress: called with the products done and `max_products` about every fourth product;
            ends the search if it returns True.

    Returns:
        The pairs, see `Eigenpairs`; all of them where `top + lowest` reaches the size. Those
        that have not converged say so.

    Raises:
        ValueError: if options are out of range, the basis does not fit into memory, or a product
            is not finite.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Wu and Simon 2000, "Thick-restart Lanczos method for large symmetric eigenvalue problems",
        with full reorthogonalisation and Rayleigh–Ritz on the explicit V·HV in place of the
        recurrence; Parlett 1998, chapter 11, for the bounds.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> scales = jnp.arange(1.0, 101.0)
        >>> operator = hessian(lambda w: 0.5 * (scales * w**2).sum(), jnp.zeros(100))
        >>> found = eigenpairs(operator, top=2, lowest=1)
        >>> found.values.round(3).tolist(), found.converged.all().item()
        ([1.0, 99.0, 100.0], True)
    """
    size = operator.size
    for name, count in {"top": top, "lowest": lowest}.items():
        whole = not isinstance(count, bool) and hasattr(count, "__index__")
        require(whole and 0 <= count <= size, f"{name} from 0 to the size {size}", repr(count))
    pairs = min(top + lowest, size)
    require(pairs > 0, "at least one eigenvalue to find", f"top={top} and lowest={lowest}")
    require(0 < tolerance < 1, "a tolerance between 0 and 1", tolerance)
    max_products = require_positive_int("max_products", max_products)
    require(max_products > pairs, f"max_products above the {pairs} pairs", max_products)
    require_seed(seed)
    if start is not None:
        shape = np.shape(start.vectors)
        fits = len(shape) == 2 and shape[0] > 0 and shape[1] == size
        require(fits, f"a start with vectors of size {size}", f"vectors of shape {shape}")
        require(np.isfinite(start.vectors).all(), "a start of finite vectors", "others")
    rows = basis_rows(operator, pairs, memory)
    require_sound_backend()
    with precision(operator.dtype == np.float64):
        return _search(
            operator,
            top,
            lowest,
            tolerance,
            multiplicities,
            max_products,
            start,
            seed,
            rows,
            on_progress,
        )


def basis_rows(operator: SymmetricOperator, pairs: int, memory: int | None) -> int:
    """How many rows of a basis memory allows, no more than are of use for so many pairs.

    Raises:
        ValueError: if they are too few to hold the pairs and restart.
    """
    # the basis and its image, and what the next chunk makes of them
    row = 4 * operator.size * operator.dtype.itemsize
    bound = (available_memory() // 2 if memory is None else memory) // 2  # as the product keeps
    least, fits = min(pairs + 4, operator.size), bound // row - 1
    require(
        fits >= least,
        f"memory for a basis of {least} rows, {(least + 1) * row / 2**20:,.1f} MiB",
        f"{bound / 2**20:,.1f} MiB; ask for fewer pairs",
    )
    return int(min(fits, operator.size, max(_LARGE, 3 * pairs)))


class Basis(NamedTuple):
    """A Krylov basis under construction, of a scaled operator; a pytree.

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


def _orthogonalize(rows, vector):
    """The vector less its projection on the rows, and that projection; twice is enough."""
    first = inner_products(rows, vector)
    vector = vector - combine(first, rows)
    second = inner_products(rows, vector)
    return vector - combine(second, rows), first + second


def _random_row(rows, size, key):
    """A random unit vector orthogonal to the rows, zero where they span the space."""
    drawn = to_blocks(jax.random.normal(key, (size,), rows.dtype))
    row = _orthogonalize(rows, drawn / norm(drawn))[0]
    length = norm(row)
    spanned = length < 100 * jnp.finfo(rows.dtype).eps
    return jnp.where(spanned, 0.0, row / jnp.where(spanned, 1.0, length))


def salt(*numbers: int) -> np.ndarray:
    """What a compiled function makes a key of: a key made here would be compiled by itself.

    Args:
        *numbers: the seed, and others of 32 bits.
    """
    low, high = words(numbers[0])
    more = [high] if high else []
    return np.array([low, *numbers[1:], *more], np.uint64).astype(np.uint32)


def _key(salt):
    key = jax.random.key(salt[0])
    for number in salt[1:]:
        key = jax.random.fold_in(key, number)
    return key


@jax.jit(static_argnames=("capacity", "with_images"))
def begin(
    rows: Float[Array, "known size"], salt: Array, capacity: int, with_images: bool = True
) -> Basis:
    """A basis whose next row is the last of those given; a random one if it is zero.

    The rows before it are only projected out: they are in no image.
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
        lambda: _random_row(others, size, _key(salt)),
    )
    return Basis(
        padded.at[:, known - 1].set(row),
        jnp.zeros((blocks, capacity, width), rows.dtype) if with_images else None,
        jnp.zeros((capacity + 1, capacity + 1), rows.dtype),
        jnp.int32(known - 1),
        no_scaling(rows.dtype),
    )


@jax.jit(static_argnames="size")
def extend(product: Partial, basis: Basis, stop: ArrayLike, salt: Array, size: int) -> Basis:
    """Lanczos steps until so many rows have been multiplied.

    Where the space turns out invariant, it goes on from a random vector orthogonal to it.
    """

    def step(basis):
        rows, images, projected, j, scaling = basis
        image, scaling = scaled_product(product, from_blocks(rows[:, j], size), scaling)
        image = to_blocks(image)
        rest, coefficients = _orthogonalize(rows, image)
        length = jnp.sqrt(inner(rest, rest))
        projected = projected.at[:, j].set(coefficients)
        floor = 10 * jnp.finfo(rows.dtype).eps * abs(projected).max()
        invariant = length <= floor
        following = jax.lax.cond(
            invariant,
            lambda: _random_row(rows, size, jax.random.fold_in(_key(salt), j)),
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


@jax.jit(static_argnames="size")
def _mix(basis, mixing, projected, count, fresh, salt, size):
    """The basis with combinations of its rows in their place, for a restart.

    Row `count` of what is returned is the next one: the old next one, or a random one.
    """
    rows = combine(mixing, basis.rows)
    others = rows.at[:, count].set(0.0)
    following = jax.lax.cond(
        fresh,
        lambda: _random_row(others, size, _key(salt)),
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
    """‖Hz − Σcᵢ(Hvᵢ)‖ for z = Σcᵢvᵢ of unit length."""
    count = vectors.shape[1]
    weights = jnp.full(count, count**-0.5, vectors.dtype)
    mixture = combine(weights, vectors)
    image, _ = scaled_product(product, from_blocks(mixture, size), scaling)
    gap = to_blocks(image) - combine(weights, images)
    return norm(gap) / norm(mixture)


@jax.jit
def _mixture(vectors, salt):
    """The sum of the vectors with a little of everything else, to start from."""
    total = vectors.sum(axis=0)
    drawn = jax.random.normal(_key(salt), total.shape, total.dtype)
    return total / norm(total) + _FRESH_SHARE * (drawn / norm(drawn))


class Projected(NamedTuple):
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


def project(basis: Basis, skip: int = 0, unit: float = 1.0) -> Projected:
    """Rayleigh–Ritz on the rows from `skip` to `filled`, in multiples of 1/`unit`.

    Raises:
        ValueError: if a product was not finite.
    """
    count = int(basis.filled)
    matrix = unit * np.asarray(basis.projected, np.float64)[: count + 1, :count]
    bad = int((~np.isfinite(matrix)).any(axis=0).sum())
    require(bad == 0, "finite Hessian-vector products", f"{bad} of {count} that are not")
    upper = np.triu(matrix[skip:count, skip:])
    values, weights = np.linalg.eigh(upper + np.triu(upper, 1).T)
    return Projected(values, weights, float(matrix[count, count - 1]))


def _search(
    operator, top, lowest, tolerance, multiplicities, max_products, start, seed, rows, on_progress
) -> Eigenpairs:
    product, size = operator.product, operator.size
    epsilon = float(np.finfo(operator.dtype).eps)
    first = np.zeros(size, operator.dtype)
    if start is not None:
        first = _mixture(np.asarray(start.vectors, operator.dtype), salt(seed))
    capacity = min(rows, max(_SMALL, 2 * (top + lowest) + 8))
    basis = begin(first[None], salt(seed), capacity)
    count = products = extra = looks = 0
    chunk, best, rounding, before = _CHUNK, np.inf, 0.0, None
    while True:
        # one product is left for the last look
        stop = min(count + chunk, capacity, count + max_products - 1 - products)
        basis = extend(product, basis, stop, salt(seed, products), size)
        products, count = products + stop - count, stop
        ended = count == size or products >= max_products - 1
        ended |= on_progress is not None and bool(on_progress(products, max_products))

        seen = project(basis)
        norm = float(abs(seen.values).max())
        asked = _ends(count, top, lowest)
        # a second search also has to show what comes next at each end
        wanted = _ends(count, top + extra * (top > 0), lowest + extra * (lowest > 0))
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
                    basis = _restart(basis, size, seen, asked, salt(seed, 1, products))
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
    values = exact.astype(operator.dtype)
    lost = abs(exact - values)  # of what is too small for the dtype
    return Eigenpairs(
        values=values[chosen],
        vectors=np.asarray(from_blocks(vectors, size))[chosen],
        residuals=(residuals * unit(basis) + lost)[chosen],
        bounds=(bounds * unit(basis) + lost)[chosen],
        converged=(residuals <= tolerance * norm)[chosen] & (settled or not multiplicities),
        products=products,
        norm=norm * unit(basis),
        rounding=rounding * unit(basis),
    )


def _ends(count: int, top: int, lowest: int) -> np.ndarray:
    """The places of the lowest and of the largest of so many ascending values."""
    return np.union1d(np.arange(min(lowest, count)), np.arange(max(count - top, 0), count))


def _kept(count: int, top: int, lowest: int, extra: int) -> np.ndarray:
    """The places of the Ritz values that a restart keeps: half of those that are not wanted."""
    pairs = top + lowest
    room = min((count - pairs) // 2, count - pairs - 2)
    above = max(round(room * top / pairs), extra * (top > 0))
    below = max(room - above, extra * (lowest > 0))
    return _ends(count, top + above, lowest + below)


def _pairs(basis: Basis, seen: Projected, places: np.ndarray):
    """Ritz vectors and their images on the device, residuals and drifts on the host."""
    dtype = basis.rows.dtype
    weights = np.zeros((len(places), basis.rows.shape[1] - 1), dtype)
    weights[:, : len(seen.values)] = seen.weights[:, places].T
    vectors, images, residuals, drifts = _ritz(basis, weights, seen.values[places].astype(dtype))
    return vectors, images, np.asarray(residuals, np.float64), abs(np.asarray(drifts, np.float64))


def _restart(
    basis: Basis, size: int, seen: Projected, kept: np.ndarray, fresh: np.ndarray | None = None
) -> Basis:
    """The basis of the Ritz vectors kept, to go on with its next row or one from a fresh salt."""
    rows, dtype, count = basis.rows.shape[1], basis.rows.dtype, len(kept)
    mixing, projected = np.zeros((2, rows, rows), dtype)
    mixing[:count, : len(seen.values)] = seen.weights[:, kept].T
    mixing[count, len(seen.values)] = 1
    projected[np.arange(count), np.arange(count)] = seen.values[kept]
    drawn = salt(0, 0, 0) if fresh is None else fresh
    return _mix(basis, mixing, projected, count, fresh is not None, drawn, size)
