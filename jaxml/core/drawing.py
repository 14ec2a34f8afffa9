"""What all pictures share: colours, scales, legends, and how they become SVG.

matplotlib is imported when something is drawn, so that importing jaxml stays cheap.
"""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import BoundaryNorm

# legible on white and on black
BLUE, RED, GREEN, ORANGE = "#5b86c9", "#d64560", "#2b9a62", "#d98c1f"
PURPLE, TEAL, BROWN, GREY = "#a06cd5", "#2a9d9d", "#a5834a", "#8e8e8e"
COLORS = (BLUE, RED, GREEN, ORANGE, PURPLE, TEAL, BROWN, GREY)
HEIGHTS = "viridis"
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
# dots are for what is fitted
_LINES = ("-", "--", "-.", (0, (6, 1.5, 1.2, 1.5, 1.2, 1.5)))
# inches; at this width of the column the text is as large as the page's smallest
_WIDTH = 4.3
# takes the place of the page's own colour of text
_INK = "#010203"
_STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
    "axes.edgecolor": _INK,
    "axes.facecolor": "none",
    "font.size": 10,
    "legend.fontsize": 8.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "jaxml",
}


def ink() -> str:
    """The colour of text where one draws: light on a dark page, dark on a light one."""
    import matplotlib

    return matplotlib.rcParams["text.color"]


def svg(figure: Any) -> str:
    """A `Figure` as an SVG element that takes the colour of the text around it."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        canvas = Figure(figsize=(_WIDTH, _WIDTH * figure.height), layout="constrained")
        draw_on(canvas.add_subplot(projection=figure.projection), figure)
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.savefig(buffer, format="svg", transparent=True, metadata=nothing, dpi=150)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # comments repeat the labels; ids and name spaces are of no use within a page
    text = re.sub(r'<!--.*?-->|(?<=<g) id="[^"]*"| xmlns(:xlink)?="[^"]*"', "", text, flags=re.S)
    text = re.sub(r"\n\s*", "\n", text).replace(_INK, "currentColor")
    label = html.escape(figure.alt)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def plot(figure: Any, ax: Axes | None = None) -> Axes:
    """Draw a `Figure` on axes, or on those of a new figure of pyplot's."""
    if ax is None:
        from matplotlib import pyplot

        kind = {"projection": figure.projection}
        _, ax = pyplot.subplots(layout="constrained", subplot_kw=kind)
    return draw_on(ax, figure)


def draw_on(ax: Axes, figure: Any) -> Axes:
    """Draw a `Figure` on axes: its lines on a light grid, few ticks on logarithmic axes."""
    if figure.projection is None:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
    figure.draw(ax)
    for axis in (ax.xaxis, ax.yaxis):
        _few_ticks(axis)
    return ax


def _few_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis that do not overlap, unless they were set one by one."""
    from matplotlib.ticker import (
        FixedLocator,
        FuncFormatter,
        LogLocator,
        MaxNLocator,
        NullLocator,
    )

    if axis.get_scale() != "log" or isinstance(axis.get_major_locator(), FixedLocator):
        return
    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low) if low > 0 else np.inf
    axis.set_minor_locator(NullLocator())
    if decades > 2:
        axis.set_major_locator(LogLocator(numticks=5))
        return
    # fewer decades than ticks: 1, 2, 5, or evenly, and as plain numbers
    if decades > 0.6:
        subs = (1.0, 2.0, 5.0) if decades < 1.5 else (1.0, 3.0)
        axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    else:
        axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def styles(count: int, *, ordered: bool = False) -> list[dict[str, Any]]:
    """Colour, line style and marker of so many groups, as keywords of `Axes.plot`.

    Eight colours, nine markers and four lines in turn, so that no two of 288 are alike, and of
    markers alone or of lines alone no two of 72 and of 32.

    Args:
        count: how many.
        ordered: whether they have an order, such as batch sizes: then the colours do.

    Example:
        >>> len({tuple(style.values()) for style in styles(40)})
        40
    """
    shades = gradient(count) if ordered else [COLORS[i % len(COLORS)] for i in range(count)]
    turns = [i // (4 if ordered else len(COLORS)) for i in range(count)]
    return [
        {
            "color": color,
            "linestyle": _LINES[turn % len(_LINES)],
            "marker": _MARKERS[i % len(_MARKERS)],
        }
        for i, (color, turn) in enumerate(zip(shades, turns, strict=True))
    ]


def gradient(count: int) -> list[str]:
    """So many colours in order, from blue to yellow-green."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(color) for color in colormaps[HEIGHTS](np.linspace(0.38, 0.88, count))]


def scale_of(*values: Any) -> str:
    """The scale of an axis: logarithmic where all finite values are above 0 and there are some."""
    joined = np.concatenate([np.ravel(np.asarray(v, float)) for v in values] or [np.zeros(0)])
    joined = joined[np.isfinite(joined)]
    return "log" if joined.size and joined.min() > 0 else "linear"


def legend(ax: Axes) -> None:
    """The names of what an axes shows: within it while they are few, else below it."""
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) <= 5:
        ax.legend(frameon=False)
        return
    columns = min(4, max(1, 52 // max(map(len, labels))))
    ax.legend(
        handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns,
        frameon=False, fontsize=7.5, handlelength=2.8, columnspacing=1.2,
    )  # fmt: skip


def signed_log(ax: Axes, smallest: float, *, horizontal: bool = False) -> None:
    """Both signs on a logarithmic axis, linear below `smallest`.

    What is drawn stays clear of the border, and the ticks of each other.
    """
    scale, limits, set_limits, ticks = (
        (ax.set_xscale, ax.get_xlim, ax.set_xlim, ax.set_xticks)
        if horizontal
        else (ax.set_yscale, ax.get_ylim, ax.set_ylim, ax.set_yticks)
    )
    scale("symlog", linthresh=smallest, linscale=0.6)
    low, high = limits()
    set_limits(
        *(2 * end if abs(end) > smallest else np.sign(end) * smallest for end in (low, high))
    )
    low, high = (max(abs(limit), smallest) for limit in limits())
    decades = np.arange(np.ceil(np.log10(smallest)), np.floor(np.log10(max(low, high))) + 1)
    powers = 10.0 ** decades[:: -max(1, -(-len(decades) // (2 if horizontal else 4)))]
    ticks(sorted([*(-powers[powers <= low]), 0, *powers[powers <= high]]))
    ax.minorticks_off()


def heights(losses: np.ndarray) -> BoundaryNorm:
    """Levels spaced evenly in the logarithm of the height above the lowest loss."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm

    finite = losses[np.isfinite(losses)]
    low = finite.min() if finite.size else 0.0
    above = np.unique(finite - low)[1:]
    if above.size == 0:
        above = np.ones(1)
    first = min(np.quantile(above, 0.01), above[-1] / 10)
    levels = low + np.append(0, np.geomspace(first, above[-1], 24))
    return BoundaryNorm(levels, colormaps[HEIGHTS].N)


def contours(ax: Axes, axes: Any, losses: np.ndarray, norm: BoundaryNorm | None = None) -> None:
    """Filled contours with their scale, the first coordinate to the right.

    Hatched where there is no number.

    Args:
        ax: where to.
        axes: the two coordinates, shapes `(m,)` and `(n,)`.
        losses: shape `(m, n)`.
        norm: the levels, see `heights`; those of `losses` by default.
    """
    from matplotlib.cm import ScalarMappable

    norm = norm or heights(losses)
    ax.set_facecolor("#8884")
    ax.patch.set(hatch="///", edgecolor="#8888")
    shown = np.where(losses == np.inf, norm.boundaries[-1], losses).T
    ax.contourf(*axes, shown, norm.boundaries, norm=norm, cmap=HEIGHTS)
    ax.contour(*axes, shown, norm.boundaries, colors="white", linewidths=0.3)
    ax.grid(visible=False)
    ax.locator_params(nbins=5)
    bar = ax.figure.colorbar(
        ScalarMappable(norm, HEIGHTS), ax=ax, label="loss", ticks=norm.boundaries[::4]
    )
    bar.ax.set_yticklabels([f"{level:.3g}" for level in norm.boundaries[::4]])
    bar.ax.minorticks_off()
