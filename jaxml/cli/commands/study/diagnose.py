"""`jaxml study diagnose`."""

import dataclasses
from typing import Annotated

from jaxml import nn, studies
from jaxml.cli.commands.study.common import BATCH, Advance, Problem, Study, study
from jaxml.cli.options import COUNTS, FLAT, FRACTION, NUMBERS, POSITIVE, Config, log_spaced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnose(Study):
    """The options."""

    hidden: Annotated[tuple[int, ...], COUNTS] = (64,)
    """Widths of hidden layers, as 64,32."""
    activation: str | None = None
    """Of the hidden layers (relu)."""
    norm: str | None = None
    """batch or layer (none)."""
    dropout: Annotated[float | None, FRACTION] = None
    """Probability of a hidden value's loss (0)."""
    rates: Annotated[tuple[float, ...], NUMBERS] = log_spaced(0.01, 1, 5)
    """η: LOW:HIGH:COUNT, or a list."""
    epochs: Annotated[float, POSITIVE] = 40.0
    """Budget of a network."""
    acceptable: Annotated[float, FRACTION] = 0.05
    """Error in training."""


def diagnose(*, settings: Annotated[Diagnose, FLAT] = Diagnose(), config: Config = None) -> None:
    """What is wrong with this network, the model or its training?

    Args:
        settings: of the study.
        config: a .toml file with some of these options, or the config.json of a study.
    """
    study("diagnose", settings, build)


def build(settings: Diagnose, problem: Problem, advance: Advance) -> studies.DiagnosisStudy:
    """The network, and those with fewer of its hidden layers."""
    hidden = settings.hidden

    def of(layers: tuple[int, ...]) -> studies.Task:
        options = {name: getattr(settings, name) for name in ("activation", "norm", "dropout")}
        given = {name: value for name, value in options.items() if value is not None}
        widths = [*problem.shape, *layers, problem.targets.outputs]
        return problem.task(nn.mlp(widths, **given), settings.l2)

    counts = sorted({1, len(hidden) // 2} & set(range(1, len(hidden))))
    smaller = {f"{count} hidden layer{'s'[: count > 1]}": of(hidden[:count]) for count in counts}
    lanes = studies.grid([BATCH], list(settings.rates), seeds=1)
    advance(0.1, "training")
    return studies.diagnose_networks(
        of(hidden),
        smaller,
        problem.splits["train"],
        lanes,
        splits={name: split for name, split in problem.splits.items() if name != "train"},
        acceptable=settings.acceptable,
        epochs=settings.epochs,
    )
