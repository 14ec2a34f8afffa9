"""What the kinds of `jaxml study` share."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from cyclopts import Parameter
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxml import data, nn, report, studies
from jaxml.cli import networks, runs
from jaxml.cli.console import out
from jaxml.cli.datasets import load_dataset, told
from jaxml.cli.options import NONNEGATIVE, Data, DataName, Layers
from jaxml.cli.own_file import own_model
from jaxml.core.checks import near, require
from jaxml.core.files import to_json, write_atomically
from jaxml.core.types import Model

Splits = dict[str, dict[str, np.ndarray]]
Advance = Callable[[float, str], None]

BATCH = 32
"""The batch size of the studies that ask for none."""


def _known(_: Any, tokens: Any) -> str:
    name = tokens[-1].value
    if name.partition(":")[0].endswith(".py"):
        return str(Path(name).absolute())
    got = f"{name!r}{near(name, networks.MODELS)}"
    require(name in networks.MODELS, f"FILE.py:FUNCTION, or {', '.join(networks.MODELS)}", got)
    return name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(Data):
    """The options of every kind."""

    data: DataName = "digits"
    """A data set's name (`jaxml data list`), or a .npz or .csv file."""
    l2: Annotated[float, NONNEGATIVE] = 0.0
    """λ in (λ/2)‖θ‖²."""
    out: str | None = None
    """A new folder (runs/study-N)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfNetwork(Study, Layers):
    """The options of the kinds that study a network of one's choice."""

    model: Annotated[str, Parameter(converter=_known, n_tokens=1)] = "mlp"
    """linear, deep_linear, mlp, cnn, resnet, or FILE.py:FUNCTION of (input_shape, outputs)."""


def network(settings: OfNetwork, shape: tuple[int, ...], outputs: int) -> Model:
    """The network that the settings describe; a study's own defaults hold where it takes them."""
    default = type(settings)()
    options = [field.name for field in dataclasses.fields(Layers)]
    given = [name for name in options if getattr(settings, name) != getattr(default, name)]
    if ":" in settings.model:
        named = ", ".join(f"--{name}" for name in given)
        require(not named, f"no options of jaxml's networks beside {settings.model}", named)
        return own_model(settings.model, shape, outputs)
    foreign = set(options) - {*networks.MODELS[settings.model], *given}
    layers = dataclasses.replace(settings, **dict.fromkeys(foreign))
    return nn.from_description(networks.description(settings.model, layers, shape, outputs))


class Problem(NamedTuple):
    """The data of a study, and what networks are to learn of them.

    Attributes:
        splits: name -> arrays, `x` as the network takes it.
        targets: what is learned.
    """

    splits: Splits
    targets: networks.Targets

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.splits["train"]["x"].shape[1:]

    def network(self, settings: OfNetwork) -> Model:
        """The network that the settings describe."""
        return network(settings, self.shape, self.targets.outputs)

    def task(self, model: Model, l2: float = 0.0) -> studies.Task:
        """A network's, its error measured beside the loss."""
        return studies.task(model, self.targets.loss, self.targets.error, l2=l2)


def load(settings: Study, model: str = "mlp") -> tuple[data.Dataset, Problem]:
    """The data, with a validation split, as the network takes them.

    Raises:
        ValueError: if they have no targets or no validation split.
    """
    dataset = load_dataset(settings)
    targets = networks.targets_of(dataset)
    splits = networks.split_arrays(None if ":" in model else model, dataset)
    require("validation" in splits, "data with a validation split", settings.data)
    return dataset, Problem(splits, targets)


def study(
    kind: str,
    settings: Any,
    build: Callable[[Any, Problem, Advance], Any],
    *,
    regression: bool = False,
) -> None:
    """Run a study of one question: it is short, and does not go on where it was stopped.

    Args:
        kind: its name.
        settings: its options.
        build: makes the result.
        regression: whether it has a meaning for regressions.

    Raises:
        ValueError: for a regression where it has none.
    """
    dataset, problem = load(settings, getattr(settings, "model", "mlp"))
    counted = regression or problem.targets.classes is not None
    require(counted, f"classification data, whose wrong answers study {kind} counts", "regression")
    asked = runs.Asked("study", settings, kind=kind)
    with runs.opened(asked, dataset) as folder:
        for line in told(dataset):
            out.print(line)
        with bar() as advance:
            found = build(settings, problem, advance)
        report.write(found, folder / "report.html")
        body = {**report.record(found), "arguments": asked.recorded()}
        write_atomically(folder / "study.json", to_json(body, 1))
    out.print(str(found))
    out.print(str(folder / "report.html"))


@contextmanager
def bar() -> Iterator[Advance]:
    """A bar with a share and a text."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("compiling", total=1.0)
        yield lambda share, text: progress.update(task, completed=share, description=text)
