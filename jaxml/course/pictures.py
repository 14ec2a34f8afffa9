"""Pictures that many experiments share."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxml.core import drawing
from jaxml.core.finding import Figure


def curves(
    lines: Mapping[str, Any],
    alt: str,
    *,
    style: str | Mapping[str, str] = "-",
    **axes: Any,
) -> Figure:
    """One line for each name.

    Args:
        lines: label -> y, over 0, 1, ..., or `(x, y)`, or `(x, y, half of an interval)`.
        alt: what is seen.
        style: matplotlib's, such as "o-", of all or by label.
        **axes: of `Axes.set`: `xlabel`, `ylabel`, `xscale`, `ylim`, ...
    """

    def draw(ax: Any) -> None:
        for color, (label, line) in zip(itertools.cycle(drawing.COLORS), lines.items()):
            x, y, *half = line if isinstance(line, tuple) else (np.arange(len(line)), line)
            own = style if isinstance(style, str) else style.get(label, "-")
            ax.plot(x, y, own, color=color, label=label, markersize=4, linewidth=1.4)
            if half:
                ax.errorbar(x, y, *half, fmt="none", color=color, capsize=2, linewidth=1)
        ax.set(**axes)
        if len(lines) > 1:
            drawing.legend(ax)

    return Figure(draw, alt)


def bars(values: Mapping[str, Any], alt: str, **axes: Any) -> Figure:
    """One bar for each name, or one for each of a group: label -> {name: value}."""

    def draw(ax: Any) -> None:
        first = next(iter(values.values()))
        if not isinstance(first, Mapping):
            ax.bar(list(values), list(values.values()), color=drawing.BLUE)
        else:
            width = 0.8 / len(values)
            for i, (label, group) in enumerate(values.items()):
                places = np.arange(len(group)) + (i - (len(values) - 1) / 2) * width
                ax.bar(places, list(group.values()), width, label=label, color=drawing.COLORS[i])
            ax.set_xticks(np.arange(len(first)), list(first))
        ax.set(**axes)
        if isinstance(first, Mapping):
            low, high = ax.get_ylim()  # room for the legend
            ax.set_ylim(low, high * (high / low) ** 0.2 if low > 0 else 1.3 * high)
            drawing.legend(ax)

    return Figure(draw, alt)


def contours(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    alt: str,
    *,
    paths: Mapping[str, tuple[Any, Any]] | None = None,
    points: Mapping[str, tuple[float, float]] | None = None,
    **axes: Any,
) -> Figure:
    """The contours of a function of two numbers, with paths and points upon them.

    Args:
        x: to the right.
        y: upwards.
        values: shape `(len(y), len(x))`.
        alt: what is seen.
        paths: label -> (x, y).
        points: label -> (x, y).
        **axes: of `Axes.set`.
    """

    def draw(ax: Any) -> None:
        drawing.contours(ax, (x, y), values.T)
        colors = iter((drawing.RED, drawing.ORANGE, "white", drawing.GREY))
        for label, (across, up) in (paths or {}).items():
            ax.plot(across, up, ".-", color=next(colors), markersize=3, linewidth=1.4, label=label)
        for label, (across, up) in (points or {}).items():
            ax.plot(across, up, "*", color=next(colors), markersize=11, mec="black", label=label)
        ax.set(**axes)
        if paths or points:  # below: on the contours it would not be legible
            ax.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False,
                facecolor=drawing.GREY,
            )  # fmt: skip

    return Figure(draw, alt)


def images(rows: Mapping[str, Sequence[Any]], alt: str) -> Figure:
    """Grey images in rows with a label each: label -> images of one shape."""
    strips = [np.hstack([np.pad(np.asarray(i), 1) for i in row]) for row in rows.values()]
    whole = np.vstack(strips)

    def draw(ax: Any) -> None:
        ax.imshow(whole, cmap="gray", aspect="equal")
        ax.grid(visible=False)
        height = len(whole) / len(rows)
        ax.set_yticks([(i + 0.5) * height - 0.5 for i in range(len(rows))], list(rows))
        ax.set_xticks([])

    # the labels take a part of the width
    return Figure(draw, alt, height=min(0.72, 0.85 * whole.shape[0] / whole.shape[1] + 0.05))
