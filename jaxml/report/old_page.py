"""One self-contained HTML page: it opens without a network and refers to no other file."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from jaxml.core.files import write_atomically
from jaxml.landscape import Analysis, Eigenpairs, Exploration, Inspection
from jaxml.report import figures
from jaxml.report.parts import image, section, table, tiles
from jaxml.report.records import Chapter, provenance
from jaxml.report.study_page import chapter_parts, study_parts
from jaxml.report.tables import (
    ENDS_COLUMNS,
    LAYER_COLUMNS,
    STAIRCASE_COLUMNS,
    analysis_rows,
    ending_rows,
    ends_rows,
    exploration_rows,
    layer_row,
    sharpness_rows,
    staircase_row,
    stated_index,
)
from jaxml.studies import Findings
from jaxml.studies.topics.staircase import Staircase

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff;
       max-width: 60rem; margin: 2rem auto 4rem; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .3rem; }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
img { width: 100%; height: auto; margin: .4rem 0; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.tile { border: 1px solid #ddd; border-radius: .5rem; padding: .6rem 1rem; min-width: 8rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.2; }
.tile span { color: #555; font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid #e4e4e4;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
footer { margin-top: 3rem; color: #666; font-size: .85rem; }
"""


KINDS = (Analysis, *Chapter.__args__, Exploration, Findings, Inspection, Staircase)


def write(
    result: Analysis | Chapter | Exploration | Findings | Inspection | Staircase, path: str | Path
) -> Path:
    """Write a result as one HTML page.

    Args:
        result: from `landscape.analyze`, `landscape.explore`, `landscape.inspect`,
            `staircase.walk` or `studies`.
        path: where to, such as `report.html`; replaced if it is there.

    Returns:
        The path.

    Raises:
        ValueError: if the result is of another type, or the folder cannot be written to.
    """
    if isinstance(result, Staircase):
        title, parts = _staircase(result)
    elif isinstance(result, Exploration):
        title, parts = _exploration(result)
    elif isinstance(result, Chapter):
        title, parts = chapter_parts(result)
    elif isinstance(result, Findings):
        title, parts = study_parts(result)
    elif isinstance(result, Inspection):
        title, parts = "One point of a loss surface", _inspection(result)
    elif isinstance(result, Analysis):
        title, parts = "One point of a loss surface", _point(result)
    else:
        raise ValueError(f"expected a result of jaxml, got {type(result).__name__}")
    about = provenance()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    body = "\n".join(parts)
    return write_atomically(
        path,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{body}\n"
        f"<footer>{html.escape(versions)}; {html.escape(about['device']['kind'])}, "
        f"{html.escape(about['device']['machine'])}</footer></body></html>\n",
    )


def _staircase(result: Staircase) -> tuple[str, list[str]]:
    config, levels = result.config, result.levels
    minima = [point for level in levels for point in level.minima]
    saddles = [saddle for level in levels for saddle in level.saddles]
    met = sum(s.predicted.index == s.measured.index for s in saddles)
    flat = sum(f.ending == "gradient-flat" for f in result.found)
    worst = max(p.gradient_norm for p in [*minima, *(s.measured for s in saddles)])
    certain = sum(p.certified and p.kind == "minimum" for p in minima)
    left = [s.measured for s in saddles if s.measured.certified and s.measured.kind == "saddle"]
    numbers = {
        "certified minima": f"{certain} of {len(minima)}",
        "certified saddles": f"{len(left)} of {len(saddles)}",
        "predicted indices met": f"{met} of {len(saddles)}",
        "largest gradient norm": f"{worst:.0e}",
    }
    if saddles:
        numbers["largest error of a predicted eigenvalue"] = (
            f"{max(s.spectrum_error for s in saddles):.0e}"
        )
    parts = [
        f"<p>{config['seeds']} {config['activation']} networks with one hidden layer of "
        f"{config['widths'][0]} to {config['widths'][-1]} units, trained on "
        f"{config['examples']:,} examples ({config['loss'].replace('_', ' ')}, "
        f"L2 {config['l2']:g}). Training takes {config['steps']:,} updates at each width; from "
        "where it stops, trust-region Newton goes on in float64 to a critical point: "
        f"{certain} of {len(minima)} are certified minima. The same network with a hidden unit "
        "more, whose weights are all zero, is a critical point of the wider network: "
        f"{len(left)} of {len(saddles)} are certified saddles. "
        f"{sum(s.escape is not None for s in saddles)} are left along the lowest eigenvector, and "
        "training goes on.</p>",
        tiles(numbers),
        section(
            "The staircase",
            "One line per seed. At the end of each width, the critical point that Newton's method "
            "made of the end of the training (●), the same with a dead unit (×) at the same loss, "
            "and the escape.",
            figures.staircase(result),
        ),
    ]
    if saddles:
        parts += [
            section(
                "Predicted and measured",
                "The closed form gives the saddle's whole spectrum: the eigenvalues of the "
                "minimum, and λ ± σ(C) for the new unit, C the correlation of inputs and "
                "residuals. Measured by the exact Hessian of the wider network in float64.",
                figures.prediction(result),
            ),
        ]
    if result.slice is not None:
        parts.append(
            section(
                "Through a saddle",
                "The first seed's first saddle. Left: the loss along the escape, and what the "
                "second order promises. Right: the plane that holds the saddle, the end of the "
                "line search and the minimum to which training and Newton's method then led.",
                figures.saddle_slice(result),
            )
        )
    parts += [
        section(
            "Spectra along training",
            f"All {result.spectra.eigenvalues.shape[-1]:,} eigenvalues of the Hessian of the first "
            f"seed's network of width {levels[0].width}, negative ones in red.",
            figures.spectra(result),
        ),
        section(
            "Index against loss",
            "The critical points of all seeds and widths, the points on the narrowest network's "
            f"training path, and what searches from that path found. {_index_and_loss(result)}",
            figures.index_against_loss(result),
        ),
        "<h2>Searches from the training path</h2><p>Newton-MR on the gradient norm, from points "
        f"along the training of the narrowest network. {flat} of {len(result.found)} ended where "
        "the gradient lies in the kernel of the Hessian: gradient-flat, but no critical point "
        "(Frye et al. 2021), whatever the size of the gradient there.</p>",
        table(["ending", "searches", "loss", "gradient norm"], ending_rows(result.found)),
        "<h2>All widths</h2>",
        table(STAIRCASE_COLUMNS, [staircase_row(level) for level in levels]),
    ]
    return "The staircase of critical points", parts


def _index_and_loss(result: Staircase) -> str:
    """How the number of ways down goes with the loss, of both kinds of points."""
    points = [
        *(p for level in result.levels for p in level.minima),
        *(s.measured for level in result.levels for s in level.saddles),
        *(f.point for f in result.found if f.point),
    ]
    along = result.spectra
    told = [
        f"{rank:.2f} over the {len(losses)} {what}"
        for what, losses, shares in (
            ("critical points", [p.loss for p in points], [p.index / p.size for p in points]),
            ("points on the path", along.loss.ravel(), along.index.ravel()),
        )
        if np.isfinite(rank := _rank(losses, shares))
    ]
    if not told:
        return ""
    return (
        f"Rank correlation of the loss and the share of negative eigenvalues: {', '.join(told)} "
        "(Dauphin et al. 2014 found it to be positive)."
    )


def _rank(losses: Any, shares: Any) -> float:
    """Spearman's correlation; NaN where there is none."""
    if min(len(np.unique(losses)), len(np.unique(shares))) < 2:
        return np.nan
    correlation: Any = stats.spearmanr
    return float(correlation(losses, shares).statistic)


def _exploration(result: Exploration) -> tuple[str, list[str]]:
    parts = _point(result.point)
    columns, rows = exploration_rows(result)
    parts += [
        "<h2>Critical points around it</h2><p>From the point and from random points around it, by "
        f"<code>{result.config['method']}</code> on the gradient norm in "
        f"{result.point.dtype}; saddles are left along their lowest eigenvector, down to a "
        "minimum.</p>",
        table(["ending", "searches", "loss", "gradient norm"], ending_rows(result.found)),
    ]
    if result.distinct:
        parts += [image(figures.neighbourhood(result)), table(columns, rows)]
    return "A point and its neighbourhood", parts


def _inspection(result: Inspection) -> list[str]:
    numbers = {
        "parameters": f"{result.size:,}",
        "loss": f"{result.loss:.6g}",
        "gradient norm": f"{result.gradient_norm:.2g}",
    }
    if result.ends is not None:
        numbers |= _end(result.ends, -1, "largest eigenvalue") if result.top else {}
        numbers |= _end(result.ends, 0, "lowest eigenvalue") if result.lowest else {}
    if result.products:
        numbers["Hessian-vector products"] = f"{sum(result.products.values()):,}"
    parts = [f"<p>{html.escape(result.plan)}.</p>", tiles(numbers)]
    if result.series:
        text = "Each search begins from the eigenvectors of the checkpoint before."
        if left := sum(not step.ends.converged.all() for step in result.series):
            text += f" At {left} of {len(result.series)} not all eigenvalues converged."
        parts.append(section("Along the training", text, figures.series(result.series)))
    if result.index is not None:
        parts.append(f"<h2>Index</h2><p>{html.escape(str(result.index))}.</p>")
    if result.ends is not None:
        text = (
            "Each with how far at most an eigenvalue is from it: the residual ‖Hv − λv‖, computed "
            "from products, or its square over the gap where that is less."
        )
        parts.append(f"<h2>Eigenvalues at both ends</h2><p>{text}</p>")
        parts.append(table(ENDS_COLUMNS, ends_rows(result.ends)))
    if result.density is not None:
        text = html.escape(str(result.density))
        parts.append(section("All eigenvalues", text, figures.density(result.density)))
    if result.sharpness is not None:
        parts.append(f"<h2>Sharpness</h2>{table(['', 'value'], sharpness_rows(result.sharpness))}")
    if result.layers is not None:
        text = "Of each layer's own block of the Hessian, the other layers held fixed."
        parts.append(f"<h2>Layer by layer</h2><p>{text}</p>")
        parts.append(table(LAYER_COLUMNS, [layer_row(layer) for layer in result.layers]))
    if result.surface is not None:
        parts.append(_plane(result))
    rows = [
        (name, f"{seconds:,.1f}", f"{result.products[name]:,}" if name in result.products else "")
        for name, seconds in result.seconds.items()
    ]
    parts.append(f"<h2>What it took</h2>{table(['part', 'seconds', 'products'], rows)}")
    return parts


def _end(pairs: Eigenpairs, place: int, name: str) -> dict[str, str]:
    """An end of the spectrum: as sure as it is, or which way it may be off.

    A Ritz value is never above the largest eigenvalue nor below the lowest.
    """
    value, bound = pairs.values[place], pairs.bounds[place]
    if pairs.converged[place]:
        return {name: f"{value:.5g} ± {bound:.1g}"}
    sign, rounding = ("≤", pairs.rounding) if place == 0 else ("≥", -pairs.rounding)
    return {f"{name}: not converged, one is within {bound:.1e}": f"{sign} {value + rounding:.5g}"}


def _plane(result: Inspection) -> str:
    assert result.surface is not None
    if result.trajectory is not None:
        text = f"Is the picture right? {result.trajectory}."
        picture = figures.trajectory(result.trajectory, result.surface)
        return section("The plane of the trajectory", html.escape(text), picture)
    kinds = {
        "random": "Two random directions, each filter as long as the network's (Li et al. 2018).",
        "eigenvectors": "Along the eigenvectors of the two largest |λ|, in units of the "
        "parameters' length.",
    }
    text = kinds[result.surface_kind or "random"]
    if not result.surface.finished:
        text += f" {int(result.surface.done.sum()):,} of {result.surface.done.size:,} points done."
    return section("The loss on a plane", text, figures.surface(result.surface))


def _point(point: Analysis) -> list[str]:
    numbers = {
        "kind": point.kind,
        "loss": f"{point.loss:.6g}",
        "gradient norm": f"{point.gradient_norm:.1e}",
        "index": stated_index(point),
    }
    return [
        f"<p>{html.escape(str(point))}.</p>",
        tiles(numbers),
        section("The Hessian's spectrum", "", figures.spectrum(point)),
        table(["", "value"], analysis_rows(point)),
    ]
