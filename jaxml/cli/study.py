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
from jaxml.cli import chapters, networks, runs
from jaxml.cli.console import AddCommand, data_argument, load_dataset, out, told
from jaxml.cli.study_options import KINDS, add_kinds
from jaxml.core.checks import require, require_choice
from jaxml.core.files import to_json, write_atomically
from jaxml.report.tables import STEPS_COLUMNS, critical_rows, steps_row

_SAVED = "study.npz"
# of LOW:HIGH:COUNT
_MOST = 10_000
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
    add_kinds(sub, _study)


def _numbers(text: str, name: str, kind: Callable[[str], Any] = float) -> list[Any]:
    """`8,16,32`, or `LOW:HIGH:COUNT` spread evenly in the logarithm."""
    try:
        if ":" in text:
            *ends, count = text.split(":")
            low, high = map(float, ends)
            if not (np.isfinite([low, high]).all() and 0 < int(count) <= _MOST):
                raise ValueError
            found = np.geomspace(low, high, int(count))
            numbers = [float(f"{value:.4g}") for value in found]
        else:
            numbers = [kind(part) for part in text.split(",")]
        if not np.isfinite(numbers).all():
            raise ValueError
        return numbers
    except ValueError as error:
        raise ValueError(f"expected {name} as 8,16 or LOW:HIGH:COUNT, got {text!r}") from error


def _study(given: argparse.Namespace) -> int:
    if given.resume is not None and "kind" not in given:
        was = runs.config_of(Path(given.resume), "study")["arguments"].get("kind")
        given.defaults = given.kinds.get(was, {})
    asked = runs.asked(given, "study")
    options = asked.settings
    require(getattr(options, "kind", None), f"a study among {', '.join(KINDS)}", "none")
    options.model = options.model or "mlp"
    require_choice("model", options.model, tuple(networks.MODELS))
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
    target = studies.Target(options.target)
    if options.epochs is None and options.steps is None:
        options.epochs = 40.0
    held_out = {k: v for k, v in splits.items() if k != "train"}
    with (
        runs.opened(asked, dataset) as folder,
        training.stop_on_signals("finishing this chunk; once more stops at once") as stop,
    ):
        for line in told(dataset):
            out.print(line)
        done = runs.kept(asked, _SAVED, studies.Study)
        budget = {"epochs": options.epochs, "steps": options.steps}
        planned = studies.plan(
            lanes,
            examples=len(splits["train"]["x"]),
            size=studies.size_of(task),
            example_flops=studies.gradient_flops(task, splits["train"]),
            **budget,
        )
        out.print(str(planned))
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
        for line in told(dataset):
            out.print(line)
        with _bar() as advance:
            found = _CHAPTERS[options.kind](options, splits, rates, advance)
        report.write(found, folder / "report.html")
        body = {**report.record(found), "arguments": vars(options)}
        write_atomically(folder / "study.json", to_json(body, 1))
    for line in chapters.said(found):
        out.print(line)
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
    scales = ", ".join(
        f"{'unresolved' if np.isnan(b) else f'{b:.3g}'} at {loss:.2g}"
        for loss, b in studies.mean_scales(along)
    )
    out.print(f"noise scale by training loss: {scales or 'no lane met one'}")
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
            out.print("  ".join(cell for cell in row if cell))
    for surface, ways in found.descents.items():
        for name, why in zip(ways.names, ways.why, strict=True):
            out.print(f"{surface}: {name}: {why}")
    seconds = found.study.seconds
    out.print(f"{seconds['compile']:.1f} s compiling, {seconds['run']:.1f} s running")


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.print("  ".join(cells).rstrip())
