"""Declared symmetries of a loss: checked, and divided out of what is said of its critical points.

A loss that a group of transformations leaves unchanged has critical points in orbits: a cluster of
atoms can be shifted and turned, a ReLU unit's weights rescaled. Along an orbit the Hessian of a
critical point is exactly zero, so that no minimum is one by its eigenvalues. On the quotient, the
space of orbits, it is: there the Hessian is NᵀHN, N an orthonormal basis of the complement of the
orbit's tangent space.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxml.core.checks import require, require_positive_int
from jaxml.core.empirical_risk import Loss
from jaxml.core.programs import Program, read
from jaxml.core.types import Params
from jaxml.landscape.critical.scale import length_scale, loss_rounding
from jaxml.landscape.operators.hessian import flatten
from jaxml.landscape.operators.parameter_subset import leaf_paths
from jaxml.landscape.operators.validation import ravel_host, unravel_host


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
        leaves = _leaves(params)
        for path, axis, sign in axes:
            x = _leaf(leaves, path)
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


@flax.struct.dataclass
class Symmetries:
    """What `check_symmetries` has read; a pytree.

    Attributes:
        continuous: `(t, params) -> params`.
        finite: `(params) -> params`.
        shapes: of the t of each continuous one.
        exchanges: for each group of permutations, (leaf's position, axis) of the arrays.
        names: of the continuous, the finite ones and the permutations, in this order.
    """

    continuous: tuple[Partial, ...] = ()
    finite: tuple[Partial, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = flax.struct.field(pytree_node=False, default=())
    exchanges: tuple[tuple[tuple[int, int], ...], ...] = flax.struct.field(
        pytree_node=False, default=()
    )
    names: tuple[str, ...] = flax.struct.field(pytree_node=False, default=())

    @property
    def parameters(self) -> int:
        """How many parameters t the continuous ones have together."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def transform(self, t: Float[Array, " parameters"], params: Params) -> Params:
        """The continuous ones one after another; traceable."""
        begin = 0
        for symmetry, shape in zip(self.continuous, self.shapes, strict=True):
            end = begin + int(np.prod(shape))
            params = symmetry(t[begin:end].reshape(shape), params)
            begin = end
        return params


Declared = Sequence[Symmetry] | Symmetries


def check_symmetries(symmetries: Declared, loss: Loss, params: Params) -> Symmetries:
    """Read the symmetries as they are now, and hold the loss to them.

    At the point and at two others, a tenth of and the whole length away over which the Hessian
    changes, the loss is to be the same, to rounding, before and after moves of that length and of
    a third of it the other way, each finite transformation and three permutations.

    Args:
        symmetries: functions `(t, params) -> params` of a scalar t, the identity at t = 0, or
            `params -> params`; and what `translations` and its like return.
        loss: checked.
        params: checked.

    Raises:
        ValueError: for what is no such function; naming the symmetry and the change seen where
            the loss is not the same.
    """
    held = read_symmetries(symmetries, params)
    if held.names and not any(isinstance(x, Tracer) for x in jax.tree.leaves(params)):
        _hold(held, loss, params)
    return held


def read_symmetries(symmetries: Declared, params: Params) -> Symmetries:
    """The symmetries as they are now, for parameters like these; without a look at the loss.

    Raises:
        ValueError: for what is no such function, see `check_symmetries`.
    """
    if isinstance(symmetries, Symmetries):
        return symmetries
    listed = isinstance(symmetries, Sequence) and not isinstance(
        symmetries, ContinuousSymmetry | Permutations
    )
    require(listed, "a list of symmetries", type(symmetries).__name__)
    continuous, finite, exchanges = [], [], []
    dtype = jax.tree.leaves(params)[0].dtype
    for i, symmetry in enumerate(symmetries):
        if isinstance(symmetry, Permutations):
            exchanges.append((symmetry.name, _exchange(symmetry, params)))
            continue
        if isinstance(symmetry, ContinuousSymmetry):
            name, transform, count = symmetry
            shape = () if count is None else (count,)
        else:
            name, transform, shape = _function(i, symmetry)
        t = () if shape is None else (jnp.zeros(shape, dtype),)
        program = read(transform, *t, params)
        _check_shapes(name, program.func, params)
        if shape is None:
            finite.append((name, program))
            continue
        start = jax.tree.leaves(jax.tree.map(_difference, program(*t, params), params))
        if not isinstance(start[0], Tracer):
            worst, size = max(map(float, start)), np.finfo(dtype).eps
            size *= 10 * float(np.abs(ravel_host(params)).max())
            require(worst <= size, f"the identity at t = 0 of the symmetry {name}", f"{worst:.1e}")
        continuous.append((name, program, shape))
    return Symmetries(
        continuous=tuple(program for _, program, _ in continuous),
        finite=tuple(program for _, program in finite),
        shapes=tuple(shape for _, _, shape in continuous),
        exchanges=tuple(exchange for _, exchange in exchanges),
        names=tuple(entry[0] for kind in (continuous, finite, exchanges) for entry in kind),
    )


def _function(i: int, symmetry: Any) -> tuple[str, Callable, tuple[int, ...] | None]:
    """A plain function's name, itself and the shape of its t, `None` for one without."""
    expected = "a symmetry as a function of (t, params) or of (params)"
    require(callable(symmetry), expected, type(symmetry).__name__)
    positional = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    required = [
        p.name
        for p in inspect.signature(symmetry).parameters.values()
        if p.kind in positional and p.default is p.empty
    ]
    require(len(required) in (1, 2), expected, f"one of ({', '.join(required)})")
    name = getattr(symmetry, "__name__", type(symmetry).__name__)
    name = f"symmetries[{i}]" if name == "<lambda>" else name
    return name, symmetry, () if len(required) == 2 else None


def _check_shapes(name: str, program: Any, params: Params) -> None:
    """Whether a transformation's result is like the parameters."""

    def described(tree):
        leaves, structure = jax.tree.flatten(tree)
        return structure, [(tuple(x.shape), np.dtype(x.dtype).name) for x in leaves]

    assert isinstance(program, Program)
    expected, got = described(params), described(program.outputs)
    require(
        expected == got, f"parameters of {expected} from the symmetry {name}", f"those of {got}"
    )


def _exchange(symmetry: Permutations, params: Params) -> tuple[tuple[int, int], ...]:
    leaves = _leaves(params)
    paths, found, counts = list(leaves), [], set()
    for path, axis in symmetry.axes.items():
        leaf = _leaf(leaves, path)
        inside = -leaf.ndim <= axis < leaf.ndim
        require(inside, f"an axis of {path or 'the array'}, of shape {leaf.shape}", axis)
        found.append((paths.index(path) if path else 0, axis % leaf.ndim))
        counts.add(leaf.shape[axis])
    require(len(counts) == 1, f"as many entries in all arrays of {symmetry.name}", sorted(counts))
    return tuple(found)


def _difference(a, b):
    return jnp.abs(a - b).max(initial=0)


def permuted(
    params: Params, exchange: tuple[tuple[int, int], ...], order: np.ndarray | Array
) -> Params:
    """The parameters with the entries along the axes of an exchange in another order."""
    leaves, structure = jax.tree.flatten(params)
    for i, axis in exchange:
        take = jnp.take if isinstance(leaves[i], jax.Array) else np.take
        leaves[i] = take(leaves[i], order, axis=axis)
    return structure.unflatten(leaves)


def _hold(symmetries: Symmetries, loss: Loss, params: Params) -> None:
    """Raise where the loss is not the same, naming the first symmetry that does not hold."""
    length, _ = length_scale(loss, params)
    scales = generator_scales(symmetries, params, length) if symmetries.parameters else None
    leaves = jax.tree.leaves(params)
    rng, orders = np.random.default_rng(0), []
    for exchange in symmetries.exchanges:
        (i, axis), *_ = exchange
        count = leaves[i].shape[axis]
        orders.append(np.stack([np.roll(np.arange(count), 1), *(rng.permutation(count)
                                                                for _ in range(2))]))  # fmt: skip
    found = _seen(symmetries, loss, params, length, scales, orders)
    names = np.array(_move_names(symmetries))
    for values, rounding in zip(*jax.device_get(found), strict=True):
        if not np.isfinite(values[0]):  # out of the loss's domain
            continue
        changes, allowed = np.abs(values[1:] - values[0]), rounding[1:] + rounding[0]
        wrong = ~(changes <= allowed)
        if wrong.any():
            k = int(np.argmax(np.where(wrong, np.nan_to_num(changes, nan=np.inf), -1)))
            require(
                False,
                f"a loss that the symmetry {names[k]} leaves unchanged, to {allowed[k]:.1e}",
                f"{values[0]:.6g} and after the transformation {values[k + 1]:.6g}, "
                f"a change of {changes[k]:.1e}",
            )


def _move_names(symmetries: Symmetries) -> list[str]:
    counts = [2] * len(symmetries.continuous) + [1] * len(symmetries.finite)
    counts += [3] * len(symmetries.exchanges)
    return [name for name, n in zip(symmetries.names, counts, strict=True) for _ in range(n)]


@jax.jit
def _seen(symmetries, loss, params, length, scales, orders):
    """Losses at three places, each before and after every move, and what they round by."""
    f, x = flatten(loss, params)
    unravel = ravel_pytree(params)[1]

    def moves(y):
        here, begin = unravel(y), 0
        ends = [here]
        for symmetry, shape in zip(symmetries.continuous, symmetries.shapes, strict=True):
            count = int(np.prod(shape))
            # signs rather than normal numbers: along each generator as far
            signs = jax.random.rademacher(jax.random.key(begin), (count,), x.dtype)
            t = length * signs / (scales[begin : begin + count] * count**0.5)
            ends += [symmetry((k * t).reshape(shape), here) for k in (1.0, -0.3)]
            begin += count
        ends += [symmetry(here) for symmetry in symmetries.finite]
        for exchange, some in zip(symmetries.exchanges, orders, strict=True):
            ends += [permuted(here, exchange, some[i]) for i in range(3)]
        return jnp.stack([ravel_pytree(end)[0] for end in ends])

    def measure(y):
        value = f(y)
        return value, loss_rounding(f, y, value)

    u = jax.random.normal(jax.random.key(3), (2, x.size), x.dtype)
    u = length * u / jnp.linalg.norm(u, axis=1, keepdims=True)
    places = jnp.stack([x, x + 0.1 * u[0], x + u[1]])
    return jax.lax.map(lambda place: jax.lax.map(measure, moves(place)), places)


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


def _named(name: str, leaf: str | None) -> str:
    return name if leaf is None else f"{name} of {leaf}"


def _leaves(params: Params) -> dict[str, Any]:
    return dict(zip(leaf_paths(params), jax.tree.leaves(params), strict=True))


def _leaf(leaves: dict[str, Any], path: str) -> Any:
    """That of a path, the only one for an empty path."""
    if path == "" and len(leaves) == 1:
        return next(iter(leaves.values()))
    require(path in leaves, f"one of {', '.join(leaves)} as the array's path", repr(path))
    return leaves[path]


def _points(function: Callable, params: Params, at: dict[str, int]) -> Params:
    """The parameters with one array, of points in its last axis, transformed."""
    ((path, dim),) = at.items()
    leaves, structure = _leaves(params), jax.tree.structure(params)
    x = jnp.asarray(_leaf(leaves, path))
    fits = x.ndim >= 1 and x.shape[-1] == dim
    require(fits, f"points of {dim} coordinates, shape (..., {dim})", f"shape {x.shape}")
    leaves[path if path in leaves else next(iter(leaves))] = function(x)
    return structure.unflatten(leaves.values())
