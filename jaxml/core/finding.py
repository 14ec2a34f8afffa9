"""What a result shows a person: the sentence they came for, then what it stands on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxml.core import drawing
from jaxml.core.checks import require
from jaxml.core.files import plain
from jaxml.core.markup import markup

if TYPE_CHECKING:
    import pandas as pd

# rows of a table that are printed
_PRINTED = 40


class Table(NamedTuple):
    """Rows of text under named columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        """Aligned, the first column to the left; long tables without their end."""
        shown = [tuple(map(str, self.columns)), *(tuple(map(str, row)) for row in self.rows)]
        left = len(shown) - 1 - _PRINTED
        shown = shown[: _PRINTED + 1]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in shown
        ]
        return "\n".join([*lines, f"… and {left:,} rows more"] if left > 0 else lines)


class Figure(NamedTuple):
    """A picture that is drawn when somebody looks.

    Attributes:
        draw: draws on matplotlib axes; sets labels and scales, no title.
        alt: what is seen, in a sentence, for those who do not see it.
        projection: of the axes; "3d" or None.
        height: over the width.
    """

    draw: Callable[[Any], Any]
    alt: str
    projection: str | None = None
    height: float = 0.72


class Section(NamedTuple):
    """A part of a page: a heading, a text, pictures side by side, a table.

    Attributes:
        title: "" goes on with the section before.
        text: one paragraph.
        figures: of one panel each.
        table: below the pictures.
    """

    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    table: Table | None = None


@dataclasses.dataclass(frozen=True)
class Finding:
    """What anything in jaxml shows.

    Attributes:
        name: short, such as "saddle-escape" or "critical point".
        question: what its reader wants to know.
        verdict: the answer, in a sentence that `numbers` support.
        text: paragraphs after it.
        tiles: the few numbers that one looks for first: name -> value.
        sections: the rest of the page, in order.
        numbers: the numbers behind the sentences, as plain values or arrays: name -> value.
        records: where the result is a table, its rows as dicts or its columns by name.
        provenance: the command, seed, versions, device and date.
        expected: what theory or the literature predicts, with its source; "" if nothing does.
        holds: whether what was expected is what was found; None if nothing was expected.
    """

    name: str
    question: str
    verdict: str
    text: Sequence[str] = ()
    tiles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sections: Sequence[Section] = ()
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    records: Sequence[Mapping[str, Any]] | Mapping[str, Any] = ()
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    expected: str = ""
    holds: bool | None = None

    @property
    def figures(self) -> list[Figure]:
        """The pictures of all sections."""
        return [figure for section in self.sections for figure in section.figures]

    def __str__(self) -> str:
        """The verdict, the text and the tables."""
        tables = [
            f"\n{section.title}\n{section.table}".replace("\n\n", "\n")
            for section in self.sections
            if section.table is not None and section.table.rows
        ]
        return "\n".join([self.verdict, *self.text, *tables])

    def _repr_html_(self) -> str:
        return markup(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self)}  # in IPython, beside the HTML

    def plot(self, ax: Any = None, *, figure: int = 0) -> Any:
        """Draw one of the pictures.

        Args:
            ax: matplotlib axes; of a new figure by default.
            figure: which of `figures`.

        Returns:
            The axes.

        Raises:
            ValueError: if there is no such picture.
        """
        count = len(self.figures)
        require(0 <= figure < count, f"one of the {count} pictures of a {self.name}", figure)
        return drawing.plot(self.figures[figure], ax)

    def to_dict(self) -> dict[str, Any]:
        """The verdict and the numbers as values that JSON can hold (NaN and infinity as None)."""
        expected = {"expected": self.expected, "holds": self.holds} if self.expected else {}
        return plain({"verdict": self.verdict, **expected, **self.numbers})

    def to_dataframe(self) -> pd.DataFrame:
        """The rows of a result that is a table.

        Raises:
            ValueError: if it is none.
        """
        require(len(self.records) > 0, "a result that is a table", self.name)
        import pandas as pd  # noqa: PLC0415 - slow, and needed here alone

        return pd.DataFrame(self.records)


@functools.singledispatch
def finding(result: Any) -> Finding:
    """What a result shows; each result type registers how, beside its definition.

    Raises:
        ValueError: if the result is of no type that has been registered.
    """
    raise ValueError(f"expected a result of jaxml, got {type(result).__name__}")


@finding.register
def _(result: Finding) -> Finding:
    return result
