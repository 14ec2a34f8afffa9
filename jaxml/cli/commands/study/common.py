"""What the kinds of `jaxml study` share."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

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
from jaxml.training import losses, metrics

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
    """The network that the settings describe."""
    if ":" in settings.model:
        default = type(settings)()
        options = [field.name for field in dataclasses.fields(Layers)]
        given = [name for name in options if getattr(settings, name) != getattr(default, name)]
        named = ", ".join(f"--{name}" for name in given)
        require(not named, f"no options of jaxml's networks beside {settings.model}", named)
        return own_model(settings.model, shape, outputs)
    return nn.from_description(networks.description(settings.model, settings, shape, outputs))


def task_of(model: Model, l2: float = 0.0) -> studies.Task:
    """A classifier's task, its error measured beside the loss."""
    measures = {"error": metrics.error}
    return studies.task(model, losses.softmax_cross_entropy, measures, l2=l2)


def ends(rows: dict[str, np.ndarray]) -> tuple[tuple[int, ...], int]:
    """A network's input shape, and how many classes it distinguishes."""
    return rows["x"].shape[1:], int(rows["y"].max()) + 1


def load(settings: Study, model: str = "mlp") -> tuple[data.Dataset, Splits]:
    """The data, with a validation split, as the network takes them.

    Raises:
        ValueError: if they are not for classification or have no validation split.
    """
    dataset = load_dataset(settings)
    require(dataset.meta["task"] == "classification", "classification data", dataset.meta["task"])
    splits = networks.split_arrays(None if ":" in model else model, dataset)
    require("validation" in splits, "data with a validation split", settings.data)
    return dataset, splits


def study(
    kind: str,
    settings: Any,
    build: Callable[[Any, Splits, Advance], Any],
) -> None:
    """Run a study of one question: it is short, and does not go on where it was stopped.

    Args:
        kind: its name.
        settings: its options.
        build: makes the result.
    """
    dataset, splits = load(settings, getattr(settings, "model", "mlp"))
    asked = runs.Asked("study", settings, kind=kind)
    with runs.opened(asked, dataset) as folder:
        for line in told(dataset):
            out.print(line)
        with bar() as advance:
            found = build(settings, splits, advance)
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
