"""A table in a text file, as it stands there."""

from __future__ import annotations

import contextlib
import csv
import itertools
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxml.core.checks import require
from jaxml.data import csv_columns
from jaxml.data.csv_columns import MISSING, Cells

_DELIMITERS = ",;\t|"
# rows at the top from which it is told whether the first is a header
_SAMPLE = 1000
# what columns without a header are called
_UNNAMED = re.compile(r"column [0-9]+")


class Table(NamedTuple):
    """A text file.

    Attributes:
        path: of the file.
        delimiter: between two cells.
        columns: name -> an array of numbers, or the cells as text.
        lines: the line on which each row ends, counted from 1.
    """

    path: str
    delimiter: str
    columns: dict[str, np.ndarray | Cells]
    lines: np.ndarray

    def fault(self, column: str, row: int, expected: str, got: str | None = None) -> ValueError:
        """That a cell is not what is expected; which, and in which line."""
        held = self.columns[column]
        if got is None:
            assert isinstance(held, Cells)
            cell = held.values[held.codes[row]]
            got = repr(cell) if cell else "an empty cell"
            if cell in MISSING:
                got += ", which missing=impute or missing=drop would take"
        place = f"in line {self.lines[row]}, column {column!r} of {self.path}"
        return ValueError(f"expected {expected} {place}, got {got}")


def read_table(
    path: str | os.PathLike[str],
    delimiter: str | None,
    target: str | None,
    like: Mapping[str, Mapping[str, Any]] | None = None,
) -> Table:
    """The table, whose target is read as text, and so are columns of other than numbers `like`."""
    if delimiter is not None:
        valid = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n'
        expected = "delimiter to be one character other than a quote or line end"
        require(valid, expected, repr(delimiter))
    require(Path(path).is_file(), "the path of a text file", f"{path}, which is not a file")
    delimiter = delimiter or _delimiter(path)
    top, widths, lines, ended = _scanned(path, delimiter)
    require(len(lines) > 0, "a header and at least one row", f"0 lines in {path}")
    header, width = top[0], widths[0]
    if like is None:
        named = target in header or not _is_data(top)
    else:
        named = set(like) <= set(header) or not all(map(_UNNAMED.fullmatch, like))
    rows = len(lines) - named
    require(rows >= 1, "a header and at least one row", f"{len(lines)} lines in {path}")
    if not named:
        header = [f"column {i + 1}" for i in range(width)]
    require("" not in header[1:], f"a name for every column in the header of {path}", header)
    twice = sorted({name for name in header if header.count(name) > 1})
    require(not twice, f"different column names in the header of {path}", f"{twice} twice")
    for line, count in zip(lines, widths, strict=True):
        if count != width:
            expected = f"{width} cells in every row of {path}, as in its header"
            require(False, expected, f"{count} in line {line}")
    target = header[-1] if target is None else target
    text = [target, *(c for c, kind in (like or {}).items() if kind["kind"] != "number")]
    columns = _columns(path, delimiter, header, text, named=named, ended=ended)
    count = {len(c.codes if isinstance(c, Cells) else c) for c in columns.values()}
    require(count == {rows}, f"{rows} rows in {path}", count)
    return Table(str(path), delimiter, columns, np.array(lines[named:]))


def _columns(
    path: str | os.PathLike[str],
    delimiter: str,
    header: list[str],
    text: Collection[str],
    *,
    named: bool,
    ended: bool,
) -> dict[str, np.ndarray | Cells]:
    """The columns as pandas reads them, whatever is no number as text."""
    import pandas as pd  # noqa: PLC0415 - slow, and needed for text files alone

    frame = pd.read_csv(
        path,
        sep=delimiter,
        header=0 if named else None,
        names=list(range(len(header) + ended)),
        index_col=False,
        dtype={i: str for i, name in enumerate(header) if name in text},
        skipinitialspace=True,
        na_filter=False,
        low_memory=False,
        encoding="utf-8-sig",
    )
    columns: dict[str, np.ndarray | Cells] = {}
    for i, name in enumerate(header):
        if frame[i].dtype.kind in "iuf":
            columns[name] = frame[i].to_numpy()
        else:
            codes, values = pd.factorize(frame[i].astype(str).str.strip())
            columns[name] = Cells([str(value) for value in values], codes)
    return columns


def _rows(path: str | os.PathLike[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The lines on which the rows end, and their cells."""
    # A byte order mark, which spreadsheets write, would end up in the first column's name.
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"expected a table in UTF-8, got {path}, unreadable after line "
                f"{reader.line_num}: {error}"
            ) from error


def _delimiter(path: str | os.PathLike[str]) -> str:
    """That which parts the first two rows into the same number of cells, and into the most.

    Spaces count where nothing else does so: there may be some in the cells.
    """

    def cells(delimiter: str) -> tuple[int, int]:
        counts = []
        with contextlib.suppress(ValueError):  # what cannot be read is said later
            counts += (len(row) for _, row in itertools.islice(_rows(path, delimiter), 2))
        first = counts[0] if counts else 0
        return first if counts == [first, first] and first > 1 else 0, first

    best = max(_DELIMITERS, key=cells)
    return best if cells(best)[0] or not cells(" ")[0] else " "


def _scanned(
    path: str | os.PathLike[str], delimiter: str
) -> tuple[list[list[str]], list[int], list[int], bool]:
    """The rows at the top, how many cells each has, on which line it ends, and how lines end.

    A last column without a name, of empty cells if any, is no column: a delimiter ends the lines.
    """
    top, widths, lines = [], [], []
    ended = 0
    for line, cells in _rows(path, delimiter):
        if not top and len(cells) > 2 and not cells[-1]:
            ended = len(cells)
        if len(cells) == ended and not cells[-1]:
            del cells[-1]
        if len(top) < _SAMPLE:
            top.append([cell.strip() for cell in cells])
        widths.append(len(cells))
        lines.append(line)
    return top, widths, lines, ended > 0


def _is_data(top: list[list[str]]) -> bool:
    """Whether the first row is no header: each of its cells a number, or again below."""
    below = [set(column) for column in zip(*top[1:], strict=False)]
    return all(
        csv_columns.parsed(cell) is not None or cell in MISSING or cell in values
        for cell, values in zip(top[0], below, strict=False)
    )
