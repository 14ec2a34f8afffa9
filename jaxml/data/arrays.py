"""A `Dataset` from arrays that the caller has."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml.checks import require, require_choice
from jaxml.data.dataset import Dataset, Split
from jaxml.data.splitting import generator, split

TASKS = ("classification", "regression")


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
        x: `(N, ...)` inputs, of any numeric type; they become float32.
        y: `(N,)` integer labels from 0 for classification, which become int32; `(N, ...)`
            numbers for regression, which become float32.
        validation: fraction of the rows, in [0, 1); 0 makes no such split.
        test: likewise.
        seed: of the split; a whole number of at least 0.
        task: "classification" or "regression". By default integers and booleans in `y` mean
            classification, floating-point numbers regression.
        name: what to call it in `meta`.

    Returns:
        A data set of copies, stratified by `y` in classification; `meta["classes"]` is then the
        greatest label plus one.

    Raises:
        ValueError: if the arrays are empty, differ in length, are not numeric, hold NaN or
            infinity (or what float32 turns into it) or labels that are no class, or if a fraction
            is out of range or leaves nothing to train on.

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
    inputs = _numbers(f"x{suffix}", x)
    targets = _numbers(f"y{suffix}", y)
    require(
        len(inputs) == len(targets),
        f"x{suffix} and y{suffix} of one length",
        f"{len(inputs)} and {len(targets)} rows",
    )
    if task is None:
        task = "regression" if targets.dtype.kind == "f" else "classification"
    require_choice("task", task, TASKS)
    as_task = _labels if task == "classification" else _float32
    return {"x": _float32(f"x{suffix}", inputs), "y": as_task(f"y{suffix}", targets)}, task


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
        meta["classes"] = 1 + max(int(part["y"].max()) for part in parts if part is not None)
    return meta


def _numbers(name: str, values: Any) -> np.ndarray:
    """The values as an array of at least one row, checked to be finite real numbers."""
    array = np.asarray(values)
    require(array.dtype.kind in "biuf", f"{name} to hold real numbers", f"dtype {array.dtype}")
    require(array.ndim >= 1, f"{name} to have a leading axis of rows", "a scalar")
    require(array.size > 0, f"{name} to hold at least one value", f"shape {array.shape}")
    if array.dtype.kind == "f":
        for what, bad in (("NaN", np.isnan(array)), ("infinite", np.isinf(array))):
            _require_none(name, what, bad)
    return array


def _float32(name: str, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # said below, with the place
        converted = array.astype(np.float32)
    _require_none(name, "out of float32's range", np.isinf(converted))
    return converted


def _labels(name: str, array: np.ndarray) -> np.ndarray:
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
