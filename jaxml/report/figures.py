"""Figures of results; each function returns a matplotlib `Figure` and shows nothing."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

from jaxml.landscape import Analysis, Exploration
from jaxml.staircase import Staircase

_MINIMUM, _SADDLE, _FLAT, _PATH = "#1b7f4d", "#c2334d", "#9a9a9a", "#5b7db1"
_KIND_COLORS = {
    "minimum": _MINIMUM,
    "saddle": _SADDLE,
    "maximum": "#7a3fa0",
    "degenerate": "#d98c1f",
    "undecided": "#d98c1f",
    "not critical": _FLAT,
}


def _axes(width: float = 9.0, height: float = 4.2, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _signed_log(ax: Axes, smallest: float) -> None:
    """Both signs on a logarithmic axis, linear below `smallest`, ticks that do not collide."""
    ax.set_yscale("symlog", linthresh=smallest, linscale=0.6)
    low, high = (max(abs(limit), smallest) for limit in ax.get_ylim())
    decades = np.arange(np.ceil(np.log10(smallest)), np.ceil(np.log10(max(low, high))) + 1)
    powers = 10.0 ** decades[:: max(1, len(decades) // 5)]
    ax.set_yticks([*(-powers[powers <= low][::-1]), 0, *powers[powers <= high]])
    ax.minorticks_off()


def staircase(result: Staircase) -> Figure:
    """Loss against step for every seed, with its minima and saddles."""
    figure, (ax,) = _axes()
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
                label="the same with a dead unit: a saddle" if first else None,
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
    figure, (ax,) = _axes()
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
    figure, (ax,) = _axes()
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
    figure, (line, plane) = _axes(columns=2)
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
    figure, (eigenvalue, index) = _axes(columns=2)
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
    figure, (ax,) = _axes(height=3.4)
    values = point.eigenvalues
    sign = np.where(values < -point.tolerance, "n", np.where(values > point.tolerance, "p", "z"))
    for code, color, label in (
        ("n", _SADDLE, "negative"), ("z", "#d98c1f", "within tolerance"), ("p", _PATH, "positive")
    ):  # fmt: skip
        chosen = np.flatnonzero(sign == code)
        if chosen.size:
            ax.plot(chosen + 1, values[chosen], ".", color=color, label=f"{chosen.size:,} {label}")
    ax.axhline(0, color="#444444", lw=0.8)
    _signed_log(ax, max(point.tolerance, 1e-6 * float(np.abs(values).max()), 1e-300))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="eigenvalue, in ascending order", ylabel="eigenvalue")
    ax.legend(frameon=False, fontsize=9)
    return figure


def neighbourhood(result: Exploration) -> Figure:
    """Index against loss of the critical points found, with the ways out of the saddles."""
    figure, (ax,) = _axes()
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
    figure, (saddle, by_step, by_work) = _axes(13.0, columns=3)
    colors = [_FLAT, _SADDLE, _MINIMUM, _PATH]
    for color, (name, (steps, losses)) in zip(colors, curves.items(), strict=False):
        saddle.plot(steps, losses, color=color, lw=1.6, marker=".", ms=4, label=name)
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
        ax.set_yticks([t for t in (0.01, 0.02, 0.03, 0.05, 0.07, 0.1) if t <= 2 * losses.max()])
        ax.legend(frameon=False, fontsize=9)
    return figure
