"""Where a token stands: attention alone does not know."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxml.core.checks import require, require_positive_int


def sinusoidal_positions(positions: Any, width: int) -> jax.Array:
    """Sines and cosines of geometrically spaced wavelengths.

    Args:
        positions: `(...)`, such as `jnp.arange(n)`; any real numbers.
        width: even; columns 2i and 2i + 1 are the sine and the cosine of
            `position / 10000^(2i / width)`.

    Returns:
        `(..., width)`. The row of position p + k is that of p, each pair rotated by an angle that
        depends on k alone.

    Raises:
        ValueError: if the width is odd.

    Reference:
        Vaswani et al. (2017), arXiv:1706.03762, section 3.5.

    >>> sinusoidal_positions(jnp.arange(2), 2).round(3)
    Array([[0.   , 1.   ],
           [0.841, 0.54 ]], dtype=float32)
    """
    angles = _angles(positions, width)
    pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return pairs.reshape(*angles.shape[:-1], -1)


def rotate(x: jax.Array, positions: Any) -> jax.Array:
    """Rotary positions: each pair of columns turned by an angle that grows with the position.

    Of queries and keys so turned, scores depend on the difference of the positions alone.

    Args:
        x: queries or keys `(..., n, width)`, of an even width.
        positions: `(n,)`, or what broadcasts to `(..., n)`.

    Raises:
        ValueError: if the width is odd.

    Reference:
        Su et al. (2021), arXiv:2104.09864, eq. 34 (RoFormer); columns 2i and 2i + 1 are a pair.

    >>> rotate(jnp.array([[1.0, 0.0]]), jnp.array([jnp.pi / 2])).round(3)
    Array([[-0.,  1.]], dtype=float32)
    """
    angles = _angles(positions, x.shape[-1]).astype(x.dtype)
    sine, cosine = jnp.sin(angles), jnp.cos(angles)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = jnp.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1)
    return turned.reshape(x.shape)


def relative_bias(table: jax.Array, queries: int, keys: int) -> jax.Array:
    """A score for each distance of key and query, clipped at the ends of the table.

    Args:
        table: `(..., 2 r + 1)`, for distances −r to r, most often one row a head.
        queries: n, the positions 0 to n − 1.
        keys: m, likewise.

    Returns:
        `(..., n, m)`, to be added to the scores.

    Raises:
        ValueError: if the table has no middle.

    Reference:
        Shaw, Uszkoreit and Vaswani (2018), arXiv:1803.02155, section 3.2, for the clipping; Raffel
        et al. (2020), arXiv:1910.10683, section 2.1, for a scalar a head.

    >>> relative_bias(jnp.array([-1.0, 0.0, 1.0]), 3, 3)
    Array([[ 0.,  1.,  1.],
           [-1.,  0.,  1.],
           [-1., -1.,  0.]], dtype=float32)
    """
    size = table.shape[-1]
    require(size % 2 == 1, "a table of an odd number of distances", size)
    distance = jnp.arange(keys) - jnp.arange(queries)[:, None]
    return table[..., jnp.clip(distance, -(size // 2), size // 2) + size // 2]


def _angles(positions: Any, width: int) -> jax.Array:
    width = require_positive_int("width", width)
    require(width % 2 == 0, "an even width", width)
    positions = jnp.asarray(positions, float)
    return positions[..., None] / 10_000.0 ** (jnp.arange(0, width, 2) / width)
