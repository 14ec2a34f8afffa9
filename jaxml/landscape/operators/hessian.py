"""The Hessian of any `loss(params) -> scalar`, as products and as a dense matrix."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxml.core.checks import require
from jaxml.core.empirical_risk import divisible, examples, over_examples
from jaxml.core.sharding import check_mesh, constrain, place
from jaxml.core.types import Params
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.dense_hessian import (
    available_memory,
    checked,
    dense_hessian,
    plan_dense,
    product_over_rows,
)
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.parameter_subset import on_layers
from jaxml.landscape.operators.validation import (
    check_problem,
    checked_problem,
    leaves_float64,
    needs_float64,
    precision,
)


@takes_modules
def hessian(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    layers: str | Sequence[str] | None = None,
    memory: int | None = None,
    mesh: Mesh | None = None,
) -> SymmetricOperator:
    """The Hessian of a loss at a point.

    Args:
        loss: `params -> scalar`, twice differentiable by JAX. One that is a pytree of its
            data, as `training.full_loss` and `data_loss` return and a `jax.tree_util.Partial` is,
            is compiled once for all data of one shape; of the former two the matrix is formed
            faster.
        params: a pytree of arrays, float32 or float64; float64 where any of them is. Or a module of
            NNX or Equinox, which the loss is then a function of: its parameters are what varies,
            the `nnx.Param` or the arrays of floating-point numbers, all else is kept as it is. What
            is returned is like its parameters: a nested dict for NNX, the module with None in
            place of the rest for Equinox. All functions of this package take such modules.
        layers: the parameters it is of, as `on_layers` names them; all by default.
        memory: bytes that the products, or `dense()`, may take on a device; half of what is free
            by default.
        mesh: devices to work together. Each takes its share of the examples, of a loss from
            `full_loss(..., mesh=mesh)`, along the axis `data`, and its share of the columns of
            `dense()`, of any loss, along the axis `lanes`. Results are whole on every device.

    Returns:
        An operator; nothing is computed before one of its functions is called. In float64
        outside `jax.enable_x64(True)` their results are numpy arrays.

    Raises:
        ValueError: if the loss is no scalar function, does not depend on the parameters or is not
            the same function every time; if the parameters are not floating point or not finite;
            if the mesh is none or has neither axis; from `dense()` where the matrix does not fit,
            with what it would need.
        BackendError: if the backend computes known answers wrong.

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
    if layers is not None:
        loss, params = on_layers(loss, params, layers)
    float64 = needs_float64(params, False)
    with checked_problem(loss, params, float64) as problem:
        loss, params = problem
        params = place(params, mesh)
    lanes = 1 if mesh is None else mesh.shape.get("lanes", 1)
    plan = functools.cache(lambda: plan_dense(loss, params, memory, lanes=lanes))
    return SymmetricOperator(
        size=sum(leaf.size for leaf in jax.tree.leaves(params)),
        dtype=np.dtype(jax.tree.leaves(params)[0].dtype),
        unravel=unraveled(params, float64),
        make_product=lambda: _hessian_product(loss, params, memory, mesh),
        make_dense=lambda: checked(lambda plan: _dense(loss, params, plan, mesh), plan()),
    )


def unraveled(params: Params, float64: bool) -> Callable:
    """Flat vector -> a pytree shaped as the parameters, numpy's where they need float64."""

    def unravel(vector):
        with precision(float64):
            tree = ravel_pytree(params)[1](jnp.asarray(vector))
            return jax.device_get(tree) if leaves_float64(float64) else tree

    return unravel


@jax.jit(static_argnames=("plan", "mesh"))
def _dense(loss, params, plan, mesh):
    matrix, error = dense_hessian(loss, params, plan, mesh)
    return constrain(matrix, mesh), error


def _hessian_product(loss, params, memory, mesh) -> Partial:
    """The product, linearised once if what that keeps fits into memory."""
    bound = available_memory() // 2 if memory is None else memory
    taken = over_examples(loss)
    size = None if taken is None else taken.batch_size
    if size is None:
        kept = kept_bytes(_linearized.eval_shape(loss, params))
        if kept <= bound // 2:
            product = _linearized(loss, params)
            return product if mesh is None else Partial(_Whole(mesh), product)
        if taken is not None and divisible(taken, params):
            size = max(1, examples(taken.batch) * (bound // 4) // kept)
    return Partial(_plain if size is None else _InBatches(size), loss, params)


def kept_bytes(tree: Any) -> int:
    """Bytes of a pytree of arrays, or of the shapes that `eval_shape` gives."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@jax.jit
def _linearized(loss, params):
    f, x = flatten(loss, params)
    return jax.linearize(jax.grad(f), x)[1]


@dataclasses.dataclass(frozen=True)
class _Whole:
    """A product whose result is whole on every device; equal for equal meshes."""

    mesh: Mesh

    def __call__(self, product, vector):
        return constrain(product(vector), self.mesh)


@dataclasses.dataclass(frozen=True)
class _InBatches:
    """The Hessian's product, so many rows at a time; equal for equal fields."""

    batch_size: int

    def __call__(self, loss, params, vector):
        taken = over_examples(loss)
        assert taken is not None
        product = product_over_rows(taken, params, vector, self.batch_size)
        return constrain(product + taken.objective.l2 * vector, taken.mesh)


def _plain(loss, params, vector):
    return hessian_vector_product(*flatten(loss, params), vector)


def flatten(loss: Callable, params: Params) -> tuple[Callable, Float[Array, " size"]]:
    """The loss as a function of one vector, and the parameters as that vector."""
    x, unravel = ravel_pytree(params)
    return lambda v: loss(unravel(v)), x


def hessian_vector_product(
    f: Callable, x: Float[Array, " size"], vector: Float[Array, " size"]
) -> Float[Array, " size"]:
    """∇²f(x)·v, forward over reverse."""
    return jax.jvp(jax.grad(f), (x,), (vector,))[1]


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of a Hessian between two sets of layers.

    Attributes:
        shape: `(rows, columns)`.
        matvec: flat vector over the columns -> the block times it.
        rmatvec: flat vector over the rows -> the transposed block times it.
    """

    shape: tuple[int, int]
    matvec: Callable[[Float[Array, " columns"]], Float[Array, " rows"]]
    rmatvec: Callable[[Float[Array, " rows"]], Float[Array, " columns"]]


@takes_modules
def hessian_block(
    loss: Callable[[Params], Any],
    params: Params,
    rows: str | Sequence[str],
    columns: str | Sequence[str],
) -> Block:
    """The block of the Hessian between some layers and others, as products.

    Args:
        loss: `params -> scalar`, see `hessian`.
        params: the point.
        rows: layers, as `on_layers` names them, by which the gradient is taken.
        columns: layers that are moved.

    Raises:
        ValueError: for a bad loss, parameters or names.

    Example:
        >>> loss = lambda p: p["a"][0] * p["b"].prod()
        >>> block = hessian_block(loss, {"a": jnp.ones(1), "b": 2 * jnp.ones(2)}, "a", "b")
        >>> block.shape, block.matvec(jnp.ones(2)).tolist()
        ((1, 2), [4.0])
    """
    float64 = needs_float64(params, False)
    sides = []
    for of in (rows, columns):
        with precision(float64):
            sides.append(check_problem(*on_layers(loss, params, of), float64=float64)[1])
    upper, right = sides

    def product(by, along):
        """Of the gradient by some layers, along others."""

        def call(vector):
            with precision(float64):
                flat = jnp.asarray(vector)
                result = _between(whole, by, along, flat)
                return jax.device_get(result) if leaves_float64(float64) else result

        return call

    with precision(float64):
        names = [*dict.fromkeys([*upper, *right])]
        whole, _ = check_problem(*on_layers(loss, params, names), float64=float64)
    return Block(
        shape=(_size(upper), _size(right)),
        matvec=product(upper, right),
        rmatvec=product(right, upper),
    )


def _size(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@jax.jit
def _between(loss, by, along, vector):
    x, unravel = ravel_pytree(along)

    def gradient(v):
        at = {**by, **unravel(v)}
        some = {name: at[name] for name in by}
        return ravel_pytree(jax.grad(lambda p: loss({**at, **p}))(some))[0]

    return jax.jvp(gradient, (x,), (vector,))[1]
