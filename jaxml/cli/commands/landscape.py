"""`jaxml landscape`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from cyclopts import Parameter

from jaxml import landscape, report, training
from jaxml.cli import runs
from jaxml.cli.commands import inspection
from jaxml.cli.commands.inspection import OnePoint
from jaxml.cli.console import out
from jaxml.cli.datasets import load_dataset, told
from jaxml.cli.options import (
    COUNT,
    FINITE,
    FLAT,
    POSITIVE,
    Config,
    Data,
    Resume,
    Start,
    positional,
)
from jaxml.cli.own_file import own_problem
from jaxml.core import checksummed_dirs
from jaxml.core.checks import require
from jaxml.core.files import to_json, write_atomically
from jaxml.core.finding import finding
from jaxml.core.selfcheck import require_sound_backend
from jaxml.landscape.critical.views import ending_table
from jaxml.landscape.operators.dense_hessian import available_memory
from jaxml.studies.topics import staircase, staircase_view

_SAVED = "staircase.npz"
# parameters up to which a user's point is analysed exactly, and critical points sought around it
_EXACT = 3000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landscape(Data, OnePoint):
    """What is looked at, and how; what does not apply is refused."""

    target: Annotated[str | None, Parameter(show=False)] = None
    """FILE.py:FUNCTION, a run's folder, or None: the staircase."""
    hidden: Annotated[str | None, Parameter(metavar="FIRST:LAST")] = None
    """Hidden widths of the staircase (3:8)."""
    l2: Annotated[float | None, FINITE] = None
    """λ in (λ/2)‖θ‖² (1e-3)."""
    seeds: Annotated[int | None, COUNT] = None
    """Networks (8)."""
    steps: Annotated[int | None, COUNT] = None
    """Training steps at each width (1000)."""
    searches: Annotated[int | None, COUNT] = None
    """Searches (32, or 16 of your own)."""
    radius: Annotated[float | None, POSITIVE] = None
    """Of the searches around your own point (0.3)."""
    seed: int = 0
    """Of everything random."""
    out: str | None = None
    """A new folder for the report (runs/landscape-N)."""


def command(
    target: str | None = None,
    /,
    *,
    settings: Annotated[Landscape, FLAT] = Landscape(),
    resume: Resume = None,
    start: Start = None,
    config: Config = None,
) -> int:
    """Walk the staircase of critical points, or analyse a point of your own.

    Without a target: networks that grow are trained on a data set, from one critical point down
    to the next.

    Args:
        target: FILE.py:FUNCTION, a function of no arguments that returns (loss, params), or the
            folder of a training run.
        settings: of what is done.
        resume: go on with the run in this folder.
        start: with --resume: from the checkpoint of this width or part (the latest); later ones
            go.
        config: a .toml file with some of these options, or the config.json of a run.
    """
    asked = runs.asked("landscape", positional(settings, target=target), resume, start)
    settings = asked.settings
    walking = ("data", "task", "target_column", "missing", "hidden", "l2", "seeds", "steps")
    for name in walking if settings.target else ("radius", "rows", *inspection.ASKING):
        given = getattr(settings, name)
        known = "without" if settings.target else "with"
        option = name.replace("_", "-")
        require(given in (None, False), f"--{option} only {known} a target", given)
    if settings.target is None:
        return _walk(asked)
    searching = ("searches", "radius")
    of_run = inspection.is_run(settings.target)
    looking = of_run or any(getattr(settings, n) not in (None, False) for n in inspection.ASKING)
    for name in searching if looking else ():
        given = getattr(settings, name)
        require(given is None, f"--{name} where critical points are sought, of a small net", given)
    require_sound_backend()
    name, absolute = settings.target, str(Path(settings.target).absolute())  # from any folder
    asked = asked.change(target=absolute)
    if of_run:
        return _inspect(asked, inspection.of_run(settings, Path(name), settings.seed))
    loss, params = own_problem(name)
    if looking or not _fits(params, inspection.memory_bytes(settings.memory)):
        for option in ("checkpoints", "rows"):
            given = getattr(settings, option)
            require(given is None, f"--{option} of a run", given)
        about = {"target": absolute}
        return _inspect(asked, inspection.Point(loss, params, [], about))
    return _explore(asked, loss, params)


def _fits(params: Any, memory: int | None) -> bool:
    """Whether the exact analysis of a user's point takes neither much memory nor much time."""
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    bound = available_memory() // 2 if memory is None else memory
    return size <= _EXACT and 6 * 8 * size**2 <= bound


def _inspect(asked: runs.Asked, point: inspection.Point) -> int:
    with runs.opened(asked) as folder:
        if "rows" in point.about:
            out.print(point.about["rows"])
        result, whole = inspection.look(asked, point, folder)
        if not whole:
            out.print(f"stopped; what is done is in {folder / 'report.html'}")
        shown = finding(result)
        if "rows" in point.about:
            shown = dataclasses.replace(shown, text=[point.about["rows"], *shown.text])
        code = _write(shown, folder, point.about, point.params, "inspection.json")
        out.print(f"at most {inspection.peak_memory():.2f} GiB")
        return code if whole else 130


def _walk(asked: runs.Asked) -> int:
    widths = _widths(asked.settings.hidden or "3:8")
    asked = asked.change(data=asked.settings.data or "digits")
    settings = asked.settings
    dataset = load_dataset(settings)
    given = {name: getattr(settings, name) for name in ("l2", "seeds", "steps", "searches")}
    require_sound_backend()
    first, *more = told(dataset)
    out.print(
        f"{settings.seeds or 8} networks on {first}; hidden widths {widths[0]} to {widths[-1]}, "
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}"
    )
    for line in more:
        out.print(line)
    with (
        runs.opened(asked, dataset) as folder,
        training.stop_on_signals("finishing this width; once more stops at once") as stop,
    ):
        done = None
        if asked.checkpoints is not None:
            done = staircase.load(checksummed_dirs.checked(asked.checkpoints, asked.start) / _SAVED)
            checksummed_dirs.remove_after(asked.checkpoints, done.levels[-1].width)
        _print_row(staircase_view.COLUMNS)
        for level in [] if done is None else done.levels:
            _print_row(staircase_view.row(level))

        def on_level(so_far: staircase.Staircase) -> bool:
            level = so_far.levels[-1]
            with checksummed_dirs.new(runs.checkpoints(folder), level.width) as checkpoint:
                staircase.save(so_far, checkpoint / _SAVED)
            _print_row(staircase_view.row(level))
            return stop.received is not None

        result = staircase.walk(
            dataset.everything(),
            widths,
            seed=settings.seed,
            hooks=lambda width: [training.progress(f"training at width {width}")],
            on_level=on_level,
            done=done,
            **{name: value for name, value in given.items() if value is not None},
        )
        last = result.levels[-1].width
        if stop.received is not None and last < widths[-1]:
            return runs.stopped(asked, folder, stop.received, f"width {last} of {widths[-1]}")
        endings = ", ".join(f"{row[1]} {row[0]}" for row in ending_table(result.found).rows)
        out.print(f"{len(result.found)} searches from the training path: {endings}")
        out.print(finding(result).verdict)
        points = [
            [point.params for point in level.minima]
            + [saddle.measured.params for saddle in level.saddles]
            for level in result.levels
        ]
        return _write(result, folder, {"data": dataset.meta["name"]}, points)


def _explore(asked: runs.Asked, loss: Any, params: Any) -> int:
    settings = asked.settings
    require(asked.start is None, "--from for a staircase or an inspection", asked.start)
    given = {name: getattr(settings, name) for name in ("searches", "radius")}
    with runs.opened(asked) as folder:
        with out.status("analysing the point, searching around it"):
            result = landscape.explore(
                loss,
                params,
                seed=settings.seed,
                **{name: value for name, value in given.items() if value is not None},
            )
        out.print(str(result))
        points = [result.point.params, *(point.params for point in result.distinct)]
        return _write(result, folder, {"target": settings.target}, points)


def _print_row(cells: Sequence[str]) -> None:
    sizes = (5, 7, 16, 7, 5, 9, 18, 6)
    line = "  ".join(cell.rjust(size) for cell, size in zip(cells, sizes, strict=True))
    out.print(line.rstrip())


def _write(
    result: Any,
    folder: Path,
    about: dict[str, Any],
    points: Any,
    name: str = "critical_points.json",
) -> int:
    digest = runs.arrays_sha256(points)
    body = {"command": "landscape", **about, "points_sha256": digest, **report.record(result)}
    write_atomically(folder / name, to_json(body, 1))
    page = report.write(result, folder / "report.html")
    out.print(f"{page}\n{folder / name}\nsha256 {digest}")
    return 0


def _widths(text: str) -> list[int]:
    first, _, last = text.partition(":")
    require(
        first.isdecimal() and (last or first).isdecimal() and int(last or first) >= int(first) > 0,
        "hidden widths as first:last, such as 3:8",
        repr(text),
    )
    return list(range(int(first), int(last or first) + 1))
