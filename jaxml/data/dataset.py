"""What every loader returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxml.core.checks import require

Split = dict[str, Any]
"""Arrays that share their leading axis, for example `{"x": (N, d), "y": (N,)}`.

A value may be a dict, tuple or list of such arrays in its turn: `{"support": {"x": …, "y": …},
"query": {"x": …, "y": …}}`, with episodes along the leading axis. What names mean says
`jaxml.core.types.Batch`.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in named splits, each with keys of its own.

    Every loader hands out arrays of its own, so they may be written to.

    Attributes:
        train: most often inputs `x` and targets `y`, with one leading axis of rows.
        validation: the same for choosing between models, or None.
        test: the same for the last word, or None.
        meta: `name`; `task` ("classification", "regression", "generation", "detection" or
            "sequence_to_sequence"); `classes`, the number of them, where the task is
            classification; `description`, `source`, `licence` and `citation`; whatever else is
            known, such as the teacher of a made-up set; and what is worked out here: `counts`,
            split -> number of rows, and `input_shape`, that of one row of `x` where `train` has
            one array of that name.
        others: further splits by their names, in their order, such as an unlabelled target domain
            or the tasks of a stream.

    Raises:
        ValueError: if a split has no arrays or ones of different lengths, or one of `others` has
            the name of another split.

    >>> points = Dataset({"x": np.zeros((3, 2))}, None, None, {"name": "points"})
    >>> points.meta
    {'name': 'points', 'counts': {'train': 3, 'validation': 0, 'test': 0}, 'input_shape': (2,)}
    >>> labelled, target = {"x": np.zeros((3, 2)), "y": np.zeros(3)}, {"x": np.ones((5, 2))}
    >>> domains = Dataset(labelled, None, None, {}, {"target": target})
    >>> domains.meta["counts"]["target"], list(domains.splits)
    (5, ['train', 'target'])
    """

    train: Split = dataclasses.field(repr=False)
    validation: Split | None = dataclasses.field(repr=False)
    test: Split | None = dataclasses.field(repr=False)
    meta: dict[str, Any]
    others: Mapping[str, Split] = dataclasses.field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        fields = ("train", "validation", "test")
        taken = [name for name in fields if name in self.others]
        require(not taken, "others by other names than those of the fields", taken)
        counts = dict.fromkeys((*fields, *self.others), 0)
        for name, split in self.splits.items():
            require(isinstance(split, Mapping), f"{name} to be a dict of arrays", type(split))
            lengths = {path: len(array) for path, array in leaves(split)}
            one = len(set(lengths.values())) == 1
            require(one, f"{name} arrays of one leading length", lengths or "none")
            counts[name] = next(iter(lengths.values()))
        known = {"counts": counts}
        if hasattr(self.train.get("x"), "shape"):
            known["input_shape"] = self.train["x"].shape[1:]
        object.__setattr__(self, "meta", {**self.meta, **known})

    @property
    def splits(self) -> dict[str, Split]:
        """All splits that there are, by name: train, validation, test, then the others."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: s for name, s in {**named, **self.others}.items() if s is not None}

    def everything(self) -> Split:
        """All rows in one split: train, then validation, then test.

        For work on the loss surface itself, where the set defines the function under study
        and nothing is predicted: holding rows out there would only study another function.

        Returns:
            One dict with the keys of `train`; its arrays are copies.

        Raises:
            ValueError: if the three have not the same keys.

        >>> from jaxml import data
        >>> data.digits().everything()["x"].shape
        (1797, 64)
        """
        splits = [s for s in (self.train, self.validation, self.test) if s is not None]
        paths = [[path for path, _ in leaves(split)] for split in splits]
        for other in paths[1:]:
            require(other == paths[0], f"splits with the keys {paths[0]}, as train has", other)
        return _joined(splits)


def leaves(split: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays of a split and their paths, such as `support/x`, in the order of their names."""
    if isinstance(split, Mapping):
        parts = sorted(split.items())
    elif isinstance(split, tuple | list):
        parts = [(str(i), part) for i, part in enumerate(split)]
    else:
        yield path, split
        return
    for name, part in parts:
        yield from leaves(part, f"{path}/{name}" if path else name)


def _joined(splits: list[Any]) -> Any:
    first = splits[0]
    if isinstance(first, Mapping):
        return {name: _joined([split[name] for split in splits]) for name in first}
    if isinstance(first, tuple | list):
        return type(first)(map(_joined, map(list, zip(*splits, strict=True))))
    return np.concatenate(splits)
