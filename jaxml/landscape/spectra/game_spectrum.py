"""Where the players of a game of gradient descent go from a point: eigenvalues of its Jacobian."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import scipy.linalg
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import ArpackNoConvergence, eigs

from jaxml.core.checks import require, require_positive_int
from jaxml.core.result import Result
from jaxml.core.seeds import require_seed
from jaxml.core.types import Params
from jaxml.landscape.operators.dense_hessian import available_memory, require_matrix
from jaxml.landscape.operators.game import (
    GameJacobian,
    descent,
    game_jacobian,
    jacobian_matrix,
    own_loss,
)
from jaxml.landscape.operators.hessian import hessian
from jaxml.landscape.operators.validation import precision
from jaxml.landscape.spectra.eigenpairs import eigenpairs
from jaxml.linalg.eigvalsh import eigenvalues

Kind = Literal["attracting", "rotating", "repelling", "undecided"]

# up to so many parameters the matrix and its eigenvectors take a minute at most
_EXACT = 1500


@dataclasses.dataclass(frozen=True)
class GameSpectrum(Result):
    """How the players of a game move near a point. All arrays are numpy's.

    Attributes:
        kind: of the motion that is linear in the distance from the point: `repelling` (an
            eigenvalue has a positive real part beyond its bound), `attracting` (all have a negative
            one), `rotating` (neither, and all that are in between turn: their imaginary part is
            not zero), `undecided` (the rest).
        eigenvalues: complex, of J, by falling real part; all of them where `exact`.
        bounds: how far each may be off.
        exact: whether they are of the matrix; otherwise they are those of largest real part and
            of largest modulus, by products.
        field_norm: ‖v‖, which is 0 at an equilibrium.
        norm: ‖J‖₂; where not `exact` the largest modulus of an eigenvalue, which is less.
        symmetric: Frobenius norm of (J + Jᵀ)/2, what attracts and repels; None where not `exact`.
        antisymmetric: of (J − Jᵀ)/2, what turns; likewise.
        players: eigenvalues of each player's Hessian by its own parameters, ascending; the lowest
            and the largest where not `exact`.
        stable_step: the largest step h below which simultaneous descent, I + hJ, contracts: min
            −2 Re λ/|λ|², 0 where no step does; None where not `exact`.
        size: parameters of all players.
    """

    kind: Kind
    eigenvalues: np.ndarray
    bounds: np.ndarray
    exact: bool
    field_norm: float
    norm: float
    symmetric: float | None
    antisymmetric: float | None
    players: tuple[np.ndarray, ...]
    stable_step: float | None
    size: int

    @property
    def growing(self) -> np.ndarray:
        """Which eigenvalues have a positive real part, beyond their bounds."""
        return np.real(self.eigenvalues) > self.bounds

    @property
    def turning(self) -> np.ndarray:
        """Which have an imaginary part, beyond their bounds."""
        return abs(np.imag(self.eigenvalues)) > self.bounds


def game_spectrum(
    losses: Sequence[Callable[..., Any]],
    params: Sequence[Params],
    *,
    exact: bool | None = None,
    top: int = 6,
    memory: int | None = None,
    seed: int = 0,
) -> GameSpectrum:
    """Whether players who each descend on a loss of their own attract, repel or circle each other.

    Near an equilibrium, where v is 0, the motion is that of ẋ = Jx: the real part of an eigenvalue
    says how fast a direction grows, its imaginary part how fast it turns. Elsewhere they say how
    nearby paths part.

    Args:
        losses: as in `game_jacobian`.
        params: likewise.
        exact: whether by the matrix; up to 1,500 parameters by default, as far as it fits into
            memory.
        top: without the matrix, how many eigenvalues of largest real part, and of largest modulus.
        memory: bytes that the matrix may take; half of what is free by default.
        seed: of the starting vector without the matrix.

    Returns:
        The spectrum, see `GameSpectrum`. A bound is what rounding of size·ε·‖J‖ moves an eigenvalue
        by: that over the cosine between its left and its right eigenvector, to first order, or
        Elsner's bound where that is less (a multiple eigenvalue of one eigenvector has no first
        order). Without the matrix it is the residual, from products of its own, and that rounding.
        Then "attracting" rests on the search for the largest real part having found it.

    Raises:
        ValueError: as `game_jacobian`; if the Jacobian is not finite, or the matrix is asked for
            and does not fit into memory; if `top` is not a whole number from 1 to size − 2.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Mescheder, Geiger and Nowozin (2018), arXiv:1801.04406, section 2 and theorem 3.1, for
        eigenvalues and steps; Berard et al. (2020), arXiv:1906.04848, for those of trained
        networks; Golub and Van Loan (2013), section 7.2.2, and Elsner (1985), Linear Algebra and
        its Applications 71:77-80, for the bounds.

    Example:
        >>> point = game_spectrum([lambda x, y: x * y, lambda x, y: -x * y], [0.0, 0.0])
        >>> point.kind, point.eigenvalues.tolist(), point.stable_step
        ('rotating', [1j, -1j], 0.0)
    """
    jacobian = game_jacobian(losses, params, memory=memory)
    size = jacobian.size
    if exact is None:
        bound = available_memory() // 2 if memory is None else memory
        exact = size <= _EXACT and 8 * size**2 * jacobian.dtype.itemsize <= bound
    field_norm = float(np.linalg.norm(jacobian.field()))
    if exact:
        return _by_matrix(jacobian, field_norm)
    top = require_positive_int("top", top)
    require(top <= size - 2, f"top up to {size - 2}, the size less 2", top)
    require_seed(seed)
    return _by_products(jacobian, field_norm, top, seed)


def _by_matrix(jacobian: GameJacobian, field_norm: float) -> GameSpectrum:
    matrix = jacobian.dense()
    bad = int((~np.isfinite(matrix)).sum())
    require(bad == 0, "a finite Jacobian", f"{bad} numbers that are not")
    wide = matrix.astype(np.float64)
    found: Any = scipy.linalg.eig(wide, left=True, right=True)
    values, left, right = found
    norm, size = float(np.linalg.norm(wide, 2)), len(wide)
    moved = size * np.finfo(matrix.dtype).eps * norm
    cosines = abs((left.conj() * right).sum(0))
    elsner = (2 * norm + moved) ** (1 - 1 / size) * moved ** (1 / size)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = np.fmin(moved / cosines, elsner)
    order = np.lexsort((-np.imag(values), -np.real(values)))
    values, bounds = values[order], bounds[order]
    kind = _kind(values, bounds)
    shrinks = kind == "attracting"
    return GameSpectrum(
        kind=kind,
        eigenvalues=values,
        bounds=bounds,
        exact=True,
        field_norm=field_norm,
        norm=norm,
        symmetric=float(np.linalg.norm(wide + wide.T) / 2),
        antisymmetric=float(np.linalg.norm(wide - wide.T) / 2),
        players=tuple(eigenvalues(-matrix[own, own]) for own in jacobian.blocks),
        stable_step=float((-2 * np.real(values) / abs(values) ** 2).min()) if shrinks else 0.0,
        size=size,
    )


def _by_products(jacobian: GameJacobian, field_norm: float, top: int, seed: int) -> GameSpectrum:
    operator, size = jacobian.to_scipy(), jacobian.size
    start = np.random.default_rng(seed).standard_normal(size).astype(jacobian.dtype)
    known: dict[complex, float] = {}
    whole = True
    for which in ("LR", "LM"):
        try:
            found: Any = eigs(operator, k=top, which=which, v0=start)
            values, vectors = found
        except ArpackNoConvergence as error:
            values, vectors, whole = error.eigenvalues, error.eigenvectors, False
        for value, vector in zip(values, vectors.T, strict=True):
            real, imaginary = (jacobian.matvec(part) for part in (vector.real, vector.imag))
            residual = np.linalg.norm(real + 1j * imaginary - value * vector)
            known[complex(value)] = float(residual / np.linalg.norm(vector))
    values = np.array(list(known), complex)
    norm = float(abs(values).max(initial=0))
    bounds = np.array(list(known.values())) + size * np.finfo(jacobian.dtype).eps * norm
    order = np.lexsort((-np.imag(values), -np.real(values)))
    values, bounds = values[order], bounds[order]
    kind = _kind(values, bounds) if len(values) else "undecided"
    return GameSpectrum(
        kind=kind if whole or kind == "repelling" else "undecided",
        eigenvalues=values,
        bounds=bounds,
        exact=False,
        field_norm=field_norm,
        norm=norm,
        symmetric=None,
        antisymmetric=None,
        players=tuple(_ends(jacobian, i) for i in range(len(jacobian.sizes))),
        stable_step=None,
        size=size,
    )


def _ends(jacobian: GameJacobian, i: int) -> np.ndarray:
    """The lowest and the largest eigenvalue of a player's own Hessian."""
    own = hessian(own_loss(jacobian.losses[i], jacobian.params, i), jacobian.params[i])
    return eigenpairs(own, top=1, lowest=1 if own.size > 1 else 0).values


def _kind(values: np.ndarray, bounds: np.ndarray) -> Kind:
    if (np.real(values) > bounds).any():
        return "repelling"
    if (np.real(values) < -bounds).all():
        return "attracting"
    between = abs(np.real(values)) <= bounds
    return "rotating" if (abs(np.imag(values)) > bounds)[between].all() else "undecided"


class UpdateJacobian(NamedTuple):
    """What one step of gradient descent does to a small displacement of all players.

    Attributes:
        matrix: of displacements `(size, size)`.
        eigenvalues: complex, `(size,)`, by falling modulus.
        radius: the largest modulus: below 1 the step contracts.
    """

    matrix: np.ndarray
    eigenvalues: np.ndarray
    radius: float


def update_jacobian(
    losses: Sequence[Callable[..., Any]],
    params: Sequence[Params],
    steps: float | Sequence[float],
    *,
    alternating: bool = False,
    memory: int | None = None,
) -> UpdateJacobian:
    """The Jacobian of one round of gradient descent, all players at once or one after the other.

    Args:
        losses: as in `game_jacobian`.
        params: likewise.
        steps: the step size of all players, or of each.
        alternating: whether each player moves where those before it have moved already.
        memory: bytes that the matrix may take; half of what is free by default.

    Raises:
        ValueError: as `game_jacobian`; if a step is not a finite number, or there is not one for
            each player; if the matrix does not fit into memory.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Mescheder, Geiger and Nowozin (2018), arXiv:1801.04406, section 2.

    Example:
        >>> bilinear = [lambda x, y: x * y, lambda x, y: -x * y]
        >>> radii = [update_jacobian(bilinear, [0.0, 0.0], 0.5, alternating=a).radius
        ...          for a in (False, True)]
        >>> [round(radius, 4) for radius in radii]
        [1.118, 1.0]
    """
    jacobian = game_jacobian(losses, params, memory=memory)
    players, each = len(jacobian.params), np.asarray(steps, jacobian.dtype)
    fits = each.shape in ((), (players,)) and bool(np.isfinite(each).all())
    require(fits, f"one finite step, or {players}", repr(steps))
    each = np.broadcast_to(each, players)
    if alternating:
        require_matrix(jacobian.size, jacobian.dtype, memory)
        with precision(jacobian.dtype == np.float64):
            matrix = np.asarray(_alternating(jacobian.losses, jacobian.params, each))
    else:
        along = np.repeat(each, jacobian.sizes)[:, None]
        matrix = np.eye(jacobian.size, dtype=jacobian.dtype) + along * jacobian.dense()
    values = np.linalg.eigvals(matrix.astype(np.float64))
    values = values[np.argsort(-abs(values), kind="stable")]
    return UpdateJacobian(matrix, values, float(abs(values[0])))


@jax.jit
def _alternating(losses, params, steps):
    x, unravel = ravel_pytree(params)

    def update(x):
        now = unravel(x)
        for i in range(len(losses)):
            own = jax.tree.map(lambda p, d, h=steps[i]: p + h * d, now[i], descent(losses, now)[i])
            now = (*now[:i], own, *now[i + 1 :])
        return ravel_pytree(now)[0]

    return jacobian_matrix(update, x)
