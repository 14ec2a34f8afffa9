"""What a study trains: three pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jaxml.core.checks import require
from jaxml.core.empirical_risk import Objective, examples
from jaxml.core.flops import flops
from jaxml.core.programs import as_read
from jaxml.core.seeds import key as key_of
from jaxml.core.types import Batch, DataLoss, Model

_TRACED = 16  # examples of the batch whose gradient is traced


class Task(NamedTuple):
    """A loss over data, from whichever library, and what is measured beside it.

    Attributes:
        init: `(key) -> (params, model_state)`; the state is `None` or `{}` where there is none.
        loss: `(params, model_state, batch, key) -> (values, model_state)`, the network as in
            training, one value an example.
        measures: `(params, model_state, batch) -> {name: values}`, the network as in evaluation,
            one value an example; `"loss"` is among them.
    """

    init: Callable[[jax.Array], tuple[Any, Any]]
    loss: Callable[..., tuple[jax.Array, Any]]
    measures: Callable[..., dict[str, jax.Array]]


def task(
    model: Model, loss: DataLoss, measures: Mapping[str, DataLoss] | None = None, *, l2: float = 0.0
) -> Task:
    """A network's task.

    Args:
        model: the network; it is given `batch["x"]`.
        loss: one value an example, see `jaxml.training.losses`.
        measures: name -> function like the loss, such as `{"error": metrics.error}`.
        l2: λ in (λ/2)‖θ‖², part of the loss as trained and as measured.

    Raises:
        ValueError: if an argument is not of its kind.

    Example:
        >>> from jaxml import nn
        >>> from jaxml.training import losses
        >>> params, _ = task(nn.linear(3, 1), losses.mse).init(jax.random.key(0))
        >>> params["dense_0"]["kernel"].shape
        (3, 1)
    """
    require(isinstance(model, Model), "a jaxml Model", type(model).__name__)
    require(callable(loss), "a loss, (outputs, batch) -> values", repr(loss))
    require(0 <= l2 < float("inf"), "l2 to be finite and at least 0", l2)
    functions = {"loss": loss, **(measures or {})}
    penalized = Objective(model.apply, loss, l2).penalized

    def training(params, model_state, batch, key):
        outputs, model_state = model.apply(params, model_state, batch["x"], train=True, key=key)
        return penalized(loss(outputs, batch), params), model_state

    def measured(params, model_state, batch):
        outputs, _ = model.apply(params, model_state, batch["x"])
        values = {name: function(outputs, batch) for name, function in functions.items()}
        return values | {"loss": penalized(values["loss"], params)}

    return Task(model.init, training, measured)


def as_it_is(task: Task, data: Batch, split: Batch | None = None) -> Task:
    """The task as it is now: traced anew, compiled anew only where it has changed.

    Args:
        task: whose functions may read what changes between two calls.
        data: what it is trained on, checked.
        split: what it is measured on, if it is.
    """
    key = jax.random.key(0)
    init = as_read(task.init, key)
    params, state = jax.eval_shape(init, key)
    loss = as_read(task.loss, params, state, data, key)
    measures = task.measures if split is None else as_read(task.measures, params, state, split)
    return Task(init, loss, measures)


def size_of(task: Task) -> int:
    """How many parameters a task has; nothing is computed."""
    params, _ = jax.eval_shape(task.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def gradient_flops(task: Task, data: Batch) -> float:
    """Floating-point operations of one example's gradient, counted in the traced program.

    Those of matrix products and convolutions, each as often as it is used; nothing is computed.

    Args:
        task: the loss.
        data: what is trained on, a dict of arrays with one leading axis.
    """
    params, state = jax.eval_shape(task.init, jax.random.key(0))
    count = min(examples(data), _TRACED)
    batch = {
        name: jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype)
        for name, array in data.items()
    }

    def gradient(params, state, batch):
        def objective(params):
            values, new = task.loss(params, state, batch, jax.random.key(0))
            return values.mean(), new

        return jax.grad(objective, has_aux=True)(params)

    return flops(gradient, params, state, batch) / count


def stateless(task: Task, seed: int) -> tuple[Any, Any]:
    """A seed's first parameters, and the empty state of a task that has none.

    Raises:
        ValueError: if the network has a state, such as batch norm's averages.
    """
    params, state = jax.jit(task.init)(key_of(seed))
    stateful = bool(jax.tree.leaves(state))
    require(not stateful, "a network without state such as batch norm's", "one with it")
    return params, state
