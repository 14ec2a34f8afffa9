"""What the results about the surface around points show."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from jaxml.core.drawing import BLUE, GREEN, GREY, HEIGHTS, RED, contours, heights, ink
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.landscape.geometry.mode_connectivity import Connection
from jaxml.landscape.geometry.path_angle import PathAngle
from jaxml.landscape.geometry.sharpness import Sharpness
from jaxml.landscape.geometry.surfaces import Surface
from jaxml.landscape.geometry.trajectory_pca import Trajectory


@finding.register
def _(found: Sharpness) -> Finding:
    defined = not math.isnan(found.keskar)
    keskar = f"{found.keskar:.4g} %" if defined else "undefined for a loss of −1 or less"
    left = "" if found.converged else ", not converged"
    largest = f"{found.largest_eigenvalue:.5g} (residual {found.residual:.0e}{left})"
    table = Table(
        ("measure", "value", "first order"),
        [
            ("largest eigenvalue", largest, ""),
            ("trace", found.stated_trace, ""),
            ("Keskar's φ (box 1e-3)", keskar, ""),
            ("SAM (radius 0.05)", f"{found.sam.largest:.4g}", f"{found.sam.first_order:.4g}"),
            (
                "adaptive SAM (radius 0.5)",
                f"{found.adaptive_sam.largest:.4g}",
                f"{found.adaptive_sam.first_order:.4g}",
            ),
        ],
    )
    sign = "=" if found.converged else "≥"
    stable = ""
    if found.converged and found.largest_eigenvalue > 0:
        stable = f"; gradient descent is stable up to η = {2 / found.largest_eigenvalue:.3g}"
    return Finding(
        name="sharpness",
        question="How sharp is the loss here?",
        verdict=(
            f"λ_max {sign} {found.largest_eigenvalue:.4g} at a loss of {found.loss:.4g}{stable}"
        ),
        sections=[Section("Measures of sharpness", table=table)],
        numbers=vars(found),
        records=[
            {"measure": "largest eigenvalue", "value": found.largest_eigenvalue},
            {"measure": "trace", "value": found.trace},
            {"measure": "Keskar's φ, %", "value": found.keskar},
            {"measure": "SAM", "value": found.sam.largest},
            {"measure": "adaptive SAM", "value": found.adaptive_sam.largest},
        ],
    )


@finding.register
def _(result: Surface) -> Finding:
    losses = result.losses[result.done]
    finite = losses[np.isfinite(losses)]
    verdict = "no finite loss so far"
    middle = tuple(int(np.argmin(abs(axis))) for axis in result.coordinates)
    if finite.size:
        at = np.unravel_index(int(np.nanargmin(np.where(result.done, result.losses, np.nan))),
                              result.losses.shape)  # fmt: skip
        place = ", ".join(f"{axis[i]:.3g}" for axis, i in zip(result.coordinates, at, strict=True))
        verdict = f"loss {finite.min():.4g} to {finite.max():.4g}; the lowest at ({place})"
        if at == middle:
            verdict += ", the point itself or what is nearest to it on the grid"
    if not result.finished:
        verdict += f"; {int(result.done.sum()):,} of {result.done.size:,} points done"
    elif finite.size < losses.size:
        verdict += f"; {losses.size - finite.size:,} of {losses.size:,} losses are not finite"
    grid = np.meshgrid(*result.coordinates, indexing="ij")
    return Finding(
        name="surface",
        question="What does the loss look like around the point?",
        verdict=verdict,
        sections=[Section("The loss", figures=surface_figures(result))],
        numbers=vars(result),
        records={f"direction {i + 1}": part.ravel() for i, part in enumerate(grid)}
        | {"loss": result.losses.ravel(), "done": result.done.ravel()},
    )


def surface_figures(result: Surface, path: np.ndarray | None = None) -> list[Figure]:
    """The loss on a line, on a plane, or on three slices through the middle of a volume.

    The levels are spaced evenly in the logarithm of the height above the lowest loss.

    Args:
        result: whole or so far.
        path: coordinates of points, such as `landscape.project` gives, to be drawn onto the plane
            or the slices, shape `(points, directions)`.
    """
    axes, losses = result.coordinates, result.losses
    finite = losses[np.isfinite(losses)]
    span = f"from {finite.min():.3g} to {finite.max():.3g}" if finite.size else "nowhere finite"
    if losses.ndim == 1:

        def line(ax: Any) -> None:
            ax.plot(axes[0], losses, ".-", color=BLUE, ms=4)
            ax.axvline(0, color=ink(), lw=0.8)
            ax.set(xlabel="direction 1", ylabel="loss")
            if finite.size and 0 < 30 * finite.min() < finite.max():
                ax.set_yscale("log")

        return [Figure(line, f"The loss along a line, {span}.")]
    pairs = [(0, 1)] if losses.ndim == 2 else [(0, 1), (0, 2), (1, 2)]
    middle = [int(np.argmin(abs(axis))) for axis in axes]

    def plane(i: int, j: int) -> Figure:
        others = tuple(slice(None) if k in (i, j) else m for k, m in enumerate(middle))

        def draw(ax: Any) -> None:
            contours(ax, (axes[i], axes[j]), losses[others], heights(losses))
            ax.plot(0, 0, "+", color="white", ms=9, mew=1.5)
            if path is not None:
                ax.plot(path[:, i], path[:, j], ".-", color="white", ms=5, lw=0.8)
            ax.set(xlabel=f"direction {i + 1}", ylabel=f"direction {j + 1}")

        alt = f"Contours of the loss over directions {i + 1} and {j + 1}, {span}"
        return Figure(draw, f"{alt}{', with a path' if path is not None else ''}.")

    return [plane(i, j) for i, j in pairs]


@finding.register
def _(result: Trajectory) -> Finding:
    count = len(result.explained_variance_ratio)
    walk = sum(6 / (np.pi * k) ** 2 for k in range(1, count + 1))
    worst = int(np.argmax(result.errors))
    ratios = " + ".join(f"{100 * ratio:.1f}" for ratio in result.explained_variance_ratio)
    share = 100 * float(np.sum(result.explained_variance_ratio))
    return Finding(
        name="trajectory",
        question="Does the plane of the principal components show what the path saw?",
        verdict=(
            f"the plane holds {share:.1f} % of the path's variance; its losses are off by up to "
            f"{100 * result.errors[worst]:.3g} %"
        ),
        text=[
            f"{ratios} % of the path's variance lie along {count} components (a random walk: "
            f"{100 * walk:.0f} %); the loss in their span is off by up to "
            f"{100 * result.errors[worst]:.3g} %: {result.projected_losses[worst]:.4g} for "
            f"{result.losses[worst]:.4g} at point {worst}, {result.distances[worst]:.3g} away from "
            "it"
        ],
        sections=[Section("Losses of the path", figures=[_losses(result)])],
        numbers={
            name: getattr(result, name)
            for name in (
                *("explained_variance_ratio", "path", "distances", "losses"),
                "projected_losses",
            )
        },
        records={
            **{f"component {i + 1}": column for i, column in enumerate(result.path.T)},
            "distance": result.distances,
            "loss": result.losses,
            "projected_loss": result.projected_losses,
        },
    )


def trajectory_figures(result: Trajectory, plane: Surface) -> list[Figure]:
    """A path in the plane of its first two components, and whether the picture is right.

    Each point is filled with the colour of its true loss: where it stands out from the ground, the
    plane is not what the path saw. Beside it both losses, point by point.

    Args:
        result: with two components or more.
        plane: the loss on that of the first two.
    """
    shares = [f"{100 * ratio:.1f} % of the variance" for ratio in result.explained_variance_ratio]

    def draw(ax: Any) -> None:
        norm = heights(np.concatenate([plane.losses.ravel(), result.losses]))
        contours(ax, plane.coordinates, plane.losses, norm)
        x, y = result.path[:, :2].T
        ax.plot(x, y, color="white", lw=0.8, alpha=0.9)
        ax.scatter(
            x, y, c=result.losses, cmap=HEIGHTS, norm=norm, edgecolor="white", lw=1, s=42, zorder=5
        )
        ax.plot(x[-1], y[-1], "*", color="white", mec="#222222", ms=14, zorder=6)
        ax.set(xlabel=f"component 1: {shares[0]}", ylabel=f"component 2: {shares[1]}")

    alt = (
        f"The path of {len(result.path)} points over contours of the loss in its principal plane; "
        f"each point has the colour of its own loss, {result.losses[0]:.3g} at the first and "
        f"{result.losses[-1]:.3g} at the last."
    )
    return [Figure(draw, alt, height=0.85), _losses(result)]


def _losses(result: Trajectory) -> Figure:
    def draw(ax: Any) -> None:
        at = np.arange(len(result.losses))
        ax.plot(at, result.losses, "o-", color=BLUE, ms=4, label="at the point itself")
        ax.plot(at, result.projected_losses, "x--", color=RED, ms=5,
                label="at its projection: what the picture shows")  # fmt: skip
        if min(result.losses.min(), result.projected_losses.min()) > 0:
            ax.set_yscale("log")
        ax.set(xlabel="point of the path", ylabel="loss")
        ax.legend(frameon=False)

    worst = 100 * result.errors.max()
    return Figure(
        draw, f"The loss at each point and at its projection, which is off by up to {worst:.3g} %."
    )


@finding.register
def _(result: Connection) -> Finding:
    count = len(jax.tree.leaves(result.bends)[0])
    line, curve = result.line_barrier, result.curve_barrier
    return Finding(
        name="connection",
        question="Is there a way of low loss between two points?",
        verdict=(
            f"barrier {line:.3g} on the straight line, {curve:.3g} on a curve "
            f"with {count} control point{'s'[: count > 1]} between"
        ),
        text=[f"loss {result.line[0]:.4g} and {result.line[-1]:.4g} at the ends"],
        sections=[Section("The loss between the points", figures=[_connection(result)])],
        numbers={
            "t": result.t,
            "line": result.line,
            "curve": result.curve,
            "line_barrier": line,
            "curve_barrier": curve,
        },
        records={"t": result.t, "line": result.line, "curve": result.curve},
    )


def _connection(result: Connection) -> Figure:
    """The loss on the straight line between two points and on the curve, with the barriers."""

    def draw(ax: Any) -> None:
        ways = (
            ("straight line", result.line, result.line_barrier, RED),
            ("curve", result.curve, result.curve_barrier, GREEN),
        )
        for label, losses, barrier, color in ways:
            ax.plot(result.t, losses, color=color, label=f"{label}: barrier {barrier:.3g}")
        ends = result.line[[0, -1]]
        ax.plot([0, 1], ends, "--", color=GREY, lw=1, label="interpolation of the ends", zorder=0)
        ax.plot([0, 1], ends, "o", color=ink(), ms=6)
        both = np.concatenate([result.line, result.curve])
        if 0 < 30 * both.min() < both.max():
            ax.set_yscale("log")
        ax.set(xlabel="t, from one point to the other", ylabel="loss")
        ax.legend(frameon=False)

    return Figure(
        draw,
        f"The loss between two points: up to {result.line.max():.3g} on the straight line and "
        f"{result.curve.max():.3g} on the curve.",
    )


@finding.register
def _(found: PathAngle) -> Finding:
    before, behind = (
        found.cosines[chosen & np.isfinite(found.cosines)]
        for chosen in (found.places < 1, found.places > 1)
    )
    forward = float((before > 0).mean()) if len(before) else math.nan
    back = float((behind < 0).mean()) if len(behind) else math.nan
    end = int(abs(found.places - 1).argmin())
    behind_it = f", and behind the end leads back at {back:.0%}" if len(behind) else ""
    return Finding(
        name="the way to where a game ended",
        question="Do the players go straight to where they ended?",
        verdict=f"the field leads on along the straight line at {forward:.0%} of its points before "
        f"the end{behind_it}; its cosine with the line is at most "
        f"{np.nanmax(abs(found.cosines)):.2g} in size",
        text=[f"At the end the field has the norm {found.norms[end]:.2g}."],
        sections=[Section("The angle along the line", figures=[_angles(found)])],
        numbers=dict(vars(found)),
        records=dict(vars(found)),
    )


def _angles(found: PathAngle) -> Figure:
    def draw(ax: Any) -> None:
        ax.plot(found.places, found.cosines, color=BLUE)
        ax.axhline(0, color=ink(), lw=0.8)
        ax.axvline(1, color=GREY, lw=0.8, ls="--")
        ax.set(xlabel="from the start (0) to the end (1)", ylabel="cosine of field and line")
        ax.set_ylim(-1.05, 1.05)

    return Figure(draw, "The cosine between the players' field and the line to where they ended.")
