"""Gauss and Gauss–Radau rules of Lanczos' matrices, and what they prove of the measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2


class Quadrature(NamedTuple):
    """Nodes, ascending, and weights of sum 1."""

    nodes: np.ndarray
    weights: np.ndarray


class Rule(NamedTuple):
    """A Gauss rule with what leads to the Radau rules; all but `rest` of shape `(nodes,)`.

    Attributes:
        nodes: the eigenvalues of Lanczos' matrix, ascending.
        first: the first component of each eigenvector: the weights are the squares.
        last: the last components.
        rest: what couples the space to the rest: 0 where it is invariant.
    """

    nodes: np.ndarray
    first: np.ndarray
    last: np.ndarray
    rest: float

    @property
    def weights(self) -> np.ndarray:
        """Of the nodes, of sum 1."""
        return self.first**2 / (self.first**2).sum()


def gauss(alphas: np.ndarray, betas: np.ndarray) -> Rule:
    """The Gauss rule of a tridiagonal matrix, up to where its space is invariant.

    Args:
        alphas: the diagonal.
        betas: beside it, as of `Tridiagonal`.

    Reference:
        Golub and Welsch 1969.
    """
    alphas, betas = np.asarray(alphas, float), np.asarray(betas, float)
    ends = np.flatnonzero(betas[:-1] == 0)
    k = int(ends[0]) + 1 if ends.size else alphas.size
    beside = betas[: k - 1]
    matrix = np.diag(alphas[:k]) + np.diag(beside, 1) + np.diag(beside, -1)
    nodes, vectors = np.linalg.eigh(matrix)
    return Rule(nodes, vectors[0], vectors[-1], float(betas[k - 1]))


def quadrature(alphas: np.ndarray, betas: np.ndarray) -> Quadrature:
    """The Gauss rule with as many nodes as steps: beyond an invariant space without mass."""
    rule = gauss(alphas, betas)
    missing = (0, np.size(alphas) - rule.nodes.size)
    return Quadrature(np.pad(rule.nodes, missing, mode="edge"), np.pad(rule.weights, missing))


def radau(rule: Rule, x: float) -> Quadrature:
    """The Gauss–Radau rule with a node at x.

    Reference:
        Golub and Meurant 2010, "Matrices, Moments and Quadrature", section 6.2, here from the
        eigenvectors of Lanczos' matrix, which leaves an arrow.
    """
    coupling = rule.rest * rule.last
    apart = rule.nodes - x
    tiny = np.finfo(float).eps * (abs(rule.nodes).max() + abs(x)) + np.finfo(float).tiny
    apart = np.where(abs(apart) < tiny, tiny, apart)
    arrow = np.diag(np.append(rule.nodes, x + (coupling**2 / apart).sum()))
    arrow[-1, :-1] = arrow[:-1, -1] = coupling
    nodes, vectors = np.linalg.eigh(arrow)
    return Quadrature(nodes, (np.append(rule.first, 0) @ vectors) ** 2)


def mass_below(rule: Rule, x: float) -> tuple[float, float]:
    """Between which masses the measure has below x.

    The rule with a node at x gives that node the largest mass that x can have with the moments
    known, and the nodes below it the least mass below x.

    Reference:
        Karlin and Studden 1966, for the inequalities of Chebyshev, Markov and Stieltjes.
    """
    nodes, masses = radau(rule, x)
    node = int(abs(nodes - x).argmin())
    return masses[:node].sum(), masses[: node + 1].sum()


def lowest_bound(rules: Sequence[Rule], size: int, risk: float = 0.01) -> float:
    """What the lowest of `size` eigenvalues is not below, but for so small a risk.

    In the measure of a vector evenly distributed on the sphere the mass of an eigenvector is
    about χ²/size with one degree of freedom. What the moments known leave for a mass at x is
    exact, and small for an x beyond the nodes. So x is excluded where over all vectors less is
    left than χ² with as many degrees has with a probability of `risk`.

    Args:
        rules: of independent vectors, each evenly distributed on the sphere.
        size: of the operator.
        risk: the probability of being wrong.

    Reference:
        Kuczyński and Woźniakowski 1992, for the same argument with the worst of all spectra in
        place of the measure found; Akhiezer 1965, chapter 2, for the mass that is left.
    """
    least = chi2.ppf(risk, len(rules)) / size
    start = min(float(rule.nodes[0]) for rule in rules)
    width = max(float(rule.nodes[-1]) for rule in rules) - start
    if all(rule.rest == 0 for rule in rules):
        return start

    def excluded(distance: float) -> bool:
        return bool(sum(_mass_left(rule, start - distance) for rule in rules) < least)

    low = np.finfo(float).eps * (width + abs(start)) + np.finfo(float).tiny
    if excluded(low):
        return start - low
    high = 2 * low
    while not excluded(high):
        low, high = high, 2 * high
    for _ in range(8):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if excluded(middle) else (middle, high)
    return start - high


def _mass_left(rule: Rule, x: float) -> float:
    """The largest mass that the moments known leave for x, below all nodes: the Radau node's."""
    resolvent = rule.rest * rule.last / (rule.nodes - x)
    return float((rule.first @ resolvent) ** 2 / (1 + resolvent @ resolvent))
