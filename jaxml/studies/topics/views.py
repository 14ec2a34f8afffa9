"""What the studies of one question show."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, GREEN, GREY, RED, legend, scale_of, styles
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.studies.topics.chapters import (
    DepthStudy,
    DiagnosisStudy,
    EdgeStudy,
    GeneralizationStudy,
    NormalizationStudy,
)
from jaxml.studies.topics.depth import Depth
from jaxml.studies.topics.diagnosis import Diagnosis
from jaxml.studies.topics.generalization import Folds
from jaxml.studies.topics.sharpening import EDGES, Sharpening


def depth_error(found: Depth) -> str:
    """The validation error of one depth, with the standard error over its seeds."""
    if math.isnan(found.learning_rate):
        return "none: at every rate a seed ended not finite"
    if found.seeds == 1:
        return f"{found.validation_error:.2%} (one seed)"
    return f"{found.validation_error:.2%} ± {found.error:.2%}"


def folds_error(found: Folds) -> str:
    """The mean of the configuration chosen by cross-validation, and its standard error."""
    folds = found.scores.shape[1]
    return f"{found.mean:.2%} ± {found.error:.2%} (standard error over {folds} folds)"


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
        for loss, runs in result.ways.items()
        for run in runs
    ]  # fmt: skip
    columns = ["loss", "optimiser", "η", "threshold", "λ_max at first", "/threshold, last half"]
    columns.append("loss at last")
    formulas = ", ".join(f"{name} {edge}" for name, edge in EDGES.items())
    runs = [run for own in result.ways.values() for run in own]
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
                for loss, own in result.ways.items()
            ),
            Section("All trainings", table=Table(columns, rows)),
        ],
        numbers={"ways": result.ways},
        records=[
            {"loss": loss, "optimizer": run.optimizer, "learning_rate": run.learning_rate}
            | {"threshold": run.edge, "ratio": run.ratio, "diverged": run.diverged}
            for loss, own in result.ways.items()
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
        for name, ways in result.ways.items()
        for rate, seen, top in ways
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
    for name in result.ways:
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
            "ways": {
                name: [
                    {"learning_rate": rate, "sharpness": top}
                    | {n: v for n, v in vars(seen).items() if n not in ("params", "model_state")}
                    for rate, seen, top in ways
                ]
                for name, ways in result.ways.items()
            }
        },
        records=rows,
    )


def _common(result: NormalizationStudy) -> float:
    """The rate at which the worst network's loss is the least.

    Where at every rate some network's loss is not finite, the smallest.
    """
    worst: dict[float, float] = {}
    for ways in result.ways.values():
        for rate, seen, _ in ways:
            end = float(np.mean(seen.loss[-3:]))
            worst[rate] = max(worst.get(rate, 0.0), end if np.isfinite(end) else np.inf)
    return min(worst, key=lambda rate: (worst[rate], rate))


def _normalization_figures(result: NormalizationStudy) -> list[Figure]:
    """The loss along the gradient and its smoothness at one rate, and the losses at the end."""
    common = _common(result)
    looks = dict(zip(result.ways, styles(len(result.ways)), strict=True))
    at = {
        name: next((seen for rate, seen, _ in ways if rate == common), None)
        for name, ways in result.ways.items()
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
        for name, ways in result.ways.items():
            shown.append([np.mean(one.loss[-3:]) for _, one, _ in ways])
            ax.plot([rate for rate, _, _ in ways], shown[-1], **looks[name], ms=4, label=name)
        ax.set(xscale="log", yscale=scale_of(*shown), ylabel="loss at the end", xlabel="η")
        legend(ax)

    medians = ", ".join(f"{n} {np.median(one.lipschitz):.3g}" for n, one in seen.items())
    lasts = ", ".join(f"{n} {np.mean(one.loss[-3:]):.3g}" for n, one in seen.items())
    return [
        Figure(band, f"The range of the loss along the gradient at η = {common:g}, by update."),
        Figure(smooth, f"The effective smoothness at η = {common:g}; medians: {medians}."),
        Figure(ends, f"The loss at the end by rate; at η = {common:g}: {lasts}."),
    ]


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
