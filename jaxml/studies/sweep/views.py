"""What the lanes of a study, and descents on a surface, show."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.drawing import GREY, ink, legend, scale_of, styles
from jaxml.core.finding import Figure, Finding, Section, Table, finding
from jaxml.core.words import counted
from jaxml.studies.sweep.descents import SURFACES, Descents
from jaxml.studies.sweep.result import Study

WORDS = {"target": "hit", "budget": "missed", "plateau": "plateau", "not finite": "diverged"}
"""How a lane ended, in a word."""


def named(optimizer: Any, momentum: Any) -> str:
    """An optimiser and its momentum."""
    return f"{optimizer}, β = {momentum:g}" if momentum else str(optimizer)


def measure_of(study: Study) -> str:
    """The measure that a study is judged by."""
    if study.target is not None:
        return f"{study.target.split} {study.target.measure}"
    return next((name for name in study.records if " " in name), "running")


def best_first(study: Study) -> np.ndarray:
    """The lanes from the one that ended best to the worst, those that diverged last."""
    values = study.final(measure_of(study))
    above = study.target is not None and study.target.above
    order = -values if above else values
    return np.lexsort((np.where(np.isfinite(order), order, np.inf), study.steps))


@finding.register
def _(study: Study) -> Finding:
    lanes, measure = study.lanes, measure_of(study)
    counts = Counter(study.exits.tolist())
    ends = ", ".join(f"{counts[exit_]} {word}" for exit_, word in WORDS.items() if counts[exit_])
    left = f", {counts['']} not done" if counts[""] else ""
    best = best_first(study)[0]
    value = study.final(measure)[best]
    verdict = f"no lane ended with a finite {measure}"
    if np.isfinite(value):
        updates = int(study.updates[best])
        verdict = (
            f"best: {named(lanes.optimizer[best], lanes.momentum[best])}, "
            f"B = {lanes.batch_size[best]:,}, η = {lanes.learning_rate[best]:.3g}, "
            f"{measure} {value:.4g} after {counted(updates, 'update')}"
        )
    return Finding(
        name="lanes of a study",
        question="Which configuration ends best?",
        verdict=verdict,
        text=[f"{counted(len(lanes), 'lane')}: {ends}{left}."],
        sections=[Section("Along the training", figures=[curves(study)])],
        numbers={"exits": counts, "seconds": study.seconds, "size": study.size},
        records=study.table(),
    )


def curves(study: Study) -> Figure:
    """The measure along the lane that ended best, of each batch size, or of each optimiser."""
    lanes, measure = study.lanes, measure_of(study)
    sizes = np.unique(lanes.batch_size)
    several = len(sizes) > 1
    chosen: dict[str, int] = {}
    for lane in best_first(study):
        own = named(lanes.optimizer[lane], lanes.momentum[lane])
        chosen.setdefault(f"B = {lanes.batch_size[lane]:,}" if several else own, int(lane))
    ordered = sorted(chosen.items(), key=lambda item: (lanes.batch_size[item[1]], item[0]))

    def draw(ax: Any) -> None:
        shown = []
        for (label, lane), style in zip(
            ordered, styles(len(ordered), ordered=several), strict=True
        ):
            own = study.records["lane"] == lane
            seen = study.records["updates"][own] * lanes.batch_size[lane]
            values = study.records[measure][own]
            shown.append(values)
            ax.plot(np.maximum(seen, 1), values, **style, ms=3, lw=1, label=label)
        if study.target is not None:
            ax.axhline(study.target.value, color=GREY, lw=0.8, ls="--", label="target")
        ax.set(xscale="log", yscale=scale_of(*shown), xlabel="examples", ylabel=measure)
        legend(ax)

    what = "batch size" if several else "optimiser"
    return Figure(
        draw,
        f"{measure} against examples seen, of the lane of each {what} that ended best, "
        f"{len(ordered)} of {counted(len(lanes), 'lane')}.",
        height=0.85,
    )


@finding.register
def _(found: Descents) -> Finding:
    first = int(np.argmin(found.reached))
    verdict = "no optimiser comes near the lowest loss"
    if np.isfinite(found.reached[first]):
        verdict = (
            f"{found.names[first]} at η = {found.rates[first]:.3g} is first: "
            f"{int(found.reached[first]):,} updates; "
            f"{int(np.isfinite(found.reached).sum())} of {len(found.names)} come as low"
        )
    return Finding(
        name="descents on a surface",
        question="Which optimiser is first, and why are the others later?",
        verdict=verdict,
        sections=[
            Section(
                "Losses along the paths",
                "Every optimiser at the rate of its grid that ends lowest.",
                [falls(found)],
                descents_table(found),
            )
        ],
        numbers={
            "optimizers": [
                {"optimizer": name, "learning_rate": rate, "reached": reached, "why": why}
                for name, rate, reached, why in zip(
                    found.names, found.rates, found.reached, found.why, strict=True
                )
            ]
        },
        records={"optimizer": found.names, "learning_rate": found.rates, "reached": found.reached}
        | {"why": found.why},
    )


def descents_table(found: Descents) -> Table:
    """What happens to each optimiser."""
    rows = zip(found.names, found.rates, found.why, strict=True)
    return Table(
        ["optimiser", "η", "what happens"], [[name, f"{rate:.3g}", why] for name, rate, why in rows]
    )


def _labels(found: Descents) -> list[dict[str, Any]]:
    return [
        look | {"lw": 1.2, "ms": 5, "label": f"{name}, η = {rate:.3g}"}
        for look, name, rate in zip(styles(len(found.names)), found.names, found.rates, strict=True)
    ]


def paths(name: str, found: Descents) -> Figure:
    """The optimisers' paths over one of `SURFACES`."""
    surface, _ = SURFACES[name]
    path = found.path[np.isfinite(found.path).all((1, 2))]
    path = path if len(path) else found.path[:, :1]
    low, high = path.min((0, 1)), path.max((0, 1))
    pad = 0.15 * np.maximum(high - low, 0.2)
    sides = [np.linspace(low[i] - pad[i], high[i] + pad[i], 120) for i in range(2)]

    def draw(ax: Any) -> None:
        grid = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
        values = np.asarray(jax.vmap(surface)(jnp.asarray(grid))).reshape(120, 120)
        levels = np.unique(np.quantile(values, np.linspace(0, 1, 25)))
        ax.contour(*sides, values.T, levels=levels, colors=GREY, alpha=0.5, linewidths=0.6)
        for one, style in zip(found.path, _labels(found), strict=True):
            ax.plot(*one.T, **style, markevery=[-1])
        ax.plot(*found.path[0, 0], "*", ms=10, color=ink())
        ax.set(xlabel="w₀", ylabel="w₁")
        ax.set(xlim=sides[0][[0, -1]], ylim=sides[1][[0, -1]])
        legend(ax)

    return Figure(
        draw, f"The paths of {len(found.names)} optimisers over the {name}, from the star."
    )


def falls(found: Descents) -> Figure:
    """The losses above the lowest, update by update."""
    lowest = found.losses[np.isfinite(found.losses)].min()

    def draw(ax: Any) -> None:
        for i, (losses, style) in enumerate(zip(found.losses, _labels(found), strict=True)):
            fall = losses - lowest + 1e-6
            # markers at other updates of each, so that none hides another
            at = np.geomspace(2 + i, len(fall), 5).astype(int) - 1
            ax.plot(np.arange(1, len(fall) + 1), fall, **style, markevery=sorted({*at.tolist()}))
        ax.set(xscale="log", yscale="log", xlabel="update", ylabel="loss above the lowest + 1e-6")
        legend(ax)

    near = int(np.isfinite(found.reached).sum())
    return Figure(
        draw,
        f"The losses of {len(found.names)} optimisers above the lowest, update by update; {near} "
        "come within a hundredth of the fall.",
        height=0.95,
    )
