"""What is wrong with a network, and what helps."""

from __future__ import annotations

import numpy as np

from jaxml import data, nn, studies, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import losses, metrics, optimizers, sampling


def four_faults(effort: Effort = "quick") -> Finding:
    """Four faults planted in real trainings, and what the guide's tree calls them."""
    digits = data.load("digits").splits
    longer = 1 if effort == "quick" else 3

    few = {name: values[:40] for name, values in digits["train"].items()}
    negative = digits["test"] | {"x": digits["test"]["x"].max() - digits["test"]["x"]}

    def trained(hidden, rows=digits["train"], test=None, epochs=25, **options):
        model = nn.mlp([64, *hidden, 10], **options)
        algorithm = training.supervised(
            model, losses.softmax_cross_entropy, optimizers.momentum(0.1)
        )
        steps = 20 * round(longer * epochs * len(rows["x"]) / 400)
        state = training.fit(algorithm, rows, sampling.epochs(20), key=key(0), steps=steps).state
        splits = {"train": rows, "validation": digits["validation"]}
        splits |= {} if test is None else {"test": test}
        scores = {}
        for name, split in splits.items():
            outputs = model.apply(state.params, state.model_state, split["x"])[0]
            wrong = float(metrics.error(outputs, split).mean())
            scores[name] = studies.Score(wrong, len(split["x"]))
        return scores

    sound = trained([32], test=negative)
    narrow = trained([1])
    deep = trained([32] * 8, epochs=5, activation="sigmoid")
    cases = {
        "model bias": (narrow, []),
        "optimisation": (deep, [sound["train"]]),
        "overfitting": (trained([32], few, epochs=100), []),
        "mismatch": (sound, []),
    }
    verdicts = {
        fault: studies.diagnose(**scores, acceptable=0.06, shallower=smaller)
        for fault, (scores, smaller) in cases.items()
    }
    right = sum(found.fault == fault for fault, found in verdicts.items())
    parts = ("train", "validation", "test")
    figure = pictures.bars(
        {
            part: {fault: scores[part].error if part in scores else 0.0
                   for fault, (scores, _) in cases.items()}
            for part in parts
        },
        "Errors in training, validation and test of four networks: each has another pattern.",
        ylabel="error",
    )  # fmt: skip
    rows = [(fault, found.fault, "; ".join(found.because)) for fault, found in verdicts.items()]
    table = Table(("planted", "named", "because"), rows)
    return Finding(
        name="four-faults",
        question="The network is not good enough: what is wrong?",
        verdict=f"{right} of 4 planted faults are named rightly from their errors in training, "
        "validation and test.",
        sections=[Section("Four networks", figures=[figure], table=table)],
        numbers={"named": {fault: found.fault for fault, found in verdicts.items()}},
        expected="the tree names model bias, optimisation, overfitting and mismatch",
        holds=right == 4,
    )


def best_of_many(effort: Effort = "quick") -> Finding:
    """Models that guess, chosen among on a small public set."""
    models, examples, public = 1000, 1050, 50
    draws = 200 if effort == "quick" else 2000
    wrong = np.random.default_rng(0).integers(0, 2, (models, examples)).astype(float)
    rows = studies.best_of_many(wrong, public, [1, 10, 100, 1000], draws=draws)
    last = rows[-1]
    holds = last.public < 0.35 and all(abs(row.private - 0.5) < 0.02 for row in rows)
    counts = [row.models for row in rows]
    figure = pictures.curves(
        {
            "on the public set": (counts, [row.public for row in rows]),
            "on the private set": (counts, [row.private for row in rows]),
        },
        "Error against the number of models chosen among: on the public set it falls, on the "
        "private one it stays at one half.",
        style="o-", xlabel="models", ylabel="error", xscale="log", ylim=(0, 0.6),
    )  # fmt: skip
    return Finding(
        name="leaderboard",
        question="Why is the best on the public leaderboard not the best?",
        verdict=f"The best of {last.models:,} models that guess has {last.public:.0%} error on the "
        f"{public} examples that it was chosen by and {last.private:.0%} on the others.",
        sections=[Section("Choosing by luck", figures=[figure])],
        numbers={"models": counts, "public": [row.public for row in rows],
                 "private": [row.private for row in rows]},
        expected="the public error of the chosen falls below 35 %, the private one stays at 50 %",
        holds=bool(holds),
    )  # fmt: skip
