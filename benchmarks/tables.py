"""Comparisons as rows of a table and of a JSON file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.timing import Contestant, alternate, matmul_peak, spread

OURS = "jaxml"


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        title: what is compared, with its unit.
        rates: contestant -> units a second in each round.
        ratios: peer -> our rate over its, round by round.
        compile_seconds: contestant -> what getting ready took.
        peak_share: contestant -> the share of the machine's matrix-product peak, measured in the
            same rounds; empty where no operations were counted.
        absent: peer -> why it did not run.
        expected: the ratio to the first peer that we set out to reach.
        facts: contestant -> what else is known of it, by name.
        checks: what else we set out to reach -> whether it was.
    """

    title: str
    rates: dict[str, np.ndarray]
    ratios: dict[str, np.ndarray]
    compile_seconds: dict[str, float]
    peak_share: dict[str, float]
    absent: dict[str, str]
    expected: float | None
    facts: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    checks: dict[str, bool] = dataclasses.field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the median ratio to the first peer is as expected."""
        if self.expected is None or not self.ratios:
            return None
        return bool(np.median(next(iter(self.ratios.values()))) >= self.expected)

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "title": self.title,
            "rates": {name: spread(values) for name, values in self.rates.items()},
            "ratios": {name: spread(values) for name, values in self.ratios.items()},
            "compile_seconds": self.compile_seconds,
            "peak_share": self.peak_share,
            "absent": self.absent,
            "expected": self.expected,
            "met": self.met,
            "facts": self.facts,
            "checks": self.checks,
        }


def compare(
    title: str,
    sides: Mapping[str, Contestant | Callable[[], Contestant]],
    *,
    rounds: int,
    per_run: float = 1,
    flops: float | None = None,
    expected: float | None = None,
) -> Row:
    """Measure all sides in turns.

    Args:
        title: what is compared, with its unit.
        sides: ours first, then the peers; a function that makes one may fail, and that peer is
            then reported as absent.
        rounds: turns of each.
        per_run: units that a run does.
        flops: floating-point operations of a run.
        expected: the ratio to the first peer to reach.
    """
    contestants, absent = {}, {}
    for name, side in sides.items():
        try:
            contestants[name] = side if isinstance(side, Contestant) else side()
        except Exception as error:  # whatever a peer's compiler raises
            if name == OURS:
                raise
            absent[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    peak = {"peak": matmul_peak()} if flops is not None else {}
    seconds = alternate(contestants | peak, rounds)
    share = {}
    if flops is not None:
        best = seconds.pop("peak")
        share = {name: float(np.median(flops * best / s)) for name, s in seconds.items()}
    ours = seconds[OURS]
    return Row(
        title=title,
        rates={name: per_run / values for name, values in seconds.items()},
        ratios={name: values / ours for name, values in seconds.items() if name != OURS},
        compile_seconds={name: one.compile_seconds for name, one in contestants.items()},
        peak_share=share,
        absent=absent,
        expected=expected,
    )


def heading(row: Row) -> str:
    """The title, and whether what was expected came out."""
    if row.expected is None:
        return row.title
    return f"{row.title} (expected {row.expected:g}×: {'met' if row.met else 'NOT met'})"


def table(row: Row) -> Table:
    """For the terminal."""
    known = list(dict.fromkeys(key for facts in row.facts.values() for key in facts))
    columns = ("", "a second", "jaxml is", "from", "to", "compile s", "of peak", *known)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, rate in row.rates.items():
        ratio = row.ratios.get(name)
        span = () if ratio is None else (np.median(ratio), ratio.min(), ratio.max())
        median = float(np.median(rate))
        cells = [f"{median:,.0f}" if median >= 1e3 else f"{median:.3g}"]
        cells += [f"{value:.2f}×" for value in span] or ["", "", ""]
        cells += [f"{row.compile_seconds[name]:.1f}"]
        cells += [f"{row.peak_share[name]:.0%}" if name in row.peak_share else ""]
        facts = row.facts.get(name, {})
        cells += [f"{facts[key]:.3g}" if key in facts else "" for key in known]
        grid.add_row(f"  {name}", *cells)
    return grid
