"""Functions as they are at the moment: traced anew, compiled anew only where they have changed.

`jax.jit` knows a function by its identity. A loss that reads a global, an attribute of `self` or an
array that is changed in place is another loss at the next call, and would silently be served what
was compiled for the first. `read` traces a function whenever it is asked to. What comes of it is
known by the program that was traced, so that what is compiled for one serves all that are equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray, Tracer
from jax.extend import core
from jax.tree_util import Partial

from jaxml.core.checks import require


class Program:
    """A traced function; equal to others that compute the same from the same arguments.

    It is called with the arrays that the function captured, and its arguments.

    Attributes:
        jaxpr: what was traced; its constants are the arrays captured.
        arguments: the arguments' shapes and dtypes, a pytree.
        outputs: the result's, a pytree.
        key: what is compared.
    """

    def __init__(self, jaxpr: Any, arguments: Any, outputs: Any) -> None:
        self.jaxpr, self.arguments, self.outputs = jaxpr, arguments, outputs
        trees = jax.tree.structure(arguments), jax.tree.structure(outputs)
        self.key = trees, _key(jaxpr, ())
        self._hash = hash(self.key)

    def __call__(self, captured: Sequence[Any], *arguments: Any) -> Any:
        """The function's value; traceable."""
        function = core.jaxpr_as_fun(core.ClosedJaxpr(self.jaxpr, captured))
        flat = jax.tree.leaves(arguments)
        return jax.tree.structure(self.outputs).unflatten(function(*flat))

    def takes(self, *arguments: Any) -> bool:
        """Whether it was traced for arguments of these shapes and dtypes."""
        return _shapes(arguments) == _shapes(self.arguments)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Program) and (self._hash, self.key) == (other._hash, other.key)


def read(function: Callable, *arguments: Any) -> Partial:
    """The function as it is now, for arguments of these shapes and dtypes.

    Args:
        function: traceable.
        arguments: pytrees of arrays, or of their shapes and dtypes.

    Returns:
        `Partial(Program, captured)`: equal in its static part wherever the same program was
        traced, with the arrays that the function captured as its leaves, copied where they are
        NumPy's. What is captured inside of a function that is itself compiled stays there.

    Example:
        >>> scale = {"of": np.arange(3.0)}
        >>> before = read(lambda w: scale["of"] * w, np.ones(3))
        >>> scale["of"] = scale["of"] + 1
        >>> after = read(lambda w: scale["of"] * w, np.ones(3))
        >>> before(np.ones(3)).tolist(), after(np.ones(3)).tolist(), before.func == after.func
        ([0.0, 1.0, 2.0], [1.0, 2.0, 3.0], True)
    """

    def anew(*args):  # jax keeps traces by the function's identity, and this one is new
        return function(*args)

    closed, outputs = jax.make_jaxpr(anew, return_shape=True)(*arguments)
    shapes = jax.tree.structure(arguments).unflatten(closed.in_avals)
    return Partial(Program(closed.jaxpr, shapes, outputs), [_kept(c) for c in closed.consts])


@dataclasses.dataclass(frozen=True)
class AsRead:
    """A function as it was when it was read, for arguments of any shapes.

    Equal to others that were the same program on the same numbers.

    Attributes:
        contents: what it computes, for comparison.
        reading: of it, for the arguments that it was read for.
        function: itself, for others.
    """

    contents: Hashable
    reading: Partial = dataclasses.field(compare=False)
    function: Callable = dataclasses.field(compare=False)

    def takes(self, *arguments: Any) -> bool:
        """Whether it was read for arguments of these shapes and dtypes."""
        program: Any = self.reading.func
        return program.takes(*arguments)

    def __call__(self, *arguments: Any) -> Any:
        """The function's value; traceable.

        Raises:
            ValueError: where it has to be traced for other shapes and is no longer what it was.
        """
        if self.takes(*arguments):
            return self.reading(*arguments)
        program: Any = self.reading.func
        unchanged = as_read(self.function, *program.arguments) == self
        require(
            unchanged,
            "a function that is what it was when it was handed in",
            "one that has changed since (a global, an attribute or an array that it reads?)",
        )
        return self.function(*arguments)


def as_read(function: Callable, *arguments: Any) -> AsRead:
    """The function as it is now; see `AsRead`, and `read` for the arguments."""
    reading = read(function, *arguments)
    captured = tuple(Bits(leaf) for leaf in jax.tree.leaves(reading))
    return AsRead((reading.func, captured), reading, function)


def alike(one: Partial | AsRead, other: Partial | AsRead) -> bool:
    """Whether two readings are of the same program on the same numbers.

    Python functions that a program holds, such as callbacks, pass for the same.
    """
    readings: list[Any] = [r.reading if isinstance(r, AsRead) else r for r in (one, other)]
    leaves = [[Bits(leaf) for leaf in jax.tree.leaves(reading)] for reading in readings]
    return leaves[0] == leaves[1] and _alike(*(reading.func.key for reading in readings))


def _shapes(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    avals = [x if isinstance(x, ShapedArray) else jax.typeof(x) for x in leaves]
    return structure, [(aval.shape, aval.dtype) for aval in avals]


def _kept(array: Any) -> Any:
    """An array that later changes in place do not reach."""
    if isinstance(array, jax.Array):
        return array
    with jax.ensure_compile_time_eval():  # not a tracer of what is being traced around it
        return jnp.array(array)


def _key(jaxpr: Any, within: tuple[Any, ...]) -> Hashable:
    """What a traced function computes, its variables numbered by their appearance.

    Args:
        jaxpr: without constants.
        within: the custom derivative rules that this one stands in.
    """
    numbers: dict[Any, int] = {}

    def name(v: Any) -> Hashable:
        if isinstance(v, core.Literal):
            return v.aval, Bits(v.val)
        return numbers.setdefault(v, len(numbers))

    def avals(variables: Sequence[Any]) -> Hashable:
        return tuple((name(v), v.aval) for v in variables)

    return (
        avals(jaxpr.constvars),
        avals(jaxpr.invars),
        tuple(
            (
                equation.primitive,
                tuple(map(name, equation.invars)),
                tuple(_params(equation, within)),
                avals(equation.outvars),
                equation.ctx,
            )
            for equation in jaxpr.eqns
        ),
        tuple(map(name, jaxpr.outvars)),
    )


def _params(equation: Any, within: tuple[Any, ...]) -> Iterator[Hashable]:
    params = dict(equation.params)
    rules = _RULES.get(equation.primitive.name)
    if rules is not None:
        names, trace_rules = rules
        functions = [params.pop(name) for name in names if name in params]
        call = _plain(params["call_jaxpr"], within)
        if call in within:  # a rule in terms of the function itself
            yield within.index(call)
        else:
            yield from trace_rules(params, functions, (*within, call))
    for name in sorted(params):
        yield name, _plain(params[name], within)


def _jvp_rule(params: Any, functions: Sequence[Any], within: tuple[Any, ...]) -> Iterator[Hashable]:
    (rule,) = functions
    count = len(params["call_jaxpr"].in_avals) - params["num_consts"]
    jaxpr, captured, zeros = rule.call_wrapped(*[False] * count)  # of tangents that are not zero
    yield _key(jaxpr, within), _plain(captured, within), tuple(zeros)


def _vjp_rules(
    params: Any, functions: Sequence[Any], within: tuple[Any, ...]
) -> Iterator[Hashable]:
    forward, backward, trees = functions
    call: Any = params["call_jaxpr"]
    inputs = call.in_avals[params["num_consts"] :]
    jaxpr, captured = forward.call_wrapped(*[True] * len(inputs))
    yield _key(jaxpr, within), _plain(captured, within)
    # residuals that are inputs are not among the outputs, which are residuals, then results
    _, _, passed = trees()
    kept = iter(jaxpr.outvars)
    residuals = [next(kept).aval if i is None else inputs[i] for i in passed]
    ordered = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (*residuals, *call.out_avals)]
    kinds: list[Hashable] = []

    def pulled_back(*arguments: Any) -> list[Any]:
        cotangents = backward.call_wrapped(*arguments)
        kinds.extend(map(type, cotangents))
        return [c for c in cotangents if isinstance(c, jax.Array)]

    closed = jax.make_jaxpr(pulled_back)(*ordered)
    yield _key(closed.jaxpr, within), _plain(closed.consts, within), tuple(kinds)


# primitives that hold functions for their derivatives: which parameters these are
_RULES: dict[str, tuple[Sequence[str], Callable]] = {
    "custom_jvp_call": (("jvp_jaxpr_fun",), _jvp_rule),
    "custom_vjp_call": (("fwd_jaxpr_thunk", "bwd", "out_trees"), _vjp_rules),
}


def _plain(value: Any, within: tuple[Any, ...]) -> Hashable:
    """A parameter of an equation, as something to compare."""
    if isinstance(value, core.ClosedJaxpr):
        return _key(value.jaxpr, within), _plain(value.consts, within)
    if isinstance(value, core.Jaxpr):
        return _key(value, within)
    if isinstance(value, bool | int | float | complex | np.ndarray | np.generic | jax.Array):
        return type(value), Bits(value)  # 1, 1.0 and True differ, NaN equals itself
    if isinstance(value, tuple | list):
        return type(value), tuple(_plain(part, within) for part in value)
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: str(item[0]))
        return tuple((name, _plain(part, within)) for name, part in items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return type(value), tuple(_plain(part, within) for part in fields)
    known = isinstance(value, Hashable) and type(value).__eq__ is not object.__eq__
    return value if known else _Object(value)


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, _Object) and isinstance(other, _Object):
        return type(one.value) is type(other.value)
    return one == other


class Bits:
    """Numbers, equal where their bits are; a copy where they could be changed in place."""

    def __init__(self, value: Any) -> None:
        array = value if isinstance(value, jax.Array) else np.asarray(value)
        self.array = array if isinstance(array, jax.Array) else np.array(array)
        self.kind = array.shape, array.dtype

    def __hash__(self) -> int:
        return hash(self.kind)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bits) or self.kind != other.kind:
            return False
        if self.array is other.array:
            return True
        bits = self._bits()
        return bits is not None and bits == other._bits()

    def _bits(self) -> bytes | None:
        """Its bytes; `None` where they cannot be seen from here."""
        array: Any = self.array
        if isinstance(array, Tracer) or not getattr(array, "is_fully_addressable", True):
            return None
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jax.random.key_data(array)
        return np.asarray(array).tobytes()


@dataclasses.dataclass(frozen=True, eq=False)
class _Object:
    """Something that cannot be looked into, equal to itself alone."""

    value: Any

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Object) and self.value is other.value
