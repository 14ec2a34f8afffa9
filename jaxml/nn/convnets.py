"""Convolutional networks for images of shape `(batch, height, width, channels)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Model
from jaxml.nn.adapters import from_linen
from jaxml.nn.convolution import conv_general_dilated, max_pool, mean_pool
from jaxml.nn.layers import (
    Dropout,
    check_activation,
    check_dropout,
    check_dtype,
    check_norm,
    normalize,
)

_POOLS = {"max": max_pool, "mean": mean_pool}


def cnn(
    image_shape: Sequence[int],
    outputs: int,
    *,
    channels: Sequence[int] = (32, 64),
    hidden: Sequence[int] = (128,),
    kernel_size: int = 3,
    padding: str = "SAME",
    pool: str = "max",
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    norm: str | None = None,
    dropout: float = 0.0,
    bias: bool = True,
    dtype: Any = None,
) -> Model:
    """A convolutional network after LeNet: convolutions, each with pooling, then dense layers.

    A convolutional block is `norm(pool(activation(conv(h))))`, which halves height and width; a
    hidden dense layer is `norm(activation(dense(dropout(h))))`; the last is `dense(dropout(h))`.
    (After the pooling a norm has a quarter to do.)

    The parameters are a flat dict: `conv_i` with `kernel` of shape `(kernel_size, kernel_size,
    channels in, channels out)` and `bias`, `dense_i` as in `mlp`, and with a norm
    `conv_norm_i` and `dense_norm_i`. Initialisation as in `mlp`.

    Args:
        image_shape: `(height, width, channels)` of the input.
        outputs: how many numbers come out, such as classes.
        channels: of each convolution's output; at least one.
        hidden: widths of the hidden dense layers; may be empty.
        kernel_size: pixels on a side of the kernels.
        padding: "SAME" (zeros around, so that a convolution keeps height and width) or "VALID".
        pool: "max" or "mean", over windows of 2 by 2 pixels.
        activation: as in `mlp`.
        norm: None, "batch" or "layer", as in `mlp`; over the channels.
        dropout: as in `mlp`; of the dense layers' inputs.
        bias: whether convolutions and dense layers have a bias.
        dtype: as in `mlp`.

    Returns:
        The model, from `(batch, *image_shape)` to `(batch, outputs)`.

    Raises:
        ValueError: if an argument is not as described, or the image is too small to be pooled
            so often; by `apply`, if `x` has another shape, or if a net with dropout trains
            without `key`.

    Reference:
        LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
        recognition" (1998), section II.B: LeNet-5 is `cnn((32, 32, 1), 10, channels=(6, 16),
        hidden=(120, 84), kernel_size=5, padding="VALID", pool="mean", activation="tanh")` but
        for its trained pooling, sparse connections and output layer.

    >>> import jax, jax.numpy as jnp
    >>> model = cnn((28, 28, 1), 10)
    >>> params, model_state = model.init(jax.random.key(0))
    >>> y, _ = model.apply(params, model_state, jnp.zeros((5, 28, 28, 1)))
    >>> params["conv_1"]["kernel"].shape, params["dense_0"]["kernel"].shape, y.shape
    ((3, 3, 32, 64), (3136, 128), (5, 10))
    """
    require_choice("padding", padding, ("SAME", "VALID"))
    require_choice("pool", pool, tuple(_POOLS))
    check_norm(norm)
    check_dropout(dropout)
    check_dtype(dtype)
    shape = check_image_shape(image_shape)
    module = _CNN(
        image_shape=shape,
        outputs=require_positive_int("outputs", outputs),
        channels=_sizes("channels", channels),
        hidden=_sizes("hidden", hidden) if len(hidden) else (),
        kernel_size=require_positive_int("kernel_size", kernel_size),
        padding=padding,
        pool=pool,
        activation=check_activation(activation),
        norm=norm,
        dropout=dropout,
        bias=bias,
        dtype=dtype,
        name="cnn",
    )
    height, width = shape[:2]
    for i in range(len(module.channels)):
        lost = kernel_size - 1 if padding == "VALID" else 0
        height, width = (height - lost) // 2, (width - lost) // 2
        require(
            min(height, width) >= 1,
            f"an image large enough for {len(module.channels)} convolutions with pooling",
            f"{shape[0]} by {shape[1]} pixels, of which nothing is left after {i + 1}",
        )
    return from_linen(module, np.zeros((1, *shape), np.float32), train_argument="train")


def resnet(
    image_shape: Sequence[int],
    outputs: int,
    *,
    channels: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    norm: str | None = "batch",
    dtype: Any = None,
) -> Model:
    """A small residual network: a convolution, stages of residual blocks, the mean, a dense layer.

    A block is `activation(h + norm(conv(activation(norm(conv(h))))))` with kernels of 3 by 3.
    The first block of every stage but the first halves height and width by a stride of 2, and
    wherever a block changes the shape, a 1 by 1 convolution and a norm do so on the skip.
    `blocks=3` gives the paper's 20 layers, `blocks=9` its 56.

    The parameters are a flat dict: `conv_i`, `norm_i` in the order of computation, `skip_i`
    and `skip_norm_i` with the number of their block, `dense`. Convolutions have no bias where
    a norm follows. Initialisation as in `mlp`.

    Args:
        image_shape: `(height, width, channels)` of the input.
        outputs: how many numbers come out, such as classes.
        channels: of each stage; at least one.
        blocks: residual blocks in each stage.
        activation: as in `mlp`.
        norm: "batch", "layer" (over the channels) or None, as in `mlp`.
        dtype: as in `mlp`.

    Returns:
        The model, from `(batch, *image_shape)` to `(batch, outputs)`.

    Raises:
        ValueError: if an argument is not as described; by `apply`, if `x` has another shape.

    Reference:
        He, Zhang, Ren and Sun (2015), arXiv:1512.03385, section 4.2, with its option B for the
        skips.

    >>> import jax, jax.numpy as jnp
    >>> params, _ = resnet((28, 28, 1), 10).init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params))
    77754
    """
    check_norm(norm)
    check_dtype(dtype)
    shape = check_image_shape(image_shape)
    module = _ResNet(
        image_shape=shape,
        outputs=require_positive_int("outputs", outputs),
        channels=_sizes("channels", channels),
        blocks=require_positive_int("blocks", blocks),
        activation=check_activation(activation),
        norm=norm,
        dtype=dtype,
        name="resnet",
    )
    return from_linen(module, np.zeros((1, *shape), np.float32), train_argument="train")


def go_policy(
    size: int,
    planes: int,
    *,
    channels: int = 48,
    layers: int = 6,
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    dtype: Any = None,
) -> Model:
    """A convolutional network that names a point of a board, after AlphaGo's policy network.

    The first convolution is 5 by 5, the further ones 3 by 3, the last 1 by 1 to one channel with a
    bias for each point. The board's size is kept throughout by zeros around it, and nothing is
    pooled: leaving out every other line would make another position of it.

    The parameters are a flat dict: `conv_i`, each with `kernel` and `bias`, and `bias` of shape
    `(size * size,)`. Initialisation as in `mlp`.

    Args:
        size: points on a side.
        planes: feature planes, channels of the input.
        channels: of each convolution but the last.
        layers: convolutions, the first and the last included; at least 2.
        activation: as in `mlp`.
        dtype: as in `mlp`.

    Returns:
        The model, from `(batch, size, size, planes)` to logits `(batch, size * size)`, row by row.

    Raises:
        ValueError: if an argument is not as described; by `apply`, if `x` has another shape.

    Reference:
        Silver et al. (2016), Nature 529:484-489, methods, "Neural network architecture": 192
        channels, 13 layers and 48 planes on 19 by 19 points.

    >>> import jax
    >>> params, _ = go_policy(9, 17).init(jax.random.key(0))
    >>> params["conv_0"]["kernel"].shape, params["bias"].shape
    ((5, 5, 17, 48), (81,))
    """
    check_dtype(dtype)
    layers = require_positive_int("layers", layers)
    require(layers >= 2, "at least two layers, the first and the last", layers)
    size, planes = require_positive_int("size", size), require_positive_int("planes", planes)
    module = _GoPolicy(
        image_shape=(size, size, planes),
        channels=require_positive_int("channels", channels),
        layers=layers,
        activation=check_activation(activation),
        dtype=dtype,
        name="go_policy",
    )
    return from_linen(module, np.zeros((1, size, size, planes), np.float32))


def check_image_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape as three whole numbers.

    Raises:
        ValueError: if it is not (height, width, channels).
    """
    sizes = _sizes("image_shape", shape)
    require(len(sizes) == 3, "image_shape to be (height, width, channels)", shape)
    return sizes


def _sizes(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    several = isinstance(sizes, Sequence | np.ndarray) and len(sizes) > 0
    require(several, f"{name} to be a sequence of whole numbers", repr(sizes))
    return tuple(require_positive_int(f"every one of {name}", size) for size in sizes)


def check_images(name: str | None, x: Any, image_shape: tuple[int, ...]) -> None:
    """Raises `ValueError` for what are no images of this shape."""
    expected = f"(batch, {', '.join(map(str, image_shape))})"
    if jnp.shape(x)[1:] != image_shape or jnp.ndim(x) != 4:
        raise ValueError(f"{name} expects inputs of shape {expected}, got {jnp.shape(x)}")


class _CNN(linen.Module):
    image_shape: tuple[int, ...]
    outputs: int
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    kernel_size: int
    padding: str
    pool: str
    activation: Callable[[jax.Array], jax.Array]
    norm: str | None
    dropout: float
    bias: bool
    dtype: Any

    @linen.compact
    def __call__(self, x: Any, *, train: bool) -> jax.Array:
        check_images(self.name, x, self.image_shape)

        def norm(h, name):
            return normalize(h, self.norm, train=train, dtype=self.dtype, name=name)

        def dense(i, h):
            h = Dropout(self.dropout)(h, deterministic=not train)
            width = (*self.hidden, self.outputs)[i]
            return linen.Dense(width, use_bias=self.bias, dtype=self.dtype, name=f"dense_{i}")(h)

        for i, channels in enumerate(self.channels):
            x = linen.Conv(
                channels,
                (self.kernel_size, self.kernel_size),
                padding=self.padding,
                use_bias=self.bias,
                dtype=self.dtype,
                conv_general_dilated=conv_general_dilated,
                name=f"conv_{i}",
            )(x)
            x = norm(_POOLS[self.pool](self.activation(x)), f"conv_norm_{i}")
        x = x.reshape(x.shape[0], -1)
        for i in range(len(self.hidden)):
            x = norm(self.activation(dense(i, x)), f"dense_norm_{i}")
        return dense(len(self.hidden), x)


class _ResNet(linen.Module):
    image_shape: tuple[int, ...]
    outputs: int
    channels: tuple[int, ...]
    blocks: int
    activation: Callable[[jax.Array], jax.Array]
    norm: str | None
    dtype: Any

    @linen.compact
    def __call__(self, x: Any, *, train: bool) -> jax.Array:
        check_images(self.name, x, self.image_shape)

        def conv(h, channels, name, *, size=3, stride=1):
            h = linen.Conv(
                channels,
                (size, size),
                strides=stride,
                use_bias=self.norm is None,
                dtype=self.dtype,
                conv_general_dilated=conv_general_dilated,
                name=name,
            )(h)
            name = name.replace("conv", "norm").replace("skip", "skip_norm")
            return normalize(h, self.norm, train=train, dtype=self.dtype, name=name)

        x = self.activation(conv(x, self.channels[0], "conv_0"))
        for stage, channels in enumerate(self.channels):
            for block in range(self.blocks):
                number = stage * self.blocks + block
                stride = 2 if stage > 0 and block == 0 else 1
                h = self.activation(conv(x, channels, f"conv_{2 * number + 1}", stride=stride))
                h = conv(h, channels, f"conv_{2 * number + 2}")
                if h.shape != x.shape:
                    x = conv(x, channels, f"skip_{number}", size=1, stride=stride)
                x = self.activation(h + x)
        return linen.Dense(self.outputs, dtype=self.dtype, name="dense")(x.mean((1, 2)))


class _GoPolicy(linen.Module):
    image_shape: tuple[int, ...]
    channels: int
    layers: int
    activation: Callable[[jax.Array], jax.Array]
    dtype: Any

    @linen.compact
    def __call__(self, x: Any) -> jax.Array:
        check_images(self.name, x, self.image_shape)
        for i in range(self.layers):
            last = i == self.layers - 1
            size = 1 if last else 5 if i == 0 else 3
            x = linen.Conv(
                1 if last else self.channels,
                (size, size),
                use_bias=not last,
                dtype=self.dtype,
                conv_general_dilated=conv_general_dilated,
                name=f"conv_{i}",
            )(x)
            x = x if last else self.activation(x)
        logits = x.reshape(len(x), -1)
        bias = self.param("bias", linen.initializers.zeros, (logits.shape[1],))
        return logits + bias.astype(logits.dtype)
