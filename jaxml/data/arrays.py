"""A `Dataset` from arrays that the caller has."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from jaxml.core.checks import require, require_choice
from jaxml.data.dataset import Dataset, Split
from jaxml.data.splits import generator, split

TASKS = ("classification", "regression")
# integers of so many different values or less are labels; of more, if each has rows enough
FEW = 20
# of a column's standard deviation, by which rounding may be off where it merges values
_ROUNDING = 1e-4
_BLOCK = 2**22


def from_arrays(
    x: Any,
    y: Any,
    *,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    task: str | None = None,
    name: str = "arrays",
) -> Dataset:
    """Check arrays, bring them to float32 and int32, and split them.

    Args:
        x: `(N, ...)` inputs, of any numeric type; they become float32, unscaled.
        y: `(N,)` whole labels from 0 for classification, which become int32; `(N, ...)`
            numbers for regression, which become float32, unscaled.
        validation: fraction of the rows, in [0, 1); 0 makes no such split.
        test: likewise.
        seed: of the split; a whole number of at least 0.
        task: "classification" or "regression". By default integers and booleans in `y` mean
            classification, floating-point numbers regression; where these could well be the
            other (integers of nearly as many values as rows, a few whole floating-point numbers
            again and again, one-hot rows), it must be given.
        name: what to call it in `meta`.

    Returns:
        A data set of copies, stratified by `y` in classification; `meta["classes"]` is then the
        greatest label plus one.

    Raises:
        ValueError: if the arrays are empty, differ in length, are not numeric, hold NaN or
            infinity (or what float32 turns into it), labels that are no class or hardly ever one
            (2 and 2,000,000,000), or numbers that float32 cannot tell apart, if the task cannot
            be told, or if a fraction is out of range or leaves nothing to train on.

    >>> moons = from_arrays(np.eye(10), [0, 1] * 5)
    >>> moons.meta["task"], moons.meta["classes"], moons.meta["counts"]
    ('classification', 2, {'train': 6, 'validation': 2, 'test': 2})
    """
    rows, task = checked_rows(x, y, task)
    labels = rows["y"] if task == "classification" else None
    rng = generator(seed)
    parts = split(rows, validation=validation, test=test, rng=rng, labels=labels)
    return Dataset(*parts, meta=described(name, task, parts, source="arrays of the caller"))


def checked_rows(x: Any, y: Any, task: str | None, suffix: str = "") -> tuple[Split, str]:
    """`{"x": ..., "y": ...}` in float32 and int32, and the task, which `y` tells if None.

    Args:
        x: as in `from_arrays`.
        y: likewise.
        task: likewise.
        suffix: what messages append to the names x and y, for example "_train".

    Raises:
        ValueError: as in `from_arrays`.
    """
    inputs = finite_numbers(f"x{suffix}", x)
    targets = finite_numbers(f"y{suffix}", y)
    require(
        len(inputs) == len(targets),
        f"x{suffix} and y{suffix} of one length",
        f"{len(inputs)} and {len(targets)} rows",
    )
    if task is None:
        task = guessed_task(f"y{suffix}", targets)
    require_choice("task", task, TASKS)
    as_task = _labels if task == "classification" else to_float32
    return {"x": to_float32(f"x{suffix}", inputs), "y": as_task(f"y{suffix}", targets)}, task


def described(
    name: str, task: str, parts: tuple[Split | None, ...], *, source: str
) -> dict[str, Any]:
    """The `meta` of data that came from a caller: all that can be said about it."""
    meta = {
        "name": name,
        "task": task,
        "description": f"{task} data given by the caller",
        "source": source,
        "licence": "not stated",
        "citation": None,
    }
    if task == "classification":
        labels = np.unique(np.concatenate([part["y"] for part in parts if part is not None]))
        meta["classes"] = 1 + int(labels[-1])
        require(
            _dense(labels),
            "labels that number the classes from 0 without great gaps, or the task regression",
            f"{len(labels):,} different ones up to {labels[-1]:,}",
        )
    return meta


def _dense(labels: np.ndarray) -> bool:
    """Whether the different labels, sorted, leave out few numbers from 0 on."""
    return bool(labels[-1] < 100 + 10 * len(labels))


def guessed_task(name: str, targets: np.ndarray) -> str:
    """What the targets, an array of N rows, say the task is.

    Raises:
        ValueError: where they do not; see `from_arrays`.
    """
    rows, kind = len(targets), targets.dtype.kind
    if kind == "f" and targets.ndim > 1:
        one_hot = targets.shape[1:] != (1,) and np.isin(targets, (0, 1)).all()
        one_hot = one_hot and (targets.reshape(rows, -1).sum(1) == 1).all()
        told = "rows that may be one-hot labels (y.argmax(1) makes labels of them)"
        _require_task(not one_hot, name, told)
        return "regression"
    values = np.unique(targets)
    often = len(values) * 10 <= rows
    if kind == "f":
        labels = 2 <= len(values) <= FEW and often and (values == np.floor(values)).all()
        told = f"{len(values)} whole numbers again and again, {values[0]:g} to {values[-1]:g}"
        _require_task(not labels, name, told)
        return "regression"
    few = len(values) <= FEW
    told = f"{len(values):,} different integers in {rows:,} rows"
    _require_task(few or (2 * len(values) <= rows and _dense(values)), name, told)
    if not few and not often:
        warnings.warn(f"{name} is taken for the labels of classes: {told}", stacklevel=4)
    return "classification"


def _require_task(condition: Any, name: str, told: str) -> None:
    require(condition, f"the task, classification or regression, to be given for {name}", told)


def finite_numbers(name: str, values: Any) -> np.ndarray:
    """The values as an array of at least one row, checked to be finite real numbers."""
    array = np.asarray(values)
    require(array.dtype.kind in "biuf", f"{name} to hold real numbers", f"dtype {array.dtype}")
    require(array.ndim >= 1, f"{name} to have a leading axis of rows", "a scalar")
    require(array.size > 0, f"{name} to hold at least one value", f"shape {array.shape}")
    if array.dtype.kind == "f":
        for what, bad in (("NaN", np.isnan(array)), ("infinite", np.isinf(array))):
            _require_none(name, what, bad)
    return array


def to_float32(name: str, array: np.ndarray) -> np.ndarray:
    """The array in float32, if that keeps its numbers finite and apart."""
    with np.errstate(over="ignore"):  # said below, with the place
        converted = array.astype(np.float32)
    _require_none(name, "out of float32's range", np.isinf(converted))
    require_distinct(name, array)
    return converted


def require_distinct(name: str, array: np.ndarray) -> None:
    """Refuse a column whose values float32, of 24 bits, merges, as it does long identifiers.

    Of random numbers a few always fall together. Refused is a column that loses more than one in
    a hundred of its values, if they are whole numbers or rounding is not small against their
    spread.

    Args:
        name: of the array.
        array: of shape (N, ...), finite.

    Raises:
        ValueError: naming the column.
    """
    if array.dtype.itemsize <= 2 or array.dtype in (np.float32, bool):
        return
    columns = array.reshape(len(array), -1)
    step = max(1, _BLOCK // len(array))
    for start in range(0, columns.shape[1], step):
        block = columns[:, start : start + step]
        rounded = block.astype(np.float32)
        off = np.abs(block - rounded.astype(np.float64)).max(0)
        whole = (block == np.floor(block)).all(0)
        suspect = np.where(whole, np.abs(block).max(0) >= 2**24, off > _ROUNDING * block.std(0))
        for i in np.flatnonzero(suspect):
            before, after = len(np.unique(block[:, i])), len(np.unique(rounded[:, i]))
            place = name if array.ndim == 1 else f"column {start + i} of {name}"
            require(
                before - after <= before / 100,
                f"numbers that float32 can tell apart in {place} (less an offset, or left out)",
                f"{before:,} different ones, which become {after:,}",
            )


def _labels(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f" and (array == np.floor(array)).all():
        array = np.clip(array, -(2.0**62), 2.0**62).astype(np.int64)
    require(
        array.dtype.kind in "biu",
        f"{name} to hold integer labels for classification",
        f"dtype {array.dtype}",
    )
    require(array.ndim == 1, f"{name} of shape (N,) for classification", f"shape {array.shape}")
    require(array.min() >= 0, f"{name} to hold labels of at least 0", f"the label {array.min()}")
    limit = np.iinfo(np.int32).max
    require(array.max() < limit, f"{name} to hold labels below {limit}", f"the label {array.max()}")
    return array.astype(np.int32)


def _require_none(name: str, what: str, bad: np.ndarray) -> None:
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        place = first[0] if len(first) == 1 else first
        got = f"{int(bad.sum())} of {bad.size} values {what}, the first at index {place}"
        require(False, f"{name} to hold finite numbers only", got)
