"""How far a score on few examples can be trusted: bounds, simulations, cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Batch
from jaxml.studies.sweep.batch_size import batch_size
from jaxml.studies.sweep.configs import Lanes
from jaxml.studies.sweep.result import best_finite
from jaxml.studies.sweep.task import Task

_FRACTIONS = 1000  # different losses at most that are written as fractions


def hoeffding_bound(hypotheses: float, examples: int, epsilon: float) -> float:
    """P(some hypothesis's mean loss on N examples is off by more than ε) ≤ 2|H|exp(−2Nε²).

    Args:
        hypotheses: |H|.
        examples: N.
        epsilon: ε, for losses between 0 and 1.

    Returns:
        The bound, at most 1.

    Reference:
        Hoeffding 1963, theorem 2, and the union bound over H.

    Example:
        >>> round(hoeffding_bound(10_000, 500, 0.1), 3)
        0.908
    """
    require(hypotheses >= 1, "at least one hypothesis", hypotheses)
    require_positive_int("examples", examples)
    require(0 < epsilon < 1, "epsilon in (0, 1)", epsilon)
    exponent = math.log(2) + math.log(hypotheses) - 2 * examples * epsilon**2
    return math.exp(min(exponent, 0.0))


def examples_needed(hypotheses: float, epsilon: float, delta: float) -> int:
    """N for which `hoeffding_bound` is at most δ: log(2|H|/δ)/(2ε²).

    Example:
        >>> examples_needed(10_000, 0.1, 0.1)
        611
    """
    require(hypotheses >= 1, "at least one hypothesis", hypotheses)
    require(0 < epsilon < 1, "epsilon in (0, 1)", epsilon)
    require(0 < delta < 1, "delta in (0, 1)", delta)
    return math.ceil((math.log(2 * hypotheses) - math.log(delta)) / (2 * epsilon**2))


class Frequency(NamedTuple):
    """How often samples were bad.

    Attributes:
        value: the share of samples on which some hypothesis is off by more than ε.
        interval: Wilson's, 95 %.
        bound: Hoeffding's.
    """

    value: float
    interval: tuple[float, float]
    bound: float


def bad_samples(
    losses: Float[np.ndarray, "hypotheses population"],
    examples: int,
    epsilon: float,
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Frequency:
    """How often a sample is bad: simulated against the bound.

    Off by more than ε is strictly more. Where the losses are 0 or 1, or fractions of small
    numbers, that is decided in whole numbers, so that a mean off by just ε does not count; ε is
    the decimal fraction or the ratio that it prints as.

    Args:
        losses: of every hypothesis on every member of the population, between 0 and 1.
        examples: N drawn at a time, independently.
        epsilon: ε.
        samples: how many are drawn.
        seed: of the draws.

    Raises:
        ValueError: if losses leave [0, 1] or there are none.
    """
    losses = np.asarray(losses, float)
    expected = "losses in [0, 1] of shape (hypotheses, population)"
    require(losses.ndim == 2 and losses.size > 0, expected, f"shape {losses.shape}")
    inside = losses.min() >= 0 and losses.max() <= 1
    require(inside, expected, f"{losses.min():g} to {losses.max():g}")
    samples = require_positive_int("samples", samples)
    bound = hoeffding_bound(len(losses), examples, epsilon)
    population = losses.shape[1]
    scaled, off = _in_whole_numbers(losses, examples, epsilon)
    random, totals, bad = np.random.default_rng(seed), examples * scaled.sum(1), 0
    for _ in range(samples):
        drawn = random.integers(0, population, examples)
        counts = np.bincount(drawn, minlength=population)
        bad += bool((np.abs(population * (scaled @ counts) - totals) > off).any())
    interval = stats.binomtest(bad, samples).proportion_ci(method="wilson")
    return Frequency(bad / samples, (float(interval.low), float(interval.high)), bound)


def _in_whole_numbers(losses, examples, epsilon) -> tuple[np.ndarray, float]:
    """Losses times a common denominator, and what |P·Σ of a sample − N·Σ of all| is then above.

    Sums of whole numbers below 2⁵³ are exact in floating point; other losses stay as they are.
    """
    share, size, values = _fraction(epsilon), examples * losses.shape[1], np.unique(losses)
    fractions = [_fraction(v) for v in values.tolist()] if len(values) <= _FRACTIONS else [None]
    if share is not None and None not in fractions:
        common = math.lcm(*(f.denominator for f in fractions if f is not None))
        if common * size < 2**53:
            return np.round(losses * common), math.floor(share * common * size)
    return losses, epsilon * size


def _fraction(value: float) -> Fraction | None:
    """The ratio of small numbers whose nearest float this is; `None` if there is none."""
    found = Fraction(value).limit_denominator(10**6)
    return found if float(found) == value else None


class BestOfMany(NamedTuple):
    """Choosing among many on few examples.

    Attributes:
        models: how many were chosen among.
        public: the mean error of the chosen on the examples it was chosen by.
        private: on all others.
        least: the mean over draws of the least error on all others, as if one had known.
    """

    models: int
    public: float
    private: float
    least: float


def best_of_many(
    losses: Float[np.ndarray, "models examples"],
    validation: int,
    counts: Sequence[int],
    *,
    draws: int = 500,
    seed: int = 0,
) -> list[BestOfMany]:
    """What happens to the score of the best of many models chosen on a small validation set.

    Args:
        losses: of every model on every example.
        validation: examples that the choice is made on.
        counts: how many models are chosen among.
        draws: of validation sets and models.
        seed: of the draws.

    Raises:
        ValueError: if there are too few models or examples.
    """
    losses = np.asarray(losses, float)
    models, examples = losses.shape
    require(1 <= validation < examples, f"1 to {examples - 1} examples", validation)
    within = len(counts) > 0 and all(1 <= count <= models for count in counts)
    require(within, f"counts of 1 to the {models} models", list(counts))
    draws = require_positive_int("draws", draws)
    random, found = np.random.default_rng(seed), []
    totals = losses.sum(1)
    for count in counts:
        rows = []
        for _ in range(draws):
            own = random.choice(models, count, replace=False)
            public = losses[own][:, random.choice(examples, validation, replace=False)].sum(1)
            private = (totals[own] - public) / (examples - validation)
            best = int(public.argmin())
            rows.append((public[best] / validation, private[best], private.min()))
        found.append(BestOfMany(count, *map(float, np.mean(rows, axis=0))))
    return found


class Folds(NamedTuple):
    """Cross-validation of several configurations.

    Attributes:
        lanes: the configurations, one a row of the scores.
        scores: on the part left out, shape (configurations, folds).
        best: the configuration with the best mean.
        mean: its mean over folds.
        error: its standard error.
    """

    lanes: Lanes
    scores: np.ndarray
    best: int
    mean: float
    error: float


def cross_validate(
    task: Task,
    data: Batch,
    lanes: Lanes,
    *,
    folds: int = 5,
    measure: str = "error",
    above: bool = False,
    seed: int = 0,
    **options: Any,
) -> Folds:
    """N-fold cross-validation of all configurations: each fold is one study.

    Args:
        task: as in `batch_size`.
        data: all rows; `len % folds` of them, at random, are left out, so that all folds are one
            compiled program.
        lanes: the configurations.
        folds: N.
        measure: what is compared.
        above: whether large is good.
        seed: of the division.
        **options: of `batch_size`: epochs, steps and so on.

    Raises:
        ValueError: as `batch_size`, for fewer than two folds or more than rows, or if no
            configuration ends finite in every fold.
    """
    count = len(next(iter(data.values())))
    require(2 <= folds <= count, f"2 to {count} folds", folds)
    order = np.random.default_rng(seed).permutation(count)[: count - count % folds]
    parts = np.split(order, folds)
    scores = []
    for part in parts:
        rest = np.setdiff1d(order, part)
        rows = {name: np.asarray(array)[rest] for name, array in data.items()}
        left_out = {name: np.asarray(array)[part] for name, array in data.items()}
        study = batch_size(task, rows, lanes, splits={"validation": left_out}, **options)
        scores.append(study.final(f"validation {measure}"))
    table = np.array(scores).T
    means = table.mean(1)
    best = best_finite(means, f"validation {measure} in every fold", above=above)
    error = table[best].std(ddof=1) / math.sqrt(folds)
    return Folds(lanes, table, best, float(means[best]), float(error))
