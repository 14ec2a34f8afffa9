"""The entry point: which command, and what becomes of its errors."""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import jaxml
from jaxml.backend import BackendError
from jaxml.cli import data, doctor, landscape, listing, study, train
from jaxml.cli.console import first_line, visible


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {_line(message)}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The process's exit code: 0; 1 from a failing `doctor`; 2 on an error; 130 and 143 where
        Ctrl-C and SIGTERM stopped it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # λ in a terminal of Latin-1, names of any bytes
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
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
        text = str(error) if known else f"{type(error).__name__}: {error} (--debug shows where)"
        print(f"jaxml: error: {_line(text)}", file=sys.stderr)
        return 2


def _warn(message: Warning | str, *_: Any) -> None:
    print(f"jaxml: warning: {_line(str(message))}", file=sys.stderr)


def _line(text: str) -> str:
    return visible(" ".join(text.split()))


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = _Parser(prog="jaxml", description=first_line(jaxml))
    top.add_argument("--version", action="version", version=f"jaxml {jaxml.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, help: str) -> argparse.ArgumentParser:  # noqa: A002
        sub = commands.add_parser(name, help=help, description=help)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(command=function)
        return sub

    for module in (landscape, study, train, data, listing, doctor):
        module.add(command)
    return top
