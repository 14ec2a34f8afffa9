"""Rows of tables, the same for the terminal and for the page: text in every cell."""

from __future__ import annotations

import math

import numpy as np

from jaxml.studies import Depth, Findings, Folds, Steps, fit_hyperbola


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
