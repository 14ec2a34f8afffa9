"""`jaxml study edge`."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from jaxml import studies
from jaxml.cli.commands.study.common import Advance, OfNetwork, Problem, study
from jaxml.cli.options import COUNT, COUNTS, FLAT, FRACTION, NUMBERS, Config, names
from jaxml.core.types import Batch
from jaxml.training.losses import mse, softmax_cross_entropy

# at which the digits get to the edge
_RATES = {
    "sgd": [0.4, 0.8],
    "momentum": [0.5, 0.8],
    "nesterov": [0.2, 0.4],
    "adam": [0.005, 0.01],
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Edge(OfNetwork):
    """The options."""

    hidden: Annotated[tuple[int, ...] | None, COUNTS] = (32,)
    """Widths of hidden dense layers, as 64,32."""
    activation: str | None = "tanh"
    """Of the hidden layers."""
    rates: Annotated[tuple[float, ...] | None, NUMBERS] = None
    """η: LOW:HIGH:COUNT, or a list (by optimiser)."""
    optimizers: Annotated[tuple[str, ...], names(studies.EDGES)] = tuple(studies.EDGES)
    """Some of sgd, momentum, nesterov, adam."""
    momentum: Annotated[float, FRACTION] = 0.9
    """β, or Adam's β₁."""
    steps: Annotated[int, COUNT] = 2000
    """Updates of a network."""


def edge(*, settings: Annotated[Edge, FLAT] = Edge(), config: Config = None) -> None:
    """How sharp does full-batch training get?

    Args:
        settings: of the study.
        config: a .toml file with some of these options, or the config.json of a study.
    """
    study("edge", settings, build, regression=True)


def build(settings: Edge, problem: Problem, advance: Advance) -> studies.EdgeStudy:
    """Full-batch training with each optimiser, under the squared error and cross-entropy.

    A regression has the squared error alone.
    """
    rows = problem.splits["train"]
    # the mean of the inputs alone would make the surface steep
    rows = rows | {"x": rows["x"] - rows["x"].mean(0)}
    model = problem.network(settings)
    losses = _REGRESSION if problem.targets.classes is None else _CLASSIFICATION
    ways = [
        (loss, name, rate)
        for loss in losses
        for name in settings.optimizers
        for rate in settings.rates or _RATES[name]
    ]
    found: dict[str, list[studies.Sharpening]] = {loss: [] for loss in losses}
    for i, (loss, name, rate) in enumerate(ways):
        found[loss].append(
            studies.sharpening(
                model,
                losses[loss],
                rows,
                optimizer=name,
                learning_rate=rate,
                momentum=settings.momentum,
                steps=settings.steps,
                every=max(1, settings.steps // 100),
                l2=settings.l2,
                on_chunk=lambda done, of, i=i, name=name, rate=rate: advance(
                    (i + done / of) / len(ways), f"{name}, η = {rate:g}"
                ),
            )
        )
    return studies.EdgeStudy(found)


def _half_squared_error(outputs: jax.Array, batch: Batch) -> jax.Array:
    kinds = jnp.arange(outputs.shape[-1])
    return 0.5 * ((outputs - (batch["y"][:, None] == kinds)) ** 2).sum(-1)


_REGRESSION = {"squared error": mse}
_CLASSIFICATION = {"squared error": _half_squared_error, "cross-entropy": softmax_cross_entropy}
