"""The Hessian of any `loss(params) -> scalar`, as products and as a matrix."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxml.checks import require
from jaxml.landscape.problem import check_problem, leaves_float64, needs_float64, precision, trace
from jaxml.placement import check_mesh, constrain, place
from jaxml.types import Params

# columns formed together: on CPU a few stay in the cache, an accelerator wants them all at once
_CPU_BLOCK = 8


@dataclasses.dataclass(frozen=True)
class SymmetricOperator:
    """A symmetric matrix over the flattened parameters.

    Attributes:
        product: as `matvec`, for what is compiled: a pytree that carries the data, to be called
            on JAX arrays within `precision(operator.dtype == "float64")`.
        matvec: flat vector of shape `(size,)` -> the matrix times it.
        dense: `() -> matrix` of shape `(size, size)`; raises `ValueError` where it would not
            fit into memory.
        size: how many parameters.
        dtype: float32 or float64.
        unravel: flat vector -> a pytree shaped as the parameters.
    """

    product: Partial
    matvec: Callable[[Float[Array, " size"]], Float[Array, " size"]]
    dense: Callable[[], Float[Array, "size size"]]
    size: int
    dtype: np.dtype
    unravel: Callable[[Float[Array, " size"]], Params]


def hessian(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    memory: int | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> SymmetricOperator:
    """The Hessian of a loss at a point.

    Args:
        loss: `params -> scalar`, twice differentiable by JAX. A `jax.tree_util.Partial` that
            carries its data, such as `training.full_loss` returns, is compiled once for all data
            of one shape.
        params: a pytree of arrays, float32 or float64; float64 where any of them is.
        memory: bytes that `dense()` may take on a device; half of what is free by default.
        mesh: devices to work together. Each takes its share of the examples, of a loss from
            `full_loss(..., mesh=mesh)`, along the axis `data`, and its share of the columns of
            `dense()`, of any loss, along the axis `lanes`. Results are whole on every device.

    Returns:
        An operator; nothing is computed before one of its functions is called. In float64
        outside `jax.enable_x64(True)` their results are numpy arrays.

    Raises:
        ValueError: if the loss is no scalar function or does not depend on the parameters; if the
            parameters are not floating point or not finite; if the mesh is none or has neither
            axis; from `dense()` where the matrix does not fit, with what it would need.

    Reference:
        Pearlmutter 1994, "Fast exact multiplication by the Hessian", for the products.

    Example:
        >>> import jax.numpy as jnp
        >>> operator = hessian(lambda w: (1 - w[0] * w[1]) ** 2, jnp.zeros(2))
        >>> operator.dense().tolist()
        [[0.0, -2.0], [-2.0, 0.0]]
        >>> operator.matvec(jnp.array([1.0, 0.0])).tolist()
        [0.0, -2.0]
    """
    mesh = check_mesh(mesh)
    known = mesh is None or {"data", "lanes"} & {*mesh.axis_names}
    require(known, "a mesh with an axis 'data' or 'lanes'", mesh)
    float64 = needs_float64(params, False)
    leaves = leaves_float64(float64)
    with precision(float64):
        loss, params = check_problem(loss, params, float64=float64)
        params = place(params, mesh)

    def hosted(function):
        def call(*arguments):
            with precision(float64):
                result = function(*arguments)
                return jax.device_get(result) if leaves else result

        return call

    return SymmetricOperator(
        product=Partial(_matvec, loss, params, mesh=mesh),
        matvec=hosted(lambda vector: _matvec(loss, params, vector, mesh=mesh)),
        dense=hosted(lambda: _dense(loss, params, block_size(loss, params, memory), mesh)),
        size=sum(leaf.size for leaf in jax.tree.leaves(params)),
        dtype=np.dtype(jax.tree.leaves(params)[0].dtype),
        unravel=hosted(lambda vector: ravel_pytree(params)[1](jnp.asarray(vector))),
    )


@jax.jit(static_argnames="mesh")
def _matvec(loss, params, vector, *, mesh=None):
    f, x = flatten(loss, params)
    return constrain(hessian_vector_product(f, x, vector), mesh)


def flatten(loss: Callable, params: Params) -> tuple[Callable, Float[Array, " size"]]:
    """The loss as a function of one vector, and the parameters as that vector."""
    x, unravel = ravel_pytree(params)
    return lambda v: loss(unravel(v)), x


def hessian_vector_product(
    f: Callable, x: Float[Array, " size"], vector: Float[Array, " size"]
) -> Float[Array, " size"]:
    """∇²f(x)·v, forward over reverse."""
    return jax.jvp(jax.grad(f), (x,), (vector,))[1]


def dense_hessian(
    f: Callable, x: Float[Array, " size"], block: int, mesh: jax.sharding.Mesh | None = None
) -> Float[Array, "size size"]:
    """∇²f(x), `block` columns at a time; traceable.

    Args:
        f: vector -> scalar.
        x: where.
        block: columns formed together, see `block_size`.
        mesh: each device along its axis `lanes`, where it has one, forms columns of its own.
    """
    lanes = 1 if mesh is None else mesh.shape.get("lanes", 1)
    if block >= x.size and lanes == 1:
        matrix = jax.hessian(f)(x)
    else:
        _, product = jax.linearize(jax.grad(f), x)
        block = lanes * min(block, -(-x.size // lanes))
        blocks = -(-x.size // block)

        def columns(first):
            units = jax.nn.one_hot(first + jnp.arange(block), x.size, dtype=x.dtype)
            return jax.vmap(product)(constrain(units, mesh, "lanes" if lanes > 1 else None))

        matrix = constrain(jax.lax.map(columns, block * jnp.arange(blocks)), mesh)
        matrix = matrix.reshape(-1, x.size)[: x.size]
    # symmetric up to rounding; exactly so from here on
    return (matrix + matrix.T) / 2


@jax.jit(static_argnames=("block", "mesh"))
def _dense(loss, params, block, mesh):
    return constrain(dense_hessian(*flatten(loss, params), block, mesh), mesh)


def block_size(loss: Callable, params: Params, memory: int | None = None, copies: int = 2) -> int:
    """How many columns of the Hessian to form at a time within a memory bound.

    Args:
        loss: `params -> scalar`.
        params: where.
        memory: the bound in bytes; half of what is free on the device by default.
        copies: how many matrices of the Hessian's size are alive at once.

    Raises:
        ValueError: if not even one column at a time fits, with what it would need.
    """
    leaves = jax.tree.leaves(params)
    n, itemsize = sum(leaf.size for leaf in leaves), leaves[0].dtype.itemsize
    # an upper bound of what one product keeps alive: every intermediate value, and its tangent
    column = 2 * _intermediate_bytes(trace(loss, params).jaxpr.jaxpr)
    bound = available_memory() // 2 if memory is None else memory
    needed = copies * n * n * itemsize + 2 * column
    require(
        needed <= bound,
        f"at most {_gib(bound)} of memory for the dense Hessian",
        f"{n:,} parameters ({leaves[0].dtype}), which need {_gib(needed)}; instead, give "
        "hessian(loss, params).matvec, which needs no matrix, to scipy.sparse.linalg.eigsh "
        "for the eigenvalues at either end, analyse fewer parameters, or raise `memory`",
    )
    fits = 1 + (bound - needed) // column if column else n
    return int(min(n, fits, _CPU_BLOCK if jax.default_backend() == "cpu" else n))


def available_memory() -> int:
    """Bytes free on the default device; on CPU those the operating system could give."""
    stats = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    return psutil.virtual_memory().available


def _gib(count: int) -> str:
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
