"""Numbers that belong to the whole of a large symmetric matrix, from its products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import flax.struct
import jax
import numpy as np

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.result import Result
from jaxml.core.seeds import words
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.validation import precision
from jaxml.landscape.spectra.density import FEWEST, OnProgress, check_accuracy, check_operator
from jaxml.landscape.spectra.trace_estimators import Found, around, hutchinson, hutchpp, xtrace
from jaxml.landscape.spectra.trace_samples import (
    BLOCK,
    add_diagonals,
    columns_of,
    on_host,
    quadratic_forms,
    shape_of,
    sketches,
)
from jaxml.linalg.probe_intervals import Bounds, mean_bounds, standard_error, student
from jaxml.linalg.rounding import zero_tolerance

Method = Literal["hutch++", "xtrace", "hutchinson"]
METHODS: tuple[Method, ...] = ("hutch++", "xtrace", "hutchinson")


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
        samples, estimate = quadratic_forms(operator, max_products, seed), hutchinson
    else:
        samples = sketches(operator, method, max_products, seed)
        estimate = xtrace(operator.size) if method == "xtrace" else hutchpp
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
        return Found(value, error, Bounds(np.sqrt(max(low, 0)), np.sqrt(high)), value)

    samples = quadratic_forms(operator, max_products, seed)
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
        for first in range(0, max_products, BLOCK):
            count = min(BLOCK, max_products - first)
            with precision(operator.dtype == np.float64):
                state = add_diagonals(operator.product, *state, words(seed), first, count)
            yield first + count, (first + count, *jax.device_get(state))

    def estimate(count, mean, squares):
        error = np.full_like(mean, np.nan)
        if count > 1:
            error = np.sqrt(squares / (count * (count - 1)))
        # the sum of random signs is symmetric about the mean
        scale = np.abs(mean).max() / operator.size**0.5
        return Found(mean, error, around(mean, student(count), error), scale)

    return _until(operator, samples(), estimate, accuracy, max_products, on_progress)


def _check(operator: SymmetricOperator, accuracy: float | None, max_products: int) -> int:
    check_operator(operator)
    check_accuracy(accuracy)
    return require_positive_int("max_products", max_products)


def _until(
    operator: SymmetricOperator,
    samples: Iterator[tuple[int, tuple]],
    estimate: Callable[..., Found],
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


def _estimated(operator: SymmetricOperator, found: Found, products: int) -> Estimate:
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
    for first in range(0, operator.size, BLOCK):
        count = min(BLOCK, operator.size - first)
        with precision(operator.dtype == np.float64):
            new = columns_of(operator.product, first, count, shape_of(operator))
        parts.append(on_host(*jax.device_get(new)))
    diagonals, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
    whole = value(diagonals, squares)
    require(np.isfinite(whole).all(), "finite products", "some that are not")
    found = Found(whole, np.zeros_like(whole), Bounds(whole, whole), np.sqrt(squares.sum()))
    return _estimated(operator, found, operator.size)
