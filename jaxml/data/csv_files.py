"""A `Dataset` from a table in a text file."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxml.core.checks import require, require_choice
from jaxml.data import csv_columns
from jaxml.data.arrays import FEW, TASKS, from_arrays, guessed_task, require_distinct
from jaxml.data.csv_columns import MISSING, Cells, UnreadableError
from jaxml.data.csv_tables import Table, read_table
from jaxml.data.dataset import Dataset, Split

MISSING_CHOICES = ("refuse", "impute", "drop")


def from_csv(
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    features: Sequence[str] | None = None,
    delimiter: str | None = None,
    missing: str = "refuse",
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    task: str | None = None,
    name: str | None = None,
) -> Dataset:
    r"""Read a data set from a text file of one row per line, in UTF-8.

    The first line is a header unless all of it looks like data; columns without a header are
    called "column 1", "column 2", …. Spaces around a cell and blank lines are skipped.

    A column of numbers is a feature as it is, one of dates the days since the first of them, and
    one of text a feature for each of its values, 1 where a row has that value and else 0. Text
    among numbers is refused.

    Args:
        path: of the file.
        target: the column of `y`; by default the last. Whole numbers are labels and other
            numbers values to regress on, unless `task` says otherwise; text is one class per
            word, in sorted order. Text among numbers is refused unless `task` is
            "classification".
        features: the columns of `x`; by default all but the target, an index without a name,
            identifiers (a column called id or the like that tells the rows apart), empty columns
            and text of more than 64 different values.
        delimiter: the one character between two cells; by default whichever of comma, semicolon,
            tab and bar parts the first lines, or else spaces.
        missing: what becomes of cells that are empty or hold NA, NaN, null, None or ?. "refuse"
            refuses them; "impute" puts the median of the training rows for a number or date, and
            zeros for a category; "drop" leaves those rows out. With either, so is a row without
            a target.
        validation: as in `from_arrays`.
        test: likewise.
        seed: likewise.
        task: likewise. With "classification" a target that is not whole numbers throughout is
            taken as text.
        name: what to call it in `meta`; by default the file's name without its ending.

    Returns:
        A data set whose `meta` also has `feature_names`, `target_name`, `columns` (column ->
        what it holds), `left_out` (column -> why), `rows_dropped`, `imputed` (feature -> what
        stands for missing values), with missing="impute" `fill` (the same for every feature,
        should one be missing in other rows) and, where the target is text or whole numbers
        other than 0, 1, …, `class_names`: label i stands for `class_names[i]`.

    Raises:
        ValueError: if the file is missing, empty or not a table in UTF-8, a row has too few or
            too many cells, a column is missing, a cell is empty or not a finite number where one
            is needed (the message has its line and column), or if `from_arrays` would raise.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "irises.csv")
    ...     _ = path.write_text("length,colour,kind" + 5 * "\n5.1,red,setosa\n7.0,blue,virginica")
    ...     irises = from_csv(path, target="kind")
    >>> irises.meta["feature_names"], irises.meta["class_names"]
    (['length', 'colour=blue', 'colour=red'], ['setosa', 'virginica'])
    """
    if task is not None:
        require_choice("task", task, TASKS)
    require_choice("missing", missing, MISSING_CHOICES)
    table = read_table(path, delimiter, target)
    header = list(table.columns)
    target = header[-1] if target is None else target
    columns, left_out, arrays = {}, {}, {}
    for column in _chosen(header, target, features):
        kind, values = _feature(table, column, asked=features is not None)
        if isinstance(kind, str):
            left_out[column or "the first"] = kind
        else:
            columns[column], arrays[column] = kind, values
    require(len(columns) > 0, "at least one feature column beside the target", left_out or "none")
    y, kept, class_names = _targets(table, target, missing, task)
    for column, values in arrays.items():
        holes = np.isnan(values).any(1)
        if missing == "refuse" and holes.any():
            raise table.fault(column, int(np.argmax(holes)), "a finite number")
        if missing == "drop":
            kept &= ~holes
    require(kept.any(), "a row without missing values", f"none in {path}")
    for column, values in arrays.items():
        if columns[column]["kind"] != "category":
            require_distinct(f"column {column!r}", np.nan_to_num(values[kept, 0]))
    x = np.concatenate(list(arrays.values()), axis=1)[kept]
    holes = np.isnan(x)
    dataset = from_arrays(
        # beside each value whether it is missing, until the training rows are known
        np.stack([np.nan_to_num(x), holes], axis=2) if holes.any() else x,
        y[kept],
        validation=validation,
        test=test,
        seed=seed,
        task=task if class_names is None else "classification",
        name=Path(path).stem if name is None else name,
    )
    more: dict[str, Any] = {
        "source": Path(path).name,
        "feature_names": [n for c, kind in columns.items() for n in csv_columns.names(c, kind)],
        "target_name": target,
        "columns": columns,
        "left_out": left_out,
        "rows_dropped": int((~kept).sum()),
    }
    if class_names is not None:
        more["class_names"] = class_names
    splits: dict[str, Any] = {}
    if missing == "impute":
        fill = _fill(dataset.train["x"], columns)
        more["fill"] = dict(zip(more["feature_names"], map(float, fill), strict=True))
        if holes.any():
            splits, imputed = _imputed(dataset, fill)
            filled = zip(more["fill"].items(), imputed, strict=True)
            more["imputed"] = dict(item for item, there in filled if there)
    return dataclasses.replace(dataset, **splits, meta={**dataset.meta, **more})


def csv_rows(path: str | os.PathLike[str], meta: Mapping[str, Any]) -> Split:
    r"""Rows of another text file, prepared as those of a data set that `from_csv` read.

    Columns go by their names, whatever their order; others are left alone. A missing value gets
    what stood for missing ones in that data set, with missing="impute".

    Args:
        path: of the file.
        meta: of the data set, as it is or read back from JSON.

    Returns:
        `x`, of shape `(rows, features)` in float32, and where the column of targets has some, `y`
        as in the data set, and `known`, which rows have one.

    Raises:
        ValueError: if the file is no table as in `from_csv`, lacks a column, or has a cell of
            another kind, a category or class that the data set did not have, or a missing value
            that nothing stands for; the message has the line and column.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "irises.csv")
    ...     _ = path.write_text("length,colour,kind" + 5 * "\n5.1,red,setosa\n7.0,blue,virginica")
    ...     irises = from_csv(path, target="kind")
    ...     _ = path.write_text("colour,length\nblue,6.5")
    ...     rows = csv_rows(path, irises.meta)
    >>> rows["x"].tolist()
    [[6.5, 1.0, 0.0]]
    """
    columns, target = meta["columns"], meta["target_name"]
    table = read_table(path, None, target, like=columns)
    lacking = ", ".join(map(repr, columns.keys() - table.columns.keys()))
    require(not lacking, f"the columns {', '.join(columns)} in {path}", f"one without {lacking}")
    x = np.concatenate([_like(table, column, kind) for column, kind in columns.items()], axis=1)
    fill = meta.get("fill", meta.get("imputed", {}))
    names = [(name, c) for c, kind in columns.items() for name in csv_columns.names(c, kind)]
    for i, (name, column) in enumerate(names):
        holes = np.isnan(x[:, i])
        if holes.any():
            if name not in fill:
                raise table.fault(column, int(np.argmax(holes)), "a value", "a missing one")
            x[holes, i] = fill[name]
    with np.errstate(over="ignore"):
        rows = {"x": x.astype(np.float32)}
    if len(large := np.argwhere(np.isinf(rows["x"]))):
        row, i = large[0]
        raise table.fault(names[i][1], row, "a number in float32's range", f"{x[row, i]:g}")
    if target in table.columns:
        y, known = _targets_like(table, target, meta)
        if known.any():
            rows |= {"y": y, "known": known}
    return rows


def _like(table: Table, column: str, kind: Mapping[str, Any]) -> np.ndarray:
    """The numbers made of a column of this kind, NaN where one is missing."""
    held = table.columns[column]
    if not isinstance(held, Cells):
        return _finite(table, column, held)
    if kind["kind"] == "category" and set(kind["values"]) <= {"True", "False"}:
        # which pandas makes of true and TRUE
        held = held._replace(values=[v if v in MISSING else v.capitalize() for v in held.values])
    if kind["kind"] == "number" and table.delimiter != ",":
        kind = {**kind, "decimal": ","} if csv_columns.decimal_commas(held) else kind
    try:
        return csv_columns.numbers(held, dict(kind))
    except UnreadableError as error:
        raise table.fault(column, error.row, error.expected, error.got) from error


def _targets_like(
    table: Table, target: str, meta: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The targets as those of a data set, and which rows have one."""
    cells = table.columns[target]
    assert isinstance(cells, Cells)  # read as text
    known: dict[Any, float] = {}
    names: list[str] = []
    if meta["task"] == "classification":
        names = meta.get("class_names", list(map(str, range(meta["classes"]))))
        known |= {csv_columns.parsed(name): i for i, name in enumerate(names)}
        known |= {name: i for i, name in enumerate(names)}
        known.pop(None, None)
    values = []
    for cell in cells.values:
        number = csv_columns.parsed(cell)
        if number is None and table.delimiter != ",":
            number = csv_columns.parsed(cell.replace(",", "."))
        if meta["task"] == "classification":
            number = known.get(cell, known.get(number))
        if number is None and cell not in MISSING:
            expected = f"a class such as {', '.join(names[:5])}" if known else "a number"
            raise table.fault(target, cells.first(cell), expected, repr(cell))
        values.append(math.nan if number is None else number)
    y = np.asarray(values, dtype=float)[cells.codes]
    there = ~np.isnan(y)
    dtype = np.int32 if known else np.float32
    return np.where(there, y, 0).astype(dtype), there


def _chosen(header: list[str], target: str, features: Sequence[str] | None) -> list[str]:
    """The feature columns, after a check that these and the target exist."""
    require(not isinstance(features, str), "features to be a list of columns", repr(features))
    columns = [c for c in header if c != target] if features is None else list(features)
    for column in [target, *columns]:
        require(column in header, f"a column among {', '.join(header)}", repr(column))
    require(len(columns) > 0, "at least one feature column beside the target", "none")
    require(target not in columns, "features without the target", f"{target!r} among them")
    require(len(set(columns)) == len(columns), "each feature once", columns)
    return columns


def _feature(table: Table, column: str, *, asked: bool) -> tuple[dict[str, Any] | str, np.ndarray]:
    """What a column holds, and the numbers made of it; or why it is no feature."""
    held, nothing = table.columns[column], np.zeros(0)
    if column == "":
        return "an index", nothing
    kind = {"kind": "number"}
    if isinstance(held, Cells):
        try:
            kind = csv_columns.kind_of(held, table.delimiter)
            why = None if asked else csv_columns.why_left_out(column, kind, held)
            return (kind, csv_columns.numbers(held, kind)) if why is None else (why, nothing)
        except UnreadableError as error:
            raise table.fault(column, error.row, error.expected, error.got) from error
    values = _finite(table, column, held)
    if not asked and csv_columns.identifies(column, held):
        return "tells the rows apart", nothing
    return kind, values


def _finite(table: Table, column: str, held: np.ndarray) -> np.ndarray:
    """A column of numbers, shape (rows, 1)."""
    if not (finite := np.isfinite(held)).all():
        row = int(np.argmin(finite))
        raise table.fault(column, row, "a finite number", repr(str(held[row])))
    return held[:, None]


def _targets(
    table: Table, target: str, missing: str, task: str | None
) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """The targets, which rows have one, and the names of the classes if there are some."""
    cells = table.columns[target]
    assert isinstance(cells, Cells)  # read as text
    numbers = {value: csv_columns.parsed(value) for value in cells.values}
    if table.delimiter != ",":  # there may be decimal commas
        numbers = {v: csv_columns.parsed(v.replace(",", ".")) if n is None else n
                   for v, n in numbers.items()}  # fmt: skip
    # beside text, NA may be a class
    gaps = {""} if any(numbers[v] is None for v in numbers.keys() - MISSING) else MISSING
    present = [value for value in cells.values if value not in gaps]
    for gap in [value for value in cells.values if value in gaps and missing == "refuse"]:
        raise table.fault(target, cells.first(gap), "a target")
    require(len(present) > 0, f"a target in column {target!r} of {table.path}", "none")
    kept = np.array([value not in gaps for value in cells.values])[cells.codes]

    def of(values: Sequence[Any]) -> np.ndarray:
        by_value = dict(zip(present, values, strict=True))
        return np.array([by_value.get(value, values[0]) for value in cells.values])[cells.codes]

    if all(re.fullmatch(r"[+-]?[0-9]+", value) for value in present):
        y = of([int(value) for value in present])
        require(y.dtype != object, f"whole numbers below 2^64 in column {target!r}", "greater ones")
        if task == "regression":
            return y, kept, None
        if task is None:
            guessed_task(f"column {target!r}", y[kept])
        labels, places = np.unique(y[kept], return_inverse=True)
        if (labels[0] < 0 and task is None) or (labels == np.arange(len(labels))).all():
            return y, kept, None
        y[kept] = places
        return y, kept, list(map(str, labels))
    # One slip among numbers must not turn a regression into a classification, so text is only
    # taken for classes where no number is among it or where the caller says so.
    numeric = task is None and any(map(csv_columns.like_a_number, present))
    if numeric or task == "regression":
        for value in present:
            if numbers[value] is None:
                raise table.fault(target, cells.first(value), "a finite number")
        return of([numbers[value] for value in present]), kept, None
    class_names, rows = sorted(present), int(kept.sum())
    require(
        task is not None or len(class_names) <= FEW or 2 * len(class_names) <= rows,
        f"the task classification to be given for column {target!r}",
        f"{len(class_names):,} different words in {rows:,} rows",
    )
    label = {class_name: i for i, class_name in enumerate(class_names)}
    return of([label[value] for value in present]), kept, class_names


def _fill(x: np.ndarray, columns: dict[str, dict[str, Any]]) -> np.ndarray:
    """What stands for a missing value of each feature: the median, or zero for a category's.

    Args:
        x: the training rows, beside each value whether it is missing if any is.
        columns: what each holds.
    """
    values, holes = np.moveaxis(x, 2, 0) if x.ndim == 3 else (x, np.zeros_like(x))
    kinds = [kind["kind"] for c, kind in columns.items() for _ in csv_columns.names(c, kind)]
    fill = np.zeros(len(kinds), np.float32)
    for i, kind in enumerate(kinds):
        known = values[holes[:, i] == 0, i]
        if kind != "category" and len(known):
            fill[i] = np.median(known)
    return fill


def _imputed(dataset: Dataset, fill: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """The splits with what stands for missing values, and in which features some are."""
    splits, imputed = {}, np.zeros(len(fill), bool)
    for part in ("train", "validation", "test"):
        split = getattr(dataset, part)
        if split is not None:
            values, holes = np.moveaxis(split["x"], 2, 0)
            splits[part] = split | {"x": np.where(holes == 1, fill, values)}
            imputed |= (holes == 1).any(0)
    return splits, imputed
