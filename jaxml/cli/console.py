"""What the commands share: the output, data sets by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from jaxml import data

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""The text with control characters written out, which a terminal would obey.

    >>> visible("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Literal(Console):
    """What is printed, names of files and columns among it, stands there as it is.

    Rich's markup, its emoji codes and control characters have no effect.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


out = _Literal(highlight=False, markup=False, emoji=False, soft_wrap=True)

AddCommand = Callable[..., Any]
"""`(name, function, help) -> argparse.ArgumentParser`, see `jaxml.cli.main`."""


def data_argument(name: str) -> str:
    """A data set's name, or its file's path, good from any folder."""
    return str(Path(name).absolute()) if Path(name).suffix else name


def load_dataset(name: str) -> data.Dataset:
    """A data set by its name, or from a `.npz` file."""
    return data.from_npz(name) if name.endswith(".npz") else data.load(name)


def counts(about: data.Info) -> str:
    """Rows to train on, for validation and for the test."""
    return " / ".join(f"{count:,}" for count in about.counts.values())


def first_line(documented: Any) -> str:
    """Of a docstring."""
    return (documented.__doc__ or "").partition("\n")[0]
