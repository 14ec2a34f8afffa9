"""Softmax attention by positive random features."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxml.core.checks import require, require_positive_int
from jaxml.nn.attention.linear import kernel_attention
from jaxml.nn.attention.softmax import key_mask


def orthogonal_features(key: jax.Array, count: int, width: int) -> jax.Array:
    """Random directions, orthogonal in groups of `width`, as long as Gaussian ones.

    Args:
        key: of the draw.
        count: m, of features.
        width: d, of queries and keys.

    Returns:
        `(m, d)`; each row by itself is a standard Gaussian vector.

    Reference:
        Choromanski et al. (2021), arXiv:2009.14794, section 2.4.

    >>> w = orthogonal_features(jax.random.key(0), 4, 4)
    >>> bool((abs(w @ w.T - jnp.diag(jnp.diag(w @ w.T))) < 1e-5).all())
    True
    """
    count, width = require_positive_int("count", count), require_positive_int("width", width)
    groups = -(-count // width)
    directions, lengths = jax.random.split(key)
    keys = jax.random.split(directions, groups)
    # in turn, as in `fit_many`: batches of QR decompositions hang
    turned = jax.lax.map(lambda key: jax.random.orthogonal(key, width), keys)
    turned = turned.reshape(-1, width)[:count]
    norms = jnp.linalg.norm(jax.random.normal(lengths, (count, width)), axis=1)
    return turned * norms[:, None]


def softmax_features(x: jax.Array, directions: jax.Array) -> jax.Array:
    """φ with E[φ(x)·φ(y)] = exp(x·y): exp(ωx − |x|²/2)/√m.

    Args:
        x: `(..., d)`.
        directions: ω `(m, d)`, see `orthogonal_features`.

    Returns:
        `(..., m)`, positive.

    Reference:
        Choromanski et al. (2021), arXiv:2009.14794, lemma 1.

    >>> softmax_features(jnp.zeros((1, 2)), jnp.ones((4, 2)))
    Array([[0.5, 0.5, 0.5, 0.5]], dtype=float32)
    """
    return jnp.exp(_exponents(x, directions)) * len(directions) ** -0.5


def performer_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    directions: jax.Array,
    mask: jax.Array | None = None,
    causal: bool = False,
) -> jax.Array:
    """An estimate of softmax attention, linear in the number of positions.

    Args:
        q: queries `(..., n, d)`.
        k: keys `(..., m, d)`.
        v: values `(..., m, e)`.
        directions: `(f, d)`, see `orthogonal_features`; the error falls as f^-½.
        mask: boolean `(..., 1, m)`, the same for every query.
        causal: as in `linear_attention`.

    Returns:
        `(..., n, e)`.

    Raises:
        ValueError: if the mask is another, or the directions have another width.

    Reference:
        Choromanski et al. (2021), arXiv:2009.14794, eq. 5 (FAVOR+).

    >>> w = orthogonal_features(jax.random.key(0), 8, 2)
    >>> performer_attention(jnp.ones((1, 2)), jnp.ones((3, 2)), jnp.ones((3, 1)), directions=w)
    Array([[1.]], dtype=float32)
    """
    width = q.shape[-1]
    fits = directions.ndim == 2 and directions.shape[1] == width
    require(fits, f"directions of shape (f, {width})", directions.shape)
    seen = key_mask(mask, k, "Performer attention")
    q, k = (_exponents(x * width**-0.25, directions) for x in (q, k))
    # a factor of all features of a query, or of all keys, falls out: no exponential overflows
    q = jnp.exp(q - jax.lax.stop_gradient(q.max(-1, keepdims=True)))
    k = jnp.exp(k - jax.lax.stop_gradient(k.max((-2, -1), keepdims=True)))
    return kernel_attention(q, k, v, seen, causal)


def _exponents(x: jax.Array, directions: jax.Array) -> jax.Array:
    return x @ directions.T.astype(x.dtype) - (x**2).sum(-1, keepdims=True) / 2
