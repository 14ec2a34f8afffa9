"""Attention that only ever moves on."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxml.core.checks import require


def monotonic_attention(chosen: jax.Array, before: jax.Array) -> jax.Array:
    """Where attention stands that moves on from key to key, until one is chosen.

    Beginning at the key of the query before, each key in turn is taken with its probability, or
    passed. So the expected attention to key j is αⱼ = pⱼ qⱼ, with qⱼ = (1 − pⱼ₋₁) qⱼ₋₁ + αⱼ of
    the query before. Probabilities of 0 and 1 alone make it a choice.

    Args:
        chosen: of each key the probability of being taken once it is looked at `(..., m)`.
        before: the attention of the query before `(..., m)`; at the first query 1 at the first
            key.

    Returns:
        `(..., m)`; what is missing to a sum of 1 passed all keys.

    Raises:
        ValueError: if the two are of different shapes.

    Reference:
        Raffel et al. (2017), arXiv:1704.00784, equations 8 and 9.

    >>> monotonic_attention(jnp.array([0.5, 0.5, 1.0]), jnp.array([1.0, 0.0, 0.0]))
    Array([0.5 , 0.25, 0.25], dtype=float32)
    """
    same = chosen.shape == before.shape
    require(same, f"attention before of shape {chosen.shape}", before.shape)
    passed = jnp.roll(1 - chosen, 1, axis=-1)  # before the first key nothing was reached

    def joined(left, right):
        """Two steps of q = passed · q + before as one."""
        return left[0] * right[0], left[1] * right[0] + right[1]

    _, reached = jax.lax.associative_scan(joined, (passed, before), axis=-1)
    return chosen * reached
