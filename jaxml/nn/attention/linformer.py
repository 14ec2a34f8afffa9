"""Attention to fewer keys, each a mixture of all."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxml.core.checks import require
from jaxml.nn.attention.softmax import key_mask, softmax_attention


def linformer_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    mix_keys: jax.Array,
    mix_values: jax.Array,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention to r mixtures of the m keys and values.

    Args:
        q: queries `(..., n, d)`.
        k: keys `(..., m, d)`.
        v: values `(..., m, e)`.
        mix_keys: E `(r, m)`; the identity gives softmax attention.
        mix_values: F `(r, m)`.
        mask: boolean `(..., 1, m)`: keys and values that enter no mixture. The r mixtures are seen
            by all queries.

    Returns:
        `(..., n, e)`.

    Raises:
        ValueError: if the matrices are of another length than the keys, or the mask is another.

    Reference:
        Wang et al. (2020), arXiv:2006.04768, eq. 7.

    >>> one, mean = jnp.ones((2, 1)), jnp.full((1, 2), 0.5)
    >>> linformer_attention(one, one, jnp.array([[0.0], [4.0]]), mix_keys=mean, mix_values=mean)
    Array([[2.],
           [2.]], dtype=float32)
    """
    for name, mix in (("mix_keys", mix_keys), ("mix_values", mix_values)):
        fits = mix.ndim == 2 and mix.shape[1] == k.shape[-2]
        require(fits, f"{name} of shape (r, {k.shape[-2]})", mix.shape)
    seen = key_mask(mask, k, "Linformer attention")
    k, v = jnp.where(seen, k, 0), jnp.where(seen, v, 0)
    return softmax_attention(q, mix_keys @ k, mix_values @ v)
