"""`jaxml list`."""

from __future__ import annotations

from jaxml import data, landscape, nn
from jaxml.cli.console import first_line, out
from jaxml.cli.datasets import counts
from jaxml.cli.networks import MODELS, SEQUENCE_MODELS
from jaxml.training import optimizers, schedules


def command() -> None:
    """List the data sets, models, optimisers, schedules and methods."""
    out.print("data sets", style="bold")
    for name in data.names():
        about = data.info(name)
        out.print(f"  {name:17} {about.task:20} {counts(about):25} {about.description}")
    functions = (
        ("optimisers", [getattr(optimizers, name) for name in optimizers.__all__]),
        ("schedules", [getattr(schedules, name) for name in schedules.__all__]),
    )
    out.print("models", style="bold")
    for name in MODELS | SEQUENCE_MODELS:
        out.print(f"  {name:16} {first_line(getattr(nn, name))}")
    for title, choices in functions:
        out.print(title, style="bold")
        for function in choices:
            out.print(f"  {function.__name__:16} {first_line(function)}")
    out.print("searches for critical points", style="bold")
    for name in landscape.METHODS:
        out.print(f"  {name}")
