"""Sharpness beside generalisation, where the loss in training is the same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import Partial
from scipy import stats

from jaxml import landscape
from jaxml.core.checks import require
from jaxml.core.empirical_risk import Objective
from jaxml.core.result import Result
from jaxml.core.types import Batch
from jaxml.landscape.callbacks.edge_of_stability import most_stable
from jaxml.landscape.operators.validation import unravel_host
from jaxml.studies.sweep.batch_size import batch_size
from jaxml.studies.sweep.configs import Lanes
from jaxml.studies.sweep.result import Study, Target
from jaxml.studies.sweep.task import Task, stateless


class Minimum(NamedTuple):
    """Where one lane met the loss.

    Attributes:
        lane: its number.
        batch_size: B.
        seed: of its initialisation and order.
        updates: that it took.
        sharpness: on all the data in training.
        edge: λ_max·η over the optimiser's limit of stability, above 1 beyond it.
        measured: every `split measure` there.
    """

    lane: int
    batch_size: int
    seed: int
    updates: int
    sharpness: landscape.Sharpness
    edge: float
    measured: dict[str, float]


@dataclasses.dataclass(frozen=True)
class EqualLoss(Result):
    """Sharpness by batch size at one training loss.

    Attributes:
        loss: that all lanes met first.
        minima: of the lanes that met it.
        missed: how many did not.
        rank: Spearman's correlation of batch size and λ_max, of the lanes where that is finite;
            NaN of fewer than three batch sizes, or where λ_max is the same in all.
        p_value: of no correlation, by permutation within seeds; NaN with `rank`.
        line: the training loss along the straight line from the smallest batch's minimum to the
            largest's of the same seed: places t, losses, validation losses; `None` if one missed.
        study: of the lanes.
    """

    loss: float
    minima: list[Minimum]
    missed: int
    rank: float
    p_value: float
    line: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    study: Study

    @property
    def ranked(self) -> str:
        """How λ_max goes with the batch size, as far as there is a rank correlation."""
        known = _known(self.minima)
        if not math.isnan(self.rank):
            stated = f"rank correlation {self.rank:.2f} (p = {self.p_value:.2g})"
            if self.p_value >= 0.05 or self.rank == 0:
                return f"chance explains how λ_max goes with the batch size, {stated}"
            way = "rises" if self.rank > 0 else "falls"
            return f"λ_max {way} with the batch size, {stated}"
        if not known:
            return "λ_max is finite in no lane"
        values = [m.sharpness.largest_eigenvalue for m in known]
        if min(values) == max(values):
            return f"λ_max is {values[0]:.4g} in all lanes where it is finite"
        sizes = len({m.batch_size for m in known})
        return (
            f"λ_max {min(values):.4g} to {max(values):.4g}; {sizes} batch "
            f"size{'s'[: sizes > 1]} tell{'s'[: sizes == 1]} no rank correlation, 3 are the least"
        )


def at_equal_loss(
    task: Task,
    data: Batch,
    lanes: Lanes,
    *,
    splits: Mapping[str, Batch],
    loss: float,
    points: int = 41,
    on_lane: Callable[[int, int], bool | None] = lambda done, of: None,  # noqa: ARG005
    **options: Any,
) -> EqualLoss:
    """Train lanes to one training loss on all the data and measure how sharp it is there.

    Args:
        task: as in `batch_size`; measured as in evaluation.
        data: what is trained on.
        lanes: such as the best rate of each batch size, over seeds.
        splits: name -> what else is measured on.
        loss: the mean loss over `data` at which a lane is stopped and looked at.
        points: along the line between two minima.
        on_lane: called with the numbers of lanes looked at and in all; a true answer ends it.
        **options: of `batch_size`: epochs, steps and so on.

    Raises:
        ValueError: as `batch_size`.

    Reference:
        Keskar et al. 2017 (arXiv:1609.04836), which compares at equal rates and epochs; at equal
        training loss a difference is not one of how far training has come.
    """
    require("train" not in splits, "splits beside `train`, which is the data", list(splits))
    study = batch_size(
        task,
        data,
        lanes,
        splits={"train": data, **splits},
        target=Target(loss, "loss", "train"),
        keep_params=True,
        **options,
    )
    assert study.params is not None
    params, state = stateless(task, int(lanes.seed[0]))
    whole = loss_over(task, state, data)
    hit = np.flatnonzero(study.exits == "target")
    measured = {name: study.last(name) for name in study.records if " " in name}
    minima = []
    for done, lane in enumerate(hit):
        at = unravel_host(params, study.params[lane])
        found = landscape.sharpness(whole, at, probes=16, random_starts=0, rounds=5)
        minima.append(
            Minimum(
                lane=int(lane),
                batch_size=int(lanes.batch_size[lane]),
                seed=int(lanes.seed[lane]),
                updates=int(study.updates[lane]),
                sharpness=found,
                edge=found.largest_eigenvalue * _per_edge(lanes, int(lane)),
                measured={name: float(values[lane]) for name, values in measured.items()},
            )
        )
        if on_lane(done + 1, len(hit)):
            break
    rank, p_value = _rank(minima)
    other = next(iter(splits), None)
    line = None
    if other is not None:
        line = _line(minima, study, params, whole, loss_over(task, state, splits[other]), points)
    missed = int((study.exits != "target").sum())
    return EqualLoss(loss, minima, missed, rank, p_value, line, study)


def loss_over(task: Task, model_state: Any, data: Batch, *, train: bool = False) -> Partial:
    """A task's loss over all of some data as `params -> scalar`, for `jaxml.landscape`.

    Args:
        task: as in `batch_size`.
        model_state: the network's.
        data: a dict of arrays.
        train: the network as in training, with one key for all draws.
    """

    def values(params, state, batch):
        if train:
            return task.loss(params, state, batch, jax.random.key(0))[0]
        return task.measures(params, state, batch)["loss"]

    objective = Objective(values, lambda values, batch: values)  # noqa: ARG005
    return Partial(objective, state=model_state, batch={k: np.asarray(v) for k, v in data.items()})


def _per_edge(lanes: Lanes, lane: int) -> float:
    """η over what η·λ_max may be at most; NaN for an optimiser that divides by v."""
    rate, beta = float(lanes.learning_rate[lane]), float(lanes.momentum[lane])
    name = str(lanes.optimizer[lane])
    known = name in ("sgd", "momentum", "nesterov")
    return rate / most_stable(beta, nesterov=name == "nesterov") if known else np.nan


def _rank(minima: list[Minimum], draws: int = 2000) -> tuple[float, float]:
    """Spearman's correlation of B and λ_max, and the share of shuffles that reach it."""
    known = _known(minima)
    sizes = np.array([m.batch_size for m in known], float)
    sharp = np.array([m.sharpness.largest_eigenvalue for m in known])
    seeds = np.array([m.seed for m in known])
    if len(np.unique(sizes)) < 3 or len(np.unique(sharp)) < 2:
        return np.nan, np.nan
    correlation: Any = stats.spearmanr
    found = float(correlation(sizes, sharp).statistic)
    random, reached = np.random.default_rng(0), 0
    for _ in range(draws):
        shuffled = sharp.copy()
        for seed in np.unique(seeds):
            own = np.flatnonzero(seeds == seed)
            shuffled[own] = sharp[random.permutation(own)]
        reached += abs(correlation(sizes, shuffled).statistic) >= abs(found) - 1e-12
    return found, (reached + 1) / (draws + 1)


def _known(minima: list[Minimum]) -> list[Minimum]:
    """Those whose λ_max is finite."""
    return [m for m in minima if math.isfinite(m.sharpness.largest_eigenvalue)]


def _line(minima, study, params, train, other, points):
    """The loss along the line from a small batch's minimum to a large one's."""
    by_seed: dict[int, list[Minimum]] = {}
    for minimum in minima:
        by_seed.setdefault(minimum.seed, []).append(minimum)
    for own in by_seed.values():
        low, high = min(own, key=lambda m: m.batch_size), max(own, key=lambda m: m.batch_size)
        if low.batch_size == high.batch_size:
            continue
        start, end = study.params[low.lane], study.params[high.lane]
        t = np.linspace(-0.5, 1.5, points)
        direction = unravel_host(params, (end - start)[None])
        at = unravel_host(params, start)
        along = [
            landscape.surface(loss, at, direction, coordinates=t).losses for loss in (train, other)
        ]
        return t, along[0], along[1]
    return None
