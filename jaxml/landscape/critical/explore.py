"""The neighbourhood of a point: which critical points there are, and where the saddles lead."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxml.core.checks import require_positive_int
from jaxml.core.result import Result
from jaxml.core.selfcheck import parallel_map
from jaxml.core.sharding import spans_devices
from jaxml.core.types import Params
from jaxml.landscape.critical.analysis import Analysis, analyze
from jaxml.landscape.critical.distinct_points import distinct_points
from jaxml.landscape.critical.escape import Escape, escape
from jaxml.landscape.critical.minimum import find_minimum
from jaxml.landscape.critical.search import Search, find_critical_point
from jaxml.landscape.critical.symmetry_checks import check_symmetries
from jaxml.landscape.critical.symmetry_group import Declared
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import (
    check_problem,
    precision,
    ravel_host,
    read_problem,
    unravel_host,
)

# parameters up to which a search decomposes the Hessian at its steps by default
_DENSE = 300


@dataclasses.dataclass(frozen=True)
class Found:
    """Where one search ended.

    Attributes:
        search: the search.
        point: the analysis of its end; `None` where it did not converge.
    """

    search: Search
    point: Analysis | None

    @property
    def ending(self) -> str:
        """The kind of point it converged to, or `gradient-flat` or `not converged`."""
        if self.point is not None:
            return self.point.kind
        return "gradient-flat" if self.search.flat else "not converged"


@dataclasses.dataclass(frozen=True)
class Exploration(Result):
    """What `explore` saw. All of it is in float64 if `config["float64"]`.

    Attributes:
        point: the analysis of the given point.
        found: where the searches ended.
        distinct: the different critical points among those, by increasing loss: of copies under
            the declared symmetries one, see `distinct_points`.
        escapes: for each of `distinct` with a direction of descent, the line search out of it and
            the minimum below, by position in `distinct`.
        minima: the different minima among `distinct` and below its saddles, by increasing loss.
        config: the arguments, as plain values.
    """

    point: Analysis
    found: list[Found]
    distinct: list[Analysis]
    escapes: dict[int, tuple[Escape, Analysis]]
    minima: list[Analysis]
    config: dict[str, Any]


@takes_modules
def search_from(
    loss: Callable[[Params], Any],
    starts: Sequence[Params],
    *,
    method: str | None = None,
    max_steps: int = 100,
    float64: bool | None = None,
    symmetries: Declared = (),
) -> list[Found]:
    """Search for critical points from many starts; analyse the ends.

    Args:
        loss: `params -> scalar`.
        starts: the starting points.
        method: of `find_critical_point`; by default `newton` up to 300 parameters, which converges
            from more starts, and `newton_mr` beyond them, whose steps are cheaper there.
        max_steps: of each search.
        float64: as in `find_minimum`.
        symmetries: transformations that leave the loss unchanged, see `analyze`.

    Raises:
        ValueError: as `find_critical_point`.
    """
    if not starts:
        return []
    loss, float64 = read_problem(loss, starts[0], float64)
    by = method or _method(starts[0])

    def one(start: Params) -> Found:
        search = find_critical_point(
            loss, start, by, float64=float64, max_steps=max_steps, symmetries=symmetries
        )
        if not search.converged:
            return Found(search, None)
        # what it converged to, at a degenerate point from afar, is critical for the analysis too
        tolerance = 1.001 * float(search.gradient_norm)  # computed again, it rounds differently
        point = analyze(
            loss,
            search.params,
            float64=float64,
            gradient_tolerance=tolerance,
            symmetries=symmetries,
        )
        return Found(search, point)

    return _each(loss, one, starts)


@takes_modules
def explore(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    searches: int = 16,
    radius: float = 0.3,
    seed: int = 0,
    method: str | None = None,
    max_steps: int = 100,
    float64: bool | None = None,
    memory: int | None = None,
    symmetries: Declared = (),
) -> Exploration:
    """Analyse a point, search for critical points from it and around it, escape the saddles.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: the point.
        searches: how many searches: the first from the point itself, the others from points
            around it.
        radius: how far around, relative to the norm of the parameters or to the length over which
            the Hessian changes at the point, whichever is more: the starts are spread evenly over
            the distances up to it.
        seed: of the starts.
        method: of the searches, see `search_from`.
        max_steps: of each search.
        float64: as in `find_minimum`.
        memory: bytes that the analysis may take; half of what is free by default.
        symmetries: transformations that leave the loss unchanged, see `analyze`; copies under them
            are listed once.

    Raises:
        ValueError: as `analyze`.

    Example:
        >>> import jax.numpy as jnp
        >>> seen = explore(lambda w: (1 - w[0] * w[1]) ** 2, jnp.array([0.1, 0.2]), searches=4)
        >>> seen.distinct[-1].kind, seen.distinct[-1].index
        ('saddle', 1)
    """
    searches = require_positive_int("searches", searches)
    loss, float64 = read_problem(loss, params, float64)
    with precision(float64):
        held = check_symmetries(symmetries, *check_problem(loss, params, float64=float64))
    point = analyze(loss, params, float64=float64, memory=memory, symmetries=held)
    starts = _around(point, searches, radius, seed)
    found = search_from(
        loss, starts, method=method, max_steps=max_steps, float64=float64, symmetries=held
    )
    distinct = distinct_points([f.point for f in found if f.point is not None], symmetries=held)

    def leave(analysis: Analysis) -> tuple[Escape, Analysis]:
        way = escape(
            loss, analysis.params, direction=analysis.descent, max_steps=0, float64=float64
        )
        return way, find_minimum(loss, way.params, float64=float64, symmetries=held)

    leaving = [i for i, analysis in enumerate(distinct) if analysis.descent is not None]
    ways = _each(loss, lambda i: leave(distinct[i]), leaving)
    ends = [*distinct, *(end for _, end in ways)]
    minima = distinct_points([p for p in ends if p.kind == "minimum"], symmetries=held)
    config = {"searches": searches, "radius": radius, "seed": seed}
    config |= {"method": method or _method(params), "max_steps": max_steps, "float64": float64}
    escapes = dict(zip(leaving, ways, strict=True))
    return Exploration(point, found, distinct, escapes, minima, config)


def _method(params: Params) -> str:
    return "newton" if ravel_host(params).size <= _DENSE else "newton_mr"


def _each(loss: Callable, function: Callable, items: Sequence) -> list:
    """In parallel, but one after another on several devices.

    Each device, and each host, must come to the same exchanges in the same order.
    """
    return list(map(function, items)) if spans_devices(loss) else parallel_map(function, items)


def _around(point: Analysis, count: int, radius: float, seed: int) -> list[Params]:
    """The point, then points at evenly spread distances in random directions."""
    x = ravel_host(point.params)
    directions = np.random.default_rng(seed).normal(size=(count, x.size))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    furthest = radius * max(point.length, float(np.linalg.norm(x)))
    distances = furthest * np.arange(count) / max(1, count - 1)
    starts = [(x + t * v).astype(x.dtype) for t, v in zip(distances, directions, strict=True)]
    return [unravel_host(point.params, start) for start in starts]
