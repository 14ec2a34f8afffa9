"""How many eigenvalues are negative, zero and positive, with what is not known said."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

from jaxml.backend import require_sound_backend
from jaxml.checks import require, require_positive_int
from jaxml.landscape.lanczos import (
    Projected,
    basis_rows,
    begin,
    eigenpairs,
    extend,
    project,
    salt,
)
from jaxml.landscape.operators import SymmetricOperator, available_memory
from jaxml.landscape.problem import precision
from jaxml.seeds import require_seed

# the level of every interval of this module
_CONFIDENCE = 0.95
# random vectors of the stochastic count, and steps from each
_PROBES, _STEPS = 8, 80
# negative eigenvalues looked for one by one, first and at most
_FEW = (8, 32)


class Interval(NamedTuple):
    """A count that is known to lie from low to high; decided where the two are equal."""

    low: int
    high: int

    def __str__(self) -> str:
        """One number where it is decided."""
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,} to {self.high:,}"


@dataclasses.dataclass(frozen=True)
class SpectrumCounts:
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

    def __str__(self) -> str:
        """The counts and what they rest on, in one sentence."""
        left = f", {self.undecided:,} undecided" if self.undecided else ""
        return (
            f"of {self.size:,} eigenvalues {self.negative} negative, {self.within} within "
            f"±{self.tolerance:.1e}, {self.positive} positive{left} ({self.method}: "
            f"{self.certainty})"
        )


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
    looked for one by one from the lowest end, up to 32 of them, and random vectors count the
    rest: the spectral measure of each has bounds that no quadrature error can break (Radau
    rules with a node at ±tolerance), and the spread over the vectors gives the interval.

    Args:
        operator: from `hessian`, or any other `SymmetricOperator`.
        tolerance: the size up to which an eigenvalue counts as zero; what rounding explains by
            default, size·ε·‖H‖ with the dtype's ε.
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
        Karlin and Studden 1966 for the inequalities of Chebyshev, Markov and Stieltjes;
        Kuczyński and Woźniakowski 1992, theorem 4.2, for what random vectors cannot have missed.

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
    room = memory or None
    return _by_products(operator, tolerance, room, max_products, seed, on_progress)


def _dense(operator: SymmetricOperator, tolerance: float | None) -> SpectrumCounts:
    matrix = np.asarray(operator.dense())
    bad = int((~np.isfinite(matrix)).sum())
    require(bad == 0, "a finite matrix", f"{bad} values that are not")
    values = np.linalg.eigvalsh(matrix)
    size, norm = values.size, float(abs(values).max())
    epsilon = float(np.finfo(matrix.dtype).eps)
    tolerance = size * epsilon * norm if tolerance is None else tolerance
    # Higham 2002, section 2.8: rounding errors add up like a random walk
    rounding = size**0.5 * epsilon * norm
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
            tolerance=min(1e-5, epsilon**0.5),
            multiplicities=True,
            max_products=budget - products,
            start=found,
            seed=seed,
            memory=memory,
            on_progress=lambda done, _, earlier=earlier: report(earlier + done),
        )
        products += found.products
        cut = -(size * epsilon * found.norm if tolerance is None else tolerance)
        more = min(_FEW[1], size)
        left = found.converged.all() and not ended and budget - products > 4 * more
        if not left or lowest == more or found.values[lowest - 1] > cut:
            break
        lowest = more
    rounding = found.rounding + 10 * epsilon * found.norm
    # Courant and Fischer: at least as many eigenvalues are below the cut as Ritz values
    below = found.values < cut - rounding
    negative = Interval(int(below.sum()), size)
    least = found.values - found.residuals
    complete = lowest == size or (len(least) > lowest and least[lowest - 1] > cut)
    if complete and found.converged.all():
        negative = Interval(negative.low, int((least <= cut).sum()))

    # random vectors orthogonal to what is known to be negative
    known, rest = found.vectors[below], size - negative.low
    steps = min(steps, rest)
    shift = float(np.linalg.norm(found.residuals[below])) + rounding
    shares, ritz = [], []
    with precision(operator.dtype == np.float64):
        rows = np.append(known, np.zeros((1, size), known.dtype), axis=0)
        for i in range(_PROBES if rest else 0):
            stop, drawn = len(known) + steps, salt(seed, 2, i)
            basis = begin(rows, drawn, stop, with_images=False)
            basis = extend(operator.product, basis, stop, drawn)
            seen = project(basis, skip=len(known))
            products += steps
            shares.append([_below(seen, x, shift) for x in (cut, -cut)])
            ritz.extend(seen.values)
            if report(products):
                break
    bounds = np.reshape(shares, (-1, 2, 2))  # of each vector, below each cut, from and to
    under, up_to = bounds[:, 0], bounds[:, 1]
    sampled = _interval(under, rest)
    sampled = Interval(negative.low + sampled.low, negative.low + sampled.high)
    within = _interval(np.clip(up_to - under[:, ::-1], 0, 1), rest)
    positive = _interval(1 - up_to[:, ::-1], rest)

    missed = min(ritz, default=np.inf) < cut - shift
    decided = negative.high < size or rest == 0
    words = f"{len(shares)} random vectors of {steps} steps, intervals at {_CONFIDENCE:.0%}"
    if decided and not missed:
        method = "lowest end"
        if rest:
            floor = _floor(ritz, steps, len(shares), rest)
            words = f"at {_CONFIDENCE:.0%} no negative one below {floor:.1e} is missing; {words}"
    else:
        method = "stochastic"
        low = max(negative.low + missed, sampled.low)
        negative = Interval(low, max(low, sampled.high))
    negative, within, positive = _consistent(size, negative, within, positive)
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


def _below(seen: Projected, x: float, shift: float) -> tuple[float, float]:
    """Between which shares of a vector's spectral measure lies below x.

    The rule with a node at x gives that node the largest mass that x can have with the moments
    known, and the nodes below it the least mass below x. Both hold up to a `shift` of the
    spectrum.
    """
    return _radau(seen, x - shift)[0], _radau(seen, x + shift)[1]


def _radau(seen: Projected, x: float) -> tuple[float, float]:
    """The mass of the nodes below x in the Gauss–Radau rule with a node at x, and with it."""
    apart = seen.values - x
    coupling = seen.rest * seen.weights[-1]
    tiny = np.finfo(float).eps * (abs(seen.values).max() + abs(x)) + np.finfo(float).tiny
    apart = np.where(abs(apart) < tiny, tiny, apart)
    arrow = np.diag(np.append(seen.values, x + (coupling**2 / apart).sum()))
    arrow[-1, :-1] = arrow[:-1, -1] = coupling
    nodes, vectors = np.linalg.eigh(arrow)
    masses = (np.append(seen.weights[0], 0) @ vectors) ** 2
    node = int(abs(nodes - x).argmin())
    return masses[:node].sum(), masses[: node + 1].sum()


def _interval(shares: np.ndarray, size: int) -> Interval:
    """The interval of a count from the shares that random vectors give, from and to."""
    if len(shares) < 2:
        return Interval(0, size)
    spread = shares.std(axis=0, ddof=1) / len(shares) ** 0.5
    spread = spread * stdtrit(len(shares) - 1, (1 + _CONFIDENCE) / 2)
    low, high = size * (shares.mean(axis=0) + spread * [-1, 1])
    return Interval(max(0, int(np.ceil(low))), min(size, int(np.floor(high))))


def _floor(ritz: list[float], steps: int, vectors: int, size: int) -> float:
    """What no eigenvalue is below, at the level of confidence, by these Ritz values.

    Each vector has missed the lowest by a share e of the spectrum's width with a probability of
    at most 1.648·√size·exp(−√e·(2·steps − 1)), Kuczyński and Woźniakowski 1992, theorem 4.2.
    """
    root = np.log(1.648 * size**0.5) - np.log(1 - _CONFIDENCE) / vectors
    share = (root / (2 * steps - 1)) ** 2
    lowest, highest = min(ritz), max(ritz)
    if steps == size:
        return lowest
    return (lowest - share * highest) / (1 - share) if share < 1 else -np.inf


def _consistent(size: int, *counts: Interval) -> list[Interval]:
    """The intervals as far as the others leave room for them; they add up to the size."""
    low, high = sum(c.low for c in counts), sum(c.high for c in counts)
    narrowed = []
    for count in counts:
        least = max(count.low, size - (high - count.high))
        most = min(count.high, size - (low - count.low))
        narrowed.append(Interval(min(least, size), max(min(least, size), most)))
    return narrowed
