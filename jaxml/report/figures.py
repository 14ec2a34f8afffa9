"""Figures of results; each function returns a matplotlib `Figure` and shows nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from jaxml.landscape import Analysis, Connection, Exploration, Step, Surface, Trajectory
from jaxml.landscape.spectra.density import Curve, Density
from jaxml.linalg.probe_intervals import CONFIDENCE
from jaxml.studies.topics.staircase import Staircase

_MINIMUM, _SADDLE, _FLAT, _PATH = "#1b7f4d", "#c2334d", "#9a9a9a", "#5b7db1"
_KIND_COLORS = {
    "minimum": _MINIMUM,
    "saddle": _SADDLE,
    "maximum": "#7a3fa0",
    "degenerate": "#d98c1f",
    "undecided": "#2a9d9d",
    "not critical": _FLAT,
}


def panels(
    width: float = 9.0, height: float = 4.2, columns: int = 1, count: int | None = None
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row.

    Args:
        width: inches.
        height: of a row.
        columns: side by side.
        count: of axes; as many as columns by default.
    """
    count = columns if count is None else count
    rows = -(-count // columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


# what tells groups without an order apart: eight colours, nine markers and four lines in turn, so
# that no two of 288 are alike, and of markers alone or of lines alone no two of 72 and of 32
_COLORS = ("#5b7db1", "#c2334d", "#1b7f4d", "#d98c1f", "#7a3fa0", "#2a9d9d", "#8a6d3b", "#444444")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
# dots are for what is fitted
_LINES = ("-", "--", "-.", (0, (6, 1.5, 1.2, 1.5, 1.2, 1.5)))


def styles(count: int, *, ordered: bool = False) -> list[dict[str, Any]]:
    """Colour, line style and marker of so many groups, as keywords of `Axes.plot`.

    Args:
        count: how many.
        ordered: whether they have an order, such as batch sizes: then the colours do.

    Example:
        >>> len({tuple(style.values()) for style in styles(40)})
        40
    """
    if ordered:
        colors = [to_hex(color) for color in colormaps["viridis"](np.linspace(0.05, 0.9, count))]
    else:
        colors = [_COLORS[i % len(_COLORS)] for i in range(count)]
    turns = [i // (4 if ordered else len(_COLORS)) for i in range(count)]
    return [
        {
            "color": color,
            "linestyle": _LINES[turn % len(_LINES)],
            "marker": _MARKERS[i % len(_MARKERS)],
        }
        for i, (color, turn) in enumerate(zip(colors, turns, strict=True))
    ]


def scale_of(*values: Any) -> str:
    """The scale of an axis: logarithmic where all finite values are above 0 and there are some."""
    joined = np.concatenate([np.ravel(np.asarray(v, float)) for v in values] or [np.zeros(0)])
    joined = joined[np.isfinite(joined)]
    return "log" if joined.size and joined.min() > 0 else "linear"


def legend(figure: Figure, ax: Axes) -> None:
    """The names of what an axes shows: within it while they are few, else below the figure."""
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) <= 6:
        ax.legend(frameon=False, fontsize=8)
        return
    columns = min(5, max(1, 110 // max(map(len, labels))))
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8,
        handlelength=3.5,
    )  # fmt: skip
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.22 * -(-len(labels) // columns))


def _signed_log(ax: Axes, smallest: float, horizontal: bool = False) -> None:
    """Both signs on a logarithmic axis, linear below `smallest`, ticks that do not collide."""
    scale, limits, ticks = (
        (ax.set_xscale, ax.get_xlim, ax.set_xticks)
        if horizontal
        else (ax.set_yscale, ax.get_ylim, ax.set_yticks)
    )
    scale("symlog", linthresh=smallest, linscale=0.6)
    low, high = (max(abs(limit), smallest) for limit in limits())
    decades = np.arange(np.ceil(np.log10(smallest)), np.ceil(np.log10(max(low, high))) + 1)
    powers = 10.0 ** decades[:: max(1, len(decades) // (3 if horizontal else 5))]
    ticks([*(-powers[powers <= low][::-1]), 0, *powers[powers <= high]])
    ax.minorticks_off()


def staircase(result: Staircase) -> Figure:
    """Loss against step for every seed, with its minima and saddles."""
    figure, (ax,) = panels()
    seeds = len(result.levels[0].minima)
    colors = colormaps["viridis"](np.linspace(0.05, 0.85, seeds))

    def place(end: float, seed: int) -> float:
        """Seeds side by side, so that none hides another."""
        return end + (seed - (seeds - 1) / 2) * 0.02 * result.config["steps"]

    begin = 0.0
    for level in result.levels:
        end = begin + result.config["steps"]
        ax.axvspan(begin, end, color="#000000", alpha=0.03 if level.width % 2 else 0.0, lw=0)
        for seed, color in enumerate(colors):
            ax.plot(begin + level.steps, level.losses[seed], color=color, lw=1, alpha=0.8)
        for seed, point in enumerate(level.minima):
            first = level is result.levels[0] and seed == 0
            ax.plot(
                place(end, seed), point.loss, "o", ms=4, color=_MINIMUM, zorder=6,
                label="minimum, polished" if first else None,
            )  # fmt: skip
        for seed, saddle in enumerate(level.saddles):
            first = level is result.levels[0] and seed == 0
            ax.plot(
                place(end, seed), saddle.measured.loss, "x", ms=8, mew=1.6, color=_SADDLE, zorder=5,
                label="the same with a dead unit" if first else None,
            )  # fmt: skip
            if saddle.escape is not None:
                ax.plot(
                    [place(end, seed)] * 2, [saddle.measured.loss, saddle.escape.loss],
                    color=_SADDLE, lw=1.6, zorder=3, label="escape" if first else None,
                )  # fmt: skip
        ax.text((begin + end) / 2, 0.99, f"width {level.width}", ha="center", va="top",
                transform=ax.get_xaxis_transform(), fontsize=8, color="#444444")  # fmt: skip
        begin = end
    ax.set(yscale="log", xlabel="step", ylabel="objective (loss + L2)", xlim=(0, begin * 1.02))
    top = np.nanmax(result.levels[0].losses)
    ax.set_ylim(0.9 * min(p.loss for p in result.levels[-1].minima), 1.6 * top)
    ax.legend(loc="lower left", frameon=False, fontsize=9)
    return figure


def spectra(result: Staircase) -> Figure:
    """The first seed's Hessian spectrum along its training, both signs on a logarithmic axis."""
    figure, (ax,) = panels()
    values = result.spectra.eigenvalues[:, 0]
    steps = result.spectra_steps
    smallest = max(1e-6, float(np.median(np.abs(values))) * 1e-2)
    for i, row in enumerate(values):
        jitter = i + np.random.default_rng(i).uniform(-0.28, 0.28, row.size)
        colors = np.where(row < -result.spectra.tolerance[i, 0], _SADDLE, _PATH)
        ax.scatter(jitter, row, s=7, c=colors, alpha=0.65, lw=0)
        index = int(result.spectra.index[i, 0])
        ax.text(
            i, 1.0, f"index {index}", ha="center", va="bottom", fontsize=9,
            transform=ax.get_xaxis_transform(), color=_SADDLE if index else "#444444",
        )  # fmt: skip
    ax.axhline(0, color="#444444", lw=0.8)
    _signed_log(ax, smallest)
    ax.set_xticks(range(len(steps)), [f"step {s:,}" for s in steps])
    ax.set_ylabel("eigenvalue")
    return figure


def index_against_loss(result: Staircase) -> Figure:
    """The share of negative eigenvalues against the loss, after Dauphin et al. 2014, figure 1."""
    figure, (ax,) = panels()
    along = result.spectra
    size = along.eigenvalues.shape[-1]
    ax.plot(
        along.loss.ravel(), 100 * along.index.ravel() / size, ".", color=_FLAT, ms=6,
        label=f"on the training path, width {result.levels[0].width} (not critical)",
    )  # fmt: skip
    groups = {
        "minimum": ([m for level in result.levels for m in level.minima], "o", _MINIMUM),
        "dead unit added": (
            [s.measured for level in result.levels for s in level.saddles],
            "x",
            _SADDLE,
        ),
        "found by a search": ([f.point for f in result.found if f.point], "D", "#d98c1f"),
    }
    for label, (points, marker, color) in groups.items():
        if points:
            ax.plot([p.loss for p in points], [100 * p.index / p.size for p in points], marker,
                    color=color, ms=6, mew=1.5, ls="", label=label, alpha=0.85)  # fmt: skip
    ax.set(xlabel="objective (loss + L2)", ylabel="index: negative eigenvalues, %")
    ax.legend(frameon=False, fontsize=9)
    return figure


def saddle_slice(result: Staircase) -> Figure:
    """The surface through a saddle: along the escape, and in the plane of the next minimum."""
    cut = result.slice
    assert cut is not None
    figure, (line, plane) = panels(columns=2)
    line.plot(cut.distances, cut.losses, color=_PATH, label="loss")
    centre = cut.losses[cut.distances.size // 2]
    parabola = centre + cut.curvature * cut.distances**2 / 2
    low, high = cut.losses.min(), cut.losses.max()
    line.plot(cut.distances, parabola, "--", color=_SADDLE, lw=1.2,
              label=f"second order, λ = {cut.curvature:.4f}")  # fmt: skip
    line.plot(0, centre, "x", color=_SADDLE, ms=9, mew=2)
    line.set(xlabel="distance along the escape", ylabel="objective (loss + L2)")
    line.set_ylim(low - 0.1 * (high - low), high + 0.15 * (high - low))
    line.legend(frameon=False, fontsize=9)
    levels = np.geomspace(cut.plane.min() * 1.0001, cut.plane.max(), 26)
    plane.contourf(*cut.axes, cut.plane, levels=levels, cmap="viridis")
    plane.contour(*cut.axes, cut.plane, levels=levels, colors="white", linewidths=0.3)
    plane.grid(visible=False)
    styles = {"saddle": ("x", _SADDLE), "escape": (">", "#ffffff"), "minimum": ("o", "#7dffb8")}
    for name, (x, y) in cut.marks.items():
        marker, color = styles[name]
        plane.plot(x, y, marker, color=color, ms=9, mew=2.2)
        plane.annotate(
            name, (x, y), xytext=(8, 6), textcoords="offset points", color="white", fontsize=9
        )
    plane.set(xlabel="along the escape", ylabel="across, towards the next minimum")
    return figure


def prediction(result: Staircase) -> Figure:
    """Predicted against measured lowest eigenvalue and index of every dead-unit saddle."""
    figure, (eigenvalue, index) = panels(columns=2)
    saddles = [(level.width, s) for level in result.levels for s in level.saddles]
    widths = sorted({width for width, _ in saddles})
    colors = dict(
        zip(widths, colormaps["viridis"](np.linspace(0.05, 0.85, len(widths))), strict=True)
    )
    for width in widths:
        chosen = [s for w, s in saddles if w == width]
        eigenvalue.plot(
            [-s.predicted.lowest for s in chosen],
            [-s.measured.eigenvalues[0] for s in chosen],
            "o", color=colors[width], ms=6, alpha=0.8, label=f"width {width} + 1",
        )  # fmt: skip
    values = [-s.predicted.lowest for _, s in saddles]
    scale = "log" if min(values) > 0 else "linear"  # linear where a dead unit made a minimum
    ends = [0.8 * min(values), 1.25 * max(values)]
    eigenvalue.plot(ends, ends, color="#444444", lw=0.8, zorder=0)
    eigenvalue.set(xscale=scale, yscale=scale, xlabel="predicted −λ₁", ylabel="measured −λ₁")
    eigenvalue.legend(frameon=False, fontsize=9)
    pairs, counts = np.unique(
        [(s.predicted.index, s.measured.index) for _, s in saddles], axis=0, return_counts=True
    )
    top = pairs.max() + 2
    index.plot([0, top], [0, top], color="#444444", lw=0.8, zorder=0)
    index.scatter(pairs[:, 0], pairs[:, 1], s=30 + 12 * counts, color=_SADDLE, alpha=0.8)
    for (x, y), count in zip(pairs, counts, strict=True):
        index.annotate(f"{count} saddles", (x, y), xytext=(-12, 0), textcoords="offset points",
                       ha="right", va="center", fontsize=9)  # fmt: skip
    index.set(xlabel="predicted index", ylabel="measured index", xlim=(0, top), ylim=(0, top))
    return figure


def spectrum(point: Analysis) -> Figure:
    """One point's eigenvalues, ascending, with the tolerance band."""
    figure, (ax,) = panels(height=3.4)
    values = point.eigenvalues
    sign = np.repeat(["n", "z", "p"], point.counts)  # which scaled eigenvalues may have decided
    for code, color, label in (
        ("n", _SADDLE, "negative"), ("z", "#d98c1f", "within tolerance"), ("p", _PATH, "positive")
    ):  # fmt: skip
        chosen = np.flatnonzero(sign == code)
        if chosen.size:
            ax.plot(chosen + 1, values[chosen], ".", color=color, label=f"{chosen.size:,} {label}")
    ax.axhline(0, color="#444444", lw=0.8)
    largest = float(np.abs(values).max())
    _signed_log(ax, max(min(point.tolerance, largest), 1e-6 * largest, 1e-300))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="eigenvalue, in ascending order", ylabel="eigenvalue")
    ax.legend(frameon=False, fontsize=9)
    return figure


def density(result: Density) -> Figure:
    """The distribution of the eigenvalues, with two standard errors of the probes on either side.

    Over λ, with the height of a single eigenvalue; and over the decades of |λ|, both signs, with
    the interval of each share, which knows of the quadratures as well.
    """
    figure, (linear, signed) = panels(width=11.0, columns=2)

    def band(ax: Axes, x: np.ndarray, curve: Curve, color: str) -> None:
        spread = 2 * np.nan_to_num(curve.standard_error)
        ax.plot(x, curve.density, color=color, lw=1.3)
        ax.fill_between(
            x, np.maximum(curve.density - spread, 1e-300), curve.density + spread,
            color=color, alpha=0.25, lw=0,
        )  # fmt: skip

    curve = result.linear()
    one = 1 / (result.size * curve.width * np.sqrt(2 * np.pi))
    band(linear, curve.points, curve, _PATH)
    linear.axhline(one, color=_FLAT, lw=1, ls="--")
    linear.set(yscale="log", xlabel="eigenvalue", ylabel="density")
    linear.set_ylim(one / 10, 3 * curve.density.max())
    probes, steps = result.nodes.shape
    source = f"exact, {result.size:,} eigenvalues"
    if not result.exact:
        # of one probe there is no standard error
        how = "probes, ±2 standard errors of them" if probes > 1 else "probe, no standard errors"
        source = f"{probes} {how}, {steps} steps"
    linear.set_title(f"{source}; dashed: one eigenvalue", fontsize=9, loc="left", color="#444444")

    if np.abs(result.nodes).max() > 0:
        decades = result.logarithmic()
        band(signed, -decades.negative.points, decades.negative, _SADDLE)
        band(signed, decades.positive.points, decades.positive, _PATH)
        top = 1.25 * max(side.density.max() for side in (decades.negative, decades.positive))
        least = 3 * decades.floor
        signed.set_xlim(min(2 * result.nodes.min(), -least), max(2 * result.nodes.max(), least))
        signed.set_ylim(0, top or 1)
        _signed_log(signed, decades.floor, horizontal=True)
        signed.axvspan(-decades.floor, decades.floor, color=_FLAT, alpha=0.25, lw=0)
        negative, within, positive = (
            f"{100 * share.value:.1f} %"
            if result.exact
            else f"{100 * share.low:.1f} to {100 * share.high:.1f} %"
            for share in result.shares(decades.floor)
        )
        level = "" if result.exact else f" (at {CONFIDENCE:.0%})"
        signed.set_title(
            f"{negative} below, {within} within ±{decades.floor:.1e}, {positive} above{level}",
            fontsize=9, loc="left", color="#444444",
        )  # fmt: skip
    signed.set(xlabel="eigenvalue, logarithmic", ylabel="share per decade")
    return figure


def neighbourhood(result: Exploration) -> Figure:
    """Index against loss of the critical points found, with the ways out of the saddles."""
    figure, (ax,) = panels()
    for i, (_, end) in result.escapes.items():
        start = result.distinct[i]
        ax.annotate("", (end.loss, end.index), (start.loss, start.index),
                    arrowprops={"arrowstyle": "->", "color": _FLAT, "lw": 1})  # fmt: skip
        ax.plot(end.loss, end.index, "s", mfc="none", ms=8, color=_KIND_COLORS[end.kind])
    for kind in dict.fromkeys(p.kind for p in result.distinct):
        chosen = [p for p in result.distinct if p.kind == kind]
        ax.plot([p.loss for p in chosen], [p.index for p in chosen], "o", ms=7,
                color=_KIND_COLORS[kind], label=f"{kind} ({len(chosen)})")  # fmt: skip
    given = result.point
    ax.plot(given.loss, given.index, "*", ms=13, color="#222222", label="the given point", zorder=5)
    if result.escapes:
        ax.plot([], [], "s", mfc="none", color="#444444", label="where an escape ends")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="loss", ylabel="index")
    ax.margins(0.1)
    ax.legend(frameon=False, fontsize=9)
    return figure


def leaving_saddles(
    curves: dict[str, tuple[list[float], list[float]]],
    races: dict[str, tuple[np.ndarray, float]],
) -> Figure:
    """Ways to train from a saddle, and optimisers on a plateau by steps and by work.

    Args:
        curves: name -> steps and the full losses then, all from one saddle.
        races: name -> the loss before each step, and what a step costs, in gradients.
    """
    figure, (saddle, by_step, by_work) = panels(13.0, columns=3)
    for style, (name, (steps, losses)) in zip(styles(len(curves)), curves.items(), strict=True):
        saddle.plot(steps, losses, **style, lw=1.6, ms=4, label=name)
    first = next(iter(curves.values()))
    saddle.plot(first[0][0], first[1][0], "x", color="#222222", ms=9, mew=2, label="the saddle")
    saddle.set(xlabel="step", ylabel="objective (loss + L2)", title="from a saddle", ylim=(0, None))
    saddle.legend(frameon=False, fontsize=9)
    colors = [_SADDLE, *colormaps["Blues"](np.linspace(0.45, 0.95, len(races) - 1))]
    for color, (name, (losses, cost)) in zip(colors, races.items(), strict=True):
        done = np.arange(len(losses))
        by_step.plot(done + 1, losses, color=color, lw=1.6, label=name)
        by_work.plot(done * cost + 1, losses, color=color, lw=1.6, label=name)
    for ax, label in ((by_step, "step"), (by_work, "work, in gradients")):
        ax.set(xscale="log", yscale="log", xlabel=label, ylabel="loss", title="on a plateau")
        ax.yaxis.set_major_formatter(ScalarFormatter())
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_yticks([0.01, 0.02, 0.03, 0.05, 0.07, 0.1])
        ax.legend(frameon=False, fontsize=9)
    return figure


def surface(result: Surface, path: np.ndarray | None = None) -> Figure:
    """The loss on a line, on a plane, or on three slices through the middle of a volume.

    The levels are spaced evenly in the logarithm of the height above the lowest loss.

    Args:
        result: whole or so far.
        path: coordinates of points, such as `landscape.project` gives, to be drawn onto the plane
            or the slices, shape `(points, directions)`.
    """
    axes, losses = result.coordinates, result.losses
    if losses.ndim == 1:
        figure, (ax,) = panels()
        ax.plot(axes[0], losses, ".-", color=_PATH, ms=4)
        ax.axvline(0, color="#444444", lw=0.8)
        ax.set(xlabel="direction 1", ylabel="loss")
        finite = losses[np.isfinite(losses)]
        if finite.size and 0 < 30 * finite.min() < finite.max():
            ax.set_yscale("log")
        return figure
    pairs = [(0, 1)] if losses.ndim == 2 else [(0, 1), (0, 2), (1, 2)]
    columns = len(pairs)
    figure, subplots = panels(5.6 if columns == 1 else 12.0, 4.4, columns)
    norm = _heights(losses)
    middle = [int(np.argmin(abs(axis))) for axis in axes]
    for ax, (i, j) in zip(subplots, pairs, strict=True):
        others = tuple(slice(None) if k in (i, j) else m for k, m in enumerate(middle))
        _contours(ax, (axes[i], axes[j]), losses[others], norm)
        ax.plot(0, 0, "+", color="white", ms=9, mew=1.5)
        if path is not None:
            ax.plot(path[:, i], path[:, j], ".-", color="white", ms=5, lw=0.8)
        ax.set(xlabel=f"direction {i + 1}", ylabel=f"direction {j + 1}")
    _loss_scale(figure, subplots, norm)
    return figure


def trajectory(result: Trajectory, plane: Surface) -> Figure:
    """A path in the plane of its first two components, and whether the picture is right.

    Left each point is filled with the colour of its true loss: where it stands out from the
    ground, the plane is not what the path saw. Right both losses, point by point.

    Args:
        result: with two components or more.
        plane: the loss on that of the first two.
    """
    figure, (left, right) = panels(11.0, 4.4, columns=2)
    norm = _heights(np.concatenate([plane.losses.ravel(), result.losses]))
    _contours(left, plane.coordinates, plane.losses, norm)
    x, y = result.path[:, :2].T
    left.plot(x, y, color="white", lw=0.8, alpha=0.9)
    left.scatter(
        x, y, c=result.losses, cmap=_HEIGHTS, norm=norm, edgecolor="white", lw=1, s=42, zorder=5
    )
    left.plot(x[-1], y[-1], "*", color="white", mec="#222222", ms=14, zorder=6)
    shares = [f"{100 * ratio:.1f} % of the variance" for ratio in result.explained_variance_ratio]
    left.set(xlabel=f"component 1: {shares[0]}", ylabel=f"component 2: {shares[1]}")
    _loss_scale(figure, [left], norm)
    numbers = np.arange(len(x))
    right.plot(numbers, result.losses, "o-", color=_PATH, ms=4, label="at the point itself")
    right.plot(
        numbers, result.projected_losses, "x--", color=_SADDLE, ms=5,
        label="at its projection: what the picture shows",
    )  # fmt: skip
    if min(result.losses.min(), result.projected_losses.min()) > 0:
        right.set_yscale("log")
    right.set(xlabel="point of the path", ylabel="loss")
    right.set_title(f"off by up to {100 * result.errors.max():.3g} %", fontsize=10)
    right.legend(frameon=False, fontsize=9)
    return figure


def connection(result: Connection) -> Figure:
    """The loss on the straight line between two points and on the curve, with the barriers."""
    figure, (ax,) = panels()
    ways = {"straight line": (result.line, _SADDLE), "curve": (result.curve, _MINIMUM)}
    barriers = (result.line_barrier, result.curve_barrier)
    for (label, (losses, color)), barrier in zip(ways.items(), barriers, strict=True):
        ax.plot(result.t, losses, color=color, label=f"{label}: barrier {barrier:.3g}")
    ends = result.line[[0, -1]]
    ax.plot([0, 1], ends, "--", color=_FLAT, lw=1, label="interpolation of the ends", zorder=0)
    ax.plot([0, 1], ends, "o", color="#222222", ms=6)
    both = np.concatenate([result.line, result.curve])
    if 0 < 30 * both.min() < both.max():
        ax.set_yscale("log")
    ax.set(xlabel="t, from one point to the other", ylabel="loss")
    ax.legend(frameon=False, fontsize=9)
    return figure


_HEIGHTS = "viridis"


def _heights(losses: np.ndarray) -> BoundaryNorm:
    """Levels spaced evenly in the logarithm of the height above the lowest loss."""
    finite = losses[np.isfinite(losses)]
    low = finite.min() if finite.size else 0.0
    heights = np.unique(finite - low)[1:]
    if heights.size == 0:
        heights = np.ones(1)
    first = min(np.quantile(heights, 0.01), heights[-1] / 10)
    levels = low + np.append(0, np.geomspace(first, heights[-1], 24))
    return BoundaryNorm(levels, colormaps[_HEIGHTS].N)


def _contours(ax: Axes, axes: Sequence[np.ndarray], losses: np.ndarray, norm: BoundaryNorm) -> None:
    """Filled contours, with the first coordinate to the right; hatched where there is no number."""
    ax.set_facecolor("#dddddd")
    ax.patch.set(hatch="///", edgecolor="#bbbbbb")
    shown = np.where(losses == np.inf, norm.boundaries[-1], losses).T
    ax.contourf(*axes, shown, norm.boundaries, norm=norm, cmap=_HEIGHTS)
    ax.contour(*axes, shown, norm.boundaries, colors="white", linewidths=0.3)
    ax.grid(visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(6))


def _loss_scale(figure: Figure, axes: list[Axes], norm: BoundaryNorm) -> None:
    mappable = ScalarMappable(norm, _HEIGHTS)
    bar = figure.colorbar(mappable, ax=axes, label="loss", ticks=norm.boundaries[::4])
    bar.ax.set_yticklabels([f"{level:.3g}" for level in norm.boundaries[::4]])
    bar.ax.minorticks_off()


def edge_of_stability(history: dict[str, list]) -> Figure:
    """λ_max along a run and the threshold of its optimiser, from the hook's history."""
    figure, (ax,) = panels()
    ax.plot(history["step"], history["sharpness"], ".-", color=_PATH, lw=1, label="λ_max")
    ax.plot(history["step"], history["threshold"], "--", color=_SADDLE, lw=1.2, label="threshold")
    ax.set(xlabel="step", ylabel="largest eigenvalue")
    ax.set_ylim(bottom=min(0.0, *history["sharpness"]))
    ax.legend(frameon=False, fontsize=9)
    return figure


def series(steps: Sequence[Step]) -> Figure:
    """The eigenvalues at both ends, and the loss, along a training."""
    figure, (ends, loss) = panels(columns=2)
    at = [step.step for step in steps]
    values = np.array([step.ends.values for step in steps])
    for k, column in enumerate(values.T):
        top = k == values.shape[1] - 1
        color = _SADDLE if column[-1] < 0 else _PATH
        ends.plot(at, column, "o-", ms=3, lw=1.2, color=color, alpha=1 if top else 0.5)
    ends.axhline(0, color="#444444", lw=0.8)
    _signed_log(ends, max(1e-3 * float(abs(values).max()), 1e-12))
    ends.set(xlabel="step", ylabel="eigenvalue")
    loss.plot(at, [step.loss for step in steps], "o-", ms=3, color=_PATH, label="loss")
    loss.plot(
        at, [step.gradient_norm for step in steps], "o-", ms=3, color=_FLAT, label="gradient norm"
    )
    loss.set(xlabel="step", yscale="log")
    loss.legend(frameon=False, fontsize=9)
    return figure
