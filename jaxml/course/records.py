"""What was found in full runs, as kept in `docs/course`, and the tables made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxml.core.checks import require
from jaxml.core.files import to_json, write_atomically
from jaxml.core.finding import Finding
from jaxml.course.experiment import Experiment
from jaxml.course.index import CHAPTERS

_ROOT = Path(__file__).parents[2]
FOLDER = _ROOT / "docs" / "course"
"""Of a checkout; an installed package has no records."""

BEGIN, END = "<!-- made by `jaxml course --record` -->", "<!-- end of what is made -->"


def write_record(experiment: Experiment, found: Finding, folder: Path = FOLDER) -> Path:
    """Keep what an experiment found.

    Args:
        experiment: which.
        found: from `perform`.
        folder: where to, which must exist.

    Returns:
        The file: verdict, expectation, whether it holds, numbers, provenance, and what is seen in
        the pictures.

    Raises:
        ValueError: if the folder is not there.
    """
    record = {
        "name": experiment.name,
        "chapter": experiment.chapter,
        "claim": experiment.claim,
        "source": experiment.source,
        "verdict": found.verdict,
        "expected": found.expected,
        "holds": found.holds,
        "numbers": found.numbers,
        "figures": [figure.alt for figure in found.figures],
        **found.provenance,
    }
    return write_atomically(folder / f"{experiment.name}.json", f"{to_json(record, indent=1)}\n")


def read_records(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Name -> record, of what was kept there; nothing if the folder is not there."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def last_recorded(record: Mapping[str, Any] | None) -> str:
    """In a few words."""
    if record is None:
        return "not recorded"
    return f"{'holds' if record['holds'] else 'does not hold'}, {record['date']}"


def summary(records: Mapping[str, Any]) -> str:
    """The course in fifteen lines of Markdown: a table of the chapters."""
    lines = ["| chapter | experiments that hold | not yet |", "|---|---|---|"]
    for chapter in CHAPTERS:
        known = [records[e.name] for e in chapter.experiments if e.name in records]
        count = f"{sum(r['holds'] for r in known)} of {len(known)}" if known else ""
        lines.append(f"| {chapter.number} {chapter.title} | {count} | {chapter.missing} |")
    return "\n".join(lines)


def details(records: Mapping[str, Any]) -> str:
    """Every recorded experiment in Markdown, chapter by chapter: its claim and its verdict."""
    parts = []
    for chapter in CHAPTERS:
        known = [e for e in chapter.experiments if e.name in records]
        if not known:
            continue
        parts.append(f"## {chapter.number} {chapter.title}\n\n{chapter.question}\n")
        parts.append("| experiment | claim | found | recorded |\n|---|---|---|---|")
        parts += [
            "| " + " | ".join(
                part.replace("|", "\\|")
                for part in (
                    f"`{e.name}`",
                    f"{e.claim} ({e.source})",
                    records[e.name]["verdict"],
                    last_recorded(records[e.name]),
                )
            ) + " |"
            for e in known
        ]  # fmt: skip
        parts.append("")
    return "\n".join(parts).rstrip()


def between(text: str, made: str) -> str:
    """The text with what stands between the two markers replaced.

    Raises:
        ValueError: if it has no such markers.
    """
    have = text.count(BEGIN) == text.count(END) == 1
    require(have, f"one {BEGIN} and one {END}", "none, or more")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}"


PAGES = {_ROOT / "README.md": summary, _ROOT / "docs" / "course.md": details}
"""File -> what is made in it of the records."""


def update_pages(records: Mapping[str, Any]) -> list[Path]:
    """Make README's table and the docs' page of the records anew."""
    return [
        write_atomically(path, between(path.read_text(), make(records)))
        for path, make in PAGES.items()
    ]
