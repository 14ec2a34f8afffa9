"""Deep and thin against wide and shallow, at equal numbers of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Batch
from jaxml.studies.sweep.batch_size import batch_size
from jaxml.studies.sweep.configs import Lanes
from jaxml.studies.sweep.result import Study
from jaxml.studies.sweep.task import Task


def width_of(size: int, inputs: int, outputs: int, depth: int) -> int:
    """The width at which a fully connected network with biases has about so many parameters.

    Args:
        size: parameters.
        inputs: of the network.
        outputs: of the network.
        depth: hidden layers.

    Raises:
        ValueError: if not even one unit a layer fits.

    Example:
        >>> width_of(2410, 64, 10, 1), width_of(2410, 64, 10, 4)
        (32, 18)
    """
    depth = require_positive_int("depth", depth)
    # (depth − 1)w² + (inputs + outputs + depth)w + outputs = size
    square, linear = depth - 1, inputs + outputs + depth
    missing = size - outputs
    width = missing / linear
    if square:
        root = math.sqrt(linear**2 + 4 * square * max(missing, 0))
        width = (root - linear) / (2 * square)
    require(round(width) >= 1, f"parameters for {depth} layers of one unit", size)
    return round(width)


class Depth(NamedTuple):
    """One depth of a study.

    Attributes:
        widths: of all layers.
        size: parameters.
        learning_rate: of the lowest loss in training, or of what `by` says, on average over
            seeds; NaN if at every rate a seed ended not finite.
        train_loss: there, the mean over seeds; infinite if there is no such rate.
        validation_error: there; NaN if there is no such rate.
        error: the standard error of `validation_error` over the seeds; NaN with one seed, which
            tells no spread.
        seeds: how many.
        study: with every lane.
    """

    widths: tuple[int, ...]
    size: int
    learning_rate: float
    train_loss: float
    validation_error: float
    error: float
    seeds: int
    study: Study


def depths(
    build: Callable[[Sequence[int]], Task],
    data: Batch,
    validation: Batch,
    lanes: Lanes,
    *,
    inputs: int,
    outputs: int,
    size: int,
    depth: Sequence[int] = (1, 2, 4, 8),
    epochs: float,
    measure: str = "error",
    by: str = "train loss",
    test: Batch | None = None,
    **options: Any,
) -> list[Depth]:
    """Train networks of several depths and one number of parameters.

    Args:
        build: widths -> task, such as `lambda widths: task(nn.mlp(widths), loss, measures)`.
        data: what is trained on.
        validation: what is measured on beside it.
        lanes: rates and seeds, the same for every depth.
        inputs: of the networks.
        outputs: of the networks.
        size: parameters, met as nearly as one width for all layers can.
        depth: numbers of hidden layers.
        epochs: as in `batch_size`.
        measure: on `validation`.
        by: what chooses the rate, the lower the better: a split and a measure, such as
            "validation error".
        test: measured too, as `study.last("test error")` of each depth; it chooses nothing.
        **options: of `batch_size`.

    Raises:
        ValueError: if the rate is to be chosen on the test or by what is not measured; as
            `batch_size`.

    Reference:
        Seide, Li and Yu 2011, "Conversational speech transcription using context-dependent deep
        neural networks", table 3, for one wide layer against several at equal parameters.
    """
    require(not by.startswith("test "), "rates chosen on training or validation", by)
    splits = {"train": data, "validation": validation} | ({} if test is None else {"test": test})
    found = []
    for layers in depth:
        widths = (inputs, *[width_of(size, inputs, outputs, layers)] * layers, outputs)
        study = batch_size(
            build(widths),
            data,
            lanes,
            splits=splits,
            epochs=epochs,
            **options,
        )
        measured = [name for name in study.records if " " in name]
        require(by in measured, f"a choice by one of {', '.join(measured)}", by)
        losses, errors = study.final("train loss"), study.last(f"validation {measure}")
        rates, judged = np.unique(lanes.learning_rate), study.final(by)
        means = [_mean(judged[lanes.learning_rate == rate]) for rate in rates]
        finite = math.isfinite(min(means))
        rate = rates[means.index(min(means))] if finite else math.nan
        least = _mean(losses[lanes.learning_rate == rate]) if finite else math.inf
        own = errors[lanes.learning_rate == rate]
        average = own.mean() if len(own) else math.nan
        spread = own.std(ddof=1) / math.sqrt(len(own)) if len(own) > 1 else math.nan
        found.append(
            Depth(
                widths, study.size, float(rate), least, float(average), float(spread),
                len(np.unique(lanes.seed)), study,
            )
        )  # fmt: skip
    return found


def _mean(losses: np.ndarray) -> float:
    return float(losses.mean()) if np.isfinite(losses).all() else math.inf


def tents(layers: int) -> dict[str, Any]:
    """Parameters of `nn.mlp([1, 2, …, 2, 1])` with ReLU that make 2^layers linear pieces of [0, 1].

    Each layer folds the interval once more: 2·relu(x) − 4·relu(x − ½) is a tent, and the next
    layer is given its value.

    Args:
        layers: K hidden layers of two neurons each.

    Reference:
        Telgarsky 2016 (arXiv:1602.04485), section 2.

    Example:
        >>> sorted(tents(2))
        ['dense_0', 'dense_1', 'dense_2']
    """
    layers = require_positive_int("layers", layers)
    fold = jnp.array([[2.0], [-4.0]])
    first = {"kernel": jnp.array([[1.0, 1.0]]), "bias": jnp.array([0.0, -0.5])}
    between = {"kernel": fold @ first["kernel"], "bias": first["bias"]}
    last = {"kernel": fold, "bias": jnp.zeros(1)}
    return {
        "dense_0": first,
        **{f"dense_{i}": between for i in range(1, layers)},
        f"dense_{layers}": last,
    }


def linear_pieces(
    function: Callable[[jax.Array], jax.Array],
    low: float = 0.0,
    high: float = 1.0,
    *,
    resolution: int = 2**16,
) -> int:
    """How many linear pieces a piecewise linear function of one number has on an interval.

    The slope is taken in the middle of every cell of a grid; pieces shorter than two cells are
    not told apart.

    Args:
        function: a number -> a number.
        low: where the interval begins.
        high: where it ends.
        resolution: cells.

    Raises:
        ValueError: if the interval is empty.

    Example:
        >>> linear_pieces(lambda x: jnp.abs(x - 0.3))
        2
    """
    require(low < high, "low below high", (low, high))
    middles = low + (high - low) * (jnp.arange(resolution) + 0.5) / resolution
    slopes = np.asarray(jax.jit(jax.vmap(jax.grad(lambda x: function(x).sum())))(middles))
    scale = np.abs(slopes).max() or 1.0
    return 1 + int((np.abs(np.diff(slopes)) > 1e-5 * scale).sum())
