"""The pages of studies."""

from __future__ import annotations

import html

import numpy as np

from jaxml.report import study_figures
from jaxml.report.parts import section, table, tiles
from jaxml.report.tables import STEPS_COLUMNS, critical_rows, steps_row
from jaxml.studies import Findings


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
        "Medians over seeds, each judged at the rate that the other seeds chose, with bootstrap "
        "intervals in which the rates are chosen again."
    )
    if len(np.unique(study.lanes.batch_size)) > 1:
        return "Batch size", parts + _by_batch_size(result, judged) + _beside(result)
    parts += [
        section("Updates to the target", judged, study_figures.ranking(result)),
        table(STEPS_COLUMNS, [steps_row(row) for row in result.table.rows]),
        section("Every lane", "", study_figures.curves(study)),
    ]
    return "Optimisers", parts + _beside(result)


def _by_batch_size(result: Findings, judged: str) -> list[str]:
    """What there is to say of several batch sizes."""
    study = result.study
    return [
        section(
            "Updates and examples to the target",
            f"{judged} Dashed: as many examples as the smallest batch. Dotted: the fit "
            "S = S_min(1 + B_crit/B). Rings: the rate lies at the edge of its grid, so that a "
            "better one may lie beyond.",
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
            "The commonest outcome over seeds; a share where seeds differ.",
            study_figures.outcomes(result),
        ),
        section("Every lane", "", study_figures.curves(study)),
        section(
            "Under a budget",
            "The best of every batch size when all have the same number of updates, of epochs, "
            "and when all run to their end.",
            study_figures.budgets(result),
        ),
    ]


def _beside(result: Findings) -> list[str]:
    """What was looked at beside the steps."""
    parts = []
    if result.noise:
        parts.append(
            section(
                "The noise scale",
                "tr Σ/|G|² of the data set along the training of the best lanes, from the "
                "gradients of microbatches and batches, corrected for sampling without "
                "replacement. Triangles: |G|² was not told from 0, so this is a lower bound.",
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
        parts.append(
            section(
                "Sharpness at equal loss",
                text[0].upper() + text[1:],
                study_figures.sharpness(result.equal_loss),
            )
        )
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
