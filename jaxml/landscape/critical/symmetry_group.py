"""Declared symmetries read as they are now, for parameters of given shapes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxml.core.checks import require
from jaxml.core.programs import Program, read
from jaxml.core.types import Params
from jaxml.landscape.critical.symmetries import (
    ContinuousSymmetry,
    Permutations,
    Symmetry,
    leaf_at,
    leaves_by_path,
)
from jaxml.landscape.operators.validation import ravel_host


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
    leaves = leaves_by_path(params)
    paths, found, counts = list(leaves), [], set()
    for path, axis in symmetry.axes.items():
        leaf = leaf_at(leaves, path)
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
