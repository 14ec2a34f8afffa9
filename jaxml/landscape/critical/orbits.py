"""The orbit of declared symmetries at a point, divided out of what is said of critical points.

A loss that a group of transformations leaves unchanged has critical points in orbits: a cluster of
atoms can be shifted and turned, a ReLU unit's weights rescaled. Along an orbit the Hessian of a
critical point is exactly zero, so that no minimum is one by its eigenvalues. On the quotient, the
space of orbits, it is: there the Hessian is NᵀHN, N an orthonormal basis of the complement of the
orbit's tangent space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxml.core.checks import require
from jaxml.core.empirical_risk import Loss
from jaxml.core.types import Params
from jaxml.landscape.critical.scale import length_scale
from jaxml.landscape.critical.symmetry_group import Symmetries
from jaxml.landscape.operators.validation import ravel_host, unravel_host


def generators_at(symmetries: Symmetries, y: Array, unravel: Callable) -> Array:
    """∂T(t, y)/∂t at t = 0, shape `(size, parameters)`; traceable."""

    def along(t):
        return ravel_pytree(symmetries.transform(t, unravel(y)))[0]

    return jax.jacfwd(along)(jnp.zeros(symmetries.parameters, y.dtype))


@jax.jit
def generator_scales(symmetries, params, length) -> Float[Array, " parameters"]:
    """How long each generator is at the point or at two others a length away, at most.

    In their units a generator of length 1 moves the parameters as it does elsewhere, and one that
    vanishes at the point, as a rotation does of points on its axis, is short.
    """
    x, unravel = ravel_pytree(params)
    u = jax.random.normal(jax.random.key(4), (2, x.size), x.dtype)
    u = length * u / jnp.linalg.norm(u, axis=1, keepdims=True)

    def sizes(y):
        return jnp.linalg.norm(generators_at(symmetries, y, unravel), axis=0)

    largest = jax.lax.map(sizes, jnp.concatenate([x[None], x + u])).max(axis=0)
    return jnp.where(largest > 0, largest, 1)


@jax.jit
def scaled_generators(symmetries, params, scales) -> Float[Array, "size parameters"]:
    """∂T(t, params)/∂t at t = 0 in units of the generators' scales; traceable."""
    x, unravel = ravel_pytree(params)
    return generators_at(symmetries, x, unravel) / scales


def tangent_scales(symmetries: Symmetries, loss: Loss, params: Params) -> Any:
    """`generator_scales` over the length of the loss; `None` without continuous symmetries."""
    if not symmetries.parameters:
        return None
    return generator_scales(symmetries, params, length_scale(loss, params)[0])


def tangent_basis(symmetries: Symmetries, params: Params, scales: Any) -> Array:
    """An orthonormal basis of the orbit's tangent space, by `Orbit.rank`'s √ε; traceable.

    Of shape `(size, parameters)`; what is no direction of it is a column of zeros.
    """
    generators = scaled_generators(symmetries, params, scales)
    directions, lengths, _ = jnp.linalg.svd(generators, full_matrices=False)
    kept = lengths > jnp.finfo(generators.dtype).eps ** 0.5
    return jnp.where(kept, directions, 0)


class Orbit(NamedTuple):
    """The tangent space of the orbit at a point.

    Attributes:
        symmetries: read and checked.
        params: the point.
        scales: from `generator_scales`.
        generators: in units of their scales, shape `(size, parameters)`, float64.
        directions: their left singular vectors, in columns.
        lengths: their singular values, descending.
    """

    symmetries: Symmetries
    params: Any
    scales: Any
    generators: np.ndarray
    directions: np.ndarray
    lengths: np.ndarray

    def rank(self, step: np.ndarray | None = None) -> int:
        """The dimension of the orbit at the point, or at the critical point a step away.

        A direction belongs to the tangent space where its singular value is above √ε; at the
        critical point where it is also above four times what the generators change by over the
        step, so that it cannot have vanished there. What is in doubt is left to the Hessian: a
        linear molecule has one rotation fewer, and one that is linear up to rounding too.
        """
        dtype = jax.tree.leaves(self.params)[0].dtype
        least = float(np.finfo(dtype).eps) ** 0.5
        if step is not None and self.lengths.size:
            x = ravel_host(self.params)
            there = unravel_host(self.params, x + step.astype(x.dtype))
            moved = jax.device_get(scaled_generators(self.symmetries, there, self.scales))
            change = np.linalg.norm(moved.astype(np.float64) - self.generators, 2)
            least = max(least, 4 * float(change)) if np.isfinite(change) else np.inf
        return int((self.lengths > least).sum())

    def tangent(self, rank: int, scale: np.ndarray) -> np.ndarray:
        """Its orthonormal basis in the coordinates z = scale·x, shape `(size, rank)`."""
        return np.linalg.qr(scale[:, None] * self.directions[:, :rank])[0]


def orbit_at(symmetries: Symmetries, params: Params, length: Any) -> Orbit:
    """The orbit's tangent space at a point.

    Args:
        symmetries: read and checked.
        params: the point.
        length: over which the Hessian changes, see `length_scale`.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    if not symmetries.parameters:
        return Orbit(symmetries, params, np.ones(0), np.zeros((size, 0)), np.zeros((size, 0)),
                     np.zeros(0))  # fmt: skip
    scales = generator_scales(symmetries, params, length)
    rows = scaled_generators(symmetries, params, scales)
    generators = np.asarray(jax.device_get(rows), np.float64)
    require(np.isfinite(generators).all(), "symmetries differentiable at t = 0", "NaN or infinity")
    directions, lengths, _ = np.linalg.svd(generators, full_matrices=False)
    return Orbit(symmetries, params, scales, generators, directions, lengths)
