"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Model
from jaxml.nn.adapters import from_linen
from jaxml.nn.layers import (
    Dropout,
    check_activation,
    check_dropout,
    check_dtype,
    check_norm,
    normalize,
)


def linear(inputs: int, outputs: int, *, bias: bool = True, dtype: Any = None) -> Model:
    """One affine map, `y = x kernel + bias`: `mlp` of two widths.

    Args:
        inputs: size of the last axis of `x`, of shape `(..., inputs)`.
        outputs: size of the last axis of `y`, of shape `(..., outputs)`.
        bias: whether there is a bias.
        dtype: the dtype of the computation, as in `mlp`.

    Returns:
        The model, with parameters `{"dense_0": {"kernel": (inputs, outputs), "bias":
        (outputs,)}}`, initialised as in `mlp`.

    Raises:
        ValueError: if a size is not a whole number of at least 1, or `dtype` not a
            floating-point one; by `apply` (and `init`), if `x` has another shape.

    >>> import jax
    >>> params, model_state = linear(64, 10).init(jax.random.key(0))
    >>> jax.tree.map(jax.numpy.shape, params), model_state
    ({'dense_0': {'bias': (10,), 'kernel': (64, 10)}}, {})
    """
    widths = (require_positive_int("inputs", inputs), require_positive_int("outputs", outputs))
    return _model("linear", widths, bias=bias, dtype=dtype)


def deep_linear(widths: Sequence[int], *, bias: bool = False, dtype: Any = None) -> Model:
    """A product of matrices, `y = x kernel_0 kernel_1 ...`: `mlp` without its activations.

    Its loss surface is known in closed form: under the squared error every critical point that
    is no global minimum is a saddle.

    Args:
        widths: `[inputs, hidden ..., outputs]`, at least two.
        bias: whether each map has a bias.
        dtype: the dtype of the computation, as in `mlp`.

    Returns:
        The model, from `(..., widths[0])` to `(..., widths[-1])`, with parameters
        `{"dense_0": {"kernel": (widths[0], widths[1])}, "dense_1": ...}`, initialised as in
        `mlp`.

    Raises:
        ValueError: as `mlp`.

    Reference:
        Baldi and Hornik, "Neural networks and principal component analysis: learning from
        examples without local minima", Neural Networks 2 (1989); Kawaguchi, "Deep learning
        without poor local minima" (2016), arXiv:1605.07110, theorem 2.3.

    >>> import jax
    >>> params, _ = deep_linear([4, 3, 2]).init(jax.random.key(0))
    >>> jax.tree.map(jax.numpy.shape, params)
    {'dense_0': {'kernel': (4, 3)}, 'dense_1': {'kernel': (3, 2)}}
    """
    return _model("deep_linear", widths, bias=bias, dtype=dtype)


def mlp(
    widths: Sequence[int],
    *,
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    norm: str | None = None,
    norm_position: str = "before",
    dropout: float = 0.0,
    residual: bool = False,
    bias: bool = True,
    dtype: Any = None,
) -> Model:
    """A fully connected network, applied to the last axis of its input.

    A hidden layer is `dropout(activation(norm(dense(h))))`, or with the norm elsewhere as
    `norm_position` says; the last layer is `dense` alone, so a net of one output returns
    `(..., 1)`.

    The parameters are a flat dict, whatever the depth: `dense_i` with `kernel` of shape
    `(widths[i], widths[i + 1])` and `bias` of shape `(widths[i + 1],)`, and for each layer with
    a norm `norm_i` with `scale` and `bias`, both as wide as what it normalises. Batch norm adds
    the model state `{"batch_stats": {"norm_i": {"mean", "var"}}}`. Parameters are float32.

    Initialisation: LeCun normal kernels (truncated at two standard deviations, with variance
    `1 / fan_in`), zero biases, unit scales.

    Args:
        widths: `[inputs, hidden ..., outputs]`, at least two.
        activation: a function of arrays, or the name of one of JAX's ("relu", "tanh", "gelu",
            ...). Like JAX's, "gelu" is the approximation by tanh; PyTorch's default is
            `functools.partial(jax.nn.gelu, approximate=False)`.
        norm: None, "layer" (over the last axis) or "batch" (over all the others). Both use the
            biased variance and add 1e-5 to it. Batch norm normalises by the batch's own
            statistics in training, when `apply` returns moving averages of them, `0.9 old + 0.1
            new`, and by those averages otherwise. PyTorch says "momentum 0.1" for the same,
            but averages the *unbiased* variance, which is `n / (n - 1)` times ours.
        norm_position: "before" or "after" the activation; "pre", of the layer's input,
            `dropout(activation(dense(norm(h))))`, so that the skip goes by the norms and the last
            layer is `dense(norm(h))`; or "post", of the layer's output with the skip,
            `norm(h + dropout(activation(dense(h))))`.
        dropout: the probability, from 0 up to but excluding 1, with which training sets a
            hidden value to zero; those that stay are divided by `1 - dropout`.
        residual: whether to add to a hidden layer's output its input, where the two have the
            same width; elsewhere, and at the last layer, there is no such skip.
        bias: whether the `dense_i` have a bias.
        dtype: the floating-point dtype of the computation and of `y`. None takes the one that
            the input and the parameters promote to: float64 parameters compute in float64.

    Returns:
        The model, from `(..., widths[0])` to `(..., widths[-1])`; its `init` needs no `x`.

    Raises:
        ValueError: if an argument is not as described; by `apply`, if `x` has another shape,
            or if a net with dropout trains without `key`.

    Reference:
        LeCun, Bottou, Orr and Müller, "Efficient BackProp" (1998), eq. 16 (initialisation);
        Ioffe and Szegedy (2015), arXiv:1502.03167, algorithm 1 (batch norm); Ba, Kiros and
        Hinton (2016), arXiv:1607.06450, eq. 3 (layer norm, here over the last axis); Srivastava
        et al., "Dropout", JMLR 15 (2014), section 10 (the scaling); He et al. (2015),
        arXiv:1512.03385, eq. 1 (the skip; here no activation follows the sum); Xiong et al.
        (2020), arXiv:2002.04745, table 1 ("pre" and "post").

    >>> import jax, jax.numpy as jnp
    >>> model = mlp([64, 32, 10], activation="tanh")
    >>> params, model_state = model.init(jax.random.key(0))
    >>> y, model_state = model.apply(params, model_state, jnp.zeros((5, 64)))
    >>> params["dense_0"]["kernel"].shape, y.shape
    ((64, 32), (5, 10))
    """
    activation = check_activation(activation)
    check_norm(norm)
    require_choice("norm_position", norm_position, ("before", "after", "pre", "post"))
    check_dropout(dropout)
    return _model(
        "mlp",
        widths,
        activation=activation,
        norm=norm,
        norm_position=norm_position,
        dropout=dropout,
        residual=residual,
        bias=bias,
        dtype=dtype,
    )


def _model(name: str, widths: Sequence[int], *, dtype: Any, **options: Any) -> Model:
    several = isinstance(widths, Iterable) and len(tuple(widths)) >= 2
    require(several, "widths to be [inputs, hidden ..., outputs]", widths)
    widths = tuple(require_positive_int("every width", width) for width in widths)
    check_dtype(dtype)
    module = _Dense(widths=widths, dtype=dtype, name=name, **options)
    return from_linen(module, np.zeros((1, widths[0]), np.float32), train_argument="train")


class _Dense(linen.Module):
    """What `linear`, `deep_linear` and `mlp` have in common; `name` is which of them it is."""

    widths: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array] = jax.nn.identity
    norm: str | None = None
    norm_position: str = "before"
    dropout: float = 0.0
    residual: bool = False
    bias: bool = True
    dtype: Any = None

    @linen.compact
    def __call__(self, x: Any, *, train: bool) -> jax.Array:
        inputs, shape = self.widths[0], jnp.shape(x)
        if shape[-1:] != (inputs,):
            raise ValueError(f"{self.name} expects inputs of shape (..., {inputs}), got {shape}")

        def dense(i, h):
            return linen.Dense(
                self.widths[i + 1], use_bias=self.bias, dtype=self.dtype, name=f"dense_{i}"
            )(h)

        def norm(i, h, *positions):
            if self.norm_position not in positions:
                return h
            return normalize(h, self.norm, train=train, dtype=self.dtype, name=f"norm_{i}")

        def hidden(i, h):
            h = dense(i, norm(i, h, "pre"))
            h = norm(i, self.activation(norm(i, h, "before")), "after")
            return Dropout(self.dropout)(h, deterministic=not train)

        last = len(self.widths) - 2
        for i in range(last):
            skip = self.residual and self.widths[i] == self.widths[i + 1]
            x = norm(i, x + hidden(i, x) if skip else hidden(i, x), "post")
        return dense(last, norm(last, x, "pre"))
