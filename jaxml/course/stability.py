"""How sharp a loss is at first, and which learning rates a network survives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from jaxml import landscape, training
from jaxml.core.seeds import key
from jaxml.core.types import Algorithm
from jaxml.training.loop import Sample


def warmed(rate: Any, share: Any, steps: int) -> optax.Schedule:
    """From η/(share · steps) up to η in a straight line over this share of the steps."""
    return lambda step: rate * jnp.minimum(1.0, (step + 1) / jnp.maximum(share * steps, 1))


def late_losses(
    algorithm: Callable[[optax.Schedule], Algorithm],
    rows: Any,
    sample: Sample,
    *,
    rates: Sequence[float],
    shares: Sequence[float],
    seeds: int,
    steps: int,
) -> np.ndarray:
    """The mean loss of the last tenth, shape `(shares, rates, seeds)`."""
    share, rate, seed = (
        grid.ravel() for grid in np.meshgrid(shares, rates, np.arange(seeds), indexing="ij")
    )
    run = training.fit_many(
        lambda rate, share: algorithm(warmed(rate, share, steps)),
        rows, sample, keys=jnp.stack([key(s) for s in seed.tolist()]),
        hyperparameters={"rate": rate, "share": share}, steps=steps,
    )  # fmt: skip
    late = np.asarray(run.history["loss"])[:, -steps // 10 :].mean(1)
    return late.reshape(len(shares), len(rates), seeds)


def sharpness(algorithm: Algorithm, rows: Any, seeds: int) -> list[float]:
    """λ_max of the loss at initialisation."""
    found = []
    for seed in range(seeds):
        state = algorithm.init(key(seed))
        loss = training.full_loss(algorithm, state, rows)
        pairs = landscape.eigenpairs(landscape.hessian(loss, state.params), top=1)
        found.append(float(pairs.values[-1]))
    return found
