"""A learning rate from one short run in which it grows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml.core.checks import require, require_positive_int
from jaxml.core.drawing import BLUE, GREEN, ORANGE, legend
from jaxml.core.finding import Figure, Finding, Section, finding
from jaxml.core.result import Result
from jaxml.core.types import Algorithm
from jaxml.training.loop import Sample, fit_many


@dataclasses.dataclass(frozen=True, eq=False)
class LearningRates(Result):
    """What the loss did while the learning rate grew.

    Attributes:
        rates: of each step, ascending.
        losses: before each step, at the batch it saw.
        smoothed: their moving average, without its bias towards the start.
        steepest: the rate at which the smoothed loss fell most steeply along log rate.
        lowest: the rate at which it was lowest.
        diverged: the first rate above that at which it was higher than at the start, or not
            finite; `None` if there is none.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    steepest: float
    lowest: float
    diverged: float | None


def find_learning_rate(
    make: Callable[[optax.Schedule], Algorithm],
    data: Any = None,
    sample: Sample | None = None,
    *,
    key: jax.Array,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 200,
    smoothing: float = 0.9,
) -> LearningRates:
    """Train while the learning rate grows by the same factor at every step.

    The rate of steepest descent is a fair peak for a schedule; a constant rate is better taken
    somewhat below it.

    Args:
        make: learning rate, a schedule -> an algorithm with the metric `"loss"`:
            `lambda rate: supervised(model, loss, optax.adam(rate))`.
        data: as in `fit`.
        sample: likewise.
        key: likewise.
        low: the first rate.
        high: the last.
        steps: how many.
        smoothing: the share of the average so far in the next, in [0, 1).

    Raises:
        ValueError: as `fit`; for rates that are not ascending; if the algorithm has no loss, or
            one that is not finite at the start.

    Reference:
        Smith 2017, "Cyclical learning rates for training neural networks" (arXiv:1506.01186),
        section 3.3; the rate grows exponentially, as in most of its descendants.

    Example:
        >>> from jaxml import data, nn, training
        >>> from jaxml.training import losses, sampling
        >>> digits, model = data.load("digits"), nn.mlp([64, 16, 10])
        >>> make = lambda rate: training.supervised(
        ...     model, losses.softmax_cross_entropy, optax.adam(rate)
        ... )
        >>> key = jax.random.key(0)
        >>> found = find_learning_rate(make, digits.train, sampling.epochs(64), key=key)
        >>> 1e-3 < found.steepest < found.lowest < 1
        True
    """
    require(callable(make), "a function of the learning rate", type(make).__name__)
    require(0 < low < high < float("inf"), "rates 0 < low < high", f"{low} and {high}")
    require(0 <= smoothing < 1, "smoothing in [0, 1)", smoothing)
    steps = require_positive_int("steps", steps)
    require(steps >= 3, "at least 3 steps", steps)
    growth = (high / low) ** (1 / (steps - 1))

    def schedule(count):
        return jnp.float32(low) * jnp.float32(growth) ** count

    algorithm = make(schedule)
    require(isinstance(algorithm, Algorithm), "a function that returns an Algorithm", algorithm)
    # a lane may diverge
    run = fit_many(algorithm, data, sample, keys=key[None], steps=steps, chunk=steps)
    require("loss" in run.history, "an algorithm with the metric 'loss'", sorted(run.history))
    losses = run.history["loss"][0].astype(float)
    require(np.isfinite(losses[0]), "a finite loss at the start", losses[0])
    rates = low * growth ** np.arange(steps)
    smoothed, mean = np.full(steps, np.inf), 0.0
    for i, loss in enumerate(losses):
        if not np.isfinite(loss):
            break
        mean = smoothing * mean + (1 - smoothing) * loss
        smoothed[i] = mean / (1 - smoothing ** (i + 1))
    best = int(np.argmin(smoothed))
    falls = np.diff(smoothed[: best + 1])
    above = np.flatnonzero(smoothed[best:] > smoothed[0])
    return LearningRates(
        rates,
        losses,
        smoothed,
        steepest=float(rates[np.argmin(falls)] if len(falls) else rates[0]),
        lowest=float(rates[best]),
        diverged=float(rates[best + above[0]]) if len(above) else None,
    )


@finding.register
def _(result: LearningRates) -> Finding:
    verdict = f"take about {result.steepest:.2g}, where the loss fell most steeply"
    if result.lowest == result.rates[0]:
        verdict = "no rate lowered the loss: begin lower"
    elif result.lowest == result.rates[-1]:
        verdict += "; it was still falling at the last rate: go higher"
    diverged = "none" if result.diverged is None else f"{result.diverged:.3g}"
    return Finding(
        name="learning rate",
        question="Which learning rate?",
        verdict=verdict,
        tiles={
            "steepest descent": f"{result.steepest:.3g}",
            "lowest loss": f"{result.lowest:.3g}",
            "above the start": diverged,
        },
        sections=[Section("The loss while the rate grows", figures=[_picture(result)])],
        numbers=vars(result),
        records={"rate": result.rates, "loss": result.losses, "smoothed": result.smoothed},
    )


def _picture(result: LearningRates) -> Figure:
    known = np.isfinite(result.smoothed)
    start, least = result.smoothed[0], result.smoothed.min()

    def draw(ax: Any) -> None:
        ax.plot(result.rates, result.losses, ".", color=BLUE, ms=3, alpha=0.4, label="batches")
        ax.plot(result.rates[known], result.smoothed[known], color=ORANGE, label="smoothed")
        ax.axvline(result.steepest, ls="--", color=GREEN, label="steepest descent")
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
        margin = 0.1 * max(start - least, 1e-12)
        ax.set_ylim(least - margin, start + 3 * margin)  # what diverges leaves the picture
        legend(ax)

    alt = f"The loss from {start:.3g} down to {least:.3g} at a rate of {result.lowest:.2g}, "
    alt += "then up." if result.diverged is not None else "the last rates included."
    return Figure(draw, alt)
