"""What a batch-size study shows, put together for the page and the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxml.core.result import Result
from jaxml.studies.batch_scaling.critical_batch_size import (
    CriticalBatchSize,
    by_hyperbola,
    by_overhead,
)
from jaxml.studies.batch_scaling.noise_along import NoiseAt
from jaxml.studies.batch_scaling.noise_scale import NoiseScale, noise_scale_of
from jaxml.studies.batch_scaling.published import Published
from jaxml.studies.batch_scaling.sharpness_at_equal_loss import EqualLoss
from jaxml.studies.batch_scaling.steps_to_target import StepsTable, steps_to_target
from jaxml.studies.batch_scaling.throughput import Throughput
from jaxml.studies.sweep.configs import Lanes
from jaxml.studies.sweep.descents import Descents
from jaxml.studies.sweep.result import Study


@dataclasses.dataclass(frozen=True)
class Findings(Result):
    """A batch-size study and what follows from it.

    Attributes:
        study: the lanes.
        table: steps to target by batch size, optimiser and momentum.
        hyperbola: of each (optimiser, momentum), the critical batch size by McCandlish's fit.
        overhead: likewise, by 20 % more examples.
        noise: of each batch size that has one, (loss in training, noise scale) along the training
            of its best lanes.
        throughput: seconds of an update by batch size, or none.
        equal_loss: sharpness at one training loss, if looked at.
        noise_along: noise scales at several training losses, if looked at.
        descents: name of a surface -> what the optimisers do there, if looked at.
        published: a curve to stand beside the steps.
    """

    study: Study
    table: StepsTable
    hyperbola: dict[tuple[str, float], CriticalBatchSize]
    overhead: dict[tuple[str, float], CriticalBatchSize]
    noise: dict[int, list[tuple[float, NoiseScale]]]
    throughput: Sequence[Throughput] = ()
    equal_loss: EqualLoss | None = None
    noise_along: Sequence[NoiseAt] = ()
    descents: dict[str, Descents] = dataclasses.field(default_factory=dict)
    published: Published | None = None


def findings(
    study: Study,
    *,
    throughput: Sequence[Throughput] = (),
    descents: dict[str, Descents] | None = None,
    published: Published | None = None,
) -> Findings:
    """Steps to target, critical batch sizes and noise scales of a study.

    Args:
        study: one with a target, done.
        throughput: from `throughput`.
        descents: surface -> from `descents`.
        published: a curve to stand beside the steps, see `PUBLISHED`.

    Raises:
        ValueError: as `steps_to_target`.
    """
    table = steps_to_target(study, by_momentum=True)
    groups = sorted({(row.optimizer, row.momentum) for row in table.rows})
    own = {group: table.of(*group) for group in groups}
    return Findings(
        study=study,
        table=table,
        hyperbola={group: by_hyperbola(rows) for group, rows in own.items()},
        overhead={group: by_overhead(rows) for group, rows in own.items()},
        noise=_noise(study, table),
        throughput=throughput,
        descents=descents or {},
        published=published,
    )


def _noise(study: Study, table: StepsTable) -> dict[int, list[tuple[float, NoiseScale]]]:
    """Of the best lanes of each batch size; none where a batch is one microbatch."""
    found = {}
    best = best_lanes(study, table)
    for size in np.unique(study.lanes.batch_size[best]):
        own = best[study.lanes.batch_size[best] == size]
        if (study.microbatch[own] < size).all() and "small" in study.records:
            scales = noise_scale_of(study, own)
            if scales:
                found[int(size)] = scales
    return found


def best_lanes(study: Study, table: StepsTable) -> np.ndarray:
    """The lanes, of all seeds, of each batch size's best configuration that hit the target."""
    chosen = []
    for size in sorted({row.batch_size for row in table.rows}):
        rows = [row for row in table.rows if row.batch_size == size and np.isfinite(row.steps)]
        if not rows:
            continue
        row = min(rows, key=lambda row: row.steps)
        own = _like(study.lanes, row.optimizer, row.learning_rate, row.momentum, row.schedule)
        chosen.append(np.flatnonzero(own & (study.lanes.batch_size == size)))
    return np.concatenate(chosen) if chosen else np.zeros(0, int)


def _like(lanes: Lanes, optimizer: str, rate: float, momentum: float, schedule: str) -> np.ndarray:
    return (
        (lanes.optimizer == optimizer)
        & (lanes.learning_rate == rate)
        & (lanes.momentum == momentum)
        & (lanes.schedule == schedule)
    )
