"""Digits that are turned, and networks that turn them back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, nn, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.types import Model
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import augmentation, losses, metrics, optimizers, sampling, schedules


def turned(images: np.ndarray, degrees: float) -> np.ndarray:
    """Images `(N, H, W, 1)` about their centres, bilinearly, zeros at the edge."""
    size = images.shape[1], images.shape[2]
    matrices = nn.rotations(jnp.full(len(images), -np.deg2rad(degrees)), size)
    return np.asarray(nn.grid_sample(jnp.asarray(images), nn.affine_grid(matrices, size)))


def rotation(effort: Effort = "quick") -> Finding:
    """A convolutional network on turned digits, trained without and with turned ones."""
    digits = data.load("digits").splits
    steps = 400 if effort == "quick" else 5000
    rows = digits["train"] | {"x": digits["train"]["x"].reshape(-1, 8, 8, 1)}
    test = digits["test"]["x"].reshape(-1, 8, 8, 1)
    model = nn.cnn((8, 8, 1), 10, channels=(8, 16), hidden=(32,))
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(3e-3))
    samples = {
        "plain": sampling.epochs(64),
        "augmented": augmentation.augmented(sampling.epochs(64), augmentation.rotation(60)),
    }
    angles, accuracy = [0, 15, 30, 45, 60], {}
    for name, sample in samples.items():
        state = training.fit(algorithm, rows, sample, key=key(0), steps=steps).state
        accuracy[name] = [
            training.evaluate(
                model, state, {"x": turned(test, angle), "y": digits["test"]["y"]},
                {"accuracy": metrics.accuracy},
            )["accuracy"]
            for angle in angles
        ]  # fmt: skip
    plain, augmented = accuracy["plain"], accuracy["augmented"]
    holds = plain[0] - plain[3] > 0.2 and augmented[3] - plain[3] > 0.2
    figure = pictures.curves(
        {name: (angles, values) for name, values in accuracy.items()},
        "Accuracy against the angle: that of the plain network falls steeply, that of the "
        "augmented one slowly.",
        style="o-", xlabel="angle, degrees", ylabel="test accuracy", ylim=(0, 1.02),
    )  # fmt: skip
    samples_drawn = pictures.images(
        {f"{angle}°": list(turned(test[:6], angle)[..., 0]) for angle in angles[::2]},
        "Six digits, upright, and turned by 30 and 60 degrees.",
    )
    return Finding(
        name="rotation",
        question="Does a convolutional network know a digit that is turned?",
        verdict=f"Turned by 45 degrees the accuracy falls from {plain[0]:.1%} to {plain[3]:.1%}; "
        f"trained with turned digits it is {augmented[0]:.1%} and {augmented[3]:.1%}.",
        sections=[Section("Accuracy and angle", figures=[figure, samples_drawn])],
        numbers={"angle": angles, **accuracy},
        expected="at 45 degrees the plain network loses more than 20 points, and augmentation "
        "brings more than 20 back",
        holds=bool(holds),
    )


def spatial_transformer(effort: Effort = "quick") -> Finding:
    """Turned digits read as they are, by a network trained on turned ones, and turned back."""
    digits = data.load("digits").splits
    seeds, steps = (1, 300) if effort == "quick" else (5, 5000)
    rows = digits["train"] | {"x": digits["train"]["x"].reshape(-1, 8, 8, 1)}
    test = digits["test"]["x"].reshape(-1, 8, 8, 1)
    shape = (8, 8, 1)
    plain = nn.cnn(shape, 10, channels=(8, 16), hidden=(32,))
    moving = nn.spatial_transformer(plain, shape, transform="rotation", channels=(8,))
    turning = augmentation.augmented(sampling.epochs(64), augmentation.rotation(90))
    nets = {
        "plain": (plain, sampling.epochs(64)),
        "augmented": (plain, turning),
        "spatial transformer": (moving, turning),
    }
    angles = [-90, -60, -30, 0, 30, 60, 90]
    views = {angle: {"x": turned(test, angle), "y": digits["test"]["y"]} for angle in angles}
    accuracy, sizes, states = {}, {}, {}
    for name, (model, sample) in nets.items():
        rate = schedules.cosine(3e-3, steps)
        algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(rate))
        found = []
        for seed in range(seeds):
            state = training.fit(algorithm, rows, sample, key=key(seed), steps=steps).state
            states[name] = state
            found.append(
                [
                    training.evaluate(model, state, view, {"accuracy": metrics.accuracy})[
                        "accuracy"
                    ]
                    for view in views.values()
                ]
            )
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
        _looks(states["spatial transformer"], views, shape),
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
        f"than augmentation alone over {seeds} seed{'s' * (seeds > 1)}.",
        sections=[Section("Accuracy and angle", figures=figures, table=table)],
        numbers={
            "angle": angles, "parameters": sizes,
            "accuracy": {name: values.tolist() for name, values in accuracy.items()},
        },
        expected="at ±60 degrees training on turned digits brings back more than 20 points, with "
        "either network",
        holds=bool(back > 0.2 and (at_60["spatial transformer"] - at_60["plain"]).min() > 0.2),
    )  # fmt: skip


def _looks(state: Any, views: Any, shape: tuple[int, ...]) -> Figure:
    """The first digits as they come, and as the transformer hands them on."""
    unseen = Model(lambda key, x=None: ({}, {}), lambda params, state, x, **_: (x, state))  # noqa: ARG005
    moved = nn.spatial_transformer(unseen, shape, transform="rotation", channels=(8,))
    params = state.params | {"model": {}}
    rows = {}
    for angle in (-60, 0, 60):
        images = jnp.asarray(views[angle]["x"][:8])
        rows[f"{angle}°"] = list(np.asarray(images)[..., 0])
        rows[f"{angle}°, moved"] = list(
            np.asarray(moved.apply(params, {"model": {}}, images)[0])[..., 0]
        )
    return pictures.images(
        rows,
        "Eight digits turned to the left, upright and turned to the right, below each row the same "
        "as the transformer hands them on.",
    )
