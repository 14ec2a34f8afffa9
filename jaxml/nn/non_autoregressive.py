"""A Transformer that puts out all tokens at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Model
from jaxml.nn.adapters import ExampleInit
from jaxml.nn.attention.masks import padding_mask
from jaxml.nn.attention.softmax import softmax_attention
from jaxml.nn.encoder import Encoder, example_of, layers_of
from jaxml.nn.encoder_decoder import Decoder
from jaxml.nn.layers import check_range, dense


class NonAutoregressive(NamedTuple):
    """A network that puts out a sequence of tokens at once, given another sequence.

    It has no model state.

    Attributes:
        init: as a `Model`'s.
        apply: as a `Model`'s, of `(x, x_length, y_length)`: the source, how much of each row is not
            padding (or None), and how long each target is. Its outputs are the logits of the
            target's length `(batch, longest + 1)`, from 0, and of its tokens `(batch, longest,
            outputs)`.
        encode: `(params, x, x_length) -> memory`, of which `memory["length"]` are those logits.
        write: `(params, memory, y_length) -> logits` of the tokens.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    encode: Callable[..., Any]
    write: Callable[..., Any]

    @property
    def model(self) -> Model:
        """What `training` and `landscape` know of it."""
        return Model(self.init, self.apply)


def non_autoregressive_transformer(
    inputs: int,
    outputs: int,
    *,
    longest: int,
    tokens: bool = True,
    width: int = 128,
    layers: int = 3,
    heads: int = 4,
    hidden: int | None = None,
    norm: str = "pre",
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    dropout: float = 0.0,
    dtype: Any = None,
) -> NonAutoregressive:
    """The encoder and the decoder of `transformer`, without its order of tokens.

    Each position of the target begins as what the encoder put out at the same share of the source,
    sees all others and the source, and puts out its token without knowing the others'. How many
    there are is put out first, from the mean of what the encoder put out.

    Parameters are `encoder` and `decoder`, as those of `transformer` but for the table of the
    decoder's tokens, and `length`, a dense layer.

    Args:
        inputs: as in `transformer`, and so all but `longest`.
        outputs: number of the target's tokens, from 0; none that begins or ends is needed.
        longest: of the targets.
        tokens: whether the source is tokens.
        width: of the layers.
        layers: of the encoder, and as many of the decoder.
        heads: of each attention.
        hidden: width of the hidden layers.
        norm: "pre" or "post".
        activation: of the hidden layers.
        dropout: of both inputs and of each branch.
        dtype: as in `mlp`.

    Returns:
        The network.

    Raises:
        ValueError: if an argument is not as described; by its functions as by those of
            `transformer`, and if a length is beyond 0 and `longest`.

    Reference:
        Gu et al. (2018), arXiv:1711.02281, sections 3.1 and 3.2, with uniform copies, of what the
        encoder put out rather than of its input; Lee, Mansimov and Cho (2018), arXiv:1802.06901,
        for the length in the place of fertilities.

    >>> network = non_autoregressive_transformer(30, 40, longest=9, width=16, layers=1)
    >>> params, state = network.init(jax.random.key(0))
    >>> given = (jnp.ones((2, 7), int), jnp.array([7, 3]), jnp.array([5, 9]))
    >>> length, logits = network.apply(params, state, given)[0]
    >>> length.shape, logits.shape
    ((2, 10), (2, 9, 40))
    """
    inputs = require_positive_int("inputs", inputs)
    outputs = require_positive_int("outputs", outputs)
    longest = require_positive_int("longest", longest)
    same = layers_of(
        width=width, layers=layers, heads=heads, hidden=hidden, norm=norm, positions="sinusoidal",
        size=None, activation=activation, dropout=dropout, dtype=dtype,
    )  # fmt: skip
    network = _Network(inputs, outputs, longest, tokens, same)

    def run(params, *given, train=False, key=None, **method):
        require(not (train and dropout > 0 and key is None), "key= for dropout in training", None)
        rngs = None if key is None else {"dropout": key}
        return network.apply({"params": params}, *given, train=train, rngs=rngs, **method)

    def initialize(key, given):
        return network.init(key, *given, train=False)["params"], {}

    def apply(params, model_state, given, **mode):
        return run(params, *given, **mode), model_state

    def encode(params, x, x_length=None):
        return run(params, x, x_length, method="encode")

    def write(params, memory, y_length):
        return run(params, memory, y_length, method="write")

    example = (example_of(inputs, tokens), None, np.ones(1, np.int32))
    return NonAutoregressive(ExampleInit(initialize, example), apply, encode, write)


class _Network(linen.Module):
    inputs: int
    outputs: int
    longest: int
    tokens: bool
    layers: Any

    def setup(self) -> None:
        self.encoder = Encoder(
            inputs=self.inputs, outputs=None, tokens=self.tokens, output="each",
            attention=softmax_attention, **self.layers,
        )  # fmt: skip
        self.decoder = Decoder(tokens=self.outputs, cross="last", **self.layers)
        self.length = dense(self.longest + 1, dtype=self.layers["dtype"])

    def __call__(self, x: Any, x_length: Any, y_length: Any, *, train: bool) -> Any:
        memory = self.encode(x, x_length, train=train)
        return memory["length"], self.write(memory, y_length, train=train)

    def encode(self, x: Any, x_length: Any, *, train: bool) -> dict[str, jax.Array]:
        seen = self.encoder(x if x_length is None else (x, x_length), train=train)[-1]
        rows, size = seen.shape[:2]
        lengths = jnp.full(rows, size) if x_length is None else jnp.asarray(x_length)
        inside = (jnp.arange(size) < lengths[:, None])[..., None]
        mean = jnp.where(inside, seen, 0).sum(1) / lengths[:, None].astype(seen.dtype)
        return {"seen": seen, "x_length": lengths, "length": self.length(mean)}

    def write(self, memory: Any, y_length: Any, *, train: bool) -> jax.Array:
        seen, n = memory["seen"], memory["x_length"][:, None]
        check_range("target lengths", y_length, 0, self.longest)
        y_length = jnp.asarray(y_length)[:, None]
        places = jnp.arange(self.longest)
        share = jnp.minimum(places * n // jnp.maximum(y_length, 1), n - 1)
        x = jnp.take_along_axis(seen, share[..., None], axis=1)
        mask = padding_mask(memory["x_length"], seen.shape[1])
        own = (places < y_length)[:, None, None]
        return self.decoder.at_once(x, [seen], mask, own, train=train)
