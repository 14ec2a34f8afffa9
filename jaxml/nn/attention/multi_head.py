"""Attention with several heads, as a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxml.nn.attention.positions import rotate


class MultiHead(linen.Module):
    """Projections of queries, keys and values, attention in each head, and one projection back.

    Attributes:
        width: of the output; a multiple of `heads`.
        heads: each of `width / heads` columns.
        attention: `(q, k, v, *, mask) -> values`, with the heads as the second axis.
        rotary: whether queries and keys are rotated by their positions.
        dtype: of the computation.

    Reference:
        Vaswani et al. (2017), arXiv:1706.03762, section 3.2.2.
    """

    width: int
    heads: int
    attention: Callable[..., jax.Array]
    rotary: bool = False
    dtype: Any = None

    @linen.compact
    def __call__(self, x: Any, seen: Any = None, *, mask: jax.Array | None = None) -> jax.Array:
        """From `x` `(batch, n, ...)`, looking at `seen` `(batch, m, ...)`, or at itself."""
        seen = x if seen is None else seen

        def project(name, x):  # (batch, heads, n, width / heads)
            y = linen.Dense(self.width, dtype=self.dtype, name=name)(x)
            return jnp.swapaxes(y.reshape(*y.shape[:-1], self.heads, -1), -2, -3)

        q, k, v = project("query", x), project("key", seen), project("value", seen)
        if self.rotary:
            q, k = (rotate(each, jnp.arange(each.shape[-2])) for each in (q, k))
        values = jnp.swapaxes(self.attend(q, k, v, mask), -2, -3)
        values = values.reshape(*values.shape[:-2], self.width)
        return linen.Dense(self.width, dtype=self.dtype, name="output")(values)

    def attend(self, q: Any, k: Any, v: Any, mask: Any) -> jax.Array:
        """The attention itself, where `attention_maps` looks on."""
        return self.attention(q, k, v, mask=mask)
