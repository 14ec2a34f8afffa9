"""Convolution and pooling written so that they are fast where XLA's own are not."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxml.core.checks import require, require_positive_int


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """`jax.lax.conv_general_dilated`, as patches and one matrix product where that is faster.

    Inside `lax.scan`, where training happens, XLA's CPU backend takes up to a hundred times as
    long as the matrix product for the gradient of a kernel (`python -m benchmarks convolutions`
    shows what is left of it in a whole step). So on CPU plain convolutions of images (channels
    last, undilated, ungrouped) take that way, and all others XLA's.

    Networks of your own take it by `flax.linen.Conv(..., conv_general_dilated=...)`.

    Args:
        lhs: images, `(batch, height, width, channels)` for the fast way.
        rhs: kernels, `(height, width, channels in, channels out)` for the fast way.
        window_strides: as in `jax.lax`.
        padding: as in `jax.lax`.
        lhs_dilation: as in `jax.lax`.
        rhs_dilation: as in `jax.lax`.
        dimension_numbers: as in `jax.lax`.
        feature_group_count: as in `jax.lax`.
        batch_group_count: as in `jax.lax`.
        precision: as in `jax.lax`.
        preferred_element_type: as in `jax.lax`.

    Returns:
        As `jax.lax`'s, up to rounding.

    Reference:
        Chellapilla, Puri and Simard, "High performance convolutional neural networks for
        document processing" (2006), section 3, for the patches.

    >>> import jax, jax.numpy as jnp
    >>> image, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
    >>> numbers = ("NHWC", "HWIO", "NHWC")
    >>> conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=numbers)[0, :, :, 0]
    Array([[4., 6., 6., 4.],
           [6., 9., 9., 6.],
           [6., 9., 9., 6.],
           [4., 6., 6., 4.]], dtype=float32)
    """
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    plain = (
        lhs.ndim == 4
        and numbers == lax.conv_dimension_numbers(lhs.shape, rhs.shape, ("NHWC", "HWIO", "NHWC"))
        and {*(lhs_dilation or ()), *(rhs_dilation or ())} <= {1}
        and feature_group_count == batch_group_count == 1
    )
    if plain and jax.default_backend() == "cpu":
        if isinstance(padding, str):
            padding = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], window_strides, padding)
        return lax.dot_general(
            _patches(lhs, rhs.shape[:2], window_strides, padding),
            rhs.reshape(-1, rhs.shape[-1]),
            (((3,), (0,)), ((), ())),
            precision=precision,
            preferred_element_type=preferred_element_type,
        )
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def _patches(x: Array, window: Sequence[int], strides: Sequence[int], padding: Any) -> Array:
    """What each output pixel sees, `(batch, height, width, window pixels · channels)`."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    # the last place where the window still fits, plus one
    ends = [size - w + 1 for size, w in zip(x.shape[1:3], window, strict=True)]
    views = [
        x[:, i : i + ends[0] : strides[0], j : j + ends[1] : strides[1]]
        for i, j in itertools.product(*map(range, window))
    ]
    return jnp.concatenate(views, axis=-1)


def depthwise_convolution(
    x: Float[Array, "*batch n channels"], kernel: Float[Array, "size channels"]
) -> Float[Array, "*batch n channels"]:
    """Each column of a sequence filtered by a kernel of its own, as sums of shifted products.

    Inside `lax.scan`, where training happens, XLA's grouped convolution takes many times as long
    on CPU. Beyond both ends the sequence is zero; as in all of deep learning the kernel is not
    turned around.

    Args:
        x: the sequences.
        kernel: of an odd number of weights a column; the middle one meets the position itself.

    Raises:
        ValueError: if the kernel's size is even or its columns are not those of `x`.

    >>> x = jnp.arange(1.0, 5.0)[:, None]
    >>> depthwise_convolution(x, jnp.array([[1.0], [0.0], [-1.0]]))[:, 0].tolist()
    [-2.0, -2.0, -2.0, 3.0]
    """
    fits = kernel.ndim == 2 and kernel.shape[0] % 2 == 1 and kernel.shape[1:] == x.shape[-1:]
    require(fits, f"a kernel of shape (odd size, {x.shape[-1]})", kernel.shape)
    size, n = kernel.shape[0], x.shape[-2]
    around = [(0, 0)] * (x.ndim - 2) + [(size // 2, size // 2), (0, 0)]
    padded = jnp.pad(x, around)
    return functools.reduce(jnp.add, (padded[..., i : i + n, :] * kernel[i] for i in range(size)))


def max_pool(
    x: Float[Array, "batch height width channels"], size: int = 2
) -> Float[Array, "batch rows columns channels"]:
    """The largest value in each of the windows of `size` by `size` that tile the image.

    Rows and columns that fill no window are left out, as by `flax.linen.max_pool` with its
    default padding. The gradient of equal largest values is shared among them.

    Raises:
        ValueError: if the size is no whole number of at least 1, or exceeds the image.

    >>> import jax.numpy as jnp
    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    return _windows(x, size).max((2, 4))


def mean_pool(
    x: Float[Array, "batch height width channels"], size: int = 2
) -> Float[Array, "batch rows columns channels"]:
    """The mean over each of the windows of `size` by `size` that tile the image; see `max_pool`.

    >>> import jax.numpy as jnp
    >>> mean_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    return _windows(x, size).mean((2, 4))


def _windows(x: Array, size: int) -> Array:
    size = require_positive_int("size", size)
    batch, height, width, channels = x.shape
    require(size <= min(height, width), f"a window within {height} by {width} pixels", size)
    rows, columns = height // size, width // size
    # a reshape, not reduce_window, whose gradient alone would double a step's time on CPU
    x = x[:, : rows * size, : columns * size]
    return x.reshape(batch, rows, size, columns, size, channels)
