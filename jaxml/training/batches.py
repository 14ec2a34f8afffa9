"""What enters training: arrays that belong together, weights that weigh, labels that are classes.

All of it is checked on the host before anything is compiled. What a loss or a metric expects of
its targets it says while it is traced (`expect`), and `check_use` holds the data against it.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxml.core.checks import require
from jaxml.core.programs import read
from jaxml.core.sharding import place_rows
from jaxml.core.types import Batch


def check_data(data: Any, mesh: jax.sharding.Mesh | None = None, *, part: bool = False) -> Any:
    """The split as arrays on the device, or placed on the mesh by `place_rows`.

    Args:
        data: a pytree of arrays with one leading axis, such as a dict of them, or `None`.
        mesh: from `check_mesh`.
        part: whether it is one batch of a split, of which no example need count.

    Raises:
        ValueError: for anything else, unequal lengths, no rows, or values that are not finite
            or not in the range of the dtype they get on the device (float32, int32); for
            `"weights"` that are not one number of at least 0 an example, or all 0; for a
            `"mask"` of other numbers than 0 and 1, or all 0.
    """
    if data is None:
        return None
    data = as_tree(data)
    leaves = jax.tree.leaves(data)
    if len(leaves) == 1 and dataclasses.is_dataclass(leaves[0]):
        raise ValueError("expected one split, such as dataset.train, got the whole data set")
    expected = "arrays in memory, of a stream a part of its rows (fit and evaluate take streams)"
    require(not any(callable(leaf) for leaf in leaves), expected, type(data).__name__)
    some = len(leaves) > 0 and not isinstance(data, str)
    require(some, "a dict of arrays, or another pytree of them", type(data).__name__)
    arrays = {label: np.asarray(leaf) for label, leaf in labelled(data).items()}
    got = f"lengths {dict.fromkeys(arrays, 0)}"
    require(length_of(arrays) > 0, "at least one example", got)
    for label, array in arrays.items():
        require(is_numeric(array), f"numbers in {_shown(label)}", f"dtype {array.dtype}")
        with np.errstate(over="ignore"):
            placed = array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)
        whole = np.issubdtype(array.dtype, np.integer)
        bad = np.argwhere(placed != array if whole else ~np.isfinite(placed))
        require(
            len(bad) == 0,
            f"{'values in the range' if whole else 'finite values'} of {placed.dtype} "
            f"in {_shown(label)}",
            f"{len(bad)} that are not, the first at {tuple(map(int, bad[0])) if len(bad) else ''}",
        )
    if "weights" in arrays:
        _check_weights(arrays["weights"], part)
    if "mask" in arrays:
        mask = arrays["mask"]
        _refuse("0 and 1 in data['mask']", mask, (mask != 0) & (mask != 1), "")
        require(part or mask.any(), "a target that counts in data['mask']", "zeros alone")
    if mesh is not None:
        return place_rows(jax.tree.map(np.asarray, data), mesh)
    return jax.tree.map(jnp.asarray, data)


def length_of(arrays: Mapping[str, Any]) -> int:
    """Of the one leading axis that arrays have.

    Raises:
        ValueError: if they have none, or are of several lengths.
    """
    lengths = {name: np.shape(leaf)[0] if np.ndim(leaf) else None for name, leaf in arrays.items()}
    one = len({*lengths.values()}) == 1 and None not in lengths.values()
    require(one, "arrays with one leading axis", f"lengths {lengths}")
    return next(iter(lengths.values()))  # pyright: ignore[reportReturnType]


def labelled(tree: Any) -> dict[str, Any]:
    """The leaves by their paths, as `support/x`, in their order."""
    of = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
    return {of(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def _shown(label: str) -> str:
    """A leaf of the data as a message names it."""
    return "data" + "".join(f"[{part!r}]" for part in label.split("/") if part)


def as_tree(data: Any) -> Any:
    """The data as a pytree of arrays, which a mapping and lists of plain numbers are not."""

    def numbers(node):
        return isinstance(node, list) and all(np.isscalar(x) for x in jax.tree.leaves(node))

    data = dict(data) if isinstance(data, Mapping) else data
    as_array = lambda leaf: np.asarray(leaf) if isinstance(leaf, list) else leaf  # noqa: E731
    return jax.tree.map(as_array, data, is_leaf=numbers)


def is_numeric(array: np.ndarray) -> bool:
    """Whether it holds numbers or truth values."""
    # np.issubdtype does not know bfloat16
    return jnp.issubdtype(array.dtype, np.number) or array.dtype == bool


def _check_weights(weights: np.ndarray, part: bool) -> None:
    name, shape = "data['weights']", weights.shape
    require(len(shape) == 1, f"one weight an example, {name} of shape {shape[:1]}", f"{shape}")
    negative = np.flatnonzero(weights < 0)
    first = f"{weights[negative[0]]} at {negative[0]}" if len(negative) else ""
    require(len(negative) == 0, f"weights of at least 0 in {name}", first)
    require(part or weights.any(), f"a weight above 0 in {name}", "zeros alone")


class Expected(NamedTuple):
    """What a loss or a metric expects of its targets.

    Attributes:
        targets: of the batch, being traced.
        kind: `"labels"`, `"probabilities"` (each from 0 to 1), a `"distribution"` along the last
            axis, or `"numbers"`.
        classes: how many, of labels.
    """

    targets: Any
    kind: str
    classes: int = 0


_expected: contextvars.ContextVar[list[Expected] | None] = contextvars.ContextVar(
    "expected", default=None
)


def expect(targets: Any, kind: str, classes: int = 0) -> None:
    """Say, while a loss is traced, what it expects of its targets; see `Expected`."""
    if (said := _expected.get()) is not None:
        said.append(Expected(targets, kind, classes))


def of_batch(batch: Batch, name: str) -> Any:
    """An array of a batch.

    Raises:
        ValueError: if it has none of that name.
    """
    got = f"keys {sorted(batch)}" if isinstance(batch, Mapping) else type(batch).__name__
    known = isinstance(batch, Mapping) and name in batch
    require(known, f"data with the key {name!r}", got)
    return batch[name]


def labels_of(batch: Batch, shape: tuple[int, ...], classes: int) -> jax.Array:
    """The integer labels of a batch, of a shape.

    One that is no class is put out of range, so that whoever indexes by it gets NaN: JAX would
    count a negative one from the last class.
    """
    labels = jnp.asarray(of_batch(batch, "y"))
    hot = ", one-hot (argmax(-1) makes labels of them)" if labels.shape == (*shape, classes) else ""
    require(labels.shape == shape, f"labels of {shape}", f"{labels.shape}{hot}")
    whole = jnp.issubdtype(labels.dtype, jnp.integer)
    require(whole, f"integer labels of {shape} (batch['y'].astype(int))", f"{labels.dtype}")
    expect(batch["y"], "labels", classes)
    # in int32, as an out-of-range number may not fit a smaller type
    labels = labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels
    return jnp.where((labels < 0) | (labels >= classes), classes, labels)


def over_targets(values: jax.Array, batch: Batch) -> jax.Array:
    """The mean over each example's targets, of those that its mask leaves; 0 where it leaves none.

    Args:
        values: of shape `(batch, ...)`, one for each number of the targets.
        batch: its `"mask"`, if it has one, is of the leading axes of the values; those beyond are
            of one target.

    Raises:
        ValueError: if it is of another shape.
    """
    if not isinstance(batch, Mapping) or "mask" not in batch:
        return values.reshape(len(values), -1).mean(-1)
    mask = jnp.asarray(batch["mask"])
    fits = mask.ndim > 0 and mask.shape == values.shape[: mask.ndim]
    require(fits, f"a mask of the leading axes of the values' {values.shape}", mask.shape)
    values = values.reshape(len(values), mask[0].size, -1).mean(-1)
    mask = mask.reshape(values.shape) > 0
    return jnp.where(mask, values, 0).sum(-1) / jnp.maximum(mask.sum(-1), 1)


def length_mask(lengths: Any, size: int) -> jax.Array:
    """1 at the first positions of each example, up to its length.

    Args:
        lengths: of shape `(N,)`, such as `data["y_length"]`.
        size: positions of an example, padding included.

    Returns:
        Truth values of shape `(N, size)`, for `data["mask"]` or a network's own use.

    Example:
        >>> length_mask(np.array([2, 0]), 3).tolist()
        [[True, True, False], [False, False, False]]
    """
    return jnp.arange(size) < jnp.asarray(lengths)[:, None]


@contextlib.contextmanager
def _listening() -> Iterator[list[Expected]]:
    said: list[Expected] = []
    token = _expected.set(said)
    try:
        yield said
    finally:
        _expected.reset(token)


def check_use(
    use: Callable[..., Any],
    data: Any,
    *arguments: Any,
    sample: Callable[..., Any] | None = None,
    reads: Sequence[str] = (),
) -> tuple[Any, Partial, Callable[[Any], None]]:
    """Read what is made of batches, and check the data against what it says it expects.

    Args:
        use: `(batch, *arguments) -> anything`.
        data: a split that `check_data` has checked; `None` for none.
        *arguments: pytrees of arrays, of which shapes and dtypes count.
        sample: `(data, key, step) -> batch`; the data themselves are the batch by default.
        reads: keys that are read elsewhere.

    Returns:
        The sampler, if there is one, and `(batch, arguments) -> anything`, as `programs.read`
        reads them: they were traced for this check, and need not be again. And what checks the
        values of other data of the same kind, such as the next batch of a stream.

    Raises:
        ValueError: for labels that are no class of the network's, or targets outside [0, 1] where
            probabilities are expected; for negative integers that anything is indexed by; for
            weights or a mask that nothing reads.

    Warns:
        UserWarning: of any other key that nothing reads.
    """
    # of those on a device only what is looked at is fetched
    data = as_tree(data)
    given = jax.tree.map(lambda v: v if isinstance(v, jax.Array) else np.asarray(v), data)
    batch = rows = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, jax.dtypes.canonicalize_dtype(a.dtype)), given
    )
    arrays = labelled(given)
    sampler: Any = None
    if sample is not None:
        key = jax.eval_shape(lambda: jax.random.key(0))
        step = jax.ShapeDtypeStruct((), jnp.int32)
        sampler = read(sample, batch, key, step)
        batch = sampler.func.outputs
    placed: dict[str, Any] = {}

    def call(batch, arguments):
        placed.update(labelled(batch))
        return use(batch, *arguments)

    with _listening() as said:
        called: Any = read(call, batch, arguments)
    if data is None:
        return sampler, called, lambda data: None  # noqa: ARG005
    made = same = {name: {name} for name in arrays}
    if sampler is not None:
        origins = functools.partial(_origins, sampler.func.jaxpr, rows, batch)
        made, same = origins(None), origins(_MOVES)
    jaxpr = called.func.jaxpr
    variables = list(zip(labelled(batch), jaxpr.invars, strict=False))
    used = {v for equation in jaxpr.eqns for v in equation.invars if not hasattr(v, "val")}
    read_keys = {name for name, v in variables if v in used or v in jaxpr.outvars}
    for name in arrays:
        if not made[name] & {*read_keys, *reads}:
            _unread(name)

    def check_values(data: Any) -> None:
        for name, array in labelled(as_tree(data)).items():
            what = _shown(name)
            for expected in said:
                if any(expected.targets is placed[own] for own in same[name]):
                    _check_targets(what, np.asarray(array), expected)
            if array.dtype.kind == "i" and np.asarray(array).min() < 0:
                start = {variable for own, variable in variables if own in same[name]}
                indexed: list = []
                _reached(jaxpr, start, _MOVES | {"select_n", "convert_element_type"}, indexed)
                if indexed:
                    hint = "; JAX counts them from the end; training.ignore_label leaves them out"
                    values = np.asarray(array)
                    _refuse(f"no negative index in {what}", values, values < 0, hint)

    check_values(given)
    return sampler, called, check_values


def shapes(tree: Any, axes: int = 0) -> Any:
    """Shapes and dtypes of arrays, less some leading axes."""

    def cut(leaf):
        return jax.ShapeDtypeStruct(leaf.shape[axes:], leaf.dtype, weak_type=leaf.weak_type)

    return jax.tree.map(cut, jax.eval_shape(lambda tree: tree, tree))


def ignore_label(data: Batch, label: int = -1) -> dict[str, Any]:
    """Leave examples out of the loss and of all metrics, as PyTorch's `ignore_index` does.

    A mean over a batch is then one over its other labels. Of an array of labels for each example
    (a sequence, an image) each is left out or counts on its own.

    Args:
        data: a split with integer labels `"y"` of shape `(N, ...)`.
        label: the one that is none.

    Returns:
        The split with a `"mask"` of the labels that count, of those that a mask it had leaves. The
        others are 0 in its `"y"`.

    Raises:
        ValueError: if there are no integer labels, or none is left.

    Example:
        >>> split = ignore_label({"x": np.eye(3), "y": np.array([2, -1, 0])})
        >>> split["y"].tolist(), split["mask"].tolist()
        ([2, 0, 0], [True, False, True])
    """
    require("y" in data, "data with labels, data['y']", f"keys {sorted(data)}")
    y = np.asarray(data["y"])
    require(y.dtype.kind in "iu" and y.ndim > 0, "integer labels in data['y']", f"{y.dtype}")
    counts = y != label
    require(counts.any(), f"labels other than {label} in data['y']", "none")
    mask = counts & (np.asarray(data["mask"]) != 0) if "mask" in data else counts
    return {**data, "y": np.where(counts, y, 0).astype(y.dtype), "mask": mask}


# what only picks and moves values
_MOVES = frozenset(
    (
        "broadcast_in_dim",
        "copy",
        "dynamic_slice",
        "gather",
        "reshape",
        "rev",
        "sharding_constraint",
        "slice",
        "squeeze",
        "transpose",
    )
)


def _origins(jaxpr: Any, rows: Any, batch: Any, moves: frozenset[str] | None) -> dict[str, set]:
    """Leaf of the data -> the leaves of the batch that are made of it."""
    ends = list(zip(labelled(batch), jaxpr.outvars, strict=True))
    reached = {
        name: _reached(jaxpr, {variable}, moves)
        for name, variable in zip(labelled(rows), jaxpr.invars, strict=False)
    }
    return {name: {end for end, v in ends if v in own} for name, own in reached.items()}


def _reached(jaxpr: Any, start: set, moves: frozenset[str] | None, indexed: Any = None) -> set:
    """The variables that some are made into.

    Args:
        jaxpr: what was traced.
        start: some of its variables.
        moves: the operations, of a first argument, that count; all if `None`.
        indexed: a list for the operations that take them as indices.
    """
    reached = set(start)
    for equation in jaxpr.eqns:
        given = [not hasattr(v, "val") and v in reached for v in equation.invars]
        name = equation.primitive.name
        if name == "jit":
            inner = equation.params["jaxpr"].jaxpr
            begin = {v for v, own in zip(inner.invars, given, strict=True) if own}
            ends = _reached(inner, begin, moves, indexed)
            pairs = zip(equation.outvars, inner.outvars, strict=True)
            reached |= {out for out, v in pairs if not hasattr(v, "val") and v in ends}
            continue
        if name == "gather" and given[1] and indexed is not None:
            indexed.append(equation)
        moved = any(given) if name == "select_n" else given[:1] == [True]
        if any(given) if moves is None else moved and name in moves:
            reached |= {*equation.outvars}
    return reached


def _check_targets(name: str, y: np.ndarray, expected: Expected) -> None:
    if expected.kind == "numbers":
        return
    least, most = y.min(), y.max()
    if expected.kind == "labels":
        last = expected.classes - 1
        hint = ""
        if least < 0:
            hint = "; training.ignore_label leaves out those that are none"
        elif least >= 1 and most == last + 1:
            hint = f"; labels count from 0: {name} - 1"
        _refuse(f"labels from 0 to {last} in {name}", y, (y < 0) | (y > last), hint)
        return
    hint = "; for labels -1 and 1: (y + 1) / 2" if {*np.unique(y[:99])} <= {-1, 1} else ""
    _refuse(f"0, 1 or probabilities in {name}", y, (y < 0) | (y > 1), hint)
    if expected.kind == "distribution":
        sums = y.sum(-1, dtype=np.float64)
        _refuse(f"probabilities of sum 1 in {name}", sums, abs(sums - 1) > 0.01, "")


def _refuse(expected: str, values: np.ndarray, bad: np.ndarray, hint: str) -> None:
    """Raise if there are bad values, with the first."""
    if bad.any():
        first = tuple(map(int, np.argwhere(bad)[0]))
        place = first[0] if len(first) == 1 else first
        got = f"{values[first]} at {place} ({int(bad.sum())} of {bad.size} are not{hint})"
        require(False, expected, got)


def _unread(name: str) -> None:
    what = _shown(name)
    weighs = "weight" in name.lower() or "mask" in name.lower()
    require(not weighs, "'weights', one an example, to be read", f"{what}, which nothing reads")
    warnings.warn(f"nothing reads {what}", stacklevel=4)
