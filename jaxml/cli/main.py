"""The entry point: which command, and what becomes of its errors."""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import jaxml
from jaxml.cli import course, data, doctor, landscape, listing, predict, study, train
from jaxml.cli.console import first_line, visible
from jaxml.cli.own_problem import place_of
from jaxml.core.checks import near
from jaxml.core.selfcheck import BackendError


class _UsageError(Exception):
    """A command line that no command takes."""


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with what may have been meant."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{self.prog}: error: {message}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            what = str(action.metavar or "value").lower()
            expected = f"expected a {what} among {', '.join(map(str, action.choices))}"
            hint = near(value, action.choices)
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{hint}, {expected}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The process's exit code: 0; 1 from a failing `doctor`; 2 on an error; 130 and 143 where
        Ctrl-C and SIGTERM stopped it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # λ in a terminal of Latin-1, names of any bytes
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parsed(arguments)
    except _UsageError as error:
        print(_line(str(error)), file=sys.stderr)
        return 2
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _warn
            return options.command(options)
    except KeyboardInterrupt:
        print("jaxml: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            raise
        # what jaxml refuses explains itself; anything else, such as a user's own loss that
        # fails, is named by its type
        known = isinstance(error, ValueError | FloatingPointError | BackendError)
        where = f"{place}; " if (place := place_of(error)) else ""
        told = f"{type(error).__name__}: {error} ({where}--debug shows more)"
        text = str(error) if known and not where else told
        print(f"jaxml: error: {_line(text)}", file=sys.stderr)
        return 2


def _warn(message: Warning | str, *_: Any) -> None:
    print(f"jaxml: warning: {_line(str(message))}", file=sys.stderr)


def _line(text: str) -> str:
    return visible(" ".join(text.split()))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    options, unknown = parser().parse_known_args(arguments)
    sub = vars(options).pop("parser")
    if unknown:
        first = unknown[0].partition("=")[0]
        hint = near(first, sub._option_string_actions) if first.startswith("-") else ""
        sub.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = _Parser(prog="jaxml", description=first_line(jaxml))
    top.add_argument("--version", action="version", version=f"jaxml {jaxml.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, help: str) -> argparse.ArgumentParser:  # noqa: A002
        sub = commands.add_parser(name, help=help, description=help)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(command=function, parser=sub)
        return sub

    for module in (landscape, study, train, predict, course, data, listing, doctor):
        module.add(command)
    return top
