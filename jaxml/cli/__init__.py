"""The command line, the only reader of argv."""

from jaxml.cli.main import main

__all__ = ["main"]
