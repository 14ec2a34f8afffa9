"""The pictures of results about the batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxml.core.drawing import BLUE, GREEN, GREY, RED, legend, scale_of, styles
from jaxml.core.finding import Figure
from jaxml.studies.batch_scaling.noise_along import mean_scales
from jaxml.studies.batch_scaling.sharpness_at_equal_loss import EqualLoss
from jaxml.studies.batch_scaling.steps_to_target import StepsTable
from jaxml.studies.batch_scaling.summary import Findings
from jaxml.studies.sweep.views import WORDS, named

# examples count as equal up to the share by which measurements are apart by default
_EQUAL = 0.05
# how far beside its batch size a group is drawn at most
_ASIDE = 1.12
_OUTCOMES = {"target": GREEN, "budget": "#c4c4c4", "plateau": "#f0c36d", "not finite": RED}

Group = tuple[str, float]


def groups_of(result: Findings) -> list[Group]:
    """(optimiser, momentum)."""
    return list(dict.fromkeys((row.optimizer, row.momentum) for row in result.table.rows))


def _styled(result: Findings) -> list[tuple[Group, dict[str, Any], float]]:
    """Each group, what it is drawn as, and how far beside its batch size it stands.

    The batch size is multiplied by the last, so that of groups that are equal none hides another.
    """
    groups = groups_of(result)
    aside = min(_ASIDE, 1.04 ** (len(groups) - 1))
    shifts = np.geomspace(1 / aside, aside, len(groups))
    return [
        (group, style | {"label": named(*group), "ms": 4, "lw": 1}, float(shift))
        for group, style, shift in zip(groups, styles(len(groups)), shifts, strict=True)
    ]


def _missed(style: dict[str, Any]) -> dict[str, Any]:
    return style | {"label": f"{style['label']}: missed"}


def _batch_sizes(ax: Any, result: Findings) -> None:
    """A logarithmic axis with a tick at each batch size, or at some where they are many."""
    sizes = np.unique(result.study.lanes.batch_size)
    ax.set(xscale="log", xlabel="batch size B", xlim=(sizes[0] / 1.3, sizes[-1] * 1.3))
    shown = sizes[:: -(-len(sizes) // 7)]
    ax.set_xticks(shown, [f"{size:,}" for size in shown], rotation=45 * (len(shown) > 4))
    ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)


def _known(result: Findings) -> str:
    rows = [row for row in result.table.rows if np.isfinite(row.steps)]
    if not rows:
        return "none hits the target"
    least, most = min(row.steps for row in rows), max(row.steps for row in rows)
    return f"{len(rows)} of {len(result.table.rows)} hit the target in {least:,.0f} to {most:,.0f}"


def updates(result: Findings) -> Figure:
    """Steps to target against batch size with 1/B and the fit."""

    def draw(ax: Any) -> None:
        tops = []
        for group, style, shift in _styled(result):
            rows, color = result.table.of(*group).rows, style["color"]
            b = np.array([row.batch_size for row in rows], float)
            s = np.array([row.steps for row in rows])
            hit = np.isfinite(s)
            if not hit.any():
                ax.plot([], [], **_missed(style))
                continue
            high = np.array([row.high for row in rows])
            low = np.array([row.low for row in rows])
            s_, low, high = s[hit], low[hit], high[hit]
            error = [
                np.clip(s_ - np.where(np.isfinite(low), low, s_), 0, None),
                np.clip(np.where(np.isfinite(high), high, s_) - s_, 0, None),
            ]
            ax.errorbar(shift * b[hit], s[hit], yerr=error, capsize=2, elinewidth=0.8, **style)
            open_ended = np.isposinf(high)
            ax.plot(shift * b[hit][open_ended], 1.35 * s_[open_ended], ls="", marker=r"$\uparrow$",
                    color=color)  # fmt: skip
            edge = np.array([not row.interior for row in rows]) & hit
            ax.plot(shift * b[edge], s[edge], "o", ms=9, mfc="none", mec=color, mew=0.8)
            fit = result.hyperbola[group]
            if fit.identified:
                grid = np.geomspace(b.min(), b.max(), 100)
                ax.plot(grid, fit.steps(grid), color=color, lw=0.8, ls=":")
                ax.axvline(fit.value, color=color, lw=0.6, ls=":")
            tops.append((b[hit][0], s[hit][0]))
        if tops:
            first, most = max(tops, key=lambda top: top[1])
            sizes = np.array(sorted({row.batch_size for row in result.table.rows}), float)
            ax.plot(sizes, most * first / sizes, color=GREY, lw=0.8, ls="--", label="1/B")
        if (other := result.published) is not None:
            ax.plot(other.batch_sizes, other.steps, "x-", ms=4, lw=0.8, color=GREY,
                    label=f"{other.name}: {other.what}")  # fmt: skip
        _batch_sizes(ax, result)
        scale = "log" if tops or result.published else "linear"
        ax.set(yscale=scale, ylabel="updates to the target")
        legend(ax)

    return Figure(draw, f"Updates to the target by batch size: {_known(result)}.", height=0.95)


def examples(result: Findings) -> Figure:
    """Examples against updates to the target."""

    def draw(ax: Any) -> None:
        hits = 0
        for group, style, _ in _styled(result):
            rows = [row for row in result.table.of(*group).rows if np.isfinite(row.steps)]
            hits += len(rows)
            steps = np.array([row.steps for row in rows])
            seen = steps * [row.batch_size for row in rows]
            ax.plot(steps, seen, **(style if rows else _missed(style)), mfc="none")
        scale = "log" if hits else "linear"
        ax.set(xscale=scale, yscale=scale, xlabel="updates", ylabel="examples to the target")
        legend(ax)

    return Figure(
        draw, f"Examples against updates to the target, a point a batch size: {_known(result)}.",
        height=0.95,
    )  # fmt: skip


def ranking(table: StepsTable) -> Figure:
    """Updates to the target by optimiser, the fewest on top."""
    rows = sorted(table.rows, key=lambda row: -row.steps)

    def draw(ax: Any) -> None:
        for i, row in enumerate(rows):
            if np.isfinite(row.steps):
                high = row.high if np.isfinite(row.high) else row.steps
                low = row.low if np.isfinite(row.low) else row.steps
                ax.plot([low, high], [i, i], color=BLUE, lw=1.2)
                ax.plot(row.steps, i, "o", ms=5, color=BLUE)
                if np.isposinf(row.high):
                    ax.plot(1.15 * row.steps, i, marker=r"$\rightarrow$", ms=8, color=BLUE)
            else:
                missed = "missed" if np.isnan(row.level) else "missed by half or more of the seeds"
                ax.text(0.02, i, missed, va="center", fontsize=8, color=RED,
                        transform=ax.get_yaxis_transform())  # fmt: skip
        names = [f"{named(row.optimizer, row.momentum)}, B = {row.batch_size:,}" for row in rows]
        ax.set_yticks(range(len(rows)), names, fontsize=8)
        scale = scale_of([row.steps for row in rows])
        ax.set(xscale=scale, xlabel="updates to the target", ylim=(-0.7, len(rows) - 0.3))

    known = [row for row in rows if np.isfinite(row.steps)]
    alt = "no configuration hits the target"
    if known:
        best = known[-1]
        alt = f"the fewest, {best.steps:,.0f}, by {named(best.optimizer, best.momentum)}"
    return Figure(
        draw, f"Updates to the target of {len(rows)} configurations in order: {alt}.",
        height=max(0.4, 0.2 + 0.06 * len(rows)),
    )  # fmt: skip


def rates(result: Findings) -> Figure:
    """The best effective rate against batch size, with linear and square-root lines."""

    def draw(ax: Any) -> None:
        top = []
        for group, style, shift in _styled(result):
            color = style["color"]
            rows = [row for row in result.table.of(*group).rows if np.isfinite(row.steps)]
            if not rows:
                ax.plot([], [], **_missed(style))
                continue
            b = np.array([row.batch_size for row in rows], float)
            beta = group[1] if group[0] in ("momentum", "nesterov") else 0.0
            effective = np.array([row.learning_rate for row in rows]) / (1 - beta)
            ax.plot(shift * b, effective, **style)
            edge = np.array([not row.interior for row in rows])
            ax.plot(shift * b[edge], effective[edge], "o", ms=9, mfc="none", mec=color, mew=0.8)
            if not top:
                ax.plot(b, effective[0] * b / b[0], color=GREY, lw=0.8, ls="--", label="linear")
                root = effective[0] * np.sqrt(b / b[0])
                ax.plot(b, root, color=GREY, lw=0.8, ls=":", label="√B")
            top.append(effective.max())
        _batch_sizes(ax, result)
        ax.set(yscale="log" if top else "linear", ylabel="best η/(1 − β)")
        if top:  # the linear line may leave the picture
            ax.set_ylim(None, 4 * max(top))
        legend(ax)

    chosen = [row.learning_rate for row in result.table.rows if np.isfinite(row.steps)]
    span = f"{min(chosen):.3g} to {max(chosen):.3g}" if chosen else "none"
    return Figure(draw, f"The best rates by batch size, {span}.", height=0.95)


def outcomes(result: Findings) -> list[Figure]:
    """Which lanes hit, missed and diverged, by rate and batch size; blank where none was."""
    return [_outcome(result, group) for group in groups_of(result)]


def _outcome(result: Findings, group: Group) -> Figure:
    lanes, exits = result.study.lanes, result.study.exits
    own = (lanes.optimizer == group[0]) & (lanes.momentum == group[1])
    sizes, grid = np.unique(lanes.batch_size[own]), np.unique(lanes.learning_rate[own])
    names = list(_OUTCOMES)
    shares = np.zeros((len(grid), len(sizes)))
    image = np.full(shares.shape, np.nan)
    for i, rate in enumerate(grid):
        for j, size in enumerate(sizes):
            these = exits[own & (lanes.batch_size == size) & (lanes.learning_rate == rate)]
            if len(these):
                shares[i, j] = (these == "target").mean()
                image[i, j] = names.index(max(names, key=lambda n, t=these: (t == n).sum()))

    def draw(ax: Any) -> None:
        from matplotlib.colors import ListedColormap  # noqa: PLC0415 - slow to import
        from matplotlib.patches import Patch  # noqa: PLC0415

        ax.imshow(
            image, origin="lower", aspect="auto", vmin=-0.5, vmax=len(names) - 0.5,
            cmap=ListedColormap(list(_OUTCOMES.values())), interpolation="nearest",
        )  # fmt: skip
        for i, j in zip(*np.nonzero((shares > 0) & (shares < 1)), strict=True):
            ax.text(
                j, i, f"{shares[i, j]:.0%}", ha="center", va="center", fontsize=8, color="black"
            )
        ax.set_xticks(range(len(sizes)), [f"{s:,}" for s in sizes], rotation=45)
        ax.set_yticks(range(len(grid)), [f"{r:.3g}" for r in grid])
        ax.grid(visible=False)
        there = [n for n in names if (exits[own] == n).any()]
        ax.legend(
            handles=[Patch(color=_OUTCOMES[n], label=WORDS[n]) for n in there], frameon=False,
            loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(there), fontsize=8,
            title=named(*group), title_fontsize=9,
        )  # fmt: skip
        ax.set(xlabel="batch size B", ylabel="η")

    counts = ", ".join(f"{(exits[own] == n).sum()} {word}" for n, word in WORDS.items())
    return Figure(
        draw,
        f"Outcomes of {named(*group)} over {len(grid)} rates and {len(sizes)} batch sizes: "
        f"{counts}.",
        height=max(0.6, 0.3 + 0.055 * len(grid)),
    )


def noise(result: Findings) -> list[Figure]:
    """The noise scale against the loss in training: free within the study, and at given losses."""
    sizes = sorted({*result.noise, *(at.batch_size for at in result.noise_along)})
    own: dict[int, dict[str, Any]] = {
        size: style | {"ms": 4, "lw": 1, "label": f"B = {size:,}"}
        for size, style in zip(sizes, styles(len(sizes), ordered=True), strict=True)
    }

    def panel(name: str) -> Figure:
        def draw(ax: Any) -> None:
            for size, style in own.items():
                if name == "noise":
                    _free_noise(ax, result.noise.get(size, []), style)
                elif means := mean_scales(result.noise_along, size):
                    ax.plot(*zip(*means, strict=True), **style)
            ax.set(xscale="log", yscale="log", xlabel=f"loss in training, {titles[name]}")
            ax.set(ylabel="B_simple, examples")
            ax.invert_xaxis()
            legend(ax)

        return Figure(
            draw, f"The noise scale by loss, {titles[name]}, of {len(sizes)} batch sizes."
        )

    titles = {"noise": "along the training", "noise_along": "at given losses"}
    return [panel(name) for name in titles if getattr(result, name)]


def _free_noise(ax: Any, points: Any, style: dict[str, Any]) -> None:
    told = [(loss, scale) for loss, scale in points if scale.resolved]
    if told:
        y = np.array([scale.simple for _, scale in told])
        error = np.abs(np.array([scale.interval for _, scale in told]).T - y)
        x = [loss for loss, _ in told]
        ax.errorbar(x, y, yerr=error, capsize=2, elinewidth=0.8, **style)
    for loss, scale in points:
        if not scale.resolved and np.isfinite(scale.interval[0]) and scale.interval[0] > 0:
            ax.plot(loss, scale.interval[0], marker=r"$\uparrow$", ms=8, color=style["color"])


def budgets(result: Findings) -> list[Figure]:
    """The best measure by batch size at equal updates, at equal examples, and of all of it.

    Lanes are measured now and then: the axis has from how many to how many the batch sizes had
    done when they were last looked at, where these are not the same.
    """
    study = result.study
    measure = f"{study.target.split} {study.target.measure}" if study.target else "validation loss"
    lanes, records = study.lanes, study.records
    sizes = np.unique(lanes.batch_size)
    done_updates = records["updates"]
    done_examples = done_updates * lanes.batch_size[records["lane"]]
    of = lanes.batch_size[records["lane"]]
    limits = {}
    for what, done in {"updates": done_updates, "examples": done_examples}.items():
        low, high = common_budget({int(s): done[of == s] for s in sizes})
        title = f"{high:,} {what}" if low == high else f"{low:,} to {high:,} {what}"
        limits[f"at {title}"] = done <= high
    limits["at the end"] = done_updates >= 0
    above = study.target is not None and study.target.above

    def best(group: Group, within: np.ndarray) -> list[float]:
        found = []
        for size in sizes:
            own = within & (of == size)
            own &= (lanes.optimizer == group[0])[records["lane"]]
            own &= (lanes.momentum == group[1])[records["lane"]]
            values = records[measure][own]
            values = values[np.isfinite(values)]
            found.append(float((max if above else min)(values)) if len(values) else math.nan)
        return found

    def panel(title: str, within: np.ndarray) -> Figure:
        def draw(ax: Any) -> None:
            shown = []
            for group, style, shift in _styled(result):
                shown.append(best(group, within))
                ax.plot(shift * sizes, shown[-1], **style)
            _batch_sizes(ax, result)
            ax.set(yscale=scale_of(*shown), ylabel=f"best {measure}")
            ax.set_xlabel(f"batch size B, {title}")
            legend(ax)

        return Figure(draw, f"The best {measure} by batch size {title}.", height=0.95)

    return [panel(title, within) for title, within in limits.items()]


def common_budget(done: Mapping[int, np.ndarray]) -> tuple[int, int]:
    """A budget that all were measured at, or shortly before.

    Args:
        done: of each batch size, the updates or examples at its measurements.

    Returns:
        The least that a batch size had done when it was last measured within the budget, and the
        budget: the largest at which that is at most 5 % less, or else that with the least
        difference.

    Example:
        >>> common_budget({8: np.array([8, 104, 1000]), 512: np.array([512, 1024])})
        (512, 1000)
        >>> common_budget({8: np.array([8, 512, 1000]), 512: np.array([512, 1024])})
        (512, 512)
    """
    places = [p for values in done.values() if len(p := np.unique(values[values > 0]))]
    if not places:
        return 0, 0
    first, last = max(p.min() for p in places), min(p.max() for p in places)
    tried = np.unique(np.concatenate(places))
    tried = tried[(tried >= first) & (tried <= max(first, last))]
    least = np.min([p[np.searchsorted(p, tried, side="right") - 1] for p in places], axis=0)
    missing = 1 - least / tried
    equal = np.flatnonzero(missing <= _EQUAL)
    best = equal[-1] if len(equal) else np.flatnonzero(missing == missing.min())[-1]
    best = np.flatnonzero(least == least[best])[0]  # no more than the others need
    return int(least[best]), int(tried[best])


def throughput(result: Findings) -> list[Figure]:
    """Seconds per update and per epoch, and the modelled time to the target."""
    b = np.array([t.batch_size for t in result.throughput], float)
    seconds = np.array([t.update for t in result.throughput])

    def plain(values: np.ndarray, label: str) -> Figure:
        def draw(ax: Any) -> None:
            ax.plot(b, values, "o-", ms=4, lw=1, color=BLUE)
            _batch_sizes(ax, result)
            ax.set(ylabel=label, yscale=scale_of(values))

        span = f"{values[0]:.3g} at B = {b[0]:,.0f}, {values[-1]:.3g} at B = {b[-1]:,.0f}"
        return Figure(draw, f"{label} by batch size: {span}.")

    def modelled(ax: Any) -> None:
        shown = []
        for group, style, shift in _styled(result):
            rows = {row.batch_size: row.steps for row in result.table.of(*group).rows}
            times = np.array([rows.get(int(size), np.inf) for size in b]) * seconds
            shown.append(np.where(np.isfinite(times), times, np.nan))
            ax.plot(shift * b, shown[-1], **style)
        _batch_sizes(ax, result)
        ax.set(ylabel="modelled s to the target", yscale=scale_of(*shown))
        legend(ax)

    return [
        plain(1e3 * seconds, "ms per update"),
        plain(seconds * result.study.examples / b, "s per epoch"),
        Figure(modelled, f"Modelled seconds to the target: {_known(result)} updates.", height=0.95),
    ]


def sharpness(result: EqualLoss) -> list[Figure]:
    """λ_max, trace and φ against batch size at one training loss, and the loss between minima."""
    b = np.array([m.batch_size for m in result.minima], float)
    sharp = [m.sharpness for m in result.minima]

    def panel(name: str, values: np.ndarray, ends: np.ndarray | None = None) -> Figure:
        sizes = np.unique(b)
        medians = [np.median(values[b == size]) for size in sizes]

        def draw(ax: Any) -> None:
            if ends is not None:
                off = np.abs(ends.T - values)
                off = np.where(np.isfinite(off), off, 0)
                ax.errorbar(b, values, yerr=off, fmt="none", elinewidth=0.8, color=BLUE, alpha=0.5)
            ax.plot(b, values, "o", ms=4, color=BLUE, alpha=0.7)
            ax.plot(sizes, medians, "-", lw=1, color=BLUE)
            ax.set(xscale="log", yscale=scale_of(values), xlabel="batch size B", ylabel=name)

        span = f"median {medians[0]:.3g} at B = {sizes[0]:,.0f}"
        if len(sizes) > 1:
            span += f", {medians[-1]:.3g} at B = {sizes[-1]:,.0f}"
        return Figure(draw, f"{name} of {len(b)} lanes by batch size: {span}.")

    figures = [
        panel("λ_max", np.array([s.largest_eigenvalue for s in sharp])),
        panel(
            "trace of the Hessian",
            np.array([s.trace for s in sharp]),
            np.array([(s.trace_low, s.trace_high) for s in sharp]),
        ),
        panel("Keskar's φ, %", np.array([s.keskar for s in sharp])),
    ]
    if result.line is not None:
        t, train, other = result.line

        def between(ax: Any) -> None:
            ax.plot(t, train, color=BLUE, label="training")
            ax.plot(t, other, color=RED, ls="--", label="held out")
            for place in (0, 1):
                ax.axvline(place, color=GREY, lw=0.6)
            ax.set(yscale=scale_of(train, other), xlabel="0: smallest batch, 1: largest")
            ax.set_ylabel("loss between")
            ax.legend(frameon=False)

        peak = f"up to {np.nanmax(train):.3g} in training"
        figures.append(Figure(between, f"The loss between the minima of two batch sizes, {peak}."))
    return figures
