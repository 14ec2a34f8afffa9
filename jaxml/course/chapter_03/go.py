"""Go: a board is an image, but not one that can be pooled."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.types import Model, Run
from jaxml.course.experiment import Effort
from jaxml.training import augmentation, losses, metrics, optimizers, sampling, schedules

AGREEMENT = {"top 1": metrics.accuracy, "top 5": metrics.top_k_accuracy}  # of five


def go_policy(effort: Effort = "quick") -> Finding:
    """Networks without and with pooling predict the moves of games that they have not seen."""
    games = data.load("go_games")
    # layers, channels and dense units that make the numbers of parameters alike
    seeds, steps, layers, channels, hidden = (
        (1, 60, 3, 12, 12) if effort == "quick" else (3, 1000, 6, 48, 128)
    )
    rows, test = ({k: games.splits[s][k] for k in ("x", "y")} for s in ("train", "test"))
    if effort == "quick":
        test = {k: values[:1000] for k, values in test.items()}
    planes = games.meta["input_shape"][-1]
    models = {
        "without pooling": nn.go_policy(9, planes, channels=channels, layers=layers),
        # two poolings leave 2 by 2 points
        "with pooling": nn.cnn(
            (9, 9, planes), 81, channels=(channels, 2 * channels), hidden=(hidden,)
        ),
    }
    found: dict[str, list[dict[str, float]]] = {}
    sizes, updates, seconds, policy = {}, {}, {}, None

    def compare(name, model, steps):
        runs, seconds[name] = _trained(model, rows, seeds, steps)
        legal = functools.partial(_legal_logits, model)
        found[name] = [training.evaluate(legal, run.state, test, AGREEMENT) for run in runs]
        sizes[name] = sum(leaf.size for leaf in jax.tree.leaves(runs[0].state.params))
        updates[name] = steps
        return runs[0].state

    for name, model in models.items():
        state = compare(name, model, steps)
        policy = policy or (model, state)
    if effort == "full":  # more updates for the network whose updates take less time
        more = seconds["without pooling"] / seconds["with pooling"]
        longer = steps * max(1, round(more))
        compare("with pooling, longer", models["with pooling"], longer)
    mean = {
        name: {k: float(np.mean([seed[k] for seed in runs])) for k in ("top 1", "top 5")}
        for name, runs in found.items()
    }
    without, pooled = mean["without pooling"], mean["with pooling"]
    holds = all(
        a["top 1"] > b["top 1"]
        for a in found["without pooling"]
        for name, runs in found.items() if name != "without pooling"
        for b in runs
    )  # fmt: skip
    assert policy is not None
    table = Table(
        ("network", "parameters", "updates", "training, s", "agrees", "among five", "each seed"),
        [
            (
                name, f"{sizes[name]:,}", f"{updates[name]:,}",
                f"{updates[name] * seconds[name]:,.0f}",
                f"{mean[name]['top 1']:.1%}", f"{mean[name]['top 5']:.1%}",
                ", ".join(f"{seed['top 1']:.1%}" for seed in runs),
            )
            for name, runs in found.items()
        ],
    )  # fmt: skip
    return Finding(
        name="go-policy",
        question="May a board be pooled as a photograph is?",
        verdict=f"Without pooling a network names GNU Go's move in {without['top 1']:.0%} of "
        f"{len(test['x']):,} positions of unseen games, and has it among five in "
        f"{without['top 5']:.0%}; with pooling {pooled['top 1']:.0%} and {pooled['top 5']:.0%}"
        + (
            f", trained for {updates['with pooling, longer'] / steps:g} times the updates, about "
            f"as long, {mean['with pooling, longer']['top 1']:.0%} and "
            f"{mean['with pooling, longer']['top 5']:.0%}."
            if effort == "full" else "."
        ),
        sections=[
            Section("Agreement with GNU Go", table=table),
            Section("What the network looks at", figures=_boards(*policy, test)),
        ],
        numbers={
            "agreement": found, "parameters": sizes, "positions": games.meta["counts"],
            "updates": updates, "seconds_an_update": seconds,
        },
        expected="with every seed the network without pooling agrees more often, at equal numbers "
        "of parameters and at about equal time",
        holds=holds,
    )  # fmt: skip


def _trained(model: Model, rows: Any, seeds: int, steps: int) -> tuple[list[Run], float]:
    """The runs, and the seconds an update took in the last of them, compilation apart."""
    sample = augmentation.augmented(sampling.epochs(128), augmentation.board_symmetry())
    rate = schedules.cosine(3e-3, steps)
    algorithm = training.supervised(
        model, losses.softmax_cross_entropy, optimizers.adamw(rate, weight_decay=1e-4)
    )
    clock: list[tuple[int, float]] = []

    def look(chunk: training.Chunk) -> None:
        clock.append((chunk.step, time.perf_counter()))

    runs = []
    for seed in range(seeds):
        clock.clear()
        runs.append(training.fit(algorithm, rows, sample, key=key(seed), steps=steps, hooks=[look]))
    (first, start), *_, (last, end) = clock
    return runs, (end - start) / (last - first)


def _legal_logits(model: Model, state: Any, batch: Mapping[str, Any]) -> jax.Array:
    """Those of the points that are empty."""
    logits, _ = model.apply(state.params, state.model_state, batch["x"])
    return jnp.where(batch["x"][..., 2].reshape(logits.shape) > 0, logits, -jnp.inf)


def _boards(model: Any, state: Any, rows: Mapping[str, np.ndarray]) -> list[Figure]:
    """Two positions, of the beginning and of the middle of a game."""
    stones = rows["x"][..., :2].sum((1, 2, 3))
    chosen = [int(np.flatnonzero(stones >= n)[0]) for n in (8, 30)]
    logits, _ = model.apply(state.params, state.model_state, rows["x"][chosen])
    chances = np.asarray(jax.nn.softmax(logits))
    return [
        _board(rows["x"][i], chance.reshape(9, 9), int(rows["y"][i]))
        for i, chance in zip(chosen, chances, strict=True)
    ]


def _board(planes: np.ndarray, chance: np.ndarray, move: int) -> Figure:
    count = int(planes[..., :2].sum())
    alt = (
        f"A board with {count} stones, the network's chances as shades on the empty points, and a "
        "cross where GNU Go moved."
    )

    def draw(ax: Any) -> None:
        size = len(planes)
        ax.imshow(chance, cmap="Blues", origin="lower", vmin=0)
        for line in range(size):
            ax.plot([0, size - 1], [line, line], color=drawing.GREY, linewidth=0.6, zorder=1)
            ax.plot([line, line], [0, size - 1], color=drawing.GREY, linewidth=0.6, zorder=1)
        for plane, color in ((0, "black"), (1, "white")):  # who moves is drawn black
            row, column = np.nonzero(planes[..., plane])
            ax.scatter(column, row, 130, color, edgecolors="black", zorder=2)
        ax.plot(move % size, move // size, "x", color=drawing.RED, markersize=9, mew=2.5, zorder=3)
        ax.set(
            xlim=(-0.7, size - 0.3), ylim=(-0.7, size - 0.3), xticks=[], yticks=[],
            title=f"black to move; darkest: {chance.max():.0%}; cross: GNU Go",
        )  # fmt: skip
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)

    return Figure(draw, alt, height=0.95)
