"""The pages of studies."""

from __future__ import annotations

import html

import numpy as np

from jaxml.report import study_figures
from jaxml.report.parts import section, table, tiles
from jaxml.report.records import Chapter
from jaxml.report.tables import STEPS_COLUMNS, critical_rows, depth_error, folds_error, steps_row
from jaxml.studies import (
    EDGES,
    DepthStudy,
    DiagnosisStudy,
    EdgeStudy,
    Findings,
    GeneralizationStudy,
    NormalizationStudy,
)
from jaxml.studies.batch_scaling.median_interval import seeds_for


def study_parts(result: Findings) -> tuple[str, list[str]]:
    """The title and the body of the page."""
    study = result.study
    hits = (study.exits == "target").sum()
    best = [row for row in result.table.rows if np.isfinite(row.steps)]
    least = min((row.steps for row in best), default=np.inf)
    parts = [
        f"<p>{len(study.lanes):,} networks of {study.size:,} parameters on {study.examples:,} "
        f"examples, each until {html.escape(str(study.target))} or its budget, in "
        f"{sum(map(len, study.programs.values()))} compiled programs: "
        f"{study.seconds['compile']:.1f} s to compile, {study.seconds['run']:.1f} s to run.</p>",
        tiles(
            {
                "lanes that hit the target": f"{hits} of {len(study.lanes)}",
                "fewest updates": f"{least:,.0f}" if best else "none hit",
                "batch sizes": " to ".join(
                    f"{size:,}"
                    for size in dict.fromkeys(
                        (study.lanes.batch_size.min(), study.lanes.batch_size.max())
                    )
                ),
                "diverged": f"{(study.exits == 'not finite').sum()}",
            }
        ),
    ]
    judged = (
        "Medians over seeds, each judged at the rate that the other seeds chose, with the wider "
        "one of two intervals: of the seeds so judged, and of all seeds at the rate that all "
        f"chose. {_how(result)}"
    )
    if len(np.unique(study.lanes.batch_size)) > 1:
        return "Batch size", parts + _by_batch_size(result, judged) + _beside(result)
    parts += [
        section("Updates to the target", judged, study_figures.ranking(result)),
        table(STEPS_COLUMNS, [steps_row(row) for row in result.table.rows]),
        section("Every lane", "", study_figures.curves(study)),
    ]
    return "Optimisers", parts + _beside(result)


def _how(result: Findings) -> str:
    """What the intervals rest on, which their number of seeds decides, see `median_interval`."""
    rows, asked = result.table.rows, result.table.confidence
    seeds = result.table.judged.shape[1]
    if seeds == 1:
        return "With one seed there is no interval."
    if seeds >= seeds_for(asked):
        return f"Each lies between two of the {seeds} seeds' numbers of steps, at {asked:.0%}."
    text = (
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


def _by_batch_size(result: Findings, judged: str) -> list[str]:
    """What there is to say of several batch sizes."""
    study = result.study
    return [
        section(
            "Updates and examples to the target",
            f"{judged} Dashed: as many examples as the smallest batch. Dotted: the fit "
            "S = S_min(1 + B_crit/B). Rings: the rate lies at the edge of its grid, so that a "
            "better one may lie beyond. Arrows: the interval has no upper end. Groups stand "
            "side by side, so that none hides another.",
            study_figures.steps(result),
        ),
        table(STEPS_COLUMNS, [steps_row(row) for row in result.table.rows]),
        "<h2>The critical batch size</h2><p>Two definitions: the hyperbola's B_crit, at which a "
        "run needs twice the fewest updates and twice the fewest examples, and the largest batch "
        "that needs at most 20 % more examples than the smallest, which under the hyperbola is "
        "about 0.2·B_crit.</p>",
        table(["optimiser", "definition", "batch size"], critical_rows(result)),
        section("The best rates", "Of each batch size.", study_figures.rates(result)),
        section(
            "Rates that hit, miss and diverge",
            "The commonest outcome over seeds; the share that hit where seeds differ.",
            study_figures.outcomes(result),
        ),
        section("Every lane", "", study_figures.curves(study)),
        section(
            "Under a budget",
            "The best of every batch size when all have the same number of updates, of examples, "
            "and when all run to their end. Lanes are measured now and then: a title with two "
            "numbers says from how many to how many the batch sizes had done at their last "
            "measurement. A lane that meets the target ends there.",
            study_figures.budgets(result),
        ),
    ]


def _beside(result: Findings) -> list[str]:
    """What was looked at beside the steps."""
    parts = []
    if result.noise or result.noise_along:
        parts.append(
            section(
                "The noise scale",
                "tr Σ/|G|² of the data set in the training of the best lanes, corrected for "
                "sampling without replacement. Along the training from the gradients of "
                "microbatches and batches; arrows: |G|² was not told from 0, so this is a lower "
                "bound. At given losses of all the training data from the gradients of single "
                "examples; means over seeds, left out where that of |G|² is not above 0.",
                study_figures.noise(result),
            )
        )
    if result.throughput:
        parts.append(
            section(
                "Time",
                "One network alone on this machine; the time to the target is updates times "
                "seconds per update.",
                study_figures.throughput(result),
            )
        )
    if result.equal_loss is not None:
        text = html.escape(str(result.equal_loss)) + "."
        text = text[0].upper() + text[1:]
        if result.equal_loss.minima:
            text += " Points: lanes; line: their median; bars: the interval of the trace at 95%."
            figure = study_figures.sharpness(result.equal_loss)
            parts.append(section("Sharpness at equal loss", text, figure))
        else:
            parts.append(f"<h2>Sharpness at equal loss</h2><p>{text}</p>")
    for name, found in result.descents.items():
        rows = [
            [optimizer, f"{rate:.3g}", why]
            for optimizer, rate, why in zip(found.names, found.rates, found.why, strict=True)
        ]
        parts.append(
            section(
                f"On a {name}",
                "Every optimiser at the rate of its grid that ends lowest, from the star.",
                study_figures.descents(name, found),
            )
        )
        parts.append(table(["optimiser", "η", "what happens"], rows))
    return parts


def chapter_parts(result: Chapter) -> tuple[str, list[str]]:
    """The title and the body of a page on one question."""
    if isinstance(result, DepthStudy):
        return "Depth", _depth(result)
    if isinstance(result, EdgeStudy):
        return "The edge of stability", _edge(result)
    if isinstance(result, GeneralizationStudy):
        return "Generalisation", _generalization(result)
    if isinstance(result, NormalizationStudy):
        return "Normalisation", _normalization(result)
    return "Diagnosis", _diagnosis(result)


def _depth(result: DepthStudy) -> list[str]:
    sizes = [d.size for d in result.depths]
    rows = [
        [
            str(len(d.widths) - 2), str(d.widths[1]), f"{d.size:,}",
            "" if np.isnan(d.learning_rate) else f"{d.learning_rate:.3g}",
            f"{d.train_loss:.4g}", depth_error(d),
        ]
        for d in result.depths
    ]  # fmt: skip
    columns = ["hidden layers", "width", "parameters", "η", "loss in training", "validation error"]
    return [
        section(
            "Deep and thin against wide and shallow",
            f"Networks of {min(sizes):,} to {max(sizes):,} parameters, each at the rate of the "
            f"lowest loss in training{_over_seeds(result)}. Right: K layers of two neurons fold "
            "the interval into 2^K linear pieces (Telgarsky 2016); one layer of as many neurons "
            "makes 2K + 1 at most.",
            study_figures.depths(result),
        ),
        table(columns, rows),
    ]


def _over_seeds(result: DepthStudy) -> str:
    """What the error bars are of."""
    most = max((d.seeds for d in result.depths), default=0)
    if most < 2:
        return ", from one seed, which tells no spread"
    return f"; errors are means over {most} seeds ± a standard error"


def _edge(result: EdgeStudy) -> list[str]:
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
    columns = [
        "loss",
        "optimiser",
        "η",
        "edge",
        "λ_max at first",
        "/edge, last half",
        "loss at last",
    ]
    formulas = ", ".join(f"{name} {edge}" for name, edge in EDGES.items())
    text = (
        "λ_max of the loss over all rows, of Adam that of P⁻¹H, as a share of what the optimiser "
        "can bear (dotted): above it a step moves away from the minimum of the loss's quadratic "
        f"model; arrows are beyond the border. The edge is, by optimiser: {formulas} (Cohen 2021). "
        "Inputs are centred."
    )
    return [
        f"<p>{text}</p>",
        *(
            section(f"Training over all rows, {loss}", "", study_figures.edges(runs))
            for loss, runs in result.ways.items()
        ),
        table(columns, rows),
    ]


def _generalization(result: GeneralizationStudy) -> list[str]:
    bad = [
        [
            f"{n:,}",
            f"{f.value:.2%}",
            f"{f.interval[0]:.2%} to {f.interval[1]:.2%}",
            f"{f.bound:.2%}",
        ]
        for n, f in result.bad.items()
    ]
    best = [
        [f"{b.models:,}", f"{b.public:.2%}", f"{b.private:.2%}", f"{b.least:.2%}"]
        for b in result.best
    ]
    folds = result.folds
    chosen = folds.lanes.learning_rate[folds.best]
    return [
        section(
            "How far a score can be trusted",
            f"Left: how often some of {result.hypotheses} thresholds is off by more than "
            f"{result.epsilon:g} on N examples, against 2|H|exp(−2Nε²), which asks for "
            f"{result.needed:,} examples to be below 5 %. Middle: untrained networks chosen by "
            f"{result.validation} examples. Right: the mean over folds and the test error; the "
            f"folds choose η = {chosen:.3g} at {folds_error(folds)}, whose test error is "
            f"{result.test[folds.best]:.2%}; bars: a standard error on either side.",
            study_figures.generalization(result),
        ),
        table(["N", "bad samples", "interval", "Hoeffding"], bad),
        table(["models", "error where chosen", "elsewhere", "least elsewhere"], best),
    ]


def _normalization(result: NormalizationStudy) -> list[str]:
    rows = [
        [
            name, f"{rate:.3g}", f"{np.mean(seen.loss[-3:]):.4g}",
            f"{np.median(seen.highest / seen.lowest):.4g}", f"{np.median(seen.lipschitz):.4g}",
            "" if np.isnan(top) else f"{top:.3g}",
        ]
        for name, ways in result.ways.items()
        for rate, seen, top in ways
    ]  # fmt: skip
    columns = ["network", "η", "loss at the end", "highest/lowest", "median β", "λ_max at the end"]
    return [
        section(
            "The surface along the gradient",
            "Steps of several sizes along the gradient at points of the training, the network as "
            "in training: the range of the loss, and β, the largest change of the gradient over "
            "the step (Santurkar 2018). λ_max is that of the loss as in training on all data.",
            study_figures.normalization(result),
        ),
        table(columns, rows),
    ]


def _diagnosis(result: DiagnosisStudy) -> list[str]:
    found = result.diagnosis
    rows = [[name, f"{s.error:.2%}", f"{s.examples:,}"] for name, s in result.scores.items()]
    rows += [
        [f"{name}, in training", f"{s.error:.2%}", f"{s.examples:,}"]
        for name, s in result.smaller.items()
    ]
    remedies = "".join(f"<li>{html.escape(remedy)}</li>" for remedy in found.remedies)
    return [
        tiles({"diagnosis": html.escape(found.fault)}),
        f"<p>{html.escape('; '.join(found.because))}.</p><ul>{remedies}</ul>",
        table(["", "error", "examples"], rows),
        section("Along the training", "", study_figures.diagnosis(result)),
    ]
