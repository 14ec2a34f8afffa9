"""Attention between chosen blocks of positions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxml.core.checks import require
from jaxml.nn.attention.masks import check_block, check_window, random_blocks
from jaxml.nn.attention.softmax import key_mask, softmax_attention
from jaxml.nn.layers import check_range


def block_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    blocks: Any,
    first: int = 0,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention of each block of queries to chosen blocks of keys.

    Args:
        q: queries `(..., n, d)`.
        k: keys `(..., n, d)`.
        v: values `(..., n, e)`.
        blocks: whole numbers `(count, chosen)`, for each of `count` equal blocks of queries the
            blocks of keys that it sees, −1 for none; one that comes twice counts once. `count`
            divides n.
        first: so many positions see all, and all see them.
        mask: boolean `(..., 1, n)`, the same for every query.

    Returns:
        `(..., n, e)`, from `(..., n, chosen · n / count + first)` scores.

    Raises:
        ValueError: if the blocks do not divide the positions or have no such numbers, or the mask
            is another.

    Reference:
        Zaheer et al. (2020), arXiv:2007.14062, appendix D (blocks); Beltagy, Peters and Cohan
        (2020), arXiv:2004.05150, section 3.1 (positions that see all; here with the same
        projections as the others).

    >>> x = jnp.zeros((4, 1))
    >>> block_attention(x, x, jnp.arange(4.0)[:, None], blocks=jnp.array([[1], [0]]))[:, 0]
    Array([2.5, 2.5, 0.5, 0.5], dtype=float32)
    """
    n, (count, chosen) = q.shape[-2], jnp.shape(blocks)
    require(n % count == 0, f"blocks that divide the {n} positions", f"{count} of them")
    require(0 <= first <= n, f"0 to {n} positions that see all", first)
    blocks, size = jnp.asarray(blocks), n // count
    check_range("blocks numbered", blocks, -1, count - 1)
    seen = key_mask(mask, k, "attention between blocks")

    before = jnp.tri(chosen, k=-1, dtype=bool)
    twice = ((blocks[:, :, None] == blocks[:, None, :]) & before).any(-1)
    used = (blocks >= 0) & ~twice
    places = (jnp.clip(blocks, 0)[..., None] * size + jnp.arange(size)).reshape(count, -1)
    # those that all see are added once for all
    wanted = jnp.repeat(used, size, axis=1) & (places >= first)

    def gathered(x):  # (..., count, first + chosen · size, d)
        others = jnp.take(x, places, axis=-2)
        shared = x[..., None, :first, :]
        shape = (*others.shape[:-2], first, x.shape[-1])
        return jnp.concatenate([jnp.broadcast_to(shared, shape), others], axis=-2)

    keys = jnp.concatenate([jnp.ones((count, first), bool), wanted], axis=1)
    allowed = gathered(seen)[..., 0] & keys
    queries = q.reshape(*q.shape[:-2], count, size, q.shape[-1])
    values = softmax_attention(queries, gathered(k), gathered(v), mask=allowed[..., None, :])
    values = values.reshape(*q.shape[:-1], v.shape[-1])
    if not first:
        return values
    everything = softmax_attention(q[..., :first, :], k, v, mask=mask)
    return jnp.concatenate([everything, values[..., first:, :]], axis=-2)


def bigbird_blocks(
    key: jax.Array, size: int, block: int, *, window: int = 3, random: int = 2
) -> jax.Array:
    """What each block sees in BigBird besides what all see: blocks near it, and random ones.

    Args:
        key: of the random ones.
        size: positions, a multiple of `block`.
        block: positions of a block.
        window: an odd number of blocks, with its own in the middle.
        random: others.

    Returns:
        `(size / block, window + random)`, for `block_attention`.

    Raises:
        ValueError: as `random_blocks`; if the window is even.

    Reference:
        Zaheer et al. (2020), arXiv:2007.14062, section 2.

    >>> bigbird_blocks(jax.random.key(0), 8, 2, random=1)[0]
    Array([-1,  0,  1,  2], dtype=int32)
    """
    count = check_block(size, block)
    reach = check_window(count, window)
    near = jnp.arange(count)[:, None] + jnp.arange(-reach, reach + 1)
    near = jnp.where(near < count, jnp.maximum(near, -1), -1)
    return jnp.concatenate([near, random_blocks(key, size, block, random)], axis=1)
