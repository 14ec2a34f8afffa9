"""Networks trained on a curve from many starts."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import training
from jaxml.core.seeds import key
from jaxml.core.types import Model
from jaxml.training import losses, optimizers, sampling, schedules


def fit_curve(
    model: Model,
    x: np.ndarray,
    y: np.ndarray,
    *,
    seeds: int,
    steps: int,
    rates: Sequence[float] = (1e-3, 3e-3, 1e-2, 3e-2),
) -> tuple[np.ndarray, np.ndarray]:
    """Train on all points with Adam, at several rates, each from several starts, in one program.

    Args:
        model: from one number to one number.
        x: shape `(points,)`.
        y: likewise.
        seeds: starts of a rate.
        steps: updates of each.
        rates: at first; they fall to 0 as a cosine.

    Returns:
        The root mean square errors of the starts at the rate where their mean is least, shape
        `(seeds,)`; and the values of the best of them, as `y`.
    """
    rows = {"x": x[:, None].astype(np.float32), "y": y[:, None].astype(np.float32)}

    def algorithm(learning_rate):
        rate = schedules.cosine(learning_rate, steps)
        return training.supervised(model, losses.mse, optimizers.adam(rate))

    run = training.fit_many(
        algorithm, rows, sampling.full(), steps=steps,
        keys=jnp.tile(jax.random.split(key(0), seeds), len(rates)),
        hyperparameters={"learning_rate": np.repeat(rates, seeds)},
    )  # fmt: skip
    values = np.asarray(jax.vmap(lambda p: model.apply(p, {}, rows["x"])[0])(run.state.params))
    errors = np.sqrt(((values[..., 0] - y) ** 2).mean(1)).reshape(-1, seeds)
    best = int(errors.mean(1).argmin())
    return errors[best], values[best * seeds + int(errors[best].argmin()), :, 0]
