"""Who may look where: boolean masks, True where a query may see a key.

They are combined by `&` and `|`, and broadcast against scores `(batch, heads, n, m)`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.nn.layers import check_range


def padding_mask(lengths: Any, size: int) -> jax.Array:
    """Hides the keys beyond each sequence's length.

    Args:
        lengths: `(...)` whole numbers from 1 to `size`.
        size: of the padded axis.

    Returns:
        `(..., 1, 1, size)`: the same for all heads and queries.

    Raises:
        ValueError: if a length is not whole, below 1 or above `size` (not while traced).

    >>> padding_mask(jnp.array([1, 3]), 3)[:, 0, 0]
    Array([[ True, False, False],
           [ True,  True,  True]], dtype=bool)
    """
    lengths = _check_lengths(lengths, require_positive_int("size", size))
    return (jnp.arange(size) < lengths[..., None])[..., None, None, :]


def with_lengths(x: Any) -> tuple[jax.Array, jax.Array | None]:
    """What a network on sequences is given, `x` or `(x, lengths)`, as a pair; None for no lengths.

    Raises:
        ValueError: if there is not one length for each sequence; for lengths, as `padding_mask`.
    """
    x, lengths = x if isinstance(x, tuple) else (x, None)
    x = jnp.asarray(x)
    if lengths is None:
        return x, None
    require(x.ndim >= 2, "sequences of shape (batch, n, ...)", x.shape)
    lengths = _check_lengths(lengths, x.shape[1])
    require(lengths.shape == x.shape[:1], f"lengths of shape {x.shape[:1]}", lengths.shape)
    return x, lengths


def _check_lengths(lengths: Any, size: int) -> jax.Array:
    # before they are JAX's: within a function that is traced they would be traced too
    given = lengths if isinstance(lengths, jax.Array) else np.asarray(lengths)
    require(jnp.issubdtype(given.dtype, jnp.integer), "whole lengths", f"dtype {given.dtype}")
    check_range("lengths", given, 1, size)
    return jnp.asarray(given)


def causal_mask(size: int) -> jax.Array:
    """Each position sees itself and what is before it: `(size, size)`.

    >>> causal_mask(2)
    Array([[ True, False],
           [ True,  True]], dtype=bool)
    """
    return jnp.tri(require_positive_int("size", size), dtype=bool)


def window_mask(size: int, window: int) -> jax.Array:
    """Each position sees the `window` positions around it: `(size, size)`.

    Args:
        size: positions.
        window: an odd number of them, with the position itself in the middle; from 2 size − 1 on
            it is everything.

    Raises:
        ValueError: if the window is even.

    >>> window_mask(4, 3).astype(int)
    Array([[1, 1, 0, 0],
           [1, 1, 1, 0],
           [0, 1, 1, 1],
           [0, 0, 1, 1]], dtype=int32)
    """
    reach, place = check_window(size, window), jnp.arange(size)
    return abs(place[:, None] - place) <= reach


def check_window(size: int, window: int) -> int:
    """How many of so many positions a window reaches to each side.

    Raises:
        ValueError: as `window_mask`.
    """
    window = require_positive_int("window", window)
    require(window % 2 == 1, "an odd window", window)
    return min(window // 2, size - 1)


def stride_mask(size: int, stride: int) -> jax.Array:
    """Each position sees those at a multiple of `stride` from it: `(size, size)`.

    Reference:
        Child et al. (2019), arXiv:1904.10509, section 4.3.

    >>> stride_mask(3, 2).astype(int)
    Array([[1, 0, 1],
           [0, 1, 0],
           [1, 0, 1]], dtype=int32)
    """
    place = jnp.arange(require_positive_int("size", size))
    return (place[:, None] - place) % require_positive_int("stride", stride) == 0


def global_mask(size: int, count: int) -> jax.Array:
    """The first `count` positions see all, and all see them: `(size, size)`.

    Raises:
        ValueError: if there are not so many positions.

    Reference:
        Beltagy, Peters and Cohan (2020), arXiv:2004.05150, section 3.1 (Longformer).

    >>> global_mask(3, 1).astype(int)
    Array([[1, 1, 1],
           [1, 0, 0],
           [1, 0, 0]], dtype=int32)
    """
    count = require_positive_int("count", count)
    require(count <= size, f"at most {size} positions that see all", count)
    first = jnp.arange(size) < count
    return first[:, None] | first


def random_blocks(key: jax.Array, size: int, block: int, count: int) -> jax.Array:
    """Which blocks of keys each block of queries sees besides others: `(size // block, count)`.

    Args:
        key: of the draw.
        size: positions, a multiple of `block`.
        block: positions of a block.
        count: different blocks for each block of queries, without its own.

    Raises:
        ValueError: if `block` does not divide `size`, or there are not so many other blocks.

    Reference:
        Zaheer et al. (2020), arXiv:2007.14062, section 2 (BigBird).

    >>> random_blocks(jax.random.key(0), 12, 4, 2)
    Array([[1, 2],
           [0, 2],
           [0, 1]], dtype=int32)
    """
    blocks = check_block(size, block)
    count = require_positive_int("count", count)
    require(count < blocks, f"fewer than the {blocks} blocks", count)
    # one's own comes last
    drawn = jax.random.uniform(key, (blocks, blocks)) + 2.0 * jnp.eye(blocks)
    return jnp.sort(jnp.argsort(drawn, axis=1)[:, :count], axis=1)


def check_block(size: int, block: int) -> int:
    """How many blocks there are.

    Raises:
        ValueError: if the block does not divide the size.
    """
    block = require_positive_int("block", block)
    require(size % block == 0, f"a block that divides the {size} positions", block)
    return size // block


def block_mask(blocks: Any, size: int, block: int) -> jax.Array:
    """The positions of chosen blocks as a mask `(size, size)`; see `random_blocks`.

    >>> block_mask(jnp.array([[1], [0]]), 4, 2).astype(int)
    Array([[0, 0, 1, 1],
           [0, 0, 1, 1],
           [1, 1, 0, 0],
           [1, 1, 0, 0]], dtype=int32)
    """
    count = check_block(size, block)
    seen = (jnp.asarray(blocks)[:, :, None] == jnp.arange(count)).any(1)
    return jnp.repeat(jnp.repeat(seen, block, 0), block, 1)
