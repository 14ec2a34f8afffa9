"""What a training shows, from its log and its final evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, RED, scale_of
from jaxml.core.finding import Figure, Finding, Section, Table

_COLOURS = {"train": BLUE, "validation": RED}


def training_finding(
    lines: Sequence[Mapping[str, Any]], results: Mapping[str, Mapping[str, float]]
) -> Finding:
    """The curves of a run and where it ended.

    Args:
        lines: of `metrics.jsonl`: a step, the metrics of the steps before it, and of the
            validation set, where there is one.
        results: split -> metric -> value, at the end.
    """
    steps = [line["step"] for line in lines]
    curves: dict[str, dict[str, np.ndarray]] = {}
    for split in _COLOURS:
        for name in {name for line in lines for name in line.get(split) or {}}:
            values = [(line.get(split) or {}).get(name) for line in lines]
            curves.setdefault(name, {})[split] = np.array(values, dtype=float)
    judged = next(split for split in ("test", "validation", "train") if split in results)
    ends = ", ".join(f"{name} {value:.4g}" for name, value in results[judged].items())
    names = list(results[judged])
    ordered = sorted(curves, key=lambda name: (name != "loss", name))
    sections = [
        Section("Along the training", figures=[_curve(n, steps, curves[n]) for n in ordered])
    ]
    rows = [[split, *(f"{values[n]:.4g}" for n in names)] for split, values in results.items()]
    sections.append(Section("At the end", table=Table(["split", *names], rows)))
    return Finding(
        name="training",
        question="How good is the network, and would more or less training help?",
        verdict=f"{ends} on the {judged} set{_turn(steps, curves.get('loss', {}))}",
        sections=sections,
        numbers={"results": results, "steps": steps[-1] if steps else 0},
    )


def _turn(steps: Sequence[int], losses: Mapping[str, np.ndarray]) -> str:
    """Where the validation loss was least."""
    held_out = losses.get("validation", np.zeros(0))
    if not np.isfinite(held_out).any():
        return ""
    best = int(np.nanargmin(held_out))
    if best == len(held_out) - 1:
        return "; the validation loss is least at the end"
    rise = held_out[-1] / held_out[best] - 1
    at = f"step {steps[best]:,} of {steps[-1]:,}"
    return f"; the validation loss was least at {at} and is {rise:.1%} higher at the end"


def _curve(name: str, steps: Sequence[int], splits: Mapping[str, np.ndarray]) -> Figure:
    def draw(ax: Any) -> None:
        for split, values in splits.items():
            ax.plot(steps, values, color=_COLOURS[split], lw=1.2, label=split)
        ax.legend(frameon=False)
        scale = scale_of(*splits.values()) if name in ("loss", "gradient_norm") else "linear"
        ax.set(xlabel="step", ylabel=name, yscale=scale)

    ends = ", ".join(f"{values[-1]:.4g} on {split}" for split, values in splits.items())
    return Figure(draw, f"{name} by step, at last {ends}.")
