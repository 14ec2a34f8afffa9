"""What a study of depth shows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, GREEN, GREY, RED, scale_of
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.studies.topics.chapters import (
    DepthStudy,
)
from jaxml.studies.topics.depth import Depth


def depth_error(found: Depth) -> str:
    """The validation error of one depth, with the standard error over its seeds."""
    if math.isnan(found.learning_rate):
        return "none: at every rate a seed ended not finite"
    if found.seeds == 1:
        return f"{found.validation_error:.2%} (one seed)"
    return f"{found.validation_error:.2%} ± {found.error:.2%}"


@finding.register
def _(result: DepthStudy) -> Finding:
    sizes = [d.size for d in result.depths]
    names = ("widths", "size", "learning_rate", "train_loss", "validation_error", "error", "seeds")
    rows = [{name: getattr(d, name) for name in names} for d in result.depths]
    table = [
        [
            str(len(d.widths) - 2), str(d.widths[1]), f"{d.size:,}",
            "" if np.isnan(d.learning_rate) else f"{d.learning_rate:.3g}",
            f"{d.train_loss:.4g}", depth_error(d),
        ]
        for d in result.depths
    ]  # fmt: skip
    columns = ["hidden layers", "width", "parameters", "η", "loss in training", "validation error"]
    most = max((d.seeds for d in result.depths), default=0)
    seeds = (
        ", from one seed, which tells no spread"
        if most < 2
        else f"; errors are means over {most} seeds ± a standard error"
    )
    return Finding(
        name="depth",
        question="At equal parameters, is a deep and thin network better than a wide one?",
        verdict=_deepest(result),
        sections=[
            Section(
                "Deep and thin against wide and shallow",
                f"Networks of {min(sizes):,} to {max(sizes):,} parameters, each at the rate of "
                f"the lowest loss in training{seeds}. Last, K layers of two neurons fold the "
                "interval into 2^K linear pieces (Telgarsky 2016); one layer of as many neurons "
                "makes 2K + 1 at most.",
                _depth_figures(result),
                Table(columns, table),
            )
        ],
        numbers={"depths": rows, "pieces": result.pieces},
        records=rows,
    )


def _deepest(result: DepthStudy) -> str:
    """The best depth; whether its lead over the next is more than two standard errors."""
    known = sorted(
        (d for d in result.depths if np.isfinite([d.learning_rate, d.validation_error]).all()),
        key=lambda d: d.validation_error,
    )
    if not known:
        return "no depth ended finite at all seeds; next: smaller rates"
    best = known[0]
    layers = len(best.widths) - 2
    text = f"{layers} hidden layer{'s'[: layers > 1]} of {best.widths[1]}: {depth_error(best)}"
    if len(known) == 1:
        return text
    second = known[1]
    text += f", then {len(second.widths) - 2}: {depth_error(second)}"
    spread = math.hypot(best.error, second.error)
    if math.isnan(spread):
        return f"{text}; next: more seeds"
    lead = second.validation_error - best.validation_error
    far = "more" if lead > 2 * spread else "no more"
    return f"{text}; the difference is {far} than two standard errors"


def _depth_figures(result: DepthStudy) -> list[Figure]:
    layers = [len(d.widths) - 2 for d in result.depths]
    losses = [d.train_loss for d in result.depths]
    errors = [d.validation_error for d in result.depths]
    several = any(d.seeds > 1 for d in result.depths)

    def loss(ax: Any) -> None:
        ax.plot(layers, losses, "o-", ms=4, color=BLUE)
        ax.set(ylabel="loss in training", yscale=scale_of(losses), xlabel="hidden layers")
        ax.locator_params(axis="x", integer=True)

    def error(ax: Any) -> None:
        bars = [d.error if d.seeds > 1 else 0.0 for d in result.depths] if several else None
        ax.errorbar(layers, errors, yerr=bars, fmt="o-", ms=4, capsize=2, color=RED)
        seeds = "± standard error" if several else "one seed"
        ax.set(ylabel=f"validation error, {seeds}", xlabel="hidden layers")
        ax.locator_params(axis="x", integer=True)

    def pieces(ax: Any) -> None:
        ks = np.array(list(result.pieces))
        ax.plot(ks, 2.0**ks, color=GREY, lw=0.8, ls="--", label="2^K")
        ax.plot(ks, list(result.pieces.values()), "o", ms=4, color=GREEN, label="counted")
        ax.plot(ks, 2 * ks + 1, color=BLUE, lw=0.8, ls=":", label="one layer of 2K at most")
        ax.set(yscale="log", ylabel="linear pieces", xlabel="layers of two neurons, K")
        ax.locator_params(axis="x", integer=True)
        ax.legend(frameon=False)

    told = ", ".join(f"{k}: {v:.3g}" for k, v in zip(layers, losses, strict=True))
    wrong = ", ".join(f"{k}: {v:.2%}" for k, v in zip(layers, errors, strict=True))
    most = max(result.pieces, default=0)
    return [
        Figure(loss, f"Loss in training by hidden layers: {told}."),
        Figure(error, f"Validation error by hidden layers: {wrong}."),
        Figure(pieces, f"Linear pieces: {result.pieces.get(most, 0):,} with {most} layers of two."),
    ]
