"""Learning rates of their own for every parameter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import landscape, studies
from jaxml.core.finding import Finding, Section
from jaxml.course import pictures
from jaxml.course.chapter_02.common import walk
from jaxml.course.experiment import Effort
from jaxml.training import optimizers, schedules


def stuck_without_critical_point(effort: Effort = "quick") -> Finding:
    """A loss that no longer falls although the gradient is large: between the walls of a ravine."""
    ravine, start = studies.SURFACES["ravine"]
    steps = 200 if effort == "quick" else 1000
    rate = 0.2 * (1 - 0.05 / steps)  # just below 2/λ_max = 0.2
    seen = walk(ravine, start, optimizers.sgd(rate), steps)
    half = steps // 2
    fall = float(1 - seen["loss"][-1] / seen["loss"][half])
    slope = float(seen["slope"][half:].min() / seen["slope"][0])
    end = np.array([seen["w0"][-1], seen["w1"][-1]], np.float32)
    point = landscape.analyze(ravine, end)
    holds = fall < 0.25 and slope > 0.5 and point.kind == "not critical"
    smaller = walk(ravine, start, optimizers.sgd(0.15), steps)
    figures = [
        pictures.curves(
            {"loss": seen["loss"], "‖gradient‖": seen["slope"]},
            "Loss and gradient norm against update: both level off far from zero.",
            xlabel="update", yscale="log", ylim=(0.1, 20),
        ),
        pictures.curves(
            {f"η = {rate:g}": (seen["w0"][:40], seen["w1"][:40]),
             "η = 0.15": (smaller["w0"][:40], smaller["w1"][:40])},
            "The first forty steps: one path jumps between the walls of the ravine, the other "
            "settles on its floor.",
            style=".-", xlabel="w₀, along", ylabel="w₁, across",
        ),
    ]  # fmt: skip
    return Finding(
        name="stuck-ravine",
        question="The loss no longer falls: is that a critical point?",
        verdict=f"Over the last {half} updates the loss falls by {fall:.0%} and the gradient norm "
        f"stays above {slope:.0%} of its first value; the analysis says: {point.kind}.",
        sections=[Section("Between two walls", figures=figures)],
        numbers={"fall": fall, "slope_of_first": slope, "kind": point.kind},
        expected="training is stuck (the loss falls by less than a quarter) with a gradient that "
        "is still more than half as large as at the start",
        holds=bool(holds),
    )


def long_ravine(w: jax.Array) -> jax.Array:
    """A ravine 10,000 times as steep across as along; its end is at (0, 0)."""
    return 0.5 * (1e-3 * w[0] ** 2 + 10 * w[1] ** 2)


def adaptive_rates(effort: Effort = "quick") -> Finding:
    """Six optimisers in a long ravine, each at its best rate."""
    steps = 300 if effort == "quick" else 3000
    found = studies.descents(
        long_ravine, (-10.0, 1.0), steps=steps, rates=tuple(np.geomspace(1e-3, 1.0, 10))
    )
    ends = dict(zip(found.names, found.losses[:, -1].tolist(), strict=True))
    adaptive = ["adagrad", "rmsprop", "adam"]
    first = float(found.losses[0, 0])
    worst = max(ends[name] for name in adaptive)
    holds = worst < 0.1 * ends["sgd"]
    figure = pictures.curves(
        {
            f"{name}, η = {rate:.2g}": np.maximum(values, 1e-12)
            for name, rate, values in zip(found.names, found.rates, found.losses, strict=True)
        },
        "Loss against update of six optimisers: gradient descent levels off, the adaptive ones "
        "fall far below.",
        xlabel="update", ylabel="loss", yscale="log",
    )  # fmt: skip
    return Finding(
        name="adaptive-rates",
        question="Why should every parameter have a rate of its own?",
        verdict=f"From a loss of {first:.3g} gradient descent reaches {ends['sgd']:.2g} in {steps} "
        "updates at the best of ten rates, "
        + ", ".join(f"{name} {ends[name]:.1g}" for name in adaptive)
        + ".",
        sections=[Section("A long ravine", figures=[figure])],
        numbers={"ends": ends, "rates": dict(zip(found.names, found.rates.tolist(), strict=True))},
        expected="Adagrad, RMSProp and Adam end below a tenth of gradient descent's loss",
        holds=bool(holds),
    )


def rmsprop_forgets(effort: Effort = "quick") -> Finding:
    """The size of the steps when the gradient becomes a tenth of what it was."""
    before, after = (50, 100) if effort == "quick" else (500, 1000)
    gradients = np.concatenate([np.ones(before), np.full(after, 0.1)]).astype(np.float32)

    def steps_of(optimizer):
        def one(state, gradient):
            update, state = optimizer.update(gradient, state)
            return state, -update / gradient

        return np.asarray(jax.lax.scan(one, optimizer.init(jnp.zeros(())), gradients)[1])

    scales = {"Adagrad": steps_of(optimizers.adagrad(1.0)),
              "RMSProp": steps_of(optimizers.rmsprop(1.0))}  # fmt: skip
    # what the rate would be had all gradients been the small one: 10
    reached = {
        name: float(np.argmax(scale[before:] > 5)) if (scale[before:] > 5).any() else np.inf
        for name, scale in scales.items()
    }
    holds = reached["RMSProp"] < 60 and reached["Adagrad"] == np.inf
    figure = pictures.curves(
        scales,
        f"The rate against the update: after update {before} that of RMSProp rises to ten, that of "
        "Adagrad stays below one.",
        xlabel="update", ylabel="rate of the parameter", yscale="log",
    )  # fmt: skip
    return Finding(
        name="rmsprop-forgets",
        question="What if the slope of one parameter changes on the way?",
        verdict=f"When the gradient falls to a tenth, RMSProp's rate comes within a factor of two "
        f"of the new one after {reached['RMSProp']:g} updates; Adagrad's does "
        + ("not" if np.isinf(reached["Adagrad"]) else f"after {reached['Adagrad']:g}")
        + f" within {after}.",
        sections=[Section("A slope that changes", figures=[figure])],
        numbers={"updates": {k: v if np.isfinite(v) else None for k, v in reached.items()}},
        expected="RMSProp, which forgets, follows within 60 updates; Adagrad, which adds up, does "
        "not",
        holds=bool(holds),
    )


def rate_decay(effort: Effort = "quick") -> Finding:
    """RMSProp at a constant and at a falling rate."""
    ravine, start = studies.SURFACES["ravine"]
    steps, rate = 500 if effort == "quick" else 2000, 0.1
    seen = {
        "constant": walk(ravine, start, optimizers.rmsprop(rate), steps),
        "decay": walk(ravine, start, optimizers.rmsprop(schedules.cosine(rate, steps)), steps),
    }
    late = {name: float(one["loss"][-steps // 10 :].mean()) for name, one in seen.items()}
    bursts = {
        name: int((np.diff(one["loss"][steps // 2 :]) > 0).sum()) for name, one in seen.items()
    }
    holds = late["decay"] < 0.01 * late["constant"]
    figure = pictures.curves(
        {name: np.maximum(one["loss"], 1e-14) for name, one in seen.items()},
        "Loss against update: at the constant rate it keeps jumping at one level, with decay it "
        "goes on falling.",
        xlabel="update", ylabel="loss", yscale="log",
    )  # fmt: skip
    return Finding(
        name="rate-decay",
        question="Why let the learning rate fall?",
        verdict=f"Over the last tenth of {steps} updates the mean loss is {late['constant']:.1e} "
        f"at a constant rate and {late['decay']:.1e} with decay; in the second half the loss rises "
        f"{bursts['constant']} and {bursts['decay']} times.",
        sections=[Section("Jumps, and how they end", figures=[figure])],
        numbers={"late_loss": late, "rises": bursts},
        expected="decay ends the jumps between the walls: a late loss below a hundredth",
        holds=bool(holds),
    )
