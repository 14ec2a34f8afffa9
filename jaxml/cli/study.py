"""`jaxml study`."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxml import data, report, studies, training
from jaxml.checks import require
from jaxml.cli import chapters, networks, runs
from jaxml.cli.console import AddCommand, add_data, data_argument, load_dataset, out
from jaxml.files import to_json, write_atomically
from jaxml.report.tables import STEPS_COLUMNS, critical_rows, steps_row

_SAVED = "study.npz"
_TYPES = (studies.Study, studies.Lanes, studies.Target)
# what stands for each option that is not given
_KINDS = {
    "batch-size": {
        "batch_sizes": "8,16,32,64,128,256,512,1024",
        "optimizers": "momentum",
        "momenta": "0,0.9",
        "schedules": "constant",
    },
    "optimizers": {
        "batch_sizes": "32",
        "optimizers": ",".join(studies.OPTIMIZERS),
        "momenta": "0.9",
        "schedules": "constant,cosine",
    },
    "depth": {"rates": "0.01:1:5", "epochs": 40.0},
    "edge": {
        "optimizers": ",".join(studies.EDGES),
        "momenta": "0.9",
        "hidden": "32",
        "activation": "tanh",
        "steps": 2000,
    },
    "generalization": {"rates": "0.001:1:7", "epochs": 20.0},
    "normalization": {"rates": "0.03:10:6", "epochs": 20.0, "hidden": "64,64,64,64"},
    "diagnose": {"rates": "0.01:1:5", "epochs": 40.0},
}
_CHAPTERS = {
    "depth": chapters.depth,
    "edge": chapters.edge,
    "generalization": chapters.generalization,
    "normalization": chapters.normalization,
    "diagnose": chapters.diagnose,
}
# by optimiser, as LOW:HIGH:COUNT: those that divide by the gradient's size want smaller ones
_RATES = dict.fromkeys(studies.OPTIMIZERS, "0.0005:0.5:9") | dict.fromkeys(
    ("sgd", "momentum", "nesterov"), "0.005:2:9"
)


def add(command: AddCommand) -> None:
    """The command and its arguments."""
    sub = command("study", _study, "Train many configurations side by side and compare them.")
    sub.add_argument("kind", nargs="?", metavar="KIND", help=", ".join(_KINDS))
    add_data(sub, "digits")
    sub.set_defaults(data="digits")
    sub.add_argument("--model", default="mlp", help=f"{', '.join(networks.MODELS)} (mlp)")
    networks.add_arguments(sub, augmented=False)
    sizes, every = _KINDS["batch-size"]["batch_sizes"], ", ".join(studies.OPTIMIZERS)
    sub.add_argument("--batch-sizes", help=f"B ({sizes}; optimizers: 32)")
    sub.add_argument("--rates", help="η: LOW:HIGH:COUNT, or a list (by optimiser)")
    sub.add_argument("--optimizers", help=f"{every} (momentum; optimizers: all)")
    sub.add_argument("--momenta", help="β, or Adam's β₁ (0,0.9; optimizers: 0.9)")
    names = ", ".join(studies.SCHEDULES)
    sub.add_argument("--schedules", help=f"{names} (constant; optimizers: constant,cosine)")
    sub.add_argument("--warmup", type=float, default=0.0, help="share of the updates (0)")
    sub.add_argument("--seeds", type=int, default=3, help="how many (3)")
    sub.add_argument("--target", type=float, help="error on the validation set (0.06)")
    sub.add_argument("--epochs", type=float, help="budget of a lane (40)")
    sub.add_argument("--steps", type=int, help="budget of a lane in updates (none)")
    sub.add_argument("--plateau", type=float, help="end lanes that wait so long for a better one")
    sub.add_argument("--l2", type=float, default=0.0, help="λ in (λ/2)‖θ‖² (0)")
    sub.add_argument("--parameters", type=int, default=5000, help="depth: of a network (5000)")
    sub.add_argument("--depths", default="1,2,4,8", help="depth: hidden layers (1,2,4,8)")
    sub.add_argument("--acceptable", type=float, default=0.05, help="diagnose: error (0.05)")
    sub.add_argument("--train-loss", type=float, help="also: sharpness at this training loss")
    sub.add_argument("--out", help="a new folder (runs/study-N)")
    runs.add_resume(sub, "chunk")


def _numbers(text: str, name: str, kind: Callable[[str], Any] = float) -> list[Any]:
    """`8,16,32`, or `LOW:HIGH:COUNT` spread evenly in the logarithm."""
    try:
        if ":" in text:
            low, high, count = text.split(":")
            found = np.geomspace(float(low), float(high), int(count))
            return [float(f"{value:.4g}") for value in found]
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"expected {name} as 8,16 or LOW:HIGH:COUNT, got {text!r}") from error


def _study(given: argparse.Namespace) -> int:
    asked = runs.asked(given, "study")
    options = asked.settings
    kinds = ", ".join(_KINDS)
    require(options.kind in _KINDS, f"a study among {kinds}", repr(options.kind))
    for name, value in _KINDS[options.kind].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    dataset = load_dataset(options)
    options.data = data_argument(options.data)
    require(dataset.meta["task"] == "classification", "classification data", dataset.meta["task"])
    splits = networks.split_arrays(options.model, dataset)
    require("validation" in splits, "data with a validation split", options.data)
    if options.kind in _CHAPTERS:
        return _chapter(asked, dataset, splits)
    shape = splits["train"]["x"].shape[1:]
    task = chapters.task_of(networks.model(options, shape, dataset.meta["classes"]), options.l2)
    names = options.optimizers.split(",")
    rates = {name: options.rates or _RATES.get(name, "1") for name in names}
    lanes = studies.grid(
        _numbers(options.batch_sizes, "--batch-sizes", int),
        {name: _numbers(text, "--rates") for name, text in rates.items()},
        optimizers=names,
        momenta=_numbers(options.momenta, "--momenta"),
        schedules=options.schedules.split(","),
        warmup=options.warmup,
        seeds=options.seeds,
    )
    target = studies.Target(0.06 if options.target is None else options.target)
    if options.epochs is None and options.steps is None:
        options.epochs = 40.0
    held_out = {k: v for k, v in splits.items() if k != "train"}
    with (
        runs.opened(asked, dataset) as folder,
        training.stop_on_signals("finishing this chunk; once more stops at once") as stop,
    ):
        done = runs.kept(asked, _SAVED, _TYPES)
        budget = {"epochs": options.epochs, "steps": options.steps}
        planned = studies.plan(
            lanes,
            examples=len(splits["train"]["x"]),
            size=studies.size_of(task),
            **budget,
        )
        out.print(str(planned), highlight=False)
        with _bar() as advance:

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
                plateau=options.plateau,
                done=done,
                on_chunk=on_chunk,
                **budget,
            )
        if (study.exits == "").any():
            assert stop.received is not None
            left = f"{(study.exits != '').sum()} of {len(lanes)} lanes"
            return runs.stopped(asked, folder, stop.received, left)
        sizes = sorted(set(lanes.batch_size.tolist()))
        if options.kind == "batch-size":
            speed = studies.throughput(task, splits["train"], sizes)
            found = studies.findings(
                study, throughput=speed, published=studies.PUBLISHED.get(options.data)
            )
        else:
            ways = {
                name: studies.descents(*where, optimizers=names)
                for name, where in studies.SURFACES.items()
            }
            found = studies.findings(study, descents=ways)
        if options.train_loss is not None:
            found = _with_sharpness(found, task, splits["train"], held_out, options)
        _write(folder, found, vars(options), str(planned))
    _say(found)
    out.print(str(folder / "report.html"))
    return 0


def _chapter(asked: runs.Asked, dataset: data.Dataset, splits: chapters.Splits) -> int:
    """A study of one question; it is short, and does not go on where it was stopped."""
    options = asked.settings
    require(asked.folder is None, "a new study: this kind is begun again", asked.folder)
    rates = options.rates and _numbers(options.rates, "--rates")
    with runs.opened(asked, dataset) as folder:
        with _bar() as advance:
            found = _CHAPTERS[options.kind](options, splits, rates, advance)
        report.write(found, folder / "report.html")
        body = {**report.record(found), "arguments": vars(options)}
        write_atomically(folder / "study.json", to_json(body, 1))
    for line in chapters.said(found):
        out.print(line, highlight=False)
    out.print(str(folder / "report.html"))
    return 0


def _with_sharpness(found, task, train, held_out, options) -> studies.Findings:
    """The best lanes again: the sharpness at one training loss, noise scales on the way there."""
    lanes = found.study.lanes.take(studies.best_lanes(found.study, found.table))
    require(len(lanes) > 0, "lanes that hit the target, for --train-loss", "none")
    budget = {
        "epochs": None if options.epochs is None else 4 * options.epochs,
        "steps": options.steps,
    }
    with _bar() as advance:
        equal = studies.at_equal_loss(
            task,
            train,
            lanes,
            splits=held_out,
            loss=options.train_loss,
            on_lane=lambda done, of: advance(done / of, "sharpness"),
            **budget,
        )
        # from near the loss of a guess
        guess = max(float(np.log(train["y"].max() + 1)), options.train_loss)
        along = studies.noise_along(
            task,
            train,
            lanes,
            np.geomspace(guess, options.train_loss, 6)[1:],
            on_loss=lambda done, of: advance(done / of, "noise scale"),
            **budget,
        )
    out.print(str(equal))
    scales = ", ".join(f"{b:.3g} at {loss:.2g}" for loss, b in studies.mean_scales(along))
    out.print(f"noise scale by training loss: {scales}", highlight=False)
    return dataclasses.replace(found, equal_loss=equal, noise_along=along)


class _bar:  # noqa: N801 - used as a function
    """A bar with a share and a text."""

    def __enter__(self) -> Callable[[float, str], None]:
        columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn()
        self._bar = Progress(*columns, console=out, transient=True, disable=not out.is_terminal)
        self._bar.start()
        task = self._bar.add_task("compiling", total=1.0)
        return lambda share, text: self._bar.update(task, completed=share, description=text)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


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


def _say(found: studies.Findings) -> None:
    _print_table(STEPS_COLUMNS, [steps_row(row) for row in found.table.rows])
    if len(set(found.study.lanes.batch_size.tolist())) > 1:
        for row in critical_rows(found):
            out.print("  ".join(cell for cell in row if cell), highlight=False)
    for surface, ways in found.descents.items():
        for name, why in zip(ways.names, ways.why, strict=True):
            out.print(f"{surface}: {name}: {why}", highlight=False)
    seconds = found.study.seconds
    out.print(f"{seconds['compile']:.1f} s compiling, {seconds['run']:.1f} s running")


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.print("  ".join(cells).rstrip(), highlight=False)
