"""`jaxml study normalization`."""

import dataclasses
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from jaxml import studies
from jaxml.cli.commands.study.common import (
    Advance,
    OfNetwork,
    Splits,
    ends,
    network,
    study,
    task_of,
)
from jaxml.cli.options import COUNTS, FLAT, NUMBERS, POSITIVE, Config, spread


@dataclasses.dataclass(frozen=True, kw_only=True)
class Normalization(OfNetwork):
    """The options."""

    hidden: Annotated[tuple[int, ...] | None, COUNTS] = (64, 64, 64, 64)
    """Widths of hidden dense layers, as 64,32."""
    norm: Annotated[str | None, Parameter(parse=False)] = None
    """What the study is about."""
    rates: Annotated[tuple[float, ...], NUMBERS] = spread(0.03, 10, 6)
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
    study("normalization", settings, build, said)


def build(settings: Normalization, splits: Splits, advance: Advance) -> studies.NormalizationStudy:
    """The same network with and without batch norm."""
    rows = splits["train"]
    shape, outputs = ends(rows)
    tasks = {}
    for name, norm in {"plain": None, "batch norm": "batch"}.items():
        chosen = dataclasses.replace(settings, norm=norm)
        tasks[name] = task_of(network(chosen, shape, outputs), settings.l2)
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


def said(found: studies.NormalizationStudy) -> list[str]:
    """What it comes to, in a few lines."""
    return [
        f"{name}, η = {rate:.3g}: loss {np.mean(seen.loss[-3:]):.4g}, median β "
        f"{np.median(seen.lipschitz):.4g}, λ_max "
        + ("not known" if np.isnan(top) else f"{top:.3g}")
        for name, ways in found.ways.items()
        for rate, seen, top in ways
    ]
