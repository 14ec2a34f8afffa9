"""What the commands share: the output, result folders, data sets by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxml import data
from jaxml.files import new_folder, numbered_folder

out = Console(highlight=False, soft_wrap=True)

AddCommand = Callable[..., Any]
"""`(name, function, help) -> argparse.ArgumentParser`, see `jaxml.cli.main`."""


@contextlib.contextmanager
def results_folder(out: str | None, name: str) -> Iterator[Path]:
    """Where the results go: made before the work, and gone again if the work came to nothing."""
    folder = numbered_folder("runs", name) if out is None else new_folder(out)
    try:
        yield folder
    finally:
        for path in (folder, folder.parent) if out is None else (folder,):
            if not any(path.iterdir()):
                path.rmdir()


def load_dataset(name: str) -> data.Dataset:
    """A data set by its name, or from a `.npz` file."""
    return data.from_npz(name) if name.endswith(".npz") else data.load(name)


def counts(about: data.Info) -> str:
    """Rows to train on, for validation and for the test."""
    return " / ".join(f"{count:,}" for count in about.counts.values())


def first_line(documented: Any) -> str:
    """Of a docstring."""
    return (documented.__doc__ or "").partition("\n")[0]
