"""What a study of generalisation shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, GREY, RED, scale_of
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.studies.topics.chapters import (
    GeneralizationStudy,
)
from jaxml.studies.topics.generalization import Folds


def folds_error(found: Folds) -> str:
    """The mean of the configuration chosen by cross-validation, and its standard error."""
    folds = found.scores.shape[1]
    return f"{found.mean:.2%} ± {found.error:.2%} (standard error over {folds} folds)"


@finding.register
def _(result: GeneralizationStudy) -> Finding:
    bad = [
        [
            f"{n:,}", f"{f.value:.2%}", f"{f.interval[0]:.2%} to {f.interval[1]:.2%}",
            f"{f.bound:.2%}",
        ]
        for n, f in result.bad.items()
    ]  # fmt: skip
    best = [
        [f"{b.models:,}", f"{b.public:.2%}", f"{b.private:.2%}", f"{b.least:.2%}"]
        for b in result.best
    ]
    folds = result.folds
    chosen = folds.lanes.learning_rate[folds.best]
    enough = [n for n, f in result.bad.items() if f.value <= 0.05]
    most = result.best[-1]
    verdict = (
        f"the best of {most.models:,} models errs by {most.public:.1%} where it was chosen and by "
        f"{most.private:.1%} elsewhere; "
    )
    verdict += (
        f"{min(enough):,} examples suffice for 5 % of bad samples, the bound asks for "
        if enough
        else "5 % of bad samples are not reached, the bound asks for "
    ) + f"{result.needed:,}"
    return Finding(
        name="generalisation",
        question="How far can a score on few examples be trusted?",
        verdict=verdict,
        sections=[
            Section(
                "Bad samples",
                f"How often some of {result.hypotheses} thresholds is off by more than "
                f"{result.epsilon:g} on N examples, against 2|H|exp(−2Nε²), which asks for "
                f"{result.needed:,} examples to be below 5 %.",
                [_bad(result)],
                Table(["N", "bad samples", "interval", "Hoeffding"], bad),
            ),
            Section(
                "The best of many",
                f"Untrained networks chosen by {result.validation} examples.",
                [_best(result)],
                Table(["models", "error where chosen", "elsewhere", "least elsewhere"], best),
            ),
            Section(
                "Cross-validation",
                "The mean over folds and the test error; bars: a standard error on either side. "
                f"The folds choose η = {chosen:.3g} at {folds_error(folds)}, whose test error is "
                f"{result.test[folds.best]:.2%}.",
                [_folds(result)],
            ),
        ],
        numbers={name: value for name, value in vars(result).items() if name != "folds"}
        | {"folds": {"scores": folds.scores, "mean": folds.mean, "error": folds.error}},
        records=[b._asdict() for b in result.best],
    )


def _bad(result: GeneralizationStudy) -> Figure:
    n = np.array(list(result.bad))
    shares = np.array([f.value for f in result.bad.values()])
    ends = np.array([f.interval for f in result.bad.values()]).T

    def draw(ax: Any) -> None:
        ax.errorbar(n, shares, yerr=np.abs(ends - shares), fmt="o-", ms=4, capsize=2, color=BLUE,
                    label="simulated")  # fmt: skip
        ax.plot(n, [f.bound for f in result.bad.values()], color=RED, lw=1, label="Hoeffding")
        ax.axvline(result.needed, color=GREY, lw=0.8, ls="--", label="N for 5 %")
        ax.set(ylabel="share of bad samples", xlabel="examples N", ylim=(-2e-4, 3))
        ax.set_yscale("symlog", linthresh=1e-3)
        ax.minorticks_off()
        ax.legend(frameon=False)

    return Figure(
        draw,
        f"The share of bad samples falls from {shares[0]:.2%} at N = {n[0]:,} to {shares[-1]:.2%} "
        f"at {n[-1]:,}."
        if shares[-1] < shares[0]
        else f"The share of bad samples: {shares[0]:.2%} at N = {n[0]:,}, {shares[-1]:.2%} at "
        f"{n[-1]:,}.",
    )


def _best(result: GeneralizationStudy) -> Figure:
    models = [b.models for b in result.best]

    def draw(ax: Any) -> None:
        public, private = [b.public for b in result.best], [b.private for b in result.best]
        ax.plot(models, public, "o-", ms=4, color=BLUE, label="where chosen")
        ax.plot(models, private, "s-", ms=4, color=RED, label="elsewhere")
        ax.set(xscale="log", ylabel="error of the best of many", xlabel="models")
        ax.legend(frameon=False)

    last = result.best[-1]
    return Figure(
        draw,
        f"The error of the best of {last.models:,} models: {last.public:.1%} where it was chosen, "
        f"{last.private:.1%} elsewhere.",
    )


def _folds(result: GeneralizationStudy) -> Figure:
    folds = result.folds
    means = folds.scores.mean(1)

    def draw(ax: Any) -> None:
        rates = folds.lanes.learning_rate
        spread = folds.scores.std(1, ddof=1) / np.sqrt(folds.scores.shape[1])
        ax.errorbar(rates, means, yerr=spread, fmt="o-", ms=4, capsize=2, color=BLUE, label="folds")
        ax.plot(rates, result.test, "s--", ms=4, color=RED, label="test")
        ax.set(xscale="log", yscale=scale_of(means, result.test), ylabel="error", xlabel="η")
        ax.legend(frameon=False)

    return Figure(
        draw,
        f"Mean error over folds of {len(means)} rates, {np.nanmin(means):.2%} at the best, beside "
        "the test error.",
    )
