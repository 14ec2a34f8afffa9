"""A string of points between two minima, let down to the path of least loss."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

# Adam's first step as a share of the root mean square of the way from end to end
_RATE = 0.03


def lower_string(
    f: Callable,
    start: Float[Array, " size"],
    end: Float[Array, " size"],
    images: int,
    steps: int,
) -> tuple[Float[Array, "images size"], Float[Array, " images"]]:
    """Points from one end to the other, each moved down across the string; traceable.

    They begin near the straight line: off it by a hundredth of its length, since a symmetry may
    make the line a stationary path. Each step is one of Adam's against the gradient without its
    part along the string, at a rate that falls to zero along a half cosine; then the points are
    spaced evenly again.

    Args:
        f: vector -> scalar.
        start: one end.
        end: the other.
        images: how many points, both ends included.
        steps: how many.

    Returns:
        The points and the losses there.

    Reference:
        E, Ren and Vanden-Eijnden 2007, "Simplified and improved string method for computing the
        minimum energy paths in barrier-crossing events", with Adam's steps and, as in their
        2002 paper, the part of the gradient along the string left out.
    """
    away = end - start
    scale = jnp.sqrt((away**2).mean())
    t = jnp.linspace(0, 1, images, dtype=start.dtype)
    drawn = scale * 0.01 * jax.random.normal(jax.random.key(0), (images, start.size), start.dtype)
    points = start + t[:, None] * away
    points = points.at[1:-1].add(drawn[1:-1])
    transform = optax.scale_by_adam(b2=0.99)

    def advance(k, carry):
        points, state = carry
        gradients = jax.lax.map(jax.grad(f), points[1:-1])
        gradients = jnp.where(jnp.isfinite(gradients), gradients, 0)
        tangents = points[2:] - points[:-2]
        tangents = tangents / jnp.linalg.norm(tangents, axis=1, keepdims=True)
        along = (gradients * tangents).sum(1, keepdims=True)
        updates, state = transform.update(gradients - along * tangents, state)
        rate = _RATE * scale * (1 + jnp.cos(jnp.pi * k / steps)) / 2
        return evenly_spaced(points.at[1:-1].add(-rate * jnp.asarray(updates))), state

    points, _ = jax.lax.fori_loop(0, steps, advance, (points, transform.init(points[1:-1])))
    return points, jax.lax.map(f, points)


def evenly_spaced(points: Float[Array, "images size"]) -> Float[Array, "images size"]:
    """As many points, at even distances along the polygon through the given ones.

    >>> evenly_spaced(jnp.array([[0.0], [3.0], [4.0]])).tolist()
    [[0.0], [2.0], [4.0]]
    """
    lengths = jnp.linalg.norm(jnp.diff(points, axis=0), axis=1)
    places = jnp.concatenate([jnp.zeros(1, points.dtype), jnp.cumsum(lengths)])
    wanted = jnp.linspace(0, places[-1], len(points), dtype=points.dtype)
    left = jnp.clip(jnp.searchsorted(places, wanted, side="right") - 1, 0, len(points) - 2)
    gap = lengths[left]
    share = (wanted - places[left]) / jnp.where(gap > 0, gap, 1)
    moved = points[left] + share[:, None] * (points[left + 1] - points[left])
    return moved.at[0].set(points[0]).at[-1].set(points[-1])
