"""What the commands print, as it is."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

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


def print_raw(text: str) -> None:
    """Results for another program to read, as they are; to a terminal, visibly."""
    # a terminal would obey control characters in the names of classes
    text = "\n".join(map(visible, text.split("\n"))) if sys.stdout.isatty() else text
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where results are not; told how much is done, and of how much."""
    console = Console(stderr=True)
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as shown:
        task = shown.add_task("")
        yield lambda done, of: shown.update(task, completed=done, total=of)


def first_line(documented: Any) -> str:
    """Of a docstring."""
    return (documented.__doc__ or "").partition("\n")[0]
