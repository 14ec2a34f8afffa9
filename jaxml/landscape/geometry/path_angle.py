"""Whether players go straight to where they ended, or circle it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.operators.game import flat_field, game_jacobian
from jaxml.landscape.operators.validation import precision, ravel_host


@dataclasses.dataclass(frozen=True)
class PathAngle(Result):
    """How the field of a game stands to the straight line from one point to another.

    Attributes:
        places: on the line: 0 at its start, 1 at its end, `(points,)`.
        cosines: between the field v = (−∇₁L₁, …) there and the way from start to end: 1 where the
            players go along it, −1 where they go back, NaN where the field is 0.
        norms: ‖v‖ there.
    """

    places: np.ndarray
    cosines: np.ndarray
    norms: np.ndarray


def path_angle(
    losses: Sequence[Callable[..., Any]],
    start: Sequence[Params],
    end: Sequence[Params],
    *,
    points: int = 101,
    beyond: float = 0.2,
) -> PathAngle:
    """The angle between the field of a game and the straight line to where training ended.

    Where the end attracts, the cosine is positive before it and negative behind it. Where the
    players circle the end it does not change its sign there but rises to a peak or falls to a
    trough; both together show a spiral.

    Args:
        losses: as in `game_jacobian`.
        start: of each player, such as at initialisation.
        end: likewise, of the same shapes; such as after training.
        points: on the line.
        beyond: how far the line goes on behind the end, in lengths of it.

    Raises:
        ValueError: as `game_jacobian`; if start and end are of different shapes or the same point.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Berard et al. (2020), arXiv:1906.04848, whose field is minus this one.

    Example:
        >>> attracting = [lambda x, y: x**2, lambda x, y: y**2]
        >>> found = path_angle(attracting, [1.0, 1.0], [0.0, 0.0], points=3, beyond=1.0)
        >>> found.places.tolist(), found.cosines.round(3).tolist()
        ([0.0, 1.0, 2.0], [1.0, nan, -1.0])
    """
    game = game_jacobian(losses, end)
    points = require_positive_int("points", points)
    require(0 <= beyond < np.inf, "beyond of at least 0", beyond)
    shapes = [jax.tree.map(np.shape, tuple(point)) for point in (start, end)]
    require(shapes[0] == shapes[1], f"a start of shapes {shapes[1]}", shapes[0])
    places = np.linspace(0, 1 + beyond, points)
    first, last = (ravel_host(tuple(point)).astype(game.dtype) for point in (start, end))
    way = last - first
    length = float(np.linalg.norm(way))
    require(length > 0, "an end that is not the start", "the same point")
    with precision(game.dtype == np.float64):
        fields = np.asarray(
            _fields(game.losses, game.params, first, way, places.astype(game.dtype))
        )
    norms = np.linalg.norm(fields, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = fields @ way / (norms * length)
    return PathAngle(places, cosines, norms)


@jax.jit
def _fields(losses, params, first, way, places):
    field, _ = flat_field(losses, params)
    return jax.lax.map(lambda place: field(first + place * way), jnp.asarray(places))
