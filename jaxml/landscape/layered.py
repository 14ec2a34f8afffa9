"""The dense Hessian of a network's dense layers, as matrix products.

Perturb the pre-activation zᵢ = aᵢWᵢ + bᵢ of a layer instead of its weights: `outputs` tangents
instead of `inputs·outputs`. Where the examples do not couple, one tangent perturbs all of them at
once, and every block of the Hessian is a matrix product whose inner dimension is the examples,

    ∂²L/∂Wᵢ[p,o]∂Wⱼ[q,r] = Σₙ aᵢ[p] (∂δⱼ[r]/∂zᵢ[o]·aⱼ[q] + ∂aⱼ[q]/∂zᵢ[o]·δⱼ[r]),   δⱼ = ∂L/∂zⱼ,

for i not after j. The layers are found in the traced loss, so it does not matter which library
wrote the network.
"""

from __future__ import annotations

import collections
import dataclasses
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core

from jaxml.objective import Parts, examples, per_example, weights_of
from jaxml.types import Params

# a block on the diagonal skips, in so many steps, what lies left of it
_STEPS = 8
# columns of the products that second terms are formed by
_WIDE = 256
_ELEMENTWISE = {
    *("abs", "add", "convert_element_type", "copy", "cos", "div", "erf", "exp", "expm1"),
    *("integer_pow", "log", "log1p", "logistic", "max", "min", "mul", "neg", "pow", "rsqrt"),
    *("select_n", "sign", "sin", "sqrt", "square", "stop_gradient", "sub", "tanh"),
}
_INLINED = ("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint")
_CALLS = (*_INLINED, "custom_jvp_call", "custom_vjp_call")


class Layer(NamedTuple):
    """A dense layer z = aW + b.

    Attributes:
        weight: which of the parameters' leaves is W.
        transposed: whether W is of shape (outputs, inputs).
        bias: which leaf is b, or `None`.
        inputs: how many.
        outputs: how many.
        elementwise: the layers whose z this one's inputs depend on element by element.
    """

    weight: int
    transposed: bool
    bias: int | None
    inputs: int
    outputs: int
    elementwise: frozenset[int]

    def leaves(self) -> list[int]:
        """Its leaves."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]


def find_layers(parts: Parts, params: Params) -> tuple[Layer, ...]:
    """The dense layers of a loss over data whose weights are used for nothing else.

    Returns:
        In the order of evaluation; none if there are none or if the examples couple.
    """
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (params, parts.batch))
    key = (*jax.tree.leaves(shapes), jax.tree.structure(shapes))
    known = _KNOWN.setdefault(parts.objective, {})
    if key not in known:
        known[key] = _find_layers(parts, params)
    return known[key]


# one small program has to be compiled to find out whether examples couple
_KNOWN: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def _find_layers(parts: Parts, params: Params) -> tuple[Layer, ...]:
    leaves, structure = jax.tree.flatten(params)

    def detect(unused: frozenset[int]) -> _Tap:
        taps = []

        def run(leaves, state, batch):
            tap, _ = _tapped(parts, structure, leaves, state, batch, unused, None)
            taps.append(tap)
            return jnp.zeros(())

        jax.eval_shape(run, leaves, parts.state, parts.batch)
        return taps[0]

    unused: frozenset[int] = frozenset()
    while True:
        tap = detect(unused)
        shared = {k.weight for k in tap.layers if tap.uses[k.weight] > 1}
        shared |= {k.bias for k in tap.layers if k.bias is not None and tap.uses[k.bias] > 1}
        if not shared:
            break
        unused |= shared
    layers = tuple(tap.layers)
    return layers if layers and not _coupled(parts, params, layers) else ()


def _coupled(parts: Parts, params: Params, layers: Sequence[Layer]) -> bool:
    """Whether some of the first examples change the values of the others."""
    leaves, structure = jax.tree.flatten(params)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((parts.state, parts.batch))):
        return True  # it cannot be told here
    random = np.random.default_rng(0)
    # which examples meet does not depend on the parameters' values, and those may be traced
    leaves = [random.normal(size=leaf.shape).astype(leaf.dtype) for leaf in leaves]
    count = min(examples(parts.batch), 8)
    batch = {name: array[:count] for name, array in parts.batch.items()}
    unused = frozenset(range(len(leaves))) - {i for k in layers for i in k.leaves()}

    @jax.jit
    def changes(leaves, state, batch):
        def run(shifts):
            tap, values = _tapped(parts, structure, leaves, state, batch, unused, shifts)
            return values, tap.inputs

        shifts = [jnp.zeros((count, k.outputs), leaves[k.weight].dtype) for k in layers]
        _, outputs = jax.jvp(run, (shifts,), (tangents,))
        return [jnp.abs(leaf[count // 2 :]).max() for leaf in jax.tree.leaves(outputs)]

    tangents = []
    for k in layers:
        tangent = random.normal(size=(count, k.outputs)) * (np.arange(count) < count // 2)[:, None]
        tangents.append(tangent.astype(leaves[k.weight].dtype))

    return count < 2 or any(change != 0 for change in changes(leaves, parts.state, batch))


def row_bytes(layers: Sequence[Layer], itemsize: int) -> int:
    """What `layer_blocks` keeps alive for each example: the derivatives by one layer's z, twice."""
    later = [sum(k.inputs + k.outputs for k in layers[i:]) for i in range(len(layers))]
    return (
        2 * itemsize * max((k.outputs * n for k, n in zip(layers, later, strict=True)), default=0)
    )


def add_layer_blocks(
    matrix: jax.Array,
    parts: Parts,
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
        tap, values = _tapped(parts, structure, leaves, parts.state, rows, unused, shifts)
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
    step = -(-inputs // _STEPS) if diagonal else inputs
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


@dataclasses.dataclass
class _Value:
    """A value, and what is known of it.

    Attributes:
        value: the array.
        leaf: which leaf of the parameters it is, as it stands.
        vector: which leaf it is, spread along other axes.
        layer: which layer's product it is, before the bias.
        layer_axis: which axis of that product counts the layer's outputs.
        deps: layers it depends on -> 1 where element by element, -1 where its axes are exchanged
            besides, 0 otherwise.
    """

    value: Any
    leaf: int | None = None
    vector: int | None = None
    layer: int | None = None
    layer_axis: int = 1
    deps: dict[int, int] = dataclasses.field(default_factory=dict)

    @property
    def watched(self) -> bool:
        return (self.leaf, self.vector, self.layer) != (None, None, None)


def _tapped(parts, structure, leaves, state, batch, unused, shifts):
    """The values of the examples, with the layers' z shifted, and what was met on the way."""

    def values(leaves, state, batch):
        objective = parts.objective
        params = structure.unflatten(leaves)
        return objective.values(objective.predict(params, state, batch), batch)

    closed = jax.make_jaxpr(values)(leaves, state, batch)
    tap = _Tap(examples(batch), shifts)
    ins = [_Value(leaf, leaf=None if i in unused else i) for i, leaf in enumerate(leaves)]
    ins += [_Value(leaf) for leaf in jax.tree.leaves((state, batch))]
    (out,) = tap.run(closed.jaxpr, closed.consts, ins)
    return tap, out.value


class _Tap:
    """Evaluates a jaxpr, shifting every dense layer's z, and collects the layers."""

    def __init__(self, count: int, shifts: Sequence[Any] | None) -> None:
        self._count, self._shifts = count, shifts
        self.layers: list[Layer] = []
        self.inputs: list[Any] = []
        # how often a leaf enters an equation that does more than move it
        self.uses: collections.Counter[int] = collections.Counter()

    def run(self, jaxpr: Any, consts: Sequence[Any], ins: Sequence[_Value]) -> list[_Value]:
        known = dict(zip(jaxpr.constvars, map(_Value, consts), strict=True))
        known |= dict(zip(jaxpr.invars, ins, strict=True))
        used = [v for e in jaxpr.eqns for v in e.invars] + list(jaxpr.outvars)
        times = collections.Counter(v for v in used if not isinstance(v, core.Literal))

        def read(v):
            if isinstance(v, core.Literal):
                return _Value(v.val)
            if times[v] > 1:  # no bias can be told of what goes several ways
                return dataclasses.replace(known[v], vector=None, layer=None)
            return known[v]

        for equation in jaxpr.eqns:
            outs = self._evaluate(equation, [read(v) for v in equation.invars])
            known |= dict(zip(equation.outvars, outs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _evaluate(self, equation: Any, ins: list[_Value]) -> list[_Value]:
        name = equation.primitive.name
        if name in _INLINED and any(v.watched for v in ins):
            jaxpr, consts = _inner(equation)
            return self.run(jaxpr, consts, ins)
        if name == "dot_general" and (z := self._dense(equation, ins)) is not None:
            return [z]
        params = equation.primitive.get_bind_params(equation.params)
        outs = equation.primitive.bind(*(v.value for v in ins), **params)
        outs = outs if equation.primitive.multiple_results else [outs]
        values = [_Value(out, deps=_dependence(equation, ins, out)) for out in outs]
        moved = name in ("reshape", "broadcast_in_dim")
        vectors = [v.leaf if v.vector is None else v.vector for v in ins]
        if moved and ins[0].value.ndim == 1:
            values[0].vector = vectors[0]
        else:
            self.uses.update(leaf for leaf in vectors if leaf is not None)
        if name == "transpose" and ins[0].layer is not None:
            values[0].layer, values[0].layer_axis = ins[0].layer, 1 - ins[0].layer_axis
        if name == "add":
            self._bias(*ins)
            self._bias(*ins[::-1])
        return values

    def _dense(self, equation: Any, ins: list[_Value]) -> _Value | None:
        """The shifted product z of a layer, if the equation is one."""
        contracted, batch = equation.params["dimension_numbers"]
        for w, a in ((0, 1), (1, 0)):
            weight, rows = ins[w], ins[a]
            shapes = np.ndim(weight.value) == np.ndim(rows.value) == 2
            if weight.leaf is None or rows.leaf is not None or not shapes or any(batch):
                continue
            if len(contracted[0]) != 1 or rows.value.shape[1 - contracted[a][0]] != self._count:
                continue
            along, of_weight = contracted[a][0], contracted[w][0]
            z = equation.primitive.bind(*(v.value for v in ins), **equation.params)
            k = len(self.layers)
            if self._shifts is not None:
                z = z + (self._shifts[k] if w == 1 else self._shifts[k].T)
            self.uses[weight.leaf] += 1
            self.inputs.append(rows.value if along == 1 else rows.value.T)
            near = frozenset(i for i, how in rows.deps.items() if how == (1 if along else -1))
            inputs, outputs = rows.value.shape[along], weight.value.shape[1 - of_weight]
            self.layers.append(Layer(weight.leaf, of_weight == 1, None, inputs, outputs, near))
            deps = dict.fromkeys(rows.deps, 0) | {k: w or -1}
            return _Value(z, layer=k, layer_axis=w, deps=deps)
        return None

    def _bias(self, z: _Value, b: _Value) -> None:
        """Note the bias of a layer, if the sum of these two adds one."""
        if z.layer is None or b.vector is None:
            return
        layer, shape = self.layers[z.layer], np.shape(b.value)
        expected = [layer.outputs, layer.outputs]
        expected[1 - z.layer_axis] = shape[1 - z.layer_axis] if len(shape) == 2 else 0
        spread = len(shape) == 2 and shape == tuple(expected) and shape[1 - z.layer_axis] == 1
        if spread and layer.bias is None:
            self.layers[z.layer] = layer._replace(bias=b.vector)


def _inner(equation: Any) -> tuple[Any, Sequence[Any]]:
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())


def _dependence(equation: Any, ins: list[_Value], out: Any) -> dict[int, int]:
    """How the result of an equation depends on the layers."""
    if equation.primitive.name == "transpose":
        return {k: -how for k, how in ins[0].deps.items()}
    local = _is_local(equation)
    deps: dict[int, int] = {}
    for v in ins:
        for k, how in v.deps.items():
            same = local and np.shape(v.value) == np.shape(out) and deps.get(k, how) == how
            deps[k] = how if same else 0
    return deps


def _is_local(equation: Any) -> bool:
    """Whether every element of the result depends on that element of the operands alone."""
    if equation.primitive.name in _CALLS:
        return all(
            _is_local(e) or e.primitive.name == "broadcast_in_dim" for e in _inner(equation)[0].eqns
        )
    return equation.primitive.name in _ELEMENTWISE
