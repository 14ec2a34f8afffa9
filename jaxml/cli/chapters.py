"""`jaxml study` of one question of the course, such as depth or generalisation."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import nn, studies
from jaxml.cli import networks
from jaxml.core.checks import require
from jaxml.core.types import Batch, Model
from jaxml.report.tables import depth_error, folds_error
from jaxml.training import losses, metrics

Splits = dict[str, dict[str, np.ndarray]]
Progress = Callable[[float, str], None]

_BATCH = 32
# at which the digits get to the edge
_EDGE_RATES = {
    "sgd": [0.4, 0.8],
    "momentum": [0.5, 0.8],
    "nesterov": [0.2, 0.4],
    "adam": [0.005, 0.01],
}


def task_of(model: Model, l2: float = 0.0) -> studies.Task:
    """A classifier's task, its error measured beside the loss."""
    measures = {"error": metrics.error}
    return studies.task(model, losses.softmax_cross_entropy, measures, l2=l2)


def _ends(rows: dict[str, np.ndarray]) -> tuple[tuple[int, ...], int]:
    """A network's input shape, and how many classes it tells apart."""
    return rows["x"].shape[1:], int(rows["y"].max()) + 1


def depth(options: argparse.Namespace, splits: Splits, rates: list, progress: Progress) -> Any:
    """Networks of several depths and `--parameters`."""
    shape, outputs = _ends(splits["train"])
    activation = options.activation or "relu"
    layers = [int(part) for part in options.depths.split(",")]
    lanes = studies.grid([_BATCH], rates, seeds=options.seeds)
    found = []
    for i, count in enumerate(layers):
        found += studies.depths(
            lambda widths: task_of(nn.mlp(widths, activation=activation), options.l2),
            splits["train"],
            splits["validation"],
            lanes,
            inputs=shape[0],
            outputs=outputs,
            size=options.parameters,
            depth=[count],
            epochs=options.epochs,
        )
        progress((i + 1) / len(layers), f"{count} layers")
    return studies.DepthStudy(found, {k: _pieces(k) for k in range(1, 11)})


def _pieces(layers: int) -> int:
    model, params = nn.mlp([1, *[2] * layers, 1]), studies.tents(layers)
    return studies.linear_pieces(lambda x: model.apply(params, {}, x[None, None])[0][0, 0])


def edge(
    options: argparse.Namespace, splits: Splits, rates: list | None, progress: Progress
) -> Any:
    """Full-batch training with each optimiser, under the squared error and cross-entropy."""
    rows = splits["train"]
    # the mean of the inputs alone would make the surface steep
    rows = rows | {"x": rows["x"] - rows["x"].mean(0)}
    model = networks.model(options, *_ends(rows))
    names = options.optimizers.split(",")
    known = set(names) <= set(studies.EDGES)
    require(known, f"optimizers among {', '.join(studies.EDGES)}", options.optimizers)
    ways = [
        (loss, name, rate)
        for loss in _EDGE_LOSSES
        for name in names
        for rate in rates or _EDGE_RATES[name]
    ]
    found: dict[str, list[studies.Sharpening]] = {loss: [] for loss in _EDGE_LOSSES}
    for i, (loss, name, rate) in enumerate(ways):
        found[loss].append(
            studies.sharpening(
                model,
                _EDGE_LOSSES[loss],
                rows,
                optimizer=name,
                learning_rate=rate,
                momentum=options.momentum,
                steps=options.steps,
                every=max(1, options.steps // 100),
                l2=options.l2,
                on_chunk=lambda done, of, i=i, name=name, rate=rate: progress(
                    (i + done / of) / len(ways), f"{name}, η = {rate:g}"
                ),
            )
        )
    return studies.EdgeStudy(found)


def _half_squared_error(outputs: jax.Array, batch: Batch) -> jax.Array:
    kinds = jnp.arange(outputs.shape[-1])
    return 0.5 * ((outputs - (batch["y"][:, None] == kinds)) ** 2).sum(-1)


_EDGE_LOSSES = {
    "squared error": _half_squared_error,
    "cross-entropy": losses.softmax_cross_entropy,
}


def generalization(
    options: argparse.Namespace, splits: Splits, rates: list, progress: Progress
) -> Any:
    """Thresholds on the mean pixel, untrained networks, and cross-validation."""
    rows = splits["train"]
    x = np.concatenate([split["x"].reshape(len(split["x"]), -1) for split in splits.values()])
    y = np.concatenate([split["y"] for split in splits.values()])
    # as the course's edges: one number an example, two kinds, |H| thresholds
    two = (y == 0) | (y == 1)
    number, kind = x[two].mean(1), y[two] == 1
    cuts = np.quantile(number, np.linspace(0.01, 0.99, 100))
    wrong = (number[None] < cuts[:, None]) != kind[None]
    epsilon = 0.1
    sizes = [25, 50, 100, 200, 400, 800]
    bad = {n: studies.bad_samples(wrong, n, epsilon) for n in sizes}
    progress(0.2, "untrained networks")
    model = networks.model(options, rows["x"].shape[1:], int(y.max()) + 1)
    held = {k: np.concatenate([s[k] for n, s in splits.items() if n != "train"]) for k in rows}
    guesses = _untrained(model, held, count=1000)
    best = studies.best_of_many(guesses, 50, [1, 10, 100, 1000], draws=200)
    progress(0.4, "folds")
    lanes = studies.grid([_BATCH], rates, seeds=1)
    task = task_of(model, options.l2)
    folds = studies.cross_validate(task, rows, lanes, epochs=options.epochs)
    progress(0.9, "test")
    whole = studies.batch_size(
        task, rows, lanes, splits={"test": splits["test"]}, epochs=options.epochs
    )
    return studies.GeneralizationStudy(
        hypotheses=len(cuts),
        epsilon=epsilon,
        bad=bad,
        needed=studies.examples_needed(len(cuts), epsilon, 0.05),
        validation=50,
        best=best,
        folds=folds,
        test=whole.final("test error"),
    )


def _untrained(model: Model, rows: dict[str, np.ndarray], count: int) -> np.ndarray:
    """Whether each of many untrained networks is wrong, shape (networks, examples)."""

    @jax.jit
    def wrong(keys):
        def one(key):
            params, state = model.init(key)
            return metrics.error(model.apply(params, state, rows["x"])[0], rows)

        return jax.lax.map(one, keys)

    return np.asarray(wrong(jax.random.split(jax.random.key(0), count)))


def normalization(
    options: argparse.Namespace, splits: Splits, rates: list, progress: Progress
) -> Any:
    """The same network with and without batch norm."""
    rows = splits["train"]
    shape, outputs = _ends(rows)
    tasks = {}
    for name, norm in {"plain": None, "batch norm": "batch"}.items():
        chosen = argparse.Namespace(**vars(options) | {"norm": norm})
        tasks[name] = task_of(networks.model(chosen, shape, outputs), options.l2)
    size = min(100, len(rows["x"]))
    steps = max(20, int(options.epochs * len(rows["x"]) / size))
    return studies.compare_normalization(
        tasks,
        rows,
        rates,
        batch_size=size,
        steps=steps,
        every=max(1, steps // 50),
        on_progress=lambda done, of: progress(done / of, f"training {done} of {of}"),
    )


def diagnose(options: argparse.Namespace, splits: Splits, rates: list, progress: Progress) -> Any:
    """The network, and those with fewer of its hidden layers."""
    rows = splits["train"]
    shape, outputs = _ends(rows)
    hidden = (options.hidden or "64").split(",")

    def of(layers: Sequence[str]) -> studies.Task:
        chosen = argparse.Namespace(**vars(options) | {"hidden": ",".join(layers)})
        return task_of(networks.model(chosen, shape, outputs), options.l2)

    counts = sorted({1, len(hidden) // 2} & set(range(1, len(hidden))))
    smaller = {f"{count} hidden layer{'s'[: count > 1]}": of(hidden[:count]) for count in counts}
    lanes = studies.grid([_BATCH], rates, seeds=1)
    progress(0.1, "training")
    return studies.diagnose_networks(
        of(hidden),
        smaller,
        rows,
        lanes,
        splits={name: split for name, split in splits.items() if name != "train"},
        acceptable=options.acceptable,
        epochs=options.epochs,
    )


def said(found: Any) -> list[str]:
    """What a study comes to, in a few lines."""
    if isinstance(found, studies.DepthStudy):
        return [
            f"{len(d.widths) - 2} layers of {d.widths[1]}: loss in training {d.train_loss:.4g}, "
            f"validation error {depth_error(d)}"
            for d in found.depths
        ] + [f"pieces of K = 1 to 10 layers of two: {', '.join(map(str, found.pieces.values()))}"]
    if isinstance(found, studies.EdgeStudy):
        return [
            f"{loss}, {run.optimizer}, η = {run.learning_rate:g}: "
            + ("diverged" if run.diverged else f"λ_max {run.ratio:.3f} of the edge {run.edge:.4g}")
            for loss, runs in found.ways.items()
            for run in runs
        ]
    if isinstance(found, studies.GeneralizationStudy):
        first = [
            f"N = {n}: {f.value:.2%} of the samples bad, Hoeffding {f.bound:.2%}"
            for n, f in found.bad.items()
        ]
        best = [
            f"best of {b.models:,}: {b.public:.1%} where chosen, {b.private:.1%} elsewhere"
            for b in found.best
        ]
        return [*first, *best, f"folds {folds_error(found.folds)}, test "
                f"{found.test[found.folds.best]:.2%}"]  # fmt: skip
    if isinstance(found, studies.NormalizationStudy):
        return [
            f"{name}, η = {rate:.3g}: loss {np.mean(seen.loss[-3:]):.4g}, median β "
            f"{np.median(seen.lipschitz):.4g}, λ_max "
            + ("not known" if np.isnan(top) else f"{top:.3g}")
            for name, ways in found.ways.items()
            for rate, seen, top in ways
        ]
    return str(found.diagnosis).splitlines()
