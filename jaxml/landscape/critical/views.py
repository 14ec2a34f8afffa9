"""What the results about critical points show."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxml.core.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    TEAL,
    ink,
    scale_of,
    signed_log,
)
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.landscape.critical.analysis import Analysis
from jaxml.landscape.critical.descent import Descent
from jaxml.landscape.critical.escape import Escape
from jaxml.landscape.critical.explore import Exploration, Found
from jaxml.landscape.critical.saddle_search import SaddleSearch
from jaxml.landscape.critical.search import Search

KIND_COLORS = {
    "minimum": GREEN,
    "saddle": RED,
    "maximum": PURPLE,
    "degenerate": ORANGE,
    "undecided": TEAL,
    "not critical": GREY,
}


def stated_index(point: Analysis) -> str:
    """How many eigenvalues are negative: those within the tolerance may be."""
    least, within = point.counts.negative, point.counts.within
    most = f" to {least + within:,}" if within else ""
    return f"{least:,}{most} of {point.size:,}"


def spanned(values: Sequence[Any], form: str) -> str:
    """The least and the largest, or the one where they are alike."""
    texts = [format(min(values), form), format(max(values), form)]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


@finding.register
def _(point: Analysis) -> Finding:
    left = ("params", "eigenvectors", "refined", "descent")
    numbers = {name: value for name, value in vars(point).items() if name not in left}
    return Finding(
        name="one point of a loss surface",
        question="Is it a minimum, and how sure is that?",
        verdict=_verdict(point),
        text=[_grounds(point)],
        tiles={
            "kind": point.kind,
            "loss": f"{point.loss:.6g}",
            "gradient norm": f"{point.gradient_norm:.1e}",
            "index": stated_index(point),
            "lowest eigenvalue": f"{point.eigenvalues[0]:.4g}",
            "largest eigenvalue": f"{point.eigenvalues[-1]:.4g}",
        },
        sections=[Section("The Hessian's spectrum", figures=[_spectrum(point)])],
        numbers=numbers
        | {
            "certified": point.certified,
            "size": point.size,
            "dtype": str(point.dtype),
            "descent_found": point.descent is not None,
        },
        records={"eigenvalue": point.eigenvalues},
    )


def _verdict(point: Analysis) -> str:
    certified = " (certified)" if point.certified else ""
    lowest = _lowest(point)
    if point.kind == "not critical":
        return (
            f"not a critical point: gradient norm {point.gradient_norm:.2g}, critical up to "
            f"{point.gradient_tolerance:.1g}; next: find_minimum"
        )
    if point.kind == "minimum":
        return f"a minimum{certified}: {lowest}"
    if point.kind in ("saddle", "maximum"):
        return (
            f"not a minimum but a {point.kind}{certified}: {lowest}, index {stated_index(point)}; "
            "next: escape"
        )
    within = (
        f"{point.counts.within:,} of {point.eigenvalues.size:,} eigenvalues cannot be "
        "distinguished from zero"
    )
    if point.descent is not None:
        return (
            f"not a minimum: the loss falls in a direction that was found, {within}; next: escape"
        )
    if point.kind == "undecided":
        return f"undecided in {point.dtype}: {within}; next: analyze(..., float64=True)"
    return f"a degenerate critical point, no descent found: {within}"


def _lowest(point: Analysis) -> str:
    """The lowest eigenvalue and how far it may be off, of those that decided."""
    values, name = point.eigenvalues, "λ_min"
    if point.scaled_eigenvalues is not None:
        values, name = point.scaled_eigenvalues, "λ_min after diagonal scaling"
    known = f" ± {point.tolerance:.1g}" if np.isfinite(point.tolerance) else ""
    return f"{name} = {values[0]:.4g}{known}"


def _grounds(point: Analysis) -> str:
    """What the verdict rests on, in one paragraph."""
    verdict = f"{point.kind}{' (certified)' if point.certified else ''}"
    if point.kind in ("degenerate", "undecided"):
        verdict += ", a descent was found" if point.descent is not None else ", no descent found"
    if point.kind == "undecided":
        verdict += "; float64 would decide more"
    spectrum = f"eigenvalues {point.eigenvalues[0]:.3g} to {point.eigenvalues[-1]:.3g}"
    if point.scaled_eigenvalues is not None:
        low, high = point.scaled_eigenvalues[0], point.scaled_eigenvalues[-1]
        spectrum += f", after diagonal scaling {low:.3g} to {high:.3g}"
    modes = f"{point.symmetry_modes} modes of symmetries, " if point.symmetry_modes else ""
    near = (
        "" if np.isnan(point.distance) else f", about {point.distance:.1e} from where it vanishes"
    )
    return (
        f"{verdict}: loss {point.loss:.6g}, gradient norm {point.gradient_norm:.1e} "
        f"(critical up to {point.gradient_tolerance:.1e}{near}), "
        f"index {point.index} of {point.size}, "
        f"{modes}{spectrum}: {point.counts.negative} negative, "
        f"{point.counts.within} within ±{point.tolerance:.1e}, {point.counts.positive} positive "
        f"({point.dtype})"
    )


def _spectrum(point: Analysis) -> Figure:
    """The eigenvalues, ascending, with the tolerance band."""
    values = point.eigenvalues
    sign = np.repeat(["n", "z", "p"], point.counts)  # which scaled eigenvalues may have decided
    kinds = {"n": (RED, "negative"), "z": (ORANGE, "within tolerance"), "p": (BLUE, "positive")}

    def draw(ax: Any) -> None:
        for code, (color, label) in kinds.items():
            chosen = np.flatnonzero(sign == code)
            if chosen.size:
                ax.plot(chosen + 1, values[chosen], ".", color=color, rasterized=chosen.size > 2000,
                        label=f"{chosen.size:,} {label}")  # fmt: skip
        ax.axhline(0, color=ink(), lw=0.8)
        largest = float(np.abs(values).max())
        signed_log(ax, max(min(point.tolerance, largest), 1e-6 * largest, 1e-300))
        ax.locator_params(axis="x", integer=True, nbins=6)
        ax.set(xlabel="eigenvalue, in ascending order", ylabel="eigenvalue")
        ax.legend(frameon=False)

    alt = (
        f"All {values.size:,} eigenvalues in ascending order on a logarithmic axis of both signs, "
        f"from {values[0]:.3g} to {values[-1]:.3g}: {point.counts.negative:,} negative, "
        f"{point.counts.within:,} within the tolerance, {point.counts.positive:,} positive."
    )
    return Figure(draw, alt)


def ending_table(found: Sequence[Found]) -> Table:
    """How many searches ended where."""
    rows = []
    for ending, count in Counter(f.ending for f in found).most_common():
        ends = [f.search for f in found if f.ending == ending]
        norms = [float(end.gradient_norm) for end in ends]
        loss = spanned([float(e.loss) for e in ends], ".4g")
        rows.append([ending, str(count), loss, spanned(norms, ".0e")])
    return Table(["ending", "searches", "loss", "gradient norm"], rows)


@finding.register
def _(result: Exploration) -> Finding:
    given = finding(result.point)
    flat = sum(f.ending == "gradient-flat" for f in result.found)
    kinds = Counter(point.kind for point in result.distinct)
    told = ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common()) or "none found"
    lowest = f"; lowest minimum {result.minima[0].loss:.6g}" if result.minima else ""
    around = [_neighbourhood(result)] if result.distinct or flat else []
    return Finding(
        name="a point and its neighbourhood",
        question="What is this point, and which critical points lie around it?",
        verdict=f"{given.verdict}. Critical points around it: {told}{lowest}",
        text=given.text,
        tiles=given.tiles,
        sections=[
            *given.sections,
            Section(
                "Searches from it and around it",
                "From the point and from random points around it, by "
                f"{result.config['method']} on the gradient norm in {result.point.dtype}. "
                "Gradient-flat: the gradient lies in the kernel of the Hessian, and the point is "
                "not critical.",
                figures=around,
                table=ending_table(result.found),
            ),
            Section(
                "Critical points found",
                "Saddles are left along their lowest eigenvector, down to a minimum."
                if result.escapes
                else "",
                table=_points_table(result),
            ),
        ],
        numbers={
            "arguments": result.config,
            "points": [point_record(result.point, role="given"), *_records(result)],
            "searches": [search_record(f) for f in result.found],
        },
        records=_records(result),
        provenance={"seed": result.config.get("seed")},
    )


def point_record(point: Analysis, **about: Any) -> dict[str, Any]:
    """One of several points: where it stands among them, and its numbers."""
    return {**about, **finding(point).numbers}


def search_record(found: Found) -> dict[str, Any]:
    """Where one of several searches ended."""
    names = ("loss", "gradient_norm", "flatness", "steps")
    return {"ending": found.ending} | {name: getattr(found.search, name) for name in names}


def _records(result: Exploration) -> list[dict[str, Any]]:
    rows = []
    for i, point in enumerate(result.distinct):
        about: dict[str, Any] = {"role": "found"}
        if i in result.escapes:
            way, end = result.escapes[i]
            about |= {"escape_distance": way.distance, "escape_loss": end.loss}
            about["escape_kind"] = end.kind
        rows.append(point_record(point, **about))
    return rows


def _points_table(result: Exploration) -> Table:
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
    columns = ["kind", "loss", "‖g‖", "index", "lowest λ", "highest λ", "escape leads to"]
    return Table(columns, rows)


def _neighbourhood(result: Exploration) -> Figure:
    """Index against loss of the critical points found, with the ways out of the saddles."""

    def draw(ax: Any) -> None:
        for i, (_, end) in result.escapes.items():
            start = result.distinct[i]
            ax.annotate("", (end.loss, end.index), (start.loss, start.index),
                        arrowprops={"arrowstyle": "->", "color": GREY, "lw": 1})  # fmt: skip
            ax.plot(end.loss, end.index, "s", mfc="none", ms=9, color=KIND_COLORS[end.kind])
        for kind in dict.fromkeys(p.kind for p in result.distinct):
            chosen = [p for p in result.distinct if p.kind == kind]
            ax.plot([p.loss for p in chosen], [p.index for p in chosen], "o", ms=6,
                    color=KIND_COLORS[kind], label=f"{kind} ({len(chosen)})")  # fmt: skip
        flat_ends(ax, result.found)
        given = result.point
        ax.plot(given.loss, given.index, "*", ms=12, color=ink(), label="the given point", zorder=5)
        if result.escapes:
            ax.plot([], [], "s", mfc="none", color=GREY, label="where an escape ends")
        ax.locator_params(axis="y", integer=True)
        ax.set(xlabel="loss", ylabel="index")
        ax.margins(0.12)
        ax.legend(frameon=False)

    points = result.distinct
    alt = f"Index against loss of {len(points)} critical points"
    if points:
        alt += (
            f", losses {spanned([p.loss for p in points], '.4g')}, "
            f"indices {spanned([p.index for p in points], 'd')}"
        )
    return Figure(draw, f"{alt}; arrows from {len(result.escapes)} saddles to where escapes end.")


def flat_ends(ax: Any, found: Sequence[Found]) -> None:
    """Gradient-flat ends of searches as ticks above the axis of losses: they have no index."""
    losses = [float(f.search.loss) for f in found if f.ending == "gradient-flat"]
    if losses:
        label = f"gradient-flat end ({len(losses)})"
        ax.plot(losses, np.full(len(losses), 0.03), "|", ms=12, mew=1.5, color=GREY, label=label,
                transform=ax.get_xaxis_transform())  # fmt: skip


@finding.register
def _(found: Search) -> Finding:
    converged, flat = (np.atleast_1d(np.asarray(part)) for part in (found.converged, found.flat))
    if converged.size > 1:
        verdict = (
            f"{converged.sum()} of {converged.size} searches converged to critical points, "
            f"{flat.sum()} ended at gradient-flat points"
        )
    elif converged.all():
        verdict = "converged to a critical point; next: analyze"
    elif flat.all():
        verdict = (
            "not a critical point but gradient-flat: the gradient lies in the kernel of the "
            f"Hessian (‖Hg‖ = {float(found.flatness):.1g} ‖H‖‖g‖)"
        )
    else:
        verdict = "not converged to a critical point"
    names = ("loss", "gradient_norm", "converged", "flat", "flatness", "steps")
    return _searched(found, verdict, names, "Where does the search for a critical point end?")


@finding.register
def _(found: SaddleSearch) -> Finding:
    converged = np.atleast_1d(np.asarray(found.converged))
    names = ("loss", "gradient_norm", "index", "converged", "eigenvalues", "steps")
    names += ("gradients", "hessians", "products")
    if converged.size > 1:
        verdict = f"{converged.sum()} of {converged.size} searches converged to saddles sought"
    elif found.point is not None:
        verdict = finding(found.point).verdict
    elif converged.all():
        verdict = f"converged to a saddle of index {int(found.index)}; next: connected_minima"
    else:
        verdict = "not converged to a saddle of the index sought"
    shown = _searched(found, verdict, names, "Is there a saddle?")
    if found.point is None:
        return shown
    point = finding(found.point)
    return dataclasses.replace(
        shown,
        text=[*shown.text, *point.text],
        tiles=point.tiles,
        sections=[*shown.sections, *point.sections],
        numbers={**shown.numbers, "point": point.numbers},
    )


@finding.register
def _(found: Descent) -> Finding:
    losses = found.path["loss"]
    verdict = (
        f"loss {losses[0]:.4g} → {found.loss:.6g} in {len(losses) - 1} steps, gradient norm "
        f"{found.gradient_norm:.1e}; next: analyze"
    )
    names = ("loss", "gradient_norm", "products")
    return _searched(found, verdict, names, "How far down does the descent come?")


@finding.register
def _(found: Escape) -> Finding:
    start, left = found.path["loss"][:2]
    verdict = (
        f"the loss falls from {start:.6g} to {left:.6g} along the direction, at a distance of "
        f"{abs(found.distance):.3g}, and to {found.loss:.6g} after it; next: analyze"
    )
    names = ("loss", "gradient_norm", "distance")
    return _searched(found, verdict, names, "Is there a way down?")


def _searched(
    found: Search | SaddleSearch | Descent | Escape,
    verdict: str,
    names: Sequence[str],
    question: str,
) -> Finding:
    """A search: its end, and the loss and the gradient along its path."""
    path = {name: np.asarray(values, float) for name, values in found.path.items()}
    one = np.ndim(found.loss) == 0
    text, figures = [], []
    if one:
        known = np.isfinite(path["gradient_norm"])
        path = {name: values[known] for name, values in path.items()}
        text = [
            f"loss {float(found.loss):.6g}, gradient norm {float(found.gradient_norm):.1e} after "
            f"{known.sum() - 1} steps"
        ]
        figures = [_along(path["loss"], "loss"), _along(path["gradient_norm"], "gradient norm")]
    numbers = {name: getattr(found, name) for name in names}
    columns = path if one else {n: v for n, v in numbers.items() if np.ndim(v) == 1}
    return Finding(
        name=re.sub("(?<=[a-z])(?=[A-Z])", " ", type(found).__name__).lower(),
        question=question,
        verdict=verdict,
        text=text,
        sections=[Section("Along the path", figures=figures)] if one else [],
        numbers={**numbers, "path": path},
        records=columns,
    )


def _along(values: np.ndarray, what: str) -> Figure:
    """One quantity along a search, over its steps."""

    def draw(ax: Any) -> None:
        ax.plot(np.arange(len(values)), values, ".-", color=BLUE, lw=1.2, ms=4)
        ax.set(xlabel="step", ylabel=what, yscale=scale_of(values))
        ax.locator_params(axis="x", integer=True)

    first, last = (f"{values[i]:.3g}" if values.size else "none" for i in (0, -1))
    return Figure(draw, f"The {what} from {first} to {last} over {values.size} points of the path.")
