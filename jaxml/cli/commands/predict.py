"""`jaxml predict`."""

from __future__ import annotations

import csv
import dataclasses
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from cyclopts import Parameter

from jaxml import data
from jaxml.cli import console, runs
from jaxml.cli.datasets import TABLES, load_dataset
from jaxml.cli.options import Data, Step, parsed
from jaxml.core.checks import require
from jaxml.core.files import write_atomically
from jaxml.core.selfcheck import require_sound_backend
from jaxml.trained import Trained, load

_PARTS = ("train", "validation", "test")


def command(
    run: str,
    file: str,
    *,
    step: Step = None,
    out: Annotated[str | None, Parameter(metavar="CSV")] = None,
) -> None:
    """Predict with a network that `jaxml train` trained.

    Args:
        run: the run's folder.
        file: a .csv file with the columns that the network was trained on; an .npz or .npy file
            with x; or train, validation or test, a split of the run's own data.
        step: of the checkpoint, or best: least validation loss (the latest).
        out: a new file for the predictions (printed).
    """
    if out is not None:
        new = not Path(out).exists() and Path(out).parent.is_dir()
        require(new, "a new file in a folder that is there, as --out", out)
    trained = load(run, step=step)
    warn_of_unfinished(trained, step)
    rows = _rows(Path(run), trained, file)
    require_sound_backend()
    with console.bar("predicting") as on_progress:
        outputs = trained.outputs(rows["x"], on_progress=on_progress)
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
    if out is None:
        console.print_raw(table)
    else:
        write_atomically(out, table)
        console.out.print(out)
    for line in _judged(trained, predicted, rows):
        print(line, file=sys.stderr if out is None else sys.stdout)


def warn_of_unfinished(trained: Trained, step: int | str | None) -> None:
    """A warning where the latest step is not the last that the run was asked for."""
    done, steps = trained.meta["step"], trained.meta["steps"]
    if step is None and done < steps:
        warnings.warn(f"the run is at step {done:,} of {steps:,}", stacklevel=3)


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
    if Path(name).is_dir():
        require("images" in trained.meta, "data as the network was trained on", f"{name}, a folder")
        return data.image_rows(name, trained.meta)
    expected = f"a {' or '.join(TABLES)}, .npz or .npy file, or one of {', '.join(_PARTS)}"
    require(suffix in TABLES, expected, repr(name))
    known = "columns" in trained.meta
    require(known, "an .npz or .npy file, as the network was trained on arrays", repr(name))
    return data.csv_rows(name, trained.meta)


def _split(folder: Path, trained: Trained, part: str) -> dict[str, np.ndarray]:
    arguments = runs.config_of(folder, "train")["arguments"]
    names = {field.name for field in dataclasses.fields(Data)}
    dataset = load_dataset(parsed(Data, {k: v for k, v in arguments.items() if k in names}))
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
