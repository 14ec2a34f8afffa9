"""Which rows of a batch the results of a traced function depend on, read from its program.

Every intermediate array is the same for all rows (`Same`), has one axis along which its slice n
depends on row n alone (`Rows`), or neither (`Mixed`). An operation is followed where its effect on
that axis is known: elementwise with the axes aligned, products, convolutions and reductions over
other axes, moves that keep the axis whole, gathers at a row's own index, and what calls other
programs, by their inside. All else mixes the rows, as far as is known. What is found holds for all
values of the inputs, but rests on derivative rules (`jax.custom_jvp`) that do as their function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.extend import core

from jaxml.core.row_rules import LARGEST, Mixed, Rows, Same, State, aligned, plain, rows, same

INLINED = ("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint")


def follow(jaxpr: Any, consts: Sequence[Any], ins: Sequence[State], count: int) -> list[State]:
    """The states of a program's results.

    Args:
        jaxpr: the program.
        consts: what it has captured.
        ins: the states of its arguments.
        count: rows.
    """
    known: dict[Any, State] = dict(zip(jaxpr.constvars, map(constant, consts), strict=True))
    known |= dict(zip(jaxpr.invars, ins, strict=True))

    def read(v):
        return constant(v.val) if isinstance(v, core.Literal) else known[v]

    for equation in jaxpr.eqns:
        outs = propagate(equation, [read(v) for v in equation.invars], count)
        known |= dict(zip(equation.outvars, outs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def constant(value: Any) -> Same:
    """The state of a number or array that the program holds."""
    dtype = value.dtype if hasattr(value, "dtype") else np.result_type(value)
    index = (
        getattr(dtype, "kind", "") in {*"iub"}
        and np.size(value) <= LARGEST
        and not isinstance(value, Tracer)
        # an array over several processes cannot be read by one of them
        and getattr(value, "is_fully_addressable", True)
    )
    return Same(value=np.asarray(value) if index else None)


def propagate(equation: Any, ins: Sequence[State], count: int) -> list[State]:
    """The states of the results of one equation, from those of its operands."""
    name = equation.primitive.name
    if not equation.outvars:
        return []
    if name in INLINED or name == "custom_jvp_call":
        jaxpr, consts = inside(equation)
        return follow(jaxpr, consts, ins, count)
    if name in ("scan", "while", "cond"):
        return _LOOPS[name](equation, ins, count)
    mixed = [s for s in ins if isinstance(s, Mixed)]
    if mixed:
        state: State | None = max(mixed, key=lambda s: s.known)
    elif all(isinstance(s, Same) for s in ins):
        return [same(equation, ins)] * len(equation.outvars)
    else:
        indexed = name == "gather" or name.startswith("scatter")
        state = rows(equation, ins if indexed else [plain(s) for s in ins], count)
    state = Mixed(name, known=False) if state is None else state
    return [state] * len(equation.outvars)


def inside(equation: Any) -> tuple[Any, Sequence[Any]]:
    """The program that an equation calls, and what it has captured."""
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())


def coupling(values: Callable[[Any], Any], batch: Any, count: int) -> State:
    """How `values(batch)`, one for each of a batch's rows, depend on the rows.

    Args:
        values: of a batch, traceable.
        batch: a pytree of arrays, or of their shapes, whose leading axis counts the rows.
        count: rows.

    Returns:
        `Rows`, or `Same`, where each value depends on its row alone (but for its position, where
        it is not `alone`); `Mixed` where it does not, or is not known to.
    """
    closed, shape = jax.make_jaxpr(values, return_shape=True)(batch)
    ins = [Rows(0)] * len(closed.jaxpr.invars)
    states = follow(closed.jaxpr, closed.consts, ins, count)
    leaves = jax.tree.leaves(shape)
    if len(leaves) != 1 or leaves[0].shape != (count,):
        return Mixed("the shape of the values")
    return along(states[0], 0)


def along(state: State, axis: int) -> State:
    """The state, of an array whose rows are to lie along this axis."""
    astray = isinstance(state, Rows) and (state.axis, state.inner) != (axis, 1)
    return Mixed("the order of the axes") if astray else state


def _join(a: State, b: State) -> State:
    """What is known of an array that is one of two."""
    states = (a, b)
    mixed = [s for s in states if isinstance(s, Mixed)]
    if mixed:
        return max(mixed, key=lambda s: s.known)
    if isinstance(a, Same) and isinstance(b, Same):
        return Same(a.uniform & b.uniform)
    return aligned(states, "a loop")


def _forget(state: State) -> State:
    """The state, but for numbers that are known: a loop changes them."""
    return plain(state) if not isinstance(state, Same) else Same(state.uniform)


def _scan(equation: Any, ins: Sequence[State], count: int) -> list[State]:
    params = equation.params
    consts, carried = params["num_consts"], params["num_carry"]
    carry, xs = ins[consts : consts + carried], ins[consts + carried :]
    carry, fixed = [_forget(s) for s in carry], ins[:consts]
    outs = len(equation.outvars)
    if any(isinstance(x, Rows) and x.axis == 0 for x in xs):
        # one step a row: as a map over the rows, where nothing is carried
        mapped = not carried and all(isinstance(s, Same) for s in fixed)
        state = functools.reduce(_join, xs) if mapped else Mixed("scan")
        return [along(state, 0)] * outs
    slices = [_moved(x, -1) for x in xs]
    body = params["jaxpr"]
    while True:
        after = follow(body.jaxpr, body.consts, [*fixed, *carry, *slices], count)
        joined = [_join(a, b) for a, b in zip(carry, after[:carried], strict=True)]
        if joined == carry:
            return [*carry, *(_moved(y, 1) for y in after[carried:])]
        carry = joined


def _moved(state: State, by: int) -> State:
    """The state of a slice along the first axis, or of slices that are stacked."""
    if isinstance(state, Same):
        return Same(frozenset(d + by for d in state.uniform if d + by >= 0))
    return state if isinstance(state, Mixed) else Rows(state.axis + by, state.inner, state.alone)


def _while(equation: Any, ins: Sequence[State], count: int) -> list[State]:
    params = equation.params
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    carry = [_forget(s) for s in ins[second:]]
    while True:
        test, body = params["cond_jaxpr"], params["body_jaxpr"]
        (going,) = follow(test.jaxpr, test.consts, [*ins[:first], *carry], count)
        if isinstance(going, Mixed):
            return [going] * len(carry)
        after = follow(body.jaxpr, body.consts, [*ins[first:second], *carry], count)
        joined = [_join(a, b) for a, b in zip(carry, after, strict=True)]
        if test.out_avals[0].shape:  # a loop for each row, which ends when its own is done
            joined = [_join(s, going) for s in joined]
        if joined == carry:
            return carry
        carry = joined


def _cond(equation: Any, ins: Sequence[State], count: int) -> list[State]:
    which, *rest = ins
    if isinstance(which, Mixed):
        return [which] * len(equation.outvars)
    branches = [follow(b.jaxpr, b.consts, rest, count) for b in equation.params["branches"]]
    return [functools.reduce(_join, outs) for outs in zip(*branches, strict=True)]


_LOOPS = {"scan": _scan, "while": _while, "cond": _cond}
