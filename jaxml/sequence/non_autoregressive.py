"""All tokens at once: non-autoregressive training and decoding."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml.core.checks import require
from jaxml.core.types import Algorithm, Batch, Params
from jaxml.nn.non_autoregressive import NonAutoregressive
from jaxml.sequence._decode import in_batches
from jaxml.sequence.decoding.results import Decoded
from jaxml.sequence.decoding.steps import PAD, log_softmax_of
from jaxml.training import length_mask, losses, supervised


def non_autoregressive(
    network: NonAutoregressive,
    optimizer: optax.GradientTransformation,
    *,
    label_smoothing: float = 0.0,
    **options: Any,
) -> Algorithm:
    """Minimise the cross-entropy of the length and of each token, which knows no other.

    Args:
        network: `nn.non_autoregressive_transformer`.
        optimizer: as in `training.supervised`.
        label_smoothing: of the tokens, as in `losses.softmax_cross_entropy`.
        **options: `metrics`, of the outputs (length and tokens) and the batch, `l2`, `accumulate`,
            as in `training.supervised`.

    Returns:
        An algorithm on data with `"x"`, `"y"`, `"y_length"` and, where sources are padded,
        `"x_length"`; targets have no end. Its loss of a sentence is that of its length plus the
        mean over its tokens.

    Raises:
        ValueError: as `training.supervised`; by the first update, if targets are longer than the
            network's.

    Reference:
        Gu et al. (2018), arXiv:1711.02281, equation 3.

    >>> from jaxml import nn
    >>> network = nn.non_autoregressive_transformer(5, 7, longest=4, width=8, layers=1)
    >>> algorithm = non_autoregressive(network, optax.adam(1e-3))
    """
    _check(network)

    def loss(outputs, batch):
        lengths, tokens = outputs
        y, y_length = batch["y"], batch["y_length"]
        longest, t = tokens.shape[1], jnp.shape(y)[1]
        require(t <= longest, f"targets of at most {longest} tokens", t)
        inside = length_mask(y_length, t)
        own = losses.softmax_cross_entropy(tokens[:, :t], {"y": y, "mask": inside}, label_smoothing)
        return own + losses.softmax_cross_entropy(lengths, {"y": y_length})

    return supervised(network.model, loss, optimizer, inputs=_given, **options)


def _given(batch):
    return batch["x"], batch.get("x_length"), batch["y_length"]


def decode_at_once(
    network: NonAutoregressive,
    params: Params,
    data: Batch,
    *,
    scale: float = 1.0,
    key: jax.Array | None = None,
    batch_size: int = 256,
) -> Decoded:
    """What the network puts out for each source, in one pass of its decoder.

    Args:
        network: `nn.non_autoregressive_transformer`.
        params: its parameters.
        data: with `"x"` and, where they are padded, `"x_length"`.
        scale: what the likeliest length is multiplied by; above 0.
        key: tokens are drawn with it, each for itself; the likeliest by default.
        batch_size: sources at a time.

    Returns:
        NumPy arrays, with a row for each source. There are no ends, so that nothing is `finished`;
        a score is the log-probability of the tokens, given their number.

    Raises:
        ValueError: if an argument is not as described; for data without sources.

    >>> from jaxml import nn
    >>> network = nn.non_autoregressive_transformer(5, 7, longest=4, width=8, layers=1)
    >>> params, _ = network.init(jax.random.key(0))
    >>> decode_at_once(network, params, {"x": np.ones((3, 4), int)}).tokens.shape
    (3, 4)
    """
    _check(network)
    valid = np.ndim(scale) == 0 and 0 < scale < np.inf
    require(valid, "a scale of the length above 0", scale)

    def one(x, x_length, start):
        own = None if key is None else jax.random.fold_in(key, start)
        return _at_once(network, params, x, x_length, scale, own)

    return in_batches(one, data, batch_size)


@functools.partial(jax.jit, static_argnames="network")
def _at_once(network, params, x, x_length, scale, key):
    memory = network.encode(params, x, x_length)
    likeliest = memory["length"].argmax(-1)
    longest = memory["length"].shape[-1] - 1
    lengths = jnp.clip(jnp.round(scale * likeliest).astype(jnp.int32), 1, longest)
    scores = log_softmax_of(network.write(params, memory, lengths), None)
    may = jnp.where(jnp.arange(scores.shape[-1]) == PAD, -jnp.inf, scores)
    tokens = may.argmax(-1) if key is None else jax.random.categorical(key, may)
    inside = jnp.arange(longest) < lengths[:, None]
    chosen = jnp.take_along_axis(scores, tokens[..., None], axis=-1)[..., 0]
    return Decoded(
        tokens=jnp.where(inside, tokens, PAD).astype(jnp.int32),
        lengths=lengths,
        finished=jnp.zeros(len(lengths), bool),
        scores=jnp.where(inside, chosen, 0).sum(-1),
    )


def _check(network: Any) -> None:
    of_kind = isinstance(network, NonAutoregressive)
    require(of_kind, "a network nn.NonAutoregressive", type(network).__name__)
