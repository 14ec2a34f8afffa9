"""The vision Transformer: an image as a sequence of patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Model
from jaxml.nn.adapters import ExampleInit
from jaxml.nn.convnets import check_image_shape, check_images
from jaxml.nn.encoder import transformer_encoder


def vit(
    image_shape: Sequence[int],
    outputs: int,
    *,
    patch: int = 4,
    output: str = "pooled",
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    hidden: int | None = None,
    activation: str | Callable[[jax.Array], jax.Array] = "gelu",
    dropout: float = 0.0,
    dtype: Any = None,
) -> Model:
    """A Transformer that reads an image as a sequence of square patches.

    It is `transformer_encoder` with learned positions, on `patches`: its `input` layer maps each
    patch to `width` columns.

    Args:
        image_shape: `(height, width, channels)` of the input.
        outputs: how many numbers come out, such as classes.
        patch: pixels on a side, a divisor of the image's height and width.
        output: "pooled", over all patches, as in `transformer_encoder`; or "first", from a class
            token before them, which is a patch of zeros: what it becomes is learned, as the bias of
            `input` and the position 0.
        width: as in `transformer_encoder`; likewise the further ones.
        layers: of attention.
        heads: of each attention.
        hidden: width of the hidden layers.
        activation: of the hidden layers.
        dropout: of the input and of each branch.
        dtype: as in `mlp`.

    Returns:
        The model, from `(batch, *image_shape)` to `(batch, outputs)`.

    Raises:
        ValueError: if an argument is not as described; by `apply`, if `x` has another shape.

    Reference:
        Dosovitskiy et al. (2021), arXiv:2010.11929, section 3.1.

    >>> import jax, jax.numpy as jnp
    >>> model = vit((28, 28, 1), 10, patch=7)
    >>> params, state = model.init(jax.random.key(0))
    >>> y, _ = model.apply(params, state, jnp.zeros((5, 28, 28, 1)))
    >>> params["input"]["kernel"].shape, params["positions"].shape, y.shape
    ((49, 64), (16, 64), (5, 10))
    """
    shape = check_image_shape(image_shape)
    patch = _check_patch(patch, *shape[:2])
    require_choice("output", output, ("pooled", "first"))
    first = output == "first"
    encoder = transformer_encoder(
        patch * patch * shape[2],
        outputs,
        output=output,
        width=width,
        layers=layers,
        heads=heads,
        hidden=hidden,
        positions="learned",
        size=shape[0] * shape[1] // patch**2 + first,
        activation=activation,
        dropout=dropout,
        dtype=dtype,
    )

    def sequence(x):
        check_images("vit", x, shape)
        return jnp.pad(patches(x, patch), ((0, 0), (int(first), 0), (0, 0)))

    def initialize(key: jax.Array, x: Any) -> tuple[Any, Any]:
        return encoder.init(key, sequence(x))

    def apply(params: Any, model_state: Any, x: Any, **options: Any) -> tuple[Any, Any]:
        return encoder.apply(params, model_state, sequence(x), **options)

    return Model(ExampleInit(initialize, np.zeros((1, *shape), np.float32)), apply)


def patches(x: Any, patch: int) -> jax.Array:
    """Images as sequences of square patches, row by row.

    Args:
        x: images `(batch, height, width, channels)`.
        patch: pixels on a side, a divisor of height and width.

    Returns:
        `(batch, number of patches, patch · patch · channels)`; a dense layer on it is a convolution
        with a stride of `patch`.

    Raises:
        ValueError: if the images have another rank, or the patch does not divide them.

    >>> patches(jnp.arange(16).reshape(1, 4, 4, 1), 2)[0]
    Array([[ 0,  1,  4,  5],
           [ 2,  3,  6,  7],
           [ 8,  9, 12, 13],
           [10, 11, 14, 15]], dtype=int32)
    """
    x = jnp.asarray(x)
    require(x.ndim == 4, "images of shape (batch, height, width, channels)", x.shape)
    count, height, width, channels = x.shape
    patch = _check_patch(patch, height, width)
    cut = x.reshape(count, height // patch, patch, width // patch, patch, channels)
    return cut.swapaxes(2, 3).reshape(count, -1, patch * patch * channels)


def _check_patch(patch: int, height: int, width: int) -> int:
    patch = require_positive_int("patch", patch)
    divides = height % patch == width % patch == 0
    require(divides, f"a patch that divides {height} by {width} pixels", patch)
    return patch
