"""The four types that everything in jaxml is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import numpy as np

from jaxml.core.result import Result

Params = Any
"""A pytree of floating-point arrays."""

Batch = Mapping[str, Any]
"""A dict of arrays that share their leading axis, for example `{"x": ..., "y": ...}`.

Any other pytree of such arrays does where nothing asks for a name. These names have a meaning:
`x`, inputs; `y`, targets; `x_length` and `y_length`, how many of an example's positions are not
padding; `mask`, 1 at the targets that count, else 0, of the shape of the targets without the axes
of one target; `weights`, one of at least 0 an example. A mean over a batch is one over the targets
that count, each with its example's weight.
"""

DataLoss = Callable[[Any, Batch], jax.Array]
"""`(outputs, batch) -> values`, one value *per example*; whoever reduces says how."""


class Model(NamedTuple):
    """A network as two pure functions.

    Attributes:
        init: `(key, x=None) -> (params, model_state)`. Built-in networks know the shape of
            their input; `x`, a batch of inputs, is there for those that do not.
        apply: `(params, model_state, x, *, train=False, key=None) -> (y, model_state)`.
            `key` is needed where the network is random in training (dropout).
    """

    init: Callable[..., tuple[Params, Any]]
    apply: Callable[..., tuple[Any, Any]]


class Algorithm(NamedTuple):
    """Anything that trains.

    Attributes:
        init: `(key) -> state`; the state has an int32 scalar field `step`.
        step: `(state, batch, key) -> (state, metrics)`, metrics a dict of scalars. NaN in one
            that need not be finite means that it has no value at this step.
        loss: `(params, state, batch) -> scalar`, the training objective without its
            randomness (dropout off, batch norm with its moving averages), for those
            algorithms that descend one; `training.full_loss` is built from it. It is called by
            position.
        finite: the metrics that end the run where they are not finite; `None` for `"loss"`, if
            there is one.
    """

    init: Callable[[jax.Array], Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, dict[str, jax.Array]]]
    loss: Callable[[Params, Any, Batch], jax.Array] | None = None
    finite: Sequence[str] | None = None


@flax.struct.dataclass
class TrainState:
    """What supervised training carries from step to step."""

    step: Any
    params: Any
    model_state: Any
    opt_state: Any


@dataclasses.dataclass(frozen=True)
class Run(Result):
    """What a training returns.

    Attributes:
        state: the final state (with a leading lane axis from `fit_many`).
        history: metric name -> array of shape `(steps,)`, from `fit_many` `(lanes, steps)`; NaN
            where a metric has no value.
        config: what was asked for, as plain values.
    """

    state: Any
    history: dict[str, np.ndarray]
    config: dict[str, Any]
