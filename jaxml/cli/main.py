"""The entry point: which command, and what becomes of its errors."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter

import jaxml
from jaxml.cli.config import from_file, resumed_alone
from jaxml.cli.console import first_line, visible
from jaxml.cli.options import listed
from jaxml.core import provenance

_COMMANDS = {
    "landscape": "Walk the staircase of critical points, or analyse a point of your own.",
    "study": "Train many configurations side by side and compare them.",
    "train": "Train a network on a data set.",
    "predict": "Predict with a network that `jaxml train` trained.",
    "decode": "Write with a network from sequences to sequences that `jaxml train` trained.",
    "course": "List the course's experiments, or run a chapter or one of them.",
    "data": "List, fetch and describe the data sets.",
    "list": "List the data sets, models, optimisers, schedules and methods.",
    "doctor": "Versions, devices, and known answers computed on them.",
}


def app() -> App:
    """All commands; each is imported when it is asked for."""
    top = App(
        name="jaxml",
        version=f"jaxml {jaxml.__version__}",
        help=f"{first_line(jaxml)}\n\nWith `--debug` any command shows the traceback of an error.",
        default_parameter=Parameter(negative=(), show_default=_shown, allow_repeating=True),
        config=[resumed_alone, from_file],
    )
    for name, text in _COMMANDS.items():
        top.command(f"jaxml.cli.commands.{name}:command", name=name, help=text)
    top.register_install_completion_command(help="Complete jaxml's options in this shell.")
    return top


def _shown(default: Any) -> str | None:
    """A default in the help; none where nothing stands for an option that is not given."""
    if default is None or default is False:
        return None
    return listed(default) if isinstance(default, tuple) else str(default)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The process's exit code: 0; 1 from a failing `doctor`; 2 on an error; 130 and 143 where
        Ctrl-C and SIGTERM stopped it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # λ in a terminal of Latin-1, names of any bytes
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = provenance.COMMAND.set(["jaxml", *given])
    tokens = [token for token in given if token != "--debug"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _warn
            command, bound, _ = app().parse_args(tokens, exit_on_error=False, print_error=False)
            return command(*bound.args, **bound.kwargs) or 0
    except KeyboardInterrupt:
        print("jaxml: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if len(tokens) < len(given):
            raise
        print(f"jaxml: error: {_told(error)}", file=sys.stderr)
        return 2
    finally:
        provenance.COMMAND.reset(asked)


def _told(error: Exception) -> str:
    """An error in one line.

    What jaxml refuses explains itself; anything else, such as a user's own loss that fails, is
    named by its type.
    """
    if isinstance(error, CycloptsError):
        return _line(str(error))
    from jaxml.cli.own_file import place_of  # noqa: PLC0415 - needs JAX
    from jaxml.core.selfcheck import BackendError  # noqa: PLC0415

    known = isinstance(error, ValueError | FloatingPointError | BackendError)
    place = place_of(error)
    if known and not place:
        return _line(str(error))
    where = f"{place}; " if place else ""
    return _line(f"{type(error).__name__}: {error} ({where}--debug shows more)")


def _warn(message: Warning | str, *_: Any) -> None:
    print(f"jaxml: warning: {_line(str(message))}", file=sys.stderr)


def _line(text: str) -> str:
    return visible(" ".join(text.split()))
