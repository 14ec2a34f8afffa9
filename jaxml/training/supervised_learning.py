"""Supervised learning: a model, a loss and an optimiser make an `Algorithm`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml.core.checks import require, require_positive_int
from jaxml.core.empirical_risk import (
    EmpiricalRisk,
    Objective,
    examples,
    in_float32,
    per_example,
    weighted_mean,
    weights_of,
)
from jaxml.core.sharding import check_mesh, place
from jaxml.core.types import Algorithm, Batch, DataLoss, Model, Params
from jaxml.training.batches import as_tree, check_data, check_use, of_batch, shapes
from jaxml.training.metrics import Corpus
from jaxml.training.updates import start, update


def supervised(
    model: Model,
    loss: DataLoss,
    optimizer: optax.GradientTransformation,
    *,
    inputs: Callable[[Batch], Any] | None = None,
    metrics: Mapping[str, DataLoss] | None = None,
    l2: Any = 0.0,
    accumulate: int = 1,
) -> Algorithm:
    """Minimise the mean loss over the data, plus (l2/2)‖θ‖².

    Args:
        model: the network.
        loss: one value per example, see `jaxml.training.losses`; their mean is minimised,
            weighted where the batch has `"weights"` or a `"mask"`.
        optimizer: an optax optimiser, see `jaxml.training.optimizers`. One that takes more than
            the gradient is given the loss on the batch as `optax.lbfgs` wants it: `value`, `grad`
            and `value_fn`, `params -> scalar`, with the step's own randomness.
        inputs: `batch -> ` what the network is given, such as
            `lambda batch: (batch["x"], batch["x_length"])`; `batch["x"]` by default.
        metrics: name -> function like the loss, whose batch mean is recorded at every step; NaN is
            no value.
        l2: λ in (λ/2)‖θ‖², over all parameters, part of the objective (weight decay proper is
            the optimiser's: `optimizers.adamw`).
        accumulate: parts that each batch passes through the network in, one after the other, to
            bound the memory. The gradient is that of the whole batch; batch norm sees the parts,
            and dropout draws for each.

    Returns:
        An algorithm whose state is a `TrainState` and whose metrics are `loss` (the objective),
        `gradient_norm` (its gradient's 2-norm before the update) and the ones asked for.

    Raises:
        ValueError: if an argument is not of its kind or l2 is negative; when the loss does not
            return one value per example.

    Example:
        >>> from jaxml import nn
        >>> from jaxml.training import losses, optimizers
        >>> algorithm = supervised(nn.linear(3, 1), losses.mse, optimizers.sgd(0.1))
        >>> int(algorithm.init(jax.random.key(0)).step)
        0
    """
    require(isinstance(model, Model), "a jaxml Model", type(model).__name__)
    require(callable(loss), "a loss, (outputs, batch) -> values", repr(loss))
    require(hasattr(optimizer, "update"), "an optax optimizer", repr(optimizer))
    l2 = number_of("l2", l2)
    accumulate = require_positive_int("accumulate", accumulate)
    inputs = inputs_of(inputs)
    metrics = dict(metrics or {})
    for name, metric in metrics.items():
        got = "a corpus metric (for `evaluate`)" if isinstance(metric, Corpus) else repr(metric)
        require(callable(metric), f"metrics[{name!r}] to be a mean over examples", got)

    def predict(params, state, batch, **mode):
        return model.apply(params, state.model_state, inputs(batch), **mode)[0]

    objective = Objective(predict, loss, l2)

    def in_training(params, model_state, batch, key):
        outputs, model_state = model.apply(params, model_state, inputs(batch), train=True, key=key)
        value = objective.penalized(weighted_mean(loss(outputs, batch), batch), params)
        return value, (outputs, model_state)

    differentiate = jax.value_and_grad(in_training, has_aux=True)

    def differentiate_parts(params, model_state, batch, key):
        count = examples(batch)
        require(count % accumulate == 0, f"batches of a multiple of {accumulate} examples", count)
        number = jnp.result_type(float)
        divisor = objective.divisor(batch, number)

        def total(params, model_state, rows, key):
            outputs, model_state = model.apply(
                params, model_state, inputs(rows), train=True, key=key
            )
            values = per_example(loss(outputs, rows), rows)
            total = (values * weights_of(rows, values.dtype)).sum() / divisor
            return total, (outputs, model_state)

        def add(sums, part):
            *sums, model_state = sums
            found = jax.value_and_grad(total, has_aux=True)(params, model_state, *part)
            (value, (outputs, model_state)), gradient = found
            return (*jax.tree.map(jnp.add, tuple(sums), (value, gradient)), model_state), outputs

        # every part has rows from all over the batch, and so from all devices that share it
        parts = jax.tree.map(
            lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch
        )
        penalized = functools.partial(objective.penalized, jnp.zeros((), number))
        penalty = jax.value_and_grad(penalized)(params)
        keys = jax.random.split(key, accumulate)
        (*sums, model_state), outputs = jax.lax.scan(add, (*penalty, model_state), (parts, keys))
        outputs = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(count, *x.shape[2:]), outputs)
        value, gradient = sums
        return (value, (outputs, model_state)), gradient

    def step(state, batch, key):
        of = differentiate if accumulate == 1 else differentiate_parts
        (value, (outputs, model_state)), gradient = of(state.params, state.model_state, batch, key)

        def value_fn(params):
            if accumulate > 1:
                return of(params, state.model_state, batch, key)[0][0]
            return in_training(params, state.model_state, batch, key)[0]

        record = {
            "loss": value,
            "gradient_norm": optax.tree.norm(jax.tree.map(in_float32, gradient)),
        }
        record |= {
            name: weighted_mean(metric(outputs, batch), batch) for name, metric in metrics.items()
        }
        given = {"value": value, "grad": gradient, "value_fn": value_fn}
        return update(optimizer, state, gradient, model_state=model_state, **given), record

    init = functools.partial(start, model, optimizer)
    return Algorithm(init, step, objective, finite=("loss", "gradient_norm"))


def full_loss(
    algorithm: Algorithm | Callable[[Params, Any, Batch], jax.Array],
    state: Any,
    data: Batch,
    *,
    batch_size: int | None = None,
    train: bool = False,
    key: jax.Array | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> EmpiricalRisk:
    """The training objective over all the data as `params -> scalar`.

    Everything in `jaxml.landscape` takes it. It is a pytree that carries the data, so that
    compiled functions take the data as an argument and serve other data of the same shape.

    Args:
        algorithm: one that descends a loss, such as `supervised`'s; or `(params, state, batch) ->
            scalar`, such as the loss of one of several networks in that one's parameters.
        state: a state of it; batch norm uses the moving averages it holds.
        data: one split, in memory: of a stream a part of its rows.
        batch_size: rows that pass through the network at a time, to bound the memory; all at once
            by default. Every row counts the same, also in a last batch that is short.
        train: the network as in training: batch norm by the statistics of each batch, dropout with
            the one mask that `key` draws for each batch.
        key: for a network that is random in training.
        mesh: as in `fit`: the rows lie along its axis `data`, and whatever is computed from the
            loss is computed by all its devices, each from its own rows. On several hosts a
            function that is compiled must take the loss as an argument, not close over it.

    Raises:
        ValueError: if the algorithm has no loss, or not one that `supervised` made where
            `batch_size` or `train` is given; for bad data or a bad mesh as in `fit`. By the loss,
            if the devices do not divide the rows and it ignores `batch["weights"]` or couples
            them: the last row is repeated then, with weight zero; if rows couple that are to be
            taken in batches, other than in training.
    """
    plain = algorithm.loss if isinstance(algorithm, Algorithm) else algorithm
    require(callable(plain) or plain is None, "an Algorithm or a loss", type(plain).__name__)
    require(plain is not None, "an algorithm that descends a loss", "one without")
    assert plain is not None
    if batch_size is not None or train:
        decomposed = isinstance(plain, Objective)
        require(decomposed, "an algorithm of `supervised` for batch_size and train", "another")
    if train:
        assert isinstance(plain, Objective)
        predict = functools.partial(plain.predict, train=True, key=key)
        plain = dataclasses.replace(plain, predict=predict)
    loss = over_data(plain, state, data, batch_size=batch_size, mesh=mesh, per_batch=train)
    if jax.tree.leaves(getattr(state, "params", None)):
        check_use(lambda batch, at: plain(at.params, at, batch), data, shapes(state))
    return loss


def over_data(
    loss: Callable,
    state: Any,
    data: Batch,
    *,
    batch_size: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
    per_batch: bool = False,
) -> EmpiricalRisk:
    """`loss(params, state, batch)` over all the data as `params -> scalar`; see `full_loss`."""
    if batch_size is not None:
        batch_size = require_positive_int("batch_size", batch_size)
    if mesh is None:
        batch = jax.tree.map(_digits, as_tree(data), check_data(data))
        return EmpiricalRisk(loss, state, batch, batch_size=batch_size, per_batch=per_batch)
    mesh = check_mesh(mesh, "data")
    placed = check_data(data, mesh)
    rows = placed.weighted()
    return EmpiricalRisk(
        loss, place(state, mesh), rows, placed.mesh, placed.repeated, batch_size, per_batch
    )


def _digits(given: Any, placed: jax.Array) -> Any:
    """The array on the device; as NumPy's where JAX would round it to float32.

    An analysis in float64 has all its digits then.
    """
    return np.array(given) if np.asarray(given).dtype == np.float64 else placed


def number_of(name: str, value: Any) -> Any:
    """A weight in an objective: a number of at least 0, or one that is traced.

    Raises:
        ValueError: otherwise.
    """
    number = isinstance(value, int | float | np.number | jax.Array)
    require(number, f"{name} to be a number", repr(value))
    if not isinstance(value, jax.Array):
        require(0 <= value < float("inf"), f"{name} to be finite and at least 0", value)
    return value


def inputs_of(inputs: Callable[[Batch], Any] | None) -> Callable[[Batch], Any]:
    """What a network is given of a batch: its `"x"` by default."""
    if inputs is None:
        return lambda batch: of_batch(batch, "x")
    require(callable(inputs), "inputs as a function of a batch", repr(inputs))
    return inputs
