"""What a study of the edge of stability shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml.core.drawing import GREY, legend, scale_of, styles
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.studies.topics.chapters import (
    EdgeStudy,
)
from jaxml.studies.topics.sharpening import EDGES, Sharpening


@finding.register
def _(run: Sharpening) -> Finding:
    verdict = (
        f"{run.optimizer}, η = {run.learning_rate:g}: diverged after {len(run.losses)} updates"
    )
    if not run.diverged:
        verdict = (
            f"{run.optimizer}, η = {run.learning_rate:g}: λ_max is {run.ratio:.3f} of the "
            f"stability threshold {run.edge:.4g} over the last half"
        )
    return Finding(
        name="sharpening",
        question="Does the curvature rise to the stability threshold?",
        verdict=verdict,
        sections=[Section("Along the training", figures=edges([run]))],
        numbers={**vars(run), "ratio": run.ratio},
        records={"update": run.updates, "sharpness": run.sharpness, "residual": run.residual},
    )


@finding.register
def _(result: EdgeStudy) -> Finding:
    rows = [
        [
            loss, run.optimizer, f"{run.learning_rate:.3g}", f"{run.edge:.4g}",
            *(
                ("", "diverged", "") if run.diverged else
                (f"{run.sharpness[0]:.4g}", f"{run.ratio:.3f}", f"{run.losses[-1]:.4g}")
            ),
        ]
        for loss, runs in result.runs.items()
        for run in runs
    ]  # fmt: skip
    columns = ["loss", "optimiser", "η", "threshold", "λ_max at first", "/threshold, last half"]
    columns.append("loss at last")
    formulas = ", ".join(f"{name} {edge}" for name, edge in EDGES.items())
    runs = [run for own in result.runs.values() for run in own]
    near = sum(0.9 <= run.ratio <= 1.1 for run in runs)
    diverged = sum(run.diverged for run in runs)
    return Finding(
        name="the edge of stability",
        question="Does training over all rows rise to the sharpness at which it is just stable?",
        verdict=(
            f"{near} of {len(runs)} trainings end within 10 % of the stability threshold"
            + (f", {diverged} diverged" if diverged else "")
        ),
        text=[
            "λ_max of the loss over all rows, of Adam that of P⁻¹H, as a share of the optimiser's "
            "stability threshold (dotted): above it a step moves away from the minimum of the "
            "loss's quadratic model; arrows are beyond the border. The threshold is, by optimiser: "
            f"{formulas} (Cohen 2021). Inputs are centred."
        ],
        sections=[
            *(
                Section(f"Training over all rows, {loss}", figures=edges(own))
                for loss, own in result.runs.items()
            ),
            Section("All trainings", table=Table(columns, rows)),
        ],
        numbers={"runs": result.runs},
        records=[
            {"loss": loss, "optimizer": run.optimizer, "learning_rate": run.learning_rate}
            | {"threshold": run.edge, "ratio": run.ratio, "diverged": run.diverged}
            for loss, own in result.runs.items()
            for run in own
        ],
    )


def edges(runs: list[Sharpening]) -> list[Figure]:
    """λ_max as a share of the stability threshold along the updates, and the loss.

    Shares below 0 or above 1.5 are arrows at the border.
    """

    def share(ax: Any) -> None:
        for run, style in zip(runs, styles(len(runs)), strict=True):
            color, line = style["color"], style["linestyle"]
            values = run.sharpness / run.edge
            name = f"{run.optimizer}, η = {run.learning_rate:g}"
            ax.plot(run.updates, values, lw=1, color=color, ls=line, label=name)
            for arrow, beyond, at in (
                (r"$\uparrow$", values > 1.5, 1.47),
                (r"$\downarrow$", values < 0, 0.03),
            ):
                ax.plot(run.updates[beyond], np.full(beyond.sum(), at), ls="", marker=arrow, ms=7,
                        color=color)  # fmt: skip
        ax.axhline(1, color=GREY, lw=1, ls=":")
        ax.set(ylabel="λ_max / threshold", xlabel="update", ylim=(0, 1.5))
        legend(ax)

    def loss(ax: Any) -> None:
        for run, style in zip(runs, styles(len(runs)), strict=True):
            name = f"{run.optimizer}, η = {run.learning_rate:g}"
            ax.plot(run.losses, lw=0.8, color=style["color"], ls=style["linestyle"], label=name)
        ax.set(ylabel="loss", xlabel="update", yscale=scale_of(*(run.losses for run in runs)))
        legend(ax)

    ratios = [run.ratio for run in runs if not run.diverged]
    span = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "of none"
    ends = [float(run.losses[-1]) for run in runs if len(run.losses) and not run.diverged]
    last = f"{min(ends):.3g} to {max(ends):.3g}" if ends else "not finite"
    return [
        Figure(share, f"λ_max over the threshold, of {len(runs)} trainings: at last {span}.",
               height=0.9),
        Figure(loss, f"The losses of {len(runs)} trainings, at last {last}.", height=0.9),
    ]  # fmt: skip
