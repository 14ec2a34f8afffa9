"""The encoder of a Transformer: from a sequence to an output for each position, or for all."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Model
from jaxml.nn.adapters import from_linen
from jaxml.nn.attention.masks import padding_mask, with_lengths
from jaxml.nn.attention.multi_head import MultiHead
from jaxml.nn.attention.positions import sinusoidal_positions
from jaxml.nn.attention.scores import dot_product_scores
from jaxml.nn.attention.softmax import attention_weights, softmax_attention
from jaxml.nn.layers import (
    Dropout,
    check_activation,
    check_dropout,
    check_dtype,
    check_range,
    dense,
    layer_norm,
)

POSITIONS = ("sinusoidal", "learned", "rotary")
OUTPUTS = ("each", "pooled", "first")


def transformer_encoder(
    inputs: int,
    outputs: int,
    *,
    tokens: bool = False,
    output: str = "each",
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    hidden: int | None = None,
    norm: str = "pre",
    positions: str | None = "sinusoidal",
    size: int | None = None,
    attention: Callable[..., jax.Array] = softmax_attention,
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    dropout: float = 0.0,
    dtype: Any = None,
) -> Model:
    """A stack of self-attention and of fully connected layers, each with a skip and a norm.

    The network is given `x`, or `(x, lengths)` where sequences are padded; what is padding is
    looked at by no position and enters no pooling. In `training.supervised` and `evaluate` that is
    `inputs=lambda batch: (batch["x"], batch["x_length"])`.

    Parameters are `input` (a dense layer, or an embedding's table of variance 1 / width, which is
    multiplied by √width), `layer_i` with `attention` (`query`, `key`, `value`, `output`),
    `norm_0`, `norm_1`, `dense_0` and `dense_1`, for pre-norm `norm`, and `output`.

    Args:
        inputs: columns of `x` `(batch, n, inputs)`; of tokens `(batch, n)` their number, from 0.
        outputs: columns of the output.
        tokens: whether `x` has whole numbers, which are embedded.
        output: "each" position has one, `(batch, n, outputs)`; "pooled", one for a sequence
            `(batch, outputs)`, from a mean over the positions weighted by the softmax of a learned
            score; or "first", from the first position alone.
        width: of the layers between; a multiple of `heads`.
        layers: of attention, each with one hidden layer behind it.
        heads: of each attention.
        hidden: width of the hidden layers; 4 `width` by default.
        norm: "pre", before each branch and once at the end, or "post", after each sum.
        positions: "sinusoidal" or "learned" (from a standard deviation of 0.02 on), added to the
            input; "rotary", in each attention; None for sets, whose elements have no order.
        size: the longest sequence, for learned positions.
        attention: `(q, k, v, *, mask) -> values`, see `jaxml.nn.attention`; the mask is `(batch, 1,
            1, n)`, or None without lengths.
        activation: of the hidden layers, as in `mlp`.
        dropout: of the input and of each branch, before it is added. (The weights of the attention
            have none.)
        dtype: as in `mlp`.

    Returns:
        The model.

    Raises:
        ValueError: if an argument is not as described; by `apply`, if `x` has another shape, if a
            sequence is longer than `size`, a length is not within 1 and n, or a token not one.

    Reference:
        Vaswani et al. (2017), arXiv:1706.03762, section 3.1; Xiong et al. (2020),
        arXiv:2002.04745, for where the norm stands.

    >>> import jax, jax.numpy as jnp
    >>> model = transformer_encoder(12, 9, output="pooled", width=16)
    >>> params, state = model.init(jax.random.key(0))
    >>> model.apply(params, state, (jnp.zeros((5, 29, 12)), jnp.array([7, 29, 9, 10, 11])))[0].shape
    (5, 9)
    """
    require_choice("output", output, OUTPUTS)
    require(callable(attention), "attention, (q, k, v, *, mask) -> values", repr(attention))
    module = Encoder(
        inputs=require_positive_int("inputs", inputs),
        outputs=require_positive_int("outputs", outputs),
        tokens=tokens,
        output=output,
        attention=attention,
        name="transformer_encoder",
        **layers_of(
            width=width, layers=layers, heads=heads, hidden=hidden, norm=norm,
            positions=positions, size=size, activation=activation, dropout=dropout, dtype=dtype,
        ),
    )  # fmt: skip
    return from_linen(module, example_of(inputs, tokens), train_argument="train")


def layers_of(
    *,
    width: int,
    layers: int,
    heads: int,
    hidden: int | None,
    norm: str,
    positions: str | None,
    size: int | None,
    activation: str | Callable[[jax.Array], jax.Array],
    dropout: float,
    dtype: Any,
) -> dict[str, Any]:
    """What the layers of a Transformer are made with, checked.

    Raises:
        ValueError: if an argument is not as `transformer_encoder` says.
    """
    sizes: dict[str, Any] = {
        "width": width, "layers": layers, "heads": heads,
        "hidden": 4 * width if hidden is None else hidden,
    }  # fmt: skip
    sizes = {name: require_positive_int(name, value) for name, value in sizes.items()}
    require(
        sizes["width"] % sizes["heads"] == 0,
        f"a width that {heads} heads divide", width,
    )  # fmt: skip
    require_choice("norm", norm, ("pre", "post"))
    if positions is not None:
        require_choice("positions", positions, POSITIONS)
    require((size is not None) == (positions == "learned"), "size with learned positions", size)
    even = width if positions == "sinusoidal" else width // heads
    rotated = positions in ("sinusoidal", "rotary")
    require(not rotated or even % 2 == 0, f"an even width for {positions} positions", even)
    check_dropout(dropout)
    check_dtype(dtype)
    return {
        **sizes,
        "norm": norm,
        "positions": positions,
        "size": None if size is None else require_positive_int("size", size),
        "activation": check_activation(activation),
        "dropout": dropout,
        "dtype": dtype,
    }


def example_of(inputs: int, tokens: bool) -> np.ndarray:
    """An input of one position: a token, or a row of numbers."""
    return np.zeros((1, 1), np.int32) if tokens else np.zeros((1, 1, inputs), np.float32)


def embedded(x: Any, inputs: int, tokens: bool, width: int, dtype: Any) -> jax.Array:
    """A source `(batch, n, width)` by the layer `input` of the compact module that asks for it.

    Raises:
        ValueError: if the source is not as `transformer_encoder` wants it.
    """
    shape = "(batch, n)" if tokens else f"(batch, n, {inputs})"
    whole = jnp.issubdtype(x.dtype, jnp.integer)
    columns = x.ndim == 2 if tokens else x.ndim == 3 and x.shape[2] == inputs
    fits = columns and (whole or not tokens)
    kind = "whole numbers" if tokens else "inputs"
    require(fits, f"{kind} of shape {shape}", f"{x.dtype} of shape {x.shape}")
    if not tokens:
        return dense(width, dtype=dtype, name="input")(x)
    check_range("tokens", x, 0, inputs - 1)
    return linen.Embed(inputs, width, dtype=dtype, name="input")(x) * width**0.5


def attention_maps(model: Model, params: Any, model_state: Any, x: Any) -> dict[str, jax.Array]:
    """Where each head of each layer looks: the softmax of its scores.

    Args:
        model: with layers of softmax attention.
        params: its parameters.
        model_state: its state.
        x: its input.

    Returns:
        Name of the layer -> `(batch, heads, n, m)`, in their order.

    Raises:
        ValueError: if no layer attends.

    >>> import jax, jax.numpy as jnp
    >>> model = transformer_encoder(2, 1, layers=1)
    >>> maps = attention_maps(model, *model.init(jax.random.key(0)), jnp.zeros((3, 5, 2)))
    >>> maps["layer_0/attention"].shape
    (3, 4, 5, 5)
    """
    with looking() as found:
        model.apply(params, model_state, x)
    require(found, "a model with layers of attention", "none")
    return found


@contextlib.contextmanager
def looking() -> Iterator[dict[str, jax.Array]]:
    """The softmax of each attention's scores, by its name, of networks that are run within."""
    found = {}

    def look(call, args, kwargs, context):
        if isinstance(context.module, MultiHead) and context.method_name == "attend":
            q, k, _, mask = args
            path = "/".join(context.module.path)
            found[path] = attention_weights(dot_product_scores(q, k), mask)
        return call(*args, **kwargs)

    with linen.intercept_methods(look):
        yield found


class Encoder(linen.Module):
    """The network of `transformer_encoder`; without outputs, what each of its layers puts out."""

    inputs: int
    outputs: int | None
    tokens: bool
    output: str
    width: int
    layers: int
    heads: int
    hidden: int
    norm: str
    positions: str | None
    size: int | None
    attention: Callable[..., jax.Array]
    activation: Callable[[jax.Array], jax.Array]
    dropout: float
    dtype: Any
    layer: Callable[..., linen.Module] | None = None  # in place of the Transformer's

    @linen.compact
    def __call__(self, x: Any, *, train: bool) -> Any:
        """Of `x`, or of `(x, lengths)`."""
        x, lengths = with_lengths(x)
        x = self._embedded(x)
        mask = None if lengths is None else padding_mask(lengths, x.shape[1])
        x = Dropout(self.dropout)(x, deterministic=not train)
        found = []
        layer: Any = self.layer or functools.partial(_Layer, norm=self.norm)
        for i in range(self.layers):
            x = layer(
                width=self.width, heads=self.heads, hidden=self.hidden,
                rotary=self.positions == "rotary", attention=self.attention,
                activation=self.activation, dropout=self.dropout, dtype=self.dtype,
                name=f"layer_{i}",
            )(x, mask, train=train)  # fmt: skip
            found.append(x)
        last = layer_norm(self.dtype, "norm") if self.norm == "pre" else lambda x: x
        if self.outputs is None:
            return tuple(map(last, found))
        x = last(x)
        if self.output == "first":
            x = x[:, 0]
        if self.output == "pooled":
            scores = dense(1, use_bias=False, dtype=self.dtype, name="pool")(x)
            seen = None if mask is None else mask[:, 0]
            x = (attention_weights(jnp.swapaxes(scores, 1, 2), seen) @ x)[:, 0]
        return dense(self.outputs, dtype=self.dtype, name="output")(x)

    def _embedded(self, x):
        x = embedded(x, self.inputs, self.tokens, self.width, self.dtype)
        n = x.shape[1]
        if self.positions == "sinusoidal":
            x = x + sinusoidal_positions(jnp.arange(n), self.width).astype(x.dtype)
        if self.positions == "learned":
            assert self.size is not None
            require(n <= self.size, f"sequences of at most {self.size} positions", n)
            scale = linen.initializers.normal(0.02)
            table = self.param("positions", scale, (self.size, self.width))
            x = x + table[:n].astype(x.dtype)
        return x


class _Layer(linen.Module):
    width: int
    heads: int
    hidden: int
    norm: str
    rotary: bool
    attention: Callable[..., jax.Array]
    activation: Callable[[jax.Array], jax.Array]
    dropout: float
    dtype: Any

    @linen.compact
    def __call__(self, x: Any, mask: Any, *, train: bool) -> jax.Array:
        attend = MultiHead(
            self.width, self.heads, self.attention, self.rotary, self.dtype, name="attention"
        )

        def think(x):
            h = dense(self.hidden, dtype=self.dtype, name="dense_0")(x)
            return dense(self.width, dtype=self.dtype, name="dense_1")(self.activation(h))

        for i, branch in enumerate((lambda x: attend(x, mask=mask), think)):

            def norm(x, i=i):
                return layer_norm(self.dtype, f"norm_{i}")(x)

            h = branch(norm(x) if self.norm == "pre" else x)
            x = x + Dropout(self.dropout)(h, deterministic=not train)
            x = norm(x) if self.norm == "post" else x
        return x
