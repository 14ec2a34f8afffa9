"""A recurrent encoder, and a recurrent decoder that looks at what it encoded."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxml.core.checks import require_choice, require_positive_int
from jaxml.nn.attention.masks import with_lengths
from jaxml.nn.attention.monotonic import monotonic_attention
from jaxml.nn.attention.scores import dot_product_scores, projected_scores
from jaxml.nn.attention.softmax import attention_weights
from jaxml.nn.encoder import embedded, example_of
from jaxml.nn.layers import Dropout, check_dropout, check_dtype, check_range, dense
from jaxml.nn.recurrent import CELLS, read
from jaxml.nn.seq2seq import Seq2Seq, encoder_and_decoder

ATTENTION = ("additive", "location", "dot", "monotonic")
FILTERS, REACH = 10, 7
"""Of location-sensitive attention: filters, and positions to each side that they see."""


def recurrent_seq2seq(
    inputs: int,
    outputs: int,
    *,
    tokens: bool = True,
    width: int = 128,
    layers: int = 1,
    cell: str = "lstm",
    attention: str = "additive",
    dropout: float = 0.0,
    dtype: Any = None,
) -> Seq2Seq:
    """A bidirectional recurrent encoder, and a recurrent decoder with attention.

    Before it reads the token before, the decoder looks at the source by its state; what it sees
    enters the first layer beside the token, and the output beside the last layer's state.

    Parameters are `encoder` (`input`, and the cells `layer_i_cell` and `layer_i_backward_cell`)
    and `decoder`: `input`, the table of its tokens, `start`, which makes the first states of the
    encoder's last, `key` and `query`, for additive attention `score`, for location-sensitive
    `filters` and `location`, for monotonic `offset`, `layer_i_cell`, `readout` and `output`.

    Args:
        inputs: number of the source's tokens, from 0; or columns of `x` `(batch, n, inputs)`.
        outputs: number of the target's tokens, from 0, with those that begin and end.
        tokens: whether the source is tokens.
        width: of the state of each layer, in the encoder in each direction; of the scores too.
        layers: of the encoder, and as many of the decoder.
        cell: "lstm" or "gru".
        attention: by the last layer's state, "additive"; "location", additive with what 10 filters
            of 15 positions see of the weights of the step before, which shows how far it has come;
            "dot", scaled products of projected states; or "monotonic", which only ever moves on, by
            the sigmoid of additive scores: `apply` has the expected attention, in training with
            noise of variance 1 on the scores, `step` (and so decoding) one position or none.
        dropout: of each layer's input, and of the hidden layer before the output.
        dtype: as in `mlp`.

    Returns:
        The network, to be used as that of `transformer`; its attention is `(batch, 1, n)`.

    Raises:
        ValueError: if an argument is not as described; by its functions, if a source is not as
            `transformer_encoder` wants it, or a token is not one.

    Reference:
        Bahdanau, Cho and Bengio (2015), arXiv:1409.0473, appendix A, with tanh in the place of
        maxout before the output, and first states from both directions; Chorowski et al. (2015),
        arXiv:1506.07503, section 2.2; Luong, Pham and Manning (2015), arXiv:1508.04025, "general"
        of section 3.1, for products, here with the state before the token; Raffel et al. (2017),
        arXiv:1704.00784, for monotonic attention, without equation 13's norm of the weights and
        with an offset from 0 on.

    >>> import jax, jax.numpy as jnp
    >>> network = recurrent_seq2seq(30, 41, width=16)
    >>> params, state = network.init(jax.random.key(0))
    >>> x, x_length = jnp.ones((2, 7), int), jnp.array([7, 3])
    >>> network.apply(params, state, (x, x_length, jnp.ones((2, 5), int)))[0].shape
    (2, 5, 41)
    >>> cache = network.start(network.encode(params, x, x_length), 5)
    >>> logits, cache, attention = network.step(params, jnp.ones(2, int), cache)
    >>> logits.shape, attention.shape
    ((2, 41), (2, 1, 7))
    """
    inputs = require_positive_int("inputs", inputs)
    require_choice("cell", cell, ("lstm", "gru"))
    require_choice("attention", attention, ATTENTION)
    check_dropout(dropout)
    check_dtype(dtype)
    same: dict[str, Any] = {
        "width": require_positive_int("width", width),
        "layers": require_positive_int("layers", layers),
        "cell": cell,
        "dropout": dropout,
        "dtype": dtype,
    }
    encoder = _Encoder(inputs=inputs, tokens=tokens, name="encoder", **same)
    outputs = require_positive_int("outputs", outputs)
    decoder = _Decoder(tokens=outputs, attention=attention, name="decoder", **same)

    def start(memory, steps):
        require_positive_int("steps", steps)
        seen = memory["seen"]
        return {"memory": seen["memory"], "mask": memory["mask"], "states": seen["states"]}

    def step(params, tokens, cache):
        logits, states = decoder.apply(
            {"params": params["decoder"]}, jnp.asarray(tokens), cache, method="step"
        )
        return logits, {**cache, "states": states}, states["weights"][:, None]

    return encoder_and_decoder(
        encoder, decoder, start, step, example=example_of(inputs, tokens),
        random=dropout > 0 or attention == "monotonic",
    )  # fmt: skip


class _Encoder(linen.Module):
    inputs: int
    tokens: bool
    width: int
    layers: int
    cell: str
    dropout: float
    dtype: Any

    @linen.compact
    def __call__(self, x: Any, *, train: bool) -> tuple[jax.Array, jax.Array]:
        x, lengths = with_lengths(x)
        x = embedded(x, self.inputs, self.tokens, self.width, self.dtype)
        return read(
            x, lengths, cell=self.cell, width=self.width, layers=self.layers, bidirectional=True,
            dropout=self.dropout, dtype=self.dtype, train=train,
        )  # fmt: skip


class _Decoder(linen.Module):
    """All positions, one after the other in a scan; or one."""

    tokens: int
    width: int
    layers: int
    cell: str
    attention: str
    dropout: float
    dtype: Any

    def setup(self) -> None:
        affine = functools.partial(dense, dtype=self.dtype)
        self.input = linen.Embed(self.tokens, self.width, dtype=self.dtype)
        self.start = affine((2 if self.cell == "lstm" else 1) * self.layers * self.width)
        self.key, self.query = affine(self.width), affine(self.width, use_bias=False)
        if self.attention != "dot":
            scale = linen.initializers.normal(self.width**-0.5)
            self.score = self.param("score", scale, (self.width,))
        if self.attention == "monotonic":
            self.offset = self.param("offset", linen.initializers.zeros, ())
        if self.attention == "location":
            self.filters = affine(FILTERS, use_bias=False)
            self.location = affine(self.width, use_bias=False)
        self.layer = [
            CELLS[self.cell](self.width, dtype=self.dtype, name=f"layer_{i}_cell")
            for i in range(self.layers)
        ]
        self.readout, self.output = affine(self.width), affine(self.tokens)
        self.drop = Dropout(self.dropout)

    def __call__(self, previous: jax.Array, seen: Any, mask: jax.Array, *, train: bool) -> Any:
        return self.look(previous, seen, mask, train=train)[0]

    def look(self, previous: jax.Array, seen: Any, mask: jax.Array, *, train: bool) -> Any:
        """The logits, and how much of each position of the source each took."""
        check_range("tokens", previous, 0, self.tokens - 1)
        x, memory = self._embedded(previous), self.memory(seen)

        def one(self, states, x):
            states, found = self._read(states, x, memory["memory"], mask, train=train)
            return states, (found, states["weights"])

        scan = linen.scan(
            one, variable_broadcast="params", split_rngs={"params": False, "dropout": True},
            in_axes=1, out_axes=1,
        )  # fmt: skip
        _, (found, weights) = scan(self, memory["states"], x)
        return self._logits(x, *found, train=train), weights[:, :, None]

    def memory(self, seen: Any) -> dict[str, Any]:
        """The keys and values of the source, and the states before the first token."""
        values, end = seen
        keys = self.key(values)
        # as wide as those of the encoder, which are float32 at least
        first = jnp.tanh(self.start(end)).astype(end.dtype)
        cells = jnp.split(first, first.shape[-1] // self.width, axis=-1)
        if self.cell == "lstm":
            cells = list(zip(cells[::2], cells[1::2], strict=True))
        weights = jnp.zeros(keys.shape[:2], keys.dtype)
        if self.attention == "monotonic":
            weights = weights.at[:, 0].set(1)
        states = {"cells": cells, "weights": weights}
        return {"memory": {"keys": keys, "values": values}, "states": states}

    def step(self, tokens: jax.Array, cache: Any) -> tuple[jax.Array, Any]:
        """The logits of the next token, and the states behind this one."""
        x = self._embedded(tokens)
        states, found = self._read(
            cache["states"], x, cache["memory"], cache["mask"], train=False, hard=True
        )
        return self._logits(x, *found, train=False), states

    def _embedded(self, tokens):
        return self.input(tokens) * self.width**0.5

    def _read(self, states, x, memory, mask, *, train, hard=False):
        """The states behind a token, and what is known then: the last state, what was seen."""
        keys, query = memory["keys"], self.query(_hidden(states["cells"][-1]))[:, None]
        if self.attention == "dot":
            scores = dot_product_scores(query, keys)
        else:
            if self.attention == "location":
                keys = keys + self.location(self.filters(_windows(states["weights"])))
            scores = projected_scores(query, keys, self.score.astype(keys.dtype))
        if self.attention == "monotonic":
            weights = self._moved(scores, states["weights"], mask[:, 0], train, hard)
        else:
            weights = attention_weights(scores, mask[:, 0])
        context = (weights @ memory["values"])[:, 0]
        h, cells = jnp.concatenate([x, context], -1), []
        for layer, before in zip(self.layer, states["cells"], strict=True):
            after, h = layer(before, self.drop(h, deterministic=not train))
            cells.append(after)
        return {"cells": cells, "weights": weights[:, 0]}, (h, context)

    def _moved(self, scores, before, mask, train, hard):
        scores = scores + self.offset.astype(scores.dtype)
        if train:
            scores = scores + jax.random.normal(
                self.make_rng("dropout"), scores.shape, scores.dtype
            )
        chosen = (scores > 0).astype(scores.dtype) if hard else jax.nn.sigmoid(scores)
        return monotonic_attention(jnp.where(mask, chosen, 0), before[:, None])

    def _logits(self, x, h, context, *, train):
        hidden = jnp.tanh(self.readout(jnp.concatenate([x, h, context], -1)))
        return self.output(self.drop(hidden, deterministic=not train))


def _hidden(state: Any) -> jax.Array:
    return state[1] if isinstance(state, tuple) else state


def _windows(weights: jax.Array) -> jax.Array:
    """Of each position the weights around it `(batch, n, 2 REACH + 1)`, zero beyond the ends."""
    n = weights.shape[1]
    around = jnp.arange(n)[:, None] + jnp.arange(2 * REACH + 1)
    return jnp.pad(weights, ((0, 0), (REACH, REACH)))[:, around]
