"""The plane of a training run's path, and how far it can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.geometry.directions import project, ravel_stack
from jaxml.landscape.geometry.surfaces import evaluate
from jaxml.landscape.operators.validation import checked_problem, ravel_host, unravel_host


@dataclasses.dataclass(frozen=True)
class Trajectory(Result):
    """A path and its projection to the plane through its last point. All arrays are numpy's.

    Attributes:
        params: the last point, where the plane's coordinates are zero.
        directions: the plane's, orthonormal: a pytree like `params` with a leading axis.
        explained_variance_ratio: the share of the path's variance along each, shape
            `(components,)`.
        path: the coordinates of each point's projection, shape `(points, components)`.
        distances: how far each point is from its projection, shape `(points,)`.
        losses: at the points themselves, shape `(points,)`.
        projected_losses: at their projections, which is what a picture of the plane shows.
    """

    params: Params
    directions: Params
    explained_variance_ratio: np.ndarray
    path: np.ndarray
    distances: np.ndarray
    losses: np.ndarray
    projected_losses: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """|loss at the projection − loss| / |loss| at each point, shape `(points,)`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return abs(self.projected_losses - self.losses) / abs(self.losses)

    def frame(self, points: int = 51) -> tuple[np.ndarray, ...]:
        """Coordinates for `surface` that hold the path, with a margin of a fifth."""
        low, high = self.path.min(axis=0), self.path.max(axis=0)
        margin = np.maximum((high - low).max() / 10, (high - low) / 5)
        return tuple(np.linspace(low - margin, high + margin, points).T)


def trajectory(
    loss: Callable[[Params], Any],
    points: Params,
    *,
    components: int = 2,
    float64: bool = False,
) -> Trajectory:
    """The plane of a path's principal components, with the true losses beside those in the plane.

    A high share of explained variance says little: a random walk in many dimensions has 61 % of
    its variance along its first component and 15 % along the second. Whether a picture of the
    plane shows what the path saw is seen by `losses` beside `projected_losses`.

    Args:
        loss: `params -> scalar`.
        points: the path, stacked along one leading axis, such as `training.snapshots().params`;
            more of them than components.
        components: how many directions.
        float64: compute in float64, as is done anyway where a parameter is in it.

    Returns:
        See `Trajectory`; `surface(loss, t.params, t.directions, coordinates=t.frame())` is the
        plane.

    Raises:
        ValueError: for a bad loss or bad parameters, as `hessian`; if there are too few points or
            they are all the same.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Li et al. 2018 (arXiv:1712.09913), section 7, for the plane (the components are those of
        the points less their mean, as there; the origin is the last point); Antognini and
        Sohl-Dickstein 2018 (arXiv:1806.08805) for the random walk.

    Example:
        >>> import jax.numpy as jnp
        >>> path = np.array([[3.0, 0, 1], [2, 0, -1], [1, 0, 1], [0, 0, 0]])
        >>> seen = trajectory(lambda w: (w**2).sum(), path, components=1)
        >>> seen.losses.tolist()
        [10.0, 5.0, 2.0, 0.0]
        >>> (seen.projected_losses + seen.distances**2).round(4).tolist()
        [10.0, 5.0, 2.0, 0.0]
    """
    components = require_positive_int("components", components)
    stacked = all(np.ndim(leaf) > 0 and len(leaf) > 0 for leaf in jax.tree.leaves(points))
    require(stacked, "points stacked along one leading axis", "a leaf without one")
    last = jax.tree.map(lambda leaf: leaf[-1], points)
    with checked_problem(loss, last, float64) as problem:
        loss, last = problem
        rows = ravel_stack(last, points, "points")
        count = len(rows)
        require(count > components, f"more than {components} points", count)
        centred = rows - rows.mean(axis=0, dtype=float)
        _, sizes, basis = np.linalg.svd(centred, full_matrices=False)
        require(sizes[0] > 0, "points that differ", f"{count} times the same")
        basis = basis[:components]
        # a component's sign is arbitrary: here the path comes from the positive side
        basis *= np.where(basis @ (rows[0] - rows[-1]) < 0, -1, 1)[:, None]
        origin, directions = jax.device_get(last), unravel_host(last, basis)
        path, distances = project(origin, directions, unravel_host(last, rows))
        dtype = ravel_host(last).dtype
        losses = [_loss_at(loss, unravel_host(last, row.astype(dtype))) for row in rows]
        return Trajectory(
            params=origin,
            directions=directions,
            explained_variance_ratio=sizes[:components] ** 2 / (sizes**2).sum(),
            path=path,
            distances=distances,
            losses=np.array(losses),
            projected_losses=evaluate(loss, last, basis.astype(dtype), path.astype(dtype)),
        )


_loss_at = jax.jit(lambda loss, params: loss(params))
