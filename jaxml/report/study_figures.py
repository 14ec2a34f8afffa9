"""Figures of studies; each function returns a matplotlib `Figure` and shows nothing."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jaxml.report.figures import panels
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

_COLORS = ("#5b7db1", "#c2334d", "#1b7f4d", "#d98c1f", "#7a3fa0", "#2a9d9d", "#8a6d3b", "#444444")
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


def steps(result: Findings) -> Figure:
    """Steps to target against batch size with 1/B and the fit; examples against steps."""
    figure, (left, right) = panels(height=4.4, columns=2)
    tops = []
    for (group, name), color in zip(_groups(result), _COLORS, strict=False):
        rows = result.table.of(*group).rows
        b = np.array([row.batch_size for row in rows], float)
        s = np.array([row.steps for row in rows])
        hit = np.isfinite(s)
        if not hit.any():
            continue
        high = np.array([row.high for row in rows])
        low = np.array([row.low for row in rows])
        s_, low, high = s[hit], low[hit], high[hit]
        error = [
            np.clip(s_ - np.where(np.isfinite(low), low, s_), 0, None),
            np.clip(np.where(np.isfinite(high), high, s_) - s_, 0, None),
        ]
        left.errorbar(
            b[hit], s[hit], yerr=error, fmt="o-", ms=4, lw=1, capsize=2, color=color, label=name
        )
        edge = np.array([not row.interior for row in rows]) & hit
        left.plot(b[edge], s[edge], "o", ms=9, mfc="none", mec=color, mew=0.8)
        right.plot(s[hit], (b * s)[hit], "o-", ms=4, lw=1, color=color, label=name)
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
    left.set(xscale="log", yscale="log", xlabel="batch size B", ylabel="updates to the target")
    right.set(xscale="log", yscale="log", xlabel="updates", ylabel="examples to the target")
    left.legend(frameon=False, fontsize=8)
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
            ax.plot([low, high], [i, i], color=_COLORS[0], lw=1.2)
            ax.plot(row.steps, i, "o", ms=5, color=_COLORS[0])
            text = f"  η = {row.learning_rate:.3g}, {row.schedule}"
            ax.text(max(high, row.steps), i, text, va="center", fontsize=7, color="#555555")
        else:
            ax.text(0.02, i, "missed", va="center", fontsize=7, color=_COLORS[1],
                    transform=ax.get_yaxis_transform())  # fmt: skip
    ax.set_yticks(range(len(rows)), names, fontsize=8)
    ax.set(xscale="log", xlabel="updates to the target")
    ax.margins(x=0.25)
    return figure


def descents(name: str, found: Descents) -> Figure:
    """The optimisers' ways over a surface, and their losses."""
    figure, (left, right) = panels(width=10.0, height=4.2, columns=2)
    surface, _ = SURFACES[name]
    path = found.path[np.isfinite(found.path).all((1, 2))]
    low, high = path.min((0, 1)), path.max((0, 1))
    pad = 0.15 * np.maximum(high - low, 0.2)
    sides = [np.linspace(low[i] - pad[i], high[i] + pad[i], 120) for i in range(2)]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
    values = np.asarray(jax.vmap(surface)(jnp.asarray(grid))).reshape(120, 120)
    levels = np.quantile(values, np.linspace(0, 1, 25))
    left.contour(*sides, values.T, levels=np.unique(levels), cmap="Greys", linewidths=0.6)
    for i, (optimizer, color) in enumerate(zip(found.names, _COLORS, strict=False)):
        label = f"{optimizer}, η = {found.rates[i]:.3g}"
        left.plot(*found.path[i].T, "-", lw=1.2, color=color, label=label)
        left.plot(*found.path[i, -1], "o", ms=5, color=color)
        fall = found.losses[i] - found.losses[np.isfinite(found.losses)].min() + 1e-6
        right.plot(np.arange(1, len(fall) + 1), fall, lw=1.2, color=color, label=label)
    left.plot(*found.path[0, 0], "*", ms=10, color="#000000")
    left.set(xlabel="w₀", ylabel="w₁")
    right.set(xscale="log", yscale="log", xlabel="update", ylabel="loss above the lowest + 1e-6")
    right.legend(frameon=False, fontsize=8)
    return figure


def rates(result: Findings) -> Figure:
    """The best effective rate against batch size, with linear and square-root lines."""
    figure, (ax,) = panels(height=3.8)
    top = []
    for (group, name), color in zip(_groups(result), _COLORS, strict=False):
        rows = [row for row in result.table.of(*group).rows if np.isfinite(row.steps)]
        if not rows:
            continue
        b = np.array([row.batch_size for row in rows], float)
        beta = group[1] if group[0] in ("momentum", "nesterov") else 0.0
        effective = np.array([row.learning_rate for row in rows]) / (1 - beta)
        ax.plot(b, effective, "o-", ms=4, lw=1, color=color, label=name)
        edge = np.array([not row.interior for row in rows])
        ax.plot(b[edge], effective[edge], "o", ms=9, mfc="none", mec=color, mew=0.8)
        if color == _COLORS[0]:
            ax.plot(b, effective[0] * b / b[0], color="#888888", lw=0.8, ls="--", label="linear")
            ax.plot(
                b, effective[0] * np.sqrt(b / b[0]), color="#888888", lw=0.8, ls=":", label="√B"
            )
        top.append(effective.max())
    ax.set(xscale="log", yscale="log", xlabel="batch size B", ylabel="best η/(1 − β)")
    if top:  # the linear line may leave the picture
        ax.set_ylim(None, 4 * max(top))
    ax.legend(frameon=False, fontsize=8)
    return figure


def outcomes(result: Findings) -> Figure:
    """Which lanes hit, missed and diverged, by rate and batch size."""
    groups = _groups(result)
    lanes, exits = result.study.lanes, result.study.exits
    figure, axes = panels(height=3.4, columns=max(len(groups), 1))
    names = list(_OUTCOMES)
    for ax, (group, name) in zip(axes, groups, strict=True):
        own = (lanes.optimizer == group[0]) & (lanes.momentum == group[1])
        sizes, grid = np.unique(lanes.batch_size[own]), np.unique(lanes.learning_rate[own])
        shares = np.zeros((len(grid), len(sizes)))
        image = np.zeros(shares.shape)
        for i, rate in enumerate(grid):
            for j, size in enumerate(sizes):
                these = exits[own & (lanes.batch_size == size) & (lanes.learning_rate == rate)]
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
        ax.set(title=name, xlabel="batch size B", ylabel="η" if ax is axes[0] else "")
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
    colors = dict(zip(sizes, itertools.cycle(_COLORS), strict=False))
    for name, ax in zip(ways, axes, strict=True):
        for size, color in colors.items():
            if name == "noise":
                _free_noise(ax, result.noise.get(size, []), color)
            elif means := mean_scales(result.noise_along, size):
                ax.plot(*zip(*means, strict=True), "s-", ms=4, lw=1, color=color)
        title = "free, along the training" if name == "noise" else "at given losses"
        ax.set(xscale="log", yscale="log", xlabel="loss in training", title=title)
        ax.invert_xaxis()
    axes[0].set(ylabel="B_simple, examples")
    for size, color in colors.items():
        axes[-1].plot([], [], color=color, label=f"B = {size:,}")
    axes[-1].legend(frameon=False, fontsize=8)
    return figure


def _free_noise(ax, points, color) -> None:
    told = [(loss, scale) for loss, scale in points if scale.resolved]
    if told:
        y = np.array([scale.simple for _, scale in told])
        error = np.abs(np.array([scale.interval for _, scale in told]).T - y)
        x = [loss for loss, _ in told]
        ax.errorbar(x, y, yerr=error, fmt="o-", ms=4, lw=1, capsize=2, color=color)
    for loss, scale in points:
        if not scale.resolved and np.isfinite(scale.interval[0]) and scale.interval[0] > 0:
            ax.plot(loss, scale.interval[0], "^", ms=6, mfc="none", mec=color)


def budgets(result: Findings) -> Figure:
    """The least validation loss by batch size under budgets of updates, epochs, and all of it."""
    study = result.study
    figure, axes = panels(height=3.6, columns=3)
    measure = f"{study.target.split} {study.target.measure}" if study.target else "validation loss"
    lanes, records = study.lanes, study.records
    sizes = np.unique(lanes.batch_size)
    updates = records["updates"]
    epochs = updates * lanes.batch_size[records["lane"]] / study.examples
    # what every batch size was given at least
    most_updates = min(updates[lanes.batch_size[records["lane"]] == s].max() for s in sizes)
    most_epochs = min(epochs[lanes.batch_size[records["lane"]] == s].max() for s in sizes)
    limits = {
        f"{most_updates:,} updates": updates <= most_updates,
        f"{most_epochs:.3g} epochs": epochs <= most_epochs + 1e-9,
        "to the end": updates >= 0,
    }
    worst = min if not (study.target and study.target.above) else max
    for ax, (title, within) in zip(axes, limits.items(), strict=True):
        for (group, name), color in zip(_groups(result), _COLORS, strict=False):
            best = []
            for size in sizes:
                own = within & (lanes.batch_size[records["lane"]] == size)
                own &= (lanes.optimizer == group[0])[records["lane"]]
                own &= (lanes.momentum == group[1])[records["lane"]]
                values = records[measure][own]
                values = values[np.isfinite(values)]
                best.append(worst(values) if len(values) else np.nan)
            ax.plot(sizes, best, "o-", ms=4, lw=1, color=color, label=name)
        ax.set(xscale="log", yscale="log", title=title, xlabel="batch size B")
    axes[0].set_ylabel(f"best {measure}")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def throughput(result: Findings) -> Figure:
    """Seconds per update and per epoch, and the modelled time to the target."""
    figure, axes = panels(height=3.6, columns=3)
    b = np.array([t.batch_size for t in result.throughput], float)
    seconds = np.array([t.update for t in result.throughput])
    axes[0].plot(b, 1e3 * seconds, "o-", ms=4, lw=1, color=_COLORS[0])
    axes[0].set(ylabel="ms per update")
    axes[1].plot(b, seconds * result.study.examples / b, "o-", ms=4, lw=1, color=_COLORS[0])
    axes[1].set(ylabel="s per epoch")
    for (group, name), color in zip(_groups(result), _COLORS, strict=False):
        rows = {row.batch_size: row.steps for row in result.table.of(*group).rows}
        times = np.array([rows.get(int(size), np.inf) for size in b]) * seconds
        axes[2].plot(
            b,
            np.where(np.isfinite(times), times, np.nan),
            "o-",
            ms=4,
            lw=1,
            color=color,
            label=name,
        )
    axes[2].set(ylabel="modelled s to the target")
    axes[2].legend(frameon=False, fontsize=8)
    for ax in axes:
        ax.set(xscale="log", yscale="log", xlabel="batch size B")
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
    for ax, (name, values) in zip(axes, measures.items(), strict=False):
        ax.plot(b, values, "o", ms=4, color=_COLORS[0], alpha=0.7)
        sizes = np.unique(b)
        medians = [np.median(np.array(values)[b == s]) for s in sizes]
        ax.plot(sizes, medians, "-", lw=1, color=_COLORS[0])
        ax.set(xscale="log", yscale="log", xlabel="batch size B", title=name)
    if result.line is not None:
        t, train, other = result.line
        axes[3].plot(t, train, color=_COLORS[0], label="training")
        axes[3].plot(t, other, color=_COLORS[1], ls="--", label="held out")
        for place in (0, 1):
            axes[3].axvline(place, color="#888888", lw=0.6)
        axes[3].set(yscale="log", xlabel="0: smallest batch, 1: largest", title="loss between")
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
    ax.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def depths(found: DepthStudy) -> Figure:
    """Training loss and validation error by depth, and the pieces that folding makes."""
    figure, axes = panels(width=10.0, height=3.6, columns=3)
    layers = [len(d.widths) - 2 for d in found.depths]
    axes[0].plot(layers, [d.train_loss for d in found.depths], "o-", ms=4, color=_COLORS[0])
    axes[0].set(title="loss in training", yscale="log", xlabel="hidden layers")
    errors = [d.validation_error for d in found.depths]
    axes[1].errorbar(
        layers, errors, yerr=[d.error for d in found.depths], fmt="o-", ms=4, capsize=2,
        color=_COLORS[1],
    )  # fmt: skip
    axes[1].set(title="validation error", xlabel="hidden layers")
    ks = np.array(list(found.pieces))
    axes[2].plot(ks, 2.0**ks, color="#888888", lw=0.8, ls="--", label="2^K")
    axes[2].plot(ks, list(found.pieces.values()), "o", ms=4, color=_COLORS[2], label="counted")
    axes[2].plot(ks, 2 * ks + 1, color=_COLORS[3], lw=0.8, ls=":", label="one layer of 2K at most")
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
        color=_COLORS[0],
        label="simulated",
    )
    axes[0].plot(
        n, [f.bound for f in found.bad.values()], color=_COLORS[1], lw=1, label="Hoeffding"
    )
    axes[0].axvline(found.needed, color="#888888", lw=0.8, ls="--", label="N for 5 %")
    axes[0].set(yscale="symlog", title="share of bad samples", xlabel="examples N", ylim=(0, 1.5))
    axes[0].set_yscale("symlog", linthresh=1e-3)
    models = [b.models for b in found.best]
    axes[1].plot(
        models, [b.public for b in found.best], "o-", ms=4, color=_COLORS[0], label="where chosen"
    )
    axes[1].plot(
        models, [b.private for b in found.best], "o-", ms=4, color=_COLORS[1], label="elsewhere"
    )
    axes[1].set(xscale="log", title="error of the best of many", xlabel="models")
    rates = found.folds.lanes.learning_rate
    means = found.folds.scores.mean(1)
    spread = found.folds.scores.std(1, ddof=1) / np.sqrt(found.folds.scores.shape[1])
    axes[2].errorbar(
        rates, means, yerr=spread, fmt="o-", ms=4, capsize=2, color=_COLORS[0], label="folds"
    )
    axes[2].plot(rates, found.test, "s--", ms=4, color=_COLORS[1], label="test")
    axes[2].set(xscale="log", yscale="log", title="cross-validation", xlabel="η")
    for ax in axes:
        ax.legend(frameon=False, fontsize=8)
    return figure


def normalization(found: NormalizationStudy) -> Figure:
    """The loss along the gradient and its smoothness, at the rate that all networks bear best."""
    names = list(found.ways)
    worst: dict[float, float] = {}  # of the worst network at each rate
    for ways in found.ways.values():
        for rate, seen, _ in ways:
            end = float(np.mean(seen.loss[-3:]))
            worst[rate] = max(worst.get(rate, 0.0), end if np.isfinite(end) else np.inf)
    common = min(worst, key=lambda rate: worst[rate])
    figure, axes = panels(width=10.0, height=3.8, columns=3)
    for name, color in zip(names, _COLORS, strict=False):
        ways = found.ways[name]
        for rate, seen, _ in ways:
            if rate != common:
                continue
            axes[0].fill_between(seen.updates, seen.lowest, seen.highest, color=color, alpha=0.25)
            axes[0].plot(seen.updates, seen.loss, color=color, lw=1, label=f"{name}, η = {rate:g}")
            axes[1].plot(seen.updates, seen.lipschitz, color=color, lw=1, label=name)
        ends = [np.mean(seen.loss[-3:]) for _, seen, _ in ways]
        axes[2].plot([rate for rate, _, _ in ways], ends, "o-", ms=4, color=color, label=name)
    axes[0].set(yscale="log", title="loss along the gradient", xlabel="update")
    axes[1].set(yscale="log", title="effective smoothness β", xlabel="update")
    axes[2].set(xscale="log", yscale="log", title="loss at the end", xlabel="η")
    for ax in axes:
        ax.legend(frameon=False, fontsize=8)
    return figure


def diagnosis(found: DiagnosisStudy) -> Figure:
    """The judged network's errors along its training, and the smaller networks' at the end."""
    figure, (ax,) = panels(height=3.8)
    own = found.study.records["lane"] == found.best
    updates = np.maximum(found.study.records["updates"][own], 1)
    for name, color in zip(found.scores, _COLORS, strict=False):
        key = next(k for k in found.study.records if k.startswith(f"{name} ") and "loss" not in k)
        ax.plot(updates, found.study.records[key][own], color=color, lw=1.2, label=name)
    for (name, score), color in zip(found.smaller.items(), _COLORS[3:], strict=False):
        ax.axhline(score.error, color=color, lw=0.8, ls="--", label=f"{name}, in training")
    ax.set(xscale="log", xlabel="update", ylabel="error")
    ax.legend(frameon=False, fontsize=8)
    return figure


def edges(runs: list[Sharpening]) -> Figure:
    """λ_max as a share of the edge along the updates, and the loss."""
    figure, (left, right) = panels(width=10.0, height=3.6, columns=2)
    for run, color in zip(runs, itertools.cycle(_COLORS), strict=False):
        name = f"{run.optimizer}, η = {run.learning_rate:g}"
        left.plot(run.updates, run.sharpness / run.edge, lw=1, color=color, label=name)
        right.plot(run.losses, lw=0.8, color=color)
    left.axhline(1, color="#444444", lw=0.8, ls="--")
    left.set(title="λ_max / edge", xlabel="update", ylim=(0, 1.5))
    right.set(title="loss", xlabel="update", yscale="log")
    left.legend(frameon=False, fontsize=8, ncols=2)
    return figure
