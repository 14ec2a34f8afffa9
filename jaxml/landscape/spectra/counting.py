"""What eigenpairs and random vectors orthogonal to them prove of the counts of eigenvalues."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxml.linalg.probe_intervals import count_bounds
from jaxml.linalg.quadrature import Rule, mass_below


class Interval(NamedTuple):
    """A count that is known to lie from low to high; decided where the two are equal."""

    low: int
    high: int

    def __str__(self) -> str:
        """One number where it is decided."""
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"


class Counts(NamedTuple):
    """How many eigenvalues are below −tolerance, within ±tolerance and above it."""

    negative: Interval
    within: Interval
    positive: Interval


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A symmetric matrix H in two parts: VᵀHV of the pairs found, and what is orthogonal to V.

    Attributes:
        values: Ritz values of orthonormal vectors V.
        residuals: ‖Hv − θv‖ of each.
        rules: of the measures of H on the complement of V, from random vectors there.
        rest: the dimension of the complement.
        rounding: how far rounding may have moved an eigenvalue.
    """

    values: np.ndarray
    residuals: np.ndarray
    rules: Sequence[Rule]
    rest: int
    rounding: float

    @property
    def coupling(self) -> float:
        """The norm of what couples the parts, from above: no eigenvalue moves more by it."""
        return float(np.linalg.norm(self.residuals))

    def shifts(self, x: float) -> tuple[float, float]:
        """How far the values and the rest's measure may be off, for the count below x.

        By the least of three arguments: Weyl's, that the coupling moves no eigenvalue by more;
        Haynsworth's, that the count below x is that of the pairs and of the rest less
        Σrᵢrᵢᵀ/(θᵢ − x); and the same with the parts exchanged, where the rest has a gap around x.
        """
        squares = self.residuals**2
        beside = float((squares / np.maximum(abs(self.values - x), np.finfo(float).tiny)).sum())
        own, rest = (0.0, beside) if beside < self.coupling else (self.coupling, self.coupling)
        margin = self._gap - abs(x)
        if margin > rest:
            own = min(own, float(squares.sum()) / margin)
        return own + self.rounding, rest + self.rounding

    @functools.cached_property
    def _gap(self) -> float:
        """A distance from 0 up to which the complement has no eigenvalue, at the level of 95 %."""
        if not self.rules:
            return 0.0 if self.rest else np.inf
        gap = min(float(abs(rule.nodes).min()) for rule in self.rules) / 2
        below = [np.array([mass_below(rule, x) for rule in self.rules]) for x in (-gap, gap)]
        return gap if count_bounds(*_between(*below), self.rest).high == 0 else 0.0

    def counts(self, tolerance: float) -> Counts:
        """The three counts, each at the level of 95 %."""
        own, below = [], []
        for x in (-tolerance, tolerance):
            shift, apart = self.shifts(x)
            own.append(shift)
            masses = [
                (mass_below(rule, x - apart)[0], mass_below(rule, x + apart)[1])
                for rule in self.rules
            ]
            below.append(np.reshape(masses, (-1, 2)))
        under, up_to = below
        shift = max(own)
        sizes = abs(self.values)
        known = (
            [(self.values < -tolerance + s).sum() for s in (-own[0], own[0])],
            [(sizes <= tolerance + s).sum() for s in (-shift, shift)],
            [(self.values > tolerance + s).sum() for s in (own[1], -own[1])],
        )
        inner = _between(under, up_to)
        masses = [(under[:, 0], under[:, 1]), inner, (1 - up_to[:, 1], 1 - up_to[:, 0])]
        rest = [count_bounds(low, high, self.rest) for low, high in masses]
        found = [
            Interval(int(pairs[0] + beyond.low), int(pairs[1] + beyond.high))
            for pairs, beyond in zip(known, rest, strict=True)
        ]
        return Counts(found[0], found[1], found[2])


def _between(under: np.ndarray, up_to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the most mass between two points, from those below each."""
    return np.maximum(up_to[:, 0] - under[:, 1], 0), up_to[:, 1] - under[:, 0]
