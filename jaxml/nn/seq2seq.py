"""What a network from sequences to sequences is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxml.core.checks import require
from jaxml.core.types import Model
from jaxml.nn.adapters import ExampleInit
from jaxml.nn.attention.masks import padding_mask


class Seq2Seq(NamedTuple):
    """A network that puts out a sequence of tokens, given another sequence.

    It has no model state.

    Attributes:
        init: as a `Model`'s.
        apply: as a `Model`'s, of `(x, x_length, previous)`: the source, how much of each row is
            not padding (or None), and for each position of the target the token before it
            `(batch, t)`. Its outputs are the logits of each position's own token `(batch, t,
            outputs)`.
        encode: `(params, x, x_length) -> memory`, what the decoder sees of a source.
        start: `(memory, steps) -> cache`, to decode up to so many tokens; each leaf of the cache
            has the rows as its first axis.
        step: `(params, tokens, cache) -> (logits, cache, attention)`: `tokens` `(batch,)` are the
            last of each row, the first time the one that begins; `logits` `(batch, outputs)` of
            the next; `attention` `(batch, layers, n)`, how much of each position of the source
            each layer that attends took, the mean over its heads.
        look: `(params, given, *, train=False, key=None) -> (logits, attention)`, of what `apply` is
            given: its logits, and the attention of each position `(batch, t, layers, n)`; None
            where it is not told.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    encode: Callable[..., Any]
    start: Callable[..., Any]
    step: Callable[..., Any]
    look: Callable[..., Any] | None = None

    @property
    def model(self) -> Model:
        """What `training` and `landscape` know of it."""
        return Model(self.init, self.apply)


def encoder_and_decoder(
    encoder: linen.Module,
    decoder: linen.Module,
    start: Callable[..., Any],
    step: Callable[..., Any],
    *,
    example: np.ndarray,
    random: bool,
) -> Seq2Seq:
    """The network of two modules; its parameters are `encoder` and `decoder`.

    Args:
        encoder: `(x or (x, lengths), *, train) -> seen`.
        decoder: `(previous, seen, mask, *, train) -> logits`, with a method `look` that returns
            the attention too, and a method `memory`, `seen -> ` what is kept of it while it
            decodes; the mask is that of `padding_mask`.
        start: the network's.
        step: the network's.
        example: a source, for `init`.
        random: whether the modules are random in training.
    """

    def encoded(params, x, x_length, **mode):
        given = x if x_length is None else (x, x_length)
        seen = encoder.apply({"params": params["encoder"]}, given, **mode)
        size = jnp.shape(x)[1]
        lengths = np.full(len(x), size, np.int32) if x_length is None else x_length
        return seen, padding_mask(lengths, size)

    def initialize(key, given):
        x, _, previous = given
        keys = jax.random.split(key)
        made = encoder.init(keys[0], x, train=False)["params"]
        arguments = (jnp.asarray(previous), *encoded({"encoder": made}, x, None, train=False))
        return {
            "encoder": made,
            "decoder": decoder.init(keys[1], *arguments, train=False)["params"],
        }, {}

    def run(params, given, train, key, **method):
        x, x_length, previous = given
        previous = jnp.asarray(previous)
        whole = previous.ndim == 2 and jnp.issubdtype(previous.dtype, jnp.integer)
        got = f"{previous.dtype} of shape {previous.shape}"
        require(whole, "whole numbers of shape (batch, t) before each target", got)
        require(not (train and random and key is None), "key= for dropout in training", None)
        keys = (None, None) if key is None else jax.random.split(key)
        modes = [
            {"train": train, "rngs": None if key is None else {"dropout": key}} for key in keys
        ]
        arguments = (previous, *encoded(params, x, x_length, **modes[0]))
        return decoder.apply({"params": params["decoder"]}, *arguments, **modes[1], **method)

    def apply(params, model_state, given, *, train=False, key=None):
        return run(params, given, train, key), model_state

    def look(params, given, *, train=False, key=None):
        return run(params, given, train, key, method="look")

    def encode(params, x, x_length=None):
        seen, mask = encoded(params, x, x_length, train=False)
        memory = decoder.apply({"params": params["decoder"]}, seen, method="memory")
        return {"seen": memory, "mask": mask}

    given = (example, None, np.zeros((1, 1), np.int32))
    return Seq2Seq(ExampleInit(initialize, given), apply, encode, start, step, look)
