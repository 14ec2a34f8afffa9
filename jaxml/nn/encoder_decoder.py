"""The Transformer: an encoder, and a decoder that looks at what it encoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.nn.attention.masks import causal_mask
from jaxml.nn.attention.multi_head import MultiHead
from jaxml.nn.attention.positions import sinusoidal_positions
from jaxml.nn.attention.softmax import softmax_attention
from jaxml.nn.encoder import Encoder, example_of, layers_of, looking
from jaxml.nn.layers import Dropout, check_range, dense, layer_norm
from jaxml.nn.seq2seq import Seq2Seq, encoder_and_decoder

CROSS = ("last", "parallel", "all")

Memory = Sequence[tuple[jax.Array, jax.Array]]
"""The keys and values that each layer of the decoder looks at."""


def transformer(
    inputs: int,
    outputs: int,
    *,
    tokens: bool = True,
    width: int = 128,
    layers: int = 3,
    heads: int = 4,
    hidden: int | None = None,
    norm: str = "pre",
    positions: str | None = "sinusoidal",
    size: int | None = None,
    cross: str = "last",
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    dropout: float = 0.0,
    dtype: Any = None,
) -> Seq2Seq:
    """An encoder of the source and a decoder of the target, token by token.

    Parameters are `encoder` (see `transformer_encoder`, without `output`) and `decoder`: `input`,
    the table of its tokens, `layer_i` with `attention`, `cross` (the attention to the encoder),
    `norm_0` to `norm_2`, `dense_0` and `dense_1`, for pre-norm `norm`, and `output`.

    Args:
        inputs: number of the source's tokens, from 0; or columns of `x` `(batch, n, inputs)`.
        outputs: number of the target's tokens, from 0, with those that begin and end.
        tokens: whether the source is tokens.
        width: as in `transformer_encoder`, and so what follows.
        layers: of the encoder, and as many of the decoder.
        heads: of each attention.
        hidden: width of the hidden layers; 4 `width` by default.
        norm: "pre" or "post".
        positions: "sinusoidal", "learned" or "rotary" (in self-attention), or None.
        size: the longest sequence, source or target, for learned positions.
        cross: what each layer of the decoder looks at: "last", the encoder's last layer;
            "parallel", the layer of its own number; or "all", a sum of all layers weighted by the
            softmax of learned scores.
        activation: of the hidden layers.
        dropout: of both inputs and of each branch.
        dtype: as in `mlp`.

    Returns:
        The network. `x_length` hides padding of the source from the decoder as from the encoder.

    Raises:
        ValueError: if an argument is not as described; by its functions, if a source is not as
            `transformer_encoder` wants it, a token is not one, or a target is longer than `size`.

    Reference:
        Vaswani et al. (2017), arXiv:1706.03762, section 3; Xiong et al. (2020),
        arXiv:2002.04745, for where the norm stands; Bapna et al. (2018), arXiv:1808.07561, section
        3, for `cross="all"` (without the embeddings).

    >>> import jax, jax.numpy as jnp
    >>> network = transformer(30, 41, width=16, layers=1)
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
    outputs = require_positive_int("outputs", outputs)
    require_choice("cross", cross, CROSS)
    same = layers_of(
        width=width, layers=layers, heads=heads, hidden=hidden, norm=norm, positions=positions,
        size=size, activation=activation, dropout=dropout, dtype=dtype,
    )  # fmt: skip
    encoder = Encoder(
        inputs=inputs, outputs=None, tokens=tokens, output="each", attention=softmax_attention,
        name="encoder", **same,
    )  # fmt: skip
    decoder = Decoder(tokens=outputs, cross=cross, name="decoder", **same)

    def start(memory, steps):
        steps = require_positive_int("steps", steps)
        require(size is None or steps <= size, f"at most {size} steps", steps)
        k, v = memory["seen"][0]
        empty = (k.shape[0], k.shape[1], steps, k.shape[3])
        past = (jnp.zeros(empty, k.dtype), jnp.zeros(empty, v.dtype))
        return {
            **memory,
            "past": [past] * layers,
            "position": jnp.zeros(len(k), jnp.int32),
        }

    def step(params, tokens, cache):
        with looking() as maps:
            logits, past = decoder.apply(
                {"params": params["decoder"]}, jnp.asarray(tokens), cache, method="step"
            )
        cache = {**cache, "past": past, "position": cache["position"] + 1}
        return logits, cache, _crossed(maps, layers)[:, 0]

    return encoder_and_decoder(
        encoder, decoder, start, step, example=example_of(inputs, tokens), random=dropout > 0
    )


def _crossed(maps: dict[str, jax.Array], layers: int) -> jax.Array:
    """Where each layer looks in the source, the mean over its heads: `(batch, t, layers, n)`."""
    return jnp.stack([maps[f"layer_{i}/cross"].mean(1) for i in range(layers)], 2)


class Decoder(linen.Module):
    """The decoder of `transformer`: all positions at once, or one after the other."""

    tokens: int
    width: int
    layers: int
    heads: int
    hidden: int
    norm: str
    positions: str | None
    size: int | None
    cross: str
    activation: Callable[[jax.Array], jax.Array]
    dropout: float
    dtype: Any

    def setup(self) -> None:
        """The table of tokens, the layers and the output."""
        self.input = linen.Embed(self.tokens, self.width, dtype=self.dtype)
        if self.positions == "learned":
            assert self.size is not None
            scale = linen.initializers.normal(0.02)
            self.table = self.param("positions", scale, (self.size, self.width))
        if self.cross == "all":
            zeros = linen.initializers.zeros
            self.weights = self.param("cross", zeros, (self.layers, self.layers))
        self.layer = [
            DecoderLayer(
                self.width, self.heads, self.hidden, self.norm, self.positions == "rotary",
                self.activation, self.dropout, self.dtype, name=f"layer_{i}",
            )
            for i in range(self.layers)
        ]  # fmt: skip
        self.last = layer_norm(self.dtype, "norm") if self.norm == "pre" else None
        self.output = dense(self.tokens, dtype=self.dtype)
        self.drop = Dropout(self.dropout)

    def __call__(
        self, previous: jax.Array, seen: Sequence[jax.Array], mask: jax.Array, *, train: bool
    ) -> jax.Array:
        """The logits of each position's token, given the tokens before."""
        check_range("tokens", previous, 0, self.tokens - 1)
        n = previous.shape[1]
        require(self.size is None or n <= self.size, f"at most {self.size} positions", n)
        x = self.input(previous) * self.width**0.5
        return self.at_once(x, seen, mask, causal_mask(n), train=train)

    def at_once(
        self, x: jax.Array, seen: Sequence[jax.Array], mask: jax.Array, own: jax.Array, *,
        train: bool,
    ) -> jax.Array:  # fmt: skip
        """The logits of what is at each position; `own` is which of them each sees."""
        x = self.drop(self._placed(x, jnp.arange(x.shape[1])), deterministic=not train)
        for layer, memory in zip(self.layer, self.memory(seen), strict=True):
            x, _ = layer(x, memory, mask, own, train=train)
        return self._logits(x)

    def look(
        self, previous: jax.Array, seen: Sequence[jax.Array], mask: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """The logits, and where each layer looks."""
        with looking() as maps:
            logits = self(previous, seen, mask, train=train)
        return logits, _crossed(maps, self.layers)

    def memory(self, seen: Sequence[jax.Array]) -> Memory:
        """What each layer looks at, of what each layer of the encoder put out."""
        if self.cross == "all":
            shares = jax.nn.softmax(self.weights).astype(seen[0].dtype)
            seen = list(jnp.einsum("ij,jbnd->ibnd", shares, jnp.stack(seen)))
        if self.cross == "last":
            seen = [seen[-1]] * self.layers
        return [layer.memory(x) for layer, x in zip(self.layer, seen, strict=True)]

    def step(self, tokens: jax.Array, cache: Any) -> tuple[jax.Array, Memory]:
        """The logits of the next token, and the keys and values with those of this one."""
        at = cache["position"][0]  # all rows are at the same
        x = self._placed(self.input(tokens[:, None]) * self.width**0.5, at[None])
        filled = jnp.arange(cache["past"][0][0].shape[2]) <= at
        past = []
        for layer, memory, before in zip(self.layer, cache["seen"], cache["past"], strict=True):
            x, now = layer(x, memory, cache["mask"], filled, train=False, before=before, at=at)
            past.append(now)
        return self._logits(x)[:, 0], past

    def _placed(self, x, positions):
        if self.positions == "sinusoidal":
            x = x + sinusoidal_positions(positions, self.width).astype(x.dtype)
        if self.positions == "learned":
            x = x + self.table[positions].astype(x.dtype)
        return x

    def _logits(self, x):
        return self.output(x if self.last is None else self.last(x))


class DecoderLayer(linen.Module):
    """Attention to itself, to what the encoder put out, and a fully connected layer.

    Attributes:
        width: of input and output.
        heads: of each attention.
        hidden: width of the hidden layer.
        norm: "pre" or "post".
        rotary: whether the attention to itself knows the positions.
        activation: of the hidden layer.
        dropout: of each branch.
        dtype: of the computation.
    """

    width: int
    heads: int
    hidden: int
    norm: str
    rotary: bool
    activation: Callable[[jax.Array], jax.Array]
    dropout: float
    dtype: Any

    def setup(self) -> None:
        """The parts."""
        sizes = (self.width, self.heads, softmax_attention)
        self.attention = MultiHead(*sizes, self.rotary, self.dtype)
        self.cross = MultiHead(*sizes, dtype=self.dtype)
        self.dense_0 = dense(self.hidden, dtype=self.dtype)
        self.dense_1 = dense(self.width, dtype=self.dtype)
        self.norms = [layer_norm(self.dtype, f"norm_{i}") for i in range(3)]
        self.drop = Dropout(self.dropout)

    def memory(self, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The keys and values of what the encoder put out."""
        return self.cross.keys_values(seen)

    def __call__(
        self,
        x: jax.Array,
        memory: tuple[jax.Array, jax.Array],
        memory_mask: jax.Array | None,
        mask: jax.Array | None,
        *,
        train: bool,
        before: tuple[jax.Array, jax.Array] | None = None,
        at: jax.Array | None = None,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        """What it puts out, and its own keys and values.

        Of one position `at` the keys and values of the others are `before`.
        """
        positions = None if at is None else at[None]
        own: Any = None

        def attend(x):
            nonlocal own
            own = self.attention.keys_values(x, positions)
            if before is not None:
                assert at is not None
                own = tuple(
                    jax.lax.dynamic_update_slice_in_dim(old, new, at, axis=2)
                    for old, new in zip(before, own, strict=True)
                )
            return self.attention.look(x, *own, mask=mask, positions=positions)

        def cross(x):
            return self.cross.look(x, *memory, mask=memory_mask)

        def think(x):
            return self.dense_1(self.activation(self.dense_0(x)))

        for norm, branch in zip(self.norms, (attend, cross, think), strict=True):
            h = branch(norm(x) if self.norm == "pre" else x)
            x = x + self.drop(h, deterministic=not train)
            x = norm(x) if self.norm == "post" else x
        return x, own
