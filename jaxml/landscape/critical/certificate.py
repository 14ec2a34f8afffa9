"""Whether a point is critical, and whether its spectrum is that of the critical point near it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.landscape.operators.hessian import flatten
from jaxml.landscape.operators.validation import ravel_host, unravel_host
from jaxml.linalg.projections import across

_PROBES = 16
# steep directions whose slopes are compared one by one
_SLOPES = 16


class Spectrum(NamedTuple):
    """Eigenpairs of a Hessian in the coordinates z = scale·x. All arrays are numpy's.

    Where symmetries are declared they are those of NᵀHN, N an orthonormal basis of the complement
    of the orbit's tangent space: of the Hessian of the loss on the slice x + span N. Near x a point
    that is critical on the slice is critical, because the gradient is orthogonal to its orbit,
    which the slice crosses; and there both have the same inertia but for the orbit's zeros.

    Attributes:
        values: ascending, shape `(k,)`.
        vectors: in columns, shape `(size, k)`.
        scale: shape `(size,)`: ones for the Hessian itself.
        tangent: an orthonormal basis of the tangent space, shape `(size, size − k)`.
    """

    values: np.ndarray
    vectors: np.ndarray
    scale: np.ndarray
    tangent: np.ndarray

    @property
    def rounding(self) -> float:
        """The size up to which rounding explains an eigenvalue: size·ε·‖H‖."""
        kind = np.finfo(self.values.dtype)
        norm = float(np.abs(self.values).max(initial=0.0))
        # what is below the least normal number is lost altogether
        lost = float(kind.tiny) if norm else 0.0
        return self.scale.size * (float(kind.eps) * norm + lost)

    def directions(self, chosen: np.ndarray) -> np.ndarray:
        """Some of the vectors as unit directions of the parameters, in rows."""
        rows = self.vectors.T[chosen] / self.scale
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Point(NamedTuple):
    """A point and what is known of the loss there.

    Attributes:
        loss: `params -> scalar`, checked.
        params: the point.
        value: the loss there.
        gradient: flat, in float64.
        rounding: of each part of the gradient, flat.
        length: from `length_scale`, and with it
        steepness: the size of the gradient at that distance.
    """

    loss: Any
    params: Any
    value: float
    gradient: np.ndarray
    rounding: np.ndarray
    length: float
    steepness: float


class Step(NamedTuple):
    """The Newton step from a point, and what it says of the eigenvalues.

    Attributes:
        step: flat.
        tolerance: the size up to which an eigenvalue counts as zero; ∞ where the step leads to
            where the theory does not hold.
    """

    step: np.ndarray
    tolerance: float


def gradient_vanishes(point: Point, spectrum: Spectrum) -> tuple[bool, float]:
    """Whether the gradient is small, as a whole and along each eigenvector.

    As a whole: ‖g‖ ≤ √ε·‖H‖ℓ, ℓ being the length over which the Hessian changes, so that a
    critical point is √ε·ℓ away where all curvatures are alike; or ≤ √ε times the gradient's size
    at that distance, where that is more. That alone would let a stiff
    direction hide a slope along a soft one. So along each eigenvector v, of curvature λ, the
    slope g·v is also to be within its rounding, or below ε^(1/3)·|λ|ℓ, or else, where λ itself
    says little (at a degenerate point it vanishes as g does), below ε^(1/3) of the largest slope
    that the loss has along v within ±ℓ. All of this is the same in any units of the loss and
    the parameters.

    Returns:
        Whether it is, and the norm up to which it may be, for a gradient of this direction.
    """
    epsilon = float(np.finfo(spectrum.values.dtype).eps)
    size = np.linalg.norm(point.gradient)
    largest = float(np.abs(spectrum.values).max(initial=0.0))
    tolerance = epsilon**0.5 * max(largest * point.length, point.steepness)
    tolerance = max(tolerance, float(np.linalg.norm(point.rounding)))
    if size > tolerance:
        return False, tolerance
    vectors = spectrum.vectors
    slopes = np.abs(point.gradient @ vectors)
    noise = point.rounding @ np.abs(vectors)
    share = epsilon ** (1 / 3)
    excess = slopes / np.maximum(share * np.abs(spectrum.values) * point.length + noise, 1e-300)
    steep = np.argsort(-excess)[: int((excess > 1).sum())]
    if not steep.size:
        return True, min(tolerance, float(size / max(excess.max(initial=0), 1e-300)) or tolerance)
    directions = vectors.T[steep[:_SLOPES]]
    if steep.size > _SLOPES:  # the others together, as the gradient combines them
        rest = vectors[:, steep[_SLOPES:]] @ (point.gradient @ vectors[:, steep[_SLOPES:]])
        directions = np.concatenate([directions, rest[None] / np.linalg.norm(rest)])
    count = len(directions)
    # always as many, to be compiled once
    rows = np.zeros((_SLOPES + 1, point.gradient.size), spectrum.values.dtype)
    rows[:count] = directions
    around = np.asarray(_slopes(point.loss, point.params, rows, point.length))[:count]
    slopes = np.abs(directions @ point.gradient)
    noise = np.abs(directions) @ point.rounding
    excess = float((slopes / np.maximum(share * around + noise, 1e-300)).max())
    return excess <= 1, min(tolerance, float(size) / excess)


@jax.jit
def _slopes(loss, params, directions, length):
    """The largest slope along each direction within ±length, where the loss is finite."""
    f, x = flatten(loss, params)
    distances = length * jnp.array([-1, -0.5, -0.25, 0.25, 0.5, 1], x.dtype)

    def slope(direction, distance):
        value, derivative = jax.jvp(f, (x + distance * direction,), (direction,))
        finite = jnp.isfinite(value) & jnp.isfinite(derivative)
        return jnp.where(finite, jnp.abs(derivative), 0)

    along = lambda v: jax.lax.map(lambda t: slope(v, t), distances).max()  # noqa: E731
    return jax.lax.map(along, directions)


def newton_step(point: Point, spectrum: Spectrum, *, measure_rounding: bool = False) -> Step:
    """The step to the nearest critical point, and the tolerance of the eigenvalues there.

    Newton and Kantorovich: let s = −H⁺g, over the eigenvalues that are not zero to rounding, and
    ‖ΔH‖ the change of the Hessian over s. If 2‖ΔH‖ ≤ |λ| for every eigenvalue λ, then there is
    one critical point within 2‖s‖ and its index is that of H. The tolerance is twice that, 4‖ΔH‖,
    because the change is measured along s alone and by random probes, added to the rounding.

    The theory asks for more, and each is checked. The step must stay where the loss is defined:
    loss, gradient and Hessian are finite at x + s. The Hessian must be continuous over it: by
    Taylor's theorem ‖∇f(x+s)‖ ≤ ½L‖s‖² with L‖s‖ = ‖ΔH‖, for g + Hs = 0, up to rounding and the
    part of g that the step leaves; it must not exceed ‖ΔH‖‖s‖. Otherwise nothing is known and the
    tolerance is ∞.

    Args:
        point: where.
        spectrum: of H, or of D⁻¹HD⁻¹ with the scale D: the theorem holds in any coordinates, and
            of the loss on a slice.
        measure_rounding: add four times the changes of the Hessian over one rounding of the
            parameters, for coordinates that amplify it.
    """
    dtype, size = spectrum.values.dtype, spectrum.scale.size
    gradient = point.gradient / spectrum.scale
    along = gradient @ spectrum.vectors
    values = spectrum.values.astype(np.float64)
    kept = np.abs(values) > spectrum.rounding
    step = -spectrum.vectors @ np.divide(along, values, out=np.zeros_like(along), where=kept)
    left = spectrum.vectors @ np.where(kept, 0, along)
    there = ravel_host(point.params) + (step / spectrum.scale).astype(dtype)
    places = [there]
    if measure_rounding:
        signs = np.random.default_rng(1).choice([-1.0, 1.0], (3, size))
        here = ravel_host(point.params)
        places += list((here * (1 + 2 * np.finfo(dtype).eps * signs)).astype(dtype))
    scale = spectrum.scale.astype(dtype)
    probes = across(spectrum.tangent, _probes(size, dtype))
    value, moved, changes = jax.device_get(
        _changes(point.loss, point.params, np.stack(places), probes, scale, spectrum.tangent)
    )
    change, rounding = float(changes[0]), spectrum.rounding
    if measure_rounding:
        rounding += 4 * float(changes[1:].max())
    length = float(np.linalg.norm(step))
    allowed = change * length + rounding * length
    allowed += float(np.linalg.norm(point.rounding / spectrum.scale))
    slope = across(spectrum.tangent, moved.astype(np.float64) / spectrum.scale)
    remains = np.linalg.norm(slope - left)
    holds = np.isfinite(value) and remains <= allowed  # false where one is NaN
    tolerance = rounding + 4 * change if holds and np.isfinite(allowed) else np.inf
    return Step(step / spectrum.scale, float(tolerance))


def _probes(size: int, dtype: Any) -> np.ndarray:
    """Rows z with E[z zᵀ] = I over their mean: the unit vectors where they are few."""
    if size <= _PROBES:
        return np.sqrt(size) * np.eye(size, dtype=dtype)
    return np.random.default_rng(0).normal(size=(_PROBES, size)).astype(dtype)


@jax.jit
def _changes(loss, params, places, probes, scale, tangent):
    """Loss and gradient at the first place, and how the scaled Hessian differs at each.

    In the Frobenius norm, by Hutchinson's estimate E‖ΔH·z‖² of its square.
    """
    f, x = flatten(loss, params)
    points = jnp.concatenate([places, x[None]])

    def products(probe):  # the same code at all points compiles in half the time
        def at(y):
            there, (_, product) = jax.jvp(jax.value_and_grad(f), (y,), (probe / scale,))
            return there, product / scale

        return jax.lax.map(at, points)

    (values, gradients), all_products = jax.lax.map(products, probes)
    all_products = jnp.swapaxes(all_products, 0, 1)
    differences = across(tangent, all_products[:-1] - all_products[-1])
    largest = jnp.abs(differences).max()
    unit = jnp.where(largest > 0, largest, 1)  # squares of small numbers underflow
    changes = unit * jnp.sqrt(((differences / unit) ** 2).sum(axis=2).mean(axis=1))
    return values[0, 0], gradients[0, 0], changes


def moved(params: Any, step: np.ndarray) -> Any:
    """The parameters after a step, as numpy's."""
    x = ravel_host(params)
    return unravel_host(params, x + step.astype(x.dtype))
