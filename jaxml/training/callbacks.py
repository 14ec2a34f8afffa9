"""Hooks: what the host does between two chunks of steps."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import operator
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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

    In a notebook it is a line that changes; where there is neither, plain lines on standard error.
    From `fit_many` it shows the median loss over the lanes. Of a metric that has not a value at
    every step the latest is shown.

    Args:
        description: what stands before the bar.
        metric: the metric shown.
        every: seconds between two plain lines, and before the first.
    """

    def __init__(
        self, description: str = "training", metric: str = "loss", *, every: float = 10.0
    ) -> None:
        self._description, self._metric, self._every = description, metric, every
        console, first = get_console(), jax.process_index() == 0
        self._notebook: Any = None
        self._show: Callable[[Chunk, str], None] = lambda *_: None
        if first and not console.is_terminal:
            self._show = self._change if console.is_jupyter else self._say
        self._said, self._at = time.monotonic(), 0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}", markup=False),
            TimeRemainingColumn(),
            transient=True,
            disable=not console.is_terminal or not first,
        )
        self._task = self._bar.add_task(description, total=None, shown="")

    def __enter__(self) -> progress:
        self._bar.start()
        self._said, self._at = time.monotonic(), 0
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        shown = ""
        if (value := _latest(chunk.metrics.get(self._metric))) is not None:
            shown = f"{self._metric} {value:.4g}"
        self._show(chunk, shown)
        if speed := self._bar.tasks[0].speed:
            shown += f"  {speed:,.0f} steps/s"
        self._bar.update(self._task, completed=chunk.step, total=chunk.last_step, shown=shown)

    def _line(self, chunk: Chunk, shown: str) -> str:
        return f"{self._description} {chunk.step:,} of {chunk.last_step:,}  {shown}".rstrip()

    def _say(self, chunk: Chunk, shown: str) -> None:
        passed = time.monotonic() - self._said
        ends = chunk.step == chunk.last_step and self._at > 0  # the last of several lines
        if passed < self._every and not ends:
            return
        rate = f"  {(chunk.step - self._at) / passed:,.0f} steps/s" if self._at else ""
        print(self._line(chunk, shown) + rate, file=sys.stderr, flush=True)
        self._said, self._at = time.monotonic(), chunk.step

    def _change(self, chunk: Chunk, shown: str) -> None:
        from IPython.display import display  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

        line = {"text/plain": self._line(chunk, shown)}
        if self._notebook is None:
            self._notebook = display(line, raw=True, display_id=True)
        else:
            self._notebook.update(line, raw=True)


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

    def score(self) -> float:
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
        patience: evaluations without improvement that are tolerated.
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
        if self.see(chunk.step, self._sign * self._watched.score()):
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
        if value is None or self._sign * value >= self._sign * self.best:
            self._waited += 1
            return False
        self.best, self.best_step, self.best_state, self._waited = value, step, None, 0
        return True


class metrics_log(contextlib.AbstractContextManager):  # noqa: N801 - used as a function
    """Write one line for each chunk: its last step, the means of its metrics, evaluations.

    Each line is on the disk before training goes on. When a run goes on from a checkpoint, the
    lines of steps that are taken again are dropped first, and so is one that was cut short. A mean
    is over the steps at which the metric has a value; what is not finite is `null`, in CSV empty.
    Of several processes the first writes.

    Args:
        path: of the file, whose folder must exist: of JSON lines, such as `metrics.jsonl`, or,
            where it ends in `.csv`, of a table with columns such as `train/loss`.
        **watched: name -> an `evaluation`, placed before this hook in the list of hooks.

    Raises:
        ValueError: at the first chunk, if the table there has other columns.
    """

    def __init__(self, path: str | Path, **watched: evaluation) -> None:
        self._path, self._watched, self._file = Path(path), watched, None
        self._length, self._digest = 0, hashlib.sha256()
        self._table = self._path.suffix.lower() == ".csv"

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
        record = _record(chunk, self._watched)
        if self._file is None:
            header = _row(["step", *_flat(record)]) if self._table else ""
            kept = _lines_until(self._path, _first_step(chunk) - 1, header)
            write_atomically(self._path, kept.encode())
            self._file = open(self._path, "ab")  # noqa: SIM115
            self._length, self._digest = len(kept.encode()), hashlib.sha256(kept.encode())
        line = f"{to_json({'step': chunk.step, **record})}\n"
        if self._table:
            values = (v if np.isfinite(v) else "" for v in _flat(record).values())
            line = _row([chunk.step, *values])
        written = line.encode()
        self._file.write(written)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._length += len(written)
        self._digest.update(written)


class tensorboard_log(contextlib.AbstractContextManager):  # noqa: N801 - used as a function
    """Write what `metrics_log` writes for TensorBoard, as scalars such as `train/loss`.

    What is not finite is left out, and so are steps that a run that goes on takes again. The extra
    `jaxml[tensorboard]` must be installed. Of several processes the first writes.

    Args:
        folder: of the event files, made if it is not there.
        **watched: as in `metrics_log`.
    """

    def __init__(self, folder: str | Path, **watched: evaluation) -> None:
        self._folder, self._watched, self._writer = Path(folder), watched, None

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        if jax.process_index() > 0:
            return
        if self._writer is None:
            from tensorboardX import SummaryWriter  # noqa: PLC0415 # pyright: ignore[reportMissingImports]

            first = _first_step(chunk)
            # a name of its own, also for a run that goes on within the same second
            suffix = f".{first}"
            self._writer = SummaryWriter(
                str(self._folder), purge_step=first, filename_suffix=suffix
            )
        for name, value in _flat(_record(chunk, self._watched)).items():
            if np.isfinite(value):
                self._writer.add_scalar(name, value, chunk.step)
        self._writer.flush()


def _first_step(chunk: Chunk) -> int:
    taken = max((np.shape(values)[-1] for values in chunk.metrics.values()), default=1)
    return chunk.step - taken + 1


def _record(chunk: Chunk, watched: Mapping[str, evaluation]) -> dict[str, dict[str, np.ndarray]]:
    """The means of a chunk's metrics, and the latest evaluations."""
    record = {"train": {name: _mean(values) for name, values in chunk.metrics.items()}}
    for name, hook in watched.items():
        seen = {k: v[-1] for k, v in hook.history.items() if k != "step"}
        record[name] = {k: np.asarray(value, float) for k, value in seen.items()}
    return record


def _flat(record: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, float]:
    """As `train/loss`; of several lanes or classes as `train/loss/0`."""
    return {
        "/".join([part, name, *map(str, at)]): float(value)
        for part, values in record.items()
        for name, array in values.items()
        for at, value in np.ndenumerate(array)
    }


def _row(values: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def logged(path: Path, step: int) -> list[dict[str, Any]]:
    """The whole lines of a log of JSON lines, up to a step."""
    return [json.loads(line) for line in _lines_until(path, step).splitlines()]


def _lines_until(path: Path, step: int, header: str = "") -> str:
    """The whole lines of a log up to a step, of a table with its header."""
    # what follows the last whole line may be of any bytes
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    lines = text.splitlines(keepends=True)
    if header and lines:
        require(lines[0] == header, f"a table with the columns {header.strip()}", lines[0].strip())
    kept = [header]
    for line in lines[1:] if header else lines:
        try:
            number = int(line.partition(",")[0]) if header else json.loads(line)["step"]
            if number > step or not line.endswith("\n"):
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
