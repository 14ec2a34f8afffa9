"""What the experiments of this chapter share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml import nn, training
from jaxml.core.seeds import key
from jaxml.core.types import Algorithm, TrainState
from jaxml.training import losses, metrics, sampling


def on_surface(
    surface: Callable[[jax.Array], jax.Array],
    start: Any,
    optimizer: optax.GradientTransformation,
) -> Algorithm:
    """An optimiser on a function of a few numbers; the metrics are its loss, slope and place."""

    def init(key):  # noqa: ARG001 - nothing is random
        params = jnp.asarray(start, float)
        return TrainState(jnp.int32(0), params, {}, optimizer.init(params))

    def step(state, batch, key):  # noqa: ARG001
        value, gradient = jax.value_and_grad(surface)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        places = {f"w{i}": state.params[i] for i in range(len(start))}
        record = {"loss": value, "slope": jnp.linalg.norm(gradient), **places}
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, {}, opt_state), record

    return Algorithm(init, step)


def walk(surface: Callable, start: Any, optimizer: Any, steps: int) -> dict[str, np.ndarray]:
    """What an optimiser sees on a surface: `loss`, `slope` and the places `w0`, `w1`, ..."""
    algorithm = on_surface(surface, start, optimizer)

    @jax.jit
    def run(state):
        return training.run_steps(algorithm.step, state, None, sampling.full(), key(0), steps)[1]

    return jax.device_get(run(algorithm.init(key(0))))


def grid_of(surface: Callable, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The surface on a grid, shape `(len(y), len(x))`."""
    points = jnp.stack(jnp.meshgrid(x, y), -1)
    return np.asarray(jax.jit(jax.vmap(jax.vmap(surface)))(points))


def classifier(widths: list[int], optimizer: Any, **options: Any) -> Algorithm:
    """A fully connected classifier under cross-entropy."""
    l2 = options.pop("l2", 0.0)
    model = nn.mlp(widths, **options)
    measured = {"error": metrics.error}
    return training.supervised(
        model, losses.softmax_cross_entropy, optimizer, metrics=measured, l2=l2
    )
