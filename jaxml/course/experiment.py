"""An experiment: a claim of a lecture or a paper, and the run that puts it to the test."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Literal

from jaxml.core.checks import require, require_choice
from jaxml.core.finding import Finding, Section
from jaxml.core.provenance import provenance, today

Effort = Literal["quick", "full"]

EFFORTS = ("quick", "full")
"""Seconds, or the minutes that the experiment states."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A row of the course.

    Attributes:
        name: unique, in lower case, words joined by hyphens.
        chapter: its number.
        claim: what is said to be so, in a sentence.
        source: who says so: the lecture or a paper.
        run: effort -> what was found. The finding's `holds` follows from its `numbers`.
        minutes: of the full run, on two processor cores.
        change: what to change, to look again.
    """

    name: str
    chapter: int
    claim: str
    source: str
    run: Callable[[Effort], Finding]
    minutes: float
    change: str


def perform(experiment: Experiment, effort: Effort = "quick") -> Finding:
    """Run an experiment and say how it was run.

    Args:
        experiment: which.
        effort: "quick" (seconds) or "full" (minutes).

    Returns:
        Its finding; before it the claim with its source, after it what to change, and as
        `provenance` the command, seed, versions, device, date and seconds. All seeds are fixed:
        the same run again gives the same numbers.

    Raises:
        ValueError: for another effort; as the functions that it calls.

    Example:
        >>> from jaxml import course
        >>> found = course.perform(course.find("course-saddle"))
        >>> found.holds, found.numbers["eigenvalues"]
        (True, [-2.0, 2.0])
    """
    require_choice("effort", effort, EFFORTS)
    start = time.perf_counter()
    found = experiment.run(effort)
    seconds = time.perf_counter() - start
    says = found.name == experiment.name and found.holds is not None
    require(says, f"a finding of {experiment.name} that says whether it holds", found.name)
    command = f"jaxml course {experiment.name}{' --full' if effort == 'full' else ''}"
    again = Section("Now change this", f"{experiment.change} The experiment again: {command}")
    about = {
        "command": command,
        "seed": 0,
        **provenance(),
        "date": today(),
        "seconds": round(seconds, 1),
    }
    return dataclasses.replace(
        found,
        expected=found.expected and f"{found.expected.rstrip('.')}.",
        text=(f"The claim: {experiment.claim} ({experiment.source}).", *found.text),
        sections=(*found.sections, again),
        provenance=about,
    )
