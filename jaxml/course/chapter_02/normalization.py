"""Scales of features, and batch norm."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, landscape, nn, studies, training
from jaxml.core.finding import Finding, Section
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import losses, metrics, optimizers, sampling


def feature_scaling(effort: Effort = "quick") -> Finding:
    """Least squares on raw and on standardised features."""
    from sklearn.datasets import load_wine  # noqa: PLC0415 - slow to import

    wine: Any = load_wine()
    x, y = wine.data[:, 1:], wine.data[:, :1]  # predict the alcohol
    y = ((y - y.mean()) / y.std()).astype(np.float32)
    steps = 500 if effort == "quick" else 20_000
    versions = {"raw": x - x.mean(0), "standardised": (x - x.mean(0)) / x.std(0)}
    model, seen, condition = nn.linear(x.shape[1], 1, bias=False), {}, {}
    for name, features in versions.items():
        rows = {"x": features.astype(np.float32), "y": y}
        probe = training.supervised(model, losses.mse, optimizers.sgd(0.1))
        state = probe.init(key(0))
        state = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
        loss = training.full_loss(probe, state, rows)
        values = np.linalg.eigvalsh(
            np.asarray(landscape.hessian(loss, state.params).dense(), float)
        )
        condition[name] = float(values[-1] / values[0])
        algorithm = training.supervised(model, losses.mse, optimizers.sgd(1 / values[-1]))
        run = training.fit(algorithm, rows, sampling.full(), key=key(0), steps=steps, state=state)
        seen[name] = run.history["loss"]
    residual = y - (x - x.mean(0)) @ np.linalg.lstsq(x - x.mean(0), y)[0]
    best = float(np.mean(residual**2))
    left = {name: float((curve[-1] - best) / (curve[0] - best)) for name, curve in seen.items()}
    holds = condition["raw"] > 100 * condition["standardised"]
    holds = holds and left["standardised"] < 0.01 < 0.5 * left["raw"]
    figure = pictures.curves(
        {name: np.maximum(curve - best, 1e-9) for name, curve in seen.items()},
        "Distance of the loss from its minimum against the update: on standardised features it "
        "falls, on raw ones it hardly does.",
        xlabel="update", ylabel="loss − least squares", yscale="log", xscale="symlog",
    )  # fmt: skip
    return Finding(
        name="feature-scaling",
        question="Does it matter in which units the features are?",
        verdict=f"The condition number of the Hessian is {condition['raw']:.1e} in raw units and "
        f"{condition['standardised']:.0f} standardised; {steps} steps at 1/λ_max leave "
        f"{left['raw']:.0%} and {left['standardised']:.2%} of the way to the minimum.",
        sections=[Section("Thirteen properties of wines", figures=[figure])],
        numbers={"condition": condition, "left": left},
        expected="standardised features have a far rounder error surface (condition number at "
        "most a hundredth), and gradient descent gets down it",
        holds=bool(holds),
    )


def batch_norm_rates(effort: Effort = "quick") -> Finding:
    """A deep network with and without batch norm, at ever larger rates."""
    rows = data.load("digits").train
    tasks = {
        name: studies.task(
            nn.mlp([64, 32, 32, 10], norm=norm), losses.softmax_cross_entropy,
            {"error": metrics.error},
        )
        for name, norm in {"plain": None, "batch norm": "batch"}.items()
    }  # fmt: skip
    rates, steps = [0.1, 3.0], 60 if effort == "quick" else 500
    seen = {
        name: {
            rate: studies.smoothness(
                task, rows, batch_size=100, learning_rate=rate, steps=steps, every=steps // 20
            )
            for rate in rates
        }
        for name, task in tasks.items()
    }
    last = {
        name: {rate: float(np.mean(one.loss[-3:])) for rate, one in ways.items()}
        for name, ways in seen.items()
    }
    rough = {name: float(np.median(ways[rates[0]].lipschitz)) for name, ways in seen.items()}
    top = rates[-1]
    survived = last["batch norm"][top] < 0.5
    failed = not last["plain"][top] < 2.0
    holds = survived and failed
    figure = pictures.curves(
        {
            f"{name}, η = {rate:g}": (one.updates, np.minimum(np.nan_to_num(one.loss, nan=10), 10))
            for name, ways in seen.items()
            for rate, one in ways.items()
        },
        "Loss against update at a small and a large rate, with and without batch norm: only the "
        "plain network at the large rate does not fall.",
        xlabel="update", ylabel="loss (10 at most)", yscale="log",
    )  # fmt: skip
    return Finding(
        name="batch-norm-rates",
        question="What does batch norm change?",
        verdict=f"At η = {top:g} the network with batch norm ends at a loss of "
        f"{last['batch norm'][top]:.2g}, the plain one at {last['plain'][top]:.2g}; guessing has "
        f"2.3.",
        sections=[Section("Rates that it survives", figures=[figure])],
        numbers={"loss": last, "gradient_lipschitz": rough},
        expected="batch norm trains at a rate (η = 3: loss below 0.5) at which the plain network "
        "does not get below 2",
        holds=bool(holds),
    )


def batch_norm_averages(effort: Effort = "quick") -> Finding:
    """One image's output, alone and among others, in training and after it."""
    digits = data.load("digits").splits
    model = nn.mlp([64, 32, 10], norm="batch")
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.sgd(0.1))
    steps = 100 if effort == "quick" else 1000
    state = training.fit(
        algorithm, digits["train"], sampling.epochs(64), key=key(0), steps=steps
    ).state
    image, others = digits["test"]["x"][:1], digits["test"]["x"]
    outputs: dict[str, dict[str, np.ndarray]] = {}
    for name, train in {"in training": True, "after training": False}.items():
        outputs[name] = {
            f"among {size}": np.asarray(
                model.apply(state.params, state.model_state, others[:size], train=train)[0][0]
            )
            for size in (2, 10, 100)
        }
    alone = np.asarray(model.apply(state.params, state.model_state, image)[0][0])
    change = {
        name: float(max(abs(a - b).max() for a in group.values() for b in group.values()))
        for name, group in outputs.items()
    }
    with_others = outputs["after training"].values()
    change["after training"] = max(float(abs(values - alone).max()) for values in with_others)
    holds = change["after training"] < 1e-4 and change["in training"] > 0.1
    figure = pictures.curves(
        {f"{name}, {size}": values for name, group in outputs.items()
         for size, values in group.items()},
        "The ten outputs for one image: three different lines in training, one line after it.",
        style="o-", xlabel="class", ylabel="output",
    )  # fmt: skip
    return Finding(
        name="batch-norm-averages",
        question="With batch norm, does an output depend on the other images?",
        verdict=f"Among other images an output changes by up to {change['in training']:.2g} in "
        f"training mode, and by {change['after training']:.0e} with the moving averages.",
        sections=[Section("One image among others", figures=[figure])],
        numbers={"change": change},
        expected="in training it does (by more than 0.1); the moving averages end that (1e-4)",
        holds=bool(holds),
    )
