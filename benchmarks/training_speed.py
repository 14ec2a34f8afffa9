"""Steps a second of an mlp and a cnn on Fashion-MNIST, and many seeds at once on digits."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import linen

from benchmarks import peers
from benchmarks.tables import Row, compare
from benchmarks.timing import Contestant, contestant
from jaxml import data, nn, training
from jaxml.core.types import Algorithm
from jaxml.training import losses, optimizers, sampling

LEARNING_RATE = 1e-3
EXPECTED = {"mlp": {32: 2.0, 512: 1.2}, "cnn": {128: 1.2}}


class _Clock:
    """A hook that knows the seconds between the first chunk and the last."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, chunk: training.Chunk) -> None:  # noqa: ARG002
        self.times.append(time.perf_counter())


def fitting(
    algorithm: Algorithm, split: Any, batch_size: int, steps: int, seeds: int | None = None
) -> Contestant:
    """Training from one seed, or from several at once; its `run` times the second half."""
    key = jax.random.key(0)
    fit = functools.partial(training.fit, key=key)
    if seeds is not None:
        fit = functools.partial(training.fit_many, keys=jax.random.split(key, seeds))

    def run() -> float:
        clock = _Clock()
        sample = sampling.epochs(batch_size)
        fit(algorithm, split, sample, steps=2 * steps, chunk=steps, hooks=[clock])
        return clock.times[1] - clock.times[0]

    return contestant(run)


def _flops(model: nn.Model, batch_size: int) -> int:
    """Of one training step: every product thrice, but for the gradient of the first one's input."""
    rows = [row.flops for row in nn.summary(model).rows if row.flops]
    return batch_size * (3 * sum(rows) - rows[0])


def steps_per_second(rounds: int) -> Iterator[Row]:
    """Jaxml against PyTorch, eager and compiled, at three batch sizes."""
    dataset = data.load("fashion_mnist")
    images, labels = dataset.train["x"], dataset.train["y"]
    flat = images.reshape(len(images), -1)
    cases = {
        "mlp": (nn.mlp([784, 128, 10]), lambda: peers.mlp([784, 128, 10]), flat, 64_000),
        "cnn": (nn.cnn((28, 28, 1), 10), peers.cnn, images, 1_280),
    }
    for name, (model, peer, x, examples) in cases.items():
        optimizer = optimizers.adam(LEARNING_RATE)
        algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizer)
        for batch_size in (32, 128, 512):
            steps = max(3, examples // batch_size)
            torch_run = {"batch_size": batch_size, "steps": steps}
            yield compare(
                f"{name}, batch {batch_size}: steps a second",
                {
                    "jaxml": fitting(algorithm, {"x": x, "y": labels}, batch_size, steps),
                    "PyTorch": contestant(peers.training(peer, x, labels, **torch_run)),
                    "PyTorch compiled": lambda p=peer, x=x, t=torch_run: contestant(
                        peers.training(p, x, labels, compiled=True, **t)
                    ),
                },
                rounds=rounds,
                per_run=steps,
                flops=steps * _flops(model, batch_size),
                expected=EXPECTED[name].get(batch_size),
            )


class _LinensOwn(linen.Module):
    """`nn.cnn((28, 28, 1), 10)` by Linen's convolution and pooling."""

    @linen.compact
    def __call__(self, x: Any) -> jax.Array:
        for channels in (32, 64):
            x = linen.relu(linen.Conv(channels, (3, 3))(x))
            x = linen.max_pool(x, (2, 2), strides=(2, 2))
        x = linen.relu(linen.Dense(128)(x.reshape(len(x), -1)))
        return linen.Dense(10)(x)


def convolutions(rounds: int) -> Iterator[Row]:
    """The convolution and pooling of `nn` against Linen's, inside the compiled loop."""
    train = data.load("fashion_mnist").train
    optimizer = optimizers.adam(LEARNING_RATE)
    batch_size, steps = 128, 2
    ours, theirs = (
        fitting(
            training.supervised(model, losses.softmax_cross_entropy, optimizer),
            train,
            batch_size,
            steps,
        )
        for model in (nn.cnn((28, 28, 1), 10), nn.from_linen(_LinensOwn(), train["x"][:1]))
    )
    yield compare(
        f"cnn, batch {batch_size}, inside lax.scan: steps a second",
        {"jaxml": ours, "flax.linen": theirs},
        rounds=rounds,
        per_run=steps,
    )


def sixteen_seeds(rounds: int) -> Iterator[Row]:
    """16 trainings on digits: at once, one after another, and by PyTorch one after another."""
    seeds, batch_size, steps = 16, 32, 200
    train = data.load("digits").train
    model = nn.mlp([64, 32, 10])
    optimizer = optimizers.adam(LEARNING_RATE)
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizer)
    single = fitting(algorithm, train, batch_size, steps)
    by_torch = [
        peers.training(
            lambda: peers.mlp([64, 32, 10]),
            train["x"],
            train["y"],
            batch_size=batch_size,
            steps=steps,
        )
        for _ in range(seeds)
    ]
    yield compare(
        "digits, 16 seeds: trainings a second",
        {
            "jaxml": fitting(algorithm, train, batch_size, steps, seeds),
            "PyTorch": contestant(lambda: float(np.sum([run() for run in by_torch]))),
            "jaxml one by one": Contestant(
                lambda: float(np.sum([single.run() for _ in range(seeds)])), single.compile_seconds
            ),
        },
        rounds=rounds,
        per_run=seeds,
        flops=seeds * steps * _flops(model, batch_size),
        expected=8.0,
    )
