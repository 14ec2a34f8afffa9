"""What a study of normalisation shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml.core.drawing import legend, scale_of, styles
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.studies.topics.chapters import (
    NormalizationStudy,
)


@finding.register
def _(result: NormalizationStudy) -> Finding:
    rows = [
        {
            "network": name,
            "learning_rate": rate,
            "loss": float(np.mean(seen.loss[-3:])),
            "range": float(np.median(seen.highest / seen.lowest)),
            "lipschitz": float(np.median(seen.lipschitz)),
            "sharpness": top,
        }
        for name, runs in result.runs.items()
        for rate, seen, top in runs
    ]
    table = [
        [
            row["network"], f"{row['learning_rate']:.3g}", f"{row['loss']:.4g}",
            f"{row['range']:.4g}", f"{row['lipschitz']:.4g}",
            "" if np.isnan(row["sharpness"]) else f"{row['sharpness']:.3g}",
        ]
        for row in rows
    ]  # fmt: skip
    columns = ["network", "η", "loss at the end", "highest/lowest", "median β", "λ_max at the end"]
    told = []
    for name in result.runs:
        own = [r for r in rows if r["network"] == name and np.isfinite(r["loss"])]
        tolerated = f"to η = {max(r['learning_rate'] for r in own):.3g}" if own else "at no rate"
        least = f", loss {min(r['loss'] for r in own):.3g} at best" if own else ""
        told.append(f"{name} is finite {'up ' if own else ''}{tolerated}{least}")
    return Finding(
        name="normalisation",
        question="Does a normalisation make the surface smoother and larger rates possible?",
        verdict="; ".join(told),
        sections=[
            Section(
                "The surface along the gradient",
                "Steps of several sizes along the gradient at points of the training, the network "
                "as in training: the range of the loss, and β, the largest change of the gradient "
                "over the step (Santurkar 2018). λ_max is that of the loss as in training on all "
                f"data. The first two at η = {_common(result):g}.",
                _normalization_figures(result),
                Table(columns, table),
            )
        ],
        numbers={
            "runs": {
                name: [
                    {"learning_rate": rate, "sharpness": top}
                    | {n: v for n, v in vars(seen).items() if n not in ("params", "model_state")}
                    for rate, seen, top in runs
                ]
                for name, runs in result.runs.items()
            }
        },
        records=rows,
    )


def _common(result: NormalizationStudy) -> float:
    """The rate at which the worst network's loss is the least.

    Where at every rate some network's loss is not finite, the smallest.
    """
    worst: dict[float, float] = {}
    for runs in result.runs.values():
        for rate, seen, _ in runs:
            end = float(np.mean(seen.loss[-3:]))
            worst[rate] = max(worst.get(rate, 0.0), end if np.isfinite(end) else np.inf)
    return min(worst, key=lambda rate: (worst[rate], rate))


def _normalization_figures(result: NormalizationStudy) -> list[Figure]:
    """The loss along the gradient and its smoothness at one rate, and the losses at the end."""
    common = _common(result)
    looks = dict(zip(result.runs, styles(len(result.runs)), strict=True))
    at = {
        name: next((seen for rate, seen, _ in runs if rate == common), None)
        for name, runs in result.runs.items()
    }
    seen = {name: one for name, one in at.items() if one is not None}

    def band(ax: Any) -> None:
        for name, one in seen.items():
            color, line = looks[name]["color"], looks[name]["linestyle"]
            ax.fill_between(one.updates, one.lowest, one.highest, color=color, alpha=0.25)
            ax.plot(one.updates, one.loss, color=color, ls=line, lw=1, label=name)
        ax.set(ylabel="loss along the gradient", xlabel="update")
        ax.set_yscale(scale_of(*(v for one in seen.values() for v in (one.loss, one.lowest))))
        legend(ax)

    def smooth(ax: Any) -> None:
        for name, one in seen.items():
            color, line = looks[name]["color"], looks[name]["linestyle"]
            ax.plot(one.updates, one.lipschitz, color=color, ls=line, lw=1, label=name)
        ax.set(ylabel="effective smoothness β", xlabel="update")
        ax.set_yscale(scale_of(*(one.lipschitz for one in seen.values())))
        legend(ax)

    def ends(ax: Any) -> None:
        shown = []
        for name, runs in result.runs.items():
            shown.append([np.mean(one.loss[-3:]) for _, one, _ in runs])
            ax.plot([rate for rate, _, _ in runs], shown[-1], **looks[name], ms=4, label=name)
        ax.set(xscale="log", yscale=scale_of(*shown), ylabel="loss at the end", xlabel="η")
        legend(ax)

    medians = ", ".join(f"{n} {np.median(one.lipschitz):.3g}" for n, one in seen.items())
    lasts = ", ".join(f"{n} {np.mean(one.loss[-3:]):.3g}" for n, one in seen.items())
    return [
        Figure(band, f"The range of the loss along the gradient at η = {common:g}, by update."),
        Figure(smooth, f"The effective smoothness at η = {common:g}; medians: {medians}."),
        Figure(ends, f"The loss at the end by rate; at η = {common:g}: {lasts}."),
    ]
