"""Which critical points are the same, up to declared symmetries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import linear_sum_assignment

from jaxml.core.types import Params
from jaxml.landscape.critical.analysis import Analysis
from jaxml.landscape.critical.orbits import generators_at
from jaxml.landscape.critical.symmetry_group import Declared, Symmetries, permuted, read_symmetries
from jaxml.landscape.operators.validation import precision, ravel_host, unravel_host

# transformations at random from which an alignment starts, of which about one in 40 leads to a
# copy of a cluster of atoms without symmetry of its own; and steps of each
_STARTS, _STEPS = 300, 50
# how many of each kind one after another make a random one
_WORDS = 3
# shares of a Gauss–Newton step, the best of which is taken
_SHARES = np.array([0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])


def distinct_points(points: Sequence[Analysis], *, symmetries: Declared = ()) -> list[Analysis]:
    """One of each critical point, by increasing loss.

    Two are the same where they differ by less than a hundred-thousandth of their norm, or than
    four times the distances that they may be from where they should be; or where one of them does
    after a transformation by the declared symmetries. That is looked for where losses (to 1e-6, and
    to what such a difference explains), indices and orbits' dimensions agree: from the point itself
    and from 300 random transformations of it, by turns of an assignment of what is permuted,
    of each finite transformation that leads nearer, and of a Gauss–Newton step in the parameters of
    the continuous ones. Copies that this does not bring together stay two; no two points are taken
    for one because their losses or spectra agree.

    Args:
        points: from `analyze` or `find_minimum`, of one loss.
        symmetries: of the loss, see `analyze`.

    Raises:
        ValueError: for what is no symmetry.

    Reference:
        Besl and McKay 1992 (doi:10.1109/34.121791) for the alignment by turns; Crouse 2016
        (doi:10.1109/TAES.2016.140952) for the assignment, which is SciPy's.

    Example:
        >>> from jaxml.landscape import analyze, permutations
        >>> loss = lambda w: (w.sum() - 3) ** 2 + (w.prod() - 2) ** 2
        >>> both = [analyze(loss, jnp.array(w)) for w in ([1.0, 2.0], [2.0, 1.0])]
        >>> len(distinct_points(both)), len(distinct_points(both, symmetries=[permutations(0)]))
        (2, 1)
    """
    kept: list[Analysis] = []
    if not points:
        return kept
    float64 = points[0].dtype == np.float64
    with precision(float64):
        held = read_symmetries(symmetries, jax.tree.map(jnp.asarray, points[0].params))
        for point in sorted(points, key=lambda p: p.loss):
            if not any(_same(point, other, held) for other in kept):
                kept.append(point)
    return kept


def _same(a: Analysis, b: Analysis, symmetries: Symmetries) -> bool:
    x, y = ravel_host(a.params), ravel_host(b.params)
    near = 1e-5 * float(max(np.linalg.norm(x), np.linalg.norm(y)))
    near += 4 * sum(p.distance for p in (a, b) if np.isfinite(p.distance))
    if np.linalg.norm(x - y) <= near:
        return True
    if not symmetries.names or (a.index, a.symmetry_modes) != (b.index, b.symmetry_modes):
        return False
    curvature = max(abs(p.eigenvalues).max() for p in (a, b))
    allowed = 1e-6 * max(abs(a.loss), abs(b.loss)) + 0.5 * curvature * near**2
    return abs(a.loss - b.loss) <= allowed and _copies(a.params, b.params, symmetries, near)


def _copies(params: Params, target: Params, symmetries: Symmetries, near: float) -> bool:
    """Whether a transformation of the parameters is found that is near the target."""
    y, rng = ravel_host(target), np.random.default_rng(0)
    # the assignment is the best there is where nothing else is declared
    alone = len(symmetries.names) == len(symmetries.exchanges) == 1
    for k in range(1 if alone else _STARTS):
        start = params
        for _ in range(_WORDS if k else 0):
            start = _at_random(symmetries, start, rng)
        if _aligned(symmetries, params, ravel_host(start), y, near):
            return True
    return False


def _at_random(symmetries: Symmetries, params: Params, rng: np.random.Generator) -> Params:
    for exchange in symmetries.exchanges:
        (i, axis), *_ = exchange
        order = rng.permutation(jax.tree.leaves(params)[i].shape[axis])
        params = permuted(params, exchange, order)
    t = rng.uniform(-np.pi, np.pi, symmetries.parameters)
    chosen = rng.random(len(symmetries.finite)) < 0.5
    return jax.device_get(_transformed(symmetries, params, t, chosen))


def _aligned(
    symmetries: Symmetries, like: Params, x: np.ndarray, target: np.ndarray, near: float
) -> bool:
    """Whether the turns of assignment, finite transformations and Gauss–Newton come near."""
    distance = np.inf
    for _ in range(_STEPS):
        for exchange in symmetries.exchanges:
            x = _assigned(like, exchange, x, target)
        if symmetries.continuous or symmetries.finite:
            x = np.asarray(_nearer(symmetries, like, x, target, _SHARES))
        before, distance = distance, float(np.linalg.norm(x - target))
        if distance <= near:
            return True
        if not distance < (1 - 1e-6) * before:
            return False
    return False


def _assigned(like: Params, exchange: Any, x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The permutation of one exchange that leads nearest."""

    def things(vector):
        leaves = jax.tree.leaves(unravel_host(like, vector))
        rows = [np.moveaxis(leaves[i], axis, 0) for i, axis in exchange]
        return np.concatenate([row.reshape(len(row), -1) for row in rows], axis=1)

    # the squares themselves are the same for all permutations
    _, order = linear_sum_assignment(-things(target) @ things(x).T)
    return ravel_host(permuted(unravel_host(like, x), exchange, order))


@jax.jit
def _transformed(symmetries, params, t, chosen):
    for i, finite in enumerate(symmetries.finite):
        there = finite(params)
        params = jax.tree.map(lambda a, b, i=i: jnp.where(chosen[i], a, b), there, params)
    return symmetries.transform(t.astype(jax.tree.leaves(params)[0].dtype), params)


@jax.jit
def _nearer(symmetries, like, x, target, shares):
    """After each finite transformation that leads nearer and a Gauss–Newton step."""
    unravel = ravel_pytree(like)[1]

    def distance(y):
        size = jnp.linalg.norm(y - target)
        return jnp.where(jnp.isfinite(size), size, jnp.inf)

    for finite in symmetries.finite:
        there = ravel_pytree(finite(unravel(x)))[0]
        x = jnp.where(distance(there) < distance(x), there, x)
    if not symmetries.continuous:
        return x
    at = lambda t: ravel_pytree(symmetries.transform(t, unravel(x)))[0]  # noqa: E731
    step = jnp.linalg.lstsq(generators_at(symmetries, x, unravel), target - x)[0]
    ends = jax.vmap(lambda share: at(share * step))(shares.astype(x.dtype))
    return ends[jnp.argmin(jax.vmap(distance)(ends))]
