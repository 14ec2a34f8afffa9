"""The loss on a line, on a plane and in a volume through a point."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.empirical_risk import Loss
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.geometry.directions import ravel_stack
from jaxml.landscape.operators.hessian import flatten
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import checked_problem


@dataclasses.dataclass(frozen=True)
class Surface(Result):
    """The loss on a grid, whole or so far. All arrays are numpy's.

    Attributes:
        coordinates: along each direction, shapes `(n₁,)`, `(n₂,)`, `(n₃,)`.
        losses: of shape `(n₁, n₂, n₃)`, one axis for each direction: `losses[i, j]` is the loss at
            `params + coordinates[0][i]·d₁ + coordinates[1][j]·d₂`, so that a picture with the
            first direction to the right is that of `losses.T`. NaN and infinities are what the
            loss gave; where it is not done there is NaN too.
        done: of the same shape, where it is done.
    """

    coordinates: tuple[np.ndarray, ...]
    losses: np.ndarray
    done: np.ndarray

    @property
    def finished(self) -> bool:
        """Whether all of it is done."""
        return bool(self.done.all())


@takes_modules
def surface(
    loss: Callable[[Params], Any],
    params: Params,
    directions: Params,
    *,
    coordinates: Sequence[Any] | np.ndarray | None = None,
    done: Surface | None = None,
    chunk: int = 32,
    on_progress: Callable[[int, int], bool | None] = lambda done, total: None,  # noqa: ARG005
    float64: bool = False,
) -> Surface:
    """The loss on a grid along one, two or three directions: a line, a plane, a volume.

    Ctrl-C (`KeyboardInterrupt`) ends it and keeps what is done: see `Surface.finished`.

    Args:
        loss: `params -> scalar`. It is compiled once, for one point, and not differentiated.
        params: the point through which the grid goes.
        directions: a pytree like `params` with a leading axis of length 1, 2 or 3, such as
            `random_directions(params)`, rows of `Analysis.eigenvectors` or
            `Trajectory.directions`.
        coordinates: an array of shape `(n,)` for every direction, or a sequence of one array for
            each; 51 from -1 to 1 by default.
        done: what was done before for the same problem, to be gone on with. The end is that of an
            uninterrupted run, to the bit.
        chunk: how many losses are computed between two looks at Ctrl-C and calls of `on_progress`.
        on_progress: called with the numbers of losses done and in all; a true answer ends it.
        float64: compute in float64, as is done anyway where a parameter is in it.

    Returns:
        See `Surface`.

    Raises:
        ValueError: for a bad loss or bad parameters, as `hessian`; for directions that do not
            match the parameters; for bad coordinates; if `done` is of another problem.
        BackendError: if the backend computes known answers wrong.

    Example:
        >>> loss = lambda w: (w**2).sum()
        >>> surface(loss, np.zeros(3), np.eye(3)[:2], coordinates=[[0, 1], [0, 2, 3]]).losses
        array([[ 0.,  4.,  9.],
               [ 1.,  5., 10.]])
    """
    chunk = require_positive_int("chunk", chunk)
    with checked_problem(loss, params, float64) as problem:
        loss, params = problem
        dtype = jax.tree.leaves(params)[0].dtype
        rows = ravel_stack(params, directions, "directions").astype(dtype)
        require(len(rows) <= 3, "one to three directions", len(rows))
        axes = _axes(coordinates, len(rows))
        shape = tuple(axis.size for axis in axes)
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(rows))
        grid, rows = grid.astype(dtype), jnp.asarray(rows)
        losses, finished = np.full(len(grid), np.nan, dtype), np.zeros(len(grid), bool)
        if done is not None:
            _check_done(done, axes, loss, params, rows, grid, chunk)
            losses, finished = done.losses.flatten(), done.done.flatten()
        waiting = np.flatnonzero(~finished)
        try:
            for first in range(0, waiting.size, chunk):
                places = waiting[first : first + chunk]
                losses[places] = evaluate(loss, params, rows, grid[places], chunk)
                finished[places] = True
                if on_progress(int(finished.sum()), finished.size):
                    break
        except KeyboardInterrupt:
            losses[~finished] = np.nan
        return Surface(axes, losses.reshape(shape), finished.reshape(shape))


def _axes(coordinates: Any, count: int) -> tuple[np.ndarray, ...]:
    given = np.linspace(-1, 1, 51) if coordinates is None else coordinates
    axes = [given] * count if np.ndim(given[0]) == 0 else list(given)
    require(len(axes) == count, f"coordinates for {count} directions", f"for {len(axes)}")
    axes = tuple(np.array(axis, float) for axis in axes)
    for axis in axes:
        valid = axis.ndim == 1 and axis.size > 0 and np.isfinite(axis).all()
        require(valid, "finite coordinates of shape (n,)", axis)
    return axes


def _check_done(done: Surface, axes, loss, params, rows, grid, chunk) -> None:
    same = len(done.coordinates) == len(axes) and all(map(np.array_equal, done.coordinates, axes))
    require(same, "a surface of the same coordinates as `done`", "another grid")
    require(done.losses.dtype == grid.dtype, f"a surface in {grid.dtype}", done.losses.dtype)
    # the loss, the point and the directions are not kept: they are compared by the losses they give
    known = np.flatnonzero(done.done & np.isfinite(done.losses))
    some = known[:: max(1, -(-known.size // chunk))]
    kept, again = done.losses.flat[some], evaluate(loss, params, rows, grid[some], chunk)
    equal = np.allclose(kept, again, rtol=float(np.finfo(grid.dtype).eps) ** 0.5)
    require(equal, f"a surface of the same losses as `done`, {kept[:3]}, …", again[:3])


def evaluate(
    loss: Loss, params: Params, rows: Any, places: np.ndarray, capacity: int | None = None
) -> np.ndarray:
    """The losses at `params + places @ rows`, one after another in one program.

    Args:
        loss: checked, with its parameters, by `check_problem`.
        params: the origin.
        rows: flat directions, shape `(k, size)`.
        places: coordinates, shape `(n, k)`, of the dtype of the parameters.
        capacity: up to how many places the program is compiled for; `n` by default.
    """
    padded = np.zeros((capacity or len(places), len(rows)), places.dtype)
    padded[: len(places)] = places
    return np.asarray(_evaluate(loss, params, rows, padded, len(places)))[: len(places)]


@jax.jit
def _evaluate(loss, params, rows, places, count):
    f, x = flatten(loss, params)

    def one(i, losses):
        # no matrix product: accelerators would round its factors
        away = sum(c * row for c, row in zip(places[i], rows, strict=True))
        return losses.at[i].set(f(x + away))

    # the number of rounds is data, so that a loss does not depend on how many come with it
    return jax.lax.fori_loop(0, count, one, jnp.zeros(len(places), x.dtype))
