"""A `Dataset` from a table in a text file."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxml.checks import require, require_choice
from jaxml.data.arrays import TASKS, from_arrays
from jaxml.data.dataset import Dataset

Row = tuple[int, list[str]]
"""The line a row ends on, counted from 1, and its cells."""


def from_csv(
    path: str | os.PathLike[str],
    *,
    target: str,
    features: Sequence[str] | None = None,
    delimiter: str = ",",
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    task: str | None = None,
    name: str | None = None,
) -> Dataset:
    r"""Read a data set from a text file with a header and one row per line, in UTF-8.

    Spaces around a cell and blank lines are skipped.

    Args:
        path: of the file.
        target: the column of `y`. Whole numbers are labels and other numbers values to regress
            on, unless `task` says otherwise; text is one class per word, in sorted order. Text
            among numbers is refused unless `task` is "classification".
        features: the columns of `x`, which hold numbers; by default all but the target.
        delimiter: the one character between two cells.
        validation: as in `from_arrays`.
        test: likewise.
        seed: likewise.
        task: likewise. With "classification" a target that is not whole numbers throughout is
            taken as text.
        name: what to call it in `meta`; by default the file's name without its ending.

    Returns:
        A data set whose `meta` also has `feature_names`, `target_name` and, where the target is
        text, `class_names`: label i stands for `class_names[i]`.

    Raises:
        ValueError: if the file is missing, empty or not a table in UTF-8, a row has too few or
            too many cells, a column is missing, a cell is empty or not a finite number where one
            is needed (the message has its line and column), or if `from_arrays` would raise.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "irises.csv")
    ...     _ = path.write_text("length,width,kind" + 5 * "\n5.1,3.5,setosa\n7.0,3.2,virginica")
    ...     irises = from_csv(path, target="kind")
    >>> irises.meta["class_names"], irises.meta["counts"]
    (['setosa', 'virginica'], {'train': 6, 'validation': 2, 'test': 2})
    """
    if task is not None:
        require_choice("task", task, TASKS)
    header, rows = _read(path, delimiter)
    columns = _chosen(header, target, features)
    places = [(column, header.index(column)) for column in columns]
    x = [[_number(path, line, c, cells[i]) for c, i in places] for line, cells in rows]
    y, class_names = _targets(path, target, header.index(target), rows, task)
    if class_names is not None:
        task = "classification"
    dataset = from_arrays(
        np.array(x),
        y,
        validation=validation,
        test=test,
        seed=seed,
        task=task,
        name=Path(path).stem if name is None else name,
    )
    more: dict[str, Any] = {
        "source": Path(path).name,
        "feature_names": columns,
        "target_name": target,
    }
    if class_names is not None:
        more["class_names"] = class_names
    return dataclasses.replace(dataset, meta={**dataset.meta, **more})


def _read(path: str | os.PathLike[str], delimiter: str) -> tuple[list[str], list[Row]]:
    valid = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n'
    require(valid, "delimiter to be one character other than a quote or line end", repr(delimiter))
    require(Path(path).is_file(), "the path of a text file", f"{path}, which is not a file")
    # A byte order mark, which spreadsheets write, would end up in the first column's name.
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            rows = [
                (reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells
            ]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"expected a table in UTF-8, got {path}, unreadable after line "
                f"{reader.line_num}: {error}"
            ) from error
    require(len(rows) >= 2, "a header and at least one row", f"{len(rows)} lines in {path}")
    (_, header), *body = rows
    require("" not in header, f"a name for every column in the header of {path}", header)
    twice = sorted({name for name in header if header.count(name) > 1})
    require(not twice, f"different column names in the header of {path}", f"{twice} twice")
    for line, cells in body:
        require(
            len(cells) == len(header),
            f"{len(header)} cells in every row of {path}, as in its header",
            f"{len(cells)} in line {line}",
        )
    return header, body


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


def _parsed(cell: str) -> float | None:
    try:
        # float() also takes Python's 1_000, which in a table is more likely a slip.
        value = math.nan if "_" in cell else float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _number(path: str | os.PathLike[str], line: int, column: str, cell: str) -> float:
    value = _parsed(cell)
    if value is None:
        got = repr(cell) if cell else "an empty cell"
        place = f"in line {line}, column {column!r} of {path}"
        raise ValueError(f"expected a finite number {place}, got {got}")
    return value


def _targets(
    path: str | os.PathLike[str], target: str, column: int, rows: list[Row], task: str | None
) -> tuple[np.ndarray, list[str] | None]:
    """The targets, and the names of the classes if these are text."""
    cells = [(line, cells[column]) for line, cells in rows]
    for line, cell in cells:
        require(
            cell != "", f"a target in line {line}, column {target!r} of {path}", "an empty cell"
        )
    words = [cell for _, cell in cells]
    if task != "regression" and all(re.fullmatch(r"[+-]?[0-9]{1,18}", word) for word in words):
        return np.array([int(word) for word in words]), None
    # One slip among numbers must not turn a regression into a classification, so text is only
    # taken for classes where no number is among it or where the caller says so.
    numeric = task == "regression" or (
        task is None and any(_parsed(word) is not None for word in words)
    )
    if numeric:
        return np.array([_number(path, line, target, cell) for line, cell in cells]), None
    class_names = sorted(set(words))
    label = {class_name: i for i, class_name in enumerate(class_names)}
    return np.array([label[word] for word in words]), class_names
