"""What a normalisation does to the loss surface, along the path that training takes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxml.core.checks import require, require_positive_int
from jaxml.core.empirical_risk import examples
from jaxml.core.seeds import key as key_of
from jaxml.core.types import Batch
from jaxml.studies.sweep.task import Task, as_it_is
from jaxml.training.batches import check_data, check_use
from jaxml.training.sampling import permute


@dataclasses.dataclass(frozen=True)
class Smoothness:
    """How a loss behaves along the gradient, at points of a training run.

    Attributes:
        updates: at which it was looked at.
        loss: of the batch there.
        lowest: the least loss along the gradient, over the step sizes.
        highest: the greatest.
        change: the largest change of the gradient over the step sizes, ‖∇L(θ − sg) − g‖.
        lipschitz: the largest of ‖∇L(θ − sg) − g‖/(s‖g‖), the effective smoothness β.
        params: where the training ended.
        model_state: its state, such as moving averages.
    """

    updates: np.ndarray
    loss: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    change: np.ndarray
    lipschitz: np.ndarray
    params: Any
    model_state: Any


def smoothness(
    task: Task,
    data: Batch,
    *,
    batch_size: int,
    learning_rate: float,
    steps: int,
    every: int = 10,
    sizes: Sequence[float] = (0.1, 0.2, 0.4, 0.8),
    seed: int = 0,
) -> Smoothness:
    """Train by gradient descent and look along the gradient every few updates.

    The network is as in training, its batch norm by the statistics of the batch, which is the loss
    that is descended.

    Args:
        task: from `task`.
        data: what is trained on.
        batch_size: B, at most N; every epoch leaves out N mod B examples.
        learning_rate: η.
        steps: updates.
        every: updates between two looks.
        sizes: steps s along the gradient, as in θ − s·g.
        seed: of initialisation and order.

    Raises:
        ValueError: for bad data or a batch larger than it.

    Reference:
        Santurkar et al. 2018 (arXiv:1805.11604), section 3.1 and figure 4.
    """
    data = check_data(data)
    key = jax.random.key(0)
    of = jax.eval_shape(task.init, key)
    check_use(lambda rows, p, s, key: task.loss(p, s, rows, key), data, *of, key)
    count = examples(data)
    require(1 <= batch_size <= count, f"a batch size of at most {count}", batch_size)
    steps, every = require_positive_int("steps", steps), require_positive_int("every", every)
    require(all(0 < s < np.inf for s in sizes) and len(sizes) > 0, "sizes above 0", sizes)
    updates = np.arange(0, steps, every)
    seen, end = _smoothness(
        as_it_is(task, data), data, key_of(seed), jnp.asarray(sizes), learning_rate, batch_size,
        len(updates), every,
    )  # fmt: skip
    return Smoothness(updates, *map(np.asarray, seen), *jax.device_get(end))


@functools.partial(jax.jit, static_argnames=("task", "batch_size", "looks", "every"))
def _smoothness(task, data, key, sizes, rate, batch_size, looks, every):
    key_init, key_order, key_noise = jax.random.split(key, 3)
    params, model_state = task.init(key_init)
    x, unravel = ravel_pytree(params)
    count = examples(data)
    batches = count // batch_size

    def batch_at(t):
        place = (t % batches) * batch_size + jnp.arange(batch_size)
        rows = permute(jax.random.fold_in(key_order, t // batches), place, count)
        return {name: array[rows] for name, array in data.items()}

    def objective(v, model_state, t):
        key = jax.random.fold_in(key_noise, t)
        values, new = task.loss(unravel(v), model_state, batch_at(t), key)
        return values.mean(), new

    differentiate = jax.value_and_grad(objective, has_aux=True)

    def step(carry, t):
        v, model_state = carry
        (_, model_state_new), g = differentiate(v, model_state, t)
        return (v - rate * g, model_state_new), None

    def look(carry, i):
        t = i * every
        v, model_state = carry
        (value, _), g = differentiate(v, model_state, t)

        def along(s):
            (loss, _), other = differentiate(v - s * g, model_state, t)
            change = jnp.linalg.norm(other - g)
            return loss, change, change / (s * jnp.linalg.norm(g))

        losses, changes, ratios = jax.lax.map(along, sizes)
        carry, _ = jax.lax.scan(step, carry, t + jnp.arange(every))
        return carry, (value, losses.min(), losses.max(), changes.max(), ratios.max())

    (x, model_state), seen = jax.lax.scan(look, (x, model_state), jnp.arange(looks))
    return seen, (unravel(x), model_state)
