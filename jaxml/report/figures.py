"""Figures of results; each function returns a matplotlib `Figure` and shows nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

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
