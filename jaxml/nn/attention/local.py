"""Attention to what is near, in time and memory linear in the number of positions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxml.nn.attention.masks import check_window
from jaxml.nn.attention.softmax import key_mask, softmax_attention


def local_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    window: int,
    mask: jax.Array | None = None,
    causal: bool = False,
) -> jax.Array:
    """Softmax attention of each position to the `window` positions around it.

    Queries are taken in blocks as long as the window reaches to one side, each with the keys of
    its own block and of the two beside it: `(..., n, 3 reach)` scores in all.

    Args:
        q: queries `(..., n, d)`.
        k: keys `(..., n, d)`.
        v: values `(..., n, e)`.
        window: an odd number of positions, with the query's own in the middle; from
            2n − 1 on it is all.
        mask: boolean `(..., 1, n)`, the same for every query.
        causal: whether the half of the window behind the position is left out.

    Returns:
        `(..., n, e)`, that of `softmax_attention` under `window_mask(n, window)`.

    Raises:
        ValueError: if the window is even or the mask is another.

    Reference:
        Beltagy, Peters and Cohan (2020), arXiv:2004.05150, section 3.1 and appendix A (the
        sliding window, in chunks).

    >>> x = jnp.zeros((4, 1))
    >>> local_attention(x, x, jnp.arange(4.0)[:, None], window=3)[:, 0]
    Array([0.5, 1. , 2. , 2.5], dtype=float32)
    """
    n = q.shape[-2]
    reach = check_window(n, window)
    block = max(reach, 1)
    blocks = -(-n // block)
    seen = key_mask(mask, k, "local attention")

    def cut(x):  # (..., blocks, block, d)
        pad = [(0, 0)] * (x.ndim - 2) + [(0, blocks * block - n), (0, 0)]
        return jnp.pad(x, pad).reshape(*x.shape[:-2], blocks, block, x.shape[-1])

    def around(x):  # each block with the one before it and the one behind it
        x = cut(x)
        pad = [(0, 0)] * (x.ndim - 3) + [(1, 1), (0, 0), (0, 0)]
        x = jnp.pad(x, pad)
        parts = [x[..., i : i + blocks, :, :] for i in range(3)]
        return jnp.concatenate(parts, axis=-2)

    distance = jnp.arange(3 * block) - block - jnp.arange(block)[:, None]
    near = (abs(distance) <= reach) & (distance <= 0 if causal else True)
    values = softmax_attention(
        cut(q), around(k), around(v), mask=near & jnp.swapaxes(around(seen), -1, -2)
    )
    return values.reshape(*values.shape[:-3], blocks * block, -1)[..., :n, :]
