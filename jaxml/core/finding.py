"""What a result shows a person: the sentence they came for, then what it stands on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Table(NamedTuple):
    """Rows of text under named columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Figure(NamedTuple):
    """A picture that is drawn when somebody looks.

    Attributes:
        draw: draws on matplotlib axes; sets labels and scales, no title.
        alt: what is seen, in a sentence, for those who do not see it.
        projection: of the axes; "3d" or None.
    """

    draw: Callable[[Any], None]
    alt: str
    projection: str | None = None


class Section(NamedTuple):
    """A part of a page: a heading, a text, pictures side by side, a table."""

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
        numbers: the numbers behind the sentences, as plain values: name -> value.
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
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    expected: str = ""
    holds: bool | None = None


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
