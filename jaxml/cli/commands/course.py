"""`jaxml course`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from jaxml import course, report
from jaxml.cli import console
from jaxml.core.checks import require
from jaxml.core.finding import Finding
from jaxml.course import pages, records


def command(
    what: str | None = None,
    /,
    *,
    everything: Annotated[bool, Parameter(name="--all")] = False,
    full: bool = False,
    out: str = "runs/course",
    record: bool = False,
) -> int:
    """List the course's experiments, or run a chapter or one of them.

    Args:
        what: the number of a chapter, or the name of an experiment.
        everything: every chapter, and the index over them.
        full: minutes rather than seconds.
        out: folder of the pages.
        record: keep what is found in docs/course.
    """
    if what is None and not everything:
        return _list()
    require(what is None or not everything, "a chapter, an experiment or --all", f"{what} --all")
    if record:
        there = records.FOLDER.is_dir()
        require(there, "--record in a checkout, which has docs/course", str(records.FOLDER))
    experiments, write = _chosen(what)
    found = _perform(experiments, full, record)
    if record:
        records.update_pages(records.read_records())
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for path in write(found, folder):
        console.out.print(str(path))
    return 0 if all(one.holds for one in found.values()) else 1


Write = Callable[[dict[str, Finding], Path], list[Path]]


def _chosen(what: str | None) -> tuple[Sequence[course.Experiment], Write]:
    """The experiments, and what makes pages of their findings."""
    if what is None:
        return course.experiments(), _write_all
    if not what.isdecimal():
        experiment = course.find(what)
        name = f"{experiment.name}.html"
        return [experiment], lambda found, folder: [report.write([*found.values()], folder / name)]
    known = len(course.CHAPTERS)
    require(1 <= int(what) <= known, f"a chapter from 1 to {known}", what)
    chapter = course.CHAPTERS[int(what) - 1]
    require(chapter.experiments, "a chapter with experiments", f"{what}, of which none is here yet")
    return chapter.experiments, lambda found, folder: [_write_chapter(chapter, found, folder)]


def _write_chapter(chapter: course.Chapter, found: dict[str, Finding], folder: Path) -> Path:
    own = [found[experiment.name] for experiment in chapter.experiments]
    return pages.write_chapter(chapter, own, folder / pages.chapter_file(chapter.number))


def _write_all(found: dict[str, Finding], folder: Path) -> list[Path]:
    some = [chapter for chapter in course.CHAPTERS if chapter.experiments]
    written = [_write_chapter(chapter, found, folder) for chapter in some]
    return [*written, pages.write_index(found, folder / "index.html")]


def _perform(
    experiments: Sequence[course.Experiment], full: bool, record: bool
) -> dict[str, Finding]:
    """Each is shown, and kept, as it ends."""
    found: dict[str, Finding] = {}
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console.out,
        transient=True, disable=not console.out.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("course", total=len(experiments))
        for experiment in experiments:
            bar.update(task, description=experiment.name)
            one = course.perform(experiment, "full" if full else "quick")
            mark = "holds" if one.holds else "DOES NOT HOLD"
            console.out.print(Text.assemble((experiment.name, "bold"), f" {mark}: {one.verdict}"))
            if record:
                records.write_record(experiment, one)
            found[experiment.name] = one
            bar.advance(task)
    return found


def _list() -> int:
    known = records.read_records()
    for chapter in course.CHAPTERS:
        console.out.print(f"{chapter.number:2} {chapter.title}", style="bold")
        for experiment in chapter.experiments:
            kept = records.last_recorded(known.get(experiment.name))
            console.out.print(f"   {experiment.name:29} {kept:22} {experiment.claim}")
        if chapter.missing:
            console.out.print(f"   not yet: {chapter.missing}")
    return 0
