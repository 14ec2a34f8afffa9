"""What a column of a text file holds, and the numbers made of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

MISSING = frozenset(
    ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")
)
# text of more different values is left out where no features are asked for
_CATEGORIES = 64
# different texts among numbers, or share of rows with text, up to which they are slips
_SLIPS, _SLIP_SHARE = 3, 0.05
# what "id" is where it is a word of its own, as in id, customer_id, PassengerId
_IDENTIFIER = re.compile(
    r"(?:^|[\W_])(?i:id|index|idx)$|(?<=[a-z])I[dD]$|^(?:#|[Nn]o\.?|[Nn]r\.?)$"
)
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+(,[0-9]+)?")
# as spreadsheets show them: 12 %, $1.50, 1,234
_FORMATTED = re.compile(
    r"[$€£] ?[+-]?[0-9][0-9.,]*|[+-]?[0-9][0-9.,]* ?[%$€£]"
    r"|[+-]?[0-9]{1,3}([,' ][0-9]{3})+(\.[0-9]+)?"
)
_DATES = ("ISO8601", "%d.%m.%Y", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y")


class Cells(NamedTuple):
    """A column as text.

    Attributes:
        values: the different cells, in the order in which they first come.
        codes: of each row, the place of its cell among them.
    """

    values: list[str]
    codes: np.ndarray

    def first(self, value: str) -> int:
        """The first row that holds a value."""
        return int(np.argmax(self.codes == self.values.index(value)))


class UnreadableError(ValueError):
    """A cell is not what its column asks for.

    Attributes:
        row: the cell's.
        expected: what should stand there.
        got: the cell.
    """

    def __init__(self, row: int, expected: str, got: str) -> None:
        super().__init__(expected, got)
        self.row, self.expected, self.got = row, expected, got


def parsed(cell: str) -> float | None:
    """The finite number in a cell, or None."""
    try:
        # float() also takes Python's 1_000, which in a table is more likely a slip.
        value = math.nan if "_" in cell else float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def like_a_number(cell: str) -> bool:
    """Whether a cell is a number to a person, if not to `parsed`."""
    try:
        float(cell)
    except ValueError:
        return _FORMATTED.fullmatch(cell) is not None
    return True


def kind_of(cells: Cells, delimiter: str) -> dict[str, Any]:
    """What the cells are: numbers, dates or categories, as JSON can hold it.

    Args:
        cells: of the column.
        delimiter: of the file; where it is no comma, numbers may have a decimal comma.

    Raises:
        UnreadableError: if there are numbers and text, or dates that can be read two ways.
    """
    present = [value for value in cells.values if value not in MISSING]
    if all(parsed(value) is not None for value in present):
        return {"kind": "number"}
    if delimiter != "," and decimal_commas(cells):
        return {"kind": "number", "decimal": ","}
    text = [value for value in present if not like_a_number(value)]
    if len(text) < len(present):
        # a slip or two among numbers must not make categories of them
        share = np.isin(cells.codes, [cells.values.index(v) for v in text]).mean()
        if len(text) <= _SLIPS or share < _SLIP_SHARE:
            slip = next(value for value in present if parsed(value) is None)
            raise UnreadableError(cells.first(slip), "a finite number", repr(slip))
    if (date := _date_format(cells, present)) is not None:
        first = min(_days(present, date))
        return {"kind": "date", "format": date, "first": first}
    return {"kind": "category", "values": sorted(present)}


def decimal_commas(cells: Cells) -> bool:
    """Whether all cells are numbers, some or all with a decimal comma."""
    return all(_DECIMAL_COMMA.fullmatch(value) for value in cells.values if value not in MISSING)


def why_left_out(name: str, kind: dict[str, Any], cells: Cells) -> str | None:
    """Why a column of text is no feature where none are asked for, or None if it may be one."""
    rows = len(cells.codes)
    if cells.values == [""]:
        return "empty"
    if kind["kind"] == "category":
        count = len(kind["values"])
        if count == rows and _IDENTIFIER.search(name):
            return "tells the rows apart"
        if count > _CATEGORIES or (rows > 10 and 2 * count > rows):
            return f"text of {count:,} different values"
    return None


def identifies(name: str, values: np.ndarray) -> bool:
    """Whether a column of numbers is called an identifier, and tells the rows apart."""
    whole = (values == np.floor(values)).all()
    return bool(_IDENTIFIER.search(name) and whole and len(np.unique(values)) == len(values))


def numbers(cells: Cells, kind: dict[str, Any]) -> np.ndarray:
    """The columns of numbers made of one of text, shape (rows, …), NaN where one is missing.

    A date becomes the days since the first, a category a one-hot row.

    Args:
        cells: of the column.
        kind: what it holds.

    Raises:
        UnreadableError: for a cell of another kind.
    """
    if kind["kind"] == "category":
        known = {value: i for i, value in enumerate(kind["values"])}
        rows = np.eye(len(known))

        def one_hot(cell: str) -> np.ndarray:
            if cell not in known:
                among = ", ".join(kind["values"][:5])
                raise UnreadableError(cells.first(cell), f"a value such as {among}", repr(cell))
            return rows[known[cell]]

        return _each(cells, one_hot, np.full(len(known), np.nan))
    if kind["kind"] == "date":
        present = [value for value in cells.values if value not in MISSING]
        days = dict(zip(present, _days(present, kind["format"]) - kind["first"], strict=True))
        for value, day in days.items():
            if np.isnan(day):
                raise UnreadableError(cells.first(value), "a date", repr(value))
        return _each(cells, lambda cell: [days[cell]], [np.nan])

    def number(cell: str) -> list[float]:
        value = parsed(cell.replace(",", ".") if kind.get("decimal") == "," else cell)
        if value is None:
            raise UnreadableError(cells.first(cell), "a finite number", repr(cell))
        return [value]

    return _each(cells, number, [np.nan])


def names(column: str, kind: dict[str, Any]) -> list[str]:
    """What the numbers made of a column are called."""
    if kind["kind"] == "category":
        return [f"{column}={value}" for value in kind["values"]]
    return [column]


def _each(cells: Cells, number: Callable[[str], Any], missing: Any) -> np.ndarray:
    table = [missing if value in MISSING else number(value) for value in cells.values]
    return np.asarray(table, dtype=float)[cells.codes]


def _date_format(cells: Cells, present: list[str]) -> str | None:
    """The format in which all the cells are dates, or None."""
    if not any(character.isdigit() for character in present[0]):
        return None
    fitting = [form for form in _DATES if not np.isnan(_days(present, form)).any()]
    if len(fitting) > 1 and fitting[0] != "ISO8601":
        first = present[0]
        raise UnreadableError(
            cells.first(first), "a date as 2024-01-31", f"{first!r}, of two readings"
        )
    return fitting[0] if fitting else None


def _days(cells: Sequence[str], form: str) -> np.ndarray:
    """Days since 1970, NaN for what is no date."""
    import pandas as pd  # noqa: PLC0415 - slow, and needed for text files alone

    times = pd.to_datetime(pd.Series(cells, dtype=object), format=form, errors="coerce", utc=True)
    return ((times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)).to_numpy(dtype=float)
