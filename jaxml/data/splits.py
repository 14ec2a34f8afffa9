"""Rows into train, validation and test, the same for the same seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxml.core.checks import require
from jaxml.data.dataset import Split


def generator(seed: Any) -> np.random.Generator:
    """A random generator from a seed, a whole number of at least 0.

    Raises:
        ValueError: if the seed is anything else. None is refused: it would give another data
            set on every call.
    """
    valid = not isinstance(seed, bool) and hasattr(seed, "__index__") and int(seed) >= 0
    require(valid, "seed to be a whole number of at least 0", repr(seed))
    return np.random.default_rng(int(seed))


def require_nonnegative(name: str, value: Any) -> float:
    """The value as a float, if it is a finite number of at least 0.

    Raises:
        ValueError: otherwise.
    """
    number = isinstance(value, int | float | np.integer | np.floating)
    valid = number and not isinstance(value, bool) and math.isfinite(value) and float(value) >= 0
    require(valid, f"{name} to be a finite number of at least 0", repr(value))
    return float(value)


def split(
    rows: Split,
    *,
    validation: float,
    test: float,
    rng: np.random.Generator,
    labels: np.ndarray | None = None,
) -> tuple[Split, Split | None, Split | None]:
    """Deal rows out at random, in proportion per class where there are labels.

    A fraction of zero makes no split (None); any other makes one of at least one row, of the
    nearest whole number. With labels, a split's share of a class is off from the proportional
    one by at most `1 + C * N_c / N` rows, for N_c of N rows in this one of C classes, and a
    class of one row is in `train` as long as the fractions do not exceed a half together.

    Args:
        rows: arrays of N rows.
        validation: fraction of the rows, in [0, 1).
        test: fraction of the rows, in [0, 1).
        rng: where the randomness comes from.
        labels: `(N,)`, the class of each row; None for a plain random split.

    Returns:
        train, validation and test, as copies; with labels, each has its classes evenly mixed.

    Raises:
        ValueError: if a fraction is out of range or nothing is left to train on.

    >>> rows = {"x": np.arange(10.0)}
    >>> parts = split(rows, validation=0.2, test=0.0, rng=np.random.default_rng(0))
    >>> [part and len(part["x"]) for part in parts]
    [8, 2, None]
    """
    n = len(rows["x"])
    n_validation, n_test = counts_of(n, validation, test)
    order = rng.permutation(n) if labels is None else _mixed_order(labels, rng)
    test_rows, validation_rows, train_rows = np.split(order, [n_test, n_test + n_validation])

    def take(chosen: np.ndarray) -> Split | None:
        return {key: values[chosen] for key, values in rows.items()} if len(chosen) else None

    train = take(train_rows)
    assert train is not None  # checked above
    return train, take(validation_rows), take(test_rows)


def counts_of(rows: int, validation: float, test: float) -> tuple[int, int]:
    """How many of the rows are the validation's and the test's, see `split`.

    Raises:
        ValueError: if a fraction is out of range or nothing is left to train on.
    """
    counts = []
    for name, fraction in (("validation", validation), ("test", test)):
        value = require_nonnegative(name, fraction)
        require(value < 1, f"{name} to be a fraction below 1", repr(fraction))
        counts.append(max(1, round(value * rows)) if value > 0 else 0)
    require(
        sum(counts) < rows,
        "fractions that leave at least one row to train on",
        f"validation={validation!r} and test={test!r} of {rows} rows",
    )
    return counts[0], counts[1]


def cut(rows: Split, validation: int, test: int) -> tuple[Split, Split | None, Split | None]:
    """The last rows are the test, those before them the validation; copies, in their order.

    Args:
        rows: arrays of more rows than the two have together.
        validation: its rows; 0 makes no such split.
        test: likewise.
    """
    n = len(next(iter(rows.values())))
    left = n - validation - test

    def take(start: int, end: int) -> Split:
        return {key: values[start:end].copy() for key, values in rows.items()}

    return (
        take(0, left),
        take(left, n - test) if validation else None,
        take(n - test, n) if test else None,
    )


def split_groups(
    groups: np.ndarray, *, validation: float, test: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Deal groups of rows out whole: the rows of train, validation and test, in their order.

    Args:
        groups: `(N,)`, the group of each row.
        validation: fraction of the groups, see `split`.
        test: likewise.
        rng: where the randomness comes from.

    Raises:
        ValueError: as `split`.

    >>> parts = split_groups(np.array([7, 7, 8, 9]), validation=0, test=0.4,
    ...                      rng=np.random.default_rng(0))
    >>> [part if part is None else part.tolist() for part in parts]
    [[0, 1, 2], None, [3]]
    """
    parts = split({"x": np.unique(groups)}, validation=validation, test=test, rng=rng)
    train, held_out, last = (
        None if part is None else np.flatnonzero(np.isin(groups, part["x"])) for part in parts
    )
    assert train is not None  # as in `split`
    return train, held_out, last


def _mixed_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of the rows in which every stretch has the classes in proportion.

    Row j of a class of m rows, in random order, gets the position (j + 1/2) / m, so that each
    class is spread evenly over [0, 1]; sorting by position mixes them (systematic sampling).
    """
    order = rng.permutation(len(labels))
    _, group, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
    by_class = np.argsort(group, kind="stable")
    rank = np.empty(len(labels))
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[np.argsort((rank + 0.5) / sizes[group], kind="stable")]
