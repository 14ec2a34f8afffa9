"""Whether the loss falls along directions in which it has no curvature."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.landscape.critical.certificate import Point, Spectrum
from jaxml.landscape.critical.scale import first_power_of_two, loss_rounding
from jaxml.landscape.operators.hessian import flatten
from jaxml.linalg.reductions import norm

_STRAIGHT, _CURVED = 16, 4
# Newton iterations at each distance, with the Hessian of the point itself
_CORRECTIONS = 4


def find_descent(point: Point, spectrum: Spectrum, tolerance: float) -> np.ndarray | None:
    """A direction from a degenerate minimum in which the loss falls all the same.

    First along straight lines: ± the null eigenvectors and random combinations of them. Then along
    the curves that minimise the loss over all other directions at each distance along the null
    one (the Lyapunov–Schmidt reduction): (y − x²)(y − 3x²) has a minimum at 0 along every line and
    falls along y = 2x². At each the first distance decides at which the loss departs from its
    value, so that a lower basin further off is no descent.

    Args:
        point: where.
        spectrum: its eigenvalues beyond the tolerance are positive.
        tolerance: the size up to which an eigenvalue counts as zero.

    Returns:
        The unit direction of the largest fall, flat; `None` where none was found.
    """
    null = np.abs(spectrum.values) <= tolerance
    rows = spectrum.directions(null)
    slope = float(np.linalg.norm(point.gradient))
    where = point.loss, point.params, point.length
    drops, ends = jax.device_get(_straight(*where, _signed(rows, _STRAIGHT), slope))
    if not drops.max() > 0:
        values = spectrum.values
        inverse = np.divide(1, values, out=np.zeros_like(values), where=~null)
        basis = (spectrum.vectors / spectrum.scale[:, None]).astype(values.dtype)
        slope = float(np.linalg.norm(rows @ point.gradient))
        drops, ends = jax.device_get(_curved(*where, _signed(rows, _CURVED), slope, basis, inverse))
    best = int(np.argmax(drops))
    if not drops[best] > 0:
        return None
    return ends[best] / np.linalg.norm(ends[best])


def _signed(null: np.ndarray, count: int) -> np.ndarray:
    """± the first null vectors and random unit vectors of the whole null space, in rows."""
    draws = np.random.default_rng(0).normal(size=(count, len(null))).astype(null.dtype)
    mixed = draws @ null
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    some = np.concatenate([null[:count], mixed])
    return np.concatenate([some, -some])


@jax.jit
def _straight(loss, params, length, directions, slope):
    """The falls along lines, and the displacements to where they end."""
    f, x = flatten(loss, params)
    fall = _fall(f, x, f(x), length, slope)

    def along(direction):
        return fall(lambda d: (d * direction, jnp.bool_(True)))

    return jax.lax.map(along, directions)


@jax.jit
def _curved(loss, params, length, directions, slope, basis, inverse):
    """The same along curves: at each distance the other directions are corrected by Newton."""
    f, x = flatten(loss, params)
    differentiate = jax.grad(f)

    def corrected(start):
        def correct(_, y):
            return y - basis @ (inverse * (basis.T @ differentiate(x + y)))

        return jax.lax.fori_loop(0, _CORRECTIONS, correct, start)

    origin = corrected(jnp.zeros_like(x))
    fall = _fall(f, x, f(x + origin), length, slope)

    def along(direction):
        def place(d):
            end = corrected(origin + d * direction)
            # a curve over the null direction, no jump to elsewhere
            return end, norm(end - origin - d * direction) <= d

        return fall(place)

    return jax.lax.map(along, directions)


def _fall(f, x, value, length, slope):
    """How far the loss falls along a path, and where to: 0 where it rises first, or never departs.

    A path is a function: distance -> displacement, and whether it still is one. The loss departs
    from its value where it changes by more than rounding and the slope at the point explain; a
    convex function never falls by more than ‖g‖d over a distance d. What its terms round by at a
    distance is judged by what it changes by in a random direction. From the first departure on,
    the path is followed as long as the loss falls, up to the length over which the Hessian changes.
    """
    epsilon, dtype = jnp.finfo(x.dtype).eps, x.dtype
    rounding = loss_rounding(f, x, value)
    elsewhere = jax.random.normal(jax.random.key(2), x.shape, dtype)
    elsewhere = elsewhere / norm(elsewhere)

    def fall(path):
        def change(d):
            displacement, whole = path(d)
            there = f(x + displacement)
            return displacement, jnp.where(whole, there - value, jnp.nan), there

        def departs(d):
            _, changed, there = change(d)
            terms = abs(f(x + d * elsewhere) - value)
            noise = rounding + 100 * epsilon * (abs(there) + jnp.where(terms < jnp.inf, terms, 0))
            return ~(abs(changed) <= noise + 2 * slope * jnp.minimum(d, length))

        def further(c):
            d = 2 * c["d"]
            displacement, changed, _ = change(d)
            on = (changed < c["change"]) & (d <= length)
            kept = lambda new, old: jnp.where(on, new, old)  # noqa: E731
            return {
                "d": kept(d, c["d"]),
                "end": kept(displacement, c["end"]),
                "change": kept(changed, c["change"]),
                "on": on,
            }

        first = first_power_of_two(departs, dtype)
        end, changed, _ = change(first)
        falls = (first < jnp.inf) & (changed < 0)  # false of NaN
        start = {"d": first, "end": end, "change": changed, "on": falls}
        last = jax.lax.while_loop(lambda c: c["on"], further, start)
        return jnp.where(falls, -last["change"], 0), last["end"]

    return fall
