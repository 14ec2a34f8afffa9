"""`jaxml study normalization`."""

import dataclasses
from typing import Annotated

from cyclopts import Parameter

from jaxml import studies
from jaxml.cli.commands.study.common import (
    Advance,
    OfNetwork,
    Problem,
    study,
)
from jaxml.cli.options import COUNTS, FLAT, NUMBERS, POSITIVE, Config, log_spaced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalization(OfNetwork):
    """The options."""

    hidden: Annotated[tuple[int, ...] | None, COUNTS] = (64, 64, 64, 64)
    """Widths of hidden dense layers, as 64,32."""
    norm: Annotated[str | None, Parameter(parse=False)] = None
    """What the study is about."""
    rates: Annotated[tuple[float, ...], NUMBERS] = log_spaced(0.03, 10, 6)
    """η: LOW:HIGH:COUNT, or a list."""
    epochs: Annotated[float, POSITIVE] = 20.0
    """Budget of a network."""


def normalization(
    *, settings: Annotated[Normalization, FLAT] = Normalization(), config: Config = None
) -> None:
    """What does batch norm do?

    Args:
        settings: of the study.
        config: a .toml file with some of these options, or the config.json of a study.
    """
    study("normalization", settings, build, regression=True)


def build(
    settings: Normalization, problem: Problem, advance: Advance
) -> studies.NormalizationStudy:
    """The same network with and without batch norm."""
    rows = problem.splits["train"]
    tasks = {}
    for name, norm in {"plain": None, "batch norm": "batch"}.items():
        chosen = dataclasses.replace(settings, norm=norm)
        tasks[name] = problem.task(problem.network(chosen), settings.l2)
    size = min(100, len(rows["x"]))
    steps = max(20, int(settings.epochs * len(rows["x"]) / size))
    return studies.compare_normalization(
        tasks,
        rows,
        list(settings.rates),
        batch_size=size,
        steps=steps,
        every=max(1, steps // 50),
        on_progress=lambda done, of: advance(done / of, f"training {done} of {of}"),
    )
