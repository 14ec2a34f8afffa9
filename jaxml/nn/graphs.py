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

OUTPUTS = ("each", "mean", "sum")

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
        output: "each" node has one, `(..., n, outputs)`; or the "mean" of a graph's nodes, or their
            "sum", goes through one layer more, `(..., outputs)`.
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
    return _model("gcn", inputs, outputs, hidden, output, activation, dropout)


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


def rgcn(
    inputs: int,
    outputs: int,
    kinds: int,
    *,
    hidden: Sequence[int] = (16,),
    output: str = "each",
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    dropout: float = 0.0,
) -> Model:
    """A relational graph convolutional network: edges of each kind have weights of their own.

    Each layer is `x_i W + b + Σ_r Σ_j x_j W_r` over the neighbours j by edges of kind r.
    Parameters are `relate_i` with `kernel` (W), `bias` and `kernels` (W_r, `(kinds, columns in,
    columns out)`).

    Args:
        inputs: as in `gcn`.
        outputs: as in `gcn`.
        kinds: of edges.
        hidden: as in `gcn`.
        output: as in `gcn`.
        activation: as in `mlp`.
        dropout: of each layer's input.

    Returns:
        The model, of the same inputs as `gcn`; `adjacency` has whole numbers, the kind of each edge
        from 1 to `kinds`, or 0 where there is none.

    Raises:
        ValueError: as `gcn`, but edges may go one way: from column j to row i; and for kinds that
            are not whole or beyond `kinds`.

    Reference:
        Schlichtkrull et al. (2018), arXiv:1703.06103, eq. 2, with the normalisation constant 1: a
        node can tell how many neighbours it has.

    >>> import jax, jax.numpy as jnp
    >>> model = rgcn(3, 1, kinds=2, output="sum")
    >>> params, state = model.init(jax.random.key(0))
    >>> path = jnp.array([[0, 1, 0], [1, 0, 2], [0, 2, 0]])
    >>> model.apply(params, state, (jnp.eye(3), path))[0].shape
    (1,)
    """
    kinds = require_positive_int("kinds", kinds)
    return _model("rgcn", inputs, outputs, hidden, output, activation, dropout, kinds=kinds)


def _model(
    name, inputs, outputs, hidden, output, activation, dropout, heads=None, kinds=None
) -> Model:
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
        kinds=kinds,
        name=name,
    )
    edges = np.zeros((1, 1), np.float32 if kinds is None else np.int32)
    example = np.zeros((1, inputs), np.float32), edges
    return from_linen(module, example, train_argument="train")


class _Graph(linen.Module):
    inputs: int
    outputs: int
    hidden: tuple[int, ...]
    output: str
    activation: Callable[[jax.Array], jax.Array]
    dropout: float
    heads: int | None
    kinds: int | None

    @linen.compact
    def __call__(self, graph: Any, *, train: bool) -> jax.Array:
        x, adjacency, *counts = graph
        x, adjacency = jnp.asarray(x), jnp.asarray(adjacency)
        plain = self.heads is None and self.kinds is None
        _check(x, adjacency, self.inputs, self.kinds, both_ways=plain)
        each = self.output == "each"
        widths = (*self.hidden, self.outputs) if each else self.hidden
        mixing: Any = normalized(adjacency) if plain else None
        if self.kinds is not None:
            is_kind = adjacency[..., None, :] == jnp.arange(1, self.kinds + 1)[:, None]
            mixing = is_kind.astype(x.dtype)  # (..., n, kinds, n)
        for i, width in enumerate(widths):
            last = each and i == len(widths) - 1
            x = Dropout(self.dropout)(x, deterministic=not train)
            if self.kinds is not None:
                x = _Relate(width, self.kinds, name=f"relate_{i}")(x, mixing)
            elif self.heads is None:
                x = dense(width, use_bias=False, kernel_init=glorot, name=f"dense_{i}")(x)
                x = mixing @ x
            else:
                x = _Attend(width, 1 if last else self.heads, name=f"attend_{i}")(x, adjacency)
            x = x if last else self.activation(x)
        if each:
            return x
        real = jnp.ones(x.shape[:-1]) if not counts else _real(x, counts[0])
        pooled = (x * real[..., None]).sum(-2)
        if self.output == "mean":
            pooled = pooled / real.sum(-1)[..., None]
        return dense(self.outputs, name="output")(pooled)


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


class _Relate(linen.Module):
    width: int
    kinds: int

    @linen.compact
    def __call__(self, x: Any, is_kind: Any) -> jax.Array:
        n, columns = x.shape[-2:]
        each = linen.initializers.glorot_uniform(batch_axis=(0,))
        kernels = self.param("kernels", each, (self.kinds, columns, self.width))
        kernel = self.param("kernel", glorot, (columns, self.width))
        bias = self.param("bias", linen.initializers.zeros, (self.width,))
        # all kinds by one product of two matrices, then all neighbours by another
        sent = x @ jnp.moveaxis(kernels, 0, 1).reshape(columns, -1)
        sent = jnp.swapaxes(sent.reshape(*x.shape[:-1], self.kinds, self.width), -2, -3)
        sent = sent.reshape(*x.shape[:-2], self.kinds * n, self.width)
        return is_kind.reshape(*x.shape[:-1], self.kinds * n) @ sent + x @ kernel + bias


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


def _check(
    x: jax.Array, adjacency: jax.Array, inputs: int, kinds: int | None, *, both_ways: bool
) -> None:
    fits = x.ndim >= 2 and x.shape[-1] == inputs
    require(fits, f"nodes of shape (..., n, {inputs})", x.shape)
    expected = (*x.shape[:-1], x.shape[-2])
    require(adjacency.shape == expected, f"an adjacency of shape {expected}", adjacency.shape)
    if kinds is not None:
        whole = jnp.issubdtype(adjacency.dtype, jnp.integer)
        require(whole, "whole numbers for the kinds of edges", f"dtype {adjacency.dtype}")
    if isinstance(adjacency, Tracer):
        return
    values = np.asarray(adjacency)
    require((values >= 0).all(), "edges of at least 0", values.min())
    if kinds is not None:
        require((values <= kinds).all(), f"kinds of edges up to {kinds}", values.max())
    own = np.diagonal(values, axis1=-2, axis2=-1)
    require((own == 0).all(), "a diagonal of 0: each node sees itself once", own.max())
    if both_ways:
        odd = np.argwhere(values != np.swapaxes(values, -1, -2))
        where = tuple(int(i) for i in odd[0]) if len(odd) else None
        require(where is None, "a symmetric adjacency", f"another at {where} than the other way")
