"""The Conformer: attention for what is far, convolution for what is near."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from flax.linen.dtypes import promote_dtype

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Model
from jaxml.nn.adapters import from_linen
from jaxml.nn.attention.multi_head import MultiHead
from jaxml.nn.attention.softmax import softmax_attention
from jaxml.nn.convolution import depthwise_convolution
from jaxml.nn.encoder import OUTPUTS, Encoder, example_of, layers_of
from jaxml.nn.layers import Dropout, dense, layer_norm


def conformer(
    inputs: int,
    outputs: int,
    *,
    output: str = "each",
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    hidden: int | None = None,
    kernel: int = 15,
    positions: str | None = "sinusoidal",
    size: int | None = None,
    attention: Callable[..., jax.Array] = softmax_attention,
    activation: str | Callable[[jax.Array], jax.Array] = "swish",
    dropout: float = 0.0,
    dtype: Any = None,
) -> Model:
    """A stack of self-attention and convolution between two halves of fully connected layers.

    The network is given `x`, or `(x, lengths)` where sequences are padded, as
    `transformer_encoder` is; what is padding enters no convolution either. Each layer is
    `x + ½ dense`, `+ attention`, `+ convolution`, `+ ½ dense`, each of a layer norm of what is
    before it, and a layer norm.

    Parameters are `input`, `layer_i` with `norm_0` to `norm_4`, `dense_0` and `dense_1`,
    `attention` (as in `transformer_encoder`), `gated`, `depthwise` (`kernel` `(kernel, width)`,
    `bias`), `norm` and `mixed` of the convolution, `dense_2` and `dense_3`; and `output`.

    Args:
        inputs: columns of `x` `(batch, n, inputs)`.
        outputs: columns of the output.
        output: as in `transformer_encoder`.
        width: of the layers between; a multiple of `heads`.
        layers: how many such layers.
        heads: of each attention.
        hidden: width of the hidden layers; 4 `width` by default.
        kernel: positions that a convolution sees; an odd number.
        positions: as in `transformer_encoder`.
        size: as in `transformer_encoder`.
        attention: as in `transformer_encoder`.
        activation: of the hidden layers and behind the depthwise convolution.
        dropout: of the input and of each branch, before it is added.
        dtype: as in `mlp`.

    Returns:
        The model.

    Raises:
        ValueError: if an argument is not as described; by `apply`, as `transformer_encoder`.

    Reference:
        Gulati et al. (2020), arXiv:2005.08100, section 2. Two deviations: the norm within the
        convolution is layer norm, so that padding and the rest of the batch change nothing, in
        place of batch norm; and positions are those of `transformer_encoder`, in place of the
        relative ones of Transformer-XL.

    >>> import jax, jax.numpy as jnp
    >>> model = conformer(12, 9, output="pooled", width=16)
    >>> params, state = model.init(jax.random.key(0))
    >>> model.apply(params, state, (jnp.zeros((2, 29, 12)), jnp.array([7, 29])))[0].shape
    (2, 9)
    """
    require_choice("output", output, OUTPUTS)
    require(callable(attention), "attention, (q, k, v, *, mask) -> values", repr(attention))
    kernel = require_positive_int("kernel", kernel)
    require(kernel % 2 == 1, "kernel to be odd", kernel)
    module = Encoder(
        inputs=require_positive_int("inputs", inputs),
        outputs=require_positive_int("outputs", outputs),
        tokens=False,
        output=output,
        attention=attention,
        layer=functools.partial(_Layer, kernel=kernel),
        name="conformer",
        **layers_of(
            width=width, layers=layers, heads=heads, hidden=hidden, norm="post",
            positions=positions, size=size, activation=activation, dropout=dropout, dtype=dtype,
        ),
    )  # fmt: skip
    return from_linen(module, example_of(inputs, False), train_argument="train")


class _Layer(linen.Module):
    width: int
    heads: int
    hidden: int
    kernel: int
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

        def think(x, first):
            h = dense(self.hidden, dtype=self.dtype, name=f"dense_{first}")(x)
            return dense(self.width, dtype=self.dtype, name=f"dense_{first + 1}")(
                self.activation(h)
            )

        branches = (
            lambda x: 0.5 * think(x, 0),
            lambda x: attend(x, mask=mask),
            lambda x: self._convolved(x, mask),
            lambda x: 0.5 * think(x, 2),
        )
        for i, branch in enumerate(branches):
            h = branch(layer_norm(self.dtype, f"norm_{i}")(x))
            x = x + Dropout(self.dropout)(h, deterministic=not train)
        return layer_norm(self.dtype, "norm_4")(x)

    def _convolved(self, x, mask):
        h = linen.glu(dense(2 * self.width, dtype=self.dtype, name="gated")(x))
        if mask is not None:
            h = jnp.where(mask[:, 0, 0, :, None], h, 0)
        h = _Depthwise(self.kernel, self.dtype, name="depthwise")(h)
        h = self.activation(layer_norm(self.dtype, "norm")(h))
        return dense(self.width, dtype=self.dtype, name="mixed")(h)


class _Depthwise(linen.Module):
    size: int
    dtype: Any

    @linen.compact
    def __call__(self, x: Any) -> jax.Array:
        columns = x.shape[-1]
        kernel = self.param("kernel", linen.initializers.lecun_normal(), (self.size, columns))
        bias = self.param("bias", linen.initializers.zeros, (columns,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return depthwise_convolution(x, kernel) + bias
