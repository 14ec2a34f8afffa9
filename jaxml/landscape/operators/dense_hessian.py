"""The Hessian as a matrix: which way, how much of it at a time, what it takes."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxml.core.checks import require
from jaxml.core.empirical_risk import (
    EmpiricalRisk,
    divisible,
    examples,
    fold_batches,
    over_batches,
    over_examples,
)
from jaxml.core.sharding import constrain
from jaxml.core.types import Params
from jaxml.landscape.operators.layer_blocks import add_layer_blocks, as_the_leaves, row_bytes
from jaxml.landscape.operators.layer_detection import Layer, find_layers
from jaxml.landscape.operators.validation import trace

Result = TypeVar("Result")

# columns formed together: on CPU a few stay in the cache, an accelerator wants them all at once
_CPU_BLOCK = 8
# leaves are taken together until so few groups remain: each is a program of its own to compile
_GROUPS = 3


class Dense(NamedTuple):
    """How to form a Hessian; equal for equal fields, to be compiled once.

    Attributes:
        layers: the dense layers whose blocks are matrix products; none if it does not apply.
        block: columns of the rest that are formed together.
        batch_size: rows of the data that are taken at a time, all if `None`.
    """

    layers: tuple[Layer, ...]
    block: int
    batch_size: int | None = None


def plan_dense(
    loss: Any, params: Params, memory: int | None = None, copies: int = 2, lanes: int = 1
) -> Dense:
    """How to form the Hessian within a memory bound.

    Args:
        loss: `params -> scalar`, checked.
        params: where.
        memory: the bound in bytes; half of what is free on the device by default.
        copies: how many matrices of the Hessian's size are alive at once.
        lanes: devices that form columns of their own.

    Raises:
        ValueError: if not even one column at a time fits, with what it would need.
    """
    leaves = jax.tree.leaves(params)
    n, itemsize = sum(leaf.size for leaf in leaves), leaves[0].dtype.itemsize
    # an upper bound of what one product keeps alive: every intermediate value, and its tangent
    column = 2 * _intermediate_bytes(trace(loss, params).jaxpr.jaxpr)
    bound = available_memory() // 2 if memory is None else memory
    matrix = copies * n * n * itemsize
    taken, layers, batch_size, beside = over_examples(loss), (), None, 2 * column
    if taken is not None:
        layers = find_layers(taken, params) if lanes == 1 else ()
        count = examples(taken.batch)
        size = taken.batch_size or count
        each = row_bytes(layers, itemsize) + beside // count
        if matrix + size * each > bound and divisible(taken, params):
            while matrix + size * each > bound and size > 64:
                size //= 2
        batch_size, beside = None if size >= count else size, min(size, count) * each
        column = column * min(size, count) // count
    require_matrix(n, leaves[0].dtype, memory, copies, beside)
    fits = 1 + (bound - matrix - beside) // column if column else n
    block = int(min(n, fits, _CPU_BLOCK if jax.default_backend() == "cpu" else n))
    return Dense(layers, block, batch_size)


def require_matrix(
    size: int, dtype: Any, memory: int | None = None, copies: int = 2, beside: int = 0
) -> None:
    """Refuse a matrix that does not fit.

    Args:
        size: its rows.
        dtype: its dtype.
        memory: the bound in bytes; half of what is free on the device by default.
        copies: how many of its size are alive at once.
        beside: bytes of what else is.

    Raises:
        ValueError: with what it would need, and what needs no matrix.
    """
    bound = available_memory() // 2 if memory is None else memory
    needed = copies * size**2 * np.dtype(dtype).itemsize + beside
    require(
        needed <= bound,
        f"at most {gib(bound)} of memory for the dense matrix",
        f"{size:,} parameters ({dtype}), which need {gib(needed)}; instead, use "
        "`landscape.eigenpairs` for the extreme eigenvalues and `landscape.spectral_density` "
        "for all of them, which need no matrix, analyse fewer parameters, or raise `memory`",
    )


def checked(form: Callable[[Dense], tuple[Result, Any]], plan: Dense) -> Result:
    """What is made of dense Hessians, by matrix products where they pass their check.

    Args:
        form: plan -> the result, and the errors of all Hessians in it, from `dense_hessian`.
        plan: from `plan_dense`.

    Returns:
        The result; where an error is more than 1 that of the plan without layers, with a warning.
        Where the errors are traced that is not known: then these Hessians are NaN.
    """
    result, errors = form(plan)
    if not plan.layers or isinstance(errors, Tracer):
        return result
    worst = float(np.max(errors))
    if worst <= 1:
        return result
    warnings.warn(
        f"the Hessian formed by matrix products differs from its product with a random vector by "
        f"{worst:.1e} times what rounding explains; it is formed column by column instead. Do the "
        "samples couple in a way that the program does not show?",
        RuntimeWarning,
        stacklevel=3,
    )
    return form(plan._replace(layers=()))[0]


def dense_hessian(
    loss: Any, params: Params, plan: Dense, mesh: Mesh | None = None
) -> tuple[Float[Array, "size size"], Float[Array, ""]]:
    """∇²L over the flattened parameters, checked where matrix products form it; traceable.

    Args:
        loss: `params -> scalar`, checked.
        params: where.
        plan: from `plan_dense`.
        mesh: each device along its axis `lanes`, where it has one, forms columns of its own.

    Returns:
        The matrix, and the error of its product with a random vector over what rounding explains,
        0 without layers. The matrix has NaN on its diagonal where that is more than 1.
    """
    leaves, structure = jax.tree.flatten(params)
    size, dtype = sum(leaf.size for leaf in leaves), leaves[0].dtype
    offsets = [0, *itertools.accumulate(leaf.size for leaf in leaves)]
    layered = sorted({i for layer in plan.layers for i in layer.leaves()})
    rest = [i for i, leaf in enumerate(leaves) if leaf.size and i not in layered]
    groups = _groups(rest, leaves)
    alone = len(groups)
    groups += [layered] if layered else []

    def strips(f):
        """The groups' rows, from the diagonal on, of the Hessian of f; but of the layers' none."""
        vectors = [ravel_pytree([leaves[i] for i in group]) for group in groups]

        def of_vectors(xs):
            filled = list(leaves)
            for group, x, (_, unravel) in zip(groups, xs, vectors, strict=True):
                for i, leaf in zip(group, unravel(x), strict=True):
                    filled[i] = leaf
            return f(structure.unflatten(filled))

        xs = [x for x, _ in vectors]
        return [_rows(of_vectors, xs, i, plan.block, mesh) for i in range(alone)]

    matrix = jnp.zeros((size, size), dtype)
    taken = over_examples(loss)
    if taken is None:
        return _assemble(strips(loss), groups, leaves, offsets, matrix), jnp.zeros((), dtype)
    _, batch = taken.placed(params, taken.batch)
    weight = taken.objective.divisor(batch, dtype)
    batch_size = plan.batch_size or examples(batch)

    def strips_of_rows(rows):
        return strips(lambda p: taken.objective.total(p, taken.state, rows) / weight)

    def add_blocks(matrix, rows):
        fresh = plan.batch_size is None
        return add_layer_blocks(matrix, taken, params, plan.layers, offsets, rows, weight, fresh)

    if layered:
        matrix = fold_batches(add_blocks, matrix, batch, batch_size, taken.mesh)
        matrix = as_the_leaves(matrix, plan.layers, offsets)
    if alone:
        rows = over_batches(strips_of_rows, batch, batch_size, taken.mesh)
        matrix = _assemble(rows, groups, leaves, offsets, matrix)
    shift, error = taken.objective.l2, jnp.zeros((), dtype)
    if layered:
        error = _error(matrix, taken, params, plan.batch_size)
        shift += jnp.where(error <= 1, 0, jnp.nan).astype(dtype)
    diagonal = jnp.arange(size)
    return matrix.at[diagonal, diagonal].add(shift), error


# times ε√(rows + columns), to which the rounding errors of so many terms add up at random, for
# terms that cancel and for what every layer adds; random programs stay below a tenth of it
_ROUNDING = 50


def _error(matrix: Array, taken: EmpiricalRisk, params: Params, batch_size: int | None) -> Array:
    """How far the matrix is from products, over what rounding explains; not its part by l2."""
    x, unravel = ravel_pytree(params)
    vector = jax.random.normal(jax.random.key(0), x.shape, x.dtype)
    expected = product_over_rows(taken, params, vector, batch_size)
    got = matrix @ vector
    # of a random vector the product has the Frobenius norm of the matrix on average
    size = jnp.maximum(jnp.linalg.norm(expected), jnp.linalg.norm(got))
    rounding = _ROUNDING * jnp.finfo(x.dtype).eps * (x.size + examples(taken.batch)) ** 0.5
    difference = jnp.linalg.norm(got - expected)

    def of_the_outputs():
        # a fitted example's curvature is what its outputs' rounding leaves of one: ‖JᵀJv‖/N
        at, batch = taken.placed(params, taken.batch)
        predict = lambda v: taken.objective.predict(unravel(v), taken.state, batch)  # noqa: E731
        _, push = jax.linearize(predict, ravel_pytree(at)[0])
        (back,) = jax.linear_transpose(push, vector)(push(vector))
        return jnp.maximum(size, jnp.linalg.norm(back) / taken.objective.divisor(batch, x.dtype))

    size = jax.lax.cond(difference <= size * rounding, lambda: size, of_the_outputs)
    error = difference / jnp.where(size > 0, size * rounding, 1)
    # a loss that is not finite is not for want of a check
    nowhere = ~jnp.isfinite(got).all() & ~jnp.isfinite(expected).all()
    return jnp.where(nowhere, 0, error)


def product_over_rows(
    taken: EmpiricalRisk, params: Params, vector: Float[Array, " size"], batch_size: int | None
) -> Float[Array, " size"]:
    """The Hessian of a loss over data, without its penalty, times a vector; traceable.

    Args:
        taken: the loss.
        params: where.
        vector: flat.
        batch_size: rows that are taken at a time, all if `None`.
    """
    x, unravel = ravel_pytree(params)
    params, batch = taken.placed(params, taken.batch)

    def product(rows):
        f = lambda v: taken.objective.total(unravel(v), taken.state, rows)  # noqa: E731
        return jax.jvp(jax.grad(f), (x,), (vector,))[1]

    sums = over_batches(product, batch, batch_size or examples(batch), taken.mesh)
    return sums / taken.objective.divisor(batch, x.dtype)


def _groups(indices: Sequence[int], leaves: Sequence[Any]) -> list[list[int]]:
    """Consecutive leaves together, until few groups of similar sizes remain."""
    groups = [[i] for i in indices]
    sizes = [leaves[i].size for i in indices]
    while len(groups) > _GROUPS:
        k = int(np.argmin([a + b for a, b in itertools.pairwise(sizes)]))
        groups[k : k + 2] = [groups[k] + groups[k + 1]]
        sizes[k : k + 2] = [sizes[k] + sizes[k + 1]]
    return groups


def _rows(f: Callable, xs: list[Any], i: int, block: int, mesh: Mesh | None) -> Array:
    """Rows i of the Hessian of f(xs), from the i-th block of columns on: symmetry has the rest."""

    def gradients(x):
        later = jax.grad(lambda ys: f([*xs[:i], *ys]))([x, *xs[i + 1 :]])
        return jnp.concatenate(later)

    lanes = 1 if mesh is None else mesh.shape.get("lanes", 1)
    size, dtype = xs[i].size, xs[i].dtype
    _, product = jax.linearize(gradients, xs[i])
    block = lanes * min(block, -(-size // lanes))

    def some(first):
        units = jax.nn.one_hot(first + jnp.arange(block), size, dtype=dtype)
        return jax.vmap(product)(constrain(units, mesh, "lanes" if lanes > 1 else None))

    rows = constrain(jax.lax.map(some, block * jnp.arange(-(-size // block))), mesh)
    return rows.reshape(-1, rows.shape[-1])[:size]


def _assemble(strips, groups, leaves, offsets, matrix):
    """The groups' strips where they belong in the matrix, and mirrored."""
    for g, strip in enumerate(strips):
        begin = 0
        for h in range(g, len(groups)):
            for j in groups[h]:
                piece = strip[:, begin : begin + leaves[j].size]
                begin += leaves[j].size
                top = 0
                for i in groups[g]:
                    part = piece[top : top + leaves[i].size]
                    top += leaves[i].size
                    if h == g:  # symmetric up to rounding; exactly so from here on
                        if j < i:
                            continue
                        if i == j:
                            part = (part + part.T) / 2
                    place = jax.lax.dynamic_update_slice
                    matrix = place(matrix, part, (offsets[i], offsets[j]))
                    if i != j:
                        matrix = place(matrix, part.T, (offsets[j], offsets[i]))
    return matrix


def available_memory() -> int:
    """Bytes free on the default device; on CPU those the operating system could give."""
    stats = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return psutil.virtual_memory().available


def gib(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 / 100 else f"{count / 2**20:,.2f} MiB"


def _intermediate_bytes(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        repeats = equation.params.get("length", 1)  # a scan keeps every step's values
        inner = [getattr(p, "jaxpr", p) for p in jax.tree.leaves(list(equation.params.values()))]
        total += repeats * sum(_intermediate_bytes(j) for j in inner if hasattr(j, "eqns"))
        for variable in equation.outvars:
            shape = getattr(variable.aval, "shape", ())
            total += math.prod(shape) * getattr(variable.aval.dtype, "itemsize", 8)
    return total
