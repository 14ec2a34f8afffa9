"""An interval for the median of a few positive numbers, some of which may be infinite."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxml.core.checks import require


class MedianInterval(NamedTuple):
    """Where the median of the distribution lies.

    Attributes:
        low: of the interval; NaN with one number.
        high: likewise; infinite where it reaches infinite numbers.
        level: how often such an interval holds the median: the confidence asked for, less if
            the numbers are too few for it, NaN with one.
    """

    low: np.ndarray
    high: np.ndarray
    level: np.ndarray


def seeds_for(confidence: float) -> int:
    """How many numbers are the least for an interval between two of them.

    Example:
        >>> seeds_for(0.95), seeds_for(0.5)
        (6, 2)
    """
    return max(2, math.ceil(1 - math.log2(1 - confidence) - 1e-12))


def median_interval(values: np.ndarray, *, confidence: float = 0.95) -> MedianInterval:
    """The median's interval, along the first axis.

    Between two order statistics where the numbers are enough, which supposes nothing of the
    distribution: six are the least for 95 %. Of fewer, all finite, Student's interval of the
    logarithms, which supposes a log-normal distribution. Of fewer, some infinite, from the least
    to the largest of n numbers, whose level is 1 − 2¹⁻ⁿ.

    Args:
        values: of shape (n, ...), at least 0; ∞ for what never comes, NaN for what may be any.
        confidence: of the interval.

    Raises:
        ValueError: if the confidence is not in (0, 1), or without values.

    Reference:
        David and Nagaraja 2003, "Order statistics", section 7.1.

    Example:
        >>> found = median_interval(np.array([90.0, 120.0, 100.0]))
        >>> round(float(found.low)), round(float(found.high)), float(found.level)
        (71, 147, 0.95)
        >>> found = median_interval(np.array([90.0, np.inf, 100.0]))
        >>> float(found.low), float(found.high), float(found.level)
        (90.0, inf, 0.75)
    """
    require(0 < confidence < 1, "a confidence in (0, 1)", confidence)
    values = np.asarray(values, float)
    require(values.ndim > 0 and len(values) > 0, "at least one value", f"shape {values.shape}")
    count, shape = len(values), values.shape[1:]
    if count == 1:
        return MedianInterval(*(np.full(shape, math.nan) for _ in range(3)))
    lower = np.sort(np.where(np.isnan(values), 0.0, values), axis=0)
    upper = np.sort(np.where(np.isnan(values), np.inf, values), axis=0)
    # of the interval from the r-th to the r-th last, by r
    missed = 2 * stats.binom.cdf(np.arange(count // 2), count, 0.5)
    enough = int((missed <= 1 - confidence + 1e-12).sum())
    low, high = lower[max(enough, 1) - 1], upper[-max(enough, 1)]
    if enough:
        return MedianInterval(low, high, np.full(shape, confidence))
    finite = np.isfinite(values).all(0) & (lower[0] > 0)
    logs = np.log(np.where(finite, values, 1.0))
    center, spread = logs.mean(0), logs.std(0, ddof=1)
    reach = stats.t.ppf((1 + confidence) / 2, count - 1) * spread / math.sqrt(count)
    middle = np.median(upper, axis=0)
    return MedianInterval(
        np.where(finite, np.minimum(np.exp(center - reach), middle), low),
        np.where(finite, np.maximum(np.exp(center + reach), middle), high),
        np.where(finite, confidence, 1 - 2.0 ** (1 - count)),
    )
