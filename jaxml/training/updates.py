"""The two lines that every algorithm shares: a network's first state, and an optimiser's update."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxml.core.types import Model, TrainState


def start(model: Model, optimizer: optax.GradientTransformation, key: jax.Array) -> TrainState:
    """A network before its first update.

    An algorithm of several networks has a state of its own, with such a `TrainState` for each.

    Args:
        model: the network.
        optimizer: an optax optimiser.
        key: of the initialisation.

    Example:
        >>> from jaxml import nn
        >>> state = start(nn.linear(2, 1), optax.sgd(0.1), jax.random.key(0))
        >>> int(state.step), state.params["dense_0"]["kernel"].shape
        (0, (2, 1))
    """
    params, model_state = model.init(key)
    return TrainState(jnp.int32(0), params, model_state, optimizer.init(params))


def update(
    optimizer: optax.GradientTransformation,
    state: TrainState,
    gradient: Any,
    *,
    model_state: Any = None,
    **extra: Any,
) -> TrainState:
    """A network after one update.

    Args:
        optimizer: as in `start`.
        state: the network before it.
        gradient: of the loss to minimise, shaped as `state.params`.
        model_state: the network's new state (batch norm); as before by default.
        **extra: what the optimiser wants besides, such as `value`, `grad` and `value_fn` for
            `optax.lbfgs`.

    Example:
        >>> from jaxml import nn
        >>> state = start(nn.linear(2, 1), optax.sgd(0.1), jax.random.key(0))
        >>> ones = jax.tree.map(jnp.ones_like, state.params)
        >>> float(update(optax.sgd(0.1), state, ones).params["dense_0"]["bias"][0])
        -0.10000000149011612
    """
    transform = optax.with_extra_args_support(optimizer).update
    changes, opt_state = transform(gradient, state.opt_state, state.params, **extra)
    params = optax.apply_updates(state.params, changes)
    model_state = state.model_state if model_state is None else model_state
    return TrainState(state.step + 1, params, model_state, opt_state)
