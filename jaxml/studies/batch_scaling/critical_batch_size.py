"""The critical batch size: where more examples an update stop to save updates.

Three definitions, which differ by a factor of five and more: the hyperbola's B_crit, the largest
batch with at most 20 % more examples than the smallest needs, and the largest that a training run
can be branched into without falling behind.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats

from jaxml.core.checks import require
from jaxml.core.result import Result
from jaxml.core.types import Batch, Params
from jaxml.studies.batch_scaling.median_interval import median_interval
from jaxml.studies.batch_scaling.steps_to_target import StepsTable
from jaxml.studies.sweep.batch_size import batch_size
from jaxml.studies.sweep.configs import Lanes
from jaxml.studies.sweep.task import Task

_REFITS = 200
_BETWEEN = 32  # places between two batch sizes at which a ratio is tested
_RULES = {"sqrt": 0.5, "linear": 1.0, "none": 0.0}


@dataclasses.dataclass(frozen=True)
class CriticalBatchSize(Result):
    """A critical batch size; numbers are NaN where it is not identified.

    Attributes:
        value: the batch size.
        interval: of it; NaN where there is none.
        least_steps: S_min of the hyperbola.
        least_steps_interval: of it.
        least_examples: E_min = B_crit·S_min.
        flags: why it is not identified; empty if it is.
        level: how often such intervals hold the truth; NaN where that is not stated.
    """

    value: float
    interval: tuple[float, float]
    least_steps: float
    least_steps_interval: tuple[float, float]
    least_examples: float
    flags: tuple[str, ...]
    level: float = math.nan

    @property
    def identified(self) -> bool:
        """Whether the data tell it."""
        return not self.flags

    def steps(self, batch_sizes: Any) -> np.ndarray:
        """S_min(1 + B_crit/B)."""
        return self.least_steps * (1 + self.value / np.asarray(batch_sizes, float))


_NOWHERE = (math.nan, math.nan)


def fit_hyperbola(
    batch_sizes: Sequence[float], steps: Sequence[float], *, confidence: float = 0.95
) -> CriticalBatchSize:
    """Fit S = S_min(1 + B_crit/B) by least squares of log S.

    The interval holds the B_crit whose best fit is not worse than the best one by more than the
    F distribution allows, so it is not symmetric, and unbounded where the data do not bend.

    Args:
        batch_sizes: B.
        steps: S; infinite ones are left out, and said so in the flags if they are half.
        confidence: of the intervals.

    Raises:
        ValueError: if the lengths differ or a number is not above 0.

    Reference:
        McCandlish et al. 2018 (arXiv:1812.06162), equation 2.11 and appendix A; Bates and Watts
        1988, "Nonlinear regression analysis", section 6.1, for intervals by profile.

    Example:
        >>> fit = fit_hyperbola([1, 10, 100, 1000], [10100, 1100, 200, 110])
        >>> round(fit.least_steps), round(fit.value)
        (100, 100)
    """
    b, s = np.asarray(batch_sizes, float), np.asarray(steps, float)
    require(b.shape == s.shape and b.ndim == 1, "as many steps as batch sizes", (b.shape, s.shape))
    require((b > 0).all() and np.isfinite(b).all(), "batch sizes above 0", b)
    require((s > 0).all(), "steps above 0", s)
    hit = np.isfinite(s)
    flags = []
    if (~hit).any() and hit.sum() <= len(s) / 2:
        flags.append(f"{(~hit).sum()} of {len(s)} batch sizes miss the target")
    b, s = b[hit], s[hit]
    if len(np.unique(b)) < 3:
        flags.append(f"{len(np.unique(b))} batch sizes with steps, 3 are the least")
        return CriticalBatchSize(math.nan, _NOWHERE, math.nan, _NOWHERE, math.nan, tuple(flags))

    def residuals(log_critical: float) -> np.ndarray:
        off = np.log(s) - np.log1p(math.exp(log_critical) / b)
        return off - off.mean()

    def loss(log_critical: float) -> float:
        return float((residuals(log_critical) ** 2).sum())

    grid = np.linspace(math.log(b.min()) - 12, math.log(b.max()) + 12, 400)
    losses = np.array([loss(at) for at in grid])
    k = int(losses.argmin())
    around = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
    best: Any = optimize.minimize_scalar(
        loss, bounds=around, method="bounded", options={"xatol": 1e-10}
    )
    at = float(best.x)
    freedom = len(b) - 2
    bound = best.fun * (1 + stats.f.ppf(confidence, 1, freedom) / freedom) + 1e-24
    ends = [_crossing(loss, bound, at, grid[0]), _crossing(loss, bound, at, grid[-1])]
    low, high = (
        math.exp(end) if end is not None else edge
        for end, edge in zip(ends, (0.0, math.inf), strict=True)
    )
    value = math.exp(at)

    def least(log_critical: float) -> float:
        return math.exp(float((np.log(s) - np.log1p(math.exp(log_critical) / b)).mean()))

    if ends[0] is None or ends[1] is None:
        flags.append("the steps do not bend within the batch sizes")
    elif not b.min() <= value <= b.max():
        flags.append(f"{value:.3g} lies outside the batch sizes {b.min():g} to {b.max():g}")
    if flags:
        return CriticalBatchSize(
            math.nan, (low, high), math.nan, _NOWHERE, math.nan, tuple(flags), confidence
        )
    # S_min falls as B_crit rises; its own scatter given B_crit is added
    spread = math.sqrt(best.fun / freedom / len(b)) * stats.t.ppf((1 + confidence) / 2, freedom)
    ends_of_least = [math.log(least(math.log(end))) for end in (high, low)]
    minimum = least(at)
    interval = (math.exp(ends_of_least[0] - spread), math.exp(ends_of_least[1] + spread))
    return CriticalBatchSize(value, (low, high), minimum, interval, minimum * value, (), confidence)


def _crossing(loss: Any, bound: float, start: float, end: float) -> float | None:
    """Where the loss rises above the bound on the way to an end."""
    if loss(end) <= bound:
        return None
    for _ in range(60):
        middle = (start + end) / 2
        if loss(middle) <= bound:
            start = middle
        else:
            end = middle
    return (start + end) / 2


def by_hyperbola(table: StepsTable, *, confidence: float = 0.95) -> CriticalBatchSize:
    """`fit_hyperbola` to one optimiser's rows, its interval by the rows' own resamples.

    The interval is the wider of the fit's and the bootstrap's over seeds, in which the rates were
    chosen again.

    Args:
        table: rows of one optimiser, from `StepsTable.of`.
        confidence: of the interval.
    """
    sizes = [row.batch_size for row in table.rows]
    fit = fit_hyperbola(sizes, [row.steps for row in table.rows], confidence=confidence)
    edge = [row.batch_size for row in table.rows if not row.interior and math.isfinite(row.steps)]
    flags = list(fit.flags)
    if len(edge) > len(table.rows) / 2:
        flags.append(f"the rate is at the edge of its grid at B = {', '.join(map(str, edge))}")
    few = [row.batch_size for row in table.rows if row.hits < 0.5]
    if 2 * len(few) > len(table.rows):
        flags.append(f"fewer than half the seeds hit at B = {', '.join(map(str, few))}")
    if flags:
        return dataclasses.replace(
            fit, value=math.nan, least_steps=math.nan, least_examples=math.nan, flags=tuple(flags)
        )
    again = []
    judged = table.resamples[:, ~np.isnan(table.resamples).any(0)]
    for column in judged.T[:_REFITS]:
        refit = fit_hyperbola(sizes, column, confidence=confidence)
        again.append((refit.value, refit.least_steps) if refit.identified else (math.nan,) * 2)
    resampled = np.array(again)
    fit = dataclasses.replace(fit, least_steps_interval=_with_seeds(fit, table, confidence))
    if not len(resampled) or np.isnan(resampled[:, 0]).mean() > 0.5:
        return fit
    tails = [100 * (1 - confidence) / 2, 100 * (1 + confidence) / 2]
    of_value, of_least = np.nanpercentile(resampled, tails, axis=0).T
    return dataclasses.replace(
        fit,
        interval=(min(fit.interval[0], of_value[0]), max(fit.interval[1], of_value[1])),
        least_steps_interval=(
            min(fit.least_steps_interval[0], of_least[0]),
            max(fit.least_steps_interval[1], of_least[1]),
        ),
    )


def _with_seeds(fit, table, confidence) -> tuple[float, float]:
    """The interval of S_min, or as far as the seeds differ if they do in all rows alike."""
    logs = np.log(table.judged[np.isfinite(table.judged).all(1)])
    if not len(logs) or logs.shape[1] < 2:
        return fit.least_steps_interval
    off = np.exp(logs.mean(0) - np.median(logs.mean(0)))
    found = median_interval(off, confidence=confidence)
    low, high = fit.least_steps_interval
    least = fit.least_steps
    return min(low, least * float(found.low)), max(high, least * float(found.high))


def by_overhead(
    table: StepsTable, overhead: float = 0.2, *, confidence: float = 0.95
) -> CriticalBatchSize:
    """The largest batch that needs at most so many more examples than the smallest one.

    Between two batch sizes the examples are interpolated along log B. Under the hyperbola this is
    about 0.2·B_crit.

    The interval holds every batch size at which `median_interval`, of the seeds' own ratios of
    examples, holds the ratio looked for: the seeds judged at what the others chose, or all seeds
    at the rate that all chose.

    Args:
        table: rows of one optimiser, from `StepsTable.of`.
        overhead: the share.
        confidence: of the interval.

    Raises:
        ValueError: if the overhead is not above 0 or the confidence not in (0, 1).

    Reference:
        Zhang et al. 2024 (arXiv:2410.21676), section 2; Fieller 1954, "Some problems in interval
        estimation", for the inversion of a test.
    """
    require(0 < overhead < math.inf, "an overhead above 0", overhead)
    sizes = np.array([row.batch_size for row in table.rows], float)
    value, flags = _overhead(sizes, np.array([row.steps for row in table.rows]), overhead)
    interval, level = _NOWHERE, math.nan
    if not flags and table.judged.shape[1] > 1:
        interval, level = _overhead_interval(table, sizes, 1 + overhead, confidence)
        interval = min(interval[0], value), max(interval[1], value)
    return CriticalBatchSize(value, interval, math.nan, _NOWHERE, math.nan, flags, level)


def _overhead_interval(table, sizes, wanted, confidence) -> tuple[tuple[float, float], float]:
    """The batch sizes that may be the one, and how often they hold it."""
    shares = np.linspace(0, 1, _BETWEEN, endpoint=False)
    logs = np.log(sizes)
    grid = np.append((logs[:-1, None] + np.diff(logs)[:, None] * shares).ravel(), logs[-1])
    low, high = np.full(len(grid), np.inf), np.zeros(len(grid))
    level = confidence
    for steps in (table.judged, table.chosen):
        cost = sizes[:, None] * steps
        with np.errstate(invalid="ignore"):  # of two misses the ratio may be any: NaN
            ratio = cost / cost[0]
            between = ratio[:-1, None] * (1 - shares[:, None]) + ratio[1:, None] * shares[:, None]
        between[:, 0] = ratio[:-1]  # not 0·∞
        found = median_interval(
            np.vstack([between.reshape(-1, steps.shape[1]), ratio[-1:]]).T, confidence=confidence
        )
        low, high = np.minimum(low, found.low), np.maximum(high, found.high)
        level = min(level, float(found.level.min()))
    # before the first place the ratio is surely below, after the last one surely above
    first = np.append(np.flatnonzero(high >= wanted), len(grid) - 1)[0]
    last = np.flatnonzero(low <= wanted)[-1]
    end = math.exp(grid[last + 1]) if last + 1 < len(grid) else math.inf
    return (math.exp(grid[max(first - 1, 0)]), end), level


def _overhead(sizes, steps, overhead) -> tuple[float, tuple[str, ...]]:
    cost = sizes * steps
    if not np.isfinite(cost[0]):
        return math.nan, ("the smallest batch misses the target",)
    above = np.flatnonzero(~(cost <= (1 + overhead) * cost[0]))
    if not len(above):
        return math.nan, (f"no batch needs {overhead:.0%} more examples than the smallest",)
    k = int(above[0])
    if not np.isfinite(cost[k]):
        return float(sizes[k - 1]), ()
    share = ((1 + overhead) * cost[0] - cost[k - 1]) / (cost[k] - cost[k - 1])
    low, high = np.log(sizes[k - 1]), np.log(sizes[k])
    return float(np.exp(low + share * (high - low))), ()


class Branch(NamedTuple):
    """A training run branched into a larger batch.

    Attributes:
        batch_size: k·B.
        loss: after the same number of examples, the mean over seeds.
        error: its standard error.
    """

    batch_size: int
    loss: float
    error: float


def by_branching(
    task: Task,
    params: Params,
    model_state: Any,
    data: Batch,
    *,
    batch: int,
    factors: Sequence[int],
    optimizer: str,
    learning_rate: float,
    momentum: float = 0.9,
    rule: str = "sqrt",
    epochs: float = 1.0,
    tolerance: float = 0.01,
    seeds: int = 3,
    measured: Batch | None = None,
    **options: Any,
) -> tuple[CriticalBatchSize, list[Branch]]:
    """The largest batch that a checkpoint can be trained on with without falling behind.

    Every branch starts at the checkpoint, with empty optimiser slots, and sees the same examples.

    Args:
        task: as in `batch_size`.
        params: the checkpoint.
        model_state: its state.
        data: what is trained on.
        batch: the batch size B of the checkpoint's own training.
        factors: k, ascending from 1.
        optimizer: its name.
        learning_rate: at B.
        momentum: β, Adam's β₁.
        rule: how the rate grows with k: `sqrt`, `linear` or `none`.
        epochs: that every branch is trained for.
        tolerance: how much higher its loss may be than that of every smaller batch.
        seeds: of the order of the examples.
        measured: what the loss is measured on; `data` by default.
        **options: of `batch_size`.

    Returns:
        The largest k·B with loss at most `tolerance` above that of each smaller batch, and all.

    Raises:
        ValueError: as `batch_size`, or if the factors do not ascend from 1.

    Reference:
        Merrill et al. 2025 (arXiv:2505.23971), section 3.
    """
    ascending = len(factors) > 1 and factors[0] == 1 and (np.diff(factors) > 0).all()
    require(ascending, "factors that ascend from 1", list(factors))
    require(rule in _RULES, f"a rule among {', '.join(_RULES)}", rule)
    count = len(factors) * seeds
    k = np.repeat(np.asarray(factors), seeds)
    lanes = Lanes(
        batch_size=batch * k,
        optimizer=np.full(count, optimizer),
        learning_rate=learning_rate * k ** _RULES[rule],
        momentum=np.full(count, momentum),
        schedule=np.full(count, "constant"),
        warmup=np.zeros(count),
        seed=np.tile(np.arange(seeds), len(factors)),
    )
    fixed = task._replace(init=lambda key: (params, model_state))  # noqa: ARG005
    splits = {"train": data if measured is None else measured}
    study = batch_size(fixed, data, lanes, splits=splits, epochs=epochs, resolution=1.0, **options)
    losses = study.last("train loss").reshape(len(factors), seeds)
    losses = np.where((study.exits != "not finite").reshape(losses.shape), losses, np.inf)
    with np.errstate(invalid="ignore"):
        errors = losses.std(1, ddof=1) / math.sqrt(seeds) if seeds > 1 else np.full(len(k), np.nan)
    means = losses.mean(1)
    branches = [
        Branch(batch * f, float(m), float(e))
        for f, m, e in zip(factors, means, errors, strict=False)
    ]
    behind = [i for i in range(1, len(means)) if not means[i] <= means[:i].min() + tolerance]
    if not behind:
        flags = (f"no branch falls behind, up to {branches[-1].batch_size}",)
        value = math.nan
    elif behind[0] == 1:
        value, flags = math.nan, (f"already {branches[1].batch_size} falls behind",)
    else:
        value, flags = float(branches[behind[0] - 1].batch_size), ()
    interval = (value, float(branches[behind[0]].batch_size)) if not flags else _NOWHERE
    return CriticalBatchSize(value, interval, math.nan, _NOWHERE, math.nan, flags), branches
