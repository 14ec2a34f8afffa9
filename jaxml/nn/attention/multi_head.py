"""Attention with several heads, as a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxml.nn.attention.positions import rotate
from jaxml.nn.layers import dense


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

    def setup(self) -> None:
        """The four projections."""
        for name in ("query", "key", "value", "output"):
            setattr(self, name, dense(self.width, dtype=self.dtype))

    def __call__(self, x: Any, seen: Any = None, *, mask: jax.Array | None = None) -> jax.Array:
        """From `x` `(batch, n, ...)`, looking at `seen` `(batch, m, ...)`, or at itself."""
        return self.look(x, *self.keys_values(x if seen is None else seen), mask=mask)

    def keys_values(self, seen: Any, positions: Any = None) -> tuple[jax.Array, jax.Array]:
        """What is looked at: each `(batch, heads, m, width / heads)`."""
        return self._turned(self._heads(self.key(seen)), positions), self._heads(self.value(seen))

    def look(
        self,
        x: Any,
        k: jax.Array,
        v: jax.Array,
        *,
        mask: jax.Array | None = None,
        positions: Any = None,
    ) -> jax.Array:
        """From `x` at such keys and values; `positions` of `x`, and of the keys, are from 0."""
        q = self._turned(self._heads(self.query(x)), positions)
        values = jnp.swapaxes(self.attend(q, k, v, mask), -2, -3)
        return self.output(values.reshape(*values.shape[:-2], self.width))

    def attend(self, q: Any, k: Any, v: Any, mask: Any) -> jax.Array:
        """The attention itself, where `attention_maps` looks on."""
        if self.is_initializing():  # from one position, which many kinds do not take
            return jnp.zeros((*q.shape[:-1], v.shape[-1]), v.dtype)
        return self.attention(q, k, v, mask=mask)

    def _heads(self, y: jax.Array) -> jax.Array:
        return jnp.swapaxes(y.reshape(*y.shape[:-1], self.heads, -1), -2, -3)

    def _turned(self, y: jax.Array, positions: Any) -> jax.Array:
        if not self.rotary:
            return y
        return rotate(y, jnp.arange(y.shape[-2]) if positions is None else positions)
