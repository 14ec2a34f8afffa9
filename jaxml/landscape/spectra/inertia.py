"""How many eigenvalues are negative, zero and positive, with what is not known said."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.result import Result
from jaxml.core.seeds import require_seed
from jaxml.core.selfcheck import require_sound_backend
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.dense_hessian import available_memory, gib
from jaxml.landscape.operators.validation import precision
from jaxml.landscape.spectra.counting import Evidence, Interval
from jaxml.landscape.spectra.eigenpairs import basis_rows, eigenpairs
from jaxml.linalg.eigvalsh import eigenvalues
from jaxml.linalg.krylov import begin, extend, key_data, rayleigh_ritz, unit
from jaxml.linalg.probe_intervals import CONFIDENCE
from jaxml.linalg.quadrature import Rule, lowest_bound
from jaxml.linalg.rounding import rounding_error, zero_tolerance

# random vectors of the stochastic count, and steps from each
_PROBES, _STEPS = 8, 80
# negative eigenvalues looked for one by one, first and at most
_FEW = (8, 32)


@dataclasses.dataclass(frozen=True)
class SpectrumCounts(Result):
    """How many eigenvalues are below −tolerance, within ±tolerance and above +tolerance.

    Attributes:
        negative: the index, as an interval.
        within: as an interval.
        positive: as an interval.
        tolerance: the size up to which an eigenvalue counts as zero.
        norm: ‖H‖, from below.
        method: `dense` (all eigenvalues of the matrix), `lowest end` (the negative ones one by
            one, the other two counts by random vectors), `stochastic` (all by random vectors).
        certainty: what the intervals rest on, in words.
        products: Hessian-vector products used; 0 for `dense`, which forms the matrix.
        size: how many eigenvalues there are.
    """

    negative: Interval
    within: Interval
    positive: Interval
    tolerance: float
    norm: float
    method: Literal["dense", "lowest end", "stochastic"]
    certainty: str
    products: int
    size: int

    @property
    def undecided(self) -> int:
        """How many eigenvalues are not known to be of one of the three kinds."""
        return self.size - self.negative.low - self.within.low - self.positive.low


def count_eigenvalues(
    operator: SymmetricOperator,
    *,
    tolerance: float | None = None,
    memory: int | None = None,
    max_products: int = 1500,
    seed: int = 0,
    on_progress: Callable[[int, int], bool | None] | None = None,
) -> SpectrumCounts:
    """Count the negative, zero and positive eigenvalues of a symmetric operator.

    Exactly from the dense matrix where that fits into memory. Otherwise the negative ones are
    looked for one by one from the lowest, up to 32 of them. The pairs found count for
    themselves, and random vectors orthogonal to them count the rest: the spectral measure of each
    has bounds that no quadrature error can break (Radau rules with a node at ±tolerance), and the
    mass of k eigenvalues has a known distribution, which gives the interval.

    Of a spectrum that falls over many orders of magnitude, products alone leave the counts wide
    (of `eigenpairs` see what is said there). The dense matrix decides, in float64 where there are
    eigenvalues below 1e-6·‖H‖; without it, a `tolerance` that is larger decides more of what is
    above it, and so do other units of the parameters, as there.

    Args:
        operator: from `hessian`, or any other `SymmetricOperator`.
        tolerance: the size up to which an eigenvalue counts as zero; by default what rounding
            explains, 10·√size·ε·‖H‖ with the dtype's ε, or ten times the rounding measured where
            that is more.
        memory: bytes it may take; half of what is free by default. The dense way takes six
            matrices; 0 keeps from it, and then the basis has the memory it needs.
        max_products: at most so many products.
        seed: of the random vectors.
        on_progress: called with the products done and `max_products`; ends the search for
            negative eigenvalues if it returns True.

    Returns:
        The counts as intervals, see `SpectrumCounts`; the stochastic ones hold at the level of
        95 %, each count for itself.

    Raises:
        ValueError: if options are out of range, a basis does not fit into memory, or a product
            is not finite.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Golub and Meurant 2010, "Matrices, Moments and Quadrature", section 6.2, for the rules;
        Karlin and Studden 1966 for the inequalities of Chebyshev, Markov and Stieltjes; Higham
        2002, section 2.8, for the rounding; Haynsworth 1968 for what the rest of the pairs found
        does to the count of the rest.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> saddle = hessian(lambda w: w[0] ** 2 - w[1] ** 2 + 0 * w[2], jnp.ones(3))
        >>> counts = count_eigenvalues(saddle)
        >>> counts.negative, counts.within, counts.positive
        (Interval(low=1, high=1), Interval(low=1, high=1), Interval(low=1, high=1))
    """
    valid = tolerance is None or 0 <= tolerance < np.inf
    require(valid, "a tolerance of at least 0", tolerance)
    require(memory is None or memory >= 0, "memory of at least 0 bytes", memory)
    max_products = require_positive_int("max_products", max_products)
    require(max_products >= 64, "max_products of at least 64", max_products)
    require_seed(seed)
    require_sound_backend()
    bound = available_memory() // 2 if memory is None else memory
    if 6 * operator.size**2 * operator.dtype.itemsize <= bound:
        return _dense(operator, tolerance)
    return _by_products(operator, tolerance, memory or None, max_products, seed, on_progress)


def _dense(operator: SymmetricOperator, tolerance: float | None) -> SpectrumCounts:
    values = eigenvalues(operator.dense())
    size, norm = values.size, float(abs(values).max())
    tolerance = zero_tolerance(size, values.dtype, norm) if tolerance is None else tolerance
    rounding = rounding_error(size, values.dtype, norm)
    negative = [int((values < -tolerance + shift).sum()) for shift in (-rounding, rounding)]
    positive = [int((values > tolerance + shift).sum()) for shift in (rounding, -rounding)]
    within = [int((abs(values) <= tolerance + shift).sum()) for shift in (-rounding, rounding)]
    return SpectrumCounts(
        negative=Interval(*negative),
        within=Interval(*within),
        positive=Interval(*positive),
        tolerance=tolerance,
        norm=norm,
        method="dense",
        certainty=f"every eigenvalue, to {rounding:.1e}",
        products=0,
        size=size,
    )


def _by_products(operator, tolerance, memory, max_products, seed, on_progress) -> SpectrumCounts:
    size, epsilon = operator.size, float(np.finfo(operator.dtype).eps)
    steps = min(_STEPS, size, basis_rows(operator, 1, memory), max_products // (2 * _PROBES))
    budget, products, ended = max_products - steps * _PROBES, 0, False
    sought = min(1e-5, epsilon**0.5)

    def report(done):
        nonlocal ended
        ended = ended or (on_progress is not None and bool(on_progress(done, max_products)))
        return ended

    found, lowest = None, min(_FEW[0], size)
    while True:
        earlier = products
        found = eigenpairs(
            operator,
            top=1,
            lowest=lowest,
            tolerance=sought,
            multiplicities=True,
            max_products=budget - products,
            start=found,
            seed=seed,
            memory=memory,
            on_progress=lambda done, _, earlier=earlier: report(earlier + done),
        )
        products += found.products
        zero = max(zero_tolerance(size, operator.dtype, found.norm), 10 * found.rounding)
        cut = -zero if tolerance is None else -tolerance
        more = min(_FEW[1], size)
        left = found.converged.all() and not ended and budget - products > 4 * more
        if not left or lowest == more or found.values[lowest - 1] > cut:
            break
        lowest = more
    rounding = found.rounding + 10 * epsilon * found.norm

    # random vectors orthogonal to what was found
    known = found.residuals <= sought * found.norm
    pairs, rest = int(known.sum()), size - int(known.sum())
    steps = min(steps, rest)
    rules = []
    with precision(operator.dtype == np.float64):
        # with rows of zeros: few lengths, so that little is compiled
        skip = -(-pairs // 16) * 16
        rows = np.zeros((skip + 1, size), found.vectors.dtype)
        rows[:pairs] = found.vectors[known]
        for i in range(_PROBES if rest else 0):
            drawn = key_data(seed, 2, i)
            basis = begin(rows, drawn, skip + steps, with_images=False)
            basis = extend(operator.product, basis, skip + steps, drawn, size)
            seen = rayleigh_ritz(basis, skip=skip, unit=unit(basis))
            products += steps
            rules.append(Rule(seen.values, seen.weights[0], seen.weights[-1], seen.rest))
            if report(products):
                break
    evidence = Evidence(found.values[known], found.residuals[known], rules, rest, rounding)
    negative, within, positive = evidence.counts(-cut)
    own, _ = evidence.shifts(cut)
    lowest_node = min((float(rule.nodes[0]) for rule in rules), default=np.inf)

    # Courant and Fischer: at least as many eigenvalues are below the cut as Ritz values
    below = int((found.values < cut - rounding).sum())
    missed = lowest_node < cut - evidence.coupling - rounding
    if missed:
        below = max(below, 1 + int((evidence.values < cut - evidence.coupling - rounding).sum()))
    words = f"{len(rules)} random vectors of {steps} steps, intervals at {CONFIDENCE:.0%}"
    complete = lowest == size or (
        len(found.values) > lowest and float(found.values[lowest - 1]) - own > cut
    )
    if complete and found.converged.all() and not missed:
        method, high = "lowest end", int((found.values - own <= cut).sum())
        if rest and rules:
            floor = lowest_bound(rules, rest, 1 - CONFIDENCE) - evidence.coupling - rounding
            words = f"at {CONFIDENCE:.0%} no negative one below {floor:.1e} is missing; {words}"
    else:
        method, high = "stochastic", negative.high
        if left := int((~found.converged).sum()):
            words += f"; {left} of {len(found.values)} extreme ones did not converge"
    negative = Interval(max(below, negative.low), max(below, negative.low, high))
    negative, within, positive = _consistent(size, negative, within, positive)
    if any(count.low < count.high for count in (negative, within, positive)):
        finer = ", float64" if operator.dtype == np.float32 else ""
        matrices = gib(6 * size**2 * operator.dtype.itemsize)
        words += (
            f"; to decide more: `memory` of {matrices} for the whole matrix{finer}, a larger "
            "tolerance, or more products"
        )
    return SpectrumCounts(
        negative=negative,
        within=within,
        positive=positive,
        tolerance=-cut,
        norm=found.norm,
        method=method,
        certainty=words,
        products=products,
        size=size,
    )


def _consistent(size: int, *counts: Interval) -> list[Interval]:
    """The intervals as far as the others allow; they add up to the size."""
    low, high = sum(c.low for c in counts), sum(c.high for c in counts)
    narrowed = []
    for count in counts:
        least = max(count.low, size - (high - count.high))
        most = min(count.high, size - (low - count.low))
        narrowed.append(Interval(min(least, size), max(min(least, size), most)))
    return narrowed
