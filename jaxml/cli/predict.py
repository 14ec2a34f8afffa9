"""`jaxml predict`."""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxml import data
from jaxml.cli import runs
from jaxml.cli.console import TABLES, AddCommand, load_dataset, out, visible
from jaxml.cli.numbers import whole
from jaxml.core.checks import require
from jaxml.core.files import write_atomically
from jaxml.core.selfcheck import require_sound_backend
from jaxml.trained import Trained, load

_PARTS = ("train", "validation", "test")


def add(command: AddCommand) -> None:
    """The command and its arguments."""
    sub = command("predict", _predict, "Predict with a network that `jaxml train` trained.")
    sub.add_argument("run", metavar="RUN", help="the run's folder")
    sub.add_argument(
        "file",
        metavar="FILE",
        help="a .csv file with the columns that the network was trained on; an .npz or .npy file "
        "with x; or train, validation or test, a split of the run's own data",
    )
    sub.add_argument(
        "--step", type=_step, help="of the checkpoint, or best: least validation loss (the latest)"
    )
    sub.add_argument("--out", metavar="CSV", help="a new file for the predictions (printed)")


def _step(text: str) -> int | Literal["best"]:
    return "best" if text == "best" else whole(0)(text)


def _predict(options: argparse.Namespace) -> int:
    if options.out is not None:
        new = not Path(options.out).exists() and Path(options.out).parent.is_dir()
        require(new, "a new file in a folder that is there, as --out", options.out)
    trained = load(options.run, step=options.step)
    step, steps = trained.meta["step"], trained.meta["steps"]
    if options.step is None and step < steps:
        warnings.warn(f"the run is at step {step:,} of {steps:,}", stacklevel=2)
    rows = _rows(Path(options.run), trained, options.file)
    require_sound_backend()
    outputs = _outputs(trained, rows["x"])
    if trained.meta["task"] == "classification":
        predicted = outputs.argmax(-1)
        names = _class_names(trained)
        header = ["prediction", *(f"probability_{name}" for name in names)]
        first = np.array(names, dtype=object)[predicted][:, None]
        cells = np.concatenate([first, np.asarray(jax.nn.softmax(outputs)).astype(str)], axis=1)
    else:
        predicted, count = outputs, outputs.shape[1]
        header = ["prediction"] if count == 1 else [f"prediction_{i}" for i in range(count)]
        cells = outputs.astype(str)
    table = _csv(header, cells)
    if options.out is None:
        _print(table)
    else:
        write_atomically(options.out, table)
        out.print(options.out)
    for line in _judged(trained, predicted, rows):
        print(line, file=sys.stderr if options.out is None else sys.stdout)
    return 0


def _print(table: str) -> None:
    # a terminal would obey control characters in the names of classes
    text = visible(table) if sys.stdout.isatty() else table
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _rows(folder: Path, trained: Trained, name: str) -> dict[str, np.ndarray]:
    """The inputs, and targets where there are some."""
    suffix = Path(name).suffix.lower()
    if name in _PARTS:
        return _split(folder, trained, name)
    if suffix in (".npz", ".npy"):
        rows = data.array_rows(name)
        if "y" in rows:
            _check_targets(trained, rows)
        return rows
    expected = f"a {' or '.join(TABLES)}, .npz or .npy file, or one of {', '.join(_PARTS)}"
    require(suffix in TABLES, expected, repr(name))
    known = "columns" in trained.meta
    require(known, "an .npz or .npy file, as the network was trained on arrays", repr(name))
    return data.csv_rows(name, trained.meta)


def _split(folder: Path, trained: Trained, part: str) -> dict[str, np.ndarray]:
    dataset = load_dataset(argparse.Namespace(**runs.config_of(folder, "train")["arguments"]))
    same = runs.dataset_sha256(dataset) == trained.meta["sha256"]
    require(same, f"the data that {folder} was trained on", "other data of that name")
    rows = getattr(dataset, part)
    require(rows is not None, f"a split that {dataset.meta['name']} has", part)
    return rows


def _check_targets(trained: Trained, rows: dict[str, np.ndarray]) -> None:
    y, shape = rows["y"], (len(np.atleast_1d(rows["x"])), *trained.meta["target"]["shape"])
    require(y.shape == shape, f"y of shape {shape}", y.shape)
    if trained.meta["task"] == "classification":
        classes = trained.meta["classes"]
        labels = y.dtype.kind in "biuf" and bool(np.isin(y, np.arange(classes)).all())
        require(labels, f"y of labels from 0 to {classes - 1}", f"others, of dtype {y.dtype}")
    else:
        real = y.dtype.kind in "biuf" and bool(np.isfinite(y).all())
        require(real, "y of finite numbers", f"others, of dtype {y.dtype}")


def _outputs(trained: Trained, x: np.ndarray) -> np.ndarray:
    """With a bar on standard error, where the predictions are not."""
    console = Console(stderr=True)
    columns = TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("")
        return trained.outputs(
            x, on_progress=lambda done, of: bar.update(task, completed=done, total=of)
        )


def _class_names(trained: Trained) -> list[str]:
    return trained.meta.get("class_names") or [str(i) for i in range(trained.meta["classes"])]


def _csv(header: Sequence[str], rows: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows.tolist())
    return text.getvalue()


def _judged(trained: Trained, predicted: np.ndarray, rows: dict[str, np.ndarray]) -> Iterator[str]:
    """The accuracy, or the root of the mean squared error, where there are targets."""
    if "y" not in rows:
        return
    known = rows.get("known", np.ones(len(predicted), bool))
    y, count = rows["y"][known], f"{known.sum():,} rows"
    if trained.meta["task"] == "classification":
        yield f"accuracy {(predicted[known] == y).mean():.4f} on {count}"
    else:
        error = predicted[known].astype(float) - y.reshape(len(y), -1)
        yield f"RMSE {np.sqrt((error**2).mean()):.6g} on {count}"
