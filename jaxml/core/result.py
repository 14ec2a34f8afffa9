"""What every result can do; all of it but the files comes from what `finding` says of it."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jaxml.core.checks import require
from jaxml.core.files import write_atomically
from jaxml.core.finding import finding
from jaxml.core.serialization import from_npz, to_npz

if TYPE_CHECKING:
    import pandas as pd

_Result = TypeVar("_Result", bound="Result")


class Result:
    """Mixed into the dataclasses that functions of jaxml return and `finding` knows."""

    def __str__(self) -> str:
        """The verdict, and what it rests on."""
        return str(finding(self))

    def _repr_html_(self) -> str:
        return finding(self)._repr_html_()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self)}  # in IPython, beside the HTML

    def plot(self, ax: Any = None, *, figure: int = 0) -> Any:
        """Draw one of the pictures, by default the first; see `Finding.plot`."""
        return finding(self).plot(ax, figure=figure)

    def to_dict(self) -> dict[str, Any]:
        """The verdict and the numbers, but no parameters, as values that JSON can hold."""
        return finding(self).to_dict()

    def to_dataframe(self) -> pd.DataFrame:
        """The rows of a result that is a table; see `Finding.to_dataframe`."""
        return finding(self).to_dataframe()

    def save(self, path: str | Path) -> Path:
        """Write all of it to an `.npz` file, without pickle."""
        return write_atomically(path, to_npz(self))

    @classmethod
    def load(cls: type[_Result], path: str | Path, *, types: Sequence[type] = ()) -> _Result:
        """What `save` wrote, to the bit; arrays come back as numpy's.

        Args:
            path: of the file.
            types: classes of your own, dataclasses or NamedTuples, that the parameters consist of.

        Raises:
            ValueError: if the file is another.
        """
        result = from_npz(Path(path).read_bytes(), [*types_in(cls), *types])
        require(isinstance(result, cls), f"{cls.__name__} in {path}", type(result).__name__)
        return result


def types_in(kind: Any) -> list[type]:
    """The dataclasses and NamedTuples that a type's fields are annotated with, itself included.

    Example:
        >>> from jaxml.core.finding import Section
        >>> [kind.__name__ for kind in types_in(dict[str, list[Section | None]])]
        ['Section', 'Figure', 'Table']
    """
    found: dict[type, None] = {}

    def visit(hint: Any) -> None:
        for part in typing.get_args(hint):
            visit(part)
        if not isinstance(hint, type) or hint in found:
            return
        if dataclasses.is_dataclass(hint) or hasattr(hint, "_fields"):
            found[hint] = None
            for part in typing.get_type_hints(hint).values():
                visit(part)

    visit(kind)
    return list(found)
