"""What the results about spectra show."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, GREY, RED, ink, signed_log
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.landscape.operators.dense_hessian import gib
from jaxml.landscape.spectra.counting import Interval
from jaxml.landscape.spectra.density import Curve, Density
from jaxml.landscape.spectra.eigenpairs import Eigenpairs
from jaxml.landscape.spectra.inertia import SpectrumCounts
from jaxml.landscape.spectra.spectrum_along import Followed
from jaxml.landscape.spectra.stochastic_trace import Estimate
from jaxml.linalg.probe_intervals import CONFIDENCE


def stated_end(pairs: Eigenpairs, place: int) -> str:
    """An end of the spectrum: as sure as it is, or which way it may be off.

    A Ritz value is never above the largest eigenvalue nor below the lowest.
    """
    value = pairs.values[place]
    if pairs.converged[place]:
        return f"= {value:.5g} ± {pairs.bounds[place]:.1g}"
    sign, rounding = ("≤", pairs.rounding) if place == 0 else ("≥", -pairs.rounding)
    return f"{sign} {value + rounding:.5g}, not converged"


@finding.register
def _(pairs: Eigenpairs) -> Finding:
    left = int((~pairs.converged).sum())
    count = len(pairs.values)
    ends = [f"largest of those sought {stated_end(pairs, -1)}"] if count else []
    if count > 1:
        ends.append(f"lowest {stated_end(pairs, 0)}")
    text = f"{pairs.products:,} products"
    if left:
        text = f"{left} of {count} not converged; {text}"
        if size := pairs.vectors.shape[1]:
            room = gib(size**2 * pairs.values.dtype.itemsize)
            text += f"; all of them: `eigenvalues(operator.dense())`, whose matrix takes {room}"
    rows = zip(pairs.values, pairs.bounds, pairs.residuals, pairs.converged, strict=True)
    table = Table(
        ("eigenvalue", "off by at most", "residual", ""),
        [
            (f"{value:.6g}", f"{bound:.1e}", f"{residual:.1e}", "" if done else "not converged")
            for value, bound, residual, done in reversed(list(rows))
        ],
    )
    columns = {
        "value": pairs.values,
        "bound": pairs.bounds,
        "residual": pairs.residuals,
        "converged": pairs.converged,
    }
    names = ("values", "residuals", "bounds", "converged", "products", "norm", "rounding")
    return Finding(
        name="eigenvalues",
        question="How large are the eigenvalues at the ends of the spectrum?",
        verdict=f"eigenvalues: {', '.join(ends) or 'none was sought'}",
        text=[text],
        sections=[
            Section(
                "Eigenvalues",
                "Each with how far at most an eigenvalue is from it: the residual ‖Hv − λv‖, "
                "computed from products, or its square over the gap where that is less.",
                figures=[_ends(pairs)] if count > 1 else [],
                table=table,
            )
        ],
        numbers={name: getattr(pairs, name) for name in names},
        records=columns,
    )


def _ends(pairs: Eigenpairs) -> Figure:
    values = pairs.values[::-1]

    def draw(ax: Any) -> None:
        colors = [RED if value < 0 else BLUE for value in values]
        ax.vlines(range(1, len(values) + 1), 0, values, color=colors, lw=2)
        ax.errorbar(range(1, len(values) + 1), values, yerr=pairs.bounds[::-1], fmt="none",
                    ecolor=GREY, capsize=3)  # fmt: skip
        ax.axhline(0, color=ink(), lw=0.8)
        ax.locator_params(axis="x", integer=True)
        ax.set(xlabel="eigenvalue sought, from the largest", ylabel="eigenvalue")

    alt = f"{len(values)} eigenvalues as bars from {values[0]:.3g} down to {values[-1]:.3g}."
    return Figure(draw, alt, height=0.6)


@finding.register
def _(counts: SpectrumCounts) -> Finding:
    if counts.negative.low:
        verdict = f"not a minimum if critical: {counts.negative} negative eigenvalues"
    elif counts.negative.high:
        verdict = f"undecided: {counts.negative} negative eigenvalues"
    elif counts.within.high:
        verdict = f"no negative eigenvalue; {counts.within} cannot be distinguished from zero"
    else:
        verdict = "a minimum if critical: all eigenvalues are positive"
    left = f", {counts.undecided:,} undecided" if counts.undecided else ""
    kinds = {"negative": counts.negative, "within": counts.within, "positive": counts.positive}
    return Finding(
        name="index",
        question="How many eigenvalues are negative, zero and positive?",
        verdict=verdict,
        text=[
            f"of {counts.size:,} eigenvalues {counts.negative} negative, {counts.within} within "
            f"±{counts.tolerance:.1e}, {counts.positive} positive{left} ({counts.method}: "
            f"{counts.certainty})"
        ],
        tiles={name: str(interval) for name, interval in kinds.items()},
        numbers=vars(counts) | {"undecided": counts.undecided},
        records=[{"kind": name, **interval._asdict()} for name, interval in kinds.items()],
    )


@finding.register
def _(result: Estimate) -> Finding:
    if np.ndim(result.value):
        half = float(np.max(np.subtract(result.high, result.low))) / 2
        shown = f"{np.size(result.value):,} values, each ± {half:.2g} at most at {CONFIDENCE:.0%}"
    else:
        shown = f"{result.value:.6g}"
        if result.standard_error != 0:
            shown += f" ({result.low:.6g} to {result.high:.6g} at {CONFIDENCE:.0%})"
    if result.truncation == np.inf:
        shown += ", truncation not bounded: more steps, or `lowest` where it is known"
    elif result.truncation:
        shown += f", truncation at most {result.truncation:.1g}"
    names = ("value", "standard_error", "low", "high")
    several = np.size(result.value) > 1
    columns = {name: np.atleast_1d(getattr(result, name)) for name in names}
    return Finding(
        name="estimate",
        question="How large is it, and how sure is that?",
        verdict=f"{shown} ({result.products:,} products)",
        sections=[Section("Values", figures=[_intervals(result)])] if several else [],
        numbers=vars(result),
        records=columns,
    )


def _intervals(result: Estimate) -> Figure:
    value, low, high = (np.ravel(part) for part in (result.value, result.low, result.high))

    def draw(ax: Any) -> None:
        order = np.argsort(value)
        at = np.arange(1, value.size + 1)
        known = np.isfinite(low[order]) & np.isfinite(high[order])
        ax.vlines(at[known], low[order][known], high[order][known], color=BLUE, alpha=0.5)
        ax.plot(at, value[order], ".", color=BLUE, rasterized=value.size > 2000)
        ax.locator_params(axis="x", integer=True)
        ax.set(xlabel="value, in ascending order", ylabel="estimate and interval")

    return Figure(draw, f"{value.size:,} estimates from {value.min():.3g} to {value.max():.3g}.")


@finding.register
def _(result: Followed) -> Finding:
    index, size = np.asarray(result.index), np.shape(result.eigenvalues)[-1]
    lowest = float(np.min(result.eigenvalues))
    span = str(Interval(int(index.min()), int(index.max())))
    at = np.unravel_index(int(np.argmin(result.loss)), np.shape(result.loss))
    return Finding(
        name="spectra at many points",
        question="How do the index and the loss go together?",
        verdict=(
            f"index {span} of {size:,} over {index.size:,} points, "
            f"{index[at]:,} at the lowest loss ({np.asarray(result.loss)[at]:.4g}); lowest "
            f"eigenvalue of all {lowest:.3g}"
        ),
        sections=[
            Section("Index against loss", figures=[_index_and_loss(result)]),
            Section("Eigenvalues", figures=[_spectra(result)]),
        ],
        numbers={name: getattr(result, name) for name in result.__dataclass_fields__},
        records={
            name: np.ravel(getattr(result, name))
            for name in ("loss", "gradient_norm", "index", "minimum_ratio", "tolerance")
        },
    )


def _index_and_loss(result: Followed) -> Figure:
    index = np.asarray(result.index)

    def draw(ax: Any) -> None:
        ax.plot(np.ravel(result.loss), np.ravel(result.index), ".", color=BLUE)
        ax.locator_params(axis="y", integer=True)
        ax.set(xlabel="loss", ylabel="index: negative eigenvalues")
        ax.set_ylim(index.min() - 0.5, index.max() + 0.5)

    return Figure(
        draw, f"Index from {index.min()} to {index.max()} against the loss, point by point."
    )


def _spectra(result: Followed) -> Figure:
    size = np.shape(result.eigenvalues)[-1]
    values = np.reshape(result.eigenvalues, (-1, size))

    def draw(ax: Any) -> None:
        spectra(ax, values, np.ravel(result.tolerance))
        ax.set(xlabel="point", ylabel="eigenvalue")

    return Figure(
        draw,
        f"The {size:,} eigenvalues at each of {len(values):,} points, from {values.min():.3g} to "
        f"{values.max():.3g}, negative ones in red.",
    )


def spectra(ax: Any, values: np.ndarray, tolerance: np.ndarray) -> None:
    """Columns of eigenvalues, both signs on a logarithmic axis, negative ones in red.

    Args:
        ax: where to.
        values: shape `(points, size)`.
        tolerance: of each point.
    """
    smallest = max(1e-6 * float(abs(values).max()), float(np.median(np.abs(values))) * 1e-2, 1e-300)
    for i, (row, zero) in enumerate(zip(values, tolerance, strict=True)):
        jitter = i + np.random.default_rng(i).uniform(-0.28, 0.28, row.size)
        for chosen, color in ((row < -zero, RED), (row >= -zero, BLUE)):
            ax.plot(jitter[chosen], row[chosen], ".", ms=5, mew=0, color=color, alpha=0.7,
                    rasterized=values.size > 2000)  # fmt: skip
    ax.axhline(0, color=ink(), lw=0.8)
    signed_log(ax, smallest)


@finding.register
def _(result: Density) -> Finding:
    shares = result.shares()
    told = [
        f"{share.value:.4g}"
        if result.exact
        else f"{share.value:.3g} ({share.low:.3g} to {share.high:.3g})"
        for share in shares
    ]
    probes, steps = result.nodes.shape
    level = "" if result.exact else f" (intervals at {CONFIDENCE:.0%})"
    source = "exact" if result.exact else f"{probes} probe{'s'[: probes > 1]} of {steps} steps"
    low, high = result.nodes.min(), result.nodes.max()
    return Finding(
        name="spectral density",
        question="How are the eigenvalues distributed?",
        verdict=(
            f"{_percent(shares.within, exact=result.exact)} of {result.size:,} eigenvalues within "
            f"±{result.tolerance:.1e} of 0, {_percent(shares.negative, exact=result.exact)} below, "
            f"{_percent(shares.positive, exact=result.exact)} above; range {low:.4g} to {high:.4g}"
        ),
        text=[
            f"{result.size:,} eigenvalues from {low:.4g} to {high:.4g} "
            f"({source}, {result.products:,} products); "
            f"share below {-result.tolerance:.1e}: {told[0]}, within: {told[1]}, "
            f"above: {told[2]}{level}; mass resolution {result.resolution:.2g}"
        ],
        sections=[
            Section(
                "Density",
                "Bands: two standard errors of the probes on either side."
                if not result.exact and probes > 1
                else "",
                figures=density_figures(result),
            )
        ],
        numbers=vars(result)
        | {
            "shares": {
                name: {"value": share.value, "low": share.low, "high": share.high}
                for name, share in shares._asdict().items()
            }
        },
        records={"node": result.nodes.ravel(), "weight": result.weights.ravel()},
    )


def _percent(share: Any, *, exact: bool) -> str:
    if exact:
        return f"{100 * share.value:.3g} %"
    return f"{100 * share.low:.3g} to {100 * share.high:.3g} %"


def _band(ax: Any, x: np.ndarray, curve: Curve, color: str, label: str | None = None) -> None:
    spread = 2 * np.nan_to_num(curve.standard_error)
    ax.plot(x, curve.density, color=color, lw=1.3, label=label)
    ax.fill_between(
        x, np.maximum(curve.density - spread, 1e-300), curve.density + spread,
        color=color, alpha=0.25, lw=0,
    )  # fmt: skip


def density_figures(result: Density) -> list[Figure]:
    """The density over λ, with the height of one eigenvalue; and over the decades of |λ|."""
    curve = result.linear()
    one = 1 / (result.size * curve.width * np.sqrt(2 * np.pi))

    def linear(ax: Any) -> None:
        _band(ax, curve.points, curve, BLUE)
        ax.axhline(one, color=GREY, lw=1, ls="--", label="height of one eigenvalue")
        ax.set(yscale="log", xlabel="eigenvalue", ylabel="density")
        ax.set_ylim(one / 10, 3 * curve.density.max())
        ax.legend(frameon=False)

    low, high = result.nodes.min(), result.nodes.max()
    over = f"The density of {result.size:,} eigenvalues between {low:.3g} and {high:.3g}"
    figures = [Figure(linear, f"{over}, on a logarithmic axis; dashed, the height of one.")]
    if np.abs(result.nodes).max() > 0:
        figures.append(_signed(result))
    return figures


def _signed(result: Density) -> Figure:
    """Both signs by decades, with what lies within the tolerance left out and shaded."""
    decades = result.logarithmic()
    floor = decades.floor
    negative, within, positive = (
        _percent(share, exact=result.exact) for share in result.shares(floor)
    )

    def draw(ax: Any) -> None:
        _band(ax, -decades.negative.points, decades.negative, RED, f"below: {negative}")
        _band(ax, decades.positive.points, decades.positive, BLUE, f"above: {positive}")
        top = 1.35 * max(side.density.max() for side in (decades.negative, decades.positive))
        least = 3 * floor
        ax.set_xlim(min(result.nodes.min(), -least), max(result.nodes.max(), least))
        ax.set_ylim(0, top or 1)
        ax.axvspan(-floor, floor, color=GREY, alpha=0.25, lw=0,
                   label=f"within ±{floor:.0e}: {within}")  # fmt: skip
        signed_log(ax, floor, horizontal=True)
        ax.set(xlabel="eigenvalue, logarithmic", ylabel="share per decade")
        ax.legend(frameon=False)

    return Figure(
        draw,
        f"The share of the eigenvalues per decade of their size: {negative} below, {within} within "
        f"±{floor:.1e}, {positive} above.",
    )
