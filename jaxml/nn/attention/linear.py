"""Attention by feature maps, in time and memory linear in the number of positions."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxml.nn.attention.softmax import key_mask


def elu_features(x: jax.Array) -> jax.Array:
    """elu(x) + 1, which is positive.

    Reference:
        Katharopoulos et al. (2020), arXiv:2006.16236, eq. 7.

    >>> elu_features(jnp.array([0.0, 1.0]))
    Array([1., 2.], dtype=float32)
    """
    return jax.nn.elu(x) + 1


def linear_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    mask: jax.Array | None = None,
    causal: bool = False,
    features: Callable[[jax.Array], jax.Array] = elu_features,
) -> jax.Array:
    """Attention with weights φ(q)·φ(k): φ(Q)(φ(K)ᵀV), the scores are never formed.

    Args:
        q: queries `(..., n, d)`.
        k: keys `(..., m, d)`.
        v: values `(..., m, e)`.
        mask: boolean `(..., 1, m)`, the same for every query.
        causal: whether a query sees its own position and what is before it alone; by prefix sums,
            which hold n·f·e numbers for f features.
        features: φ, from `(..., d)` to `(..., f)`, of at least 0.

    Returns:
        `(..., n, e)`; zero for a query that sees nothing.

    Raises:
        ValueError: if the mask is another.

    Reference:
        Katharopoulos et al. (2020), arXiv:2006.16236, eq. 5 and, causal, 9.

    >>> one = jnp.ones((2, 1))
    >>> linear_attention(one, one, jnp.array([[0.0], [4.0]]), causal=True)
    Array([[0.],
           [2.]], dtype=float32)
    """
    return kernel_attention(
        features(q), features(k), v, key_mask(mask, k, "linear attention"), causal
    )


def kernel_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, seen: jax.Array, causal: bool
) -> jax.Array:
    """The same from the features of queries and keys; `seen` is as `key_mask` gives it."""
    k = jnp.where(seen, k, 0)
    if causal:
        products = jnp.cumsum(k[..., :, None] * v[..., None, :], axis=-3)
        values = jnp.einsum("...nf,...nfe->...ne", q, products)
        total = jnp.einsum("...nf,...nf->...n", q, jnp.cumsum(k, axis=-2))[..., None]
    else:
        values = q @ jnp.einsum("...mf,...me->...fe", k, v)
        total = q @ k.sum(-2)[..., None]
    return values / jnp.where(total > 0, total, 1)
