"""How one operation moves the rows of a batch: the rules of `row_coupling`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Same(NamedTuple):
    """An array that does not depend on any row.

    Attributes:
        uniform: axes along which it is known to be constant.
        value: what it holds, where that is known and may be an index.
        columns: of an array of indices, what is known of the entries of its last axis.
    """

    uniform: frozenset[int] = frozenset()
    value: np.ndarray | None = None
    columns: tuple[np.ndarray | None, ...] = ()


class Rows(NamedTuple):
    """An array whose slices each depend on one row.

    Attributes:
        axis: along which they lie; an axis of outer·rows·inner elements.
        inner: how many neighbours belong to one row.
        alone: whether a slice is the same function of its row at every position in the batch.
        columns: of an array of indices, what is known of the entries of its last axis; `alone`
            says nothing of those.
    """

    axis: int
    inner: int = 1
    alone: bool = True
    columns: tuple[np.ndarray | None, ...] = ()


class Mixed(NamedTuple):
    """An array that depends on several rows, or may do so.

    Attributes:
        cause: the operation that mixes them.
        known: whether it does, rather than being one of which nothing is known.
    """

    cause: str
    known: bool = True


State = Same | Rows | Mixed

_ELEMENTWISE = {
    *("abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh"),
    *("bessel_i0e", "bessel_i1e", "cbrt", "ceil", "clamp", "complex", "conj", "copy", "copy_p"),
    *("convert_element_type", "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc"),
    *("exp", "exp2", "expm1", "floor", "ge", "gt", "igamma", "igammac", "imag", "integer_pow"),
    *("is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt", "max", "min", "mul", "name"),
    *("ne", "neg", "nextafter", "not", "or", "polygamma", "pow", "real", "reduce_precision"),
    *("regularized_incomplete_beta", "rem", "round", "rsqrt", "select_n", "sharding_constraint"),
    *("shift_left", "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh"),
    *("sqrt", "square", "stop_gradient", "sub", "tan", "tanh", "xor", "zeta"),
}
# along these parameters' axes they mix
_ALONG = {
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod"), "axes"),
    **dict.fromkeys(("reduce_and", "reduce_or", "reduce_xor", "argmax", "argmin"), "axes"),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), "axis"),
    "sort": "dimension",
    "rev": "dimensions",
    "split": "axis",
    "concatenate": "dimension",
}
_MATRICES = {"cholesky", "eigh", "householder_product", "lu", "qr", "svd", "triangular_solve"}
_WINDOWS = {"reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum"}
# how jax makes an index of `arange`, which may be counted from the end
_INDEXING: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "lt": np.less,
    "select_n": lambda which, no, yes: np.where(which, yes, no),
    "convert_element_type": lambda x, new_dtype, **_: np.asarray(x).astype(new_dtype),
    "iota": lambda shape, dimension, **_: np.broadcast_to(
        np.arange(shape[dimension]).reshape([-1] + [1] * (len(shape) - dimension - 1)), shape
    ),
    "broadcast_in_dim": lambda x, shape, broadcast_dimensions, **_: np.broadcast_to(
        np.reshape(
            x,
            [
                np.shape(x)[broadcast_dimensions.index(i)] if i in broadcast_dimensions else 1
                for i in range(len(shape))
            ],
        ),
        shape,
    ),
}
LARGEST = 2**20  # elements of an index that is worked out


def _shapes(variables: Sequence[Any]) -> list[tuple[int, ...]]:
    return [getattr(v.aval, "shape", ()) for v in variables]


def same(equation: Any, ins: Sequence[Any]) -> State:
    """Along which axes a result is constant, and what it holds."""
    name, (shape, *_) = equation.primitive.name, _shapes(equation.outvars)
    values = [s.value for s in ins]
    value = None
    if name in _INDEXING and math.prod(shape) <= LARGEST and all(v is not None for v in values):
        options = equation.params if name not in ("add", "lt", "select_n") else {}
        value = _INDEXING[name](*values, **options)
    if name == "concatenate" and equation.params["dimension"] == len(shape) - 1:
        return _put_together(ins, _shapes(equation.invars))
    uniform: set[int] = set()
    if name == "iota":
        uniform = {*range(len(shape))} - {equation.params["dimension"]}
    elif name == "broadcast_in_dim":
        (of,), places = _shapes(equation.invars[:1]), equation.params["broadcast_dimensions"]
        kept = {d for i, d in enumerate(places) if of[i] == shape[d] and i not in ins[0].uniform}
        uniform = {*range(len(shape))} - kept
    elif name in _ELEMENTWISE:
        uniform = {*range(len(shape))}
        for s, of in zip(ins, _shapes(equation.invars), strict=True):
            uniform &= {d for d in uniform if not of or of[d] == 1 or d in s.uniform}
    elif name == "dot_general":
        contracted, batch = equation.params["dimension_numbers"]
        pairs = zip(*batch, strict=True)
        axes = [a in ins[0].uniform and b in ins[1].uniform for a, b in pairs]
        for k, of in enumerate(_shapes(equation.invars)):
            free = [d for d in range(len(of)) if d not in (*contracted[k], *batch[k])]
            axes += [d in ins[k].uniform for d in free]
        uniform = {i for i, constant in enumerate(axes) if constant}
    elif name == "transpose":
        uniform = {i for i, d in enumerate(equation.params["permutation"]) if d in ins[0].uniform}
    return Same(frozenset(uniform), value)


def aligned(
    states: Sequence[State], cause: str, shapes: Sequence[tuple[int, ...]] | None = None
) -> State:
    """The state of what is combined position by position along the axis of the rows.

    Args:
        states: at least one of them `Rows`.
        cause: what combines them.
        shapes: where scalars and axes of size 1 are spread.
    """
    first = next(s for s in states if isinstance(s, Rows))
    alone = True
    for k, state in enumerate(states):
        if isinstance(state, Rows):
            if (state.axis, state.inner) != (first.axis, first.inner):
                return Mixed(cause)
            alone &= state.alone
        elif isinstance(state, Same):
            spread = shapes is not None and (not shapes[k] or shapes[k][first.axis] == 1)
            alone &= spread or first.axis in state.uniform
    return Rows(first.axis, first.inner, alone)


def rows(equation: Any, ins: Sequence[Any], count: int) -> State | None:
    """The state of a result that depends on rows; `None` if nothing is known of the operation."""
    name, params = equation.primitive.name, equation.params
    shapes, (out, *_) = _shapes(equation.invars), _shapes(equation.outvars)
    first, shape = next(pair for pair in zip(ins, shapes, strict=True) if isinstance(pair[0], Rows))
    axis = first.axis
    whole = first._replace(columns=())
    if name in _ELEMENTWISE:
        return aligned(ins, name, shapes)
    if name == "optimization_barrier":
        return None if len(ins) > 1 else first
    if name in _ALONG:
        over = params[_ALONG[name]]
        if axis in (over if isinstance(over, Sequence) else (over,)):
            return Mixed(name)
        if name == "concatenate" and over == len(out) - 1:
            return _put_together(ins, shapes)
        state = aligned(ins, name, shapes)
        reduced = len(out) < len(shape) and isinstance(state, Rows)
        return state._replace(axis=axis - sum(i < axis for i in over)) if reduced else state
    if name == "broadcast_in_dim":
        return whole._replace(axis=params["broadcast_dimensions"][axis])
    if name == "transpose":
        return whole._replace(axis=params["permutation"].index(axis))
    if name == "squeeze":
        return whole._replace(axis=axis - sum(d < axis for d in params["dimensions"]))
    if name == "reshape":
        return _reshaped(whole, shape, out, count) if params["dimensions"] is None else None
    if name == "slice":
        step = 1 if params["strides"] is None else params["strides"][axis]
        kept = (params["start_indices"][axis], out[axis], step) == (0, shape[axis], 1)
        return whole if kept else Mixed(name)
    if name == "pad":
        kept = params["padding_config"][axis] == (0, 0, 0)
        return whole if kept and isinstance(ins[1], Same) else Mixed(name)
    if name == "dynamic_slice":
        return whole if out[axis] == shape[axis] else Mixed(name)
    if name == "dynamic_update_slice":
        kept = shapes[0][axis] == shapes[1][axis]
        return aligned(ins[:2], name) if kept else Mixed(name)
    if name == "dot_general":
        return _product(ins, shapes, params["dimension_numbers"])
    if name == "conv_general_dilated":
        numbers = params["dimension_numbers"]
        if first is not ins[0] or not isinstance(ins[1], Same) or params["batch_group_count"] > 1:
            return None
        kept = axis == numbers.lhs_spec[0]
        return whole._replace(axis=numbers.out_spec[0]) if kept else Mixed(name)
    if name in _WINDOWS:
        names = ("window_dimensions", "window_strides", "base_dilation", "window_dilation")
        still = all(params.get(k) is None or params[k][axis] == 1 for k in names)
        still = still and tuple(params["padding"][axis]) == (0, 0)
        return whole if still and all(isinstance(s, Same) for s in ins[1:]) else Mixed(name)
    if name == "top_k":
        return whole if axis != params.get("axis", len(shape) - 1) % len(shape) else Mixed(name)
    if name == "fft":
        return whole if axis < len(shape) - len(params["fft_lengths"]) else Mixed(name)
    if name in _MATRICES:
        return aligned(ins, name, shapes) if axis < len(shape) - 2 else Mixed(name)
    if name == "gather":
        return _gathered(ins, shapes, out, params, count)
    if name.startswith("scatter"):
        return _scattered(ins, shapes, params, count)
    return None


def _reshaped(state: Rows, shape: Sequence[int], out: Sequence[int], count: int) -> State:
    """Where the rows are, by the distance of two neighbours in row-major order."""
    stride = math.prod(shape[state.axis + 1 :]) * state.inner
    for axis, size in enumerate(out):
        after = math.prod(out[axis + 1 :])
        inner = stride // max(after, 1)
        if stride == inner * after and inner and size % (inner * count) == 0:
            return state._replace(axis=axis, inner=inner)
    return Mixed("reshape")


def _product(ins: Sequence[Any], shapes: Sequence[Any], numbers: Any) -> State:
    """Rows that are free in one operand, or a batch axis of both."""
    (contracted, batch), alone, places = numbers, True, set()
    free = [
        [d for d in range(len(shapes[k])) if d not in (*contracted[k], *batch[k])] for k in (0, 1)
    ]
    for k, state in enumerate(ins):
        if not isinstance(state, Rows):
            continue
        alone &= state.alone
        if state.axis in contracted[k]:
            return Mixed("dot_general")
        if state.axis in batch[k]:
            place, other = list(batch[k]).index(state.axis), ins[1 - k]
            alone &= isinstance(other, Rows) or batch[1 - k][place] in other.uniform
        else:
            place = len(batch[0]) + k * len(free[0]) + free[k].index(state.axis)
        places.add((place, state.inner))
    (place, inner), *more = places
    return Mixed("dot_general") if more else Rows(place, inner, alone)


def _put_together(ins: Sequence[Any], shapes: Sequence[Any]) -> State:
    """Indices side by side along the last axis, with what is known of them."""
    columns: list[np.ndarray | None] = []
    for state, shape in zip(ins, shapes, strict=True):
        value = state.value if isinstance(state, Same) else None
        columns += [None if value is None else value[..., c] for c in range(shape[-1])]
    if all(isinstance(s, Same) for s in ins):
        constant = frozenset.intersection(*(s.uniform for s in ins))
        return Same(constant - {len(shapes[0]) - 1}, columns=tuple(columns))
    unknown = [isinstance(s, Rows) or s.value is None for s in ins]
    states, of = ([x for x, k in zip(xs, unknown, strict=True) if k] for xs in (ins, shapes))
    state = aligned(states, "concatenate", of)
    return state._replace(columns=tuple(columns)) if isinstance(state, Rows) else state


def plain(state: State) -> State:
    """The state of indices that are used as numbers."""
    if not isinstance(state, Rows) or not state.columns:
        return state
    return Rows(state.axis, state.inner, state.alone and _steady(state, state.axis))


def _steady(index: Rows | Same, at: int | None, but: int | None = None) -> bool:
    """Whether what is known of indices is constant along an axis, one column apart."""
    if at is None:
        return True
    columns = _columns(index)
    if isinstance(index, Same) and not columns:
        return at in index.uniform
    # what is not known of the indices of rows is their own
    other = isinstance(index, Rows)
    return all(
        k == but or (other if c is None else bool((c == np.take(c, [0], at)).all()))
        for k, c in enumerate(columns)
    )


def _columns(index: Rows | Same) -> tuple[np.ndarray | None, ...]:
    if isinstance(index, Rows) or index.value is None:
        return index.columns
    return tuple(np.moveaxis(index.value, -1, 0))


class _Place(NamedTuple):
    """Where the rows of an array that is indexed are found again.

    Attributes:
        values: along which axis of the values.
        at: along which axis of the indices, if any.
        column: which entry of an index is the row's own number.
    """

    values: int
    at: int | None = None
    column: int | None = None


def _place(axis, shapes, sizes, index, windows, dropped, mapped, batching, count) -> _Place | None:
    """Where a row axis of an array that is indexed is found again, if it is.

    Args:
        axis: the axis.
        shapes: of the array and of the indices.
        sizes: of the windows, along each axis of the array.
        index: the state of the indices.
        windows: the axes of the values that lie within windows.
        dropped: the array's axes that have none there.
        mapped: the array's axes that the entries of an index belong to.
        batching: the array's axes that go along with axes of the indices, and those.
        count: rows.
    """
    array, shape = shapes
    within = [d for d in range(len(array)) if d not in (*dropped, *batching[0])]
    outside = [d for d in range(len(shape) - 1 + len(windows)) if d not in windows]
    if axis in batching[0]:
        at = batching[1][batching[0].index(axis)]
        return _Place(outside[at], at)
    if axis in within and sizes[axis] == array[axis]:
        return _Place(windows[within.index(axis)])
    columns = _columns(index)
    k = mapped.index(axis) if axis in mapped and columns else None
    column = None if k is None else columns[k]
    if column is None or array[axis] != count:
        return None
    for at, size in enumerate(shape[:-1]):
        steps = np.arange(size).reshape([-1] + [1] * (len(shape) - 2 - at))
        if size == count and (column == steps).all():
            return _Place(outside[at], at, k)
    return None


def _gathered(ins, shapes, out, params, count) -> State:
    numbers, (array, index) = params["dimension_numbers"], ins
    batching = (numbers.operand_batching_dims, numbers.start_indices_batching_dims)
    if isinstance(array, Same):  # a table
        if index.axis == len(shapes[1]) - 1:
            return Mixed("gather")
        places = [d for d in range(len(out)) if d not in numbers.offset_dims]
        beside = [o for o, i in zip(*batching, strict=True) if i == index.axis]
        alone = index.alone and all(o in array.uniform for o in beside)
        return Rows(places[index.axis], index.inner, alone and _steady(index, index.axis))
    dropped, mapped = numbers.collapsed_slice_dims, numbers.start_index_map
    arguments = (params["slice_sizes"], index, numbers.offset_dims, dropped, mapped, batching)
    place = _place(array.axis, shapes, *arguments, count)
    if place is None or not _together([array], index, place):
        return Mixed("gather")
    alone = array.alone and (isinstance(index, Same) or index.alone)
    return Rows(place.values, array.inner, alone and _steady(index, place.at, place.column))


def _scattered(ins, shapes, params, count) -> State:
    numbers, (array, index, updates) = params["dimension_numbers"], ins
    windows, dropped = numbers.update_window_dims, numbers.inserted_window_dims
    batching = (numbers.operand_batching_dims, numbers.scatter_indices_batching_dims)
    mapped = numbers.scatter_dims_to_operand_dims
    within = [d for d in range(len(shapes[0])) if d not in (*dropped, *batching[0])]
    sizes = [1] * len(shapes[0])
    for d, w in zip(within, windows, strict=True):
        sizes[d] = shapes[2][w]
    arguments = (sizes, index, windows, dropped, mapped, batching)
    for axis in range(len(shapes[0])) if isinstance(array, Same) else (array.axis,):
        place = _place(axis, shapes[:2], *arguments, count)
        fits = place is not None and _together([array, updates], index, place)
        if (
            place is None
            or not fits
            or (isinstance(updates, Rows) and updates.axis != place.values)
        ):
            continue
        alone = _steady(index, place.at, place.column)
        for state, at in ((array, axis), (updates, place.values), (index, None)):
            if isinstance(state, Rows):
                alone &= state.alone
            elif at is not None:
                alone &= at in state.uniform
        return Rows(axis, next(s.inner for s in ins if isinstance(s, Rows)), alone)
    return Mixed("scatter")


def _together(arrays: Sequence[State], index: Rows | Same, place: _Place) -> bool:
    """Whether the indices' rows are those of the arrays."""
    inner = {s.inner for s in (*arrays, index) if isinstance(s, Rows)}
    return len(inner) == 1 and (isinstance(index, Same) or index.axis == place.at)
