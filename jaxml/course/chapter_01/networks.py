"""What networks of a few units are, and how their gradient is taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, nn, studies, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.types import Model
from jaxml.course import pictures
from jaxml.course.curve_fits import fit_curve
from jaxml.course.experiment import Effort
from jaxml.training import losses, optimizers, sampling


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
    """Curves with n kinks: from n + 1 ReLU by construction and by training, and from sigmoids."""
    quick = effort == "quick"
    kinks, seeds, steps = ([3], 5, 500) if quick else ([3, 10, 50], 10, 5000)
    x = np.linspace(0, 1, 2001)
    targets, drawn, lines, built, fewer, pieces, trained = {}, {}, {}, {}, {}, {}, {}
    for count in kinks:
        places = np.linspace(0, 1, count + 2)
        heights = np.random.default_rng(0).normal(size=count + 2)
        targets[count] = np.interp(x, places, heights)
        less = _values(*_ramps(places, heights, count), x)
        fewer[count] = float(abs(less - targets[count]).max())
        model, params = _ramps(places, heights, count + 1)
        drawn[count] = _values(model, params, x)
        built[count] = float(abs(drawn[count] - targets[count]).max())
        pieces[count] = studies.linear_pieces(
            lambda x, model=model, params=params: model.apply(params, {}, x[None, None])[0][0, 0],
            resolution=2**12,
        )
        trained[count], lines[count] = fit_curve(
            nn.mlp([1, count + 1, 1]), x[::8], targets[count][::8], seeds=seeds, steps=steps
        )
    shown = kinks[min(1, len(kinks) - 1)]
    target = targets[shown]
    sums = {count: _values(*_steps(x, target, count), x) for count in (10, 100, 1000)}
    smooth = {count: float(abs(value - target).max()) for count, value in sums.items()}
    constant = {count: float(curve.std()) for count, curve in targets.items()}
    holds = (
        all(built[n] < 1e-12 and fewer[n] > 0.01 and pieces[n] == n + 1 for n in kinks)
        and all(trained[n].mean() < constant[n] for n in kinks)
        and smooth[1000] < smooth[100] < smooth[10]
    )
    axes = {"xlabel": "x", "ylabel": "y"}
    figures = [
        pictures.curves(
            {
                "the curve": (x, target),
                f"{shown + 1} ReLU, built": (x, drawn[shown]),
                f"{shown + 1} ReLU, trained": (x[::8], lines[shown]),
            },
            f"A zigzag curve; the network of {shown + 1} ReLU that was built lies on it, the best "
            "that was trained follows it in part.",
            style={f"{shown + 1} ReLU, built": ":", f"{shown + 1} ReLU, trained": "--"},
            **axes,
        ),
        pictures.curves(
            {"the curve": (x, target), **{f"{n} sigmoids": (x, sums[n]) for n in (10, 100)}},
            "The zigzag curve again: ten sigmoids round its corners, a hundred steeper ones lie "
            "on it.",
            style={"10 sigmoids": "--", "100 sigmoids": ":"},
            **axes,
        ),
    ]  # fmt: skip
    table = Table(
        ("kinks", "ReLU", "built, largest error", "one ReLU fewer", "pieces",
         f"trained, rmse over {seeds} starts", "least", "a constant's"),
        [
            (str(n), str(n + 1), f"{built[n]:.0e}", f"{fewer[n]:.2g}", str(pieces[n]),
             f"{trained[n].mean():.3f} ± {trained[n].std(ddof=1):.3f}", f"{trained[n].min():.3f}",
             f"{constant[n]:.3f}")
            for n in kinks
        ],
    )  # fmt: skip
    return Finding(
        name="piecewise-linear",
        question="How many ReLU does a curve of straight pieces need?",
        verdict=f"With {_list(kinks)} kinks, {_list(n + 1 for n in kinks)} ReLU are the curve to "
        f"{max(built.values()):.0e}, by construction; with one fewer the error is "
        f"{_list(f'{fewer[n]:.2g}' for n in kinks)}. Trained from {seeds} starts, networks of that "
        f"size have a root mean square error of {_list(f'{trained[n].mean():.2f}' for n in kinks)} "
        f"(a constant {_list(f'{constant[n]:.2f}' for n in kinks)}). Sums of 10, 100 and 1,000 "
        f"ever steeper sigmoids come within {_list(f'{e:.1g}' for e in smooth.values())}.",
        sections=[
            Section(
                "A curve as a sum of ramps",
                "The first ReLU has the slope of the first piece, each further one begins at a "
                "kink and has the change of slope there.",
                figures=figures, table=table,
            )
        ],
        numbers={
            "kinks": kinks, "built": built, "one_fewer": fewer, "pieces": pieces,
            "trained": {n: errors.tolist() for n, errors in trained.items()},
            "constant": constant, "sigmoids": smooth,
        },
        expected="a constant and a ReLU for each of the n + 1 pieces are the curve (to 1e-12 in "
        "float64), one fewer is not; trained ones beat a constant; more and steeper sigmoids come "
        "nearer",
        holds=bool(holds),
    )  # fmt: skip


def _ramps(places: np.ndarray, heights: np.ndarray, count: int) -> tuple[Model, Any]:
    """The network of the curve through the points, or of its first pieces: slopes' differences."""
    slopes = np.diff(heights) / np.diff(places)
    weights = np.diff(slopes, prepend=0)[:count]
    return nn.mlp([1, count, 1]), {
        "dense_0": {"kernel": np.ones((1, count)), "bias": -places[:count]},
        "dense_1": {"kernel": weights[:, None], "bias": heights[:1]},
    }


def _steps(x: np.ndarray, target: np.ndarray, count: int) -> tuple[Model, Any]:
    """The network of a curve on [0, 1] in so many smooth steps, the steeper the more there are."""
    ends = np.linspace(0, 1, count + 1)
    rise = np.diff(np.interp(ends, x, target))
    steepness = 4 * count
    return nn.mlp([1, count, 1], activation="sigmoid"), {
        "dense_0": {
            "kernel": np.full((1, count), float(steepness)),
            "bias": -steepness * (ends[:-1] + ends[1:]) / 2,
        },
        "dense_1": {"kernel": rise[:, None], "bias": target[:1]},
    }


def _values(model: Model, params: Any, x: np.ndarray) -> np.ndarray:
    """In float64."""
    with jax.enable_x64(True):
        return np.asarray(model.apply(params, {}, x[:, None])[0])[:, 0]


def _list(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in values)


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
