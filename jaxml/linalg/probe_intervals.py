"""Intervals at 95 % from a few random vectors, each of which knows its own number in bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import betainc, stdtrit

CONFIDENCE = 0.95
# on each side where a distribution is only nearly the one assumed: half of 5 % is kept for that
_TAIL = 0.0125
# what rounding in float32 leaves of a mass that is none
_NOISE = 1e-9
# of zᵀBz for Gaussian z or random signs: 8·tr B³/(2·tr B²)^1.5 at most, that of rank one
_SKEWNESS = 8**0.5


class Bounds(NamedTuple):
    """From where to where; a number each, or an array."""

    low: Any
    high: Any


def standard_error(values: np.ndarray) -> Any:
    """Of the mean over the leading axis; NaN where that is of one value."""
    if len(values) == 1:
        return np.full(values.shape[1:], np.nan)
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def student(count: int) -> float:
    """How many standard errors the mean of so many near-normal numbers is from its expectation."""
    return float(stdtrit(count - 1, 1 - _TAIL)) if count > 1 else np.inf


def sampling_factor(count: int) -> float:
    """How many standard errors the mean of so many quadratic forms zᵀBz is from its expectation.

    Student's t, and the first term of the Cornish–Fisher expansion for a skewed sample at the
    largest skewness that a quadratic form of independent vectors can have: a rank of one, as
    that of a spectrum with one large eigenvalue. Infinite for one vector.

    Reference:
        Hall 1992, "The Bootstrap and Edgeworth Expansion", section 2.6, equation 2.55 onwards,
        with t in place of the normal quantile.
    """
    if count < 2:
        return np.inf
    t = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return t + _SKEWNESS * (2 * t**2 + 1) / (6 * (count - 1) ** 0.5)


def mean_bounds(low: np.ndarray, high: np.ndarray) -> Bounds:
    """Of the expectation of quadratic forms, each known to lie from `low` to `high`.

    Args:
        low: shape `(vectors, ...)`; −inf where nothing is known.
        high: of the same shape.
    """
    if len(low) < 2:
        return Bounds(np.full(low.shape[1:], -np.inf), np.full(low.shape[1:], np.inf))
    factor = sampling_factor(len(low))
    known = np.isfinite(low).all(axis=0)
    low = np.where(known, low, 0)
    lowest = np.where(known, low.mean(axis=0) - factor * standard_error(low), -np.inf)
    return Bounds(lowest, high.mean(axis=0) + factor * standard_error(high))


def count_bounds(low: np.ndarray, high: np.ndarray, size: int) -> Bounds:
    """Of how many of an operator's eigenvalues are in a set, as whole numbers.

    The mass of k of `size` eigenvalues in the spectral measure of a vector that is evenly
    distributed on the sphere has the distribution Beta(k/2, (size − k)/2). The bounds are the
    least and the largest k that the mean of the masses does not contradict, and no further
    assumption is made. Where the set is empty no mass is: so small a count is exact.

    Args:
        low: the least mass of each vector in the set, shape `(vectors, ...)`.
        high: the most; of the same shape.
        size: how many eigenvalues there are.
    """
    vectors = len(low)
    if vectors == 0:
        return Bounds(np.full(low.shape[1:], 0), np.full(low.shape[1:], size))
    least = _fewest(low.mean(axis=0) - _NOISE, vectors, size)
    return Bounds(least, size - _fewest(1 - high.mean(axis=0) - _NOISE, vectors, size))


def _fewest(mass: np.ndarray, vectors: int, size: int) -> np.ndarray:
    """The least k of which a mean mass of so much or more is not too unlikely.

    The mean of the Beta variables is taken for one of their mean and variance, which it is for
    one vector and in the limits of few eigenvalues and of many.
    """
    total = vectors * (size / 2 + 1) - 1
    mass = np.asarray(mass, float)
    low, high = np.zeros(mass.shape, int), np.full(mass.shape, size)  # rejected; accepted
    for _ in range(size.bit_length() + 1):
        middle = np.clip((low + high) // 2, 1, max(size - 1, 1))
        share = middle / size
        likely = betainc(share * total, (1 - share) * total, np.clip(mass, 0, 1)) < 1 - _TAIL
        apart = high - low > 1
        high = np.where(apart & likely, middle, high)
        low = np.where(apart & ~likely, middle, low)
    return np.where(mass <= 0, 0, high)
