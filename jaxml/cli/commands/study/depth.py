"""`jaxml study depth`."""

import dataclasses
from typing import Annotated

from jaxml import nn, studies
from jaxml.cli.commands.study.common import BATCH, Advance, Problem, Study, study
from jaxml.cli.options import COUNT, COUNTS, FLAT, NUMBERS, POSITIVE, Config, log_spaced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Depth(Study):
    """The options."""

    activation: str | None = None
    """Of the hidden layers (relu)."""
    rates: Annotated[tuple[float, ...], NUMBERS] = log_spaced(0.01, 1, 5)
    """η: LOW:HIGH:COUNT, or a list."""
    seeds: Annotated[int, COUNT] = 3
    """How many."""
    epochs: Annotated[float, POSITIVE] = 40.0
    """Budget of a network."""
    parameters: Annotated[int, COUNT] = 5000
    """Of a network."""
    depths: Annotated[tuple[int, ...], COUNTS] = (1, 2, 4, 8)
    """Hidden layers, as 1,2,4."""


def depth(*, settings: Annotated[Depth, FLAT] = Depth(), config: Config = None) -> None:
    """Deep or wide, at one number of parameters?

    Args:
        settings: of the study.
        config: a .toml file with some of these options, or the config.json of a study.
    """
    study("depth", settings, build)


def build(settings: Depth, problem: Problem, advance: Advance) -> studies.DepthStudy:
    """Networks of several depths and `--parameters`."""
    activation = settings.activation or "relu"
    lanes = studies.grid([BATCH], list(settings.rates), seeds=settings.seeds)
    found = []
    for i, count in enumerate(settings.depths):
        found += studies.depths(
            lambda widths: problem.task(nn.mlp(widths, activation=activation), settings.l2),
            problem.splits["train"],
            problem.splits["validation"],
            lanes,
            inputs=problem.shape[0],
            outputs=problem.targets.outputs,
            size=settings.parameters,
            depth=[count],
            epochs=settings.epochs,
        )
        advance((i + 1) / len(settings.depths), f"{count} layers")
    return studies.DepthStudy(found, {k: _pieces(k) for k in range(1, 11)})


def _pieces(layers: int) -> int:
    model, params = nn.mlp([1, *[2] * layers, 1]), studies.tents(layers)
    return studies.linear_pieces(lambda x: model.apply(params, {}, x[None, None])[0][0, 0])
