"""How often the intervals of stochastic estimates hold: `python -m benchmarks.coverage`.

Known spectra in a rotated basis, in float64, and the public functions with one seed after
another. An interval is stated at 95 %; ±2 standard errors are shown beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.linalg import hadamard

from jaxml import landscape

SIZE = 512
_SIDES = 16, 32
_RANKS = np.arange(1.0, SIZE + 1)
SPECTRA = {
    "i⁻²": _RANKS**-2,
    ".9ⁱ": 0.9**_RANKS,
    "i⁻¹": 1 / _RANKS,
    "1e-6 … 1": np.geomspace(1e-6, 1, SIZE),
    "1e-16 … 1": np.geomspace(1e-16, 1, SIZE),
    "4 zeros": np.r_[np.zeros(4), np.linspace(0.5, 1, SIZE - 4)],
    "one large": np.r_[np.full(SIZE - 1, 1e-3), 10.0],
    "two values": np.repeat([0.1, 1.0], SIZE // 2),
}
SHIFT = 1e-2
_POINTS = [2e-3, 0.05, 0.6]
_TOLERANCE = 2e-3


class Case(NamedTuple):
    """An estimator: operator and seed -> intervals and ±2 standard errors, and what is true."""

    estimate: Callable[[Any, int], tuple[list, list]]
    truth: Callable[[np.ndarray], list[float]]


def operator(spectrum: np.ndarray) -> landscape.SymmetricOperator:
    """The matrix of so many eigenvalues in the basis of two Hadamard matrices and random signs."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], SIZE)
    return landscape.symmetric(Partial(_rotated, spectrum, signs), SIZE, np.float64)


def _rotated(spectrum, signs, vector):
    left, right = (jnp.asarray(hadamard(n) / n**0.5, vector.dtype) for n in _SIDES)
    mix = lambda v: (left @ v.reshape(_SIDES) @ right).ravel()  # noqa: E731
    return mix(signs * mix(spectrum * mix(signs * mix(vector))))


def _estimate(function: Callable, **options: Any) -> Callable[[Any, int], tuple[list, list]]:
    def estimate(matrix, seed):
        found = function(matrix, seed=seed, **options)
        spread = 2 * found.standard_error
        return [(found.low, found.high)], [(found.value - spread, found.value + spread)]

    return estimate


def _shares(matrix, seed):
    found = landscape.spectral_density(matrix, steps=30, probes=10, seed=seed)
    shares = found.cumulative(np.array(_POINTS))
    spread = 2 * shares.standard_error
    intervals = zip(shares.low, shares.high, strict=True)
    return list(intervals), list(zip(shares.value - spread, shares.value + spread, strict=True))


def _counts(matrix, seed):
    found = landscape.count_eigenvalues(
        matrix, tolerance=_TOLERANCE, memory=0, max_products=400, seed=seed
    )
    return [found.negative, found.within, found.positive], []


CASES = {
    "trace, Hutchinson": Case(
        _estimate(landscape.trace, method="hutchinson", max_products=60), lambda s: [s.sum()]
    ),
    "trace, Hutch++": Case(
        _estimate(landscape.trace, method="hutch++", max_products=60), lambda s: [s.sum()]
    ),
    "trace, XTrace": Case(
        _estimate(landscape.trace, method="xtrace", max_products=60), lambda s: [s.sum()]
    ),
    "Frobenius norm": Case(
        _estimate(landscape.frobenius_norm, max_products=60), lambda s: [np.linalg.norm(s)]
    ),
    "log-determinant": Case(
        _estimate(landscape.log_determinant, shift=SHIFT, lowest=0.0, steps=30, probes=10),
        lambda s: [np.log(s + SHIFT).sum()],
    ),
    "the same, lowest unknown": Case(
        _estimate(landscape.log_determinant, shift=SHIFT, steps=30, probes=10),
        lambda s: [np.log(s + SHIFT).sum()],
    ),
    "effective dimension": Case(
        _estimate(landscape.effective_dimension, damping=SHIFT, lowest=0.0, steps=30, probes=10),
        lambda s: [(s / (s + SHIFT)).sum()],
    ),
    "shares of the density": Case(_shares, lambda s: [(s <= x).mean() for x in _POINTS]),
    "counts of eigenvalues": Case(
        _counts, lambda s: [0, (s <= _TOLERANCE).sum(), (s > _TOLERANCE).sum()]
    ),
}


class Row(NamedTuple):
    """How often the intervals of one estimator held on one spectrum, of so many."""

    case: str
    spectrum: str
    held: int
    two_errors: int
    of: int
    width: float


def coverage(case: str, spectrum: str, seeds: int) -> Row:
    """Try one estimator on one spectrum, one seed after another."""
    values, (estimate, truth) = SPECTRA[spectrum], CASES[case]
    matrix, true = operator(values), truth(values)
    held, rough, widths = 0, 0, []
    for seed in range(seeds):
        intervals, errors = estimate(matrix, seed)
        held += sum(low <= t <= high for (low, high), t in zip(intervals, true, strict=True))
        rough += sum(low <= t <= high for (low, high), t in zip(errors, true, strict=False))
        widths += [high - low for low, high in intervals]
    return Row(case, spectrum, held, rough, seeds * len(true), float(np.median(widths)))


def table(seeds: int, cases: list[str]) -> Iterator[Row]:
    """All spectra of the estimators named."""
    return (coverage(case, spectrum, seeds) for case in cases for spectrum in SPECTRA)


def main() -> int:
    """Print how often the intervals held."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seeds", type=int, default=100, help="of each (100)")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"expected cases among {', '.join(CASES)}, got {', '.join(unknown)}")
    print(f"{'':26}{'':12}{'interval':>12}{'±2 errors':>12}{'width':>11}")
    for row in table(options.seeds, options.cases or list(CASES)):
        rough = "" if row.case.startswith("counts") else f"{row.two_errors} of {row.of}"
        held = f"{row.held} of {row.of}"
        print(f"{row.case:26}{row.spectrum:12}{held:>12}{rough:>12}{row.width:11.3g}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
