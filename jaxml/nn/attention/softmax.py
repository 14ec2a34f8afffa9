"""Attention by the softmax of all scores."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxml.core.checks import require
from jaxml.nn.attention.scores import dot_product_scores


def attention_weights(scores: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """How much of each value a query takes: the softmax of its scores over the keys it may see.

    Args:
        scores: `(..., n, m)`.
        mask: boolean, of a shape that broadcasts to that of the scores; True where a query may
            look. A query that may look nowhere has weights of zero.

    Returns:
        `(..., n, m)`, of at least 0; each row sums to 1, or to 0 where nothing is seen.

    Raises:
        ValueError: if the mask is not boolean, or does not broadcast to the scores.

    >>> attention_weights(jnp.zeros((1, 4)), jnp.array([[True, True, False, False]]))
    Array([[0.5, 0.5, 0. , 0. ]], dtype=float32)
    """
    if mask is None:
        return jax.nn.softmax(scores, axis=-1)
    check_mask(mask, scores.shape)
    # the largest score that counts is taken off, so that no row is 0/0 and no gradient NaN
    top = jnp.max(scores, axis=-1, where=mask, initial=-jnp.inf, keepdims=True)
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
    raised = jnp.exp(jnp.where(mask, scores - top, -jnp.inf))
    total = raised.sum(-1, keepdims=True)
    return raised / jnp.where(total > 0, total, 1)


def softmax_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
) -> jax.Array:
    """Attention by scaled dot products: each query's weighted mean of the values.

    Args:
        q: queries `(..., n, d)`; several heads are one of the leading axes.
        k: keys `(..., m, d)`.
        v: values `(..., m, e)`.
        mask: as in `attention_weights`.
        bias: added to the scores, of a shape that broadcasts to theirs.

    Returns:
        `(..., n, e)`; zero for a query that may look nowhere.

    Raises:
        ValueError: as `attention_weights` and `dot_product_scores`.

    Reference:
        Vaswani et al. (2017), arXiv:1706.03762, eq. 1.

    >>> one = jnp.ones((1, 2))
    >>> softmax_attention(one, jnp.ones((2, 2)), jnp.array([[0.0], [4.0]]))
    Array([[2.]], dtype=float32)
    """
    scores = dot_product_scores(q, k)
    return attention_weights(scores if bias is None else scores + bias, mask) @ v


def check_mask(mask: jax.Array, shape: tuple[int, ...]) -> None:
    """Raises `ValueError` for a mask that does not belong to scores of this shape."""
    require(mask.dtype == bool, "a boolean mask", f"one of {mask.dtype}")
    fits = mask.ndim <= len(shape) and all(
        own in (1, size) for own, size in zip(mask.shape[::-1], shape[::-1], strict=False)
    )
    require(fits, f"a mask that broadcasts to {shape}", f"one of shape {mask.shape}")


def key_mask(mask: jax.Array | None, k: jax.Array, name: str) -> jax.Array:
    """A mask that is the same for every query, as `(..., m, 1)` beside the keys `(..., m, d)`.

    Without one all keys are seen.

    Raises:
        ValueError: if it is not the same, since the attention of that name never forms the scores
            that it would be put on.
    """
    if mask is None:
        return jnp.ones((k.shape[-2], 1), bool)
    require(mask.dtype == bool, "a boolean mask", f"one of {mask.dtype}")
    one = mask.ndim < 2 or mask.shape[-2] == 1
    fits = one and mask.shape[-1] == k.shape[-2]
    expected = f"for {name} a mask of shape (..., 1, {k.shape[-2]}), the same for every query"
    require(fits, expected, f"one of shape {mask.shape}")
    return jnp.swapaxes(jnp.atleast_2d(mask), -1, -2)


def synthesizer_attention(
    v: jax.Array, *, scores: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """Attention whose scores are parameters, or made of each token by itself: no dot products.

    Args:
        v: values `(..., m, e)`.
        scores: `(..., n, m)`: parameters ("random"), or each query's token through two layers
            ("dense").
        mask: as in `attention_weights`.

    Returns:
        `(..., n, e)`.

    Reference:
        Tay et al. (2021), arXiv:2005.00743, section 3.

    >>> synthesizer_attention(jnp.array([[0.0], [4.0]]), scores=jnp.zeros((1, 2)))
    Array([[2.]], dtype=float32)
    """
    return attention_weights(scores, mask) @ v
