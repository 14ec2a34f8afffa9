"""Numbers that belong to the whole of a large symmetric matrix, from its products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.result import Result
from jaxml.core.seeds import key as key_of
from jaxml.core.seeds import words
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.validation import precision
from jaxml.landscape.spectra.density import FEWEST, OnProgress, check_accuracy, check_operator
from jaxml.linalg.probe_intervals import Bounds, mean_bounds, standard_error, student
from jaxml.linalg.reductions import inner, no_scaling, norm, project, scaled_product, to_blocks
from jaxml.linalg.rounding import zero_tolerance

Method = Literal["hutch++", "xtrace", "hutchinson"]
METHODS: tuple[Method, ...] = ("hutch++", "xtrace", "hutchinson")

_BLOCK = 10
# of the jackknife: as many estimates are computed once more
_GROUPS = 20


@flax.struct.dataclass
class Estimate(Result):
    """A number, or an array of them, with its certainty.

    Attributes:
        value: the estimate.
        standard_error: of the random vectors; 0 where the value is exact, NaN from one vector. Of
            few vectors it is itself a guess, and it leaves out what `truncation` tells: `low` and
            `high` are what to report.
        products: how many products it took.
        truncation: how far the quadratures may be off, by bounds that hold for every probe; 0
            where none are used, infinite where there is no bound.
        low: the least and
        high: the largest that the value is, at 95 % or more: random vectors, quadratures and
            rounding together. Infinite where nothing is known, as from one vector.
    """

    value: Any
    standard_error: Any
    products: int
    truncation: float
    low: Any
    high: Any


def trace(
    operator: SymmetricOperator,
    *,
    method: Method = "hutch++",
    accuracy: float | None = None,
    max_products: int = 300,
    seed: int = 0,
    on_progress: OnProgress = None,
) -> Estimate:
    """The trace: the sum of the eigenvalues.

    Exact, from the unit vectors, where `max_products` is at least the operator's size.

    Args:
        operator: such as `hessian(loss, params)`.
        method: `hutch++` and `xtrace` take the part of a few random directions exactly, and keep
            a third or half as many vectors as products; they win where few eigenvalues are
            large. `hutchinson` keeps one. The estimates whose mean is `xtrace`'s depend on each
            other; its standard error is that of a jackknife, too large rather than too small: by
            half for slow decays, several times where the eigenvalues fall geometrically.
        accuracy: end once the standard error is at most so much of the value's size.
        max_products: end at the latest after so many products.
        seed: of the random vectors.
        on_progress: called now and then with how many products are done and at most will be;
            where it returns True the estimate is of what is done.

    Raises:
        ValueError: for bad options, or if the products are not finite.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Hutchinson 1989; Meyer, Musco, Musco and Woodruff 2021 (arXiv:2010.09649), algorithm 1,
        here in rounds of equal parts; Epperly, Tropp and Webber 2024 (arXiv:2301.07825), with
        vectors of a sphere, normalised as in its section 2.3; Efron and Stein 1981
        (doi:10.1214/aos/1176345462) for that a jackknife's variance is not too small in the mean.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> print(trace(hessian(lambda w: (w**4).sum(), jnp.arange(3.0))))
        60 (3 products)
    """
    require_choice("method", method, METHODS)
    max_products = _check(operator, accuracy, max_products)
    if operator.size <= max_products:
        return _exact(operator, lambda diagonal, _: diagonal.sum())
    if method == "hutchinson":
        samples, estimate = _samples(operator, max_products, seed), _hutchinson
    else:
        samples = _rounds(operator, method, max_products, seed)
        estimate = _xtrace(operator.size) if method == "xtrace" else _hutchpp
    return _until(operator, samples, estimate, accuracy, max_products, on_progress)


def frobenius_norm(
    operator: SymmetricOperator,
    *,
    accuracy: float | None = None,
    max_products: int = 300,
    seed: int = 0,
    on_progress: OnProgress = None,
) -> Estimate:
    """The Frobenius norm: the root of the sum of the squared eigenvalues.

    The options, and what is raised, are those of `trace`.

    Reference:
        Hutchinson 1989, for E‖Az‖² = ‖A‖²; the standard error of the root is to first order, the
        interval that of ‖A‖², of which the root is taken.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> frobenius_norm(hessian(lambda w: 3 * w[0] ** 2 + 4 * w[1] ** 2, jnp.zeros(2))).value
        10.0
    """
    max_products = _check(operator, accuracy, max_products)
    if operator.size <= max_products:
        return _exact(operator, lambda _, squares: np.sqrt(squares.sum()))

    def estimate(_, squares):
        value = np.sqrt(squares.mean())
        error = standard_error(squares) / (2 * value) if value else np.float64(0)
        low, high = mean_bounds(squares, squares)
        return _Found(value, error, Bounds(np.sqrt(max(low, 0)), np.sqrt(high)), value)

    samples = _samples(operator, max_products, seed)
    return _until(operator, samples, estimate, accuracy, max_products, on_progress)


def diagonal(
    operator: SymmetricOperator,
    *,
    accuracy: float | None = None,
    max_products: int = 300,
    seed: int = 0,
    on_progress: OnProgress = None,
) -> Estimate:
    """The diagonal, of shape `(size,)`, with a standard error for each entry.

    The options, and what is raised, are those of `trace`; the sizes that `accuracy` compares are
    2-norms.

    Reference:
        Bekas, Kokiopoulou and Saad 2007 (doi:10.1016/j.apnum.2007.01.003), with random signs.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> diagonal(hessian(lambda w: (w**4).sum(), jnp.arange(3.0))).value.tolist()
        [0.0, 12.0, 48.0]
    """
    max_products = _check(operator, accuracy, max_products)
    if operator.size <= max_products:
        return _exact(operator, lambda diagonal, _: diagonal.astype(operator.dtype))

    def samples():
        zeros = np.zeros(operator.size, operator.dtype)
        state = zeros, zeros
        for first in range(0, max_products, _BLOCK):
            count = min(_BLOCK, max_products - first)
            with precision(operator.dtype == np.float64):
                state = _add_diagonals(operator.product, *state, words(seed), first, count)
            yield first + count, (first + count, *jax.device_get(state))

    def estimate(count, mean, squares):
        error = np.full_like(mean, np.nan)
        if count > 1:
            error = np.sqrt(squares / (count * (count - 1)))
        # the sum of random signs is symmetric about the mean
        scale = np.abs(mean).max() / operator.size**0.5
        return _Found(mean, error, _around(mean, student(count), error), scale)

    return _until(operator, samples(), estimate, accuracy, max_products, on_progress)


def _check(operator: SymmetricOperator, accuracy: float | None, max_products: int) -> int:
    check_operator(operator)
    check_accuracy(accuracy)
    return require_positive_int("max_products", max_products)


class _Found(NamedTuple):
    """What a sample tells.

    Attributes:
        value: the estimate.
        error: its standard error.
        bounds: without rounding.
        scale: what rounding is relative to: ‖A‖, or less where less is rounded.
    """

    value: Any
    error: Any
    bounds: Bounds
    scale: float


def _around(value: Any, factor: float, error: Any) -> Bounds:
    if factor == np.inf:
        return Bounds(np.full_like(value, -np.inf), np.full_like(value, np.inf))
    return Bounds(value - factor * error, value + factor * error)


def _until(
    operator: SymmetricOperator,
    samples: Iterator[tuple[int, tuple]],
    estimate: Callable[..., _Found],
    accuracy: float | None,
    max_products: int,
    on_progress: OnProgress,
) -> Estimate:
    """The estimate from growing samples, with products taken, until it is accurate."""
    products, sample, found = 0, (), None
    for products, sample in samples:
        finite = all(np.isfinite(part).all() for part in sample)
        require(finite, "finite products", "some that are not")
        found = None
        if accuracy is not None and products >= FEWEST:
            found = estimate(*sample)
            if np.linalg.norm(found.error) <= accuracy * np.linalg.norm(found.value):
                break
        if on_progress is not None and on_progress(products, max_products):
            break
    return _estimated(operator, found or estimate(*sample), products)


def _estimated(operator: SymmetricOperator, found: _Found, products: int) -> Estimate:
    rounding = zero_tolerance(operator.size, operator.dtype, float(found.scale))
    low, high = found.bounds
    value, error, low, high = (
        v if np.ndim(v) else float(v)
        for v in (found.value, found.error, low - rounding, high + rounding)
    )
    return Estimate(value, error, products, 0.0, low, high)


def _exact(operator: SymmetricOperator, value: Callable) -> Estimate:
    """From the diagonal and the squared norms of the columns, which the unit vectors give."""
    parts = []
    for first in range(0, operator.size, _BLOCK):
        count = min(_BLOCK, operator.size - first)
        with precision(operator.dtype == np.float64):
            new = _columns(operator.product, first, count, _like(operator))
        parts.append(_on_host(*jax.device_get(new)))
    diagonals, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
    whole = value(diagonals, squares)
    require(np.isfinite(whole).all(), "finite products", "some that are not")
    found = _Found(whole, np.zeros_like(whole), Bounds(whole, whole), np.sqrt(squares.sum()))
    return _estimated(operator, found, operator.size)


def _like(operator: SymmetricOperator) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((operator.size,), operator.dtype)


def _samples(operator: SymmetricOperator, max_products: int, seed: int) -> Iterator:
    """zᵀAz and ‖Az‖² of ever more vectors of random signs."""
    forms, squares = np.zeros(0), np.zeros(0)
    for first in range(0, max_products, _BLOCK):
        count = min(_BLOCK, max_products - first)
        with precision(operator.dtype == np.float64):
            new = _forms(operator.product, words(seed), first, count, _like(operator))
        forms, squares = (
            np.concatenate(pair)
            for pair in zip((forms, squares), _on_host(*jax.device_get(new)), strict=True)
        )
        yield forms.size, (forms, squares)


def _rounds(operator: SymmetricOperator, method: Method, max_products: int, seed: int) -> Iterator:
    """What the estimates with a sketch need of A, in rounds that widen sketch and sample alike.

    Yields:
        The products taken and, with Q the orthonormal basis of A·(sketch) and Z the sample, QᵀAQ,
        QᵀZ, QᵀAZ and the diagonal of ZᵀAZ. The sample is the sketch for `xtrace`, apart from it
        for `hutch++`.
    """
    share = 2 if method == "xtrace" else 3
    require(max_products >= share, f"max_products of at least {share} for {method}", max_products)
    block = min(_BLOCK, max_products // share)
    rounds = max_products // (share * block)
    product, like, sphere = operator.product, _like(operator), method == "xtrace"
    qaq, qz, qaz = np.zeros((3, rounds * block, rounds * block))
    forms, basis = np.zeros(rounds * block), []
    scaling = None
    for r in range(rounds):
        new, end = slice(r * block, (r + 1) * block), (r + 1) * block
        with precision(operator.dtype == np.float64):
            z = _vectors(words(seed), 2 * r, block, like, sphere)
            az, scaling = _apply(product, z, scaling or no_scaling(operator.dtype))
            q = az
            if not sphere:
                sketch = _vectors(words(seed), 2 * r + 1, block, like, sphere)
                q, scaling = _apply(product, sketch, scaling)
            for _ in range(2):  # what is noise after the first time is orthogonal after the second
                for rows in basis:
                    q = _remove(rows, q)
                q = _orthonormal(q)
            aq, scaling = _apply(product, q, scaling)
            basis.append(q)
            forms[new] = np.diagonal(_inner(z, az))
            for i, rows in enumerate(basis):
                old = slice(i * block, (i + 1) * block)
                qaq[old, new] = _inner(rows, aq)
                qz[old, new], qaz[old, new] = _inner(rows, z), _inner(rows, az)
                if i < r:
                    qaq[new, old] = qaq[old, new].T
                    before = _vectors(words(seed), 2 * i, block, like, sphere)  # rather than kept
                    qz[new, old], qaz[new, old] = _inner(q, before), _inner(aq, before)
            unit = float(scaling.unit)
        found = unit * qaq[:end, :end], qz[:end, :end], unit * qaz[:end, :end], unit * forms[:end]
        yield share * end, found


def _hutchinson(forms, squares):
    scale = np.sqrt(squares.mean())
    return _Found(forms.mean(), standard_error(forms), mean_bounds(forms, forms), scale)


def _hutchpp(qaq, qz, qaz, forms):
    """The trace of QᵀAQ, and Hutchinson's estimate of what Q leaves: zᵀ(I−QQᵀ)A(I−QQᵀ)z."""
    rest = forms - 2 * (qz * qaz).sum(axis=0) + (qz * (qaq @ qz)).sum(axis=0)
    kept = np.trace(qaq)
    low, high = mean_bounds(rest, rest)
    scale = np.linalg.norm(qaz) / len(forms) ** 0.5
    return _Found(kept + rest.mean(), standard_error(rest), Bounds(kept + low, kept + high), scale)


def _xtrace(size: int) -> Callable[..., _Found]:
    def estimate(qaq, qz, qaz, forms):
        value = _leave_one_out(size, qaq, qz, qaz, forms).mean()
        groups = np.array_split(np.arange(len(forms)), min(len(forms), _GROUPS))
        without = []
        for group in groups if len(groups) > 1 else []:
            kept = np.delete(np.arange(len(forms)), group)
            q = np.linalg.qr(qaz[:, kept])[0]
            part = q.T @ qaq @ q, q.T @ qz[:, kept], q.T @ qaz[:, kept], forms[kept]
            without.append(_leave_one_out(size, *part).mean())
        # Efron and Stein: at least the variance of an estimate from one group less
        error = (
            np.linalg.norm(np.subtract(without, np.mean(without)))
            if without
            else np.float64(np.nan)
        )
        bounds = _around(value, student(len(without)), error)
        return _Found(value, error, bounds, np.linalg.norm(qaz) / len(forms) ** 0.5)

    return estimate


def _leave_one_out(size, qaq, qz, qaz, forms):
    """The estimates of the trace that take one vector for the sample, the rest for the sketch.

    Column i of `left` is orthogonal to QᵀA times every vector but the i-th: without that
    direction Q is the basis of the rest.
    """
    u, sigma, vt = np.linalg.svd(qaz)
    floor = np.finfo(float).eps * sigma[0] or 1.0
    left = (u / np.maximum(sigma, floor)) @ vt
    left /= np.linalg.norm(left, axis=0)
    inner = qz - left * (left * qz).sum(axis=0)
    rest = forms - 2 * (inner * qaz).sum(axis=0) + (inner * (qaq @ inner)).sum(axis=0)
    scale = (size - len(qaq) + 1) / (size - (inner**2).sum(axis=0))
    return np.trace(qaq) - (left * (qaq @ left)).sum(axis=0) + scale * rest


def _on_host(forms, norms, units):
    """vᵀAv and ‖Av‖² in float64, whatever the scale of A."""
    units = np.float64(units)
    return forms * units, (norms * units) ** 2


@jax.jit(static_argnames=("count", "like"))
def _columns(product, first, count, like):
    def column(i):
        unit = jnp.zeros(like.shape, like.dtype).at[i].set(1)
        image, scaling = scaled_product(product, unit, no_scaling(like.dtype))
        return image[i], norm(image), scaling.unit

    return jax.lax.map(column, first + jnp.arange(count))


@jax.jit(static_argnames=("count", "like"))
def _forms(product, seed, first, count, like):
    def form(i):
        z = _signs(seed, i, like)
        image, scaling = scaled_product(product, z, no_scaling(like.dtype))
        return inner(z, image), norm(image), scaling.unit

    return jax.lax.map(form, first + jnp.arange(count))


@jax.jit(static_argnames="count")
def _add_diagonals(product, mean, squares, seed, first, count):
    """Welford's mean, and sum of squared deviations, of z⊙Az with `count` vectors more."""

    def add(i, state):
        mean, squares = state
        z = _signs(seed, first + i, mean)
        sample = z * product(z)
        new = mean + (sample - mean) / (first + i + 1)
        return new, squares + (sample - mean) * (sample - new)

    return jax.lax.fori_loop(0, count, add, (mean, squares))


def _signs(seed, i, like):
    key = jax.random.fold_in(key_of(seed), i)
    return jax.random.rademacher(key, like.shape, like.dtype)


@jax.jit(static_argnames=("count", "like", "sphere"))
def _vectors(seed, i, count, like, sphere):
    """Rows of E[zᵀz] = I: random signs, or evenly from the sphere of radius √size."""
    key = jax.random.fold_in(key_of(seed), i)
    shape = (count, *like.shape)
    if not sphere:
        return jax.random.rademacher(key, shape, like.dtype)
    rows = jax.random.normal(key, shape, like.dtype)
    return rows * (like.size**0.5 / jnp.linalg.norm(rows, axis=1, keepdims=True))


@jax.jit
def _apply(product, rows, scaling):
    """The scaled images of the rows, and the scaling, found at the first that is not 0."""

    def apply(scaling, row):
        image, scaling = scaled_product(product, row, scaling)
        return scaling, image

    scaling, images = jax.lax.scan(apply, scaling, rows)
    return images, scaling


@jax.jit
def _remove(basis, rows):
    return rows - _inner(rows, basis) @ basis


@jax.jit
def _orthonormal(rows):
    return jnp.linalg.qr(rows.T)[0].T


@jax.jit
def _inner(left, right):
    return project(to_blocks(left), to_blocks(right))
