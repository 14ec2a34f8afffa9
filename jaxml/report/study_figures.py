"""Figures of studies; each function returns a matplotlib `Figure` and shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jaxml.report.figures import legend, panels, scale_of, styles
from jaxml.studies import (
    SURFACES,
    DepthStudy,
    Descents,
    DiagnosisStudy,
    EqualLoss,
    Findings,
    GeneralizationStudy,
    NormalizationStudy,
    Sharpening,
    Study,
    mean_scales,
)

_FIRST, _SECOND, _THIRD, _FOURTH = (style["color"] for style in styles(4))
# side by side
_PANELS = 4
# examples count as equal up to the share by which measurements are apart by default
_EQUAL = 0.05
# how far beside its batch size a group is drawn at most
_ASIDE = 1.12
_OUTCOMES = {
    "target": "#1b7f4d",
    "budget": "#d9d9d9",
    "plateau": "#f0c36d",
    "not finite": "#c2334d",
}


def _groups(result: Findings) -> list[tuple[tuple[str, float], str]]:
    """(optimiser, momentum) and what to call it."""
    found = {(row.optimizer, row.momentum): None for row in result.table.rows}
    return [(g, f"{g[0]}, β = {g[1]:g}" if g[1] else g[0]) for g in found]


def _styled(result: Findings) -> list[tuple[tuple[str, float], dict[str, Any], float]]:
    """Each group, what it is drawn as, and how far beside its batch size it stands.

    The batch size is multiplied by the last, so that of groups that are equal none hides another.
    """
    groups = _groups(result)
    aside = min(_ASIDE, 1.04 ** (len(groups) - 1))
    shifts = np.geomspace(1 / aside, aside, len(groups))
    return [
        (group, style | {"label": name, "ms": 4, "lw": 1}, float(shift))
        for (group, name), style, shift in zip(groups, styles(len(groups)), shifts, strict=True)
    ]


def _missed(style: dict[str, Any]) -> dict[str, Any]:
    return style | {"label": f"{style['label']}: missed"}


def _batch_sizes(ax: Axes, result: Findings) -> None:
    """A logarithmic axis with a tick at each batch size."""
    sizes = np.unique(result.study.lanes.batch_size)
    ax.set(xscale="log", xlabel="batch size B", xlim=(sizes[0] / 1.3, sizes[-1] * 1.3))
    ax.set_xticks(
        sizes, [f"{size:,}" for size in sizes], rotation=45 * (len(sizes) > 5), fontsize=8
    )
    ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)


def steps(result: Findings) -> Figure:
    """Steps to target against batch size with 1/B and the fit; examples against steps."""
    figure, (left, right) = panels(height=4.4, columns=2)
    tops = []
    for group, style, shift in _styled(result):
        rows, color = result.table.of(*group).rows, style["color"]
        b = np.array([row.batch_size for row in rows], float)
        s = np.array([row.steps for row in rows])
        hit = np.isfinite(s)
        if not hit.any():
            left.plot([], [], **_missed(style))
            continue
        high = np.array([row.high for row in rows])
        low = np.array([row.low for row in rows])
        s_, low, high = s[hit], low[hit], high[hit]
        error = [
            np.clip(s_ - np.where(np.isfinite(low), low, s_), 0, None),
            np.clip(np.where(np.isfinite(high), high, s_) - s_, 0, None),
        ]
        left.errorbar(shift * b[hit], s[hit], yerr=error, capsize=2, elinewidth=0.8, **style)
        open_ended = np.isposinf(high)
        left.plot(shift * b[hit][open_ended], 1.35 * s_[open_ended], ls="", marker=r"$\uparrow$",
                  color=color)  # fmt: skip
        edge = np.array([not row.interior for row in rows]) & hit
        left.plot(shift * b[edge], s[edge], "o", ms=9, mfc="none", mec=color, mew=0.8)
        right.plot(s[hit], (b * s)[hit], **style, mfc="none")
        fit = result.hyperbola[group]
        if fit.identified:
            grid = np.geomspace(b.min(), b.max(), 100)
            left.plot(grid, fit.steps(grid), color=color, lw=0.8, ls=":")
            left.axvline(fit.value, color=color, lw=0.6, ls=":")
        tops.append((b[hit][0], s[hit][0]))
    if tops:
        first, most = max(tops, key=lambda top: top[1])
        sizes = np.array(sorted({row.batch_size for row in result.table.rows}), float)
        left.plot(sizes, most * first / sizes, color="#888888", lw=0.8, ls="--", label="1/B")
    if (other := result.published) is not None:
        left.plot(
            other.batch_sizes,
            other.steps,
            "x-",
            ms=4,
            lw=0.8,
            color="#888888",
            label=f"{other.name}: {other.what}",
        )
    _batch_sizes(left, result)
    scale = "log" if tops or result.published else "linear"
    left.set(yscale=scale, ylabel="updates to the target")
    scale = "log" if tops else "linear"
    right.set(xscale=scale, yscale=scale, xlabel="updates", ylabel="examples to the target")
    legend(figure, left)
    return figure


def ranking(result: Findings) -> Figure:
    """Updates to the target by optimiser, the fewest on top."""
    rows = sorted(result.table.rows, key=lambda row: -row.steps)
    figure, (ax,) = panels(height=0.8 + 0.3 * len(rows))
    names = [
        f"{row.optimizer}{f' {row.momentum:g}' if row.momentum else ''}, B = {row.batch_size:,}"
        for row in rows
    ]
    for i, row in enumerate(rows):
        if np.isfinite(row.steps):
            high = row.high if np.isfinite(row.high) else row.steps
            low = row.low if np.isfinite(row.low) else row.steps
            ax.plot([low, high], [i, i], color=_FIRST, lw=1.2)
            ax.plot(row.steps, i, "o", ms=5, color=_FIRST)
            beyond = "→ " if np.isposinf(row.high) else ""
            text = f"  {beyond}η = {row.learning_rate:.3g}, {row.schedule}"
            ax.text(max(high, row.steps), i, text, va="center", fontsize=7, color="#555555")
        else:
            missed = "missed" if np.isnan(row.level) else "missed by half or more of the seeds"
            ax.text(0.02, i, missed, va="center", fontsize=7, color=_SECOND,
                    transform=ax.get_yaxis_transform())  # fmt: skip
    ax.set_yticks(range(len(rows)), names, fontsize=8)
    scale = scale_of([row.steps for row in rows])
    ax.set(xscale=scale, xlabel="updates to the target", ylim=(-0.7, len(rows) - 0.3))
    ax.margins(x=0.25)
    return figure


def descents(name: str, found: Descents) -> Figure:
    """The optimisers' ways over a surface, and their losses."""
    figure, (left, right) = panels(width=10.0, height=4.2, columns=2)
    surface, _ = SURFACES[name]
    path = found.path[np.isfinite(found.path).all((1, 2))]
    path = path if len(path) else found.path[:, :1]
    low, high = path.min((0, 1)), path.max((0, 1))
    pad = 0.15 * np.maximum(high - low, 0.2)
    sides = [np.linspace(low[i] - pad[i], high[i] + pad[i], 120) for i in range(2)]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
    values = np.asarray(jax.vmap(surface)(jnp.asarray(grid))).reshape(120, 120)
    levels = np.quantile(values, np.linspace(0, 1, 25))
    left.contour(*sides, values.T, levels=np.unique(levels), cmap="Greys", linewidths=0.6)
    lowest = found.losses[np.isfinite(found.losses)].min()
    for i, (optimizer, look) in enumerate(zip(found.names, styles(len(found.names)), strict=True)):
        fall = found.losses[i] - lowest + 1e-6
        style = look | {"lw": 1.2, "ms": 5, "label": f"{optimizer}, η = {found.rates[i]:.3g}"}
        left.plot(*found.path[i].T, **style, markevery=[-1])
        # markers at other updates of each, so that none hides another
        at = np.geomspace(2 + i, len(fall), 5).astype(int) - 1
        right.plot(np.arange(1, len(fall) + 1), fall, **style, markevery=sorted({*at.tolist()}))
    left.plot(*found.path[0, 0], "*", ms=10, color="#000000")
    left.set(xlabel="w₀", ylabel="w₁")
    left.set(xlim=sides[0][[0, -1]], ylim=sides[1][[0, -1]])
    right.set(xscale="log", yscale="log", xlabel="update", ylabel="loss above the lowest + 1e-6")
    legend(figure, right)
    return figure


def rates(result: Findings) -> Figure:
    """The best effective rate against batch size, with linear and square-root lines."""
    figure, (ax,) = panels(height=3.8)
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
            ax.plot(b, effective[0] * b / b[0], color="#888888", lw=0.8, ls="--", label="linear")
            ax.plot(
                b, effective[0] * np.sqrt(b / b[0]), color="#888888", lw=0.8, ls=":", label="√B"
            )
        top.append(effective.max())
    _batch_sizes(ax, result)
    ax.set(yscale="log" if top else "linear", ylabel="best η/(1 − β)")
    if top:  # the linear line may leave the picture
        ax.set_ylim(None, 4 * max(top))
    legend(figure, ax)
    return figure


def outcomes(result: Findings) -> Figure:
    """Which lanes hit, missed and diverged, by rate and batch size; blank where none was."""
    groups = _groups(result)
    lanes, exits = result.study.lanes, result.study.exits
    columns = min(len(groups), _PANELS)
    figure, axes = panels(
        width=max(9.0, 2.6 * columns), height=3.4, columns=columns, count=len(groups)
    )
    names = list(_OUTCOMES)
    for place, (ax, (group, name)) in enumerate(zip(axes, groups, strict=True)):
        own = (lanes.optimizer == group[0]) & (lanes.momentum == group[1])
        sizes, grid = np.unique(lanes.batch_size[own]), np.unique(lanes.learning_rate[own])
        shares = np.zeros((len(grid), len(sizes)))
        image = np.full(shares.shape, np.nan)
        for i, rate in enumerate(grid):
            for j, size in enumerate(sizes):
                these = exits[own & (lanes.batch_size == size) & (lanes.learning_rate == rate)]
                if not len(these):
                    continue
                shares[i, j] = (these == "target").mean()
                most = max(names, key=lambda n, t=these: (t == n).sum())
                image[i, j] = names.index(most)
        ax.imshow(
            image, origin="lower", aspect="auto", vmin=-0.5, vmax=len(names) - 0.5,
            cmap=ListedColormap(list(_OUTCOMES.values())), interpolation="nearest",
        )  # fmt: skip
        for i, j in zip(*np.nonzero((shares > 0) & (shares < 1)), strict=True):
            ax.text(j, i, f"{shares[i, j]:.0%}", ha="center", va="center", fontsize=6)
        ax.set_xticks(range(len(sizes)), [f"{s:,}" for s in sizes], fontsize=7, rotation=45)
        ax.set_yticks(range(len(grid)), [f"{r:.3g}" for r in grid], fontsize=7)
        ax.grid(visible=False)
        ax.set_title(name, fontsize=10)
        ax.set(xlabel="batch size B", ylabel="" if place % _PANELS else "η")
    words = {"target": "hit", "budget": "missed", "plateau": "plateau", "not finite": "diverged"}
    there = [n for n in names if (exits == n).any()]
    figure.legend(
        handles=[Patch(color=_OUTCOMES[n], label=words[n]) for n in there],
        loc="outside lower center", ncols=len(there), frameon=False, fontsize=8,
    )  # fmt: skip
    return figure


def noise(result: Findings) -> Figure:
    """The noise scale against the loss in training: free within the study, and at given losses."""
    ways = [name for name in ("noise", "noise_along") if getattr(result, name)]
    figure, axes = panels(height=3.8, columns=len(ways))
    sizes = sorted({*result.noise, *(at.batch_size for at in result.noise_along)})
    own: dict[int, dict[str, Any]] = {
        size: style | {"ms": 4, "lw": 1}
        for size, style in zip(sizes, styles(len(sizes), ordered=True), strict=True)
    }
    for name, ax in zip(ways, axes, strict=True):
        for size, style in own.items():
            if name == "noise":
                _free_noise(ax, result.noise.get(size, []), style)
            elif means := mean_scales(result.noise_along, size):
                ax.plot(*zip(*means, strict=True), **style)
        title = "free, along the training" if name == "noise" else "at given losses"
        ax.set(xscale="log", yscale="log", xlabel="loss in training", title=title)
        ax.invert_xaxis()
    axes[0].set(ylabel="B_simple, examples")
    for size, style in own.items():
        axes[-1].plot([], [], **style, label=f"B = {size:,}")
    legend(figure, axes[-1])
    return figure


def _free_noise(ax: Axes, points, style: dict) -> None:
    told = [(loss, scale) for loss, scale in points if scale.resolved]
    if told:
        y = np.array([scale.simple for _, scale in told])
        error = np.abs(np.array([scale.interval for _, scale in told]).T - y)
        x = [loss for loss, _ in told]
        ax.errorbar(x, y, yerr=error, capsize=2, elinewidth=0.8, **style)
    for loss, scale in points:
        if not scale.resolved and np.isfinite(scale.interval[0]) and scale.interval[0] > 0:
            ax.plot(loss, scale.interval[0], marker=r"$\uparrow$", ms=8, color=style["color"])


def budgets(result: Findings) -> Figure:
    """The best measure by batch size at equal updates, at equal examples, and of all of it.

    Lanes are measured now and then: the title has from how many to how many the batch sizes had
    done when they were last looked at, where these are not the same.
    """
    study = result.study
    figure, axes = panels(height=3.6, columns=3)
    measure = f"{study.target.split} {study.target.measure}" if study.target else "validation loss"
    lanes, records = study.lanes, study.records
    sizes = np.unique(lanes.batch_size)
    updates = records["updates"]
    examples = updates * lanes.batch_size[records["lane"]]
    of = lanes.batch_size[records["lane"]]
    limits = {}
    for what, done in {"updates": updates, "examples": examples}.items():
        low, high = common_budget({int(s): done[of == s] for s in sizes})
        title = f"{high:,} {what}" if low == high else f"{low:,} to {high:,} {what}"
        limits[title] = done <= high
    limits["to the end"] = updates >= 0
    above = study.target is not None and study.target.above
    shown = []
    for ax, (title, within) in zip(axes, limits.items(), strict=True):
        for group, style, shift in _styled(result):
            best = []
            for size in sizes:
                own = within & (of == size)
                own &= (lanes.optimizer == group[0])[records["lane"]]
                own &= (lanes.momentum == group[1])[records["lane"]]
                values = records[measure][own]
                values = values[np.isfinite(values)]
                best.append((max if above else min)(values) if len(values) else np.nan)
            ax.plot(shift * sizes, best, **style)
            shown.append(best)
        _batch_sizes(ax, result)
        ax.set_title(title, fontsize=10)
    for ax in axes:
        ax.set_yscale(scale_of(*shown))
    axes[0].set_ylabel(f"best {measure}")
    legend(figure, axes[0])
    return figure


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


def throughput(result: Findings) -> Figure:
    """Seconds per update and per epoch, and the modelled time to the target."""
    figure, axes = panels(height=3.6, columns=3)
    b = np.array([t.batch_size for t in result.throughput], float)
    seconds = np.array([t.update for t in result.throughput])
    axes[0].plot(b, 1e3 * seconds, "o-", ms=4, lw=1, color=_FIRST)
    axes[0].set(ylabel="ms per update")
    axes[1].plot(b, seconds * result.study.examples / b, "o-", ms=4, lw=1, color=_FIRST)
    axes[1].set(ylabel="s per epoch")
    for group, style, shift in _styled(result):
        rows = {row.batch_size: row.steps for row in result.table.of(*group).rows}
        times = np.array([rows.get(int(size), np.inf) for size in b]) * seconds
        axes[2].plot(shift * b, np.where(np.isfinite(times), times, np.nan), **style)
    axes[2].set(ylabel="modelled s to the target")
    legend(figure, axes[2])
    for ax in axes:
        _batch_sizes(ax, result)
        ax.set_yscale(scale_of(*(line.get_ydata() for line in ax.lines)))
    return figure


def sharpness(result: EqualLoss) -> Figure:
    """λ_max, trace and φ against batch size at one training loss, and the loss between minima."""
    columns = 4 if result.line is not None else 3
    figure, axes = panels(width=11.0, height=3.4, columns=columns)
    b = np.array([m.batch_size for m in result.minima], float)
    measures = {
        "λ_max": [m.sharpness.largest_eigenvalue for m in result.minima],
        "trace of the Hessian": [m.sharpness.trace for m in result.minima],
        "Keskar's φ, %": [m.sharpness.keskar for m in result.minima],
    }
    for ax, (name, values) in zip(axes[:3], measures.items(), strict=True):
        if name == "trace of the Hessian":
            ends = [(m.sharpness.trace_low, m.sharpness.trace_high) for m in result.minima]
            off = abs(np.array(ends).T - np.array(values))
            off = np.where(np.isfinite(off), off, 0)
            ax.errorbar(b, values, yerr=off, fmt="none", elinewidth=0.8, color=_FIRST, alpha=0.5)
        ax.plot(b, values, "o", ms=4, color=_FIRST, alpha=0.7)
        sizes = np.unique(b)
        medians = [np.median(np.array(values)[b == s]) for s in sizes]
        ax.plot(sizes, medians, "-", lw=1, color=_FIRST)
        ax.set(xscale="log", yscale=scale_of(values), xlabel="batch size B", title=name)
    if result.line is not None:
        t, train, other = result.line
        axes[3].plot(t, train, color=_FIRST, label="training")
        axes[3].plot(t, other, color=_SECOND, ls="--", label="held out")
        for place in (0, 1):
            axes[3].axvline(place, color="#888888", lw=0.6)
        axes[3].set(
            yscale=scale_of(train, other), xlabel="0: smallest batch, 1: largest",
            title="loss between",
        )  # fmt: skip
        axes[3].legend(frameon=False, fontsize=8)
    return figure


def curves(study: Study) -> Figure:
    """Every lane's measure against its examples."""
    figure, (ax,) = panels(height=3.8)
    measure = f"{study.target.split} {study.target.measure}" if study.target else None
    names = [n for n in study.records if " " in n]
    name = measure if measure in names else names[0]
    sizes = np.unique(study.lanes.batch_size)
    colors = colormaps["viridis"](np.linspace(0.05, 0.9, len(sizes)))
    lane_of, values = study.records["lane"], study.records[name]
    for lane in range(len(study.lanes)):
        own = lane_of == lane
        seen = study.records["updates"][own] * study.lanes.batch_size[lane]
        color = colors[np.searchsorted(sizes, study.lanes.batch_size[lane])]
        ax.plot(np.maximum(seen, 1), values[own], color=color, lw=0.5, alpha=0.5)
    if study.target is not None:
        ax.axhline(study.target.value, color="#888888", lw=0.8, ls="--")
    for size, color in zip(sizes, colors, strict=True):
        ax.plot([], [], color=color, label=f"B = {size:,}")
    ax.set(xscale="log", xlabel="examples", ylabel=name)
    legend(figure, ax)
    return figure


def depths(found: DepthStudy) -> Figure:
    """Training loss and validation error by depth, and the pieces that folding makes."""
    figure, axes = panels(width=10.0, height=3.6, columns=3)
    layers = [len(d.widths) - 2 for d in found.depths]
    losses = [d.train_loss for d in found.depths]
    axes[0].plot(layers, losses, "o-", ms=4, color=_FIRST)
    axes[0].set(title="loss in training", yscale=scale_of(losses), xlabel="hidden layers")
    errors = [d.validation_error for d in found.depths]
    spread = [d.error if d.seeds > 1 else 0.0 for d in found.depths]
    several = any(d.seeds > 1 for d in found.depths)
    axes[1].errorbar(
        layers, errors, yerr=spread if several else None, fmt="o-", ms=4, capsize=2, color=_SECOND
    )
    seeds = "± standard error" if several else "one seed"
    axes[1].set(title=f"validation error, {seeds}", xlabel="hidden layers")
    ks = np.array(list(found.pieces))
    axes[2].plot(ks, 2.0**ks, color="#888888", lw=0.8, ls="--", label="2^K")
    axes[2].plot(ks, list(found.pieces.values()), "o", ms=4, color=_THIRD, label="counted")
    axes[2].plot(ks, 2 * ks + 1, color=_FOURTH, lw=0.8, ls=":", label="one layer of 2K at most")
    axes[2].set(yscale="log", title="linear pieces", xlabel="layers of two neurons")
    axes[2].legend(frameon=False, fontsize=8)
    return figure


def generalization(found: GeneralizationStudy) -> Figure:
    """Bad samples against the bound, the best of many, and cross-validation against the test."""
    figure, axes = panels(width=10.0, height=3.6, columns=3)
    n = np.array(list(found.bad))
    shares = np.array([f.value for f in found.bad.values()])
    ends = np.array([f.interval for f in found.bad.values()]).T
    axes[0].errorbar(
        n,
        shares,
        yerr=np.abs(ends - shares),
        fmt="o-",
        ms=4,
        capsize=2,
        color=_FIRST,
        label="simulated",
    )
    axes[0].plot(n, [f.bound for f in found.bad.values()], color=_SECOND, lw=1, label="Hoeffding")
    axes[0].axvline(found.needed, color="#888888", lw=0.8, ls="--", label="N for 5 %")
    axes[0].set(yscale="symlog", title="share of bad samples", xlabel="examples N", ylim=(0, 1.5))
    axes[0].set_yscale("symlog", linthresh=1e-3)
    models = [b.models for b in found.best]
    axes[1].plot(
        models, [b.public for b in found.best], "o-", ms=4, color=_FIRST, label="where chosen"
    )
    axes[1].plot(
        models, [b.private for b in found.best], "s-", ms=4, color=_SECOND, label="elsewhere"
    )
    axes[1].set(xscale="log", title="error of the best of many", xlabel="models")
    rates = found.folds.lanes.learning_rate
    means = found.folds.scores.mean(1)
    spread = found.folds.scores.std(1, ddof=1) / np.sqrt(found.folds.scores.shape[1])
    axes[2].errorbar(
        rates, means, yerr=spread, fmt="o-", ms=4, capsize=2, color=_FIRST, label="folds"
    )
    axes[2].plot(rates, found.test, "s--", ms=4, color=_SECOND, label="test")
    axes[2].set(
        xscale="log", yscale=scale_of(means, found.test), title="cross-validation", xlabel="η"
    )
    for ax in axes:
        ax.legend(frameon=False, fontsize=8)
    return figure


def normalization(found: NormalizationStudy) -> Figure:
    """The loss along the gradient and its smoothness, at the rate that all networks bear best.

    That rate is the one at which the worst network's loss is the least; where at every rate some
    network's loss is not finite, the smallest.
    """
    names = list(found.ways)
    worst: dict[float, float] = {}  # of the worst network at each rate
    for ways in found.ways.values():
        for rate, seen, _ in ways:
            end = float(np.mean(seen.loss[-3:]))
            worst[rate] = max(worst.get(rate, 0.0), end if np.isfinite(end) else np.inf)
    common = min(worst, key=lambda rate: (worst[rate], rate))
    figure, axes = panels(width=10.0, height=3.8, columns=3)
    shown: list[list] = [[], [], []]
    for name, style in zip(names, styles(len(names)), strict=True):
        ways = found.ways[name]
        color, line = style["color"], style["linestyle"]
        for rate, seen, _ in ways:
            if rate != common:
                continue
            axes[0].fill_between(seen.updates, seen.lowest, seen.highest, color=color, alpha=0.25)
            label = f"{name}, η = {rate:g}"
            axes[0].plot(seen.updates, seen.loss, color=color, ls=line, lw=1, label=label)
            axes[1].plot(seen.updates, seen.lipschitz, color=color, ls=line, lw=1, label=name)
            shown[0] += [seen.loss, seen.lowest]
            shown[1].append(seen.lipschitz)
        ends = [np.mean(seen.loss[-3:]) for _, seen, _ in ways]
        axes[2].plot([rate for rate, _, _ in ways], ends, **style, ms=4, label=name)
        shown[2].append(ends)
    axes[0].set(title="loss along the gradient", xlabel="update")
    axes[1].set(title="effective smoothness β", xlabel="update")
    axes[2].set(xscale="log", title="loss at the end", xlabel="η")
    for ax, values in zip(axes, shown, strict=True):
        ax.set_yscale(scale_of(*values))
        ax.legend(frameon=False, fontsize=8)
    return figure


def diagnosis(found: DiagnosisStudy) -> Figure:
    """The judged network's errors along its training, and the smaller networks' at the end."""
    figure, (ax,) = panels(height=3.8)
    own = found.study.records["lane"] == found.best
    updates = np.maximum(found.study.records["updates"][own], 1)
    drawn = styles(len(found.scores) + len(found.smaller))
    for name, style in zip(found.scores, drawn, strict=False):
        key = next(k for k in found.study.records if k.startswith(f"{name} ") and "loss" not in k)
        ax.plot(
            updates, found.study.records[key][own], color=style["color"], lw=1.2,
            ls=style["linestyle"], label=name,
        )  # fmt: skip
    ends = updates[[0, -1]]
    for (name, score), look in zip(found.smaller.items(), drawn[len(found.scores) :], strict=True):
        style = look | {"linestyle": ":", "ms": 5, "lw": 1, "label": f"{name}, in training"}
        ax.plot(ends, [score.error] * 2, **style)
    ax.set(xscale="log", xlabel="update", ylabel="error")
    legend(figure, ax)
    return figure


def edges(runs: list[Sharpening]) -> Figure:
    """λ_max as a share of the edge along the updates, and the loss.

    Shares below 0 or above 1.5 are arrows at the border.
    """
    figure, (left, right) = panels(width=10.0, height=3.6, columns=2)
    for run, style in zip(runs, styles(len(runs)), strict=True):
        name = f"{run.optimizer}, η = {run.learning_rate:g}"
        color, line = style["color"], style["linestyle"]
        share = run.sharpness / run.edge
        left.plot(run.updates, share, lw=1, color=color, ls=line, label=name)
        for arrow, beyond, at in (
            (r"$\uparrow$", share > 1.5, 1.47),
            (r"$\downarrow$", share < 0, 0.03),
        ):
            left.plot(run.updates[beyond], np.full(beyond.sum(), at), ls="", marker=arrow, ms=7,
                      color=color)  # fmt: skip
        right.plot(run.losses, lw=0.8, color=color, ls=line)
    left.axhline(1, color="#444444", lw=0.8, ls=":")
    left.set(title="λ_max / edge", xlabel="update", ylim=(0, 1.5))
    right.set(title="loss", xlabel="update", yscale=scale_of(*(run.losses for run in runs)))
    legend(figure, left)
    return figure
