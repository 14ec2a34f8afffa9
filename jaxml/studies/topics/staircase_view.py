"""What a staircase shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import stats

from jaxml.core.drawing import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    contours,
    gradient,
    heights,
    ink,
    scale_of,
)  # fmt: skip
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.landscape.critical.views import (
    ending_table,
    flat_ends,
    point_record,
    search_record,
    spanned,
)
from jaxml.landscape.spectra.views import spectra
from jaxml.studies.topics.staircase import Level, Saddle, Staircase

COLUMNS = ("width", "minima", "loss", "saddles", "index", "predicted", "lowest λ", "off by")


def row(level: Level) -> list[str]:
    """One width of the staircase: its minima, and the saddles that dead units make of them.

    Minima and saddles are those certified, of all; `off by` is the largest difference between the
    predicted and the measured spectrum.
    """
    minima, saddles = level.minima, level.saddles
    cells = [
        str(level.width),
        f"{sum(m.certified and m.kind == 'minimum' for m in minima)} of {len(minima)}",
        spanned([m.loss for m in minima], ".4f"),
    ]
    if not saddles:
        return cells + [""] * (len(COLUMNS) - len(cells))
    return [
        *cells,
        f"{sum(s.measured.certified and s.measured.kind == 'saddle' for s in saddles)} "
        f"of {len(saddles)}",
        spanned([s.measured.index for s in saddles], "d"),
        spanned([s.predicted.index for s in saddles], "d"),
        spanned([s.measured.eigenvalues[0] for s in saddles], ".4f"),
        f"{max(s.spectrum_error for s in saddles):.0e}",
    ]


@finding.register
def _(result: Staircase) -> Finding:
    config, levels = result.config, result.levels
    minima = [point for level in levels for point in level.minima]
    saddles = [saddle for level in levels for saddle in level.saddles]
    met = sum(s.predicted.index == s.measured.index for s in saddles)
    flat = sum(f.ending == "gradient-flat" for f in result.found)
    worst = max(p.gradient_norm for p in [*minima, *(s.measured for s in saddles)])
    certain = sum(p.certified and p.kind == "minimum" for p in minima)
    left = [s.measured for s in saddles if s.measured.certified and s.measured.kind == "saddle"]
    escaped = sum(s.escape is not None for s in saddles)
    tiles = {
        "certified minima": f"{certain} of {len(minima)}",
        "certified saddles": f"{len(left)} of {len(saddles)}",
        "predicted indices met": f"{met} of {len(saddles)}",
        "largest gradient norm": f"{worst:.0e}",
    }
    verdict = f"{certain} of {len(minima)} minima certified"
    if saddles:
        error = max(s.spectrum_error for s in saddles)
        tiles["largest error of a predicted eigenvalue"] = f"{error:.0e}"
        verdict += (
            f"; {len(left)} of {len(saddles)} saddles made by a dead unit certified, {met} with "
            f"the index predicted, their spectra predicted to {error:.0e}"
        )
        verdict += _lower(result)
    return Finding(
        name="the staircase of critical points",
        question="Do dead units make the saddles that theory predicts, and do they lead down?",
        verdict=verdict,
        text=[
            f"{config['seeds']} {config['activation']} networks with one hidden layer of "
            f"{config['widths'][0]} to {config['widths'][-1]} units, trained on "
            f"{config['examples']:,} examples ({config['loss'].replace('_', ' ')}, "
            f"L2 {config['l2']:g}). Training takes {config['steps']:,} updates at each width; from "
            "where it stops, trust-region Newton goes on in float64 to a critical point: "
            f"{certain} of {len(minima)} are certified minima. The same network with a hidden unit "
            "more, whose weights are all zero, is a critical point of the wider network: "
            f"{len(left)} of {len(saddles)} are certified saddles. {escaped} are left along the "
            "lowest eigenvector, and training goes on."
        ],
        tiles=tiles,
        sections=list(_sections(result, saddles, flat)),
        numbers=_numbers(result),
        records=_points(result),
        provenance={"seed": config["seed"]},
    )


def _lower(result: Staircase) -> str:
    """In how many of all steps from a width to the next the minimum is lower."""
    pairs = [
        (before.loss, after.loss)
        for level, wider in zip(result.levels, result.levels[1:], strict=False)
        for before, after in zip(level.minima, wider.minima, strict=True)
    ]
    if not pairs:
        return ""
    return f"; {sum(b > a for b, a in pairs)} of {len(pairs)} lead to a lower minimum"


def _sections(result: Staircase, saddles: list[Saddle], flat: int) -> Iterator[Section]:
    levels = result.levels
    yield Section(
        "The staircase",
        "The median over the seeds in training, and the range. At the end of each width, of each "
        "seed, the critical point that Newton's method made of the end of the training (●), the "
        "same with a dead unit (×) at the same loss, and the escape.",
        [_stairs(result)],
        Table(COLUMNS, [row(level) for level in levels]),
    )
    if saddles:
        yield Section(
            "Predicted and measured",
            "The closed form gives the saddle's whole spectrum: the eigenvalues of the minimum, "
            "and λ ± σ(C) for the new unit, C the correlation of inputs and residuals. Measured by "
            "the exact Hessian of the wider network in float64.",
            [_predicted(result), *_indices(saddles)],
        )
    if result.slice is not None:
        yield Section(
            "Through a saddle",
            "The first seed's first saddle: the loss along the escape, and what the second order "
            "promises; and the plane that holds the saddle, the end of the line search and the "
            "minimum to which training and Newton's method then led.",
            [_line(result), _plane(result)],
        )
    yield Section(
        "Spectra along training",
        f"All {result.spectra.eigenvalues.shape[-1]:,} eigenvalues of the Hessian of the first "
        f"seed's network of width {levels[0].width}, negative ones in red; above them the index.",
        [_spectra(result)],
    )
    yield Section(
        "Index against loss",
        "The critical points of all seeds and widths, the points on the narrowest network's "
        f"training path, and what searches from that path found. {_index_and_loss(result)}",
        [_index(result)],
    )
    yield Section(
        "Searches from the training path",
        "Newton-MR on the gradient norm, from points along the training of the narrowest network. "
        f"{flat} of {len(result.found)} ended where the gradient lies in the kernel of the "
        "Hessian: gradient-flat, but no critical point (Frye et al. 2021).",
        table=ending_table(result.found),
    )


def _index_and_loss(result: Staircase) -> str:
    """How the index goes with the loss, of both kinds of points."""
    points = _critical(result)
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


def _critical(result: Staircase) -> list[Any]:
    return [
        *(p for level in result.levels for p in level.minima),
        *(s.measured for level in result.levels for s in level.saddles),
        *(f.point for f in result.found if f.point),
    ]


def _points(result: Staircase) -> list[dict[str, Any]]:
    points = []
    for level in result.levels:
        points += [
            point_record(point, role="minimum", width=level.width, seed=seed)
            for seed, point in enumerate(level.minima)
        ]
        points += [
            point_record(
                saddle.measured,
                role="dead unit",
                width=level.width + 1,
                seed=seed,
                predicted_index=saddle.predicted.index,
                predicted_lowest_eigenvalue=saddle.predicted.lowest,
                spectrum_error=saddle.spectrum_error,
                escape_distance=saddle.escape and saddle.escape.distance,
                escape_loss=saddle.escape and saddle.escape.loss,
            )
            for seed, saddle in enumerate(level.saddles)
        ]
    width = result.levels[0].width
    found = [f.point for f in result.found if f.point]
    return points + [point_record(point, role="found", width=width) for point in found]


def _numbers(result: Staircase) -> dict[str, Any]:
    spectra = result.spectra
    return {
        "arguments": result.config,
        "points": _points(result),
        "searches": [search_record(f) for f in result.found],
        "training": [
            {"width": level.width, "steps": level.steps, "losses": level.losses}
            for level in result.levels
        ],
        "spectra": {
            "width": result.levels[0].width,
            "steps": result.spectra_steps,
            "loss": spectra.loss,
            "index": spectra.index,
            "eigenvalues": spectra.eigenvalues,
        },
    }


def _stairs(result: Staircase) -> Figure:
    """Loss against step, with every seed's minima and saddles."""
    steps, levels = result.config["steps"], result.levels
    seeds = len(levels[0].minima)

    def place(end: int | float, seed: int) -> float:
        """Seeds side by side, so that none hides another."""
        return end + (seed - (seeds - 1) / 2) * 0.03 * steps

    def draw(ax: Any) -> None:
        for number, level in enumerate(levels):
            begin, end = number * steps, (number + 1) * steps
            ax.axvspan(begin, end, color=GREY, alpha=0.12 if number % 2 else 0.0, lw=0)
            first = number == 0
            middle = np.median(level.losses, axis=0)
            ax.plot(begin + level.steps, middle, color=BLUE, lw=1.2, zorder=2,
                    label="median of the seeds" if first else None)  # fmt: skip
            ax.fill_between(begin + level.steps, level.losses.min(0), level.losses.max(0),
                            color=BLUE, alpha=0.25, lw=0)  # fmt: skip
            at = [place(end, seed) for seed in range(seeds)]
            if level.saddles:
                ax.plot(at, [s.measured.loss for s in level.saddles], "x", ms=7, mew=1.3, color=RED,
                        zorder=5, label="with a dead unit" if first else None)  # fmt: skip
                left = [(x, s.measured.loss, s.escape.loss)
                        for x, s in zip(at, level.saddles, strict=True) if s.escape]  # fmt: skip
                if left:
                    ax.vlines(*zip(*left, strict=True), color=RED, lw=1.4, zorder=3,
                              label="escape" if first else None)  # fmt: skip
            ax.plot(at, [m.loss for m in level.minima], "o", ms=3.5, color=GREEN, zorder=6,
                    label="minimum, polished" if first else None)  # fmt: skip
            ax.text((begin + end) / 2, 1.01, f"width {level.width}", ha="center", va="bottom",
                    transform=ax.get_xaxis_transform(), fontsize=8, color=ink())  # fmt: skip
        ax.set(yscale="log", xlabel="step", ylabel="objective (loss + L2)")
        ax.set_xlim(0, (len(levels) + 0.03 * (seeds + 1) / 2) * steps)
        top = np.nanmax(levels[0].losses)
        ax.set_ylim(0.9 * min(p.loss for p in levels[-1].minima), 4 * top)
        ax.legend(loc="upper right", frameon=False, ncols=2)

    losses = ", ".join(f"{np.median([m.loss for m in level.minima]):.3g}" for level in levels)
    widths = spanned([level.width for level in levels], "d")
    return Figure(
        draw,
        f"The loss in training as stairs over widths {widths}; the median loss of the minima is "
        f"{losses}, width by width.",
    )


def _spectra(result: Staircase) -> Figure:
    values, steps = result.spectra.eigenvalues[:, 0], result.spectra_steps
    index = result.spectra.index[:, 0]

    def draw(ax: Any) -> None:
        spectra(ax, values, result.spectra.tolerance[:, 0])
        for i, count in enumerate(index):
            ax.text(i, 1.01, f"{int(count)}", ha="center", va="bottom", fontsize=9,
                    transform=ax.get_xaxis_transform(), color=RED if count else ink())  # fmt: skip
        ax.set_xticks(range(len(steps)), [f"{s:,}" for s in steps])
        ax.set(xlabel="step", ylabel="eigenvalue")

    counts = ", ".join(str(int(count)) for count in index)
    return Figure(
        draw,
        f"Eigenvalues from {values.min():.3g} to {values.max():.3g} at {len(steps)} steps of the "
        f"training; negative ones: {counts}.",
    )


def _index(result: Staircase) -> Figure:
    """The share of negative eigenvalues against the loss, after Dauphin et al. 2014, figure 1."""
    along, size = result.spectra, result.spectra.eigenvalues.shape[-1]
    groups = {
        "minimum": ([m for level in result.levels for m in level.minima], "o", GREEN),
        "dead unit added": (
            [s.measured for level in result.levels for s in level.saddles],
            "x",
            RED,
        ),
        "found by a search": ([f.point for f in result.found if f.point], "D", ORANGE),
    }

    def draw(ax: Any) -> None:
        ax.plot(
            along.loss.ravel(), 100 * along.index.ravel() / size, ".", color=GREY, ms=6,
            label=f"training path, width {result.levels[0].width} (not critical)",
        )  # fmt: skip
        for label, (points, marker, color) in groups.items():
            if points:
                ax.plot([p.loss for p in points], [100 * p.index / p.size for p in points], marker,
                        color=color, ms=6, mew=1.5, ls="", label=label, alpha=0.85)  # fmt: skip
        flat_ends(ax, result.found)
        ax.set(xlabel="objective (loss + L2)", ylabel="index: negative eigenvalues, %")
        ax.set_xscale(scale_of(along.loss, [p.loss for p in _critical(result)]))
        ax.legend(frameon=False)

    return Figure(
        draw,
        f"The share of negative eigenvalues against the loss of {len(_critical(result))} critical "
        f"points and of {along.loss.size} points on the training path.",
    )


def _line(result: Staircase) -> Figure:
    """The loss along the escape, with the parabola of the second order."""
    cut = result.slice
    assert cut is not None
    centre = cut.losses[cut.distances.size // 2]

    def draw(ax: Any) -> None:
        ax.plot(cut.distances, cut.losses, color=BLUE, label="loss")
        parabola = centre + cut.curvature * cut.distances**2 / 2
        low, high = cut.losses.min(), cut.losses.max()
        ax.plot(cut.distances, parabola, "--", color=RED, lw=1.2,
                label=f"second order, λ = {cut.curvature:.4f}")  # fmt: skip
        ax.plot(0, centre, "x", color=RED, ms=9, mew=2, label="saddle")
        ax.set(xlabel="distance along the escape", ylabel="objective (loss + L2)")
        ax.set_ylim(low - 0.1 * (high - low), high + 0.15 * (high - low))
        ax.legend(frameon=False)

    return Figure(
        draw,
        f"The loss along the escape falls from {centre:.4g} at the saddle to "
        f"{cut.losses.min():.4g}, at first as the parabola of curvature {cut.curvature:.3g}.",
    )


def _plane(result: Staircase) -> Figure:
    """The plane of the saddle, the end of the line search and the next minimum."""
    cut = result.slice
    assert cut is not None
    looks = {"saddle": ("x", RED), "escape": (">", "#ffffff"), "minimum": ("o", "#7dffb8")}

    def draw(ax: Any) -> None:
        contours(ax, cut.axes, cut.plane.T, heights(cut.plane))
        for name, (x, y) in cut.marks.items():
            marker, color = looks[name]
            ax.plot(x, y, marker, color=color, ms=8, mew=2)
            left = x > np.mean(cut.axes[0])
            ax.annotate(name, (x, y), xytext=(-8 if left else 8, -14 if name == "escape" else 6),
                        textcoords="offset points", ha="right" if left else "left", color="white",
                        fontsize=9)  # fmt: skip
        ax.set(xlabel="along the escape", ylabel="across, towards the next minimum")

    return Figure(
        draw,
        f"Contours of the loss, {cut.plane.min():.3g} to {cut.plane.max():.3g}, in the plane of "
        f"the {', the '.join(cut.marks)}.",
        height=0.85,
    )


def _predicted(result: Staircase) -> Figure:
    """Predicted against measured lowest eigenvalue of every dead-unit saddle."""
    widths = sorted({level.width for level in result.levels if level.saddles})
    values = [-s.predicted.lowest for level in result.levels for s in level.saddles]

    def draw(ax: Any) -> None:
        for width, color in zip(widths, gradient(len(widths)), strict=True):
            chosen = [s for level in result.levels if level.width == width for s in level.saddles]
            ax.plot(
                [-s.predicted.lowest for s in chosen],
                [-s.measured.eigenvalues[0] for s in chosen],
                "o", color=color, ms=6, alpha=0.8, label=f"width {width} + 1",
            )  # fmt: skip
        scale = scale_of(values)  # linear where a dead unit made a minimum
        ends = [0.8 * min(values), 1.25 * max(values)]
        ax.plot(ends, ends, color=GREY, lw=0.8, zorder=0)
        ax.set(xscale=scale, yscale=scale, xlabel="predicted −λ₁", ylabel="measured −λ₁")
        ax.legend(frameon=False)

    return Figure(
        draw,
        f"Measured against predicted lowest eigenvalues of {len(values)} saddles, from "
        f"{-max(values):.3g} to {-min(values):.3g}, and the line where they are equal.",
        height=0.85,
    )


def _indices(saddles: list[Saddle]) -> list[Figure]:
    """How often each index was predicted and measured, unless it is one alone."""
    both = [(s.predicted.index, s.measured.index) for s in saddles]
    pairs, counts = np.unique(both, axis=0, return_counts=True)
    if len(pairs) == 1:
        return []
    top = int(pairs.max())

    def draw(ax: Any) -> None:
        ax.plot([-0.5, top + 0.5], [-0.5, top + 0.5], color=GREY, lw=0.8, zorder=0)
        ax.scatter(*pairs.T, s=350, color=RED)
        for (x, y), count in zip(pairs, counts, strict=True):
            ax.text(x, y, f"{count}", ha="center", va="center", color="white", fontsize=9)
        ax.set(xlabel="predicted index", ylabel="measured index")
        ax.set(xlim=(-0.5, top + 0.5), ylim=(-0.5, top + 0.5))
        ax.locator_params(integer=True)

    told = ", ".join(
        f"{count} predicted {x} and measured {y}"
        for (x, y), count in zip(pairs, counts, strict=True)
    )
    return [Figure(draw, f"Of {len(saddles)} saddles by index: {told}.", height=0.85)]
