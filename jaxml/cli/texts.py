"""Texts of a data set in tokens of byte pairs, and the tokenizer that a run keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxml import data
from jaxml.core.checks import require
from jaxml.sequence import tokens

FILE = "tokenizer.json"
"""In the folder of a run."""


def learned(dataset: data.Dataset, size: int) -> tokens.Tokenizer:
    """A tokenizer of so many tokens, learned from the sources and targets to train with.

    Raises:
        ValueError: if the set is of other symbols than characters; as `tokens.bpe`.
    """
    return tokens.bpe(
        [text for name in "xy" for text in _texts(dataset, dataset.train, name)], size
    )


def encoded(tokenizer: tokens.Tokenizer, dataset: data.Dataset) -> dict[str, dict[str, np.ndarray]]:
    """The splits with `x`, `x_length`, `y` and `y_length` in the tokenizer's tokens."""
    return {
        split: {
            array: values
            for name in "xy"
            for array, values in tokenizer.arrays(_texts(dataset, rows, name), name).items()
        }
        for split, rows in dataset.splits.items()
    }


def kept(folder: Path, digest: str) -> tokens.Tokenizer:
    """The tokenizer of a run, whose configuration has this digest of it.

    Raises:
        ValueError: if it is not there, or another one.
    """
    return tokens.load(folder / FILE, digest=digest)


def require_same(config: dict[str, Any], tokenizer: tokens.Tokenizer | None, folder: Path) -> None:
    """Raises `ValueError` if a run was begun with another tokenizer than was learned now."""
    digest = None if tokenizer is None else tokenizer.digest
    begun = config.get("tokenizer")
    require(begun == digest, f"the tokenizer {begun} that {folder} was begun with", digest)


def _texts(dataset: data.Dataset, rows: Any, name: str) -> list[str]:
    vocabulary = dataset.meta["input_vocabulary" if name == "x" else "target_vocabulary"]
    longer = [symbol for symbol in vocabulary if len(symbol) > 1]
    require(not longer, "a data set of characters, for --byte-pairs", f"symbols as {longer[:1]}")
    return tokens.joined(rows[name], rows[f"{name}_length"], vocabulary)
