"""The exact analysis of one point: its spectrum, its index, its kind, and how sure that is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.backend import require_sound_backend
from jaxml.checks import require
from jaxml.landscape.dense import dense_hessian, plan_dense
from jaxml.landscape.operators import flatten, hessian_vector_product
from jaxml.landscape.problem import (
    check_problem,
    needs_float64,
    precision,
    ravel_host,
    unravel_host,
)
from jaxml.types import Params

_PROBES = 16

Kind = Literal["minimum", "maximum", "saddle", "degenerate", "undecided", "not critical"]


class Counts(NamedTuple):
    """Eigenvalues below −tolerance, within ±tolerance and above +tolerance."""

    negative: int
    within: int
    positive: int


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What the loss surface looks like at one point. All arrays are numpy's.

    Attributes:
        params: the point.
        loss: the loss there.
        gradient_norm: the gradient's 2-norm.
        gradient_tolerance: the gradient norm up to which the point counts as critical.
        eigenvalues: the Hessian's, ascending, shape `(size,)`.
        eigenvectors: those of the negative eigenvalues, or of the lowest one where none is:
            a pytree like the parameters with a leading axis, in the order of `eigenvalues`.
        index: how many eigenvalues are below −tolerance.
        counts: how many are below, within and above the tolerance.
        minimum_ratio: the share of eigenvalues above the tolerance: 1 at a minimum.
        tolerance: the size up to which an eigenvalue counts as zero: what rounding explains,
            size·ε·‖H‖, plus what the point's distance from the critical point explains.
        distance: an estimate of that distance, the length of the Newton step; NaN where the
            point is not critical.
        refined: `params` plus the Newton step, where the critical point is to second order;
            `params` themselves where the point is not critical.
        kind: `minimum` (all eigenvalues above the tolerance), `maximum` (all below), `saddle`
            (some on each side), `degenerate` (some within it, the rest of one sign),
            `undecided` (the same in float32, where float64 could decide), `not critical`.
        descent: a direction, as a pytree of unit length, in which the loss falls: the lowest
            eigenvector where its eigenvalue is negative, what the probe of the null space found
            at a degenerate or undecided point; `None` where none was found.
    """

    params: Params
    loss: float
    gradient_norm: float
    gradient_tolerance: float
    eigenvalues: np.ndarray
    eigenvectors: Params
    index: int
    counts: Counts
    minimum_ratio: float
    tolerance: float
    distance: float
    refined: Params
    kind: Kind
    descent: Params | None

    @property
    def size(self) -> int:
        """How many parameters."""
        return self.eigenvalues.size

    @property
    def dtype(self) -> np.dtype:
        """The precision of the analysis."""
        return self.eigenvalues.dtype

    @property
    def certified(self) -> bool:
        """Whether no eigenvalue is within the tolerance of zero at a critical point.

        Then, by the Newton–Kantorovich theorem with the tolerance's estimate of how fast the
        Hessian changes, one critical point lies near, isolated, and its index is this one.
        """
        return self.kind in ("minimum", "maximum", "saddle") and self.counts.within == 0

    def __str__(self) -> str:
        """The verdict and what it rests on, in one paragraph."""
        lowest, highest = self.eigenvalues[0], self.eigenvalues[-1]
        verdict = f"{self.kind}{' (certified)' if self.certified else ''}"
        if self.kind in ("degenerate", "undecided"):
            verdict += ", a descent was found" if self.descent is not None else ", no descent found"
        if self.kind == "undecided":
            verdict += "; float64 would decide more"
        return (
            f"{verdict}: loss {self.loss:.6g}, gradient norm {self.gradient_norm:.1e} "
            f"(critical up to {self.gradient_tolerance:.1e}), index {self.index} of {self.size}, "
            f"eigenvalues {lowest:.3g} to {highest:.3g}: {self.counts.negative} negative, "
            f"{self.counts.within} within ±{self.tolerance:.1e}, {self.counts.positive} positive "
            f"({self.dtype})"
        )


def analyze(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    gradient_tolerance: float | None = None,
    float64: bool = False,
    memory: int | None = None,
) -> Analysis:
    """Classify a point of a loss surface by its exact Hessian.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: the point.
        gradient_tolerance: the gradient norm up to which the point counts as critical;
            √ε·max(1, ‖H‖) by default, ε the dtype's machine epsilon.
        float64: compute in float64, as is done anyway where a parameter is in it.
        memory: bytes that the analysis may take; half of what is free by default.

    Returns:
        The analysis, see `Analysis`. The verdict of a critical point is that of the exact
        critical point near it, whose distance is estimated and allowed for.

    Raises:
        ValueError: for a bad loss or bad parameters, as `hessian`; if loss, gradient or Hessian
            are not finite at the point; if the dense Hessian would not fit into memory.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Kantorovich 1948 for the existence of the critical point; Golub and Van Loan 2013,
        section 5.5, for the tolerance of the numerical rank.

    Example:
        >>> import jax.numpy as jnp
        >>> point = analyze(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2))
        >>> point.kind, point.index, point.eigenvalues.tolist()
        ('saddle', 1, [-2.0, 2.0])
    """
    require(
        gradient_tolerance is None or 0 <= gradient_tolerance < np.inf,
        "a gradient_tolerance of at least 0",
        gradient_tolerance,
    )
    require_sound_backend()
    float64 = needs_float64(params, float64)
    with precision(float64):
        loss, params = check_problem(loss, params, float64=float64)
        # the matrix, its symmetric part, its eigenvectors and the solver's work space
        plan = plan_dense(loss, params, memory, copies=6)
        value, gradient, matrix = _derivatives(loss, params, plan)
        for name, array in {"loss": value, "gradient": gradient, "Hessian": matrix}.items():
            bad = np.asarray(array)[~np.isfinite(array)]
            require(bad.size == 0, f"a finite {name} at params", f"{bad[:1]} and {bad.size} in all")
        eigenvalues, vectors = _eigh(matrix)
        del matrix
        return _verdict(loss, params, value, gradient, eigenvalues, vectors, gradient_tolerance)


_eigh = jax.jit(jnp.linalg.eigh)


@jax.jit(static_argnames="plan")
def _derivatives(loss, params, plan):
    f, x = flatten(loss, params)
    value, gradient = jax.value_and_grad(f)(x)
    return value, gradient, dense_hessian(loss, params, plan)


def _verdict(loss, params, value, gradient, eigenvalues, vectors, gradient_tolerance) -> Analysis:
    spectrum = np.asarray(eigenvalues)
    norm = max(abs(spectrum[0]), abs(spectrum[-1]))
    epsilon = float(np.finfo(spectrum.dtype).eps)
    if gradient_tolerance is None:
        gradient_tolerance = epsilon**0.5 * max(1.0, norm)
    gradient_norm = float(np.linalg.norm(gradient))
    critical = gradient_norm <= gradient_tolerance

    tolerance, distance, refined = spectrum.size * epsilon * norm, np.nan, params
    if critical:
        step = _newton_step(gradient, eigenvalues, vectors, tolerance)
        distance = float(np.linalg.norm(step))
        refined = unravel_host(params, ravel_host(params) + np.asarray(step))
        # Newton–Kantorovich: with ‖ΔH‖ the Hessian's change over the Newton step s, a critical
        # point lies within 2‖s‖ and has this index if 2‖ΔH‖ ≤ |λ| for every λ. Here it is twice
        # that, since the change is measured along s alone and by random probes.
        probes = _probes(spectrum.size, spectrum.dtype)
        tolerance += 4 * float(_hessian_change(loss, params, step, probes))
    counts = Counts(
        negative=int((spectrum < -tolerance).sum()),
        within=int((abs(spectrum) <= tolerance).sum()),
        positive=int((spectrum > tolerance).sum()),
    )
    kind = _kind(counts) if critical else "not critical"
    if kind == "degenerate" and spectrum.dtype != np.float64:
        kind = "undecided"

    rows = np.asarray(vectors).T
    lowest = unravel_host(params, rows[: max(1, counts.negative)])
    descent = None
    if counts.negative:
        descent = unravel_host(params, rows[0])
    elif critical and counts.within:
        null = rows[abs(spectrum) <= tolerance]
        directions = np.concatenate([null[:_PROBES], _mixtures(null)])
        direction, drop = _probe(loss, params, directions, value, gradient_norm)
        descent = unravel_host(params, direction) if drop > 0 else None
    return Analysis(
        params=jax.device_get(params),
        loss=float(value),
        gradient_norm=gradient_norm,
        gradient_tolerance=float(gradient_tolerance),
        eigenvalues=spectrum,
        eigenvectors=lowest,
        index=counts.negative,
        counts=counts,
        minimum_ratio=counts.positive / spectrum.size,
        tolerance=float(tolerance),
        distance=distance,
        refined=jax.device_get(refined),
        kind=kind,
        descent=descent,
    )


def _kind(counts: Counts) -> Kind:
    if counts.negative and counts.positive:
        return "saddle"
    if counts.within:
        return "degenerate"
    return "minimum" if counts.positive else "maximum"


@jax.jit
def _newton_step(gradient, eigenvalues, vectors, tolerance):
    """−H⁺g, over the eigenvalues that are not zero to rounding."""
    inverse = jnp.where(abs(eigenvalues) > tolerance, 1 / eigenvalues, 0.0)
    return -vectors @ (inverse * (vectors.T @ gradient))


def _probes(size: int, dtype: Any) -> np.ndarray:
    """Rows z with E[z zᵀ] = I over their mean: the unit vectors where they are few."""
    if size <= _PROBES:
        return np.sqrt(size) * np.eye(size, dtype=dtype)
    return np.random.default_rng(0).normal(size=(_PROBES, size)).astype(dtype)


@jax.jit
def _hessian_change(loss, params, step, probes):
    """‖∇²f(x+s) − ∇²f(x)‖ in the Frobenius norm, by Hutchinson's estimate E‖ΔH·z‖²."""
    f, x = flatten(loss, params)
    points = jnp.stack([x + step, x])

    def products(vector):  # the same code at both points compiles in half the time
        return jax.lax.map(lambda point: hessian_vector_product(f, point, vector), points)

    there, here = jnp.swapaxes(jax.lax.map(products, probes), 0, 1)
    return jnp.sqrt(((there - here) ** 2).sum(axis=1).mean())


def _mixtures(null: np.ndarray) -> np.ndarray:
    """Random unit vectors of the whole null space, from an orthonormal basis in rows."""
    mixed = np.random.default_rng(0).normal(size=(_PROBES, len(null))).astype(null.dtype) @ null
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


@jax.jit
def _probe(loss, params, directions, value, gradient_norm):
    """Whether the loss falls along one of ±directions by more than the gradient explains.

    Along each the first distance at which the loss departs from its value decides, so that a lower
    basin further off is no descent. A convex function never falls by more than ‖g‖t over a
    distance t.

    Returns:
        The direction of the largest fall, and that fall, 0 where there is none.
    """
    f, x = flatten(loss, params)
    directions = jnp.concatenate([directions, -directions])
    distances = jnp.logspace(-5, 0, 31, dtype=x.dtype) * jnp.maximum(1, jnp.linalg.norm(x))
    epsilon = jnp.finfo(x.dtype).eps

    def along(direction):
        losses = jax.lax.map(lambda t: f(x + t * direction), distances)
        rounding = 100 * epsilon * jnp.maximum(1, jnp.maximum(abs(losses), abs(value)))
        change = losses - value
        departs = abs(change) > rounding + 2 * gradient_norm * distances
        first = change[jnp.argmax(departs)]
        falls = departs.any() & (first < 0)
        return jnp.where(falls, -jnp.min(change), 0.0)

    drops = jax.lax.map(along, directions)
    best = jnp.argmax(drops)
    return directions[best], drops[best]
