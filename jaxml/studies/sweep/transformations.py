"""Any optax transformation as a lane's optimiser: its lanes have a program of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxml.core.checks import near, require
from jaxml.core.programs import as_read
from jaxml.studies.sweep.lane_optimizer import OPTIMIZERS
from jaxml.studies.sweep.task import Task

Make = Callable[[Any], optax.GradientTransformation]
"""A transformation of a learning rate, such as `optax.lion`."""


class Transformation(NamedTuple):
    """Two pure functions of one lane; equal to others that are the same programs.

    Attributes:
        init: `(rate, params) -> state`.
        update: `(rate, gradient, state, params) -> (params, state)`.
    """

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, Any]]


def require_known(name: str, transformations: Mapping[str, Any]) -> None:
    """Raise unless an optimiser is one of jaxml's or of the caller's.

    Raises:
        ValueError: otherwise.
    """
    known = (*OPTIMIZERS, *transformations)
    expected = f"optimizer to be one of {', '.join(known)}, or in `transformations`"
    require(name in known, expected, f"{name!r}{near(name, known)}")


def check_transformations(transformations: Mapping[str, Make] | None) -> dict[str, Make]:
    """The caller's optimisers by name.

    Raises:
        ValueError: if a name is one of jaxml's own.
    """
    own = dict(transformations or {})
    taken = sorted(OPTIMIZERS.keys() & own.keys())
    require(not taken, f"other names than {', '.join(OPTIMIZERS)}", ", ".join(taken))
    return own


def transformation_as_it_is(name: str, make: Make, params: Any) -> Transformation:
    """A transformation as it is now, see `as_it_is`.

    Args:
        name: of the optimiser.
        make: the transformation of a learning rate, which comes traced.
        params: of a lane, or their shapes.

    Raises:
        ValueError: if it makes none, or its state holds typed keys or changes in shape or dtype
            from one update to the next.
    """
    params = jax.eval_shape(lambda params: params, params)
    rate = jax.ShapeDtypeStruct((), jax.tree.leaves(params)[0].dtype)
    made: list[Any] = []
    jax.eval_shape(lambda rate: made.append(make(rate)), rate)
    kind = type(made[0]).__name__
    expected = f"{name} to be a function of a rate that returns an optax transformation"
    require(isinstance(made[0], optax.GradientTransformation), expected, kind)

    def update(rate, gradient, state, params):
        changes, state = make(rate).update(gradient, state, params)
        return optax.apply_updates(params, changes), state

    init = as_read(lambda rate, params: make(rate).init(params), rate, params)
    state = jax.eval_shape(init, rate, params)
    numbers = all(isinstance(leaf.dtype, np.dtype) for leaf in jax.tree.leaves(state))
    require(numbers, f"{name} to have a state of numbers", "typed keys (jax.random.PRNGKey is one)")
    read = as_read(update, rate, params, state, params)
    before, after = (params, state), jax.eval_shape(read, rate, params, state, params)
    same = jax.tree.structure(before) == jax.tree.structure(after) and all(
        (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    )
    require(same, f"{name} to keep the shapes and dtypes of its state", "others after an update")
    return Transformation(init, read)


def state_bytes(task: Task, make: Make) -> int:
    """What a transformation keeps of one lane, for `plan`; nothing is computed.

    Args:
        task: the loss.
        make: the transformation of a learning rate.

    Example:
        >>> from jaxml import nn
        >>> from jaxml.studies import state_bytes, task
        >>> from jaxml.training import losses
        >>> line = task(nn.linear(3, 1), losses.mse)  # of four parameters
        >>> state_bytes(line, optax.adam), state_bytes(line, optax.sgd)
        (36, 0)
    """
    params, _ = jax.eval_shape(task.init, jax.random.key(0))
    state = jax.eval_shape(lambda params: make(np.float32(1)).init(params), params)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
