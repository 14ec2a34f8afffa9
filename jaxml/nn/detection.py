"""The detection Transformer: an image to a set of classes and boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxml.core.checks import require_positive_int
from jaxml.core.types import Model
from jaxml.nn.adapters import from_linen
from jaxml.nn.attention.positions import sinusoidal_positions
from jaxml.nn.attention.softmax import softmax_attention
from jaxml.nn.convnets import check_image_shape, check_images
from jaxml.nn.convolution import conv_general_dilated
from jaxml.nn.encoder import Encoder, layers_of
from jaxml.nn.encoder_decoder import DecoderLayer
from jaxml.nn.layers import dense, layer_norm

_PLACES = 16
"""Columns of the sinusoids of a row, or of a column."""


def detr(
    image_shape: Sequence[int],
    classes: int,
    *,
    queries: int,
    between: bool = False,
    channels: Sequence[int] = (32, 64),
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    hidden: int | None = None,
    activation: str | Callable[[jax.Array], jax.Array] = "relu",
    dropout: float = 0.0,
    dtype: Any = None,
) -> Model:
    """Convolutions, a Transformer's encoder, and a decoder of learned queries, all at once.

    Each convolution, of 3 by 3 pixels, halves height and width. The pixels that are left are the
    encoder's sequence, each with sinusoids of its row and of its column beside its channels. The
    decoder is that of `transformer` without a mask, with norms before the layers; its input are the
    queries, each of which becomes an object or none.

    Parameters are `conv_i`, `encoder` and `layer_i` as in `transformer`, `queries` `(queries,
    width)`, `norm`, `classes`, and `box_0` to `box_2`.

    Args:
        image_shape: `(height, width, channels)` of the input.
        classes: of the objects.
        queries: how many predictions; at least as many as an image has objects.
        between: whether what comes before the last layer of the decoder is put out too.
        channels: of each convolution's output.
        width: as in `transformer_encoder`, and so what follows.
        layers: of the encoder, and as many of the decoder.
        heads: of each attention.
        hidden: width of the hidden layers; 4 `width` by default.
        activation: of the hidden layers and the convolutions.
        dropout: of the encoder's input and of each branch.
        dtype: as in `mlp`.

    Returns:
        The model, from `(batch, *image_shape)` to `"classes"`, logits `(batch, queries, classes +
        1)`, the last of no object, and `"boxes"` `(batch, queries, 4)`: centre from the left and
        from the top, width and height, as shares of the image. With `between` also `"between"`: the
        same of each layer of the decoder before the last, in their order, by the same norm and the
        same layers behind it.

    Raises:
        ValueError: if an argument is not as described; by `apply`, if `x` has another shape.

    Reference:
        Carion et al. (2020), arXiv:2005.12872, section 3.2, with a smaller network of convolutions;
        there sinusoids and queries are added in each layer anew.

    >>> import jax, jax.numpy as jnp
    >>> model = detr((28, 28, 1), 10, queries=5, width=16)
    >>> params, state = model.init(jax.random.key(0))
    >>> found, _ = model.apply(params, state, jnp.zeros((2, 28, 28, 1)))
    >>> found["classes"].shape, found["boxes"].shape
    ((2, 5, 11), (2, 5, 4))
    """
    shape = check_image_shape(image_shape)
    channels = tuple(require_positive_int("every one of channels", size) for size in channels)
    module = _DETR(
        image_shape=shape,
        classes=require_positive_int("classes", classes),
        queries=require_positive_int("queries", queries),
        between=between,
        channels=channels,
        layers_of=layers_of(
            width=width, layers=layers, heads=heads, hidden=hidden, norm="pre",
            positions=None, size=None, activation=activation, dropout=dropout, dtype=dtype,
        ),
        name="detr",
    )  # fmt: skip
    return from_linen(module, np.zeros((1, *shape), np.float32), train_argument="train")


class _DETR(linen.Module):
    image_shape: tuple[int, ...]
    classes: int
    queries: int
    between: bool
    channels: tuple[int, ...]
    layers_of: Any  # of Encoder; Linen freezes a dict

    @linen.compact
    def __call__(self, x: Any, *, train: bool) -> dict[str, Any]:
        check_images(self.name, x, self.image_shape)
        of = self.layers_of
        width, activation, dtype = of["width"], of["activation"], of["dtype"]
        for i, channels in enumerate(self.channels):
            convolution = linen.Conv(
                channels, (3, 3), strides=2, dtype=dtype,
                conv_general_dilated=conv_general_dilated, name=f"conv_{i}",
            )  # fmt: skip
            x = activation(convolution(x))
        rows, columns = (
            jnp.broadcast_to(places, (*x.shape[:3], _PLACES)).astype(x.dtype)
            for places in _places(*x.shape[1:3])
        )
        x = jnp.concatenate([x, rows, columns], -1)
        pixels = x.reshape(len(x), -1, x.shape[-1])
        seen = Encoder(
            inputs=pixels.shape[-1], outputs=None, tokens=False, output="each",
            attention=softmax_attention, name="encoder", **of,
        )(pixels, train=train)[-1]  # fmt: skip
        queries = self.param("queries", linen.initializers.normal(1.0), (self.queries, width))
        norm = layer_norm(dtype, "norm")
        of_box = [dense(width, dtype=dtype, name=f"box_{i}") for i in range(2)]
        to_box = dense(4, dtype=dtype, name="box_2")
        to_classes = dense(self.classes + 1, dtype=dtype, name="classes")

        def predicted(h):
            box = h = norm(h)
            for layer in of_box:
                box = activation(layer(box))
            return {"classes": to_classes(h), "boxes": jax.nn.sigmoid(to_box(box))}

        h = jnp.broadcast_to(queries.astype(seen.dtype), (len(x), *queries.shape))
        found = []
        for i in range(of["layers"]):
            layer = DecoderLayer(
                width, of["heads"], of["hidden"], "pre", False, activation, of["dropout"], dtype,
                name=f"layer_{i}",
            )  # fmt: skip
            h, _ = layer(h, layer.memory(seen), None, None, train=train)
            found.append(h)
        *before, last = (predicted(h) for h in (found if self.between else [h]))
        return {**last, "between": before} if self.between else last


def _places(height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Sinusoids of each row, and of each column, as images of one column and of one row."""
    rows, columns = (sinusoidal_positions(jnp.arange(size), _PLACES) for size in (height, width))
    return rows[:, None], columns
