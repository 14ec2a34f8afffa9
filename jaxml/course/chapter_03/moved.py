"""Digits that are turned, shifted and scaled, and networks that turn them back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, nn, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.types import Model, TrainState
from jaxml.core.words import counted
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import augmentation, losses, metrics, optimizers, sampling, schedules
from jaxml.training.loop import Sample

QUICK_STEPS = 300
SHAPE = (8, 8, 1)
PLAIN = nn.cnn(SHAPE, 10, channels=(8, 16), hidden=(32,))
MOVING = nn.spatial_transformer(PLAIN, SHAPE, transform="rotation", channels=(8,))
TURNING = augmentation.augmented(sampling.epochs(64), augmentation.rotation(90.0))
SHIFTING = augmentation.augmented(
    sampling.epochs(64), augmentation.shift(2), augmentation.scale(1.6)
)


def turned(images: np.ndarray, degrees: float) -> np.ndarray:
    """Images `(N, H, W, 1)` about their centres, bilinearly, zeros at the edge."""
    size = images.shape[1], images.shape[2]
    return _read(images, nn.rotations(jnp.array([-np.deg2rad(degrees)]), size)[0])


def shifted(images: np.ndarray, pixels: float) -> np.ndarray:
    """To the right."""
    return _read(images, jnp.eye(2, 3).at[0, 2].set(-2 * pixels / images.shape[2]))


def scaled(images: np.ndarray, factor: float) -> np.ndarray:
    """Enlarged about their centres."""
    return _read(images, jnp.eye(2, 3) / factor)


@jax.jit
def _grid_sampled(images: jax.Array, matrix: jax.Array) -> jax.Array:
    size = images.shape[1], images.shape[2]
    matrices = jnp.broadcast_to(matrix, (len(images), 2, 3))
    return nn.grid_sample(images, nn.affine_grid(matrices, size))


def _read(images: np.ndarray, matrix: jax.Array) -> np.ndarray:
    return np.asarray(_grid_sampled(images, matrix))


def digits(split: str) -> dict[str, np.ndarray]:
    """As images."""
    rows = data.load("digits").splits[split]
    return {"x": rows["x"].reshape(-1, *SHAPE), "y": rows["y"]}


@functools.cache
def trained(model: Model, sample: Sample, seed: int, steps: int) -> TrainState:
    """On the digits; several experiments ask for the same."""
    rate = schedules.cosine(3e-3, steps)
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(rate))
    return training.fit(algorithm, digits("train"), sample, key=key(seed), steps=steps).state


Move = Callable[[np.ndarray, float], np.ndarray]


def _accuracies(
    model: Model, state: TrainState, move: Move, amounts: Sequence[float]
) -> list[float]:
    """On the test's digits, moved by each amount."""
    test, measure = digits("test"), {"accuracy": metrics.accuracy}
    views = ({"x": move(test["x"], amount), "y": test["y"]} for amount in amounts)
    return [training.evaluate(model, state, view, measure)["accuracy"] for view in views]


def rotation(effort: Effort = "quick") -> Finding:
    """A convolutional network on turned digits, trained without and with turned ones."""
    return _moved(
        effort, "rotation", turned, [0, 15, 30, 45, 60], 45, TURNING,
        question="Does a convolutional network know a digit that is turned?",
        said="Turned by 45 degrees", unit="{:g}°", xlabel="angle, degrees",
    )  # fmt: skip


def translation(effort: Effort = "quick") -> Finding:
    """The same on digits shifted to the side."""
    return _moved(
        effort, "translation", shifted, [0, 0.5, 1, 1.5, 2], 2, SHIFTING,
        question="Does a convolutional network know a digit that is shifted?",
        said="Shifted by 2 of 8 pixels", unit="{:g} px", xlabel="shift to the right, pixels",
    )  # fmt: skip


def scale(effort: Effort = "quick") -> Finding:
    """The same on digits enlarged and reduced."""
    return _moved(
        effort, "scale", scaled, [1, 0.6, 0.7, 0.8, 1.2, 1.4, 1.6], 0.6, SHIFTING,
        question="Does a convolutional network know a digit of another size?",
        said="Reduced to 0.6 of their size", unit="× {:g}", xlabel="factor",
    )  # fmt: skip


def _moved(
    effort: Effort,
    name: str,
    move: Move,
    amounts: list[float],
    far: float,
    sample: Sample,
    *,
    question: str,
    said: str,
    unit: str,
    xlabel: str,
) -> Finding:
    """Networks trained on the digits as they are, and moved, on a test moved by several amounts.

    The first amount moves nothing.
    """
    steps = QUICK_STEPS if effort == "quick" else 5000
    accuracy = {
        name: _accuracies(PLAIN, trained(PLAIN, own, 0, steps), move, amounts)
        for name, own in (("plain", sampling.epochs(64)), ("augmented", sample))
    }
    still = {name: values[0] for name, values in accuracy.items()}
    there = {name: values[amounts.index(far)] for name, values in accuracy.items()}
    order = np.argsort(amounts)
    figure = pictures.curves(
        {
            name: (np.sort(amounts), np.array(values)[order]) for name, values in accuracy.items()
        },
        "Accuracy against how far the digits were moved: that of the plain network falls steeply, "
        "that of the augmented one slowly.",
        style="o-", xlabel=xlabel, ylabel="test accuracy", ylim=(0, 1.02),
    )  # fmt: skip
    some = digits("test")["x"][:6]
    shown = [amounts[0], amounts[len(amounts) // 2], amounts[-1]]
    drawn = pictures.images(
        {unit.format(amount): list(move(some, amount)[..., 0]) for amount in shown},
        "Six digits as they are, and below them moved by two amounts.",
    )
    return Finding(
        name=name,
        question=question,
        verdict=f"{said}, the digits are named by the plain network with an accuracy of "
        f"{there['plain']:.1%}, where it has {still['plain']:.1%} as they are; trained with moved "
        f"digits it is {there['augmented']:.1%} and {still['augmented']:.1%}.",
        sections=[Section("Accuracy on moved digits", figures=[figure, drawn])],
        numbers={"amount": amounts, **accuracy},
        expected=f"{said[0].lower()}{said[1:]}, the plain network loses more than 20 points, and "
        "augmentation brings more than 20 back",
        holds=still["plain"] - there["plain"] > 0.2 and there["augmented"] - there["plain"] > 0.2,
    )


def spatial_transformer(effort: Effort = "quick") -> Finding:
    """Turned digits read as they are, by a network trained on turned ones, and turned back."""
    seeds, steps = (1, QUICK_STEPS) if effort == "quick" else (5, 5000)
    nets = {
        "plain": (PLAIN, sampling.epochs(64)),
        "augmented": (PLAIN, TURNING),
        "spatial transformer": (MOVING, TURNING),
    }
    angles = [-90, -60, -30, 0, 30, 60, 90]
    accuracy, sizes, states = {}, {}, {}
    for name, (model, sample) in nets.items():
        found = []
        for seed in range(seeds):
            states[name] = trained(model, sample, seed, steps)
            found.append(_accuracies(model, states[name], turned, angles))
        accuracy[name] = np.array(found)
        sizes[name] = sum(leaf.size for leaf in jax.tree.leaves(states[name].params))
    mean = {name: values.mean(0) for name, values in accuracy.items()}
    far = [angles.index(angle) for angle in (-60, 60)]
    at_60 = {name: values[:, far].mean(1) for name, values in accuracy.items()}
    gain = at_60["spatial transformer"] - at_60["augmented"]
    back = (at_60["augmented"] - at_60["plain"]).min()
    better = "more" if gain.mean() > 0 else "less"
    figures = [
        pictures.curves(
            {name: (angles, values) for name, values in mean.items()},
            "Accuracy against the angle: that of the plain network falls on both sides, those of "
            "the two others stay high.",
            style="o-", xlabel="angle, degrees", ylabel="test accuracy", ylim=(0, 1.02),
        ),
        _looks(states["spatial transformer"]),
    ]  # fmt: skip
    table = Table(
        ("network", "parameters", "upright", "turned by ±60°", "each seed at ±60°"),
        [
            (
                name, f"{sizes[name]:,}", f"{mean[name][angles.index(0)]:.1%}",
                f"{at_60[name].mean():.1%}", ", ".join(f"{a:.1%}" for a in at_60[name]),
            )
            for name in nets
        ],
    )  # fmt: skip
    return Finding(
        name="spatial-transformer",
        question="Can a network learn to turn its input back?",
        verdict=f"At ±60 degrees the plain network has {at_60['plain'].mean():.1%}, the augmented "
        f"one {at_60['augmented'].mean():.1%} and the spatial transformer "
        f"{at_60['spatial transformer'].mean():.1%}, {abs(gain.mean()) * 100:.1f} points {better} "
        f"than augmentation alone over {counted(seeds, 'seed')}.",
        sections=[Section("Accuracy and angle", figures=figures, table=table)],
        numbers={
            "angle": angles, "parameters": sizes,
            "accuracy": {name: values.tolist() for name, values in accuracy.items()},
        },
        expected="at ±60 degrees training on turned digits brings back more than 20 points, with "
        "either network",
        holds=bool(back > 0.2 and (at_60["spatial transformer"] - at_60["plain"]).min() > 0.2),
    )  # fmt: skip


def _looks(state: TrainState) -> Figure:
    """The first digits as they come, and as the transformer hands them on."""
    unseen = Model(lambda key, x=None: ({}, {}), lambda params, state, x, **_: (x, state))  # noqa: ARG005
    moved = nn.spatial_transformer(unseen, SHAPE, transform="rotation", channels=(8,))
    params = state.params | {"model": {}}
    rows = {}
    for angle in (-60, 0, 60):
        images = turned(digits("test")["x"][:8], angle)
        rows[f"{angle}°"] = list(images[..., 0])
        rows[f"{angle}°, moved"] = list(
            np.asarray(moved.apply(params, {"model": {}}, jnp.asarray(images))[0])[..., 0]
        )
    return pictures.images(
        rows,
        "Eight digits turned to the left, upright and turned to the right, below each row the same "
        "as the transformer hands them on.",
    )
