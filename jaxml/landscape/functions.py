"""Numbers that belong to the whole of a large symmetric matrix, from its products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.checks import require, require_choice, require_positive_int
from jaxml.landscape.density import (
    FEWEST,
    OnProgress,
    check_accuracy,
    check_operator,
    exact_spectrum,
    krylov_probes,
    quadrature,
    standard_error,
)
from jaxml.landscape.operators import SymmetricOperator
from jaxml.landscape.problem import precision
from jaxml.seeds import key as key_of
from jaxml.seeds import words

Method = Literal["hutch++", "xtrace", "hutchinson"]
METHODS: tuple[Method, ...] = ("hutch++", "xtrace", "hutchinson")

_BLOCK = 10


class Estimate(NamedTuple):
    """A number, or an array of them, with its certainty.

    Attributes:
        value: the estimate.
        standard_error: of the random vectors; 0 where the value is exact, NaN from one vector.
            The value lies within two of them 19 times out of 20 where the vectors are many, less
            often where they are few: 18 of 10 vectors.
        products: how many products it took.
        truncation: how far the last quarter of Lanczos' steps moved the value: what more steps
            could still change. 0 where none are used.
    """

    value: Any
    standard_error: Any
    products: int
    truncation: float = 0.0

    def __str__(self) -> str:
        """Value ± standard error."""
        if np.ndim(self.value):
            shown = f"{np.size(self.value):,} values, the largest standard error "
            shown += f"{np.max(self.standard_error):.2g}"
        else:
            shown = f"{self.value:.6g} ± {self.standard_error:.2g}"
        if self.truncation:
            shown += f", truncation {self.truncation:.1g}"
        return f"{shown} ({self.products:,} products)"


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
            other: its standard error is a tenth too small, a fifth where the products are nearly
            as many as the parameters.
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
        vectors of a sphere, normalised as in its section 2.3, and its error estimate.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> trace(hessian(lambda w: (w**4).sum(), jnp.arange(3.0)))
        Estimate(value=60.0, standard_error=0.0, products=3, truncation=0.0)
    """
    require_choice("method", method, METHODS)
    max_products = _check(operator, accuracy, max_products)
    if operator.size <= max_products:
        return _exact(operator, lambda diagonal, _: diagonal.sum())
    if method == "hutchinson":
        samples = _samples(operator, max_products, seed)
        return _until(
            samples, lambda forms, _: (forms.mean(), standard_error(forms)),
            accuracy, max_products, on_progress,
        )  # fmt: skip
    rounds = _rounds(operator, method, max_products, seed)
    estimate = _xtrace(operator.size) if method == "xtrace" else _hutchpp
    return _until(rounds, estimate, accuracy, max_products, on_progress)


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
        Hutchinson 1989, for E‖Az‖² = ‖A‖²; the error of the root is to first order.

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
        return value, standard_error(squares) / (2 * value) if value else np.float64(0)

    samples = _samples(operator, max_products, seed)
    return _until(samples, estimate, accuracy, max_products, on_progress)


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
        return _exact(operator, lambda diagonal, _: diagonal)

    def samples():
        zeros = np.zeros(operator.size, operator.dtype)
        state = zeros, zeros
        for first in range(0, max_products, _BLOCK):
            count = min(_BLOCK, max_products - first)
            with precision(operator.dtype == np.float64):
                state = _add_diagonals(operator.product, *state, words(seed), first, count)
            yield first + count, (first + count, *jax.device_get(state))

    def estimate(count, mean, squares):
        if count == 1:
            return mean, np.full_like(mean, np.nan)
        return mean, np.sqrt(squares / (count * (count - 1)))

    return _until(samples(), estimate, accuracy, max_products, on_progress)


def log_determinant(
    operator: SymmetricOperator,
    *,
    shift: float = 0.0,
    steps: int = 90,
    probes: int = 10,
    accuracy: float | None = None,
    seed: int = 0,
    on_progress: OnProgress = None,
) -> Estimate:
    """The logarithm of det(A + shift·I), by stochastic Lanczos quadrature.

    Exact where `steps·probes` products could form the whole matrix, as `spectral_density`.

    Args:
        operator: such as `hessian(loss, params)`.
        shift: added to every eigenvalue.
        steps: how many products a probe takes; see `Estimate.truncation`.
        probes: at most how many random vectors.
        accuracy: end once the standard error is at most so much of the value's size; not before
            the fifth probe.
        seed: of the probes.
        on_progress: see `spectral_density`.

    Raises:
        ValueError: for bad options; if the products are not finite; if an eigenvalue is at or
            below −shift, up to rounding. That none was found is no proof that none is.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Ubaru, Chen and Saad 2017 (doi:10.1137/16M1104974).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> operator = hessian(lambda w: (jnp.exp(w)).sum(), jnp.arange(3.0))
        >>> round(log_determinant(operator).value, 5)
        3.0
    """
    require(np.isfinite(shift), "a finite shift", shift)
    function = lambda values: np.log(values + shift)  # noqa: E731
    return _spectral_sum(operator, function, shift, steps, probes, accuracy, seed, on_progress)


def effective_dimension(
    operator: SymmetricOperator,
    damping: float,
    *,
    steps: int = 90,
    probes: int = 10,
    accuracy: float | None = None,
    seed: int = 0,
    on_progress: OnProgress = None,
) -> Estimate:
    """Σ λ/(λ + damping): how many directions the data determine beyond the damping.

    Args:
        operator: such as `hessian(loss, params)` at a minimum, without eigenvalues at or below
            −damping.
        damping: above 0: the prior's precision, per example where the loss is a mean.
        steps: as of `log_determinant`, and so are the other options.
        probes: at most how many random vectors.
        accuracy: see `log_determinant`.
        seed: of the probes.
        on_progress: see `spectral_density`.

    Raises:
        ValueError: as `log_determinant`; if the damping is not above 0.
        BackendError: if the backend computes known answers wrong.

    Reference:
        MacKay 1992, section 4.1; Maddox, Benton and Wilson 2020 (arXiv:2003.02139).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> operator = hessian(lambda w: (jnp.array([1.0, 3.0]) * w**2).sum() / 2, jnp.zeros(2))
        >>> effective_dimension(operator, 1.0).value
        1.25
    """
    require(0 < damping < np.inf, "a damping above 0", damping)
    function = lambda values: values / (values + damping)  # noqa: E731
    return _spectral_sum(operator, function, damping, steps, probes, accuracy, seed, on_progress)


def _spectral_sum(
    operator: SymmetricOperator,
    function: Callable[[np.ndarray], np.ndarray],
    shift: float,
    steps: int,
    probes: int,
    accuracy: float | None,
    seed: int,
    on_progress: OnProgress,
) -> Estimate:
    """The sum of a function over the eigenvalues, which must all be above −shift."""
    check_accuracy(accuracy)
    rounding = float(np.finfo(operator.dtype).eps)

    def require_above(nodes):
        tolerance = rounding * float(np.abs(nodes).max())
        lowest = float(nodes.min())
        require(
            lowest + shift > tolerance,
            f"eigenvalues above {-shift:.3g} (by {tolerance:.1e}, the rounding error)",
            f"{lowest:.6g}; a larger shift would do",
        )

    if exact := exact_spectrum(operator, steps, probes):
        require_above(exact.nodes)
        return Estimate(float(function(exact.nodes).sum()), 0.0, exact.products)
    shorter = max(1, 3 * steps // 4)

    def sums(pairs):
        values = []
        for nodes, weights in (quadrature(*pair) for pair in pairs):
            require_above(nodes)
            values.append(operator.size * (weights @ function(nodes)))
        return np.array(values)

    def enough(pairs):
        values = sums(pairs)
        return standard_error(values) <= accuracy * abs(values.mean())

    pairs = krylov_probes(
        operator,
        steps,
        probes,
        seed,
        lambda pairs: accuracy is not None and enough(pairs),
        on_progress,
    )
    values = sums(pairs)
    early = sums([(alphas[:shorter], betas[:shorter]) for alphas, betas in pairs])
    return Estimate(
        float(values.mean()),
        float(standard_error(values)),
        steps * len(pairs),
        abs(float(values.mean() - early.mean())),
    )


def _check(operator: SymmetricOperator, accuracy: float | None, max_products: int) -> int:
    check_operator(operator)
    check_accuracy(accuracy)
    return require_positive_int("max_products", max_products)


def _until(
    samples: Iterator[tuple[int, tuple]],
    estimate: Callable[..., tuple[Any, Any]],
    accuracy: float | None,
    max_products: int,
    on_progress: OnProgress,
) -> Estimate:
    """The estimate from growing samples, with products taken, until it is accurate."""
    products, value, error = 0, np.nan, np.nan
    for products, sample in samples:
        finite = all(np.isfinite(part).all() for part in sample)
        require(finite, "finite products", "some that are not")
        value, error = estimate(*sample)
        stop = on_progress is not None and on_progress(products, max_products)
        small = accuracy is not None and np.linalg.norm(error) <= accuracy * np.linalg.norm(value)
        if stop or (small and products >= FEWEST):
            break
    return _estimated(value, error, products)


def _estimated(value: Any, error: Any, products: int) -> Estimate:
    value, error = (v if np.ndim(v) else float(v) for v in (value, error))
    return Estimate(value, error, products)


def _exact(operator: SymmetricOperator, value: Callable) -> Estimate:
    """From the diagonal and the squared norms of the columns, which the unit vectors give."""
    parts = []
    for first in range(0, operator.size, _BLOCK):
        count = min(_BLOCK, operator.size - first)
        with precision(operator.dtype == np.float64):
            parts.append(jax.device_get(_columns(operator.product, first, count, _like(operator))))
    whole = value(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    require(np.isfinite(whole).all(), "finite products", "some that are not")
    return _estimated(whole, np.zeros_like(whole), operator.size)


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
            np.concatenate(pair) for pair in zip((forms, squares), jax.device_get(new), strict=True)
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
    for r in range(rounds):
        new, end = slice(r * block, (r + 1) * block), (r + 1) * block
        with precision(operator.dtype == np.float64):
            z = _vectors(words(seed), 2 * r, block, like, sphere)
            az = _apply(product, z)
            q = (
                az
                if sphere
                else _apply(product, _vectors(words(seed), 2 * r + 1, block, like, sphere))
            )
            for _ in range(2):  # what is noise after the first time is orthogonal after the second
                for rows in basis:
                    q = _remove(rows, q)
                q = _orthonormal(q)
            aq = _apply(product, q)
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
        yield share * end, (qaq[:end, :end], qz[:end, :end], qaz[:end, :end], forms[:end])


def _hutchpp(qaq, qz, qaz, forms):
    """The trace of QᵀAQ, and Hutchinson's estimate of what Q leaves: zᵀ(I−QQᵀ)A(I−QQᵀ)z."""
    rest = forms - 2 * (qz * qaz).sum(axis=0) + (qz * (qaq @ qz)).sum(axis=0)
    return np.trace(qaq) + rest.mean(), standard_error(rest)


def _xtrace(size: int) -> Callable:
    def estimate(qaq, qz, qaz, forms):
        """The mean of the estimates that take one vector for the sample, the rest for the sketch.

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
        estimates = np.trace(qaq) - (left * (qaq @ left)).sum(axis=0) + scale * rest
        return estimates.mean(), standard_error(estimates)

    return estimate


@jax.jit(static_argnames=("count", "like"))
def _columns(product, first, count, like):
    def column(i):
        unit = jnp.zeros(like.shape, like.dtype).at[i].set(1)
        image = product(unit)
        return image[i], image @ image

    return jax.lax.map(column, first + jnp.arange(count))


@jax.jit(static_argnames=("count", "like"))
def _forms(product, seed, first, count, like):
    def form(i):
        z = _signs(seed, i, like)
        image = product(z)
        return z @ image, image @ image

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
def _apply(product, rows):
    return jax.lax.map(product, rows)


@jax.jit
def _remove(basis, rows):
    return rows - (rows @ basis.T) @ basis


@jax.jit
def _orthonormal(rows):
    return jnp.linalg.qr(rows.T)[0].T


@jax.jit
def _inner(left, right):
    return left @ right.T
