"""Rows of tables, the same for the terminal and for the page: text in every cell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxml.landscape import Analysis, Eigenpairs, Exploration, Found, LayerEnds, Sharpness
from jaxml.studies import Depth, Findings, Folds, Steps, fit_hyperbola
from jaxml.studies.topics.staircase import Level

STAIRCASE_COLUMNS = (
    "width",
    "minima",
    "loss",
    "saddles",
    "index",
    "predicted",
    "lowest λ",
    "off by",
)


def _range(values: Sequence[Any], form: str) -> str:
    texts = [format(min(values), form), format(max(values), form)]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


def staircase_row(level: Level) -> list[str]:
    """One width of the staircase: its minima, and the saddles that dead units make of them.

    Minima and saddles are those certified, of all; `off by` is the largest difference between the
    predicted and the measured spectrum.
    """
    minima, saddles = level.minima, level.saddles
    row = [
        str(level.width),
        f"{sum(m.certified and m.kind == 'minimum' for m in minima)} of {len(minima)}",
        _range([m.loss for m in minima], ".4f"),
    ]
    if not saddles:
        return row + [""] * (len(STAIRCASE_COLUMNS) - len(row))
    return [
        *row,
        f"{sum(s.measured.certified and s.measured.kind == 'saddle' for s in saddles)} "
        f"of {len(saddles)}",
        _range([s.measured.index for s in saddles], "d"),
        _range([s.predicted.index for s in saddles], "d"),
        _range([s.measured.eigenvalues[0] for s in saddles], ".4f"),
        f"{max(s.spectrum_error for s in saddles):.0e}",
    ]


def ending_rows(found: Sequence[Found]) -> list[list[str]]:
    """How many searches ended where: ending, count, losses, gradient norms."""
    rows = []
    for ending, count in Counter(f.ending for f in found).most_common():
        ends = [f.search for f in found if f.ending == ending]
        norms = [float(end.gradient_norm) for end in ends]
        rows.append(
            [ending, str(count), _range([float(e.loss) for e in ends], ".4g"), _range(norms, ".0e")]
        )
    return rows


def stated_index(point: Analysis) -> str:
    """How many eigenvalues are negative: those within the tolerance may be."""
    least, within = point.counts.negative, point.counts.within
    most = f" to {least + within:,}" if within else ""
    return f"{least:,}{most} of {point.size:,}"


def analysis_rows(point: Analysis) -> list[list[str]]:
    """One point, a line for each figure."""
    modes = [["modes of symmetries", f"{point.symmetry_modes:,}"]] if point.symmetry_modes else []
    return [
        ["kind", f"{point.kind}{' (certified)' if point.certified else ''}"],
        ["loss", f"{point.loss:.10g}"],
        ["gradient norm", f"{point.gradient_norm:.3e}"],
        ["critical up to", f"{point.gradient_tolerance:.3e}"],
        ["index", stated_index(point)],
        *modes,
        ["negative", f"{point.counts.negative:,}"],
        ["within tolerance", f"{point.counts.within:,}"],
        ["positive", f"{point.counts.positive:,}"],
        ["minimum ratio", f"{point.minimum_ratio:.4f}"],
        ["tolerance", f"{point.tolerance:.3e}"],
        ["lowest eigenvalue", f"{point.eigenvalues[0]:.6g}"],
        ["highest eigenvalue", f"{point.eigenvalues[-1]:.6g}"],
        [
            "distance to the critical point",
            "" if np.isnan(point.distance) else f"{point.distance:.1e}",
        ],
        ["a descent", "found" if point.descent is not None else "not found"],
        ["precision", str(point.dtype)],
    ]


def exploration_rows(result: Exploration) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the critical points found."""
    columns = ["kind", "loss", "‖g‖", "index", "lowest λ", "highest λ", "escape leads to"]
    rows = []
    for i, point in enumerate(result.distinct):
        leads = ""
        if i in result.escapes:
            _, end = result.escapes[i]
            leads = f"{end.kind}, loss {end.loss:.6g}"
        rows.append(
            [
                point.kind,
                f"{point.loss:.8g}",
                f"{point.gradient_norm:.0e}",
                stated_index(point),
                f"{point.eigenvalues[0]:.4g}",
                f"{point.eigenvalues[-1]:.4g}",
                leads,
            ]
        )
    return columns, rows


ENDS_COLUMNS = ("eigenvalue", "off by at most", "residual", "")


def ends_rows(pairs: Eigenpairs) -> list[tuple[str, ...]]:
    """One row for each eigenvalue, the largest first."""
    rows = zip(pairs.values, pairs.bounds, pairs.residuals, pairs.converged, strict=True)
    return [
        (f"{value:.6g}", f"{bound:.1e}", f"{residual:.1e}", "" if done else "not converged")
        for value, bound, residual, done in reversed(list(rows))
    ]


LAYER_COLUMNS = ("layer", "parameters", "largest eigenvalue", "lowest", "")


def layer_row(layer: LayerEnds) -> tuple[str, ...]:
    """The ends of one layer's spectrum."""
    values, done = layer.ends.values, bool(layer.ends.converged.all())
    ends = f"{values[-1]:.4g}", f"{values[0]:.3g}"
    return (layer.name, f"{layer.size:,}", *ends, "" if done else "not converged")


def sharpness_rows(found: Sharpness) -> list[tuple[str, str]]:
    """The measures of sharpness."""
    defined = not math.isnan(found.keskar)
    keskar = f"{found.keskar:.4g} %" if defined else "undefined for a loss of −1 or less"
    left = "" if found.converged else ", not converged"
    return [
        (
            "largest eigenvalue",
            f"{found.largest_eigenvalue:.5g} (residual {found.residual:.0e}{left})",
        ),
        ("trace", found.stated_trace),
        ("Keskar's φ (box 1e-3)", keskar),
        ("SAM (radius 0.05)", f"{found.sam.largest:.4g}"),
        ("adaptive SAM (radius 0.5)", f"{found.adaptive_sam.largest:.4g}"),
    ]


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


STEPS_COLUMNS = (
    "optimiser",
    "β",
    "B",
    "best η",
    "updates",
    "interval",
    "epochs",
    "hit",
    "diverged",
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


def critical_rows(result: Findings) -> list[list[str]]:
    """The critical batch sizes of every optimiser: name, definition, value."""
    rows = []
    for (optimizer, momentum), fit in result.hyperbola.items():
        name = f"{optimizer}, β = {momentum:g}" if momentum else optimizer
        rows.append([name, "hyperbola", str(fit)])
        overhead = result.overhead[optimizer, momentum]
        rows.append([name, "20 % overhead", str(overhead)])
    if result.published is not None:
        fit = fit_hyperbola(result.published.batch_sizes, result.published.steps)
        rows.append([f"{result.published.name}, {result.published.what}", "hyperbola", str(fit)])
    return rows
