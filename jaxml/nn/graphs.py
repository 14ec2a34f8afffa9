"""Networks on graphs: each layer looks along the edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax.core import Tracer

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Model
from jaxml.nn.adapters import from_linen
from jaxml.nn.attention.softmax import attention_weights
from jaxml.nn.layers import Dropout, check_activation, check_dropout, dense

OUTPUTS = ("each", "mean")

glorot = linen.initializers.glorot_uniform()  # as in both papers


def gcn(
    inputs: int,
    outputs: int,
    *,
    hidden: Sequence[int] = (16,),
    output: str = "each",
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    dropout: float = 0.0,
) -> Model:
    """A graph convolutional network: each layer is `D^-½ (A + I) D^-½ X W`.

    The network is given `(x, adjacency)`, or `(x, adjacency, counts)` where graphs of a batch are
    padded by nodes without edges to one number of nodes n. One graph may come without the leading
    axis. Parameters are `dense_i` with `kernel`; there are no biases.

    Args:
        inputs: columns of `x` `(..., n, inputs)`.
        outputs: columns of the output.
        hidden: widths of the layers between.
        output: "each" node has one, `(..., n, outputs)`; or the "mean" of a graph's nodes,
            `(..., outputs)`, goes through one layer more.
        activation: as in `mlp`.
        dropout: of each layer's input.

    Returns:
        The model. `adjacency` `(..., n, n)` has a number of at least 0 for each edge, the same both
        ways, and 0 on the diagonal: each node sees itself once in any case.

    Raises:
        ValueError: if an argument is not as described; by `apply`, if the shapes do not fit, or
            (not while traced) if the adjacency is not symmetric, is negative, or has the nodes'
            own edges.

    Reference:
        Kipf and Welling (2017), arXiv:1609.02907, eq. 2.

    >>> import jax, jax.numpy as jnp
    >>> model = gcn(3, 2)
    >>> params, state = model.init(jax.random.key(0))
    >>> model.apply(params, state, (jnp.eye(3), jnp.ones((3, 3)) - jnp.eye(3)))[0].shape
    (3, 2)
    """
    return _model("gcn", inputs, outputs, hidden, output, activation, dropout, heads=None)


def gat(
    inputs: int,
    outputs: int,
    *,
    hidden: Sequence[int] = (8,),
    heads: int = 8,
    output: str = "each",
    activation: str | Callable[[jax.Array], jax.Array] = "elu",
    dropout: float = 0.0,
) -> Model:
    """A graph attention network: each node takes a weighted mean of itself and its neighbours.

    The weights are the softmax of `leaky_relu(a·W x_i + b·W x_j)` over the neighbours j. Parameters
    are `attend_i` with `kernel`, `own` (a), `other` (b) and `bias`.

    Args:
        inputs: as in `gcn`.
        outputs: as in `gcn`.
        hidden: columns of *one* head of the layers between; the heads' are joined.
        heads: of the layers between; the last has one.
        output: as in `gcn`.
        activation: as in `mlp`.
        dropout: of each layer's input.

    Returns:
        The model, of the same inputs as `gcn`; of the adjacency it counts what is not 0.

    Raises:
        ValueError: as `gcn`, but edges may go one way: from column j to row i.

    Reference:
        Veličković et al. (2018), arXiv:1710.10903, eqs. 3 and 4.

    >>> import jax, jax.numpy as jnp
    >>> model = gat(3, 2)
    >>> params, state = model.init(jax.random.key(0))
    >>> params["attend_0"]["own"].shape
    (8, 8)
    """
    heads = require_positive_int("heads", heads)
    return _model("gat", inputs, outputs, hidden, output, activation, dropout, heads=heads)


def _model(name, inputs, outputs, hidden, output, activation, dropout, heads) -> Model:
    require_choice("output", output, OUTPUTS)
    check_dropout(dropout)
    several = isinstance(hidden, Sequence) and not isinstance(hidden, str)
    require(several, "hidden to be a sequence of widths", repr(hidden))
    inputs = require_positive_int("inputs", inputs)
    module = _Graph(
        inputs=inputs,
        outputs=require_positive_int("outputs", outputs),
        hidden=tuple(require_positive_int("every one of hidden", width) for width in hidden),
        output=output,
        activation=check_activation(activation),
        dropout=dropout,
        heads=heads,
        name=name,
    )
    example = np.zeros((1, inputs), np.float32), np.zeros((1, 1), np.float32)
    return from_linen(module, example, train_argument="train")


class _Graph(linen.Module):
    inputs: int
    outputs: int
    hidden: tuple[int, ...]
    output: str
    activation: Callable[[jax.Array], jax.Array]
    dropout: float
    heads: int | None

    @linen.compact
    def __call__(self, graph: Any, *, train: bool) -> jax.Array:
        x, adjacency, *counts = graph
        x, adjacency = jnp.asarray(x), jnp.asarray(adjacency)
        _check(x, adjacency, self.inputs, both_ways=self.heads is None)
        each = self.output == "each"
        widths = (*self.hidden, self.outputs) if each else self.hidden
        mixing: Any = normalized(adjacency) if self.heads is None else None
        for i, width in enumerate(widths):
            last = each and i == len(widths) - 1
            x = Dropout(self.dropout)(x, deterministic=not train)
            if self.heads is None:
                x = dense(width, use_bias=False, kernel_init=glorot, name=f"dense_{i}")(x)
                x = mixing @ x
            else:
                x = _Attend(width, 1 if last else self.heads, name=f"attend_{i}")(x, adjacency)
            x = x if last else self.activation(x)
        if each:
            return x
        real = jnp.ones(x.shape[:-1]) if not counts else _real(x, counts[0])
        mean = (x * real[..., None]).sum(-2) / real.sum(-1)[..., None]
        return dense(self.outputs, name="output")(mean)


class _Attend(linen.Module):
    width: int
    heads: int

    @linen.compact
    def __call__(self, x: Any, adjacency: Any) -> jax.Array:
        shape = (self.heads, self.width)
        kernel = self.param("kernel", glorot, (x.shape[-1], self.heads * self.width))
        own, other = (self.param(name, glorot, shape) for name in ("own", "other"))
        bias = self.param("bias", linen.initializers.zeros, (self.heads * self.width,))
        h = (x @ kernel).reshape(*x.shape[:-1], *shape)  # (..., n, heads, width)
        to, of = jnp.einsum("...nhw,hw->...hn", h, own), jnp.einsum("...nhw,hw->...hn", h, other)
        scores = jax.nn.leaky_relu(to[..., :, None] + of[..., None, :], 0.2)
        seen = (adjacency != 0) | jnp.eye(x.shape[-2], dtype=bool)
        weights = attention_weights(scores, seen[..., None, :, :])
        return jnp.einsum("...hnm,...mhw->...nhw", weights, h).reshape(*x.shape[:-1], -1) + bias


def normalized(adjacency: jax.Array) -> jax.Array:
    """`D^-½ (A + I) D^-½`, where D has the sums of the rows of `A + I`: `(..., n, n)`.

    >>> normalized(jnp.array([[0.0, 1.0], [1.0, 0.0]])).round(3)
    Array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32)
    """
    looped = adjacency + jnp.eye(adjacency.shape[-1], dtype=adjacency.dtype)
    root = looped.sum(-1) ** -0.5
    return root[..., :, None] * looped * root[..., None, :]


def _real(x: jax.Array, counts: Any) -> jax.Array:
    return (jnp.arange(x.shape[-2]) < jnp.asarray(counts)[..., None]).astype(x.dtype)


def _check(x: jax.Array, adjacency: jax.Array, inputs: int, *, both_ways: bool) -> None:
    fits = x.ndim >= 2 and x.shape[-1] == inputs
    require(fits, f"nodes of shape (..., n, {inputs})", x.shape)
    expected = (*x.shape[:-1], x.shape[-2])
    require(adjacency.shape == expected, f"an adjacency of shape {expected}", adjacency.shape)
    if isinstance(adjacency, Tracer):
        return
    values = np.asarray(adjacency)
    require((values >= 0).all(), "edges of at least 0", values.min())
    own = np.diagonal(values, axis1=-2, axis2=-1)
    require((own == 0).all(), "a diagonal of 0: each node sees itself once", own.max())
    if both_ways:
        odd = np.argwhere(values != np.swapaxes(values, -1, -2))
        where = tuple(int(i) for i in odd[0]) if len(odd) else None
        require(where is None, "a symmetric adjacency", f"another at {where} than the other way")
