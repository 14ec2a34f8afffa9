"""Metrics over a whole split, in memory or from the host."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.empirical_risk import examples, per_example, weighted_mean, weights_of
from jaxml.core.types import Batch, DataLoss, Model
from jaxml.training.batches import check_data, check_use, labelled, shapes
from jaxml.training.metrics import Corpus
from jaxml.training.streaming import Stream
from jaxml.training.supervised_learning import inputs_of


def evaluate(
    model: Model | Callable[[Any, Batch], Any],
    state: Any,
    data: Batch | Stream,
    metrics: Mapping[str, DataLoss | Corpus],
    *,
    inputs: Callable[[Batch], Any] | None = None,
    batch_size: int = 1000,
) -> dict[str, Any]:
    """Metrics over a whole split, with the model in evaluation mode.

    Args:
        model: the network; or `(state, batch) -> outputs`, for states of several networks and for
            outputs that are made otherwise.
        state: the network's parameters and moving averages, a `TrainState`.
        data: one split; `"weights"` and a `"mask"` weigh the means. Or a stream of it, of
            `streaming.rows` or `streaming.passes`, of which one value an example and metric is
            kept: the means are those of the same examples in memory.
        metrics: name -> function of `(outputs, batch)`, one value per example, whose mean is taken;
            or a `metrics.Corpus`.
        inputs: what the network is given, as in `supervised`.
        batch_size: examples that pass through the network at a time; it bounds the memory and
            changes no result. The batches of `streaming.passes` are as they come.

    Returns:
        Name -> number, or the array that a corpus metric makes.

    Raises:
        ValueError: for bad data as in `fit`, of a stream in any of its batches; for a stream
            without end, or with a batch that is larger than the first or shaped otherwise.

    Example:
        >>> from jaxml import nn
        >>> from jaxml.training import losses, optimizers, start
        >>> model = nn.linear(1, 1)
        >>> state = start(model, optimizers.sgd(0.1), jax.random.key(0))
        >>> evaluate(model, state, {"x": jnp.zeros((2, 1)), "y": jnp.ones(2)}, {"mse": losses.mse})
        {'mse': 1.0}
    """
    known = isinstance(model, Model) or callable(model)
    require(known, "a jaxml Model, or a function (state, batch) -> outputs", type(model).__name__)
    batch_size = require_positive_int("batch_size", batch_size)
    at: Any = state
    predict: Any = model
    if isinstance(model, Model):
        of_model, taken = model.apply, inputs_of(inputs)
        at = state.params, state.model_state  # and none of the optimiser's
        predict = lambda at, batch: of_model(*at, taken(batch))[0]  # noqa: E731

    def values(batch, at):
        outputs = predict(at, batch)
        return [
            metric.values(outputs, batch)
            if isinstance(metric, Corpus)
            else per_example(metric(outputs, batch), batch)
            for metric in metrics.values()
        ]

    found, weighed = (
        _over_stream(values, at, data, batch_size)
        if isinstance(data, Stream)
        else _over_split(values, at, data, batch_size)
    )
    results = {}
    for (name, metric), of_all in zip(metrics.items(), found, strict=True):
        if isinstance(metric, Corpus):
            result = np.asarray(metric.result(jax.device_get(of_all)))
            results[name] = result if result.ndim else float(result)
        else:
            results[name] = float(weighted_mean(of_all, weighed))
    return results


def _over_split(values: Callable, at: Any, data: Any, batch_size: int) -> tuple[Any, Any]:
    """The values of all examples, and what weighs them."""
    data = check_data(data)
    size = min(batch_size, examples(data))
    rows_at, values_of, _ = check_use(
        values,
        data,
        shapes(at),
        sample=lambda data, _, start: jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), data
        ),
        reads=["weights", "mask"],
    )
    return _values(rows_at, values_of, (at,), data, size), data


@functools.partial(jax.jit, static_argnames="size")
def _values(rows_at, values_of, at, data, size):
    count, key = examples(data), jax.random.key(0)
    # the last batch begins early enough to be whole, and what it repeats is written twice
    starts = jnp.minimum(jnp.arange(0, count, size), count - size)
    rows = starts[:, None] + jnp.arange(size)
    values = jax.lax.map(lambda start: values_of(rows_at(data, key, start), at), starts)
    return jax.tree.map(lambda v: jnp.zeros((count, *v.shape[2:]), v.dtype).at[rows].set(v), values)


def _over_stream(values: Callable, at: Any, stream: Stream, batch_size: int) -> tuple[Any, Any]:
    """The same batch by batch, by one program: a short batch is filled up by its last row."""
    ends = stream.one_pass is not None
    require(ends, "a split, or a stream of streaming.rows or streaming.passes", "one without end")
    assert stream.one_pass is not None
    batches = stream.one_pass(batch_size)
    first = check_data(next(batches, None), part=True)
    require(first is not None, "a stream of batches", "none")
    size, expected = examples(first), _kinds(first)
    names = ["weights", "mask"]
    _, values_of, check_values = check_use(values, first, shapes(at), reads=names)
    found = []
    for number, given in enumerate(itertools.chain([first], batches)):
        batch = check_data(given, part=True)
        count, kinds = examples(batch), _kinds(batch)
        require(kinds == expected, f"batches that are alike, {expected}", f"{kinds} at {number}")
        most = f"batches of at most the first's {size} examples"
        require(count <= size, most, f"{count} at {number}")
        check_values(batch)
        of_batch = _values_of_batch(values_of, _filled(batch, size), (at,))
        weights = weights_of(batch, np.float32)
        found.append(jax.tree.map(lambda leaf, n=count: np.asarray(leaf)[:n], (of_batch, weights)))
    of_all, weights = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    require(weights.any(), "an example that counts", "weights or masks of zeros alone")
    return of_all, {"weights" if expected.keys() & {*names} else "rows": weights}


def _kinds(batch: Any) -> dict[str, tuple]:
    """Shape of an example and dtype, by the name of each leaf."""
    return {name: (leaf.shape[1:], leaf.dtype) for name, leaf in labelled(batch).items()}


def _filled(batch: Any, size: int) -> Any:
    missing = size - examples(batch)
    if missing == 0:
        return batch
    return jax.tree.map(lambda leaf: jnp.append(leaf, jnp.repeat(leaf[-1:], missing, 0), 0), batch)


@jax.jit
def _values_of_batch(values_of, batch, at):
    return values_of(batch, at)
