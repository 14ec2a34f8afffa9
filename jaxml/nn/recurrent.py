"""Recurrent networks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Model
from jaxml.nn.adapters import from_linen
from jaxml.nn.attention.masks import with_lengths
from jaxml.nn.layers import Dropout, check_dropout, check_dtype, dense

CELLS = {"gru": linen.GRUCell, "lstm": linen.OptimizedLSTMCell, "simple": linen.SimpleCell}


def rnn(
    inputs: int,
    outputs: int,
    *,
    cell: str = "lstm",
    output: str = "each",
    width: int = 64,
    layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    dtype: Any = None,
) -> Model:
    """A recurrent network.

    The network is given `x`, or `(x, lengths)` where sequences are padded; see
    `transformer_encoder`.

    Args:
        inputs: columns of `x` `(batch, n, inputs)`.
        outputs: columns of the output.
        cell: "lstm", "gru" or "simple" (tanh of both affine maps).
        output: "each" position has one, `(batch, n, outputs)`; or "last", from the state behind the
            last frame of each sequence, `(batch, outputs)`.
        width: of the state of each layer, and in each direction.
        layers: one upon the other.
        bidirectional: whether each layer also reads from the end; the "last" state is then that of
            both directions.
        dropout: of each layer's input.
        dtype: as in `mlp`.

    Returns:
        The model.

    Raises:
        ValueError: if an argument is not as described; by `apply`, if `x` has another shape or
            a length is not within 1 and n.

    Reference:
        Hochreiter and Schmidhuber (1997), Neural Computation 9:1735-1780, with the forget gate of
        Gers et al. (2000); Cho et al. (2014), arXiv:1406.1078, with the reset gate behind the
        product, as in PyTorch and cuDNN.

    >>> import jax, jax.numpy as jnp
    >>> model = rnn(12, 9, output="last", width=16)
    >>> params, state = model.init(jax.random.key(0))
    >>> model.apply(params, state, (jnp.zeros((2, 29, 12)), jnp.array([7, 29])))[0].shape
    (2, 9)
    """
    require_choice("cell", cell, tuple(CELLS))
    require_choice("output", output, ("each", "last"))
    check_dropout(dropout)
    check_dtype(dtype)
    module = _Recurrent(
        inputs=require_positive_int("inputs", inputs),
        outputs=require_positive_int("outputs", outputs),
        cell=cell,
        output=output,
        width=require_positive_int("width", width),
        layers=require_positive_int("layers", layers),
        bidirectional=bidirectional,
        dropout=dropout,
        dtype=dtype,
        name="rnn",
    )
    return from_linen(module, np.zeros((1, 1, inputs), np.float32), train_argument="train")


class _Recurrent(linen.Module):
    inputs: int
    outputs: int
    cell: str
    output: str
    width: int
    layers: int
    bidirectional: bool
    dropout: float
    dtype: Any

    @linen.compact
    def __call__(self, x: Any, *, train: bool) -> jax.Array:
        x, lengths = with_lengths(x)
        fits = x.ndim == 3 and x.shape[2] == self.inputs
        require(fits, f"inputs of shape (batch, n, {self.inputs})", x.shape)
        x, end = read(
            x, lengths, cell=self.cell, width=self.width, layers=self.layers,
            bidirectional=self.bidirectional, dropout=self.dropout, dtype=self.dtype, train=train,
        )  # fmt: skip
        h = x if self.output == "each" else end
        return dense(self.outputs, dtype=self.dtype, name="output")(h)


def read(
    x: jax.Array,
    lengths: jax.Array | None,
    *,
    cell: str,
    width: int,
    layers: int,
    bidirectional: bool,
    dropout: float,
    dtype: Any,
    train: bool,
) -> tuple[jax.Array, jax.Array]:
    """Recurrent layers one upon the other, in the compact module that asks for them.

    Returns:
        What the last layer puts out at each position `(batch, n, width)`, and behind the last
        frame it reads of each sequence `(batch, width)`; of both directions, side by side.
    """
    ends = []
    for i in range(layers):
        x = Dropout(dropout)(x, deterministic=not train)
        found, ends = [], []
        for backward in (False, True)[: 1 + bidirectional]:
            name = f"layer_{i}" + "_backward" * backward
            one = CELLS[cell](width, dtype=dtype, name=f"{name}_cell")
            # as wide as float32 where it computes in fewer bits, as float64 where the inputs are
            carry = jax.tree.map(
                lambda leaf, x=x: leaf.astype(jnp.promote_types(x.dtype, leaf.dtype)),
                one.initialize_carry(jax.random.key(0), (x.shape[0], x.shape[2])),
            )
            y: Any = linen.RNN(one, reverse=backward, keep_order=True, name=name)(
                x, seq_lengths=lengths, initial_carry=carry
            )
            found.append(y)
            ends.append(y[:, 0] if backward else _last(y, lengths))
        x = jnp.concatenate(found, -1)
    return x, jnp.concatenate(ends, -1)


def _last(y: jax.Array, lengths: Any) -> jax.Array:
    if lengths is None:
        return y[:, -1]
    return jnp.take_along_axis(y, (lengths - 1)[:, None, None], axis=1)[:, 0]
