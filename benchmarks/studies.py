"""A batch-size study: all lanes at once, against one training after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
import optax
import torch

from benchmarks import peers
from benchmarks.tables import OURS, Row, compare
from benchmarks.timing import Contestant, contestant
from jaxml import data, nn, studies, training
from jaxml.training import losses, metrics, sampling

SIZES = (8, 32, 112, 448, 896)
RATES = np.geomspace(1e-3, 1.0, 12)
MOMENTA = (0.0, 0.9)
SEEDS = 3
EPOCHS = 40
WIDTHS = [64, 32, 10]


def throughput(rounds: int) -> Iterator[Row]:
    """Configurations a second of 360 trainings of 40 epochs on the digits.

    Ours measures the validation set whenever the examples seen have doubled, the others nothing.
    PyTorch trains one network of each batch size and its seconds are multiplied, since every
    configuration takes the same.
    """
    digits = data.load("digits")
    rows, count = digits.train, len(digits.train["x"])
    lanes = studies.grid(SIZES, RATES, optimizers=["momentum"], momenta=MOMENTA, seeds=SEEDS)
    each = len(lanes) // len(SIZES)
    updates = {size: EPOCHS * count // size for size in SIZES}

    def ours() -> Contestant:
        task = studies.task(nn.mlp(WIDTHS), losses.softmax_cross_entropy, {"error": metrics.error})

        def study() -> studies.Study:
            assert digits.validation is not None
            return studies.batch_size(
                task, rows, lanes, splits={"validation": digits.validation}, epochs=EPOCHS,
                resolution=1.0, noise=False,
            )  # fmt: skip

        first = study()
        return Contestant(lambda: study().seconds["run"], first.seconds["compile"])

    def by_torch(compiled: bool) -> Callable[[], Contestant]:
        def make() -> Contestant:
            runs = [
                peers.training(
                    lambda: peers.mlp(WIDTHS), rows["x"], rows["y"],
                    batch_size=size, steps=updates[size], compiled=compiled,
                    optimizer=lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9),
                )
                for size in SIZES
            ]  # fmt: skip
            return contestant(lambda: each * float(np.sum([run() for run in runs])))

        return make

    def vmapped() -> Contestant:
        """`fit_many`, a program for each batch size."""
        model = nn.mlp(WIDTHS)

        def algorithm(learning_rate, momentum):
            optimizer = optax.sgd(learning_rate, momentum=momentum)
            return training.supervised(model, losses.softmax_cross_entropy, optimizer)

        grid = [a.ravel() for a in np.meshgrid(RATES, MOMENTA, np.arange(SEEDS))]
        keys = jax.vmap(jax.random.key)(grid[2].astype(np.uint32))

        def run() -> float:
            began = time.perf_counter()
            for size in SIZES:
                training.fit_many(
                    algorithm, rows, sampling.epochs(size), keys=keys, steps=updates[size],
                    hyperparameters={"learning_rate": grid[0], "momentum": grid[1]},
                    chunk=updates[size],
                )  # fmt: skip
            return time.perf_counter() - began

        return contestant(run)

    yield compare(
        f"digits, a study of {len(lanes)} lanes: configurations a second",
        {
            OURS: ours(),
            "PyTorch": by_torch(compiled=False),
            "PyTorch compiled": by_torch(compiled=True),
            "vmap at one batch size each": vmapped,
        },
        rounds=rounds,
        per_run=len(lanes),
        expected=25.0,
    )
