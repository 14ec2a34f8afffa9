"""The dense layers of a network, found in the trace of its loss.

A layer is a product of the examples' rows with a leaf of the parameters, and the bias that is added
to it. Its pre-activation z can then be shifted, for all examples at once where they do not couple.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxml.core.empirical_risk import EmpiricalRisk, examples
from jaxml.core.row_coupling import INLINED, along, constant, inside, propagate
from jaxml.core.row_rules import Mixed, Rows, Same, State
from jaxml.core.types import Params

_ELEMENTWISE = {
    *("abs", "add", "convert_element_type", "copy", "cos", "div", "erf", "exp", "expm1"),
    *("integer_pow", "log", "log1p", "logistic", "max", "min", "mul", "neg", "pow", "rsqrt"),
    *("select_n", "sign", "sin", "sqrt", "square", "stop_gradient", "sub", "tanh"),
}
_CALLS = (*INLINED, "custom_jvp_call")


_SAME = Same()


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


def find_layers(parts: EmpiricalRisk, params: Params) -> tuple[Layer, ...]:
    """The dense layers of a loss over data whose weights are used for nothing else.

    Returns:
        In the order of evaluation; none if there are none or if by the program an example's value
        may depend on another's pre-activations.
    """
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
    alone = examples(parts.batch) < 2  # its axis cannot be distinguished then
    return () if tap.mixed or alone else tuple(tap.layers)


@dataclasses.dataclass
class _Value:
    """A value, and what is known of it.

    Attributes:
        value: the array.
        leaf: which leaf of the parameters it is, as it stands or transposed.
        flipped: whether transposed.
        vector: which leaf it is, spread along other axes.
        layer: which layer's product it is, before the bias.
        layer_axis: which axis of that product counts the layer's outputs.
        rows: how it depends on the pre-activations of the examples.
        deps: layers it depends on -> 1 where element by element, -1 where its axes are exchanged
            besides, 0 otherwise.
    """

    value: Any
    leaf: int | None = None
    flipped: bool = False
    vector: int | None = None
    layer: int | None = None
    layer_axis: int = 1
    rows: State = _SAME
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
    tap.mixed = isinstance(along(out.rows, 0), Mixed)
    return tap, out.value


class _Tap:
    """Evaluates a jaxpr, shifting every dense layer's z, and collects the layers."""

    def __init__(self, count: int, shifts: Sequence[Any] | None) -> None:
        self._count, self._shifts = count, shifts
        self.layers: list[Layer] = []
        self.inputs: list[Any] = []
        # whether an example's value may depend on the layers of others
        self.mixed = False
        # how often a leaf enters an equation that does more than move it
        self.uses: collections.Counter[int] = collections.Counter()

    def run(self, jaxpr: Any, consts: Sequence[Any], ins: Sequence[_Value]) -> list[_Value]:
        consts = [_Value(c, rows=constant(c)) for c in consts]
        known = dict(zip(jaxpr.constvars, consts, strict=True))
        known |= dict(zip(jaxpr.invars, ins, strict=True))
        used = [v for e in jaxpr.eqns for v in e.invars] + list(jaxpr.outvars)
        times = collections.Counter(v for v in used if not isinstance(v, core.Literal))

        def read(v):
            if isinstance(v, core.Literal):
                return _Value(v.val, rows=constant(v.val))
            if times[v] > 1:  # the bias of what is used several times is not known
                return dataclasses.replace(known[v], vector=None, layer=None)
            return known[v]

        for equation in jaxpr.eqns:
            outs = self._evaluate(equation, [read(v) for v in equation.invars])
            known |= dict(zip(equation.outvars, outs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _evaluate(self, equation: Any, ins: list[_Value]) -> list[_Value]:
        name = equation.primitive.name
        if name in INLINED and any(v.watched for v in ins):
            jaxpr, consts = inside(equation)
            return self.run(jaxpr, consts, ins)
        if name == "dot_general" and (z := self._dense(equation, ins)) is not None:
            return [z]
        params = equation.primitive.get_bind_params(equation.params)
        outs = equation.primitive.bind(*(v.value for v in ins), **params)
        outs = outs if equation.primitive.multiple_results else [outs]
        states = propagate(equation, [v.rows for v in ins], self._count)
        values = [
            _Value(out, rows=state, deps=_dependence(equation, ins, out))
            for out, state in zip(outs, states, strict=True)
        ]
        moved = name in ("reshape", "broadcast_in_dim")
        vectors = [v.leaf if v.vector is None else v.vector for v in ins]
        if moved and ins[0].value.ndim == 1:
            values[0].vector = vectors[0]
        elif name == "transpose" and np.ndim(ins[0].value) == 2 and ins[0].leaf is not None:
            turned = equation.params["permutation"] == (1, 0)
            values[0].leaf, values[0].flipped = ins[0].leaf, ins[0].flipped != turned
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
            inner, of_weight = contracted[a][0], contracted[w][0]
            if isinstance(along(rows.rows, 1 - inner), Mixed):
                continue
            z = equation.primitive.bind(*(v.value for v in ins), **equation.params)
            k = len(self.layers)
            if self._shifts is not None:
                z = z + (self._shifts[k] if w == 1 else self._shifts[k].T)
            self.uses[weight.leaf] += 1
            self.inputs.append(rows.value if inner == 1 else rows.value.T)
            near = frozenset(i for i, how in rows.deps.items() if how == (1 if inner else -1))
            inputs, outputs = rows.value.shape[inner], weight.value.shape[1 - of_weight]
            turned = (of_weight == 1) != weight.flipped
            self.layers.append(Layer(weight.leaf, turned, None, inputs, outputs, near))
            deps = dict.fromkeys(rows.deps, 0) | {k: w or -1}
            return _Value(z, layer=k, layer_axis=w, rows=Rows(1 - w), deps=deps)
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
            _is_local(e) or e.primitive.name == "broadcast_in_dim" for e in inside(equation)[0].eqns
        )
    return equation.primitive.name in _ELEMENTWISE
