"""Steps to target, with the statistics that a claim about them needs.

A lane that misses its target, by its budget, on a plateau or because it diverged, counts as one
that takes infinitely many steps; the mean or the median over those that hit would say nothing.
Rates are chosen on some seeds and judged on others.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.result import Result
from jaxml.studies.batch_scaling.median_interval import median_interval
from jaxml.studies.sweep.result import Study

# what makes configurations of one group differ
_TUNED = ("learning_rate", "momentum", "schedule", "warmup")


class Steps(NamedTuple):
    """Steps to target of one batch size and optimiser, at its best configuration.

    Attributes:
        batch_size: B.
        optimizer: its name.
        learning_rate: chosen on all seeds; NaN if none hit.
        momentum: likewise.
        schedule: likewise.
        steps: the median over seeds, each judged at what the other seeds chose; infinite if half
            or more miss.
        low: of its interval, which holds `steps`; the budget if that is all that is known; NaN
            with one seed.
        high: likewise; infinite where it reaches the misses.
        level: how often such an interval holds the median of all seeds that there could be: the
            confidence asked for, less where the seeds are too few for it, NaN with one.
        epochs: `steps` in epochs.
        hits: the share of seeds that hit at the chosen configuration.
        diverged: the share of all lanes of this group whose measures became infinite or NaN.
        interior: whether the chosen rate has a smaller and a larger one beside it in the grid.
        flags: what stands against reading this as the best there is.
    """

    batch_size: int
    optimizer: str
    learning_rate: float
    momentum: float
    schedule: str
    steps: float
    low: float
    high: float
    level: float
    epochs: float
    hits: float
    diverged: float
    interior: bool
    flags: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class StepsTable(Result):
    """Steps to target by batch size and optimiser.

    Attributes:
        rows: ascending in batch size, by optimiser (and momentum where `by_momentum`).
        resamples: of each row, the bootstrap's medians, shape (rows, resamples): chosen on the
            seeds drawn, which are the same in all rows, and judged on those left out; NaN where
            none is.
        judged: steps of each row and seed at what the other seeds chose, shape (rows, seeds);
            infinite for a miss.
        chosen: likewise at the row's own configuration.
        confidence: of the rows' intervals, where the seeds are enough.
    """

    rows: list[Steps]
    resamples: np.ndarray
    judged: np.ndarray
    chosen: np.ndarray
    confidence: float

    def of(self, optimizer: str, momentum: float | None = None) -> StepsTable:
        """The rows of one optimiser, at one momentum if given."""
        own = [
            i
            for i, row in enumerate(self.rows)
            if row.optimizer == optimizer and momentum in (None, row.momentum)
        ]
        return StepsTable(
            [self.rows[i] for i in own],
            self.resamples[own],
            self.judged[own],
            self.chosen[own],
            self.confidence,
        )


def steps_to_target(
    study: Study,
    *,
    by_momentum: bool = False,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> StepsTable:
    """Steps to target of each batch size and optimiser, its rate chosen anew for each.

    An interval is the wider one of two by `median_interval`: of the seeds judged at what the
    others chose, which alone would be too narrow since seeds have their choices in common, and of
    all seeds at the configuration that all chose, which alone would favour it. In simulations of
    log-normal steps, with rates far apart, close together or all alike, it holds the median in
    93 % or more for 95 % (`python -m benchmarks.coverage_studies`).

    Args:
        study: one with a target.
        by_momentum: a row for each momentum rather than the best.
        resamples: of the bootstrap over seeds, for `by_hyperbola`.
        confidence: of the intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: if the study has no target or is not done, or the confidence is not in (0, 1).

    Reference:
        Shallue et al. 2018 (arXiv:1811.03600), section 4, for the protocol; Choi et al. 2019
        (arXiv:1910.05446) for a miss as ∞; Efron 1979 for the bootstrap.
    """
    require(study.target is not None, "a study with a target", "none")
    require((study.exits != "").all(), "a study that is done", f"{(study.exits == '').sum()} lanes")
    require_positive_int("resamples", resamples)
    require(0 < confidence < 1, "a confidence in (0, 1)", confidence)
    lanes, random = study.lanes, np.random.default_rng(seed)
    seeds = np.unique(lanes.seed)
    draws = random.integers(0, len(seeds), (resamples, len(seeds)))
    names = ["batch_size", "optimizer"] + (["momentum"] if by_momentum else [])
    keys = list(zip(*(getattr(lanes, name).tolist() for name in names), strict=True))
    groups = [
        _group(study, np.flatnonzero([k == key for k in keys]), seeds, draws, confidence)
        for key in sorted(set(keys), key=lambda key: (key[1:], key[0]))
    ]
    rows, replicates, judged, chosen = zip(*groups, strict=True)
    return StepsTable(
        list(rows), np.array(replicates), np.array(judged), np.array(chosen), confidence
    )


def _group(study, own, seeds, draws, confidence) -> tuple[Steps, Any, Any, Any]:
    lanes = study.lanes
    names = [tuple(getattr(lanes, name)[i] for name in _TUNED) for i in own]
    configurations = sorted(set(names))
    steps = np.full((len(configurations), len(seeds)), np.nan)
    for i, name in zip(own, names, strict=True):
        steps[configurations.index(name), np.searchsorted(seeds, lanes.seed[i])] = study.steps[i]
    missing = np.isnan(steps).sum()
    require(not missing, "every configuration with every seed", f"{missing} missing")
    best = _best(steps)
    judged = steps[best]
    if len(seeds) > 1:
        every = np.arange(len(seeds))
        judged = np.array([steps[_best(steps[:, every != s]), s] for s in every])
    middle = float(np.median(judged))
    low, high, level = _interval(judged, steps[best], confidence)
    if math.isinf(low):  # of a miss nothing is known but that it takes more than this
        low = float(study.budget[own].min())
    hits = float(np.isfinite(steps[best]).mean())
    rates = sorted({name[0] for name in configurations})
    rate, momentum, schedule, _ = configurations[best]
    place = rates.index(rate)
    interior = 0 < place < len(rates) - 1
    flags = []
    if hits == 0:
        rate, interior = math.nan, False
    elif not interior and len(rates) > 1:
        flags.append("rate at the edge of its grid")
    elif len(rates) == 1:
        flags.append("one rate")
    if hits < 0.5:
        flags.append("no seed hit" if hits == 0 else "fewer than half hit")
    if len(seeds) == 1:
        flags.append("one seed: chosen and judged on it")
    elif level < confidence:
        flags.append(f"too few seeds for an interval of {confidence:.0%}")
    size = int(lanes.batch_size[own[0]])
    row = Steps(
        batch_size=size,
        optimizer=str(lanes.optimizer[own[0]]),
        learning_rate=float(rate),
        momentum=float(momentum),
        schedule=str(schedule),
        steps=middle,
        low=low,
        high=high,
        level=level,
        epochs=middle * size / study.examples,
        hits=hits,
        diverged=float((study.exits[own] == "not finite").mean()),
        interior=interior,
        flags=tuple(flags),
    )
    return row, _resampled(steps, draws), judged, steps[best]


def _interval(judged, chosen, confidence) -> tuple[float, float, float]:
    """The wider one of two, at the lower one's level."""
    a, b = (median_interval(values, confidence=confidence) for values in (judged, chosen))
    return float(min(a.low, b.low)), float(max(a.high, b.high)), float(min(a.level, b.level))


def _best(steps: np.ndarray) -> int:
    """The configuration with the least median over its seeds.

    Lanes are measured now and then, so that medians are often equal: then the one that misses the
    least, then the one with the least mean.
    """
    hit = np.isfinite(steps)
    means = np.where(hit, steps, 0).sum(1) / np.maximum(hit.sum(1), 1)
    return int(np.lexsort((means, -hit.sum(1), np.median(steps, axis=1)))[0])


def _resampled(steps, draws) -> np.ndarray:
    """Choose on a resample of the seeds, judge on those that are not in it."""
    unique, inverse = np.unique(np.sort(draws, axis=1), axis=0, return_inverse=True)
    found = []
    for draw in unique:
        out = np.setdiff1d(np.arange(steps.shape[1]), draw)
        best = _best(steps[:, draw])
        found.append(np.median(steps[best, out]) if len(out) else math.nan)
    return np.array(found)[inverse.ravel()]


def kaplan_meier(times: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share that has not hit yet, where some were stopped before they could.

    Args:
        times: of the hit, or of the end of observation; shape (n,).
        known: whether it is a hit; an infinite time never comes.

    Returns:
        Times of hits, ascending, and the share that survives each.

    Reference:
        Kaplan and Meier 1958, "Nonparametric estimation from incomplete observations".

    Example:
        >>> kaplan_meier(np.array([1, 2, 3, 4]), np.array([True, False, True, False]))
        (array([1, 3]), array([0.75 , 0.375]))
    """
    hits = np.unique(times[known & np.isfinite(times)])
    at_risk = (times[None] >= hits[:, None]).sum(1)
    died = ((times[None] == hits[:, None]) & known).sum(1)
    return hits, np.cumprod(1 - died / np.maximum(at_risk, 1))


def median_time(times: np.ndarray, known: np.ndarray) -> float:
    """The time by which half have hit, by `kaplan_meier`; infinite if that is never seen.

    With an even number the later of the two in the middle counts only if the share falls below
    one half at the earlier one: their mean is taken where it is exactly one half.
    """
    hits, survive = kaplan_meier(np.asarray(times, float), np.asarray(known, bool))
    below = np.flatnonzero(survive < 0.5 - 1e-9)
    half = np.flatnonzero(abs(survive - 0.5) <= 1e-9)
    if len(half):
        later = hits[half[0] + 1] if half[0] + 1 < len(hits) else np.inf
        return float((hits[half[0]] + later) / 2)
    return float(hits[below[0]]) if len(below) else math.inf
