"""Training on the right tokens before each: teacher forcing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml.core.checks import require
from jaxml.core.types import Algorithm, Batch, DataLoss
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.training import length_mask, losses, supervised


def with_end(data: Batch, end: int) -> dict[str, Any]:
    """The data with a token behind each target that says that it ends, and the mask of targets.

    Args:
        data: with `"y"`, tokens `(N, t)`, and `"y_length"` `(N,)`.
        end: the token.

    Returns:
        The same with `"y"` `(N, t + 1)`, and instead of the lengths `"mask"`, which is true up to
        the end: each token of the targets counts the same in a loss, none of the padding.

    Raises:
        ValueError: if `end` is a token of the targets, or a length is beyond the array.

    >>> found = with_end({"y": np.array([[5, 6], [5, 0]]), "y_length": np.array([2, 1])}, 9)
    >>> found["y"].tolist(), found["mask"].tolist()
    ([[5, 6, 9], [5, 9, 0]], [[True, True, True], [True, True, False]])
    """
    for name in ("y", "y_length"):
        require(name in data, f"data with {name!r}", sorted(data))
    y, length = np.asarray(data["y"]), np.asarray(data["y_length"])
    require(y.ndim == 2, "targets of shape (N, t)", y.shape)
    fits = length.shape == y.shape[:1] and length.min() >= 0 and length.max() <= y.shape[1]
    got = f"{length.shape}, {length.min()} to {length.max()}"
    require(fits, f"y_length of shape {y.shape[:1]}, up to {y.shape[1]}", got)
    y = np.pad(y, ((0, 0), (0, 1)))
    inside = np.asarray(length_mask(length, y.shape[1]))
    require(not (inside & (y == end)).any(), "an end that is no token of the targets", end)
    y = np.where(inside, y, 0)
    y[np.arange(len(y)), length] = end
    mask = np.asarray(length_mask(length + 1, y.shape[1]))
    return {**{name: data[name] for name in data if name != "y_length"}, "y": y, "mask": mask}


def teacher_forcing(
    network: Seq2Seq,
    optimizer: optax.GradientTransformation,
    *,
    begin: int,
    label_smoothing: float = 0.0,
    metrics: Mapping[str, DataLoss] | None = None,
    l2: Any = 0.0,
    accumulate: int = 1,
) -> Algorithm:
    """Minimise the cross-entropy of each token, given the right ones before it.

    Args:
        network: from sequences to sequences.
        optimizer: as in `training.supervised`, and so what follows.
        begin: the token before the first.
        label_smoothing: as in `losses.softmax_cross_entropy`.
        metrics: of the logits and the batch.
        l2: as in `training.supervised`.
        accumulate: likewise.

    Returns:
        An algorithm on data as `with_end` makes them, with `"x"` and, where they are padded,
        `"x_length"`: that of `training.supervised`, so that all that takes its loss takes this.

    Raises:
        ValueError: as `training.supervised`.

    Reference:
        Williams and Zipser (1989), "A learning algorithm for continually running fully recurrent
        neural networks", Neural Computation 1:270-280.

    >>> from jaxml import nn
    >>> network = nn.transformer(5, 7, width=8, layers=1, heads=2)
    >>> algorithm = teacher_forcing(network, optax.adam(1e-3), begin=5)
    """
    require(isinstance(network, Seq2Seq), "a network nn.Seq2Seq", type(network).__name__)
    return supervised(
        network.model,
        functools.partial(losses.softmax_cross_entropy, label_smoothing=label_smoothing),
        optimizer,
        inputs=functools.partial(forced, begin=begin),
        metrics=metrics,
        l2=l2,
        accumulate=accumulate,
    )


def forced(batch: Batch, *, begin: int) -> tuple[Any, Any, jax.Array]:
    """What a network is given of a batch: the source, its lengths, the token before each.

    That is `batch["previous"]` where there is one, and otherwise the right one.

    >>> forced({"x": None, "y": jnp.array([[5, 6, 9]])}, begin=1)[2]
    Array([[1, 5, 6]], dtype=int32)
    """
    previous = batch.get("previous")
    if previous is None:
        y = jnp.asarray(batch["y"])
        previous = jnp.concatenate([jnp.full_like(y[:, :1], begin), y[:, :-1]], axis=1)
    return batch["x"], batch.get("x_length"), previous
