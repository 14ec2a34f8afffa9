"""Symmetries of a loss, as its user declares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Params
from jaxml.landscape.operators.parameter_subset import leaf_paths


class ContinuousSymmetry(NamedTuple):
    """Transformations that leave a loss unchanged, with parameters t.

    Attributes:
        name: what messages call it.
        transform: `(t, params) -> params`, the identity at t = 0, differentiable in t there.
        parameters: how many: t has the shape `(parameters,)`; `None` for a scalar t.
    """

    name: str
    transform: Callable[[Any, Params], Params]
    parameters: int | None = None


class Permutations(NamedTuple):
    """All permutations of things that are alike, such as atoms or the units of a layer.

    Attributes:
        axes: for each array that holds a share of them, by path, the axis they are along; of the
            only array the path is `""`.
    """

    axes: Mapping[str, int]

    @property
    def name(self) -> str:
        """What messages call it."""
        where = [f"axis {axis} of {path}" if path else f"axis {axis}" for path, axis in self._items]
        return f"permutations along {', '.join(where)}"

    @property
    def _items(self) -> list[tuple[str, int]]:
        return list(self.axes.items())


Symmetry = (
    ContinuousSymmetry | Permutations | Callable[[Any, Params], Params] | Callable[[Params], Params]
)


def translations(dim: int, *, leaf: str | None = None) -> ContinuousSymmetry:
    """All points moved together: of an array of shape `(..., dim)`.

    Args:
        dim: coordinates of a point.
        leaf: the path of the array in the parameters, see `layer_names`; the only one by default.

    Example:
        >>> shift = translations(2)
        >>> shift.transform(jnp.array([1.0, 0.0]), jnp.zeros((2, 2))).tolist()
        [[1.0, 0.0], [1.0, 0.0]]
    """
    dim = require_positive_int("dim", dim)
    at = {leaf or "": dim}
    return ContinuousSymmetry(
        _named("translations", leaf), lambda t, params: _points(lambda x: x + t, params, at), dim
    )


def rotations(dim: int, *, leaf: str | None = None) -> ContinuousSymmetry:
    """All points turned about the origin: of an array of shape `(..., dim)`.

    Args:
        dim: coordinates of a point, at least 2.
        leaf: the path of the array in the parameters, see `layer_names`; the only one by default.

    Example:
        >>> turn = rotations(2)
        >>> end = turn.transform(jnp.array([jnp.pi / 2]), jnp.array([1.0, 0.0]))
        >>> bool(jnp.allclose(end, jnp.array([0.0, 1.0]), atol=1e-6))
        True
    """
    dim = require_positive_int("dim", dim)
    require(dim >= 2, "at least 2 dimensions to turn in", dim)
    planes = [(i, j) for i in range(dim) for j in range(i + 1, dim)]

    def turn(t, x):
        for k, (i, j) in enumerate(planes):
            c, s, a, b = jnp.cos(t[k]), jnp.sin(t[k]), x[..., i], x[..., j]
            x = x.at[..., i].set(c * a - s * b).at[..., j].set(s * a + c * b)
        return x

    at = {leaf or "": dim}
    return ContinuousSymmetry(
        _named("rotations", leaf),
        lambda t, params: _points(lambda x: turn(t, x), params, at),
        len(planes),
    )


def reflection(dim: int, *, leaf: str | None = None) -> Callable[[Params], Params]:
    """All points mirrored, the first coordinate negated: of an array of shape `(..., dim)`.

    With `rotations` it declares mirror images to be copies.

    Args:
        dim: coordinates of a point.
        leaf: the path of the array in the parameters, see `layer_names`; the only one by default.

    Example:
        >>> reflection(2)(jnp.array([1.0, 2.0])).tolist()
        [-1.0, 2.0]
    """
    at = {leaf or "": require_positive_int("dim", dim)}

    def mirrored(params: Params) -> Params:
        return _points(lambda x: x.at[..., 0].multiply(-1), params, at)

    mirrored.__name__ = _named("reflection", leaf)
    return mirrored


def rescaling(
    units: int, incoming: Mapping[str, int], outgoing: Mapping[str, int]
) -> ContinuousSymmetry:
    """The weights into each unit of a layer times eᵗ, those out of it times e⁻ᵗ.

    That leaves a network unchanged whose activation is homogeneous: ReLU, leaky ReLU or none.

    Args:
        units: how many.
        incoming: for each array into the units, by path, the axis that they are along; the biases
            belong to them.
        outgoing: the same of the arrays out of them.

    Example:
        >>> scale = rescaling(1, {"in": 1}, {"out": 0})
        >>> params = {"in": jnp.ones((2, 1)), "out": jnp.ones((1, 1))}
        >>> jax.tree.map(lambda w: w.tolist(), scale.transform(jnp.log(jnp.array([2.0])), params))
        {'in': [[2.0], [2.0]], 'out': [[0.5]]}
    """
    units = require_positive_int("units", units)
    axes = [(path, axis, sign) for side, sign in ((incoming, 1), (outgoing, -1))
            for path, axis in side.items()]  # fmt: skip
    require(bool(incoming) and bool(outgoing), "arrays into and out of the units", axes)

    def scaled(t, params):
        leaves = leaves_by_path(params)
        for path, axis, sign in axes:
            x = leaf_at(leaves, path)
            fits = -x.ndim <= axis < x.ndim and x.shape[axis] == units
            require(fits, f"{units} units along axis {axis} of {path}", f"shape {x.shape}")
            shape = [1] * x.ndim
            shape[axis] = units
            leaves[path] = x * jnp.exp(sign * t).reshape(shape)
        return jax.tree.structure(params).unflatten(leaves.values())

    return ContinuousSymmetry(f"rescaling of {', '.join(incoming)}", scaled, units)


def permutations(axes: int | Mapping[str, int]) -> Permutations:
    """All permutations of things that are alike: a finite group, by which copies are merged.

    Args:
        axes: the axis along which they are in the only array of the parameters; or for each array
            that holds a share of them, by path as in `layer_names`, its axis. The hidden units of a
            dense network are axis 1 of the kernel into them, axis 0 of their bias and of the kernel
            out of them.

    Example:
        >>> permutations({"in/kernel": 1, "in/bias": 0, "out/kernel": 0}).name
        'permutations along axis 1 of in/kernel, axis 0 of in/bias, axis 0 of out/kernel'
    """
    chosen = {"": axes} if isinstance(axes, int) else dict(axes)
    require(len(chosen) > 0, "at least one array whose entries are permuted", axes)
    return Permutations(chosen)


def _named(name: str, leaf: str | None) -> str:
    return name if leaf is None else f"{name} of {leaf}"


def _points(function: Callable, params: Params, at: dict[str, int]) -> Params:
    """The parameters with one array, of points in its last axis, transformed."""
    ((path, dim),) = at.items()
    leaves, structure = leaves_by_path(params), jax.tree.structure(params)
    x = jnp.asarray(leaf_at(leaves, path))
    fits = x.ndim >= 1 and x.shape[-1] == dim
    require(fits, f"points of {dim} coordinates, shape (..., {dim})", f"shape {x.shape}")
    leaves[path if path in leaves else next(iter(leaves))] = function(x)
    return structure.unflatten(leaves.values())


def leaves_by_path(params: Params) -> dict[str, Any]:
    """The arrays by their paths, in the order of the pytree."""
    return dict(zip(leaf_paths(params), jax.tree.leaves(params), strict=True))


def leaf_at(leaves: dict[str, Any], path: str) -> Any:
    """That of a path, the only one for an empty path."""
    if path == "" and len(leaves) == 1:
        return next(iter(leaves.values()))
    require(path in leaves, f"one of {', '.join(leaves)} as the array's path", repr(path))
    return leaves[path]
