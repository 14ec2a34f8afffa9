"""What results about the batch size show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, GREEN, GREY
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.core.words import counted
from jaxml.studies.batch_scaling.critical_batch_size import CriticalBatchSize, fit_hyperbola
from jaxml.studies.batch_scaling.median_interval import seeds_for
from jaxml.studies.batch_scaling.noise_scale import NoiseScale
from jaxml.studies.batch_scaling.pictures import (
    budgets,
    examples,
    noise,
    outcomes,
    ranking,
    rates,
    sharpness,
    throughput,
    updates,
)
from jaxml.studies.batch_scaling.sharpness_at_equal_loss import EqualLoss
from jaxml.studies.batch_scaling.steps_to_target import Steps, StepsTable
from jaxml.studies.batch_scaling.summary import Findings
from jaxml.studies.sweep.views import curves, descents_table, falls, named, paths

# what larger batches may save before they are recommended
_WORTH = 0.2
_COLUMNS = (
    *("optimiser", "β", "B", "best η", "updates", "interval", "epochs", "hit", "diverged"),
    "notes",
)


def steps_row(row: Steps) -> list[str]:
    """Steps to target of one batch size."""

    def number(value: float) -> str:
        return f"{value:,.0f}" if np.isfinite(value) else "∞"

    return [
        row.optimizer,
        f"{row.momentum:g}",
        f"{row.batch_size:,}",
        f"{row.learning_rate:.3g}" if row.hits else "",
        number(row.steps),
        # one seed tells none
        "" if np.isnan(row.level) else f"{number(row.low)} to {number(row.high)} ({row.level:.0%})",
        f"{row.epochs:.3g}" if np.isfinite(row.epochs) else "",
        f"{row.hits:.0%}",
        f"{row.diverged:.0%}",
        "; ".join(row.flags),
    ]


def steps_table(table: StepsTable) -> Table:
    """Steps to target of all batch sizes."""
    return Table(_COLUMNS, [steps_row(row) for row in table.rows])


def advice(table: StepsTable) -> str:
    """What to use: the smallest batch that no larger one beats by a fifth of its updates.

    Of its configurations that with the fewest updates, at the rate chosen on all seeds.
    """
    known = [row for row in table.rows if np.isfinite(row.steps)]
    if not known:
        return (
            "no configuration hits the target; next: a larger budget, other rates, another target"
        )
    sizes = sorted({row.batch_size for row in table.rows})
    best = [
        min((row for row in known if row.batch_size == size), key=lambda row: row.steps)
        for size in sorted({row.batch_size for row in known})
    ]
    use = next(
        row
        for i, row in enumerate(best)
        if all(later.steps > (1 - _WORTH) * row.steps for later in best[i + 1 :])
    )
    text = f"use {use.optimizer}, B = {use.batch_size:,}, η = {use.learning_rate:.3g}"
    text += f", β = {use.momentum:g}" if use.momentum else ""
    text += f": {use.steps:,.0f} updates"
    if len(sizes) > 1:
        if use.batch_size == sizes[-1]:
            text += "; it is the largest batch tried: try larger ones"
        elif use is best[-1]:
            text += "; larger batches miss the target"
        else:
            text += f"; larger batches save under {_WORTH:.0%}"
    else:
        others = sorted(row.steps for row in known if row is not use)
        if others:
            text += f"; the next best takes {others[0] / use.steps:.3g} times as many"
    if not use.interior and "one rate" not in use.flags:
        text += "; its rate is at the edge of the grid: widen the grid"
    return text


@finding.register
def _(table: StepsTable) -> Finding:
    return Finding(
        name="steps to target",
        question="Which batch size and rate reach the target in the fewest updates?",
        verdict=advice(table),
        sections=[
            Section(
                "Updates to the target",
                figures=[ranking(table)],
                table=steps_table(table),
            )
        ],
        numbers={"steps": table.rows, "confidence": table.confidence},
        records=[row._asdict() for row in table.rows],
    )


@finding.register
def _(fit: CriticalBatchSize) -> Finding:
    stated = stated_size(fit)
    next_ = "" if fit.identified else "; next: more batch sizes, more seeds"
    hyperbola = fit.identified and not math.isnan(fit.least_steps)
    figures = []
    if hyperbola:

        def draw(ax: Any) -> None:
            sizes = np.geomspace(fit.value / 30, 30 * fit.value, 100)
            ax.plot(sizes, fit.steps(sizes), color=BLUE, label="S_min(1 + B_crit/B)")
            ax.axvline(fit.value, color=GREY, ls="--", lw=0.8, label="B_crit")
            if np.isfinite(fit.interval).all():
                ax.axvspan(*fit.interval, color=GREY, alpha=0.2, lw=0)
            ax.axhline(fit.least_steps, color=GREEN, ls=":", label="S_min")
            ax.set(xscale="log", yscale="log", xlabel="batch size B", ylabel="updates S")
            ax.legend(frameon=False)

        figures = [Figure(draw, f"The fitted hyperbola, which bends at B = {fit.value:.3g}.")]
    return Finding(
        name="critical batch size",
        question="Up to which batch size do more examples an update save updates?",
        verdict=f"B_crit {stated}{next_}",
        sections=[Section("The fit", figures=figures)] if figures else [],
        numbers={**vars(fit), "identified": fit.identified},
        records=[vars(fit)],
    )


def stated_size(fit: CriticalBatchSize) -> str:
    """The batch size with its interval, or why it is not identified."""

    def stated(interval: tuple[float, float]) -> str:
        if math.isnan(interval[0]):
            return "(too few seeds for an interval)"
        level = "" if math.isnan(fit.level) else f" ({fit.level:.0%})"
        return f"[{interval[0]:.4g}, {interval[1]:.4g}]{level}"

    if not fit.identified:
        return f"not identified: {'; '.join(fit.flags)}"
    text = f"{fit.value:.4g} {stated(fit.interval)}"
    if math.isnan(fit.least_steps):
        return text
    return f"{text}, S_min {fit.least_steps:.4g} {stated(fit.least_steps_interval)}"


@finding.register
def _(scale: NoiseScale) -> Finding:
    low, high = scale.interval
    text = f"B_simple {scale.simple:.4g} [{low:.4g}, {high:.4g}]"
    if not scale.resolved:
        text = f"B_simple unresolved (at least {low:.4g})"
    if scale.noise is not None:
        text += f", B_noise {scale.noise:.4g} ± {scale.noise_error:.2g}"
    return Finding(
        name="noise scale",
        question="How large is a batch whose gradient is as much noise as signal?",
        verdict=f"{text} of the {scale.of}: tr Σ {scale.trace:.4g}, |G|² {scale.gradient:.4g}"
        + ("" if scale.resolved else "; next: a larger sample"),
        numbers={**vars(scale), "resolved": scale.resolved},
        records=[vars(scale)],
    )


@finding.register
def _(result: EqualLoss) -> Finding:
    def stated(value: float) -> str:
        return f"{value:.4g}" if np.isfinite(value) else "none"

    rows = [
        [
            f"{m.batch_size:,}", str(m.seed), f"{m.updates:,}",
            stated(m.sharpness.largest_eigenvalue), m.sharpness.stated_trace,
            stated(m.sharpness.keskar), stated(m.edge),
        ]
        for m in result.minima
    ]  # fmt: skip
    columns = ["B", "seed", "updates", "λ_max", "trace", "Keskar's φ, %", "λ_max/edge"]
    text = "Points: lanes; line: their median; bars: the interval of the trace at 95%."
    return Finding(
        name="sharpness at equal loss",
        question="Are the minima of large batches sharper?",
        verdict=_equal(result),
        sections=[Section("Measures of sharpness", text, sharpness(result), Table(columns, rows))]
        if result.minima
        else [],
        numbers={
            "loss": result.loss,
            "missed": result.missed,
            "rank": result.rank,
            "p_value": result.p_value,
            "minima": [m._asdict() | {"sharpness": vars(m.sharpness)} for m in result.minima],
        },
        records=[
            {"batch_size": m.batch_size, "seed": m.seed, "updates": m.updates, "edge": m.edge}
            | {n: v for n, v in vars(m.sharpness).items() if isinstance(v, float | bool)}
            for m in result.minima
        ],
    )


def _equal(result: EqualLoss) -> str:
    if not result.minima:
        return f"no lane met a training loss of {result.loss:g}: {result.missed:,} missed it"
    sharp = [m.sharpness for m in result.minima]
    left = sum(not s.converged for s in sharp)
    unsure = f", in {left} λ_max did not converge" if left else ""
    return (
        f"at a training loss of {result.loss:g}: {result.ranked}; "
        f"{counted(len(sharp), 'lane')}{unsure}, {result.missed} missed the loss"
    )


@finding.register
def _(result: Findings) -> Finding:
    study = result.study
    hits = (study.exits == "target").sum()
    steps = [row.steps for row in result.table.rows if np.isfinite(row.steps)]
    sizes = np.unique(study.lanes.batch_size)
    several = len(sizes) > 1
    return Finding(
        name="batch size" if several else "optimisers",
        question=f"How does one come to {study.target} in the fewest updates?",
        verdict=advice(result.table),
        text=[
            f"{counted(len(study.lanes), 'network')} of {study.size:,} parameters on "
            f"{study.examples:,} examples, each until {study.target} or its budget, in "
            f"{counted(sum(map(len, study.programs.values())), 'compiled program')}: "
            f"{study.seconds['compile']:.1f} s to compile, {study.seconds['run']:.1f} s to run."
        ],
        tiles={
            "lanes that hit the target": f"{hits} of {len(study.lanes)}",
            "fewest updates": f"{min(steps):,.0f}" if steps else "none hit",
            "batch sizes": " to ".join(f"{s:,}" for s in dict.fromkeys(sizes[[0, -1]].tolist())),
            "diverged": f"{(study.exits == 'not finite').sum()}",
        },
        sections=[*(_by_batch_size if several else _by_optimizer)(result), *_beside(result)],
        numbers=_numbers(result),
        records=[row._asdict() for row in result.table.rows],
    )


def _numbers(result: Findings) -> dict[str, Any]:
    def of_groups(of: dict[tuple[str, float], Any]) -> list[dict[str, Any]]:
        return [
            {"optimizer": name, "momentum": momentum, **vars(found)}
            for (name, momentum), found in of.items()
        ]

    numbers: dict[str, Any] = {
        "target": result.study.target,
        "steps": result.table.rows,
        "hyperbola": of_groups(result.hyperbola),
        "overhead": of_groups(result.overhead),
        "noise_scale": {
            size: [{"loss": loss, **vars(scale)} for loss, scale in points]
            for size, points in result.noise.items()
        },
        "noise_along": result.noise_along,
        "throughput": result.throughput,
        "published": result.published,
        "descents": {
            surface: finding(found).numbers["optimizers"]
            for surface, found in result.descents.items()
        },
    }
    if result.equal_loss is not None:
        numbers["equal_loss"] = finding(result.equal_loss).numbers
    return numbers


def _judged(result: Findings) -> str:
    """What the numbers of steps are, and what their intervals rest on, see `median_interval`."""
    rows, asked = result.table.rows, result.table.confidence
    seeds = result.table.judged.shape[1]
    text = (
        "Medians over seeds, each judged at the rate that the other seeds chose, with the wider "
        "one of two intervals: of the seeds so judged, and of all seeds at the rate that all "
        "chose. "
    )
    if seeds == 1:
        return f"{text}With one seed there is no interval."
    if seeds >= seeds_for(asked):
        return (
            f"{text}Each lies between two of the {seeds} seeds' numbers of steps, at {asked:.0%}."
        )
    text += (
        f"{seeds} seeds are too few for an interval that supposes nothing ({seeds_for(asked)} at "
        f"{asked:.0%}): where all hit, it is Student's of the logarithms of the steps, which "
        "supposes that these are log-normal"
    )
    if any(row.level < asked for row in rows):
        text += (
            "; where some miss, it is from the least to the largest, at the level that the table "
            "states"
        )
    return f"{text}."


def _by_optimizer(result: Findings) -> Iterator[Section]:
    shown = steps_table(result.table)
    yield Section("Updates to the target", _judged(result), [ranking(result.table)], shown)
    yield Section(
        "Along the training",
        "Of each optimiser the lane that ended best.",
        [curves(result.study)],
    )


def _by_batch_size(result: Findings) -> Iterator[Section]:
    """What there is to say of several batch sizes."""
    yield Section(
        "Updates and examples to the target",
        f"{_judged(result)} Dashed: as many examples as the smallest batch. Dotted: the fit "
        "S = S_min(1 + B_crit/B). Rings: the rate lies at the edge of its grid, so that a "
        "better one may lie beyond. Arrows: the interval has no upper end. Groups stand "
        "side by side, so that none hides another.",
        [updates(result), examples(result)],
        steps_table(result.table),
    )
    yield Section(
        "The critical batch size",
        "Two definitions: the hyperbola's B_crit, at which a run needs twice the fewest updates "
        "and twice the fewest examples, and the largest batch that needs at most 20 % more "
        "examples than the smallest, which under the hyperbola is about 0.2·B_crit.",
        table=Table(["optimiser", "definition", "batch size"], critical_rows(result)),
    )
    yield Section("The best rates", "Of each batch size.", [rates(result)])
    yield Section(
        "Rates that hit, miss and diverge",
        "The commonest outcome over seeds; the share that hit where seeds differ.",
        outcomes(result),
    )
    yield Section(
        "Along the training",
        "Of each batch size the lane that ended best.",
        [curves(result.study)],
    )
    yield Section(
        "Under a budget",
        "The best of every batch size when all have the same number of updates, of examples, "
        "and when all run to their end. Lanes are measured now and then: a budget of two "
        "numbers says from how many to how many the batch sizes had done at their last "
        "measurement. A lane that meets the target ends there.",
        budgets(result),
    )


def critical_rows(result: Findings) -> list[list[str]]:
    """The critical batch sizes of every optimiser: name, definition, value."""
    rows = []
    for group, fit in result.hyperbola.items():
        rows.append([named(*group), "hyperbola", stated_size(fit)])
        rows.append([named(*group), "20 % overhead", stated_size(result.overhead[group])])
    if result.published is not None:
        fit = fit_hyperbola(result.published.batch_sizes, result.published.steps)
        name = f"{result.published.name}, {result.published.what}"
        rows.append([name, "hyperbola", stated_size(fit)])
    return rows


def _beside(result: Findings) -> Iterator[Section]:
    """What was looked at beside the steps."""
    if result.noise or result.noise_along:
        yield Section(
            "The noise scale",
            "tr Σ/|G|² of the data set in the training of the best lanes, corrected for "
            "sampling without replacement. Along the training from the gradients of "
            "microbatches and batches; arrows: |G|² is not statistically distinguishable from 0, "
            "so this is a lower bound. At given losses of all the training data from the gradients "
            "of single examples; means over seeds, left out where that of |G|² is not above 0.",
            noise(result),
        )
    if result.throughput:
        yield Section(
            "Time",
            "One network alone on this machine; the time to the target is updates times "
            "seconds per update.",
            throughput(result),
        )
    if result.equal_loss is not None:
        shown = finding(result.equal_loss)
        own = shown.sections[0] if shown.sections else Section("")
        text = f"{shown.verdict[:1].upper()}{shown.verdict[1:]}. {own.text}".rstrip()
        yield own._replace(title="Sharpness at equal loss", text=text)
    for name, found in result.descents.items():
        shown = finding(found)
        yield Section(
            f"On a {name}",
            f"{shown.verdict[:1].upper()}{shown.verdict[1:]}. Every optimiser at the rate of its "
            "grid that ends lowest, from the star.",
            [paths(name, found), falls(found)],
            descents_table(found),
        )
