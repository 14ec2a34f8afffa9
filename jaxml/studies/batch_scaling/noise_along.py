"""The noise scale along training, at given losses, from the gradients of single examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxml.core.checks import require
from jaxml.core.empirical_risk import examples
from jaxml.core.types import Batch
from jaxml.landscape.operators.validation import unravel_host
from jaxml.studies.batch_scaling.noise_scale import NoiseScale, noise_scale
from jaxml.studies.sweep.batch_size import batch_size
from jaxml.studies.sweep.configs import Lanes
from jaxml.studies.sweep.result import Target
from jaxml.studies.sweep.task import Task, stateless


class NoiseAt(NamedTuple):
    """The noise scale where one lane first met a training loss.

    Attributes:
        loss: the mean loss over the data that was to be met.
        batch_size: B.
        seed: of its initialisation and order.
        updates: that it took.
        scale: of the data set.
    """

    loss: float
    batch_size: int
    seed: int
    updates: int
    scale: NoiseScale


def noise_along(
    task: Task,
    data: Batch,
    lanes: Lanes,
    losses: Sequence[float],
    *,
    sample: int = 2000,
    on_loss: Callable[[int, int], Any] = lambda done, of: None,  # noqa: ARG005
    **options: Any,
) -> list[NoiseAt]:
    """Train lanes to several training losses and measure the noise scale at each.

    Args:
        task: as in `batch_size`; measured as in evaluation.
        data: what is trained on.
        lanes: such as the best rate of each batch size, over seeds.
        losses: the mean losses over `data` at which to look; a lane that misses one has none there.
        sample: at most so many examples; of as many or fewer the scale is exact.
        on_loss: called with the numbers of losses met and in all.
        **options: of `batch_size`: epochs, steps and so on.

    Raises:
        ValueError: as `batch_size` and `noise_scale`, or without losses.
    """
    require(len(losses) > 0, "at least one loss", "none")
    params, state = stateless(task, int(lanes.seed[0]))

    def values(params: Any, batch: Mapping[str, Any]) -> jax.Array:
        return task.measures(params, state, batch)["loss"]

    number = min(examples(data), sample)
    found = []
    for done, loss in enumerate(losses):
        study = batch_size(
            task,
            data,
            lanes,
            splits={"train": data},
            target=Target(float(loss), "loss", "train"),
            noise=False,
            keep_params=True,
            **options,
        )
        assert study.params is not None
        for lane in np.flatnonzero(study.exits == "target"):
            at = unravel_host(params, study.params[lane])
            scale = noise_scale(values, at, data, sample=number, seed=int(lanes.seed[lane]))
            where = int(lanes.batch_size[lane]), int(lanes.seed[lane]), int(study.updates[lane])
            found.append(NoiseAt(float(loss), *where, scale))
        on_loss(done + 1, len(losses))
    return found


def mean_scales(
    found: Sequence[NoiseAt], batch_size: int | None = None
) -> list[tuple[float, float]]:
    """(loss, B_simple) of the means of tr Σ and |G|² over lanes.

    B_simple is NaN where the mean of |G|² is not above 0.

    Args:
        found: from `noise_along`.
        batch_size: of the lanes; of all by default.
    """
    chosen = [at for at in found if batch_size in (None, at.batch_size)]
    means = []
    for loss in dict.fromkeys(at.loss for at in chosen):
        own = [at.scale for at in chosen if at.loss == loss]
        gradient = sum(s.gradient for s in own)
        means.append((loss, sum(s.trace for s in own) / gradient if gradient > 0 else math.nan))
    return means
