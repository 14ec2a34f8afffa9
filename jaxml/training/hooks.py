"""Hooks: what the host does between two chunks of steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxml.checks import require, require_choice, require_positive_int
from jaxml.training.loop import Chunk


class progress(contextlib.AbstractContextManager):  # noqa: N801 - used as a function
    """A progress bar with the loss, the rate and the time left; of several processes the first's.

    From `fit_many` it shows the median loss over the lanes.

    Args:
        description: what stands before the bar.
        metric: the metric shown.
    """

    def __init__(self, description: str = "training", metric: str = "loss") -> None:
        self._metric = metric
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}"),
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
        if self._metric in chunk.metrics:
            shown = f"{self._metric} {np.median(chunk.metrics[self._metric][..., -1]):.4g}"
        if speed := self._bar.tasks[0].speed:
            shown += f"  {speed:,.0f} steps/s"
        self._bar.update(self._task, completed=chunk.step, total=chunk.last_step, shown=shown)


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


class early_stopping:  # noqa: N801 - used as a function
    """End the run when an evaluation no longer improves, and keep the best state.

    Args:
        watched: an `evaluation`, placed before this hook in the list of hooks.
        metric: which of its values.
        patience: evaluations without improvement that are borne.
        mode: `"min"` where small is good, `"max"` where large is.

    Attributes:
        best: the best value so far, infinite before the first.
        best_step: when it was seen.
        best_state: the state then.
    """

    def __init__(
        self, watched: evaluation, metric: str = "loss", *, patience: int = 5, mode: str = "min"
    ) -> None:
        self._watched, self._metric = watched, metric
        self._patience = require_positive_int("patience", patience)
        self._sign = 1 if require_choice("mode", mode, ["min", "max"]) == "min" else -1
        self._waited = 0
        self.best, self.best_step, self.best_state = self._sign * math.inf, 0, None

    def __call__(self, chunk: Chunk) -> bool:
        """See `Hook`."""
        known = [name for name in self._watched.history if name != "step"]
        require(self._metric in known, f"a metric among {known}", repr(self._metric))
        value = self._watched.history[self._metric][-1]
        if self._sign * value < self._sign * self.best:
            self.best, self.best_step, self.best_state = value, chunk.step, chunk.state
            self._waited = 0
        else:
            self._waited += 1
        return self._waited >= self._patience


class snapshots:  # noqa: N801 - used as a function
    """Keep the parameters after each chunk, for `landscape.follow`.

    Attributes:
        steps: when.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self._params: list[Any] = []

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        self.steps.append(chunk.step)
        self._params.append(chunk.state.params)

    @property
    def params(self) -> Any:
        """The parameters, stacked along a new leading axis of snapshots."""
        require(len(self._params) > 0, "at least one snapshot", "none: the hook has not run")
        return jax.tree.map(lambda *leaves: np.stack(leaves), *self._params)
