"""How well a key answers a query."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxml.core.checks import require


def dot_product_scores(q: jax.Array, k: jax.Array) -> jax.Array:
    """Scaled dot products, `q kᵀ / √d`.

    Args:
        q: queries `(..., n, d)`.
        k: keys `(..., m, d)`.

    Returns:
        `(..., n, m)`.

    Raises:
        ValueError: if queries and keys differ in width.

    Reference:
        Vaswani et al. (2017), arXiv:1706.03762, eq. 1.

    >>> dot_product_scores(jnp.ones((1, 4)), jnp.ones((3, 4)))
    Array([[2., 2., 2.]], dtype=float32)
    """
    widths = q.shape[-1], k.shape[-1]
    require(widths[0] == widths[1], "queries and keys of one width", f"{widths[0]} and {widths[1]}")
    return jnp.einsum("...nd,...md->...nm", q, k) * widths[0] ** -0.5


def additive_scores(
    q: jax.Array, k: jax.Array, w_q: jax.Array, w_k: jax.Array, w: jax.Array
) -> jax.Array:
    """Additive scores, `wᵀ tanh(W_q q + W_k k)`; queries and keys may differ in width.

    Args:
        q: queries `(..., n, d)`.
        k: keys `(..., m, e)`.
        w_q: `(d, hidden)`.
        w_k: `(e, hidden)`.
        w: `(hidden,)`.

    Returns:
        `(..., n, m)`; its computation holds `(..., n, m, hidden)` numbers.

    Reference:
        Bahdanau, Cho and Bengio (2015), arXiv:1409.0473, appendix A.1.2.

    >>> one = jnp.ones((1, 1))
    >>> additive_scores(jnp.zeros((2, 1)), jnp.zeros((3, 1)), one, one, jnp.ones(1)).shape
    (2, 3)
    """
    return projected_scores(q @ w_q, k @ w_k, w)


def projected_scores(q: jax.Array, k: jax.Array, w: jax.Array) -> jax.Array:
    """Additive scores of queries `(..., n, hidden)` and keys `(..., m, hidden)`: `wᵀ tanh(q + k)`.

    For keys that many queries meet one after the other, and that are projected once.
    """
    return jnp.tanh(q[..., :, None, :] + k[..., None, :, :]) @ w
