"""What every loader returns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxml.core.checks import require

Split = dict[str, np.ndarray]
"""Arrays that share their leading axis, for example `{"x": (N, d), "y": (N,)}`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in three splits.

    Every loader hands out arrays of its own, so they may be written to.

    Attributes:
        train: inputs `x`, and with most sets targets `y`, with one leading axis of rows.
        validation: the same for choosing between models, or None.
        test: the same for the last word, or None.
        meta: `name`; `task` ("classification", "regression", "generation" or
            "sequence_to_sequence"); `classes`, the number of them, where the task is
            classification; `description`, `source`, `licence` and `citation`; whatever else is
            known, such as the teacher of a made-up set; and two entries that are worked out
            here: `input_shape`, that of one row of `x`, and `counts`, split -> number of rows.

    Raises:
        ValueError: if a split has no `x`, or arrays of different lengths, or not the keys of
            `train`.

    >>> points = Dataset({"x": np.zeros((3, 2))}, None, None, {"name": "points"})
    >>> points.meta
    {'name': 'points', 'input_shape': (2,), 'counts': {'train': 3, 'validation': 0, 'test': 0}}
    """

    train: Split = dataclasses.field(repr=False)
    validation: Split | None = dataclasses.field(repr=False)
    test: Split | None = dataclasses.field(repr=False)
    meta: dict[str, Any]

    def __post_init__(self) -> None:
        require("x" in self.train, "a training split with the key x", f"keys {list(self.train)}")
        counts = {"train": 0, "validation": 0, "test": 0}
        for name in counts:
            split = getattr(self, name)
            if split is None:
                continue
            expected = f"{name} to have the keys {sorted(self.train)}, as train has"
            require(set(split) == set(self.train), expected, sorted(split))
            lengths = {key: len(values) for key, values in split.items()}
            require(
                len(set(lengths.values())) == 1, f"{name} arrays of one leading length", lengths
            )
            counts[name] = lengths["x"]
        shape = self.train["x"].shape[1:]
        object.__setattr__(self, "meta", {**self.meta, "input_shape": shape, "counts": counts})

    def everything(self) -> Split:
        """All rows in one split: train, then validation, then test.

        For work on the loss surface itself, where the set defines the function under study
        and nothing is predicted: holding rows out there would only study another function.

        Returns:
            One dict with the keys of `train`; its arrays are copies.

        >>> from jaxml import data
        >>> data.digits().everything()["x"].shape
        (1797, 64)
        """
        splits = [s for s in (self.train, self.validation, self.test) if s is not None]
        return {key: np.concatenate([split[key] for split in splits]) for key in self.train}
