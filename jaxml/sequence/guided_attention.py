"""Attention that is to go along the source as the target grows: guided attention."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml.core.checks import require
from jaxml.core.types import Algorithm, DataLoss, Model
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.sequence.arrays import is_known, require_lengths
from jaxml.sequence.teacher_forcing import forced
from jaxml.training import losses, supervised
from jaxml.training.batches import over_targets


def guided_attention(
    network: Seq2Seq,
    optimizer: optax.GradientTransformation,
    *,
    begin: int,
    strength: Any = 1.0,
    width: float = 0.2,
    label_smoothing: float = 0.0,
    metrics: Mapping[str, DataLoss] | None = None,
    **options: Any,
) -> Algorithm:
    """Teacher forcing, and a penalty on attention that is far from the diagonal.

    Args:
        network: from sequences to sequences, which tells where it looks (`look`).
        optimizer: as in `teacher_forcing`.
        begin: likewise.
        strength: what the penalty, the mean of `off_diagonal` over tokens and layers, is
            multiplied by before it is added to the cross-entropy.
        width: as in `off_diagonal`.
        label_smoothing: as in `teacher_forcing`.
        metrics: likewise.
        **options: `l2`, `accumulate`, likewise.

    Returns:
        The algorithm of `teacher_forcing`, which it is with a strength of 0, whose `loss` has the
        penalty in it and whose metrics have `off_diagonal` too.

    Raises:
        ValueError: if an argument is not as described; as `teacher_forcing`.

    Reference:
        Tachibana, Uenoyama and Aihara (2017), arXiv:1710.08969, section 3.3; their mean is over
        the source too, so that ours of a source of N positions is N times theirs.

    >>> from jaxml import nn
    >>> network = nn.recurrent_seq2seq(5, 7, width=8)
    >>> algorithm = guided_attention(network, optax.adam(1e-3), begin=5)
    """
    require(isinstance(network, Seq2Seq), "a network nn.Seq2Seq", type(network).__name__)
    look = network.look
    require(look is not None, "a network that tells where it looks", "one without `look`")
    assert look is not None
    if is_known(strength):
        _check_positive("strength", strength, least=0.0)
    _check_positive("width", width)

    def apply(params, model_state, given, **mode):
        return look(params, given, **mode), model_state

    def penalty(outputs, batch):
        _, attention = outputs
        rows, t, _, n = attention.shape
        whole = functools.partial(jnp.full, rows)
        x_length = batch["x_length"] if "x_length" in batch else whole(n)
        y_length = jnp.asarray(batch["mask"]).sum(1) if "mask" in batch else whole(t)
        far = off_diagonal(attention.mean(2), x_length, y_length, width=width)
        return over_targets(far, batch)

    def loss(outputs, batch):
        own = losses.softmax_cross_entropy(outputs[0], batch, label_smoothing)
        return own + strength * penalty(outputs, batch)

    def of_logits(metric):
        return lambda outputs, batch: metric(outputs[0], batch)

    return supervised(
        Model(network.init, apply),
        loss,
        optimizer,
        inputs=functools.partial(forced, begin=begin),
        metrics={
            **{name: of_logits(metric) for name, metric in (metrics or {}).items()},
            "off_diagonal": penalty,
        },
        **options,
    )


def off_diagonal(
    attention: jax.Array, x_length: Any, y_length: Any, *, width: float = 0.2
) -> jax.Array:
    """How far from the diagonal each token of the target looks, from 0 to 1.

    It is the sum over the source of the attention times 1 − exp(−(n/N − t/T)² / 2 width²), for
    position n of N and token t of T, both from 0.

    Args:
        attention: to the source, `(batch, t, n)`.
        x_length: N of each row.
        y_length: T of each row, with the end if that is a token.
        width: how far is not yet far, as a share of the whole.

    Returns:
        `(batch, t)`, 0 behind the end of the target.

    Raises:
        ValueError: if an argument is not of its kind.

    Reference:
        Tachibana, Uenoyama and Aihara (2017), arXiv:1710.08969, section 3.3.

    >>> attention = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> off_diagonal(attention, [2], [2])
    Array([[0., 0.]], dtype=float32)
    >>> (100 * off_diagonal(attention[:, ::-1], [2], [2])).round()
    Array([[96., 96.]], dtype=float32)
    """
    attention = jnp.asarray(attention)
    require(attention.ndim == 3, "attention of shape (batch, t, n)", attention.shape)
    _check_positive("width", width)
    rows, t, n = attention.shape
    lengths = zip(("x_length", "y_length"), (x_length, y_length), (n, t), strict=True)
    source, target = (
        jnp.maximum(require_lengths(name, length, rows, most), 1)[:, None]
        for name, length, most in lengths
    )
    across = (jnp.arange(n) / source)[:, None]
    down = (jnp.arange(t) / target)[:, :, None]
    far = 1 - jnp.exp(-((across - down) ** 2) / (2 * width**2))
    inside = jnp.arange(t) < jnp.asarray(y_length)[:, None]
    return jnp.where(inside, (attention * far).sum(-1), 0)


def _check_positive(name: str, value: Any, least: float = np.nextafter(0, 1)) -> None:
    valid = np.ndim(value) == 0 and least <= value < np.inf
    require(valid, f"{name} {'of at least' if least == 0 else 'above'} 0", value)
