"""Self-attention that is a convolution."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require
from jaxml.nn.attention.softmax import softmax_attention


def convolution_by_attention(
    images: jax.Array, kernel: jax.Array, *, sharpness: float, ring: bool = True
) -> jax.Array:
    """A convolution as self-attention with one head for each of the kernel's places.

    Head h looks with scores `−α |δ − Δ_h|²` for the pixel at the distance `Δ_h` of its place from
    the kernel's middle, where δ is the distance of key and query, and maps what it finds by the
    kernel's matrix there.

    Args:
        images: `(batch, height, width, inputs)`.
        kernel: `(rows, columns, inputs, outputs)`, of odd numbers of rows and columns.
        sharpness: α; the larger it is, the less a head sees of the pixels beside its own.
        ring: whether zeros stand around the image as further keys, as padding does in a
            convolution; without them a head that looks beyond the border finds the border.

    Returns:
        `(batch, height, width, outputs)`: as α grows, the convolution of stride 1 with padding
        "SAME"; without `ring`, only where the kernel stays within the image.

    Raises:
        ValueError: if the kernel has no middle, or the channels differ.

    Reference:
        Cordonnier, Loukas and Jaggi (2020), arXiv:1911.03584, theorem 1 and eq. 9.

    >>> image = jnp.array([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 2, 2, 1)
    >>> moved = jnp.zeros((3, 3, 1, 1)).at[1, 0].set(1.0)  # each pixel from its left
    >>> convolution_by_attention(image, moved, sharpness=50.0)[0, :, :, 0].round(3)
    Array([[0., 1.],
           [0., 0.]], dtype=float32)
    """
    rows, columns, inputs, outputs = kernel.shape
    odd = rows % 2 == 1 and columns % 2 == 1
    require(odd, "a kernel of odd numbers of rows and columns", f"{rows} by {columns}")
    batch, height, width, channels = images.shape
    require(channels == inputs, f"images of {inputs} channels", channels)
    down, right = (rows // 2, columns // 2) if ring else (0, 0)
    padded = jnp.pad(images, ((0, 0), (down, down), (right, right), (0, 0)))

    def places(up, left, h, w):
        return np.moveaxis(np.mgrid[-up : h + up, -left : w + left], 0, -1).reshape(-1, 2)

    queries, keys = places(0, 0, height, width), places(down, right, height, width)
    heads = places(rows // 2, columns // 2, 1, 1)
    away = keys - queries[:, None] - heads[:, None, None]
    scores = -sharpness * (away**2).sum(-1)
    v = padded.reshape(batch, 1, -1, channels)
    none = jnp.zeros((1, 1, 1, 1), v.dtype)  # no content in the scores
    q, k = (jnp.broadcast_to(none, (1, 1, len(x), 1)) for x in (queries, keys))
    seen = softmax_attention(q, k, v, bias=jnp.asarray(scores, v.dtype))
    mixed = jnp.einsum("bhnc,hco->bno", seen, kernel.reshape(-1, inputs, outputs))
    return mixed.reshape(batch, height, width, outputs)
