"""What a diagnosis shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml.core.drawing import legend, styles
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.studies.topics.chapters import (
    DiagnosisStudy,
)
from jaxml.studies.topics.diagnosis import Diagnosis


@finding.register
def _(result: Diagnosis) -> Finding:
    return Finding(
        name="diagnosis",
        question="What keeps the network from an acceptable error?",
        verdict=f"{result.fault}: {'; '.join(result.because)}",
        text=[f"  try {remedy}" for remedy in result.remedies],
        numbers=vars(result),
    )


@finding.register
def _(result: DiagnosisStudy) -> Finding:
    told = finding(result.diagnosis)
    scores = [*result.scores.items()]
    scores += [(f"{name}, in training", score) for name, score in result.smaller.items()]
    rows = [[name, f"{s.error:.2%}", f"{s.examples:,}"] for name, s in scores]
    return Finding(
        name="diagnosis",
        question=told.question,
        verdict=told.verdict,
        text=told.text,
        tiles={"diagnosis": result.diagnosis.fault},
        sections=[
            Section("Errors", table=Table(["", "error", "examples"], rows)),
            Section("Along the training", figures=[_diagnosis(result)]),
        ],
        numbers={
            "diagnosis": vars(result.diagnosis),
            "scores": result.scores,
            "smaller": result.smaller,
            "best": result.best,
        },
        records=[{"split": name, **score._asdict()} for name, score in scores],
    )


def _diagnosis(result: DiagnosisStudy) -> Figure:
    """The judged network's errors along its training, and the smaller networks' at the end."""
    own = result.study.records["lane"] == result.best
    updates = np.maximum(result.study.records["updates"][own], 1)
    drawn = styles(len(result.scores) + len(result.smaller))

    def draw(ax: Any) -> None:
        for name, style in zip(result.scores, drawn, strict=False):
            key = next(
                k for k in result.study.records if k.startswith(f"{name} ") and "loss" not in k
            )
            ax.plot(
                updates, result.study.records[key][own], color=style["color"], lw=1.2,
                ls=style["linestyle"], label=name,
            )  # fmt: skip
        ends = updates[[0, -1]]
        for (name, score), look in zip(
            result.smaller.items(), drawn[len(result.scores) :], strict=True
        ):
            style = look | {"linestyle": ":", "ms": 5, "lw": 1, "label": f"{name}, in training"}
            ax.plot(ends, [score.error] * 2, **style)
        ax.set(xscale="log", xlabel="update", ylabel="error")
        legend(ax)

    told = ", ".join(f"{name} {score.error:.2%}" for name, score in result.scores.items())
    return Figure(draw, f"Errors along the training; at the end: {told}.", height=0.85)
