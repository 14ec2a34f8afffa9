"""What an update of each batch size takes on this machine, so that steps can be told as time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from jaxml.core.checks import require
from jaxml.core.empirical_risk import examples
from jaxml.core.types import Batch
from jaxml.studies.sweep.lane_optimizer import two_slots, update
from jaxml.studies.sweep.task import Task, as_it_is
from jaxml.training.batches import check_data, check_use


class Throughput(NamedTuple):
    """One batch size.

    Attributes:
        batch_size: B.
        update: seconds of one update, the median of several turns.
        spread: the half range of the turns, as a share of it.
    """

    batch_size: int
    update: float
    spread: float


def throughput(
    task: Task,
    data: Batch,
    batch_sizes: Sequence[int],
    *,
    turns: int = 5,
    seconds: float = 0.1,
) -> list[Throughput]:
    """Time one network's updates, a compiled loop of them, batch sizes in turn.

    Args:
        task: as in `batch_size`.
        data: what is trained on.
        batch_sizes: B.
        turns: of each.
        seconds: that a turn takes, about.

    Raises:
        ValueError: for a batch larger than the data.
    """
    data = check_data(data)
    key = jax.random.key(0)
    of = jax.eval_shape(task.init, key)
    check_use(lambda rows, p, s, key: task.loss(p, s, rows, key), data, *of, key)
    count = examples(data)
    for size in batch_sizes:
        require(1 <= size <= count, f"batch sizes of 1 to {count}", size)
    coefficients = jax.tree.map(lambda c: c[0], two_slots(["momentum"], [0.9]))
    task = as_it_is(task, data)
    state = _start(task)

    def run(size: int, steps: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(_updates(task, size, coefficients, state, data, steps))
        return time.perf_counter() - began

    steps = {}
    for size in batch_sizes:
        run(size, 1)
        once = min(run(size, 3) for _ in range(3)) / 3
        steps[size] = max(3, int(seconds / max(once, 1e-9)))
    times = np.array(
        [[run(size, steps[size]) / steps[size] for size in batch_sizes] for _ in range(turns)]
    )
    medians, spread = np.median(times, axis=0), np.ptp(times, axis=0) / 2
    return [
        Throughput(int(b), float(m), float(s / m))
        for b, m, s in zip(batch_sizes, medians, spread, strict=True)
    ]


@partial(jax.jit, static_argnames="task")
def _start(task):
    params, model_state = task.init(jax.random.key(0))
    zeros = jax.tree.map(jax.numpy.zeros_like, params)
    return params, (zeros, zeros), model_state


@partial(jax.jit, static_argnames=("task", "size"))
def _updates(task, size, coefficients, state, data, steps):
    count = examples(data)

    def one(t, carry):
        params, slots, model_state = carry
        first = (t * size) % (count - size + 1)
        batch = {k: jax.lax.dynamic_slice_in_dim(a, first, size) for k, a in data.items()}

        def objective(params):
            values, new = task.loss(params, model_state, batch, jax.random.key(0))
            return values.mean(), new

        g, model_state = jax.grad(objective, has_aux=True)(params)
        params, slots = update(coefficients, 1e-6, t, params, slots, g)
        return params, slots, model_state

    return jax.lax.fori_loop(0, steps, one, state)
