"""How sharp a loss is at first, and which learning rates a network survives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    algorithm: Callable[[str, optax.Schedule], Algorithm],
    ways: Mapping[str, tuple[str, float]],
    rows: Any,
    sample: Sample,
    *,
    rates: Sequence[float],
    seeds: int,
    steps: int,
) -> dict[str, np.ndarray]:
    """The mean loss of the last tenth.

    Args:
        algorithm: of a network, by its name, and a schedule.
        ways: name -> the network, and the share of the steps that warm it up.
        rows: to train on.
        sample: likewise.
        rates: the schedules' largest.
        seeds: of each.
        steps: of each.

    Returns:
        For each of the ways, shape `(rates, seeds)`.
    """
    found = {}
    for network in dict.fromkeys(network for network, _ in ways.values()):
        own = {name: share for name, (of, share) in ways.items() if of == network}
        share, rate, seed = (
            grid.ravel()
            for grid in np.meshgrid([*own.values()], rates, np.arange(seeds), indexing="ij")
        )
        run = training.fit_many(
            lambda rate, share, of=network: algorithm(of, warmed(rate, share, steps)),
            rows, sample, keys=jnp.stack([key(s) for s in seed.tolist()]),
            hyperparameters={"rate": rate, "share": share}, steps=steps,
        )  # fmt: skip
        late = np.asarray(run.history["loss"])[:, -steps // 10 :].mean(1)
        found |= dict(zip(own, late.reshape(len(own), len(rates), seeds), strict=True))
    return found


def sharpness(algorithm: Algorithm, rows: Any, seeds: int) -> list[float]:
    """λ_max of the loss at initialisation."""
    found = []
    for seed in range(seeds):
        state = algorithm.init(key(seed))
        loss = training.full_loss(algorithm, state, rows)
        pairs = landscape.eigenpairs(landscape.hessian(loss, state.params), top=1)
        found.append(float(pairs.values[-1]))
    return found
