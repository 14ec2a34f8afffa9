"""Chapter 2, when training fails: critical points, batches, optimisers, losses, norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import spearmanr
from sklearn.datasets import load_iris, load_wine

from jaxml import data, landscape, nn, studies, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.types import Algorithm, TrainState
from jaxml.course import pictures
from jaxml.course.experiment import Effort, Experiment
from jaxml.data.surfaces import course_saddle
from jaxml.studies.topics import staircase
from jaxml.training import losses, metrics, optimizers, saddles, sampling, schedules

KEY = jax.random.key(0)


def on_surface(
    surface: Callable[[jax.Array], jax.Array],
    start: Any,
    optimizer: optax.GradientTransformation,
) -> Algorithm:
    """An optimiser on a function of a few numbers; the metrics are its loss, slope and place."""

    def init(key):  # noqa: ARG001 - nothing is random
        params = jnp.asarray(start, float)
        return TrainState(jnp.int32(0), params, {}, optimizer.init(params))

    def step(state, batch, key):  # noqa: ARG001
        value, gradient = jax.value_and_grad(surface)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        places = {f"w{i}": state.params[i] for i in range(len(start))}
        record = {"loss": value, "slope": jnp.linalg.norm(gradient), **places}
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, {}, opt_state), record

    return Algorithm(init, step)


def walk(surface: Callable, start: Any, optimizer: Any, steps: int) -> dict[str, np.ndarray]:
    """What an optimiser sees on a surface: `loss`, `slope` and the places `w0`, `w1`, ..."""
    algorithm = on_surface(surface, start, optimizer)

    @jax.jit
    def run(state):
        return training.run_steps(algorithm.step, state, None, sampling.full(), KEY, steps)[1]

    return jax.device_get(run(algorithm.init(KEY)))


def grid_of(surface: Callable, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The surface on a grid, shape `(len(y), len(x))`."""
    points = jnp.stack(jnp.meshgrid(x, y), -1)
    return np.asarray(jax.jit(jax.vmap(jax.vmap(surface)))(points))


def classifier(widths: list[int], optimizer: Any, **options: Any) -> Algorithm:
    """A fully connected classifier under cross-entropy."""
    l2 = options.pop("l2", 0.0)
    model = nn.mlp(widths, **options)
    measured = {"error": metrics.error}
    return training.supervised(
        model, losses.softmax_cross_entropy, optimizer, metrics=measured, l2=l2
    )


def saddle_of_the_course(effort: Effort = "quick") -> Finding:
    """(1 − w₁w₂)² at 0: the gradient vanishes, the Hessian tells that it is a saddle."""
    point = landscape.analyze(course_saddle, np.zeros(2, np.float32))
    values = point.eigenvalues.tolist()
    down = np.asarray(point.descent)
    lower = float(course_saddle(jnp.asarray(0.5 * down)))
    holds = point.kind == "saddle" and np.allclose(values, [-2, 2], atol=1e-6) and lower < 1
    axis = np.linspace(-1.6, 1.6, 61 if effort == "quick" else 201)
    up = np.array([down[1], -down[0]])
    figure = pictures.contours(
        axis, axis, grid_of(course_saddle, axis, axis),
        "Contours of (1 − w₁w₂)²: a saddle at the origin, falling along the diagonal and rising "
        "across it, between two valleys that are hyperbolas.",
        paths={
            "λ = −2: down": ([-down[0], down[0]], [-down[1], down[1]]),
            "λ = 2: up": ([-up[0], up[0]], [-up[1], up[1]]),
        },
        points={"critical point": (0, 0)}, xlabel="w₁", ylabel="w₂",
    )  # fmt: skip
    return Finding(
        name="course-saddle",
        question="The gradient is zero: a minimum, or a saddle?",
        verdict=f"The origin is a {point.kind}: eigenvalues {values[0]:g} and {values[1]:g}; half "
        f"a step along the first one's eigenvector the loss is {lower:.4f}, below {point.loss:g}.",
        sections=[Section("A saddle between two valleys", figures=[figure])],
        numbers={"eigenvalues": values, "loss": point.loss, "loss_along_the_lowest": lower},
        expected="eigenvalues −2 and 2 at the origin, and the loss falls along the first",
        holds=bool(holds),
    )


def saddle_escape(effort: Effort = "quick") -> Finding:
    """On a network's saddle SGD stays; a step along the lowest eigenvector leads out."""
    if effort == "quick":
        iris: Any = load_iris()
        x, y = iris.data, iris.target
        x = (x - x.mean(0)) / x.std(0)
        rows = {"x": x.astype(np.float32), "y": y.astype(np.int32)}
        inputs, width, outputs, steps = 4, 1, 3, 1000
    else:
        rows = data.load("digits").train
        inputs, width, outputs, steps = 64, 3, 10, 10_000
    narrow = classifier([inputs, width, outputs], optimizers.adam(1e-2), activation="tanh", l2=1e-3)
    state = training.fit(narrow, rows, sampling.epochs(50), key=KEY, steps=1000).state
    own = training.full_loss(narrow, state, rows)
    bottom = landscape.descend(own, state.params, float64=True, max_steps=5000)
    below = landscape.analyze(own, bottom.params, float64=True)
    saddle = staircase.add_dead_unit(below.params)
    known = staircase.predict_dead_unit(below, rows, 1e-3)

    widths = [inputs, width + 1, outputs]
    wide = classifier(widths, optimizers.sgd(0.1), activation="tanh", l2=1e-3)
    start = wide.init(KEY).replace(params=jax.tree.map(jnp.float32, saddle))
    loss = training.full_loss(wide, start, rows)
    point = landscape.analyze(loss, saddle, float64=True)
    out = landscape.escape(loss, point.params, direction=point.descent, float64=True, max_steps=0)
    beside = start.replace(params=jax.tree.map(jnp.float32, out.params))
    curves = {
        name: training.fit(
            wide, rows, sampling.full(), key=KEY, steps=steps, state=at
        ).history["loss"]
        for name, at in {"from the saddle": start, "from beside it": beside}.items()
    }  # fmt: skip
    left, gone = (float(curve[-1]) for curve in curves.values())
    holds = (
        point.kind == "saddle"
        and point.index == known.index
        and abs(point.eigenvalues[0] - known.lowest) < 1e-8
        and abs(left - point.loss) < 1e-3 * point.loss
        and gone < 0.9 * point.loss
    )
    figure = pictures.curves(
        curves,
        "Loss against update: from the saddle it is a level line, from a point along the lowest "
        "eigenvector it falls at once.",
        xlabel="update of gradient descent", ylabel="loss", xscale="symlog",
    )  # fmt: skip
    return Finding(
        name="saddle-escape",
        question="Training has stopped at a saddle: what now?",
        verdict=f"A network with a dead unit is a saddle of index {point.index} of {point.size}, "
        f"lowest eigenvalue {point.eigenvalues[0]:.4f}. {steps:,} steps of gradient descent take "
        f"the loss from {point.loss:.4f} to {left:.4f}; begun {abs(out.distance):.2g} away, along "
        f"the lowest eigenvector, to {gone:.4f}.",
        sections=[Section("Staying and leaving", figures=[figure])],
        numbers={"loss": point.loss, "index": point.index, "predicted_index": known.index,
                 "lowest": float(point.eigenvalues[0]), "predicted_lowest": known.lowest,
                 "from_the_saddle": left, "from_beside_it": gone, "distance": out.distance},
        expected=f"index {known.index} and lowest eigenvalue {known.lowest:.4f} by the closed "
        "form; on the saddle gradient descent stays (to 0.1 %), from beside it the loss falls by a "
        "tenth or more",
        holds=bool(holds),
    )  # fmt: skip


def minimum_ratio(effort: Effort = "quick") -> Finding:
    """The share of positive eigenvalues where trainings of several networks stop."""
    digits = data.load("digits").train
    seeds, steps, width = (4, 600, 2) if effort == "quick" else (20, 5000, 8)
    algorithm = classifier([64, width, 10], optimizers.adam(1e-2), activation="tanh")
    kept = training.snapshots()
    run = training.fit_many(
        algorithm, digits, sampling.epochs(64), keys=jax.random.split(KEY, seeds), steps=steps,
        chunk=steps // 3, hooks=[kept],
    )  # fmt: skip
    loss = training.full_loss(algorithm, jax.tree.map(lambda leaf: leaf[0], run.state), digits)
    seen = landscape.follow(loss, kept.params, axes=2)
    ends = seen.minimum_ratio[-1]
    holds = (ends < 1).all()

    def draw(ax):
        for i, step in enumerate(kept.steps):
            ax.plot(seen.minimum_ratio[i], seen.loss[i], "o", markersize=5, label=f"step {step:,}")
        ax.set(xlabel="minimum ratio", ylabel="loss", xlim=(0, 1.02), yscale="log")
        drawing.legend(ax)

    alt = "Loss against minimum ratio at three times of training: no point lies at ratio 1."
    return Finding(
        name="minimum-ratio",
        question="Are the points at which training ends minima?",
        verdict=f"At the ends of {seeds} trainings {ends.min():.0%} to {ends.max():.0%} of the "
        f"{seen.eigenvalues.shape[-1]} eigenvalues are positive beyond rounding"
        + (": none is a minimum." if holds else "."),
        sections=[Section("Loss and minimum ratio", figures=[Figure(draw, alt)])],
        numbers={"minimum_ratio": ends.tolist(), "loss": seen.loss[-1].tolist(),
                 "gradient_norm": seen.gradient_norm[-1].tolist()},
        expected="the ratio stays below 1: a trained network still has directions that go down",
        holds=bool(holds),
    )  # fmt: skip


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
        yscale="log",
    )
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


def momentum_sum(effort: Effort = "quick") -> Finding:
    """The steps of momentum, against −η Σ βᵏ g of the gradients so far."""
    digits = data.load("digits").train
    rate, beta, steps = 0.1, 0.9, 20 if effort == "quick" else 100
    algorithm = classifier([64, 16, 10], optimizers.momentum(rate, beta))
    start, kept = algorithm.init(KEY), training.snapshots()
    training.fit(
        algorithm, digits, sampling.full(), key=KEY, steps=steps, chunk=1, hooks=[kept],
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


def stuck_without_critical_point(effort: Effort = "quick") -> Finding:
    """A loss that no longer falls although the gradient is large: between the walls of a ravine."""
    ravine, start = studies.SURFACES["ravine"]
    steps = 200 if effort == "quick" else 1000
    seen = walk(ravine, start, optimizers.sgd(0.19995), steps)
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
            {"η = 0.19995": (seen["w0"][:40], seen["w1"][:40]),
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


def squared_error_of_softmax(effort: Effort = "quick") -> Finding:
    """MSE and cross-entropy of a softmax, far from the target."""
    steps = 100 if effort == "quick" else 1000

    def softened(w):  # the lecture's three classes: y₃ = −1000, the target is the first
        return jnp.append(w, -1000.0)[None]

    def entropy(w):
        return losses.softmax_cross_entropy(softened(w), {"y": jnp.array([0])})[0]

    def squared(w):
        return losses.mse(jax.nn.softmax(softened(w)), {"y": jnp.array([[1.0, 0.0, 0.0]])})[0]

    start = [-10.0, 10.0]
    seen = {name: walk(f, start, optimizers.sgd(1.0), steps)
            for name, f in {"MSE": squared, "cross-entropy": entropy}.items()}  # fmt: skip
    slopes = {name: float(one["slope"][0]) for name, one in seen.items()}
    share = {name: float(one["loss"][-1] / one["loss"][0]) for name, one in seen.items()}
    holds = slopes["MSE"] < 1e-6 * slopes["cross-entropy"]
    holds = holds and share["MSE"] > 0.99 and share["cross-entropy"] < 0.1
    axis = np.linspace(-12, 12, 41)
    figures = [
        pictures.contours(
            axis, axis, grid_of(f, axis, axis),
            f"Contours of the {name} over y₁ and y₂; gradient descent from (−10, 10) "
            + ("does not move." if name == "MSE" else "goes down to the right."),
            paths={name: (seen[name]["w0"], seen[name]["w1"])}, xlabel="y₁", ylabel="y₂",
        )
        for name, f in {"MSE": squared, "cross-entropy": entropy}.items()
    ]  # fmt: skip
    return Finding(
        name="mse-softmax",
        question="Why is classification not trained by the squared error?",
        verdict=f"From (−10, 10) the slope is {slopes['MSE']:.0e} with the squared error and "
        f"{slopes['cross-entropy']:.2g} with cross-entropy; {steps} steps leave "
        f"{share['MSE']:.0%} and {share['cross-entropy']:.1%} of the loss.",
        sections=[Section("Two error surfaces", figures=figures)],
        numbers={"slope": slopes, "loss_left": share},
        expected="from a far start the squared error has a slope of almost zero, and training "
        "stays; cross-entropy moves",
        holds=bool(holds),
    )


def softmax_of_two(effort: Effort = "quick") -> Finding:
    """The softmax of two classes, and the sigmoid of their logits' difference."""
    count = 1000 if effort == "quick" else 100_000
    logits = 10 * jax.random.normal(KEY, (count, 2))
    labels = np.arange(count, dtype=np.int32) % 2
    difference = logits[:, 1:] - logits[:, :1]
    softmax = np.asarray(losses.softmax_cross_entropy(logits, {"y": labels}))
    sigmoid = np.asarray(losses.sigmoid_cross_entropy(difference, {"y": labels[:, None]}))
    shares = np.asarray(jax.nn.softmax(logits))[:, 1], np.asarray(jax.nn.sigmoid(difference))[:, 0]
    off = float((abs(softmax - sigmoid) / (1 + softmax)).max())
    apart = float(abs(shares[0] - shares[1]).max())
    holds = off < 1e-6 and apart < 1e-6

    def draw(ax):
        order = np.argsort(difference[:, 0])
        ax.plot(difference[order, 0], shares[0][order], label="softmax, second class")
        ax.plot(difference[order, 0], shares[1][order], ":", label="sigmoid of the difference")
        ax.set(xlabel="z₂ − z₁", ylabel="probability")
        drawing.legend(ax)

    alt = "Two S-shaped curves over the difference of the logits, one upon the other."
    return Finding(
        name="softmax-sigmoid",
        question="Are two classes a case for the softmax or the sigmoid?",
        verdict=f"On {count:,} pairs of logits the probabilities agree to {apart:.0e} and the "
        f"losses to {off:.0e} of their size.",
        sections=[Section("One curve", figures=[Figure(draw, alt)])],
        numbers={"probability": apart, "loss": off},
        expected="the softmax of two classes is the sigmoid of the difference: to 1e-6",
        holds=bool(holds),
    )


def fused_logits(effort: Effort = "quick") -> Finding:
    """log(softmax(z)) in two steps and in one, at ever larger logits."""
    scales = np.array([1, 10, 50, 100, 1000, 10_000], float)
    if effort == "full":
        scales = np.geomspace(1, 1e6, 61)
    fused, plain = [], []
    for scale in scales:
        z = jnp.array([[0.0, -scale]], jnp.float32)
        fused.append(float(losses.softmax_cross_entropy(z, {"y": jnp.array([1])})[0]))
        plain.append(float(-jnp.log(jnp.exp(z) / jnp.exp(z).sum())[0, 1]))
    exact = np.logaddexp(0.0, scales)
    fused, plain = np.array(fused), np.array(plain)
    off = float((abs(fused - exact) / exact).max())
    broken = scales[~np.isfinite(plain)]
    holds = off < 1e-6 and len(broken) > 0
    finite = np.isfinite(plain)
    figure = pictures.curves(
        {"fused": (scales, fused), "log of the softmax": (scales[finite], plain[finite])},
        "Loss against the size of the logits: the fused one is a straight line throughout, the "
        f"other ends before {broken.min():g}.",
        style={"fused": "o-", "log of the softmax": "x:"},
        xlabel="size of the logits", ylabel="loss", xscale="log", yscale="log",
    )  # fmt: skip
    return Finding(
        name="fused-logits",
        question="Why are softmax and cross-entropy one function?",
        verdict=f"In one function the loss is right to {off:.0e} at logits up to "
        f"{scales[-1]:,.0f}; in two it is infinite from {broken.min():g} on.",
        sections=[Section("Large logits", figures=[figure])],
        numbers={"relative_error": off, "infinite_from": float(broken.min())},
        expected="fused, the loss is right at logits of 10,000 (to 1e-6), in two steps it is not",
        holds=bool(holds),
    )


def feature_scaling(effort: Effort = "quick") -> Finding:
    """Least squares on raw and on standardised features."""
    wine: Any = load_wine()
    x, y = wine.data[:, 1:], wine.data[:, :1]  # predict the alcohol
    y = ((y - y.mean()) / y.std()).astype(np.float32)
    steps = 500 if effort == "quick" else 20_000
    versions = {"raw": x - x.mean(0), "standardised": (x - x.mean(0)) / x.std(0)}
    model, seen, condition = nn.linear(x.shape[1], 1, bias=False), {}, {}
    for name, features in versions.items():
        rows = {"x": features.astype(np.float32), "y": y}
        probe = training.supervised(model, losses.mse, optimizers.sgd(0.1))
        state = probe.init(KEY)
        state = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
        loss = training.full_loss(probe, state, rows)
        values = np.linalg.eigvalsh(
            np.asarray(landscape.hessian(loss, state.params).dense(), float)
        )
        condition[name] = float(values[-1] / values[0])
        algorithm = training.supervised(model, losses.mse, optimizers.sgd(1 / values[-1]))
        run = training.fit(algorithm, rows, sampling.full(), key=KEY, steps=steps, state=state)
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
        algorithm, digits["train"], sampling.epochs(64), key=KEY, steps=steps
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
        state = training.fit(algorithm, rows, sampling.epochs(20), key=KEY, steps=steps).state
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


def remedies(effort: Effort = "quick") -> Finding:
    """What narrows the gap between training and validation, on 150 digits."""
    digits = data.load("digits").splits
    few = {name: values[:150] for name, values in digits["train"].items()}
    more = {name: values[:600] for name, values in digits["train"].items()}
    steps = 600 if effort == "quick" else 3000
    penalties = {"nothing": 0.0, "L2": 0.01, "too much L2": 0.3}
    plain, thinned = nn.mlp([64, 32, 10]), nn.mlp([64, 32, 10], dropout=0.5)

    def trained(model, rows, l2):
        run = training.fit_many(
            lambda l2: training.supervised(
                model, losses.softmax_cross_entropy, optimizers.adam(3e-3), l2=l2
            ),
            rows, sampling.epochs(50), keys=jnp.stack([KEY] * len(l2)),
            hyperparameters={"l2": np.array(l2)}, steps=steps,
        )  # fmt: skip
        return [jax.tree.map(lambda leaf, i=i: leaf[i], run.state) for i in range(len(l2))]

    penalized = trained(plain, few, list(penalties.values()))
    cases = {
        **{name: (plain, state, few) for name, state in zip(penalties, penalized, strict=True)},
        "dropout": (thinned, trained(thinned, few, [0.0])[0], few),
        "more data": (plain, trained(plain, more, [0.0])[0], more),
    }
    gaps, train_losses, held_losses = {}, {}, {}
    of = {"loss": losses.softmax_cross_entropy}
    for name, (model, state, rows) in cases.items():
        train_losses[name] = training.evaluate(model, state, rows, of)["loss"]
        held_losses[name] = training.evaluate(model, state, digits["validation"], of)["loss"]
        gaps[name] = held_losses[name] - train_losses[name]
    helped = ("L2", "dropout", "more data")
    holds = all(gaps[name] < gaps["nothing"] for name in helped)
    holds = holds and train_losses["too much L2"] > 10 * train_losses["L2"]
    figure = pictures.bars(
        {"training": train_losses, "validation": held_losses},
        "Loss in training and in validation for each remedy: the gap is widest with nothing; too "
        "much L2 raises both.",
        ylabel="cross-entropy",
    )
    return Finding(
        name="remedies",
        question="What helps against overfitting?",
        verdict=f"The gap between validation and training is {gaps['nothing']:.3f} with nothing, "
        + ", ".join(f"{gaps[name]:.3f} with {name}" for name in helped)
        + f"; too much L2 leaves a loss of {train_losses['too much L2']:.2f} in training.",
        sections=[Section("Training and validation", figures=[figure])],
        numbers={"gap": gaps, "train": train_losses, "validation": held_losses},
        expected="L2, dropout and more data narrow the gap; too much of it ends in model bias (a "
        "training loss ten times as large)",
        holds=bool(holds),
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


def sharpness_rescaled(effort: Effort = "quick") -> Finding:
    """The same function in other parameters: sharpness is not a property of the function."""
    digits = data.load("digits").train
    steps = 300 if effort == "quick" else 3000
    algorithm = classifier([64, 16, 10], optimizers.adam(3e-3))
    state = training.fit(algorithm, digits, sampling.epochs(64), key=KEY, steps=steps).state
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
        f"{spread:.0e} and λ_max from {sharp[0]:.3g} to {sharp[-1]:.3g}.",
        sections=[Section("One function, four sharpnesses", figures=[figure])],
        numbers={"factor": factors, "loss": values, "largest_eigenvalue": sharp},
        expected="a network with ReLU keeps its function (the loss to 1e-5) and becomes more than "
        "ten times as sharp",
        holds=bool(holds),
    )


def gradient_flat(effort: Effort = "quick") -> Finding:
    """Searches for critical points that stall where the gradient lies in the Hessian's kernel."""
    networks, points = (5, 4) if effort == "quick" else (20, 10)
    rows = data.load("linear_teacher", n=200, inputs=6, outputs=4, noise=0.5, validation=0, test=0)
    rows = {"x": rows.train["x"].astype(float), "y": rows.train["y"].argmax(axis=1)}
    with jax.enable_x64(True):
        algorithm = classifier([6, 5, 4], optimizers.adam(3e-3), activation="tanh", l2=3e-3)
        kept = training.snapshots()
        run = training.fit_many(
            algorithm, rows, sampling.full(), keys=jax.random.split(jax.random.key(0), networks),
            steps=1000, chunk=1000 // points, hooks=[kept],
        )  # fmt: skip
        loss = training.full_loss(algorithm, jax.tree.map(lambda leaf: leaf[0], run.state), rows)
        starts = jax.tree.map(
            lambda leaf: leaf.reshape(-1, *leaf.shape[2:]).astype(float), kept.params
        )

        @jax.jit
        def search(loss, starts):
            """By `lax.map`, not `vmap`: each search ends when it may by itself."""

            def one(start):
                return landscape.find_critical_point(
                    loss, start, gradient_tolerance=1e-9, max_steps=500
                )

            return jax.lax.map(one, starts)

        found = jax.device_get(search(loss, starts))
        before, after = (landscape.follow(loss, points) for points in (starts, found.params))
    converged, everywhere = found.converged, np.ones_like(found.converged)
    missed, flat = int((~converged).sum()), int(found.flat.sum())

    def correlation(followed, chosen):
        found: Any = spearmanr(followed.loss[chosen], followed.index[chosen])
        return float(found.statistic)

    ranks = {
        "converged": correlation(after, converged),
        "all ends": correlation(after, everywhere),
        "starts": correlation(before, everywhere),
    }
    holds = missed > len(converged) / 3 and flat >= 0.98 * missed

    def flatness(ax):
        for chosen, marker, label in ((converged, "o", "converged"), (~converged, "x", "stalled")):
            ax.plot(found.gradient_norm[chosen], found.flatness[chosen], marker, markersize=5,
                    label=f"{label} ({chosen.sum()})")  # fmt: skip
        ax.axhline(1e-2, color=drawing.GREY, linewidth=0.8, linestyle="--")
        ax.set(xscale="log", yscale="log", xlabel="‖g‖ at the end", ylabel="‖Hg‖ / (‖H‖ ‖g‖)")
        drawing.legend(ax)

    def index(ax):
        for chosen, marker, label in ((converged, "o", "converged"), (~converged, "x", "stalled")):
            ax.plot(after.loss[chosen], after.index[chosen], marker, markersize=5, label=label)
        ax.plot(before.loss, before.index, ".", color=drawing.GREY, label="starts", zorder=0)
        size = after.eigenvalues.shape[1]
        ax.set(xlabel="objective (loss + L2)", ylabel=f"index, of {size}")
        drawing.legend(ax)

    figures = [
        Figure(flatness, "Where a search stalled its gradient is almost in the Hessian's kernel."),
        Figure(index, "The index rises with the loss, at critical points and elsewhere alike."),
    ]
    return Finding(
        name="gradient-flat",
        question="Why do searches for critical points stall?",
        verdict=f"{missed} of {len(converged)} searches miss ‖g‖ < 1e-9, and {flat} of these have "
        "‖Hg‖/(‖H‖‖g‖) < 1e-2. The rank correlation of index and loss is "
        + ", ".join(f"{rank:.3f} ({name})" for name, rank in ranks.items())
        + ": alone it does not show that points are critical.",
        sections=[Section("Ends of searches", figures=figures)],
        numbers={"searches": len(converged), "missed": missed, "flat": flat, "spearman": ranks},
        expected="a search on ‖g‖² stalls, in more than a third of the cases, where the gradient "
        "lies in the kernel of the Hessian: 98 % or more of those that stall",
        holds=bool(holds),
    )


def spectrum_outliers(effort: Effort = "quick") -> Finding:
    """A bulk of eigenvalues near zero and, above it, one fewer than there are classes."""
    digits = data.load("digits").everything()
    steps, classes, shown = [0, 100, 300], 10, 20
    steps += [1000] if effort == "full" else []
    algorithm = classifier([64, 32, classes], optimizers.sgd(0.5), activation="tanh")
    start, kept = algorithm.init(KEY), training.snapshots()
    run = training.fit(
        algorithm, digits, sampling.epochs(64), key=KEY, steps=steps[-1], chunk=100, state=start,
        hooks=[kept],
    )  # fmt: skip
    chosen = np.array([kept.steps.index(step) for step in steps[1:]])
    points = jax.tree.map(lambda a, b: np.stack([a, *b[chosen]]), start.params, kept.params)
    loss = training.full_loss(algorithm, run.state, digits)
    values, leading = [], np.zeros((len(steps), shown + 1))
    for i in range(len(steps)):
        params = jax.tree.map(lambda leaf, i=i: leaf[i], points)
        pairs = landscape.eigenpairs(landscape.hessian(loss, params), top=shown + 1)
        values.append(float(loss(params)))
        leading[i] = pairs.values[::-1]
    ratios = leading[:, :-1] / leading[:, 1:]
    after = (ratios.argmax(1) + 1).tolist()
    early = steps.index(300)
    holds = all(place == classes - 1 for place in after[1 : early + 1])
    ranks, tops = np.arange(1, shown + 1), leading[:, :shown]
    names = [f"step {step:,}" for step in steps]
    figures = [
        pictures.curves(
            {name: (ranks, top) for name, top in zip(names, tops, strict=True)},
            "The leading eigenvalues by rank: they fall most from the ninth to the tenth.",
            style="o-", yscale="log", xlabel="rank, from the largest", ylabel="eigenvalue",
        ),
        pictures.curves(
            {name: (ranks + 0.5, gaps) for name, gaps in zip(names, ratios, strict=True)},
            "The ratio of neighbours by rank: highest between the ninth and the tenth.",
            style="o-", xlabel="between this rank and the next", ylabel="ratio of neighbours",
        ),
    ]  # fmt: skip
    rows = [
        (name, f"{value:.4f}", f"{top[0]:.3f}", f"{top[8]:.3f}", f"{top[9]:.3f}", f"{gaps[8]:.2f}",
         f"{place} (ratio {gaps.max():.2f})")
        for name, value, top, gaps, place in zip(
            names, values, leading, ratios, after, strict=True
        )
    ]  # fmt: skip
    columns = ("", "loss", "λ₁", "λ₉", "λ₁₀", "λ₉/λ₁₀", "largest gap after")
    return Finding(
        name="spectrum-outliers",
        question="How many directions of a loss surface are steep?",
        verdict="The largest gap among the leading eigenvalues is after the "
        + ", ".join(f"{place}th" for place in after)
        + f" at steps {', '.join(f'{step:,}' for step in steps)}; λ₉/λ₁₀ is "
        + ", ".join(f"{gaps[8]:.2f}" for gaps in ratios)
        + ".",
        sections=[Section("Outliers above a bulk", figures=figures, table=Table(columns, rows))],
        numbers={"steps": steps, "gap_after": after, "ratio_9_10": ratios[:, 8].tolist()},
        expected="about as many outliers as classes: the largest gap, at steps 100 and 300, after "
        "the ninth, one fewer than the ten classes",
        holds=bool(holds),
    )


def half_squared_error(outputs: jax.Array, batch: Any) -> jax.Array:
    """½|outputs − one-hot|², as in Cohen et al. 2021."""
    return 0.5 * ((outputs - batch["y"]) ** 2).sum(-1)


def edge_of_stability(effort: Effort = "quick") -> Finding:
    """λ_max of full-batch training against what each optimiser can bear."""
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
        verdict="Over the last half of the training λ_max is, in units of what the optimiser can "
        "bear, "
        + ", ".join(f"{ratio:.2f} ({name})" for name, ratio in ratios.items())
        + f"; under cross-entropy it never exceeds {highest:.2f}.",
        sections=[Section("Against the threshold", figures=[figure])],
        numbers={"ratio": ratios, "cross_entropy_highest": highest},
        expected="under the squared error λ_max rises to the threshold and hovers there (0.9 to "
        "1.1 of it); under cross-entropy it does not reach it (0.9)",
        holds=bool(holds),
    )


def saddle_free_newton(effort: Effort = "quick") -> Finding:
    """On the plateau of an auto-encoder begun near zero: saddle-free Newton and Adam."""
    pixels = data.load("digits").train["x"]
    if effort == "quick":
        widths, dimension, target, steps = [64, 16, 4, 16, 64], 16, 0.04, (60, 2000)
        rates, scale, pixels = [3e-3], 0.03, pixels[:300]
    else:
        widths, dimension, target, steps = [64, 32, 8, 32, 64], 32, 0.0125, (120, 6000)
        rates, scale = [1e-3, 3e-3, 1e-2], 0.03
    rows, model = {"x": pixels, "y": pixels}, nn.mlp(widths, activation="tanh")
    races = {
        # a product costs 1.3 gradients, a loss a third; benchmarks/curvature.py measures the first
        "saddle-free Newton": (
            saddles.saddle_free_newton(dimension), steps[0], 2 + 1.3 * dimension + 9 / 3
        ),
        **{f"Adam, η = {rate:g}": (optimizers.adam(rate), steps[1], 1.0) for rate in rates},
    }  # fmt: skip
    curves, reached, work = {}, {}, {}
    for name, (optimizer, count, cost) in races.items():
        algorithm = training.supervised(model, losses.mse, optimizer)
        state = algorithm.init(KEY)
        params = jax.tree.map(lambda leaf: scale * leaf, state.params)
        last = f"dense_{len(widths) - 2}"
        params[last]["bias"] = jnp.asarray(pixels.mean(axis=0))
        state = state.replace(params=params)
        run = training.fit(algorithm, rows, sampling.full(), key=KEY, steps=count, state=state)
        values = run.history["loss"]
        there = values <= target
        reached[name] = int(there.argmax()) if there.any() else None  # the loss before the step
        work[name] = None if reached[name] is None else reached[name] * cost
        curves[name] = values
    newton, *adam = reached.values()
    holds = newton is not None and all(other is None or 10 * newton < other for other in adam)
    figures = [
        pictures.curves(
            curves, "Loss against step: saddle-free Newton leaves the plateau at once, Adam late.",
            xlabel="step", ylabel="loss", xscale="symlog",
        ),
        pictures.curves(
            {name: (np.arange(len(v)) * races[name][2], v) for name, v in curves.items()},
            "Loss against the work in gradients: the curves lie close to each other.",
            xlabel="work, in gradients", ylabel="loss", xscale="symlog",
        ),
    ]  # fmt: skip
    told = ", ".join(
        f"{name} " + (f"{n:,} ({work[name]:,.0f} gradients' work)" if n is not None else "never")
        for name, n in reached.items()
    )
    return Finding(
        name="saddle-free-newton",
        question="Does the Hessian help on a plateau?",
        verdict=f"Steps to a loss of {target:g}: {told}.",
        sections=[Section("Steps, and work", figures=figures)],
        numbers={"steps": reached, "work": work, "target": target,
                 "ends": {name: float(v[-1]) for name, v in curves.items()}},
        expected="saddle-free Newton takes less than a tenth of Adam's steps to leave a plateau; "
        "the work is another matter",
        holds=bool(holds),
    )  # fmt: skip


LECTURE_2 = "Hung-yi Lee, Machine Learning 2021, lecture 2"

EXPERIMENTS = (
    Experiment(
        "four-faults", 2, "the guide's tree tells what is wrong with a network",
        f"{LECTURE_2}, guide", four_faults, 1.0,
        "Plant one of your own: jaxml study diagnose --hidden 64,64 --data FILE.csv.",
    ),
    Experiment(
        "remedies", 2, "L2, dropout and more data narrow the gap of overfitting",
        f"{LECTURE_2}, guide; Srivastava et al. 2014 for dropout", remedies, 0.5,
        "Make the network narrower instead, or stop early (training.early_stopping).",
    ),
    Experiment(
        "leaderboard", 2, "the best of many on a small public set is chosen by luck",
        f"{LECTURE_2}, guide", best_of_many, 0.1,
        "Make the public set 500 examples: how much of the luck is left?",
    ),
    Experiment(
        "course-saddle", 2, "(1 − w₁w₂)² has a saddle at 0 with eigenvalues ±2",
        f"{LECTURE_2}, when gradient is small", saddle_of_the_course, 0.1,
        "Analyse a point of a valley: landscape.analyze(course_saddle, [1.0, 1.0]).",
    ),
    Experiment(
        "saddle-escape", 2, "the lowest eigenvector of the Hessian leads out of a saddle",
        f"{LECTURE_2}, when gradient is small; Dauphin et al. 2014", saddle_escape, 0.5,
        "Leave along the second lowest eigenvector, or add two dead units.",
    ),
    Experiment(
        "minimum-ratio", 2, "the points at which training ends are hardly ever minima",
        f"{LECTURE_2}, when gradient is small", minimum_ratio, 2.0,
        "Add an L2 term and go on with landscape.find_minimum: the ratio becomes 1.",
    ),
    Experiment(
        "gradient-flat", 2, "searches for critical points stall at gradient-flat points",
        "Frye et al. 2021 (arXiv:2003.10397); Dauphin et al. 2014 for index and loss",
        gradient_flat, 2.0, "Search by method='newton_mr' instead: how many arrive?",
    ),
    Experiment(
        "spectrum-outliers", 2, "a bulk of eigenvalues, and about as many outliers as classes",
        "Sagun et al. 2017 (arXiv:1706.04454), Papyan 2019 (arXiv:1901.08244)",
        spectrum_outliers, 1.0, "Leave out half of the classes: where is the gap then?",
    ),
    Experiment(
        "saddle-free-newton", 2, "saddle-free Newton leaves a plateau in a few steps",
        "Dauphin et al. 2014 (arXiv:1406.2572)", saddle_free_newton, 3.0,
        "Give it 4 or 64 directions: which of both curves gains?",
    ),
    Experiment(
        "batch-updates", 2, "at equal epochs large batches make fewer updates and end worse",
        f"{LECTURE_2}, batch and momentum; Keskar et al. 2017", batch_updates, 1.0,
        "Give all sizes the same updates instead: jaxml study batch-size --train-loss 0.1.",
    ),
    Experiment(
        "sharpness-rescaled", 2, "sharpness changes with the parametrisation",
        "Dinh et al. 2017, against Keskar et al. 2017", sharpness_rescaled, 0.1,
        "Look at landscape.sharpness, whose box grows with the parameters.",
    ),
    Experiment(
        "edge-of-stability", 2, "λ_max of full-batch training rises to just above 2/η",
        "Cohen et al. 2021 (arXiv:2103.00065)", edge_of_stability, 2.0,
        "Halve the rate on the way: where does λ_max go?",
    ),
    Experiment(
        "momentum-sum", 2, "momentum is a weighted sum of all past gradients",
        f"{LECTURE_2}, batch and momentum", momentum_sum, 0.1,
        "Try β = 0.99: how many gradients count then?",
    ),
    Experiment(
        "momentum-crosses", 2, "momentum goes on where gradient descent stops",
        f"{LECTURE_2}, batch and momentum; Polyak 1964", momentum_crosses, 0.1,
        "Make the hill higher (0.25 in `bump`) until momentum is held as well.",
    ),
    Experiment(
        "stuck-ravine", 2, "training can be stuck without a critical point",
        f"{LECTURE_2}, adaptive learning rate", stuck_without_critical_point, 0.1,
        "Set η to 0.2001: what happens beyond 2/λ_max?",
    ),
    Experiment(
        "adaptive-rates", 2, "adaptive rates get through a ravine in which gradient descent stays",
        f"{LECTURE_2}, adaptive learning rate; Duchi et al. 2011, Kingma and Ba 2015",
        adaptive_rates, 0.1,
        "Turn the ravine by 45 degrees: adaptive rates are along the axes.",
    ),
    Experiment(
        "rmsprop-forgets", 2, "RMSProp reacts to a change of the slope, Adagrad hardly",
        f"{LECTURE_2}, adaptive learning rate; Tieleman and Hinton 2012", rmsprop_forgets, 0.1,
        "Let the gradient grow to ten times instead: which one brakes sooner?",
    ),
    Experiment(
        "rate-decay", 2, "decay of the rate ends the jumps of adaptive optimisers",
        f"{LECTURE_2}, adaptive learning rate", rate_decay, 0.1,
        "Try schedules.exponential and schedules.warmup_cosine.",
    ),
    Experiment(
        "mse-softmax", 2, "far from the target the squared error of a softmax has no slope",
        f"{LECTURE_2}, classification", squared_error_of_softmax, 0.1,
        "Begin at (0, 0): do the two still differ?",
    ),
    Experiment(
        "softmax-sigmoid", 2, "the softmax of two classes is the sigmoid",
        f"{LECTURE_2}, classification", softmax_of_two, 0.1,
        "Add a constant to both logits.",
    ),
    Experiment(
        "fused-logits", 2, "cross-entropy from logits is safe where the log of a softmax is not",
        f"{LECTURE_2}, classification", fused_logits, 0.1,
        "Compare the gradients as well: which of them are nan?",
    ),
    Experiment(
        "feature-scaling", 2, "features of one scale make the error surface round",
        f"{LECTURE_2}, batch normalisation", feature_scaling, 0.2,
        "Scale every feature to the range from 0 to 1 instead.",
    ),
    Experiment(
        "batch-norm-rates", 2, "batch norm trains at rates at which the plain network fails",
        f"{LECTURE_2}, batch normalisation; Ioffe and Szegedy 2015, Santurkar et al. 2018",
        batch_norm_rates, 0.5,
        "Put the norm after the activation: nn.mlp(..., norm_position='after').",
    ),
    Experiment(
        "batch-norm-averages", 2, "with moving averages an output does not depend on the batch",
        f"{LECTURE_2}, batch normalisation; Ioffe and Szegedy 2015", batch_norm_averages, 0.1,
        "Use norm='layer': what does an output depend on then?",
    ),
)  # fmt: skip
