"""`jaxml study batch-size` and `jaxml study optimizers`."""

import csv
import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from jaxml import report, studies, training
from jaxml.cli import runs
from jaxml.cli.commands.study.common import OfNetwork, Problem, bar, load
from jaxml.cli.console import out
from jaxml.cli.datasets import told
from jaxml.cli.options import (
    COUNT,
    COUNTS,
    FINITE,
    FLAT,
    NUMBERS,
    POSITIVE,
    Config,
    log_spaced,
    names,
)
from jaxml.core.checks import require
from jaxml.core.files import to_json, write_atomically
from jaxml.core.finding import finding

_SAVED = "study.npz"
# those that divide by the gradient's size want smaller rates
_RATES = dict.fromkeys(studies.OPTIMIZERS, log_spaced(0.0005, 0.5, 9)) | dict.fromkeys(
    ("sgd", "momentum", "nesterov"), log_spaced(0.005, 2, 9)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSize(OfNetwork):
    """The options of `batch-size`."""

    batch_sizes: Annotated[tuple[int, ...], COUNTS] = (8, 16, 32, 64, 128, 256, 512, 1024)
    """B, as 8,16."""
    rates: Annotated[tuple[float, ...] | None, NUMBERS] = None
    """η: LOW:HIGH:COUNT, or a list (by optimiser)."""
    optimizers: Annotated[tuple[str, ...], names(studies.OPTIMIZERS)] = ("momentum",)
    """Some of those that `jaxml list` has."""
    momenta: Annotated[tuple[float, ...], NUMBERS] = (0.0, 0.9)
    """β, or Adam's β₁, as 0,0.9."""
    schedules: Annotated[tuple[str, ...], names(studies.SCHEDULES)] = ("constant",)
    """Of the learning rate."""
    warmup: Annotated[float, FINITE] = 0.0
    """Share of the updates."""
    seeds: Annotated[int, COUNT] = 3
    """How many."""
    target: Annotated[float | None, FINITE] = None
    """Error on the validation set (0.06); of a regression the mean absolute error, in its units."""
    epochs: Annotated[float | None, POSITIVE] = None
    """Budget of a network (40, or that of --steps)."""
    steps: Annotated[int | None, COUNT] = None
    """Budget of a network in updates."""
    plateau: Annotated[float | None, POSITIVE] = None
    """End lanes that wait so many epochs for a lower loss."""
    train_loss: Annotated[float | None, POSITIVE] = None
    """Also: sharpness at this training loss."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizers(BatchSize):
    """The options of `optimizers`."""

    batch_sizes: Annotated[tuple[int, ...], COUNTS] = (32,)
    """B, as 8,16."""
    optimizers: Annotated[tuple[str, ...], names(studies.OPTIMIZERS)] = tuple(studies.OPTIMIZERS)
    """Some of those that `jaxml list` has."""
    momenta: Annotated[tuple[float, ...], NUMBERS] = (0.9,)
    """β, or Adam's β₁, as 0,0.9."""
    schedules: Annotated[tuple[str, ...], names(studies.SCHEDULES)] = ("constant", "cosine")
    """Of the learning rate."""


SETTINGS = {"batch-size": BatchSize(), "optimizers": Optimizers()}
"""kind -> what stands for each of its options that is not given."""


def batch_size(*, settings: Annotated[BatchSize, FLAT] = BatchSize(), config: Config = None) -> int:
    """How many updates does each batch size need, and up to which does a larger pay?

    Args:
        settings: of the study.
        config: a .toml file with some of these options, or the config.json of a study.
    """
    return run(runs.Asked("study", settings, kind="batch-size"))


def optimizers(
    *, settings: Annotated[Optimizers, FLAT] = Optimizers(), config: Config = None
) -> int:
    """Which optimiser, which schedule?

    Args:
        settings: of the study.
        config: a .toml file with some of these options, or the config.json of a study.
    """
    return run(runs.Asked("study", settings, kind="optimizers"))


def run(asked: runs.Asked) -> int:
    """Train the lanes, from where the study stands, and tell of them; the exit code."""
    if asked.settings.epochs is None and asked.settings.steps is None:
        asked = asked.change(epochs=40.0)
    dataset, problem = load(asked.settings, asked.settings.model)
    target = _target(asked.settings.target, problem)
    asked = asked.change(target=target.value)
    settings: BatchSize = asked.settings
    splits, task = problem.splits, problem.task(problem.network(settings), settings.l2)
    lanes = studies.grid(
        list(settings.batch_sizes),
        {name: list(settings.rates or _RATES[name]) for name in settings.optimizers},
        optimizers=list(settings.optimizers),
        momenta=list(settings.momenta),
        schedules=list(settings.schedules),
        warmup=settings.warmup,
        seeds=settings.seeds,
    )
    held_out = {k: v for k, v in splits.items() if k != "train"}
    with (
        runs.opened(asked, dataset) as folder,
        training.stop_on_signals("finishing this chunk; once more stops at once") as stop,
    ):
        for line in told(dataset):
            out.print(line)
        done = runs.kept(asked, _SAVED, studies.Study)
        budget = {"epochs": settings.epochs, "steps": settings.steps}
        planned = studies.plan(
            lanes,
            examples=len(splits["train"]["x"]),
            size=studies.size_of(task),
            example_flops=studies.gradient_flops(task, splits["train"]),
            **budget,
        )
        out.print(str(planned))
        with bar() as advance:

            def on_chunk(so_far: studies.Study, share: float) -> bool:
                advance(share, f"{(so_far.exits != '').sum()} of {len(lanes)} lanes ended")
                runs.keep(folder, _SAVED, so_far)
                return stop.received is not None

            study = studies.batch_size(
                task,
                splits["train"],
                lanes,
                splits=held_out,
                target=target,
                plateau=settings.plateau,
                done=done,
                on_chunk=on_chunk,
                **budget,
            )
        if (study.exits == "").any():
            assert stop.received is not None
            left = f"{(study.exits != '').sum()} of {len(lanes)} lanes"
            return runs.stopped(asked, folder, stop.received, left)
        sizes = sorted(set(lanes.batch_size.tolist()))
        if asked.kind == "batch-size":
            speed = studies.throughput(task, splits["train"], sizes)
            found = studies.findings(
                study, throughput=speed, published=studies.PUBLISHED.get(dataset.meta["name"])
            )
        else:
            ways = {
                name: studies.descents(*where, optimizers=list(settings.optimizers))
                for name, where in studies.SURFACES.items()
            }
            found = studies.findings(study, descents=ways)
        if settings.train_loss is not None:
            found = _with_sharpness(found, task, problem, settings)
        _write(folder, found, asked.recorded(), str(planned))
    out.print(str(found))
    out.print(str(folder / "report.html"))
    return 0


def _target(value: float | None, problem: Problem) -> studies.Target:
    """The error that is asked for, of a classification 0.06 if none is.

    Raises:
        ValueError: without one, or for one that is not above 0, of a regression.
    """
    (name,) = problem.targets.error
    if problem.targets.classes is not None:
        return studies.Target(0.06 if value is None else value, name)
    median = np.median(problem.splits["train"]["y"], 0)
    guess = np.abs(problem.splits["validation"]["y"] - median).mean()
    expected = f"--target: a mean absolute error above 0 (the training median's is {guess:.3g})"
    require(value is not None and value > 0, expected, "none" if value is None else value)
    assert value is not None
    return studies.Target(value, name)


def _with_sharpness(
    found: studies.Findings, task: studies.Task, problem: Problem, settings: BatchSize
) -> studies.Findings:
    """The best lanes again: the sharpness at one training loss, noise scales on the way there."""
    train = problem.splits["train"]
    held_out = {name: split for name, split in problem.splits.items() if name != "train"}
    assert settings.train_loss is not None
    lanes = found.study.lanes.take(studies.best_lanes(found.study, found.table))
    require(len(lanes) > 0, "lanes that hit the target, for --train-loss", "none")
    budget = {
        "epochs": None if settings.epochs is None else 4 * settings.epochs,
        "steps": settings.steps,
    }
    with bar() as advance:
        equal = studies.at_equal_loss(
            task,
            train,
            lanes,
            splits=held_out,
            loss=settings.train_loss,
            on_lane=lambda done, of: advance(done / of, "sharpness"),
            **budget,
        )
        # from near the loss of a guess
        classes = problem.targets.classes
        guess = float(train["y"].var(0).mean()) if classes is None else math.log(classes)
        guess = max(guess, settings.train_loss)
        along = studies.noise_along(
            task,
            train,
            lanes,
            np.geomspace(guess, settings.train_loss, 6)[1:].tolist(),
            on_loss=lambda done, of: advance(done / of, "noise scale"),
            **budget,
        )
    out.print(finding(equal).verdict)
    scales = ", ".join(
        f"{'unresolved' if np.isnan(b) else f'{b:.3g}'} at {loss:.2g}"
        for loss, b in studies.mean_scales(along)
    )
    out.print(f"noise scale by training loss: {scales or 'no lane met one'}")
    return dataclasses.replace(found, equal_loss=equal, noise_along=along)


def _write(folder: Path, found: studies.Findings, options: dict[str, Any], planned: str) -> None:
    """The page, the records and what is needed to run it again."""
    study = found.study
    write_atomically(folder / "lanes.csv", _csv(study.table()))
    write_atomically(folder / "records.csv", _csv(study.records))
    body = {
        **report.record(found),
        "arguments": options,
        "plan": planned,
        "seconds": study.seconds,
        "programs": {str(m): widths for m, widths in study.programs.items()},
    }
    write_atomically(folder / "study.json", to_json(body, 1))
    report.write(found, folder / "report.html")


def _csv(columns: Mapping[str, np.ndarray]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(np.asarray(c).tolist() for c in columns.values()), strict=True))
    return text.getvalue()
