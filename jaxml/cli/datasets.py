"""The data set that a command's options name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxml import data
from jaxml.cli.options import Data
from jaxml.core.checks import require

TABLES = (".csv", ".tsv", ".txt", ".data", ".dat")
"""How the names of text files end."""
FOLDER = "folder"
_TAKEN_BY = {
    "task": ("a .npz or .csv file", (".npz", *TABLES)),
    "target_column": ("a .csv file", TABLES),
    "missing": ("a .csv file", TABLES),
    "image_size": ("a folder of images", (FOLDER,)),
}
"""Option -> what it is for, in words and as kinds of `--data`."""


def load_dataset(options: Data) -> data.Dataset:
    """The data set that the options name.

    Raises:
        ValueError: for options that it does not take, or if it cannot be read.
    """
    name = options.data
    require(name is not None, "--data", "none")
    assert name is not None
    suffix = Path(name).suffix.lower()
    kind = FOLDER if name not in data.REGISTRY and Path(name).is_dir() else suffix
    given = {key: getattr(options, key) for key in _TAKEN_BY}
    given = {key: value for key, value in given.items() if value is not None}
    for key in given:
        what, kinds = _TAKEN_BY[key]
        require(kind in kinds, f"--{key.replace('_', '-')} for {what} as --data", repr(name))
    if kind == FOLDER:
        return data.from_image_folder(name, size=given.get("image_size"))
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
        task = meta["task"].replace("_", " ")
    if "input_vocabulary" in meta:
        sizes = (len(meta[f"{side}_vocabulary"]) - 1 for side in ("input", "target"))
        lengths = (_range(train[f"{side}_length"], ",") for side in "xy")
        scale = ", ".join(f"{n} of {size} tokens" for n, size in zip(lengths, sizes, strict=True))
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
