"""What is tried against overfitting, on accuracy and on loss."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from scipy import stats

from jaxml import data, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import keys
from jaxml.course.experiment import Effort
from jaxml.course.lanes import of_each_lane
from jaxml.training import augmentation, losses, metrics, optimizers, sampling

MEASURES = {"accuracy": metrics.accuracy, "loss": losses.softmax_cross_entropy}


def remedies(effort: Effort = "quick") -> Finding:
    """A wide network on few images, and what the guide offers against its overfitting."""
    quick = effort == "quick"
    count, seeds, steps = 100 if quick else 1000, 5, 1000
    splits = data.load("digits" if quick else "fashion_mnist").splits
    side = 8 if quick else 28
    train, others = (
        {"x": split["x"].reshape(-1, side, side, 1), "y": split["y"]}
        for split in (splits["train"], splits["validation"])
    )
    few, many = ({k: v[:n] for k, v in train.items()} for n in (count, 10 * count))
    half = len(others["y"]) // 2  # one half is for the choice of when to stop
    held, judged = (
        {k: v[part] for k, v in others.items()} for part in (slice(half), slice(half, None))
    )
    pixels = side**2
    plain = sampling.epochs(50)

    def network(width=pixels, dropout=0.0):
        return nn.mlp([pixels, width, 10], dropout=dropout)

    def fitted(model, rows=few, sample=plain, inputs=_flat, l2=0.0, hooks=(), chunk=None):
        algorithm = training.supervised(
            model, MEASURES["loss"], optimizers.adam(1e-3), inputs=inputs, l2=l2
        )
        return training.fit_many(
            algorithm, rows, sample, keys=keys(seeds), steps=steps, hooks=hooks, chunk=chunk
        ).state

    def scored(model, state, rows=few, inputs=_flat):
        return np.array(
            [of_each_lane(model, state, part, MEASURES, inputs) for part in (rows, judged)]
        )

    watched = training.evaluation(
        lambda state: {"loss": of_each_lane(network(), state, held, MEASURES, _flat)[:, 1].mean()}
    )
    stopped = training.early_stopping(watched, patience=steps)  # goes on to the end
    found = {
        "none": scored(
            network(),
            fitted(network(), hooks=[watched, stopped], chunk=steps // (10 if quick else 20)),
        ),
        "ten times the data": scored(network(), fitted(network(), many), many),
    }
    if not quick:
        cnn = nn.cnn((28, 28, 1), 10, channels=(16, 32), hidden=(64,))
        moved = augmentation.augmented(plain, augmentation.shift(2), augmentation.flip())
        found["CNN"] = scored(cnn, fitted(cnn, inputs=None), inputs=None)
        found["shift and flip"] = scored(network(), fitted(network(), sample=moved))
        found["width 8"] = scored(network(8), fitted(network(8)))
    found["width 2"] = scored(network(2), fitted(network(2)))
    for dropout in () if quick else (0.5, 0.9):
        thinned = network(dropout=dropout)
        found[f"dropout {dropout}"] = scored(thinned, fitted(thinned))
    for l2 in (0.01, 1.0) if quick else (0.01, 0.1, 1.0):
        found[f"L2 {l2}"] = scored(network(), fitted(network(), l2=l2))
    found[f"stop at {stopped.best_step}"] = scored(network(), stopped.best_state)
    return _finding(found, count, seeds)


def _flat(batch: Any) -> jax.Array:
    return batch["x"].reshape(len(batch["x"]), -1)


def _half_width(values: np.ndarray) -> float:
    """Of the 95 % interval of the mean, by Student's t."""
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def _finding(found: dict[str, np.ndarray], count: int, seeds: int) -> Finding:
    """From name -> accuracy and loss, shape `(training or validation, seeds, 2)`."""
    none = found["none"]
    gains = {name: one[1] - none[1] for name, one in found.items() if name != "none"}
    better: dict[str, list[str]] = {}
    for column, (measure, sign) in enumerate({"accuracy": 1, "loss": -1}.items()):
        better[measure] = [
            name
            for name, gain in gains.items()
            if (sign * gain[:, column]).mean() > _half_width(gain[:, column])
        ]
    lost = {  # both accuracies have fallen
        name: float(found[name][0, :, 0].mean())
        for name, gain in gains.items()
        if found[name][0, :, 0].mean() < 0.9 and -gain[:, 0].mean() > _half_width(gain[:, 0])
    }
    means = {name: one.mean(1) for name, one in found.items()}
    best = max(means, key=lambda name: means[name][1, 0])

    def interval(values, digits=3):
        return f"{values.mean():.{digits}f} ± {_half_width(values):.{digits}f}"

    table = Table(
        ("remedy", "training accuracy", "validation accuracy", "training loss", "validation loss"),
        [
            (name, *(interval(one[part, :, column], 3 - column)
                     for column in (0, 1) for part in (0, 1)))
            for name, one in found.items()
        ],
    )  # fmt: skip
    alts = {
        "accuracy": "Accuracy in training and validation for each remedy: that of the validation "
        "hardly differs but where there are more data or too much of a remedy.",
        "loss": "Loss in training and validation for each remedy: with nothing the one is almost "
        "zero and the other high; most remedies bring them together.",
    }
    figures = [
        Figure(functools.partial(_draw, found, measure, column), alt, height=1.1)
        for column, (measure, alt) in enumerate(alts.items())
    ]
    structure = {"ten times the data", "CNN", "shift and flip"}
    fair = [name for name in gains if name not in lost]
    holds = "ten times the data" in better["accuracy"] and best in structure
    holds = holds and len(set(better["loss"]) & set(fair)) > len(fair) / 2
    holds = holds and {"width 2", "L2 1.0"} <= set(lost)
    return Finding(
        name="remedies",
        question="What helps against overfitting?",
        verdict=f"With nothing a network on {count:,} images has {means['none'][0, 0]:.1%} in "
        f"training and {means['none'][1, 0]:.1%} in validation, at a loss of "
        f"{means['none'][1, 1]:.2f}. The accuracy rises with {_list(better['accuracy'])} "
        f"({best}: {means[best][1, 0]:.1%}); the loss falls with {_list(better['loss'])}. Too much "
        "is model bias: "
        + ", ".join(f"{value:.0%} in training with {name}" for name, value in lost.items())
        + ".",
        sections=[
            Section(
                "Accuracy and loss",
                f"Means over {seeds} seeds with their 95 % intervals. What counts as a rise or a "
                "fall is one that exceeds the interval of the differences, seed by seed. When to "
                "stop was chosen on other images than those it is judged by.",
                figures, table,
            )
        ],
        numbers={
            name: {
                f"{part} {measure}": one[i, :, column].tolist()
                for column, measure in enumerate(MEASURES)
                for i, part in enumerate(("training", "validation"))
            }
            for name, one in found.items()
        },
        expected="more data raise the validation accuracy, and nothing but data and structure "
        "has the highest; the loss falls with most remedies; too small a width and "
        "too much L2 end in model bias (below 90 % in training, and below nothing in validation)",
        holds=bool(holds),
    )  # fmt: skip


def _draw(found: dict[str, np.ndarray], measure: str, column: int, ax: Any) -> None:
    places = np.arange(len(found))[::-1]
    for i, (part, color) in enumerate((("training", drawing.BLUE), ("validation", drawing.RED))):
        seen = [one[i, :, column] for one in found.values()]
        means, halves = [values.mean() for values in seen], [_half_width(v) for v in seen]
        ax.errorbar(means, places + 0.12 - 0.24 * i, xerr=halves, fmt="o", color=color, label=part,
                    markersize=4, capsize=2)  # fmt: skip
    ax.set(xlabel=measure, ylim=(-0.7, len(found) + 0.6))
    ax.set_yticks(places, list(found))
    drawing.legend(ax)


def _list(names: list[str]) -> str:
    return ", ".join(names) if names else "none of them"
