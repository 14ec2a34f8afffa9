"""The configurations of a study: a struct of arrays, one entry a lane."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.studies.sweep.lane_optimizer import WITHOUT_MOMENTUM
from jaxml.studies.sweep.transformations import check_transformations, require_known

SCHEDULES = ("constant", "linear", "cosine")


@dataclasses.dataclass(frozen=True)
class Lanes:
    """Configurations; arrays of one length.

    Attributes:
        batch_size: examples of an update.
        optimizer: names, see `training.optimizers`, or of the caller's transformations.
        learning_rate: η, at its highest where a schedule changes it.
        momentum: β, Adam's β₁; 0 for optimisers that know none.
        schedule: of the rate over a lane's updates: `constant`, or down to 0 as `linear` or
            `cosine`.
        warmup: the share of a lane's updates over which the rate first rises from 0, linearly.
        seed: of initialisation and order.
    """

    batch_size: np.ndarray
    optimizer: np.ndarray
    learning_rate: np.ndarray
    momentum: np.ndarray
    schedule: np.ndarray
    warmup: np.ndarray
    seed: np.ndarray

    def __len__(self) -> int:
        return len(self.batch_size)

    def take(self, which: np.ndarray) -> Lanes:
        """Some of them, by number or by a mask."""
        fields = dataclasses.fields(self)
        return Lanes(**{field.name: getattr(self, field.name)[which] for field in fields})

    def columns(self) -> dict[str, np.ndarray]:
        """Name -> array."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __add__(self, other: Lanes) -> Lanes:
        mine, others = self.columns(), other.columns()
        return Lanes(**{name: np.concatenate([mine[name], others[name]]) for name in mine})


def grid(
    batch_sizes: Sequence[int],
    learning_rates: Sequence[float] | Mapping[str, Sequence[float]],
    *,
    optimizers: Sequence[str] = ("momentum",),
    momenta: Sequence[float] = (0.9,),
    schedules: Sequence[str] = ("constant",),
    warmup: float = 0.0,
    seeds: int | Sequence[int] = 3,
    transformations: Mapping[str, Any] | None = None,
) -> Lanes:
    """Every combination.

    Args:
        batch_sizes: B.
        learning_rates: η of all optimisers, or by the optimiser's name.
        optimizers: names, see `training.optimizers`, or of `transformations`.
        momenta: β, Adam's β₁; an optimiser that knows none has one lane for all of them.
        schedules: see `Lanes`.
        warmup: see `Lanes`.
        seeds: how many, or which.
        transformations: further optimisers by name, see `batch_size`, which is to get the same.

    Raises:
        ValueError: if a list is empty or repeats itself, for an unknown name, or for a number out
            of its range.

    Example:
        >>> lanes = grid([8, 64], [0.1, 0.2, 0.4], optimizers=["sgd", "momentum"], seeds=2)
        >>> len(lanes), set(lanes.momentum[lanes.optimizer == "sgd"].tolist())
        (24, {0.0})
    """
    if not isinstance(seeds, Sequence | np.ndarray):
        seeds = range(require_positive_int("seeds", seeds))
    own = check_transformations(transformations)
    by_name = learning_rates if isinstance(learning_rates, Mapping) else None
    lists = {
        "batch_sizes": batch_sizes,
        "optimizers": optimizers,
        "momenta": momenta,
        "schedules": schedules,
        "seeds": seeds,
    }
    for name in optimizers:
        require_known(name, own)
        known = by_name is None or name in by_name
        require(known, f"learning rates of {name}", f"those of {', '.join(by_name or ())}")
        lists[f"learning rates of {name}"] = by_name[name] if by_name else learning_rates
    for name, values in lists.items():
        require(len(values) > 0, f"{name}", "none")
        require(len(set(values)) == len(values), f"{name} without repetitions", list(values))
    for schedule in schedules:
        require_choice("schedule", schedule, SCHEDULES)
    rows = []
    for name in optimizers:
        rates = lists[f"learning rates of {name}"]
        betas = (0.0,) if name in (*WITHOUT_MOMENTUM, *own) else momenta
        rows += itertools.product(batch_sizes, [name], rates, betas, schedules, [warmup], seeds)
    return check_lanes(Lanes(*(np.array(column) for column in zip(*rows, strict=True))), own)


def check_lanes(lanes: Lanes, transformations: Mapping[str, Any] | None = None) -> Lanes:
    """The lanes with their dtypes.

    Args:
        lanes: the configurations.
        transformations: optimisers of the caller's by name.

    Raises:
        ValueError: if the arrays differ in length or a value is out of range.
    """
    lengths = {name: np.shape(column) for name, column in lanes.columns().items()}
    one = len(set(lengths.values())) == 1 and len(lengths["seed"]) == 1
    require(one, "columns of one length", lengths)
    require(len(lanes) > 0, "at least one lane", "none")
    for name in ("batch_size", "seed"):
        column = np.asarray(getattr(lanes, name))
        require(np.issubdtype(column.dtype, np.integer), f"whole numbers as {name}", column.dtype)
    ranges = {
        "batch_size": (lanes.batch_size >= 1, "at least 1"),
        "learning_rate": ((lanes.learning_rate > 0) & np.isfinite(lanes.learning_rate), "above 0"),
        "momentum": ((lanes.momentum >= 0) & (lanes.momentum < 1), "in [0, 1)"),
        "warmup": ((lanes.warmup >= 0) & (lanes.warmup < 1), "in [0, 1)"),
        "seed": ((lanes.seed >= 0) & (lanes.seed < 2**63), "at least 0 and below 2**63"),
    }
    for name, (valid, expected) in ranges.items():
        bad = getattr(lanes, name)[~valid]
        require(valid.all(), f"every {name} {expected}", bad[:3])
    for name in np.unique(lanes.optimizer):
        require_known(str(name), transformations or {})
    for name in np.unique(lanes.schedule):
        require_choice("schedule", str(name), SCHEDULES)
    kinds = {"batch_size": np.int64, "seed": np.int64, "optimizer": str, "schedule": str}
    columns = {
        name: np.asarray(column, kinds.get(name, np.float64))
        for name, column in lanes.columns().items()
    }
    return Lanes(**columns)
