"""What a training shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, scale_of
from jaxml.core.finding import Figure, Finding, Section, finding
from jaxml.core.types import Run
from jaxml.core.words import counted

# points of a curve; a longer one is drawn by means over as many stretches
_POINTS = 400


@finding.register
def _(run: Run) -> Finding:
    history = {name: np.asarray(values, float) for name, values in run.history.items()}
    steps = max((values.shape[-1] for values in history.values()), default=0)
    lanes = {len(values) for values in history.values() if values.ndim == 2}
    records: dict[str, Any] = {}
    if history and not lanes:
        records = {"step": np.arange(1, steps + 1)} | history
    elif history:
        count = max(lanes)
        records = {"lane": np.repeat(np.arange(count), steps)}
        records["step"] = np.tile(np.arange(1, steps + 1), count)
        records |= {name: values.ravel() for name, values in history.items()}
    return Finding(
        name="training",
        question="How far does the training come?",
        verdict="; ".join(_outcome(name, values) for name, values in history.items())
        or "no metric was recorded",
        text=[counted(steps, "step") + (f" of {counted(max(lanes), 'lane')}" if lanes else "")],
        sections=[
            Section("Along the training", figures=[_curve(n, v) for n, v in history.items()])
        ],
        numbers={"config": run.config, "history": history},
        records=records,
    )


def _outcome(name: str, values: np.ndarray) -> str:
    """A metric's first and last value, of several lanes the span of the last."""
    known = np.isfinite(values)
    if not known.any():
        return f"{name} has no value"
    if values.ndim == 1:
        first, *_, last = np.repeat(values[known], 2)
        return f"{name} {first:.4g} → {last:.4g}"
    ends = values[:, -1]
    least, most = np.nanmin(ends), np.nanmax(ends)
    return f"{name} at last {least:.4g} to {most:.4g} over {counted(len(ends), 'lane')}"


def _curve(name: str, values: np.ndarray) -> Figure:
    """A metric by step: one line, or of lanes the median and the range."""
    lanes = np.atleast_2d(values)
    stretch = -(-lanes.shape[1] // _POINTS)
    edges = np.arange(0, lanes.shape[1], stretch)
    counts = np.add.reduceat(np.isfinite(lanes), edges, axis=1)
    sums = np.add.reduceat(np.where(np.isfinite(lanes), lanes, 0), edges, axis=1)
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    at = np.minimum(edges + stretch, lanes.shape[1])
    means, at = means[:, (counts > 0).any(0)], at[(counts > 0).any(0)]

    def draw(ax: Any) -> None:
        middle = np.nanmedian(means, axis=0) if len(at) else np.zeros(0)
        ax.plot(at, middle, color=BLUE, lw=1.2, label="median" if len(lanes) > 1 else None)
        if len(lanes) > 1:
            ax.fill_between(at, np.nanmin(means, 0), np.nanmax(means, 0), color=BLUE, alpha=0.25,
                            lw=0, label=f"range of {len(lanes)} lanes")  # fmt: skip
            ax.legend(frameon=False)
        known = means[np.isfinite(means)]
        wide = known.size > 0 and known.max() > 10 * known.min()
        label = f"{name}, means over {stretch} steps" if stretch > 1 else name
        ax.set(xlabel="step", ylabel=label, yscale=scale_of(known) if wide else "linear")

    return Figure(draw, f"{_outcome(name, values)}, over {lanes.shape[1]:,} steps.")
