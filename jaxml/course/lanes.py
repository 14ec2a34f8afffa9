"""Networks that are trained side by side, one for each rate and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import training
from jaxml.core.seeds import key
from jaxml.core.types import Model
from jaxml.training import losses, optimizers, schedules
from jaxml.training.loop import Sample


def train_each(
    model: Model,
    data: Any,
    sample: Sample,
    *,
    rates: Sequence[float],
    seeds: int,
    steps: int,
    loss: Any = losses.softmax_cross_entropy,
    inputs: Callable[[Any], Any] | None = None,
) -> Any:
    """By Adam with warm-up and a cosine: the states, all seeds of the first rate first."""

    def algorithm(rate):
        schedule = schedules.warmup_cosine(rate, steps)
        return training.supervised(model, loss, optimizers.adam(schedule), inputs=inputs)

    return training.fit_many(
        algorithm,
        data,
        sample,
        keys=jnp.stack([key(seed) for _ in rates for seed in range(seeds)]),
        hyperparameters={"rate": np.repeat(np.asarray(rates, np.float32), seeds)},
        steps=steps,
        chunk=steps,
    ).state


def of_each_lane(
    model: Model,
    state: Any,
    rows: Any,
    measures: Mapping[str, Any],
    inputs: Any = None,
    batch_size: int = 1000,
) -> np.ndarray:
    """What `evaluate` finds for each lane of a state of `fit_many`: `(lanes, measures)`."""
    lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], state) for i in range(len(state.step))]
    found = [
        training.evaluate(model, lane, rows, measures, inputs=inputs, batch_size=batch_size)
        for lane in lanes
    ]
    return np.array([[one[name] for name in measures] for one in found])
