"""The exact analysis of one point: its spectrum, its index, its kind, and how sure that is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.critical.certificate import (
    Point,
    Spectrum,
    Step,
    gradient_vanishes,
    moved,
    newton_step,
)
from jaxml.landscape.critical.null_space import find_descent
from jaxml.landscape.critical.orbits import Orbit, orbit_at
from jaxml.landscape.critical.scale import length_scale
from jaxml.landscape.critical.symmetry_checks import check_symmetries
from jaxml.landscape.critical.symmetry_group import Declared
from jaxml.landscape.operators.dense_hessian import checked, dense_hessian, plan_dense
from jaxml.landscape.operators.hessian import flatten
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import checked_problem, unravel_host
from jaxml.linalg.reductions import norm

Kind = Literal["minimum", "maximum", "saddle", "degenerate", "undecided", "not critical"]


class Counts(NamedTuple):
    """Eigenvalues below −tolerance, within ±tolerance and above +tolerance."""

    negative: int
    within: int
    positive: int


@dataclasses.dataclass(frozen=True)
class Analysis(Result):
    """What the loss surface looks like at one point. All arrays are numpy's.

    Attributes:
        params: the point.
        loss: the loss there.
        gradient_norm: the gradient's 2-norm.
        gradient_tolerance: the gradient norm up to which the point counts as critical.
        eigenvalues: the Hessian's, ascending, shape `(size,)`.
        eigenvectors: those of the negative eigenvalues, or of the lowest one where none is:
            a pytree like the parameters with a leading axis, in the order of `eigenvalues`.
        index: how many eigenvalues are negative, below −tolerance.
        counts: how many are below, within and above the tolerance.
        minimum_ratio: the share of eigenvalues above the tolerance: 1 at a minimum.
        tolerance: the size up to which an eigenvalue counts as zero: what rounding explains,
            size·ε·‖H‖, plus what the point's distance from the critical point explains; ∞ where
            the Newton step leads to where the loss or its derivatives are not what they should be.
        scaled_eigenvalues: `None` where `eigenvalues` decide as much as can be decided. Otherwise
            some are within the tolerance of zero only because others are so much larger: then
            `counts`, `index` and `tolerance` are those of these, the eigenvalues of D⁻¹HD⁻¹, D
            diagonal so that its rows are of like size, which has the signs of H (Sylvester).
        length: the distance over which the Hessian changes by half its size, see `length_scale`.
        distance: an estimate of that distance, the length of the Newton step; NaN where the
            point is not critical.
        refined: `params` plus the Newton step, where the critical point is to second order;
            `params` themselves where the point is not critical.
        kind: `minimum` (all eigenvalues above the tolerance), `maximum` (all below), `saddle`
            (some on each side), `degenerate` (some within it, the rest of one sign),
            `undecided` (the same in float32, where float64 could decide), `not critical`.
        descent: a direction, as a pytree of unit length, in which the loss falls: the lowest
            eigenvector where its eigenvalue is negative, what the probe of the null space found
            at a degenerate or undecided point (where it falls along a curve, it may rise at
            first along the direction); `None` where none was found.
        symmetry_modes: the dimension of the orbit of the declared symmetries, along which the
            Hessian of a critical point is zero. `eigenvalues`, and all that is said of them, are
            those of the complement, `size − symmetry_modes` in number.
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
    scaled_eigenvalues: np.ndarray | None
    length: float
    distance: float
    refined: Params
    kind: Kind
    descent: Params | None
    symmetry_modes: int = 0

    @property
    def size(self) -> int:
        """How many parameters."""
        return self.eigenvalues.size + self.symmetry_modes

    @property
    def dtype(self) -> np.dtype:
        """The precision of the analysis."""
        return self.eigenvalues.dtype

    @property
    def certified(self) -> bool:
        """Whether no eigenvalue is within the tolerance of zero at a critical point.

        Then, by the Newton–Kantorovich theorem with the tolerance's estimate of how fast the
        Hessian changes, one critical point lies near, isolated, and its index is this one; what
        is checked beside it is in `newton_step`. With symmetries, one critical orbit.
        """
        return self.kind in ("minimum", "maximum", "saddle") and self.counts.within == 0


@takes_modules
def analyze(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    gradient_tolerance: float | None = None,
    float64: bool = False,
    memory: int | None = None,
    symmetries: Declared = (),
) -> Analysis:
    """Classify a point of a loss surface by its exact Hessian.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: the point.
        gradient_tolerance: the gradient norm up to which the point counts as critical. By
            default it is judged as a whole and along each eigenvector, in any units of the loss
            and the parameters, see `gradient_vanishes`.
        float64: compute in float64, as is done anyway where a parameter is in it.
        memory: bytes that the analysis may take; half of what is free by default.
        symmetries: transformations that leave the loss unchanged: functions `(t, params) ->
            params` of a number t, the identity at t = 0, or ready ones such as
            `[translations(3), rotations(3)]`. The loss is held to each of them first. The spectrum
            is then that of the complement of the orbit's tangent space, in which the gradient
            lies: at a critical point all eigenvalues but the orbit's zeros (elsewhere the Hessian
            along an orbit is as large as the gradient, and the complement is all that is looked
            at). Finite ones, `params -> params` and `permutations`, are checked and have no modes.

    Returns:
        The analysis, see `Analysis`. The verdict of a critical point is that of the exact
        critical point near it, whose distance is estimated and allowed for; with symmetries, on
        the quotient.

    Raises:
        ValueError: for a bad loss or bad parameters, as `hessian`; if loss, gradient or Hessian
            are not finite at the point; if the dense Hessian would not fit into memory; naming
            it, if a symmetry changes the loss.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Kantorovich 1948 for the existence of the critical point; Golub and Van Loan 2013,
        section 5.5, for the tolerance of the numerical rank.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import rotations
        >>> point = analyze(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2))
        >>> point.kind, point.index, point.eigenvalues.tolist()
        ('saddle', 1, [-2.0, 2.0])
        >>> ring = lambda w: ((w**2).sum() - 1) ** 2
        >>> kinds = [analyze(ring, jnp.eye(2)[0], symmetries=s).kind for s in ([], [rotations(2)])]
        >>> kinds
        ['undecided', 'minimum']
    """
    require(
        gradient_tolerance is None or 0 <= gradient_tolerance < np.inf,
        "a gradient_tolerance of at least 0",
        gradient_tolerance,
    )
    with checked_problem(loss, params, float64) as problem:
        loss, params = problem
        # the matrix, its symmetric part, its eigenvectors and the solver's work space
        plan = plan_dense(loss, params, memory, copies=6)
        derivatives = checked(lambda plan: _derivatives(loss, params, plan), plan)
        value, gradient, matrix, rounding = derivatives
        for name, array in {"loss": value, "gradient": gradient, "Hessian": matrix}.items():
            bad = np.asarray(array)[~np.isfinite(array)]
            require(bad.size == 0, f"a finite {name} at params", f"{bad[:1]} and {bad.size} in all")
        wide = [np.asarray(array, np.float64) for array in (gradient, rounding)]
        length, steepness = length_scale(loss, params)
        at = wide[0], wide[1], float(length), float(steepness)
        point = Point(loss, params, float(value), *at)
        held = check_symmetries(symmetries, loss, params)
        return _verdict(point, matrix, gradient_tolerance, orbit_at(held, params, length))


@jax.jit(static_argnames="plan")
def _derivatives(loss, params, plan):
    f, x = flatten(loss, params)
    value, gradient = jax.value_and_grad(f)(x)
    matrix, error = dense_hessian(loss, params, plan)
    # of the parts of the gradient: its terms are of the size of |H||x|, or of √(|f|‖H‖)
    rounding = jnp.abs(matrix) @ jnp.abs(x)
    rounding += jnp.sqrt(abs(value)) * jnp.sqrt(jax.lax.map(norm, matrix))
    return (value, gradient, matrix, 10 * jnp.finfo(x.dtype).eps * rounding), error


class _Found(NamedTuple):
    """What is known of a point, its orbit taken to be of some dimension.

    Attributes:
        spectrum: of the Hessian on the slice.
        deciding: the one whose signs are known best.
        critical: whether the point is.
        bound: the gradient norm up to which it would be.
        step: the Newton step; `None` where it is not critical.
    """

    spectrum: Spectrum
    deciding: Spectrum
    critical: bool
    bound: float
    step: Step | None


def _verdict(point: Point, matrix, gradient_tolerance, orbit: Orbit) -> Analysis:
    dtype = np.dtype(matrix.dtype)
    rank = orbit.rank()
    require(rank < point.gradient.size, "a direction that is not along an orbit", "none")
    while True:
        found = _look(point, matrix, gradient_tolerance, functools.partial(orbit.tangent, rank))
        lower = rank if found.step is None else min(rank, orbit.rank(found.step.step))
        if lower == rank:
            break
        rank = lower
    spectrum, deciding, critical, bound, step = found
    tolerance = spectrum.rounding if step is None else step.tolerance
    counts = _counts(deciding.values, tolerance)
    kind = _kind(counts) if critical else "not critical"
    if kind == "degenerate" and dtype != np.float64:
        kind = "undecided"

    descent = None
    if counts.negative:
        descent = deciding.directions(np.array([0]))[0]
    elif critical and counts.within and tolerance < np.inf:
        descent = find_descent(point, deciding, tolerance)
    params = point.params
    refined = params if step is None or tolerance == np.inf else moved(params, step.step)
    return Analysis(
        params=jax.device_get(params),
        loss=point.value,
        gradient_norm=float(np.linalg.norm(point.gradient)),
        gradient_tolerance=float(bound),
        eigenvalues=spectrum.values,
        eigenvectors=unravel_host(params, spectrum.vectors.T[: max(1, counts.negative)]),
        index=counts.negative,
        counts=counts,
        minimum_ratio=counts.positive / spectrum.values.size,
        tolerance=tolerance,
        scaled_eigenvalues=None if deciding is spectrum else deciding.values,
        length=point.length,
        distance=np.nan if step is None else float(np.linalg.norm(step.step)),
        refined=jax.device_get(refined),
        kind=kind,
        descent=None if descent is None else unravel_host(params, descent.astype(dtype)),
        symmetry_modes=rank,
    )


def _look(point: Point, matrix, gradient_tolerance, tangent: Callable) -> _Found:
    """The spectrum and whether the point is critical, for the tangent space scale -> basis."""
    spectrum = _spectrum(matrix, np.ones(point.gradient.size), tangent)
    if gradient_tolerance is None:
        critical, bound = gradient_vanishes(point, spectrum)
    else:
        bound = gradient_tolerance
        critical = float(np.linalg.norm(point.gradient)) <= bound
    if not critical:
        return _Found(spectrum, spectrum, False, bound, None)
    deciding, step = _decide(point, matrix, spectrum, tangent)
    if gradient_tolerance is None and step.tolerance == np.inf:
        return _Found(spectrum, deciding, False, bound, None)
    return _Found(spectrum, deciding, True, bound, step)


def _decide(point: Point, matrix, spectrum: Spectrum, tangent: Callable) -> tuple[Spectrum, Step]:
    """The spectrum whose signs are known best, and the Newton step with it."""
    step = newton_step(point, spectrum)
    within = _counts(spectrum.values, step.tolerance).within
    if within and step.tolerance < np.inf:
        scaled = _scaled_spectrum(matrix, spectrum, tangent)
        if scaled is not None:
            better = newton_step(point, scaled, measure_rounding=True)
            if _counts(scaled.values, better.tolerance).within < within:
                return scaled, better
    return spectrum, step


_eigh = jax.jit(jnp.linalg.eigh)


@jax.jit
def _eigh_on_slice(matrix, tangent):
    """That of NᵀHN, with the eigenvectors as vectors of the whole space."""
    exact = functools.partial(jnp.matmul, precision="highest")
    normal = jnp.linalg.qr(tangent, mode="complete")[0][:, tangent.shape[1] :]
    projected = exact(normal.T, exact(matrix, normal))
    values, vectors = jnp.linalg.eigh((projected + projected.T) / 2)
    return values, exact(normal, vectors)


def _spectrum(matrix, scale: np.ndarray, tangent: Callable) -> Spectrum:
    basis = tangent(scale).astype(matrix.dtype)
    found = _eigh_on_slice(matrix, basis) if basis.size else _eigh(matrix)
    values, vectors = jax.device_get(found)
    return Spectrum(values, vectors, scale, basis)


def _scaled_spectrum(matrix, spectrum: Spectrum, tangent: Callable) -> Spectrum | None:
    """That of D⁻¹HD⁻¹ with rows of like size; `None` where that cannot decide more.

    By Sylvester's law its inertia is that of H. Eigenvalues of H far below ε‖H‖ can be large ones
    of it, as long as H's small entries are right by themselves. In float32 entries below the
    rounding of H are not taken to be: float64 is at hand.
    """
    scale = np.asarray(_row_scales(matrix), np.float64)
    least, largest = scale.min(), scale.max()
    if not 0 < 4 * least <= largest:
        return None
    if matrix.dtype != np.float64 and least**2 <= spectrum.rounding:
        return None
    return _spectrum(_divided(matrix, scale.astype(matrix.dtype)), scale, tangent)


@jax.jit
def _row_scales(matrix):
    """D such that the largest entry of each row of D⁻¹HD⁻¹ is 1; of a row of zeros that of H."""

    def equilibrate(_, scale):
        rows = jnp.abs(matrix / scale / scale[:, None]).max(axis=1)
        return scale * jnp.sqrt(jnp.where(rows > 0, rows, 1))

    rows = jnp.abs(matrix).max(axis=1)
    first = jnp.sqrt(jnp.where(rows > 0, rows, rows.max()))
    return jax.lax.fori_loop(0, 20, equilibrate, first)


@jax.jit
def _divided(matrix, scale):
    return matrix / scale / scale[:, None]


def _counts(values: np.ndarray, tolerance: float) -> Counts:
    return Counts(
        negative=int((values < -tolerance).sum()),
        within=int((abs(values) <= tolerance).sum()),
        positive=int((values > tolerance).sum()),
    )


def _kind(counts: Counts) -> Kind:
    if counts.negative and counts.positive:
        return "saddle"
    if counts.within:
        return "degenerate"
    return "minimum" if counts.positive else "maximum"
