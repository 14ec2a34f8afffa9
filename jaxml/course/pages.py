"""Pages of chapters, and the index over all fifteen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxml import report
from jaxml.core.files import write_atomically
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.markup import environment
from jaxml.core.provenance import line
from jaxml.course.index import CHAPTERS, Chapter


def chapter_file(number: int) -> str:
    """The name of a chapter's page."""
    return f"chapter-{number:02d}.html"


def write_chapter(chapter: Chapter, found: Sequence[Finding], path: Path) -> Path:
    """Write a chapter's page: its question, and one experiment after the other.

    Args:
        chapter: which.
        found: of its experiments.
        path: where to.
    """
    failed = [one.name for one in found if not one.holds]
    holding = f"{len(found) - len(failed)} of {len(found)} experiments hold"
    rows = [
        (one.name, "yes" if one.holds else "no", f"{one.provenance.get('seconds', math.nan):.1f}")
        for one in found
    ]
    overview = Finding(
        name=chapter.title,
        question=chapter.question,
        verdict=f"{holding}; not: {', '.join(failed)}" if failed else f"{holding}.",
        text=[f"Not yet here: {chapter.missing}."] if chapter.missing else [],
        sections=[Section("", table=Table(("experiment", "holds", "seconds"), rows))],
        provenance={**found[0].provenance, "command": f"jaxml course {chapter.number}"},
    )
    return report.write([overview, *found], path, title=f"The course, chapter {chapter.number}")


def write_index(found: Mapping[str, Finding], path: Path) -> Path:
    """Write the index over fifteen chapters: a picture of every experiment, and what is missing.

    Args:
        found: name -> finding.
        path: where to; the chapters' pages are expected beside it.
    """
    template = environment("jaxml.course").get_template("index.html")
    about: dict[str, Any] = {"command": "jaxml course --all", "seed": 0}
    text = template.render(
        chapters=CHAPTERS, found=found, chapter_file=chapter_file, provenance=line(about)
    )
    return write_atomically(path, text)
