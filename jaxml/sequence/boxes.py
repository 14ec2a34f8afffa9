"""Boxes in images: how much two of them have in common."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxml.core.checks import require


def intersection_over_union(one: Any, other: Any) -> jax.Array:
    """The area that two boxes share, over the area that they cover: 1 for equal boxes.

    Args:
        one: boxes `(..., 4)`: centre from the left and from the top, width and height.
        other: likewise, of a shape that broadcasts.

    Returns:
        `(...)`, from 0 to 1; 0 for two boxes without area.

    Raises:
        ValueError: if boxes have not four numbers.

    >>> intersection_over_union([0.5, 0.5, 1.0, 1.0], [0.5, 0.25, 1.0, 0.5])
    Array(0.5, dtype=float32)
    """
    shared, covered, _ = _areas(one, other)
    return _share(shared, covered)


def generalized_iou(one: Any, other: Any) -> jax.Array:
    """Intersection over union, less the share of the smallest box around both that neither covers.

    Other than the former it has a gradient where the two have nothing in common.

    Args:
        one: as in `intersection_over_union`.
        other: likewise.

    Returns:
        `(...)`, above −1 and at most 1, which equal boxes have.

    Raises:
        ValueError: likewise.

    Reference:
        Rezatofighi et al. (2019), arXiv:1902.09630, algorithm 1.

    >>> generalized_iou([0.25, 0.5, 0.5, 1.0], [1.25, 0.5, 0.5, 1.0])
    Array(-0.33333334, dtype=float32)
    """
    shared, covered, around = _areas(one, other)
    return _share(shared, covered) - _share(around - covered, around)


def _areas(one: Any, other: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of what is in both, of what is in either, and of the smallest box around both."""
    one, other = jnp.asarray(one), jnp.asarray(other)
    for boxes in (one, other):
        fits = boxes.ndim > 0 and boxes.shape[-1] == 4
        require(fits, "boxes of shape (..., 4)", boxes.shape)
    (low, high), (low_2, high_2) = (
        (boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2)
        for boxes in (one, other)
    )

    def area(sides):
        return jnp.maximum(sides, 0).prod(-1)

    shared = area(jnp.minimum(high, high_2) - jnp.maximum(low, low_2))
    covered = area(one[..., 2:]) + area(other[..., 2:]) - shared
    return shared, covered, area(jnp.maximum(high, high_2) - jnp.minimum(low, low_2))


def _share(part: jax.Array, whole: jax.Array) -> jax.Array:
    return part / jnp.where(whole > 0, whole, 1)
