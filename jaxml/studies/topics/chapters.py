"""Studies of one question each, as one function from data to what a page shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from jaxml import landscape
from jaxml.core.result import Result
from jaxml.core.types import Batch
from jaxml.studies.batch_scaling.sharpness_at_equal_loss import loss_over
from jaxml.studies.sweep.batch_size import batch_size
from jaxml.studies.sweep.configs import Lanes
from jaxml.studies.sweep.result import Study, best_finite
from jaxml.studies.sweep.task import Task
from jaxml.studies.topics.depth import Depth
from jaxml.studies.topics.diagnosis import Diagnosis, Score, diagnose
from jaxml.studies.topics.generalization import BestOfMany, Folds, Frequency
from jaxml.studies.topics.normalization import Smoothness, smoothness
from jaxml.studies.topics.sharpening import Sharpening


@dataclasses.dataclass(frozen=True)
class DepthStudy(Result):
    """Networks of several depths at equal parameters.

    Attributes:
        depths: from `depths`.
        pieces: K -> linear pieces of `tents(K)`, as counted.
    """

    depths: list[Depth]
    pieces: dict[int, int]


@dataclasses.dataclass(frozen=True)
class EdgeStudy(Result):
    """Full-batch training against its optimisers' stability thresholds.

    Attributes:
        runs: name of the loss -> trainings, from `sharpening`.
    """

    runs: dict[str, list[Sharpening]]

    FORMERLY: ClassVar = {"ways": "runs"}


@dataclasses.dataclass(frozen=True)
class GeneralizationStudy(Result):
    """How far a score on few examples can be trusted.

    Attributes:
        hypotheses: |H| of the bad samples.
        epsilon: ε of the bad samples.
        bad: N -> how often a sample was bad.
        needed: N that the bound asks for at δ = 0.05.
        validation: examples that the best of many was chosen on.
        best: by number of models.
        folds: cross-validation of several rates.
        test: the test error of each of them, trained on all rows.
    """

    hypotheses: int
    epsilon: float
    bad: dict[int, Frequency]
    needed: int
    validation: int
    best: list[BestOfMany]
    folds: Folds
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class NormalizationStudy(Result):
    """The same network with and without a normalisation.

    Attributes:
        runs: name -> (rate, measurements along the gradient, λ_max at the end to a thousandth;
            NaN where the parameters are not finite or λ_max did not converge).
    """

    runs: dict[str, list[tuple[float, Smoothness, float]]]

    FORMERLY: ClassVar = {"ways": "runs"}


@dataclasses.dataclass(frozen=True)
class DiagnosisStudy(Result):
    """A network, smaller ones, and what is wrong with it.

    Attributes:
        diagnosis: from `diagnose`.
        scores: split -> error of the network.
        smaller: name -> training error.
        study: of the network, with its curves.
        best: the lane judged: that of the lowest error in training.
    """

    diagnosis: Diagnosis
    scores: dict[str, Score]
    smaller: dict[str, Score]
    study: Study
    best: int


def compare_normalization(
    tasks: Mapping[str, Task],
    data: Batch,
    rates: Sequence[float],
    *,
    on_progress: Callable[[int, int], Any] = lambda done, of: None,  # noqa: ARG005
    **options: Any,
) -> NormalizationStudy:
    """`smoothness` of several tasks at several rates, and the sharpness where they end.

    Args:
        tasks: name -> task, such as a network with and without batch norm.
        data: what is trained on.
        rates: η.
        on_progress: called with the numbers of trainings done and in all.
        **options: of `smoothness`.
    """
    runs: dict[str, list[tuple[float, Smoothness, float]]] = {}
    total = len(tasks) * len(rates)
    for name, task in tasks.items():
        runs[name] = []
        for rate in rates:
            found = smoothness(task, data, learning_rate=float(rate), **options)
            runs[name].append((float(rate), found, _sharpness(task, data, found)))
            on_progress(sum(map(len, runs.values())), total)
    return NormalizationStudy(runs)


def _sharpness(task: Task, data: Batch, found: Smoothness) -> float:
    """λ_max of the loss as in training over all the data, where a training ended."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.params)):
        return float("nan")
    loss = loss_over(task, found.model_state, data, train=True)
    pairs = landscape.eigenpairs(landscape.hessian(loss, found.params), top=1, tolerance=1e-3)
    return float(pairs.values[-1]) if pairs.converged.all() else float("nan")


def diagnose_networks(
    task: Task,
    smaller: Mapping[str, Task],
    data: Batch,
    lanes: Lanes,
    *,
    splits: Mapping[str, Batch],
    acceptable: float,
    **options: Any,
) -> DiagnosisStudy:
    """Train a network and smaller ones over the same rates, and say what is wrong.

    Args:
        task: the network's.
        smaller: name -> that of a network that it contains, such as a shallower one.
        data: what is trained on.
        lanes: rates and seeds; every network is judged at its lowest error in training.
        splits: `validation`, and `test` if there is one.
        acceptable: the error that one would be content with.
        **options: of `batch_size`.

    Raises:
        ValueError: as `batch_size`, or if no configuration of a network ends finite.
    """
    every = {"train": data, **splits}
    study = batch_size(task, data, lanes, splits=every, **options)
    best = _lowest(study)
    counts = {name: len(next(iter(split.values()))) for name, split in every.items()}
    scores = {name: Score(float(study.last(f"{name} error")[best]), counts[name]) for name in every}
    others = {}
    for name, other in smaller.items():
        trained = batch_size(other, data, lanes, splits={"train": data}, **options)
        error = trained.last("train error")[_lowest(trained)]
        others[name] = Score(float(error), counts["train"])
    found = diagnose(
        scores["train"],
        scores["validation"],
        scores.get("test"),
        acceptable=acceptable,
        shallower=list(others.values()),
    )
    return DiagnosisStudy(found, scores, others, study, best)


def _lowest(study: Study) -> int:
    return best_finite(study.final("train error"), "train error")
