"""Chapter 1, basics: regression, gradient descent, piecewise linear functions, back-propagation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, landscape, nn, studies, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.course import pictures
from jaxml.course.experiment import Effort, Experiment
from jaxml.training import losses, optimizers, sampling


def ols_contour(effort: Effort = "quick") -> Finding:
    """The minimum of the error surface of y = b + wx, and gradient descent's way to it."""
    rows = data.load("linear_teacher", n=200, inputs=1, noise=0.5, validation=0, test=0).train
    algorithm = training.supervised(nn.linear(1, 1), losses.mse, optimizers.sgd(0.1))
    start, kept = algorithm.init(jax.random.key(0)), training.snapshots()
    away = {"dense_0": {"kernel": np.full((1, 1), -1.2, np.float32),
                        "bias": np.full(1, 1.1, np.float32)}}  # fmt: skip
    run = training.fit(
        algorithm, rows, sampling.full(), key=jax.random.key(0), chunk=1, hooks=[kept],
        steps=100 if effort == "quick" else 500, state=start.replace(params=away),
    )  # fmt: skip
    design = np.column_stack([rows["x"], np.ones(len(rows["x"]))]).astype(float)
    (w, b), *_ = np.linalg.lstsq(design, rows["y"][:, 0].astype(float))
    layer = run.state.params["dense_0"]
    off = max(abs(float(layer["kernel"][0, 0]) - w), abs(float(layer["bias"][0]) - b))

    loss = training.full_loss(algorithm, run.state, rows)
    zero = jax.tree.map(np.zeros_like, jax.device_get(run.state.params))
    one = np.ones(1, np.float32)
    along_w = {"dense_0": {"kernel": one[:, None], "bias": 0 * one}}
    along_b = {"dense_0": {"kernel": 0 * one[:, None], "bias": one}}
    directions = jax.tree.map(lambda *leaves: np.stack(leaves), along_w, along_b)
    axes = np.linspace(w - 1.5, w + 1.5, 41), np.linspace(b - 1.5, b + 1.5, 41)
    plane = landscape.surface(loss, zero, directions, coordinates=axes)
    path = kept.params["dense_0"]
    lowest = np.unravel_index(plane.losses.argmin(), plane.losses.shape)
    cell = max(abs(axes[0][lowest[0]] - w), abs(axes[1][lowest[1]] - b))
    spacing = axes[0][1] - axes[0][0]
    holds = off < 1e-4 and cell <= spacing
    figure = pictures.contours(
        axes[0],
        axes[1],
        plane.losses.T,
        "Contour ellipses of the mean squared error over w and b; the path of gradient descent "
        "ends where least squares has its solution, in the middle.",
        paths={"gradient descent": (path["kernel"][:, 0, 0], path["bias"][:, 0])},
        points={"least squares": (w, b)},
        xlabel="w",
        ylabel="b",
    )
    return Finding(
        name="ols-contour",
        question="Where is the minimum of the error surface of y = b + wx?",
        verdict=f"Gradient descent ends {off:.1e} from the solution of least squares, "
        f"w = {w:.4f}, b = {b:.4f}, and the lowest of {plane.losses.size:,} points of the surface "
        f"is {'next to it' if cell <= spacing else 'elsewhere'}.",
        sections=[Section("The error surface", figures=[figure])],
        numbers={"w": float(w), "b": float(b), "distance": off, "grid_distance": float(cell)},
        expected="the contour minimum is the solution of least squares: both numbers to 1e-4",
        holds=bool(holds),
    )


def divergence(effort: Effort = "quick") -> Finding:
    """Gradient descent on least squares just below and above the rate 2/λ_max."""
    rows = data.load("linear_teacher", n=200, inputs=4, validation=0, test=0).train
    model = nn.linear(4, 1)
    start = training.supervised(model, losses.mse, optimizers.sgd(0.1)).init(jax.random.key(0))
    loss = training.full_loss(
        training.supervised(model, losses.mse, optimizers.sgd(0.1)), start, rows
    )
    top = float(landscape.eigenpairs(landscape.hessian(loss, start.params), top=1).values[-1])
    shares = np.array([0.5, 0.95, 0.99, 1.01, 1.05])
    run = training.fit_many(
        lambda rate: training.supervised(model, losses.mse, optimizers.sgd(rate)),
        rows,
        sampling.full(),
        keys=jnp.stack([jax.random.key(0)] * len(shares)),
        hyperparameters={"rate": shares * 2 / top},
        steps=200 if effort == "quick" else 300,
    )
    curves = run.history["loss"]
    grows = curves[:, -1] > curves[:, 0]
    holds = np.isfinite(curves).all() and (grows == (shares > 1)).all()
    figure = pictures.curves(
        {f"η = {share:g} · 2/λ_max": curve for share, curve in zip(shares, curves, strict=True)},
        "Loss against update: below 2/λ_max it falls to a floor, above it grows exponentially.",
        xlabel="update", ylabel="loss", yscale="log",
    )  # fmt: skip
    return Finding(
        name="divergence",
        question="How large may the learning rate be?",
        verdict=f"λ_max = {top:.4f}, so that 2/λ_max = {2 / top:.4f}: the loss grows at "
        f"{', '.join(f'{s:g}' for s in shares[grows])} of it and falls at "
        f"{', '.join(f'{s:g}' for s in shares[~grows])}.",
        sections=[Section("Below and above the threshold", figures=[figure])],
        numbers={
            "largest_eigenvalue": top,
            "share_of_threshold": shares.tolist(),
            "grows": grows.tolist(),
        },
        expected="gradient descent on a quadratic diverges if and only if η > 2/λ_max",
        holds=bool(holds),
    )


def mean_and_median(effort: Effort = "quick") -> Finding:
    """The constant with the least squared, and with the least absolute error."""
    y = np.array([[0.0], [1.0], [2.0], [4.0], [43.0]], np.float32)
    rows = {"x": np.zeros((5, 1), np.float32), "y": y}
    steps = 2000 if effort == "quick" else 10_000
    ends, paths = {}, {}
    for name, loss in {"MSE": losses.mse, "MAE": losses.mae}.items():
        rate = training.schedules.cosine(0.1, steps)
        algorithm = training.supervised(nn.linear(1, 1), loss, optimizers.sgd(rate))
        kept = training.snapshots()
        training.fit(
            algorithm, rows, sampling.full(), key=jax.random.key(0), steps=steps,
            chunk=steps // 100, hooks=[kept],
        )  # fmt: skip
        paths[name] = (np.array(kept.steps), kept.params["dense_0"]["bias"][:, 0])
        ends[name] = float(paths[name][1][-1])
    mean, median = float(y.mean()), float(np.median(y))
    holds = abs(ends["MSE"] - mean) < 1e-2 and abs(ends["MAE"] - median) < 1e-2
    figure = pictures.curves(
        paths,
        f"The constant against the update: with the squared error it goes to {mean:g}, with the "
        f"absolute error to {median:g}.",
        xlabel="update", ylabel="constant b",
    )  # fmt: skip
    return Finding(
        name="mean-and-median",
        question="What do the squared and the absolute error do with an outlier?",
        verdict=f"Of 0, 1, 2, 4 and 43 the squared error finds {ends['MSE']:.3f} (the mean is "
        f"{mean:g}), the absolute error {ends['MAE']:.3f} (the median is {median:g}).",
        sections=[Section("Two losses, one outlier", figures=[figure])],
        numbers={"mse": ends["MSE"], "mae": ends["MAE"], "mean": mean, "median": median},
        expected="the constant of least MSE is the mean, that of least MAE the median: to 0.01",
        holds=bool(holds),
    )


PUBLISHED_LAGS = {1: 6.62, 7: 3.07, 28: 2.48, 56: 2.38}
"""Days -> error of ordinary least squares on the test, in thousand riders."""


def lag_features(effort: Effort = "quick") -> Finding:
    """Riders of the Chicago "L" a day ahead, from the last 1, 7, 28 and 56 days."""
    trained, solved = {}, {}
    for lags in PUBLISHED_LAGS:
        riders = data.load("chicago_ridership", lags=lags, validation=0).splits
        x, y = riders["train"]["x"], riders["train"]["y"]
        mean, scale = x.mean(), x.std()  # the same for every lag: it is one series
        train, test = (
            {key: (values - mean) / scale for key, values in split.items()}
            for split in (riders["train"], riders["test"])
        )
        model = nn.linear(lags, 1)
        algorithm = training.supervised(model, losses.mse, optimizers.momentum(0.03))
        run = training.fit(
            algorithm, train, sampling.full(), key=jax.random.key(0),
            steps=1500 if effort == "quick" else 3000,
        )  # fmt: skip
        found = training.evaluate(model, run.state, test, {"mse": losses.mse})
        trained[lags] = float(np.sqrt(found["mse"]) * scale)
        design, target = (
            np.column_stack([part, np.ones(len(part))]) for part in (x, riders["test"]["x"])
        )
        prediction = target @ np.linalg.lstsq(design.astype(float), y)[0]
        solved[lags] = float(np.sqrt(np.mean((prediction - riders["test"]["y"]) ** 2)))
    week = data.load("chicago_ridership", lags=7).splits["test"]
    persistence = float(np.sqrt(np.mean((week["x"][:, :1] - week["y"]) ** 2)))
    errors = list(trained.values())
    holds = (np.diff(errors) < 0).all() and all(
        abs(trained[lags] - solved[lags]) < 0.02 for lags in trained
    )
    days = [str(lags) for lags in trained]
    figure = pictures.bars(
        {
            "gradient descent": dict(zip(days, errors, strict=True)),
            "least squares": dict(zip(days, solved.values(), strict=True)),
        },
        "Two bars each for 1, 7, 28 and 56 days: the error falls steeply from 1 to 7 days, then "
        "a little more; gradient descent and least squares have bars of the same height.",
        xlabel="days that the model sees", ylabel="test error, thousand riders",
    )  # fmt: skip
    return Finding(
        name="lag-features",
        question="Does it help the model to see a whole week, or a month?",
        verdict="The error on the last two years is "
        + ", ".join(f"{e:.2f}" for e in errors)
        + f" thousand riders with the last {', '.join(days[:-1])} and {days[-1]} days; the same "
        f"day last week is off by {persistence:.2f}.",
        sections=[Section("Riders one day ahead", figures=[figure])],
        numbers={"days": list(trained), "error": errors, "least_squares": list(solved.values()),
                 "same_day_last_week": persistence},
        expected="the error falls from 1 to 7, 28 and 56 days, as that of the views of the "
        "lecture's videos does; gradient descent reaches least squares to 0.02 thousand",
        holds=bool(holds),
    )  # fmt: skip


def layers(effort: Effort = "quick") -> Finding:
    """The number of layers of a network on the ridership, and a remedy that is the wrong one."""
    riders = data.load("chicago_ridership", lags=56)
    mean, scale = riders.train["x"].mean(), riders.train["x"].std()
    splits = {
        name: {key: (values - mean) / scale for key, values in split.items()}
        for name, split in riders.splits.items()
    }
    quick = effort == "quick"
    depths, seeds, epochs = ([1, 3], 2, 10) if quick else ([1, 2, 3, 4, 6], 5, 40)
    steps = epochs * len(splits["train"]["y"]) // 64
    rate = training.schedules.cosine(1e-3, steps)
    keys = jnp.stack([jax.random.key(seed) for seed in range(seeds)])

    def errors(depth, optimizer):
        """Split -> the error of each seed, and of their mean forecast, in thousand riders."""
        model = nn.mlp([56, *[100] * depth, 1])
        algorithm = training.supervised(model, losses.mse, optimizer)
        run = training.fit_many(
            algorithm, splits["train"], sampling.epochs(64), keys=keys, steps=steps
        )
        found = {}
        for name, split in splits.items():
            off = jax.vmap(lambda p, s=split: model.apply(p, {}, s["x"])[0] - s["y"])(
                run.state.params
            )
            each = np.sqrt((np.asarray(off) ** 2).mean((1, 2))) * scale
            together = np.sqrt((np.asarray(off).mean(0) ** 2).mean()) * scale
            found[name] = [float(e) for e in each], float(together)
        return found

    found = {depth: errors(depth, optimizers.adam(rate)) for depth in depths}
    singles = {
        name: [float(np.mean(found[depth][name][0])) for depth in depths]
        for name in ("train", "validation", "test")
    }
    chosen = depths[int(np.argmin(singles["validation"]))]
    decays = [1.0] if quick else [0.1, 1.0]
    decayed = {
        decay: errors(chosen, optimizers.adamw(rate, weight_decay=decay))["test"]
        for decay in decays
    }
    single, (_, together) = singles["test"][depths.index(chosen)], found[chosen]["test"]
    test = riders.splits["test"]
    persistence = float(np.sqrt(np.mean((test["x"][:, -7:-6] - test["y"]) ** 2)))
    gaps = np.subtract(singles["test"], singles["train"])
    fit_better = bool((np.diff(singles["train"]) < 0).all())
    figure = pictures.curves(
        {name: (depths, values) for name, values in singles.items()},
        "Error against the number of hidden layers: that on the training days falls on, those on "
        "the validation and the test level off above it.",
        style="o-", xlabel="hidden layers of 100", ylabel="error, thousand riders",
    )  # fmt: skip
    table = Table(
        ("hidden layers", "train", "validation", "test", "test, each seed", "test, all together"),
        [
            (
                str(depth), *(f"{singles[name][i]:.2f}" for name in singles),
                f"{min(found[depth]['test'][0]):.2f} to {max(found[depth]['test'][0]):.2f}",
                f"{found[depth]['test'][1]:.2f}",
            )
            for i, depth in enumerate(depths)
        ],
    )  # fmt: skip
    remedy = ", ".join(f"{np.mean(each):.2f} with {d:g}" for d, (each, _) in decayed.items())
    worse = all(np.mean(each) > single for each, _ in decayed.values())
    return Finding(
        name="layers",
        question="How many layers?",
        verdict=f"From {depths[0]} to {depths[-1]} layers the error on the training days goes from "
        f"{singles['train'][0]:.2f} to {singles['train'][-1]:.2f}, that on the test from "
        f"{singles['test'][0]:.2f} to {singles['test'][-1]:.2f} thousand riders. The "
        f"{chosen} that the validation chooses have {single:.2f}, {seeds} networks together "
        f"{together:.2f}; the same day last week is off by {persistence:.2f}. Weight decay is "
        f"{'no' if worse else 'a'} remedy here: {remedy}.",
        sections=[Section("Depth as a hyper-parameter", figures=[figure], table=table)],
        numbers={
            "layers": depths, **singles, "chosen": chosen, "single": single, "ensemble": together,
            "same_day_last_week": persistence, "seeds_test": [found[d]["test"][0] for d in depths],
            "weight_decay": {str(d): float(np.mean(each)) for d, (each, _) in decayed.items()},
        },
        expected="with more layers the training error falls and its distance from the test error "
        "grows; the depth chosen on the validation has at most 1.75 thousand riders on the test "
        "and an ensemble 1.60" if not quick else "with more layers the training error falls and "
        "its distance from the test error grows",
        holds=fit_better and bool(gaps[-1] > gaps[0])
        and (quick or (single <= 1.75 and together <= 1.6)),
    )  # fmt: skip


def hard_sigmoid(effort: Effort = "quick") -> Finding:
    """Two ReLU units that make one hard sigmoid."""
    model = nn.mlp([1, 2, 1])
    # relu(x + 3)/6 − relu(x − 3)/6
    params = {
        "dense_0": {"kernel": np.array([[1.0, 1.0]]), "bias": np.array([3.0, -3.0])},
        "dense_1": {"kernel": np.array([[1 / 6], [-1 / 6]]), "bias": np.zeros(1)},
    }
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    x = np.linspace(-6, 6, 1001 if effort == "quick" else 100_001, dtype=np.float32)[:, None]
    made = np.asarray(model.apply(params, {}, x)[0])[:, 0]
    known = np.asarray(jax.nn.hard_sigmoid(x))[:, 0]
    off = float(abs(made - known).max())
    first, second = (np.maximum(x[:, 0] + shift, 0) / 6 for shift in (3, -3))
    figure = pictures.curves(
        {
            "relu(x + 3)/6": (x[:, 0], first),
            "−relu(x − 3)/6": (x[:, 0], -second),
            "their sum": (x[:, 0], made),
            "hard sigmoid": (x[:, 0], known),
        },
        "One ramp begins to rise at −3, another to fall at 3; their sum rises from 0 to 1 between "
        "and lies on the hard sigmoid.",
        style={"hard sigmoid": ":"},
        xlabel="x", ylabel="y", ylim=(-0.6, 1.6),
    )  # fmt: skip
    return Finding(
        name="hard-sigmoid",
        question="How many ReLU make a hard sigmoid?",
        verdict=f"A network of two ReLU is within {off:.1e} of the hard sigmoid everywhere.",
        sections=[Section("Two ramps", figures=[figure])],
        numbers={"largest_difference": off, "points": len(x)},
        expected="two ReLU are one hard sigmoid, to 1e-6",
        holds=off < 1e-6,
    )


def piecewise_linear(effort: Effort = "quick") -> Finding:
    """A curve with n kinks from n + 1 ReLU, and what is left with fewer."""
    kinks = np.array([0.15, 0.3, 0.45, 0.6, 0.8] if effort == "quick" else np.arange(1, 20) / 20)
    heights = np.random.default_rng(0).normal(size=len(kinks) + 2)
    xs = np.concatenate([[0.0], kinks, [1.0]])
    x = np.linspace(0, 1, 2001)
    target = np.interp(x, xs, heights)

    def network(places):
        """The network with a ReLU that begins at each of the places, fitted by least squares."""
        hidden = np.maximum(x[:, None] - places, 0)
        design = np.column_stack([hidden, np.ones(len(x))])
        weights = np.linalg.lstsq(design, target)[0]
        layers = {
            "dense_0": {"kernel": np.ones((1, len(places))), "bias": -places},
            "dense_1": {"kernel": weights[:-1, None], "bias": weights[-1:]},
        }
        return nn.mlp([1, len(places), 1]), layers

    errors, drawn = {}, {}
    for count in range(1, len(kinks) + 2):
        model, params = network(np.concatenate([[0.0], kinks])[:count])
        with jax.enable_x64(True):
            value = np.asarray(model.apply(params, {}, x[:, None])[0])[:, 0]
        errors[count] = float(abs(value - target).max())
        drawn[count] = value
    model, params = network(np.concatenate([[0.0], kinks]))
    counted = studies.linear_pieces(
        lambda x: model.apply(params, {}, x[None, None])[0][0, 0], resolution=2**12
    )
    whole = len(kinks) + 1
    holds = errors[whole] < 1e-10 and errors[whole - 1] > 0.01 and counted == whole
    figure = pictures.curves(
        {
            "the curve": (x, target),
            f"{whole} ReLU": (x, drawn[whole]),
            f"{whole - 2} ReLU": (x, drawn[whole - 2]),
        },
        f"A zigzag curve; the network with {whole} ReLU lies on it, that with {whole - 2} leaves "
        "it at the last kinks.",
        style={f"{whole} ReLU": ":", f"{whole - 2} ReLU": "--"},
        xlabel="x", ylabel="y",
    )  # fmt: skip
    return Finding(
        name="piecewise-linear",
        question="How many ReLU does a curve of straight pieces need?",
        verdict=f"With {len(kinks)} kinks, {whole} ReLU fit to {errors[whole]:.1e} and make "
        f"{counted} straight pieces; with {whole - 1} the error is {errors[whole - 1]:.2g}.",
        sections=[Section("A curve as a sum of ramps", figures=[figure])],
        numbers={"kinks": len(kinks), "error": errors, "pieces": counted},
        expected=f"a constant and one ReLU for each of the {whole} pieces are the curve (to "
        "1e-10); one fewer is not",
        holds=bool(holds),
    )


def updates_per_epoch(effort: Effort = "quick") -> Finding:
    """Batches of 10 out of 10,000 examples, counted."""
    count, size = 10_000, 10
    epochs = 2 if effort == "quick" else 5
    rows = {"x": jnp.arange(count)}
    sample, key = sampling.epochs(size), jax.random.key(0)
    steps = epochs * (count // size)

    @jax.jit
    def order(rows, key):
        return jax.lax.map(lambda step: sample(rows, key, step)["x"], jnp.arange(steps))

    seen = np.asarray(order(rows, key))  # (updates, batch)
    visited = np.zeros(count, int)
    fresh = np.empty(steps, int)
    for step, batch in enumerate(seen):
        visited[batch] += 1
        fresh[step] = (visited > 0).sum()
    first = int((fresh < count).sum()) + 1
    again = seen[: count // size].ravel()
    differs = float((again != seen[count // size : 2 * (count // size)].ravel()).mean())
    holds = first == count // size and (visited == epochs).all() and differs > 0.99
    figure = pictures.curves(
        {"examples seen at least once": (np.arange(1, steps + 1), fresh)},
        "The number of different examples seen rises in a straight line to 10,000 at update "
        "1,000 and stays there.",
        xlabel="update", ylabel="different examples seen",
    )  # fmt: skip
    return Finding(
        name="updates-per-epoch",
        question="How many updates has an epoch?",
        verdict=f"With {count:,} examples in batches of {size}, all have been seen after "
        f"{first:,} updates; after {epochs} epochs each was seen {visited.min()} to "
        f"{visited.max()} times, and the next epoch's order differs in {differs:.1%} of places.",
        sections=[Section("One epoch", figures=[figure])],
        numbers={"updates": first, "least_visits": int(visited.min()),
                 "most_visits": int(visited.max()), "order_differs": differs},
        expected="10,000 examples in batches of 10 are 1,000 updates an epoch; each epoch sees "
        "every example once, shuffled anew",
        holds=bool(holds),
    )  # fmt: skip


def backpropagation(effort: Effort = "quick") -> Finding:
    """The chain rule by hand, backwards through a network, against `jax.grad`."""
    digits = data.load("digits").train
    size = 64 if effort == "quick" else len(digits["x"])
    x, y = digits["x"][:size].astype(float), digits["y"][:size]
    model = nn.mlp([64, 32, 16, 10], activation="sigmoid")
    params = jax.device_get(model.init(jax.random.key(0))[0])
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.sgd(0.1))
    state = algorithm.init(jax.random.key(0))

    layers = [jax.tree.map(np.float64, params[f"dense_{i}"]) for i in range(3)]
    inputs = [x]  # forward: the input of every layer
    for i, layer in enumerate(layers):
        z = inputs[-1] @ layer["kernel"] + layer["bias"]
        inputs.append(1 / (1 + np.exp(-z)) if i < 2 else z)
    shifted = np.exp(inputs[-1] - inputs[-1].max(1, keepdims=True))
    delta = (shifted / shifted.sum(1, keepdims=True) - np.eye(10)[y]) / size
    by_hand = {}
    for i in (2, 1, 0):  # backward: ∂loss/∂z of every layer from that of the next
        by_hand[f"dense_{i}"] = {"kernel": inputs[i].T @ delta, "bias": delta.sum(0)}
        if i:
            delta = delta @ layers[i]["kernel"].T * inputs[i] * (1 - inputs[i])

    with jax.enable_x64(True):
        loss = training.full_loss(algorithm, state, {"x": x, "y": y})
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        automatic = jax.device_get(jax.grad(loss)(wide))
    off = {
        name: max(
            float(abs(by_hand[name][part] - automatic[name][part]).max()) for part in by_hand[name]
        )
        / float(abs(automatic[name]["kernel"]).max())
        for name in sorted(by_hand)
    }
    holds = max(off.values()) < 1e-12
    sizes = {name: float(np.linalg.norm(automatic[name]["kernel"])) for name in off}

    def draw(ax):
        for name in off:
            ax.plot(
                by_hand[name]["kernel"].ravel(), automatic[name]["kernel"].ravel(), ".",
                markersize=3, label=name, rasterized=True,
            )  # fmt: skip
        ax.set(xlabel="by hand", ylabel="jax.grad")
        drawing.legend(ax)

    alt = "Derivatives by jax.grad against those by hand: all lie on the diagonal."
    rows = [(name, f"{sizes[name]:.3g}", f"{off[name]:.1e}") for name in off]
    table = Table(("layer", "‖gradient‖", "largest difference, of the largest part"), rows)
    return Finding(
        name="backpropagation",
        question="Is back-propagation anything but the chain rule?",
        verdict=f"The chain rule written out for three layers agrees with jax.grad to "
        f"{max(off.values()):.0e} of the largest derivative.",
        sections=[Section("By hand and by machine", figures=[Figure(draw, alt)], table=table)],
        numbers={"difference": off, "norm": sizes},
        expected="both are the same derivatives: to 1e-12 in float64",
        holds=bool(holds),
    )


LECTURE_1 = "Hung-yi Lee, Machine Learning 2021, lecture 1"

EXPERIMENTS = (
    Experiment(
        "ols-contour", 1, "the error surface has its minimum where least squares has its solution",
        LECTURE_1, ols_contour, 0.1,
        "Begin elsewhere (another key), or make the rate ten times as large: which way does the "
        "path take then?",
    ),
    Experiment(
        "divergence", 1, "gradient descent diverges where the rate exceeds 2/λ_max",
        f"{LECTURE_1}; Nesterov 2004, section 2.1.5", divergence, 0.1,
        "Multiply an input by 3: λ_max grows with its square, and the largest rate shrinks.",
    ),
    Experiment(
        "mean-and-median", 1, "the squared error leads to the mean, the absolute to the median",
        LECTURE_1, mean_and_median, 0.1,
        "Replace 43 by 430, and the absolute error by losses.huber.",
    ),
    Experiment(
        "lag-features", 1, "models that see whole periods predict better",
        LECTURE_1, lag_features, 0.2,
        "Try 2, 6, 8 and 14 days: which step is the large one?",
    ),
    Experiment(
        "layers", 1, "with more layers the training error falls on, the test error does not",
        LECTURE_1, layers, 1.5,
        "Give the networks 28 days, or 8 layers: which depth is best, and does the training go on?",
    ),
    Experiment(
        "hard-sigmoid", 1, "two ReLU make a hard sigmoid", LECTURE_1, hard_sigmoid, 0.1,
        "Move the two kinks together: what does the sum look like in the limit?",
    ),
    Experiment(
        "piecewise-linear", 1, "a sum of ReLU is any piecewise linear curve",
        f"{LECTURE_1}; Cybenko 1989 for sigmoids", piecewise_linear, 0.1,
        "Leave out a kink in the middle instead of the last one.",
    ),
    Experiment(
        "updates-per-epoch", 1, "10,000 examples in batches of 10 are 1,000 updates an epoch",
        LECTURE_1, updates_per_epoch, 0.1,
        "Draw with replacement (sampling.with_replacement): how many examples has an epoch missed?",
    ),
    Experiment(
        "backpropagation", 1, "back-propagation is the chain rule, taken from the last layer on",
        f"{LECTURE_1}; Rumelhart, Hinton and Williams 1986", backpropagation, 0.1,
        "Stack ten sigmoid layers: how does the gradient's norm go with depth?",
    ),
)  # fmt: skip
