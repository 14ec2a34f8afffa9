"""The dense Hessian of a network's dense layers, as matrix products.

Perturb the pre-activation zᵢ = aᵢWᵢ + bᵢ of a layer instead of its weights: `outputs` tangents
instead of `inputs·outputs`. Where the examples do not couple, one tangent perturbs all of them at
once, and every block of the Hessian is a matrix product whose inner dimension is the examples,

    ∂²L/∂Wᵢ[p,o]∂Wⱼ[q,r] = Σₙ aᵢ[p] (∂δⱼ[r]/∂zᵢ[o]·aⱼ[q] + ∂aⱼ[q]/∂zᵢ[o]·δⱼ[r]),   δⱼ = ∂L/∂zⱼ,

for i not after j. The layers are found in the traced loss (`dense_layers`), so it does not matter
which library wrote the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.empirical_risk import EmpiricalRisk, examples, per_example, weights_of
from jaxml.core.types import Params
from jaxml.landscape.operators.layer_detection import Layer, tapped

# a block on the diagonal skips, in so many steps, what lies left of it; of up to so many rows it is
# formed whole, which takes less to compile than it saves
_STEPS = 8
_SMALL = 1024
# columns of the products that second terms are formed by
_WIDE = 256


def row_bytes(layers: Sequence[Layer], itemsize: int) -> int:
    """What `layer_blocks` keeps alive for each example: the derivatives by one layer's z, twice."""
    later = [sum(k.inputs + k.outputs for k in layers[i:]) for i in range(len(layers))]
    return (
        2 * itemsize * max((k.outputs * n for k, n in zip(layers, later, strict=True)), default=0)
    )


def add_layer_blocks(
    matrix: jax.Array,
    parts: EmpiricalRisk,
    params: Params,
    layers: Sequence[Layer],
    offsets: Sequence[int],
    rows: dict[str, Any],
    weight: Any,
    fresh: bool,
) -> jax.Array:
    """Add the Hessian of Σ value·weights/weight over some rows, between layers; traceable.

    Every strip goes to its place, and transposed to its mirror image, as soon as it is formed: at
    this speed a pass over the matrix costs as much as a quarter of the products.

    Args:
        matrix: over the flattened parameters, but with every W as (inputs, outputs).
        parts: the loss.
        params: where.
        layers: from `find_layers`.
        offsets: where each leaf of the parameters begins.
        rows: the examples.
        weight: what the sum is divided by.
        fresh: whether the matrix holds nothing there yet, so that it need not be read.
    """
    leaves, structure = jax.tree.flatten(params)
    unused = frozenset(range(len(leaves))) - {i for k in layers for i in k.leaves()}
    count = examples(rows)
    dtype = leaves[0].dtype
    zeros = [jnp.zeros((count, k.outputs), dtype) for k in layers]

    def total(shifts):
        tap, values = tapped(parts, structure, leaves, parts.state, rows, unused, shifts)
        values = per_example(values, rows)
        return (values * weights_of(rows, dtype)).sum() / weight, tap.inputs

    def errors(shifts):
        gradient, inputs = jax.grad(total, has_aux=True)(shifts)
        return inputs, gradient

    inputs, deltas = errors(zeros)
    for i, layer in enumerate(layers):

        def later(shift, i=i):
            inputs, gradient = errors([*zeros[:i], shift, *zeros[i + 1 :]])
            return inputs[i + 1 :], gradient[i:]

        _, push = jax.linearize(later, zeros[i])
        units = jnp.eye(layer.outputs, dtype=dtype)
        # of shape (outputs of i, examples, inputs or outputs of j)
        d_inputs, d_deltas = jax.lax.map(
            lambda unit, push=push: push(jnp.broadcast_to(unit, (count, unit.size))), units
        )
        for j in range(i, len(layers)):
            second = None
            if j > i:
                change = d_inputs[j - i - 1]
                if i in layers[j].elementwise:
                    change = jnp.diagonal(change, axis1=0, axis2=2)
                else:
                    change = jnp.moveaxis(change, 0, 1)
                second = (change, deltas[j])
            first = jnp.moveaxis(d_deltas[j - i], 0, 1)
            if i == j:
                first = first[:, *np.triu_indices(layer.outputs)]
            pair = _Pair(layer, layers[j], inputs[i], inputs[j], first, second)
            matrix = _add_pair(matrix, pair, offsets, fresh)
    return matrix


class _Pair(NamedTuple):
    """Two layers, the first not after the second, and what their block is made of.

    Attributes:
        above: the layer of the rows.
        beside: the layer of the columns.
        left: the inputs of the first, shape (n, P).
        right: the inputs of the second, shape (n, Q).
        first: how its errors change with the first's z, shape (n, O, R); of a layer with itself,
            where that is symmetric, the upper triangle, shape (n, O(O+1)/2).
        second: how its inputs do, and its errors: shapes (n, O, Q) or, where only q = o matters,
            (n, O), and (n, R).
    """

    above: Layer
    beside: Layer
    left: jax.Array
    right: jax.Array
    first: jax.Array
    second: tuple[jax.Array, jax.Array] | None


def _strip(pair: _Pair, column: jax.Array, far: Any, begin: int) -> tuple[jax.Array, jax.Array]:
    """Σₙ column (first[o,r] right[q] + second), for q from `begin` on and for the bias.

    Args:
        pair: the layers.
        column: one of the inputs of the first, or ones for its bias.
        far: the second term of this column, from `_far`, or `None`.
        begin: of q.

    Returns:
        Rows o, columns (q, r); and rows o, columns r.
    """
    count, outer = len(pair.left), pair.above.outputs
    some = jnp.concatenate([pair.right[:, begin:], jnp.ones((count, 1), column.dtype)], axis=1)
    strip = (column[:, None] * some).T @ pair.first.reshape(count, -1)
    if pair.first.ndim == 2:
        rows, columns = np.triu_indices(outer)
        place = np.zeros((outer, outer), int)
        place[rows, columns] = place[columns, rows] = np.arange(len(rows))
        strip = strip[:, place]
    strip = jnp.swapaxes(strip.reshape(-1, outer, pair.beside.outputs), 0, 1)
    weights, bias = strip[:, :-1], strip[:, -1]
    if far is not None:
        weights = weights + far
    return weights.reshape(outer, -1), bias


def _far(pair: _Pair, columns: jax.Array) -> jax.Array:
    """The second terms of several columns, of shape (columns, O, Q, R)."""
    assert pair.second is not None
    change, delta = pair.second
    count, outer = change.shape[:2]
    scaled = (columns.T[:, :, None] * delta[:, None, :]).reshape(count, -1)
    if change.ndim == 2:
        near = change.T @ scaled
        near = jnp.moveaxis(near.reshape(outer, len(columns), -1), 1, 0)[:, :, None]
        same = jnp.arange(outer)[:, None] == jnp.arange(pair.beside.inputs)
        return jnp.where(same[..., None], near, 0)
    far = change.reshape(count, -1).T @ scaled
    return jnp.moveaxis(far.reshape(outer, -1, len(columns), delta.shape[1]), 2, 0)


def _add_pair(matrix: jax.Array, pair: _Pair, offsets: Sequence[int], fresh: bool) -> jax.Array:
    """The blocks of two layers, and their mirror images."""
    inputs, outer, inner = pair.above.inputs, pair.above.outputs, pair.beside.outputs
    top, left = offsets[pair.above.weight], offsets[pair.beside.weight]
    top_bias = None if pair.above.bias is None else offsets[pair.above.bias]
    left_bias = None if pair.beside.bias is None else offsets[pair.beside.bias]
    diagonal = pair.first.ndim == 2
    # a product of one column's second terms alone would be a long and thin one
    together = -(-_WIDE // inner)
    columns = jnp.pad(pair.left.T, ((0, -inputs % together), (0, 0)))

    def put(matrix, piece, *place):
        if not fresh:
            piece = piece + jax.lax.dynamic_slice(matrix, place, piece.shape)
        return jax.lax.dynamic_update_slice(matrix, piece, place)

    def add(matrix, piece, row, column):
        return put(put(matrix, piece, row, column), piece.T, column, row) if piece.size else matrix

    # of a layer with itself, what lies left of the diagonal is skipped in so many steps
    step = -(-inputs // _STEPS) if diagonal and inputs * inner > _SMALL else inputs
    for begin in range(0, inputs, step):
        end = min(begin + step, inputs)
        start = begin if diagonal else 0
        near = (end - begin) * inner if diagonal else 0

        def rows(p, matrix, far=None, start=start, near=near):
            column = jax.lax.dynamic_index_in_dim(columns, p, keepdims=False)
            weights, bias = _strip(pair, column, far, start)
            row, column = top + p * outer, left + start * inner
            matrix = put(matrix, weights[:, :near], row, column)
            matrix = add(matrix, weights[:, near:], row, column + near)
            return matrix if left_bias is None else add(matrix, bias, row, left_bias)

        def group(k, matrix, rows=rows):
            first = k * together
            some = jax.lax.dynamic_slice_in_dim(columns, first, together)
            far = _far(pair, some)
            last = jnp.minimum(first + together, inputs)
            return jax.lax.fori_loop(first, last, lambda p, m: rows(p, m, far[p - first]), matrix)

        if not diagonal:
            matrix = jax.lax.fori_loop(0, -(-inputs // together), group, matrix)
            continue
        matrix = jax.lax.fori_loop(begin, end, rows, matrix)
        # symmetric up to rounding; exactly so from here on
        place = top + begin * outer
        piece = jax.lax.dynamic_slice(matrix, (place, place), (near, near))
        matrix = jax.lax.dynamic_update_slice(matrix, (piece + piece.T) / 2, (place, place))
    if top_bias is None:
        return matrix
    ones = jnp.ones_like(columns[:1])
    if diagonal:
        _, bias = _strip(pair, ones[0], None, inputs)
        return put(matrix, bias, top_bias, top_bias)
    weights, bias = _strip(pair, ones[0], _far(pair, ones)[0], 0)
    matrix = add(matrix, weights, top_bias, left)
    return matrix if left_bias is None else add(matrix, bias, top_bias, left_bias)


def as_the_leaves(matrix: jax.Array, layers: Sequence[Layer], offsets: Sequence[int]) -> jax.Array:
    """The rows and columns of every W as its leaf has them."""
    for layer in layers:
        if not layer.transposed:
            continue
        begin, size = offsets[layer.weight], layer.inputs * layer.outputs
        for _ in range(2):
            slab = jax.lax.dynamic_slice_in_dim(matrix, begin, size)
            apart = slab.reshape(layer.inputs, layer.outputs, -1)
            slab = jnp.swapaxes(apart, 0, 1).reshape(slab.shape)
            matrix = jax.lax.dynamic_update_slice_in_dim(matrix, slab, begin, 0).T
    return matrix
