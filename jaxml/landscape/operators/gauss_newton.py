"""Gauss–Newton and Fisher matrices of losses over data, as products.

With J the outputs' derivative by the parameters and L the mean of one value an example, all are
Jᵀ A J: they differ in A, a matrix over the outputs of each example.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from jax.tree_util import Partial

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.empirical_risk import (
    EmpiricalRisk,
    Loss,
    divisible,
    examples,
    over_batches,
    over_examples,
    weights_of,
)
from jaxml.core.row_coupling import coupling
from jaxml.core.row_rules import Mixed
from jaxml.core.seeds import key as key_of
from jaxml.core.sharding import check_mesh, constrain, place
from jaxml.core.types import Batch, Params
from jaxml.landscape.operators.base import SymmetricOperator, dense_of
from jaxml.landscape.operators.dense_hessian import available_memory
from jaxml.landscape.operators.hessian import kept_bytes, unraveled
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.parameter_subset import on_layers
from jaxml.landscape.operators.validation import checked_problem, needs_float64
from jaxml.training import losses

Draw = Callable[[jax.Array, Any, Batch], Any]
"""`(key, outputs, batch) -> y`: targets drawn from the distribution that the outputs state."""

KINDS = ("type-2", "monte carlo", "empirical")


@takes_modules
def gauss_newton(
    loss: Loss,
    params: Params,
    *,
    layers: str | Sequence[str] | None = None,
    memory: int | None = None,
    mesh: Mesh | None = None,
) -> SymmetricOperator:
    """The generalised Gauss–Newton matrix: the Hessian of the loss with the network linearised.

    A is the Hessian of an example's value by its outputs, weighted as the loss weighs it; an L2
    penalty adds λI. It is positive semi-definite where the value is convex in the outputs.

    Args:
        loss: from `training.full_loss` or `data_loss`.
        params: the point.
        layers: the parameters it is of, as `on_layers` names them; all by default.
        memory: bytes that a product may take; half of what is free by default. Rows are taken
            in batches where they do not fit.
        mesh: devices to work together, as for `hessian`.

    Raises:
        ValueError: if the loss is of another kind; for bad parameters, names or meshes as
            `hessian`.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Schraudolph 2002, "Fast curvature matrix-vector products for second-order gradient
        descent"; Martens 2020 (arXiv:1412.1193), section 8.
    """
    return _operator(_Hessian(), loss, params, layers, memory, mesh)


@takes_modules
def fisher(
    loss: Loss,
    params: Params,
    *,
    kind: Literal["type-2", "monte carlo", "empirical"] = "type-2",
    draw: Draw | None = None,
    samples: int = 1,
    seed: int = 0,
    layers: str | Sequence[str] | None = None,
    memory: int | None = None,
    mesh: Mesh | None = None,
) -> SymmetricOperator:
    """The Fisher information of the distribution that the network's outputs state.

    The value of an example is taken for its negative log-likelihood, and the matrix is the mean or
    sum of the examples', as the loss is (`reduction` of `data_loss`). `"type-2"`: A is that
    likelihood's own Fisher information in the outputs, which is the value's Hessian for softmax
    and sigmoid cross-entropy and squared errors, and equals `gauss_newton` without its penalty.
    `"monte carlo"`: A is the mean of m·g gᵀ over gradients g by the outputs at targets drawn from
    the network's distribution, m the number of likelihoods whose mean the value is (of the
    outputs for `losses.mse`). `"empirical"`: the same at the targets of the data, which is not the
    Fisher information, and vanishes where every example is fitted.

    Args:
        loss: from `training.full_loss` or `data_loss`.
        params: the point.
        kind: which.
        draw: how targets are drawn; known for `losses.softmax_cross_entropy`,
            `losses.sigmoid_cross_entropy` and `losses.mse`.
        samples: draws for each example.
        seed: of the draws; one seed is one matrix.
        layers: as for `gauss_newton`.
        memory: likewise.
        mesh: likewise.

    Raises:
        ValueError: as `gauss_newton`; if the values' distribution is not known; if a value that
            is differentiated by itself depends on the outputs of other examples.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Kunstner, Balles and Hennig 2019 (arXiv:1905.12558), section 2, for the three.
    """
    require_choice("kind", kind, KINDS)
    samples = require_positive_int("samples", samples)
    taken = over_examples(loss)
    known = None if taken is None else _DRAWS.get(taken.objective.values)
    if kind == "type-2" or (kind == "monte carlo" and draw is None):
        names = ", ".join(f.__name__ for f in _DRAWS)
        required = names if kind == "type-2" else f"{names}, or `draw`"
        other = taken is None or known is None
        require(not other, f"a distribution: a loss over data by {required}", "another loss")
    if kind == "type-2":
        return _operator(_Hessian(penalty=False), loss, params, layers, memory, mesh)
    drawn, terms = known or (None, _one)
    if kind == "empirical":
        return _operator(_Gradients(terms), loss, params, layers, memory, mesh)
    curvature = _Gradients(terms, draw or drawn, samples, seed)
    return _operator(curvature, loss, params, layers, memory, mesh)


def _operator(curvature, loss, params, layers, memory, mesh) -> SymmetricOperator:
    known = over_examples(loss) is not None
    require(known, "a loss from full_loss or data_loss", type(loss).__name__)
    mesh = check_mesh(mesh)
    if layers is not None:
        loss, params = on_layers(loss, params, layers)
    float64 = needs_float64(params, False)
    with checked_problem(loss, params, float64) as problem:
        loss, params = problem
        params = place(params, mesh)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        dtype = np.dtype(jax.tree.leaves(params)[0].dtype)
        if isinstance(curvature, _Gradients):
            _check_values(loss, params)
    make = lambda: _product(curvature, loss, params, memory, mesh)  # noqa: E731
    return SymmetricOperator(
        size=size,
        dtype=dtype,
        unravel=unraveled(params, float64),
        make_product=make,
        make_dense=lambda: dense_of(make(), size, dtype, memory),
    )


def _check_values(loss: Loss, params: Params) -> None:
    """Each example must have a gradient by its outputs: its value depends on no others."""
    taken = over_examples(loss)
    assert taken is not None
    objective, batch = taken.objective, taken.batch
    outputs = jax.eval_shape(objective.predict, params, taken.state, batch)
    found = coupling(lambda z: objective.values(z, batch), outputs, examples(batch))
    mixed = isinstance(found, Mixed) and found.known
    cause = found.cause if isinstance(found, Mixed) else ""
    require(
        not mixed, "values that each depend on one example's outputs", f"a {cause} over several"
    )


@dataclasses.dataclass(frozen=True)
class _Hessian:
    """A: the Hessian of the values by the outputs."""

    penalty: bool = True
    draw = None

    def factor(self, taken: EmpiricalRisk, outputs: Any, rows: Batch, weight: Any) -> Any:
        def total(z):
            return (taken.objective.values(z, rows) * weights_of(rows, weight.dtype)).sum() / weight

        return jax.linearize(jax.grad(total), outputs)[1]


@dataclasses.dataclass(frozen=True)
class _Gradients:
    """A: the mean of g gᵀ, g the gradients of the values by the outputs."""

    terms: Callable[[Any], int]
    draw: Draw | None = None
    samples: int = 1
    seed: int = 0
    penalty = False

    def factor(self, taken: EmpiricalRisk, outputs: Any, rows: Batch, weight: Any) -> Partial:
        def gradient(batch):
            return jax.grad(lambda z: taken.objective.values(z, batch).sum())(outputs)

        # a mean of m likelihoods has 1/m of their sum's information, not 1/m²
        scale = self.terms(outputs) * weights_of(rows, weight.dtype) / weight / self.samples
        draw = self.draw
        if draw is None:
            return Partial(_rank_one, gradient(rows)[None], scale)
        keys = jax.random.wrap_key_data(rows[_KEYS])
        rest = {name: array for name, array in rows.items() if name != _KEYS}

        def one(key, z, row):
            single = jax.tree.map(lambda leaf: leaf[None], row)
            return draw(key, z[None], single)[0]

        def sample(k):
            y = jax.vmap(one)(jax.vmap(lambda key: jax.random.fold_in(key, k))(keys), outputs, rest)
            return gradient({**rest, "y": y})

        return Partial(_rank_one, jax.lax.map(sample, jnp.arange(self.samples)), scale)


_KEYS = "keys of the draws"


def _rank_one(gradients, scale, tangent):
    axes = tuple(range(2, gradients.ndim))
    inner = (gradients * tangent).sum(axis=axes) * scale
    return (gradients * inner.reshape(inner.shape + (1,) * len(axes))).sum(axis=0)


def _product(curvature, loss, params, memory, mesh) -> Partial:
    """The product, linearised once if what that keeps fits into memory."""
    bound = available_memory() // 2 if memory is None else memory
    taken = over_examples(loss)
    assert taken is not None
    columns = {}
    if curvature.draw is not None:
        # a key for each row, so that what is drawn does not depend on how rows are batched
        keys = jax.random.split(key_of(curvature.seed), examples(taken.batch))
        columns[_KEYS] = place(np.asarray(jax.random.key_data(keys)), mesh, mesh and "data")
    size = taken.batch_size
    if size is None:
        kept = kept_bytes(_linearized.eval_shape(loss, params, columns, curvature=curvature))
        if kept <= bound // 2:
            push, factor = _linearized(loss, params, columns, curvature=curvature)
            return Partial(_Linearized(mesh), push, factor, _penalty(curvature, taken))
        size = examples(taken.batch)
        if divisible(taken, params):
            size = max(1, size * (bound // 4) // kept)
    return Partial(_InBatches(curvature, size), loss, params, columns)


def _penalty(curvature: Any, taken: EmpiricalRisk) -> Any:
    return taken.objective.l2 if curvature.penalty else 0.0


def _factors(curvature, taken, params, rows, weight):
    """The outputs' derivative, and A, over some rows."""
    x, unravel = ravel_pytree(params)
    inputs = {name: array for name, array in rows.items() if name != _KEYS}

    def outputs(v):
        return taken.objective.predict(unravel(v), taken.state, inputs)

    value, push = jax.linearize(outputs, x)
    return push, curvature.factor(taken, value, rows, weight)


def _rows(loss, params, columns):
    taken = over_examples(loss)
    assert taken is not None
    params, batch = taken.placed(params, {**taken.batch, **columns})
    weight = taken.objective.divisor(batch, jax.tree.leaves(params)[0].dtype)
    return taken, params, batch, weight


@functools.partial(jax.jit, static_argnames="curvature")
def _linearized(loss, params, columns, *, curvature):
    taken, params, batch, weight = _rows(loss, params, columns)
    return _factors(curvature, taken, params, batch, weight)


def _sandwich(push, factor, vector):
    """JᵀAJv."""
    (result,) = jax.linear_transpose(push, vector)(factor(push(vector)))
    return result


@dataclasses.dataclass(frozen=True)
class _Linearized:
    """The product from what was kept; equal for equal meshes."""

    mesh: Mesh | None

    def __call__(self, push, factor, penalty, vector):
        return constrain(_sandwich(push, factor, vector) + penalty * vector, self.mesh)


@dataclasses.dataclass(frozen=True)
class _InBatches:
    """The product, so many rows at a time; equal for equal fields."""

    curvature: Any
    batch_size: int

    def __call__(self, loss, params, columns, vector):
        taken, params, batch, weight = _rows(loss, params, columns)

        def product(rows):
            return _sandwich(*_factors(self.curvature, taken, params, rows, weight), vector)

        sums = over_batches(product, batch, self.batch_size, taken.mesh)
        return constrain(sums + _penalty(self.curvature, taken) * vector, taken.mesh)


def _draw_class(key, outputs, batch):  # noqa: ARG001
    return jax.random.categorical(key, outputs)


def _draw_binary(key, outputs, batch):
    y = jax.random.bernoulli(key, jax.nn.sigmoid(outputs)).astype(outputs.dtype)
    return y.reshape(jnp.shape(batch["y"]))


def _draw_normal(key, outputs, batch):
    # (z − y)² is −log p of a normal with variance ½
    y = outputs + jnp.sqrt(0.5) * jax.random.normal(key, outputs.shape, outputs.dtype)
    return y.reshape(jnp.shape(batch["y"]))


def _one(outputs: Any) -> int:  # noqa: ARG001
    return 1


def _positions(outputs: Any) -> int:
    return math.prod(outputs.shape[1:-1])


def _elements(outputs: Any) -> int:
    return math.prod(outputs.shape[1:])


# how targets are drawn, and of how many likelihoods an example's value is the mean
_DRAWS: dict[Any, tuple[Draw, Callable[[Any], int]]] = {
    losses.softmax_cross_entropy: (_draw_class, _positions),
    losses.sigmoid_cross_entropy: (_draw_binary, _elements),
    losses.mse: (_draw_normal, _elements),
}
