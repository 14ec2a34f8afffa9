"""Hooks: what the host does between two chunks of steps."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import operator
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.files import to_json, write_atomically
from jaxml.core.sharding import gather
from jaxml.training.loop import Chunk


class progress(contextlib.AbstractContextManager):  # noqa: N801 - used as a function
    """A progress bar with the loss, the rate and the time left; of several processes the first's.

    From `fit_many` it shows the median loss over the lanes. Of a metric that has not a value at
    every step the latest is shown.

    Args:
        description: what stands before the bar.
        metric: the metric shown.
    """

    def __init__(self, description: str = "training", metric: str = "loss") -> None:
        self._metric = metric
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}", markup=False),
            TimeRemainingColumn(),
            transient=True,
            disable=not get_console().is_terminal or jax.process_index() > 0,
        )
        self._task = self._bar.add_task(description, total=None, shown="")

    def __enter__(self) -> progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        shown = ""
        if (value := _latest(chunk.metrics.get(self._metric))) is not None:
            shown = f"{self._metric} {value:.4g}"
        if speed := self._bar.tasks[0].speed:
            shown += f"  {speed:,.0f} steps/s"
        self._bar.update(self._task, completed=chunk.step, total=chunk.last_step, shown=shown)


def _latest(values: np.ndarray | None) -> float | None:
    """The latest values in a chunk, their median over the lanes; `None` if there are none."""
    if values is None:
        return None
    known = ~np.isnan(values)
    steps = np.flatnonzero(known.any(axis=tuple(range(values.ndim - 1))))
    if not steps.size:
        return math.nan
    return float(np.median(values[..., steps[-1]][known[..., steps[-1]]].astype(float)))


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the steps that have a value; NaN where none has."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=-1, dtype=float)
    with np.errstate(invalid="ignore"):
        return total / known.sum(-1)


class evaluation:  # noqa: N801 - used as a function
    """Measure the state after each chunk, for example on the validation set.

    Args:
        measure: `state -> {name: number}`, such as
            `lambda state: evaluate(model, state, dataset.validation, {"loss": loss})`.

    Attributes:
        history: name -> the values so far; `"step"` -> the steps at which they were taken.
    """

    def __init__(self, measure: Callable[[Any], dict[str, Any]]) -> None:
        self._measure = measure
        self.history: dict[str, list] = {"step": []}

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        self.history["step"].append(chunk.step)
        for name, value in self._measure(chunk.state).items():
            self.history.setdefault(name, []).append(value)


class Watched:
    """A metric of an evaluation, as a number that is small where the state is good.

    Args:
        watched: an `evaluation`, placed in the list of hooks before the one that asks.
        metric: which of its values.
        mode: `"min"` where small is good, `"max"` where large is.
    """

    def __init__(self, watched: evaluation, metric: str, mode: str) -> None:
        self._watched, self._metric = watched, metric
        self._sign = 1 if require_choice("mode", mode, ["min", "max"]) == "min" else -1

    def badness(self) -> float:
        """The latest value, negated where large is good; infinite where it is NaN."""
        known = [name for name in self._watched.history if name != "step"]
        require(self._metric in known, f"a metric among {known}", repr(self._metric))
        value = self._watched.history[self._metric][-1]
        require(np.ndim(value) == 0, f"{self._metric} to be one number", f"shape {np.shape(value)}")
        return math.inf if math.isnan(value) else self._sign * float(value)


class early_stopping:  # noqa: N801 - used as a function
    """End the run when an evaluation no longer improves, and keep the best state.

    Args:
        watched: an `evaluation`, placed before this hook in the list of hooks.
        metric: which of its values, a number.
        patience: evaluations without improvement that are borne.
        mode: `"min"` where small is good, `"max"` where large is.

    Attributes:
        best: the best value so far, infinite before the first.
        best_step: when it was seen.
        best_state: the state then; `None` if it was seen by an earlier part of the run.
        stopped: whether the evaluations have ceased to improve.
    """

    def __init__(
        self, watched: evaluation, metric: str = "loss", *, patience: int = 5, mode: str = "min"
    ) -> None:
        self._watched = Watched(watched, metric, mode)
        self._sign = 1 if mode == "min" else -1
        self._patience = require_positive_int("patience", patience)
        self._waited = 0
        self.best, self.best_step, self.best_state = self._sign * math.inf, 0, None

    def __call__(self, chunk: Chunk) -> bool:
        """See `Hook`."""
        if self.see(chunk.step, self._sign * self._watched.badness()):
            self.best_state = chunk.state
        return self.stopped

    @property
    def stopped(self) -> bool:  # noqa: D102 - an attribute
        return self._waited >= self._patience

    def see(self, step: int, value: float | None) -> bool:
        """Take an evaluation into account, as of an earlier part of a run that goes on.

        Args:
            step: when it was taken.
            value: of the metric; `None` for one that was not finite.

        Returns:
            Whether it is the best so far.
        """
        better = value is not None and self._sign * value < self._sign * self.best
        if better:
            self.best, self.best_step, self.best_state = value, step, None
        self._waited = 0 if better else self._waited + 1
        return better


class metrics_log(contextlib.AbstractContextManager):  # noqa: N801 - used as a function
    """Write one line of JSON for each chunk: its last step, the means of its metrics, evaluations.

    Each line is on the disk before training goes on. When a run goes on from a checkpoint, the
    lines of steps that are taken again are dropped first, and so is one that was cut short. A mean
    is over the steps at which the metric has a value; what is not finite is `null`. Of several
    processes the first writes.

    Args:
        path: of the file, such as `metrics.jsonl`; its folder must exist.
        **watched: name -> an `evaluation`, placed before this hook in the list of hooks.
    """

    def __init__(self, path: str | Path, **watched: evaluation) -> None:
        self._path, self._watched, self._file = Path(path), watched, None
        self._length, self._digest = 0, hashlib.sha256()

    @property
    def seal(self) -> dict[str, Any]:
        """The bytes written so far, and their SHA-256."""
        return {"bytes": self._length, "sha256": self._digest.hexdigest()}

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        if jax.process_index() > 0:
            return
        if self._file is None:
            taken = max((np.shape(values)[-1] for values in chunk.metrics.values()), default=1)
            kept = _lines_until(self._path, chunk.step - taken).encode()
            write_atomically(self._path, kept)
            self._file = open(self._path, "ab")  # noqa: SIM115
            self._length, self._digest = len(kept), hashlib.sha256(kept)
        line: dict[str, Any] = {"step": chunk.step}
        line["train"] = {name: _mean(values) for name, values in chunk.metrics.items()}
        for name, hook in self._watched.items():
            seen = {k: v[-1] for k, v in hook.history.items() if k != "step"}
            line[name] = {k: np.asarray(value, float) for k, value in seen.items()}
        written = f"{to_json(line)}\n".encode()
        self._file.write(written)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._length += len(written)
        self._digest.update(written)


def _lines_until(path: Path, step: int) -> str:
    """The whole lines of a log up to a step."""
    kept = []
    # what follows the last whole line may be of any bytes
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        try:
            if json.loads(line)["step"] > step or not line.endswith("\n"):
                break
        except ValueError:
            break
        kept.append(line)
    return "".join(kept)


class snapshots:  # noqa: N801 - used as a function
    """Keep the parameters after each chunk, for `landscape.follow`.

    Args:
        of: state -> the parameters to keep, such as those of one of several networks; the state's
            own by default.

    Attributes:
        steps: when.
    """

    def __init__(self, of: Callable[[Any], Any] = operator.attrgetter("params")) -> None:
        self._of = of
        self.steps: list[int] = []
        self._params: list[Any] = []

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        self.steps.append(chunk.step)
        self._params.append(gather(self._of(chunk.state)))

    @property
    def params(self) -> Any:
        """The parameters, stacked along a new leading axis of snapshots."""
        require(len(self._params) > 0, "at least one snapshot", "none: the hook has not run")
        return jax.tree.map(lambda *leaves: np.stack(leaves), *self._params)
