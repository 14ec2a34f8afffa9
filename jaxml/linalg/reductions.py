"""Long inner products in few bits: sums in blocks, and products at a scale near one.

XLA's CPU backend sums a dot product term by term, a few terms side by side: over n terms the
error may reach n·u·|a|ᵀ|b| (Higham 2002, section 3.1, u the unit roundoff), and does: 4e-4 of ‖a‖²
in float32 at a million terms. Summed in blocks of w terms, and then over the blocks, it is at most
(w + n/w)·u·|a|ᵀ|b| (section 4.2), and a reduction is a tree of small blocks. Many vectors are
kept as `(blocks, count, width)`: multiplied block by block, they take no longer than in rows.

float32 ends at 1e-38, and XLA's CPU backend flushes what lies below: a matrix of 1e-20 has a
Frobenius norm whose square is 0. Powers of two change a scale exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_WIDTH = 4096
# rows begin where a processor likes to load them
_ALIGNED = 16
_HIGHEST = jax.lax.Precision.HIGHEST


def inner(a: Array, b: Array) -> Array:
    """The sum of the products of two arrays' entries, in blocks."""
    products = (a * b).reshape(-1)
    width = min(_WIDTH, max(products.size, 1))
    return jnp.pad(products, (0, -products.size % width)).reshape(-1, width).sum(1).sum()


def norm(v: Array) -> Array:
    """The root of the sum of an array's squares, which may themselves under- or overflow."""
    scale = power_of_two(v)
    scaled = v / scale
    return scale * jnp.sqrt(inner(scaled, scaled))


def power_of_two(v: Array) -> Array:
    """The largest power of two not above the largest |entry|; 1 where that is 0 or not finite."""
    info, largest = jnp.finfo(v.dtype), abs(v).max(initial=0)
    bits = jax.lax.bitcast_convert_type(largest, jnp.dtype(f"int{info.bits}"))
    power = jax.lax.bitcast_convert_type(bits >> info.nmant << info.nmant, v.dtype)
    known = (power > 0) & jnp.isfinite(largest)
    return jnp.where(known, jnp.minimum(power, 1 / info.tiny), 1)  # whose inverse is no denormal


def to_blocks(rows: Float[Array, "*count size"]) -> Float[Array, "blocks *count width"]:
    """Vectors, or one, in blocks; the last block ends in zeros."""
    size = rows.shape[-1]
    width = -(-size // max(1, -(-size // _WIDTH)))  # blocks of one width, with few zeros
    if width < size:
        width = -(-width // _ALIGNED) * _ALIGNED
    padded = jnp.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -size % max(width, 1))])
    return jnp.moveaxis(padded.reshape(*rows.shape[:-1], -1, width), -2, 0)


def from_blocks(
    blocks: Float[Array, "blocks *count width"], size: int
) -> Float[Array, "*count size"]:
    """The vectors that `to_blocks` was given."""
    rows = jnp.moveaxis(blocks, 0, -2)
    return rows.reshape(*rows.shape[:-2], -1)[..., :size]


def project(
    blocks: Float[Array, "blocks rows width"], vector: Float[Array, "blocks *columns width"]
) -> Array:
    """The inner products of vectors with one vector, or several, all in blocks."""
    if vector.ndim == 2:
        return jnp.einsum("krw,kw->kr", blocks, vector, precision=_HIGHEST).sum(0)
    return jnp.einsum("krw,kcw->krc", blocks, vector, precision=_HIGHEST).sum(0)


def combine(
    weights: Float[Array, "*combinations rows"], blocks: Float[Array, "blocks rows width"]
) -> Float[Array, "blocks *combinations width"]:
    """The sum of the vectors with these weights, or several such sums, in blocks."""
    each = jnp.broadcast_to(weights, (len(blocks), *weights.shape))
    return jnp.einsum("k...r,krw->k...w", each, blocks, precision=_HIGHEST)


class Scaling(NamedTuple):
    """Powers of two that bring a matrix near one.

    Attributes:
        before: by which a vector is multiplied.
        after: by which its image is then multiplied; 0 as long as every image was 0.
    """

    before: Array
    after: Array

    @property
    def unit(self) -> Array:
        """What a number of the scaled matrix is multiplied by to be one of the matrix."""
        return 1 / jnp.where(self.after == 0, 1, self.after) / self.before


def no_scaling(dtype: jnp.dtype) -> Scaling:
    """What to begin with."""
    return Scaling(jnp.ones((), dtype), jnp.zeros((), dtype))


def scaled_product(
    product: Callable, vector: Float[Array, " size"], scaling: Scaling
) -> tuple[Float[Array, " size"], Scaling]:
    """The scaled matrix times a vector, and its scaling, found at the first image that is not 0.

    An image of which a part may have been lost to under- or overflow is taken again, of a larger
    or smaller vector. What remains 0 is below the dtype's least number times its square.
    """
    info = jnp.finfo(vector.dtype)
    leap = jnp.asarray(2.0 ** (-info.minexp // 2), vector.dtype)
    least = info.tiny / info.eps**2  # what is flushed is below rounding's square
    known = scaling.after > 0

    def take(s):
        before, _, _ = s
        image = product(before * vector)
        largest = abs(image).max()
        low = ~known & (largest < least) & (before >= 1) & (before < leap**2)
        high = ~known & ~(largest < 1 / least) & (before == 1)  # or NaN
        return before * jnp.where(low, leap, jnp.where(high, 1 / leap, 1)), image, low | high

    # a loop, though of one turn as a rule: a product is compiled once
    start = scaling.before, jnp.zeros_like(vector), jnp.bool_(True)
    before, image, _ = jax.lax.while_loop(lambda s: s[2], take, start)
    found = jnp.where((image != 0).any(), 1 / power_of_two(image), 0)
    after = jnp.where(known, scaling.after, found)
    before = jnp.where(after > 0, before, scaling.before)
    return jnp.where(after > 0, after, 1) * image, Scaling(before, after)
