"""Games of Go that a program played against itself."""

from __future__ import annotations

import lzma
from importlib import resources
from typing import Any

from jaxml.data.dataset import Dataset
from jaxml.data.sgf_files import dataset_of, read_sgf


def go_games(*, validation: float = 0.1, test: float = 0.2, seed: int = 0) -> Dataset:
    """400 games that GNU Go 3.8 played against itself on 9 by 9 points, to predict its moves.

    Each starts from two to eight stones at random, as `examples/go_self_play.py` makes them.

    Args:
        validation: fraction of the games, in [0, 1); 0 makes no such split.
        test: likewise.
        seed: of the split; a whole number of at least 0.

    Returns:
        As `from_sgf`.

    Raises:
        ValueError: if an option is out of range, or the package sgfmill is not installed.
    """
    packed = resources.files("jaxml.data.loaders").joinpath("go_games.sgf.xz").read_bytes()
    games = read_sgf(lzma.decompress(packed), "go_games.sgf")
    meta: dict[str, Any] = {
        "name": "go_games",
        "source": "made for this library by GNU Go 3.8 at level 1, Chinese rules, komi 7",
        "licence": "Apache 2.0, as this library",
        "citation": None,
    }
    return dataset_of(games, 9, validation, test, seed, meta)
