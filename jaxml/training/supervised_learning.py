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
from jax.tree_util import Partial

from jaxml.core.checks import require, require_positive_int
from jaxml.core.empirical_risk import (
    Objective,
    OverRows,
    examples,
    in_float32,
    per_example,
    weighted_mean,
)
from jaxml.core.sharding import check_mesh, place
from jaxml.core.types import Algorithm, Batch, DataLoss, Model, TrainState
from jaxml.training.batches import check_data, check_use, of_batch, shapes


def supervised(
    model: Model,
    loss: DataLoss,
    optimizer: optax.GradientTransformation,
    *,
    metrics: Mapping[str, DataLoss] | None = None,
    l2: Any = 0.0,
) -> Algorithm:
    """Minimise the mean loss over the data, plus (l2/2)‖θ‖².

    Args:
        model: the network; it is given `batch["x"]`.
        loss: one value per example, see `jaxml.training.losses`; their mean is minimised,
            weighted where the batch has `"weights"`.
        optimizer: an optax optimiser, see `jaxml.training.optimizers`. One that takes more than
            the gradient is given the loss on the batch as `optax.lbfgs` wants it: `value`, `grad`
            and `value_fn`, `params -> scalar`, with the step's own randomness.
        metrics: name -> function like the loss, whose batch mean is recorded at every step.
        l2: λ in (λ/2)‖θ‖², over all parameters, part of the objective (weight decay proper is
            the optimiser's: `optimizers.adamw`).

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
    require(isinstance(l2, int | float | np.number | jax.Array), "l2 to be a number", repr(l2))
    if not isinstance(l2, jax.Array):
        require(0 <= l2 < float("inf"), "l2 to be finite and at least 0", l2)
    metrics = dict(metrics or {})
    update = optax.with_extra_args_support(optimizer).update

    def predict(params, state, batch, **mode):
        return model.apply(params, state.model_state, of_batch(batch, "x"), **mode)[0]

    objective = Objective(predict, loss, l2)

    def in_training(params, model_state, batch, key):
        x = of_batch(batch, "x")
        outputs, model_state = model.apply(params, model_state, x, train=True, key=key)
        value = objective.penalized(weighted_mean(loss(outputs, batch), batch), params)
        return value, (outputs, model_state)

    def init(key):
        params, model_state = model.init(key)
        return TrainState(jnp.int32(0), params, model_state, optimizer.init(params))

    def step(state, batch, key):
        differentiate = jax.value_and_grad(in_training, has_aux=True)
        (value, (outputs, model_state)), gradient = differentiate(
            state.params, state.model_state, batch, key
        )

        def value_fn(params):
            return in_training(params, state.model_state, batch, key)[0]

        updates, opt_state = update(
            gradient, state.opt_state, state.params, value=value, grad=gradient, value_fn=value_fn
        )
        params = optax.apply_updates(state.params, updates)
        record = {
            "loss": value,
            "gradient_norm": optax.tree.norm(jax.tree.map(in_float32, gradient)),
        }
        record |= {
            name: weighted_mean(metric(outputs, batch), batch) for name, metric in metrics.items()
        }
        return TrainState(state.step + 1, params, model_state, opt_state), record

    return Algorithm(init, step, objective, finite=("loss", "gradient_norm"))


def full_loss(
    algorithm: Algorithm,
    state: Any,
    data: Batch,
    *,
    batch_size: int | None = None,
    train: bool = False,
    key: jax.Array | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Partial:
    """The training objective over all the data as `params -> scalar`.

    Everything in `jaxml.landscape` takes it. It is a pytree that carries the data, so that
    compiled functions take the data as an argument and serve other data of the same shape.

    Args:
        algorithm: one that descends a loss, such as `supervised`'s.
        state: a state of it; batch norm uses the moving averages it holds.
        data: one split.
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
    plain = algorithm.loss
    require(plain is not None, "an algorithm that descends a loss", "one without")
    assert plain is not None
    if batch_size is not None or train:
        taken_apart = isinstance(plain, Objective)
        require(taken_apart, "an algorithm of `supervised` for batch_size and train", "another")
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
) -> Partial:
    """`loss(params, state, batch)` over all the data as `params -> scalar`; see `full_loss`."""
    if batch_size is not None:
        batch_size = require_positive_int("batch_size", batch_size)
    if mesh is None:
        rows = OverRows(loss, batch_size=batch_size, per_batch=per_batch)
        if batch_size is None and isinstance(loss, Objective):
            rows = loss  # any other is called by position, by `OverRows`
        return Partial(rows, state=state, batch=check_data(data) | _float64(data))
    mesh = check_mesh(mesh, "data")
    placed = check_data(data, mesh)
    rows = OverRows(loss, placed.mesh, placed.repeated, batch_size, per_batch)
    return Partial(rows, state=place(state, mesh), batch=placed.weighted())


def _float64(data: Batch) -> dict[str, np.ndarray]:
    """The arrays that JAX would round to float32 outside of float64 mode, as NumPy's.

    An analysis in float64 has all their digits then.
    """
    arrays = {name: np.asarray(value) for name, value in data.items()}
    return {name: np.array(array) for name, array in arrays.items() if array.dtype == np.float64}


def evaluate(
    model: Model,
    state: TrainState,
    data: Batch,
    metrics: Mapping[str, DataLoss],
    *,
    batch_size: int = 1000,
) -> dict[str, float]:
    """Means of metrics over a whole split, with the model in evaluation mode.

    Args:
        model: the network.
        state: its parameters and moving averages.
        data: one split; `"weights"` weigh the means.
        metrics: name -> function of `(outputs, batch)`, one value per example.
        batch_size: examples that pass through the network at a time; it bounds the memory and
            changes no result.

    Example:
        >>> from jaxml import nn
        >>> from jaxml.training import losses, optimizers
        >>> model = nn.linear(1, 1)
        >>> state = supervised(model, losses.mse, optimizers.sgd(0.1)).init(jax.random.key(0))
        >>> evaluate(model, state, {"x": jnp.zeros((2, 1)), "y": jnp.ones(2)}, {"mse": losses.mse})
        {'mse': 1.0}
    """
    require(isinstance(model, Model), "a jaxml Model", type(model).__name__)
    functions = tuple(metrics.values())
    batch_size = require_positive_int("batch_size", batch_size)
    data = check_data(data)
    size = min(batch_size, examples(data))

    def values(batch, params, model_state):
        outputs, _ = model.apply(params, model_state, of_batch(batch, "x"))
        return [per_example(metric(outputs, batch), batch) for metric in functions]

    at = state.params, state.model_state
    rows_at, values_of = check_use(
        values,
        data,
        *shapes(at),
        sample=lambda data, _, start: jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), data
        ),
        reads=["weights"],
    )
    means = _evaluate(rows_at, values_of, at, data, size)
    return {name: float(value) for name, value in zip(metrics, means, strict=True)}


@functools.partial(jax.jit, static_argnames="size")
def _evaluate(rows_at, values_of, at, data, size):
    count, key = examples(data), jax.random.key(0)
    # the last batch begins early enough to be whole, and what it repeats is written twice
    starts = jnp.minimum(jnp.arange(0, count, size), count - size)
    rows = starts[:, None] + jnp.arange(size)
    values = jax.lax.map(lambda start: values_of(rows_at(data, key, start), at), starts)
    return [weighted_mean(jnp.zeros(count, v.dtype).at[rows].set(v), data) for v in values]
