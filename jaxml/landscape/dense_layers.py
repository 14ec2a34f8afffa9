"""The dense layers of a network, found in the trace of its loss.

A layer is a product of the examples' rows with a leaf of the parameters, and the bias that is added
to it. Its pre-activation z can then be shifted, for all examples at once where they do not couple.
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

from jaxml.objective import Parts, examples
from jaxml.types import Params

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
            tap, _ = tapped(parts, structure, leaves, state, batch, unused, None)
            taps.append(tap)
            return jnp.zeros(())

        jax.eval_shape(run, leaves, parts.state, parts.batch)
        return taps[0]

    unused = frozenset(i for i, leaf in enumerate(leaves) if not np.size(leaf))
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
            tap, values = tapped(parts, structure, leaves, state, batch, unused, shifts)
            return values, tap.inputs

        shifts = [jnp.zeros((count, k.outputs), leaves[k.weight].dtype) for k in layers]
        _, outputs = jax.jvp(run, (shifts,), (tangents,))
        return [jnp.abs(leaf[count // 2 :]).max() for leaf in jax.tree.leaves(outputs)]

    tangents = []
    for k in layers:
        tangent = random.normal(size=(count, k.outputs)) * (np.arange(count) < count // 2)[:, None]
        tangents.append(tangent.astype(leaves[k.weight].dtype))

    return count < 2 or any(change != 0 for change in changes(leaves, parts.state, batch))


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


def tapped(parts, structure, leaves, state, batch, unused, shifts):
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
