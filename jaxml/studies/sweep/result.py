"""What a study aims at, and what became of it."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jaxml.core.checks import require
from jaxml.core.result import Result
from jaxml.studies.sweep.configs import Lanes


class Target(NamedTuple):
    """What ends a lane.

    Attributes:
        value: to be reached.
        measure: a name among the task's measures.
        split: a name among the study's splits.
        above: whether large is good.
    """

    value: float
    measure: str = "error"
    split: str = "validation"
    above: bool = False

    def met(self, value: Any) -> Any:
        """Whether a value is good enough."""
        return value >= self.value if self.above else value <= self.value

    def __str__(self) -> str:
        """For people."""
        return f"{self.split} {self.measure} {'≥' if self.above else '≤'} {self.value:g}"


@dataclasses.dataclass(frozen=True)
class Study(Result):
    """What became of every lane.

    Attributes:
        lanes: the configurations.
        target: what ended them, if anything was to.
        microbatch: of each lane.
        budget: of each lane, in updates.
        exits: why each ended: `target`, `budget`, `not finite` or `plateau`; `""` where it has not.
        updates: done by each.
        records: the measurements in the order of their lanes' training, as columns: `lane`,
            `updates`, every `split measure`, `running` (the mean loss in training since the last
            measurement), and for the noise scale the means over that time of |g|² over
            microbatches (`small`) and over batches (`large`), and the number of batches.
        params: the flattened parameters at each lane's end, shape (lanes, size), if kept.
        examples: N.
        size: parameters of a lane.
        seconds: spent compiling (`compile`) and running (`run`).
        programs: m -> lanes of a call, of each program that was compiled for the bucket.
        pending: where the bucket under way is; `None` when all is done.
    """

    lanes: Lanes
    target: Target | None
    microbatch: np.ndarray
    budget: np.ndarray
    exits: np.ndarray
    updates: np.ndarray
    records: dict[str, np.ndarray]
    params: np.ndarray | None
    examples: int
    size: int
    seconds: dict[str, float]
    programs: dict[int, list[int]]
    pending: dict[str, Any] | None = None

    @property
    def steps(self) -> np.ndarray:
        """Updates to the target, of each lane; infinite where it was not met."""
        return np.where(self.exits == "target", self.updates, np.inf)

    def last(self, name: str) -> np.ndarray:
        """The last measurement of each lane; NaN where there is none."""
        values = np.full(len(self.lanes), np.nan)
        values[self.records["lane"]] = self.records[name]  # later rows overwrite
        return values

    def final(self, name: str) -> np.ndarray:
        """Like `last`, and NaN where a lane ended not finite: an error is a number even there."""
        return np.where(self.exits == "not finite", np.nan, self.last(name))

    def table(self) -> dict[str, np.ndarray]:
        """One row a lane: configuration, exit, updates, epochs and last measurements."""
        columns = self.lanes.columns() | {
            "microbatch": self.microbatch,
            "exit": self.exits,
            "updates": self.updates,
            "epochs": self.updates * self.lanes.batch_size / self.examples,
            "steps_to_target": self.steps,
        }
        measured = [name for name in self.records if " " in name]
        return columns | {name.replace(" ", "_"): self.last(name) for name in measured}


def best_finite(values: np.ndarray, what: str, *, above: bool = False) -> int:
    """The number of the best configuration among those that ended finite.

    Args:
        values: of each.
        what: the values are.
        above: whether large is good.

    Raises:
        ValueError: if none is finite.
    """
    finite = np.isfinite(values)
    expected = f"a configuration with a finite {what}"
    require(finite.any(), expected, f"none of {len(values)}; try smaller learning rates")
    signed = -values if above else values
    return int(np.argmin(np.where(finite, signed, np.inf)))
