"""What the commands share: the output, data sets by name."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from jaxml import data
from jaxml.core.checks import require
from jaxml.data.csv_files import MISSING_CHOICES

TABLES = (".csv", ".tsv", ".txt", ".data", ".dat")
"""How the names of text files end."""

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


def add_data(sub: argparse.ArgumentParser, default: str = "") -> None:
    """Add `--data`, and how a file is to be read."""
    known = f"{', '.join(data.names())}, or a .npz or .csv file"
    sub.add_argument("--data", help=f"{known} ({default})" if default else known)
    sub.add_argument("--task", help="of a file: classification or regression (told by its targets)")
    sub.add_argument("--target-column", help="of a .csv file: what is predicted (the last)")
    choices = ", ".join(MISSING_CHOICES)
    sub.add_argument("--missing", help=f"of a .csv file, where cells are empty: {choices} (refuse)")


def load_dataset(options: argparse.Namespace) -> data.Dataset:
    """The data set that the arguments of `add_data` name.

    Raises:
        ValueError: for arguments that it does not take, or if it cannot be read.
    """
    name = options.data
    suffix = Path(name).suffix.lower()
    takes = {".npz": ("task",)} | dict.fromkeys(TABLES, ("task", "target_column", "missing"))
    # a run of an earlier release has none of these
    given = {key: getattr(options, key, None) for key in takes[".csv"]}
    given = {key: value for key, value in given.items() if value is not None}
    for key in given:
        kind = "a .npz or .csv file" if key == "task" else "a .csv file"
        known = key in takes.get(suffix, ())
        require(known, f"--{key.replace('_', '-')} for {kind} as --data", repr(name))
    if suffix == ".npz":
        return data.from_npz(name, **given)
    if suffix in TABLES:
        return data.from_csv(name, target=given.pop("target_column", None), **given)
    return data.load(name)


def told(dataset: data.Dataset) -> Iterator[str]:
    """What is said of the data before the work: the task, the classes, the scale of the numbers."""
    meta, train = dataset.meta, dataset.train
    scale = f"inputs of shape {meta['input_shape']} from {_range(train['x'], '.4g')}, not scaled"
    if meta["task"] == "classification":
        sizes = np.bincount(train["y"], minlength=meta["classes"])
        task = f"classification, {meta['classes']:,} classes of {_range(sizes, ',')} training rows"
    elif meta["task"] == "regression":
        task = f"regression on targets from {_range(train['y'], '.4g')}, not scaled"
    else:
        task = meta["task"]
    yield f"{meta['name']}: {task}; {scale}"
    if "target_name" in meta:
        yield f"  {meta['target_name']} from {', '.join(meta['feature_names'])}"
    if "class_names" in meta:
        yield f"  classes {', '.join(meta['class_names'])}"
    for column, why in meta.get("left_out", {}).items():
        yield f"  left out: {column}, {why}"
    if meta.get("rows_dropped"):
        yield f"  left out: {meta['rows_dropped']:,} rows with missing values"
    if meta.get("imputed"):
        filled = (f"{name} {value:.4g}" for name, value in meta["imputed"].items())
        yield f"  for missing values: {', '.join(filled)}"


def _range(values: np.ndarray, form: str) -> str:
    least, most = f"{values.min():{form}}", f"{values.max():{form}}"
    return least if least == most else f"{least} to {most}"


def counts(about: data.Info) -> str:
    """Rows to train on, for validation and for the test."""
    return " / ".join(f"{count:,}" for count in about.counts.values())


def first_line(documented: Any) -> str:
    """Of a docstring."""
    return (documented.__doc__ or "").partition("\n")[0]
