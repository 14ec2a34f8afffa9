"""What the commands share: the output, data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxml import data

out = Console(highlight=False, soft_wrap=True)

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
