"""Batches, sharpness and momentum."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, landscape, nn, studies, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.chapter_02.common import classifier, walk
from jaxml.course.experiment import Effort
from jaxml.training import losses, metrics, optimizers, sampling


def batch_updates(effort: Effort = "quick") -> Finding:
    """Small and large batches over the same number of epochs, each at its best rate."""
    digits = data.load("digits").splits
    epochs, seeds = (4, 2) if effort == "quick" else (10, 5)
    model = nn.mlp([64, 32, 10])
    task = studies.task(model, losses.softmax_cross_entropy, {"error": metrics.error})
    sizes, rates = [8, 64, 512], np.geomspace(0.02, 2.56, 5 if effort == "quick" else 8).tolist()
    study = studies.batch_size(
        task, digits["train"], studies.grid(sizes, rates, optimizers=["sgd"], seeds=seeds),
        splits={"train": digits["train"], "test": digits["test"]}, epochs=epochs, resolution=1,
        noise=False,
    )  # fmt: skip
    rows = []
    for size in sizes:
        best: tuple = (np.inf,)
        for rate in rates:
            chosen = (study.lanes.batch_size == size) & (study.lanes.learning_rate == rate)
            value = float(study.final("train loss")[chosen].mean())
            test = float(study.last("test error")[chosen].mean())
            best = min(best, (value, test, float(rate), int(study.budget[chosen][0])))
        rows.append(best)
    train, test, chosen, updates = zip(*rows, strict=True)
    holds = (np.diff(train) > 0).all() and test[-1] > test[0] and (np.diff(updates) < 0).all()
    figure = pictures.bars(
        {
            "loss in training": {f"B = {s}": v for s, v in zip(sizes, train, strict=True)},
            "test error": {f"B = {s}": v for s, v in zip(sizes, test, strict=True)},
        },
        f"After {epochs} epochs the loss in training and the test error are larger the larger the "
        "batch.",
        yscale="log", ylim=(min(*train, *test) / 3, 1.5 * max(*train, *test)),
    )  # fmt: skip
    shown = [
        (f"{s}", f"{u:,}", f"{r:.2g}", f"{a:.4f}", f"{b:.1%}")
        for s, u, r, a, b in zip(sizes, updates, chosen, train, test, strict=True)
    ]
    columns = ("batch size", "updates", "best rate", "loss in training", "test error")
    return Finding(
        name="batch-updates",
        question="What do large batches cost?",
        verdict=f"In {epochs} epochs, batches of {', '.join(map(str, sizes))} make "
        f"{', '.join(map(str, updates))} updates and end at losses of "
        f"{', '.join(f'{v:.3f}' for v in train)} in training and "
        f"{', '.join(f'{v:.1%}' for v in test)} test error, at the best of {len(rates)} rates.",
        sections=[Section("The same epochs", figures=[figure], table=Table(columns, shown))],
        numbers={"batch_size": sizes, "updates": list(updates), "train_loss": list(train),
                 "test_error": list(test), "rate": list(chosen)},
        expected="at equal epochs larger batches make fewer updates, and are worse in training "
        "and, the largest against the smallest, on the test",
        holds=bool(holds),
    )  # fmt: skip


def sharpness_rescaled(effort: Effort = "quick") -> Finding:
    """The same function in other parameters: sharpness is not a property of the function."""
    digits = data.load("digits").train
    steps = 300 if effort == "quick" else 3000
    algorithm = classifier([64, 16, 10], optimizers.adam(3e-3))
    state = training.fit(algorithm, digits, sampling.epochs(64), key=key(0), steps=steps).state
    loss = training.full_loss(algorithm, state, digits)
    factors, values, sharp = [1.0, 2.0, 4.0, 8.0], [], []
    for factor in factors:
        params = jax.device_get(state.params)
        params["dense_0"] = {name: factor * leaf for name, leaf in params["dense_0"].items()}
        params["dense_1"] = params["dense_1"] | {"kernel": params["dense_1"]["kernel"] / factor}
        values.append(float(loss(params)))
        pairs = landscape.eigenpairs(landscape.hessian(loss, params), top=1)
        sharp.append(float(pairs.values[-1]))
    spread = max(values) - min(values)
    holds = spread < 1e-5 and sharp[-1] > 10 * sharp[0]
    figure = pictures.curves(
        {"λ_max": (factors, sharp)},
        "The largest eigenvalue against the factor rises steeply.",
        style="o-", xlabel="first layer times, second layer divided by", ylabel="λ_max",
        yscale="log", xscale="log",
    )  # fmt: skip
    return Finding(
        name="sharpness-rescaled",
        question="Is a flat minimum a property of the function?",
        verdict=f"Multiplying one layer by 8 and dividing the next by 8 changes the loss by "
        f"{spread:.1g} and λ_max from {sharp[0]:.3g} to {sharp[-1]:.3g}.",
        sections=[Section("One function, four sharpnesses", figures=[figure])],
        numbers={"factor": factors, "loss": values, "largest_eigenvalue": sharp},
        expected="a network with ReLU keeps its function (the loss to 1e-5) and becomes more than "
        "ten times as sharp",
        holds=bool(holds),
    )


def half_squared_error(outputs: jax.Array, batch: Any) -> jax.Array:
    """½|outputs − one-hot|², as in Cohen et al. 2021."""
    return 0.5 * ((outputs - batch["y"]) ** 2).sum(-1)


def edge_of_stability(effort: Effort = "quick") -> Finding:
    """λ_max of full-batch training against each optimiser's stability threshold."""
    digits = data.load("digits").everything()
    x = digits["x"] - digits["x"].mean(0)
    one_hot = {"x": x, "y": np.eye(10, dtype=np.float32)[digits["y"]]}
    labels = {"x": x, "y": digits["y"]}
    ways = {
        "gradient descent, η = 0.8": ("sgd", 0.8, half_squared_error, one_hot),
        "cross-entropy, η = 1": ("sgd", 1.0, losses.softmax_cross_entropy, labels),
    }
    steps = 500
    if effort == "full":
        steps = 2000
        ways = {
            "gradient descent, η = 0.4": ("sgd", 0.4, half_squared_error, one_hot),
            **ways,
            "heavy ball, η = 0.5": ("momentum", 0.5, half_squared_error, one_hot),
            "Adam, η = 0.005": ("adam", 0.005, half_squared_error, one_hot),
        }
    model = nn.mlp([64, 32, 10], activation="tanh")
    seen = {
        name: studies.sharpening(
            model, loss, rows, optimizer=optimizer, learning_rate=rate, steps=steps, every=20,
            seed=1,
        )
        for name, (optimizer, rate, loss, rows) in ways.items()
    }  # fmt: skip
    ratios = {name: one.ratio for name, one in seen.items()}
    reached = {name: r for name, r in ratios.items() if "entropy" not in name}
    highest = float(
        (seen["cross-entropy, η = 1"].sharpness / seen["cross-entropy, η = 1"].edge).max()
    )
    holds = all(0.9 < ratio < 1.1 for ratio in reached.values()) and highest < 0.9
    figure = pictures.curves(
        {name: (one.updates, one.sharpness / one.edge) for name, one in seen.items()},
        "λ_max in units of the threshold: under the squared error it rises to 1 and stays; under "
        "cross-entropy it stays below.",
        xlabel="update", ylabel="λ_max / threshold", ylim=(0, 1.5),
    )  # fmt: skip
    return Finding(
        name="edge-of-stability",
        question="How sharp does full-batch training get?",
        verdict="Over the last half of the training λ_max is, in units of the optimiser's "
        "stability threshold, "
        + ", ".join(f"{ratio:.2f} ({name})" for name, ratio in ratios.items())
        + f"; under cross-entropy it never exceeds {highest:.2f}.",
        sections=[Section("Against the threshold", figures=[figure])],
        numbers={"ratio": ratios, "cross_entropy_highest": highest},
        expected="under the squared error λ_max rises to the threshold and hovers there (0.9 to "
        "1.1 of it); under cross-entropy it does not reach it (0.9)",
        holds=bool(holds),
    )


def momentum_sum(effort: Effort = "quick") -> Finding:
    """The steps of momentum, against −η Σ βᵏ g of the gradients so far."""
    digits = data.load("digits").train
    rate, beta, steps = 0.1, 0.9, 20 if effort == "quick" else 100
    algorithm = classifier([64, 16, 10], optimizers.momentum(rate, beta))
    start, kept = algorithm.init(key(0)), training.snapshots()
    training.fit(
        algorithm, digits, sampling.full(), key=key(0), steps=steps, chunk=1, hooks=[kept],
        state=start,
    )  # fmt: skip
    path = jax.tree.map(lambda a, b: np.stack([a, *b]), jax.device_get(start.params), kept.params)
    slope = jax.grad(training.full_loss(algorithm, start, digits))
    gradients = jax.device_get(jax.jit(lambda points: jax.lax.map(slope, points))(path))
    weights = beta ** np.arange(steps)
    moved = path["dense_0"]["kernel"][steps] - path["dense_0"]["kernel"][steps - 1]
    past = gradients["dense_0"]["kernel"][:steps][::-1]  # the latest first
    summed = -rate * np.tensordot(weights, past, 1)
    off = float(abs(moved - summed).max() / abs(moved).max())

    def draw(ax):
        ax.plot(moved.ravel(), summed.ravel(), ".", markersize=3, rasterized=True)
        ax.set(xlabel=f"step {steps} of momentum", ylabel="−η Σₖ βᵏ gₜ₋ₖ")

    alt = "The parts of one step against those of the weighted sum: all on the diagonal."
    weighted = pictures.curves(
        {"weight of the gradient": (np.arange(steps), weights)},
        "The weight of a gradient falls geometrically with its age.",
        style="o-", xlabel="updates ago", ylabel="weight",
    )  # fmt: skip
    return Finding(
        name="momentum-sum",
        question="What does momentum remember?",
        verdict=f"Step {steps} is −η times the sum of the {steps} gradients so far, weighted by "
        f"0.9 to the power of their age, to {off:.0e} of its largest part.",
        sections=[Section("All past gradients", figures=[Figure(draw, alt), weighted])],
        numbers={"relative_difference": off, "steps": steps},
        expected="momentum moves by the weighted sum of all past gradients: to 1e-4 in float32",
        holds=off < 1e-4,
    )


def bump(w: jax.Array) -> jax.Array:
    """A valley on the way down whose far side is a small hill: minima near −0.9 and 3.8."""
    return 0.02 * (w[0] - 4) ** 2 + 0.25 * jnp.exp(-2 * w[0] ** 2)


def momentum_crosses(effort: Effort = "quick") -> Finding:
    """A local minimum that holds gradient descent, and over which momentum rolls."""
    steps, start = 400 if effort == "quick" else 2000, [-4.0]
    way = {
        "gradient descent": walk(bump, start, optimizers.sgd(0.1), steps),
        "momentum": walk(bump, start, optimizers.momentum(0.1, 0.9), steps),
    }
    ends = {name: float(seen["w0"][-1]) for name, seen in way.items()}
    held = landscape.descend(bump, np.array([-1.0], np.float32))
    local = float(held.params[0])
    holds = abs(ends["gradient descent"] - local) < 0.05 and ends["momentum"] > 3
    x = np.linspace(-4.2, 6.5, 300)
    values = np.asarray(jax.vmap(bump)(jnp.asarray(x)[:, None]))
    figure = pictures.curves(
        {"loss": (x, values), **{n: (s["w0"], s["loss"]) for n, s in way.items()}},
        "A curve that falls to a dent, rises to a hill and falls to its minimum; the points of "
        "gradient descent end in the dent, those of momentum go over the hill.",
        style=dict.fromkeys(way, "."), xlabel="w", ylabel="loss",
    )  # fmt: skip
    return Finding(
        name="momentum-crosses",
        question="Can an optimiser roll out of a local minimum?",
        verdict=f"From w = −4 gradient descent ends at {ends['gradient descent']:.2f} (the local "
        f"minimum is at {local:.2f}), momentum at {ends['momentum']:.2f}.",
        sections=[Section("Over the hill", figures=[figure])],
        numbers={"ends": ends, "local_minimum": local},
        expected="gradient descent stops where the slope is zero; momentum goes on past it",
        holds=bool(holds),
    )
