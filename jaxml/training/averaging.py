"""Averages of the parameters along a run, as algorithms around an algorithm.

The average is the state's own `params`, so that whoever looks at a state (evaluation, checkpoints,
`full_loss`) sees it; what trains is `state.inner`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxml.core.checks import require
from jaxml.core.types import Algorithm

__all__ = ["Averaged", "average_parameters", "moving_average", "uniform_average"]


@flax.struct.dataclass
class Averaged:
    """What an averaged algorithm carries from step to step.

    Attributes:
        step: how many updates.
        params: the average.
        model_state: that of the parameters that train (batch norm's statistics are not averaged).
        inner: the state of the algorithm that trains.
    """

    step: Any
    params: Any
    model_state: Any
    inner: Any


def moving_average(algorithm: Algorithm, decay: float = 0.999) -> Algorithm:
    """The algorithm with a moving average of its parameters: θ̄ ← dθ̄ + (1−d)θ.

    Args:
        algorithm: with states like `TrainState`, such as `supervised`'s.
        decay: d, in [0, 1). At step t (from 1) it is at most (1+t)/(10+t), so that the first
            parameters are soon forgotten.

    Reference:
        Tarvainen and Valpola 2017 (arXiv:1703.01780), equation 2; the bound is that of TensorFlow's
        `ExponentialMovingAverage`.

    Example:
        >>> import optax
        >>> from jaxml import nn, training
        >>> from jaxml.training import averaging, losses
        >>> plain = training.supervised(nn.linear(1, 1), losses.mse, optax.sgd(0.1))
        >>> algorithm = averaging.moving_average(plain, 0.99)
        >>> sorted(algorithm.init(jax.random.key(0)).params["dense_0"])
        ['bias', 'kernel']
    """
    require(0 <= decay < 1, "decay in [0, 1)", decay)
    return _averaged(algorithm, lambda t: decay_at(t, decay))


def decay_at(step: Any, decay: float) -> jax.Array:
    """The decay of `moving_average` at a step, from 1."""
    return jnp.minimum(decay, (1 + step) / (10 + step))


def moved(mean: Any, params: Any, decay: Any) -> Any:
    """The mean of parameters after one step more: d of it, and 1 − d of what they are now."""
    return jax.tree.map(
        lambda mean, new: (new + decay * (mean - new)).astype(new.dtype), mean, params
    )


def uniform_average(algorithm: Algorithm, start: int = 0) -> Algorithm:
    """The algorithm with the mean of its parameters after each of its steps from `start` + 1 on.

    Args:
        algorithm: as in `moving_average`.
        start: steps that are left out; the average is the last parameters until then.

    Reference:
        Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; Izmailov
        et al. 2018 (arXiv:1803.05407), of every step, and without new statistics of batch norm.
    """
    require(start >= 0, "start of at least 0", start)
    return _averaged(algorithm, lambda t: jnp.maximum(t - start - 1, 0) / jnp.maximum(t - start, 1))


def average_parameters(states: Sequence[Any]) -> Any:
    """The mean of the parameters of several states, such as of the last checkpoints of a run.

    Args:
        states: with `params`, as `training.restore` reads them.

    Returns:
        Parameters, in the dtypes that they have.

    Raises:
        ValueError: if there is no state, or their parameters are not alike.

    Reference:
        Vaswani et al. (2017), arXiv:1706.03762, section 6.1: of the last 5 or 20 checkpoints.

    Example:
        >>> from jaxml import nn, training
        >>> import optax
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> states = [training.start(nn.linear(2, 1), optax.sgd(0.1), key) for key in keys]
        >>> average_parameters(states)["dense_0"]["kernel"].shape
        (2, 1)
    """
    several = [state.params for state in states]
    require(several, "at least one state", "none")
    shapes = [jax.tree.map(jnp.shape, params) for params in several]
    other = next((shape for shape in shapes if shape != shapes[0]), None)
    require(other is None, f"parameters of the shapes {shapes[0]} in every state", other)
    return jax.tree.map(
        lambda *leaves: jnp.mean(jnp.stack(leaves), 0).astype(leaves[0].dtype), *several
    )


def _averaged(algorithm: Algorithm, decay: Callable[[jax.Array], jax.Array]) -> Algorithm:
    require(isinstance(algorithm, Algorithm), "an Algorithm", type(algorithm).__name__)

    def around(inner: Any, params: Any) -> Averaged:
        return Averaged(inner.step, params, inner.model_state, inner)

    def init(key: jax.Array) -> Averaged:
        inner = algorithm.init(key)
        return around(inner, inner.params)

    def step(state: Averaged, batch: Any, key: jax.Array) -> tuple[Averaged, dict[str, jax.Array]]:
        inner, metrics = algorithm.step(state.inner, batch, key)
        params = moved(state.params, inner.params, decay(inner.step))
        return around(inner, params), metrics

    return algorithm._replace(init=init, step=step)
