"""How the eigenvalues of an operator too large for a matrix are distributed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxml.core.checks import require, require_positive_int
from jaxml.core.result import Result
from jaxml.core.seeds import key as key_of
from jaxml.core.seeds import words
from jaxml.core.selfcheck import require_sound_backend
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.validation import precision
from jaxml.linalg.krylov import lanczos
from jaxml.linalg.probe_intervals import count_bounds, mean_bounds, standard_error
from jaxml.linalg.quadrature import quadrature
from jaxml.linalg.rounding import zero_tolerance

# a standard error from fewer probes is itself a guess, and is not relied on to stop
FEWEST = 5
# the eigenvalues of a dense matrix of this size take seconds; of a larger one the probes are faster
_DENSE = 4096
_POINTS = 1001

OnProgress = Callable[[int, int], Any] | None


class Mean(NamedTuple):
    """A mean over the eigenvalues.

    Attributes:
        value: the estimate.
        standard_error: over the probes: NaN from one probe.
        low: the least and
        high: the largest mean that the probes leave, at 95 %: of the probes alone, which is all
            for a polynomial of a degree below 2·steps; infinite from one probe.
    """

    value: Any
    standard_error: Any
    low: Any
    high: Any


class Share(NamedTuple):
    """A share of the eigenvalues.

    Attributes:
        value: the estimate.
        standard_error: over the probes alone: NaN from one probe. It says nothing of where the
            quadratures cannot place the mass, which may be far more.
        lower: the least that the probes' quadratures allow, and
        upper: the most: they tell where the mass is only up to the weight of a node.
        low: the least share and
        high: the largest that quadratures and probes together leave, at 95 %: the interval to
            report.
    """

    value: Any
    standard_error: Any
    lower: Any
    upper: Any
    low: Any
    high: Any


class Shares(NamedTuple):
    """The shares of the eigenvalues below −tolerance, within ±tolerance and above +tolerance."""

    negative: Share
    within: Share
    positive: Share


class Curve(NamedTuple):
    """A density on a grid; of shape `(points,)` each but the width.

    Attributes:
        points: the grid.
        density: the estimate there.
        standard_error: over the probes: NaN from one probe.
        width: the standard deviation of the Gaussian that stands for each eigenvalue.
    """

    points: np.ndarray
    density: np.ndarray
    standard_error: np.ndarray
    width: float


class SignedLogarithmic(NamedTuple):
    """A density over log₁₀|λ| for each sign; all parts together have mass 1.

    Attributes:
        negative: the share per decade at −`points`; `points` are positive, as of
        positive: the same above zero.
        within: the share within ±`floor`, which is in neither.
        floor: the least |λ| of the axis.
    """

    negative: Curve
    positive: Curve
    within: Share
    floor: float


@dataclasses.dataclass(frozen=True)
class Density(Result):
    """The distribution of an operator's eigenvalues. All arrays are numpy's.

    Attributes:
        nodes: one Gauss quadrature a probe, ascending, shape `(probes, steps)`; of an exact
            density the eigenvalues themselves, shape `(1, size)`.
        weights: of the nodes, at least 0, each probe's with sum 1.
        size: how many eigenvalues there are.
        products: how many products it took.
        exact: whether the nodes are all eigenvalues.
        tolerance: the size up to which an eigenvalue counts as zero: what rounding explains, and
            of quadratures 1/steps² of the largest |λ|, within which they do not resolve it.
    """

    nodes: np.ndarray
    weights: np.ndarray
    size: int
    products: int
    exact: bool
    tolerance: float

    @property
    def resolution(self) -> float:
        """The mass that the steps cannot place: the largest weight of a node, mean over probes.

        A probe's quadrature agrees with the distribution at each node up to the node's weight.
        More steps make it finer; one eigenvalue has the mass 1/size.

        Reference:
            Szegő 1939, theorem 3.41.1 (Chebyshev, Markov and Stieltjes).
        """
        return 1 / self.size if self.exact else float(self.weights.max(axis=1).mean())

    def average(self, function: Callable[[np.ndarray], np.ndarray]) -> Mean:
        """The mean of a function over the eigenvalues; `size` times it is a trace.

        Args:
            function: elementwise, of an array of eigenvalues.
        """
        values = (self.weights * function(self.nodes)).sum(axis=1)
        mean, error = self._over_probes(values)
        bounds = (mean, mean) if self.exact else map(float, mean_bounds(values, values))
        return Mean(mean, error, *bounds)

    def moment(self, order: int) -> Mean:
        """The mean of λ^order over the eigenvalues."""
        return self.average(lambda nodes: nodes**order)

    def cumulative(self, points: Float[np.ndarray, " points"] | float) -> Share:
        """The share of the eigenvalues that are at most each of the points."""
        return self._share(*self._sums(points, "right"))

    def shares(self, tolerance: float | None = None) -> Shares:
        """How much of the mass is negative, zero and positive.

        Args:
            tolerance: the size up to which an eigenvalue counts as zero; `self.tolerance` by
                default.

        Raises:
            ValueError: if the tolerance is negative.
        """
        tolerance = self.tolerance if tolerance is None else tolerance
        require(0 <= tolerance < np.inf, "a tolerance of at least 0", tolerance)
        below, low = self._sums(-tolerance, "left")
        upto, high = self._sums(tolerance, "right")
        inner = np.maximum(high[0] - low[1], 0), high[1] - low[0]
        return Shares(
            self._share(below, low),
            self._share(upto - below, inner),
            self._share(1 - upto, (1 - high[1], 1 - high[0])),
        )

    def linear(
        self, points: Float[np.ndarray, " points"] | None = None, width: float | None = None
    ) -> Curve:
        """The density over λ, each eigenvalue a Gaussian.

        Args:
            points: where; 1,001 over the range of the nodes by default.
            width: the Gaussian's standard deviation; a hundredth of that range by default.

        Raises:
            ValueError: if the width is not above 0.
        """
        low, high = float(self.nodes.min()), float(self.nodes.max())
        if width is None:
            width = (high - low or abs(high) or 1.0) / 100
        require(0 < width < np.inf, "a width above 0", width)
        if points is None:
            points = np.linspace(low - 4 * width, high + 4 * width, _POINTS)
        points = np.asarray(points, float)
        heights = _heights(points, self.nodes, self.weights, width)
        return Curve(points, *self._over_probes(heights), float(width))

    def logarithmic(self, floor: float | None = None, width: float = 0.1) -> SignedLogarithmic:
        """The density over log₁₀|λ|, for each sign, each eigenvalue a Gaussian.

        Args:
            floor: the least |λ|; the tolerance, or a millionth of the largest, by default.
            width: the Gaussian's standard deviation, in decades.

        Raises:
            ValueError: if floor or width is not above 0, or the floor not below the largest |λ|.
        """
        largest = float(np.abs(self.nodes).max())
        if floor is None:
            floor = min(max(self.tolerance, 1e-6 * largest), largest / 10)
        require(0 < floor < largest, f"a floor above 0 and below {largest:.3g}", floor)
        require(0 < width < np.inf, "a width above 0", width)
        decades = np.log10(np.maximum(np.abs(self.nodes), floor))
        points = np.linspace(np.log10(floor), np.log10(largest) + 4 * width, _POINTS)

        def side(chosen: np.ndarray) -> Curve:
            heights = _heights(points, decades, np.where(chosen, self.weights, 0.0), width)
            return Curve(10**points, *self._over_probes(heights), float(width))

        return SignedLogarithmic(
            side(self.nodes < -floor), side(self.nodes > floor), self.shares(floor).within, floor
        )

    def _over_probes(self, values: np.ndarray) -> tuple[Any, Any]:
        """Mean and standard error over the leading axis, as Python's floats where they are."""
        mean = values.mean(axis=0)
        error = np.zeros_like(mean) if self.exact else standard_error(values)
        return (mean, error) if np.ndim(mean) else (float(mean), float(error))

    def _sums(self, points: Any, side: Any) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Each probe's mass up to the points, and its least and greatest possible."""
        points = np.asarray(points, float)
        sums = np.pad(np.cumsum(self.weights, axis=1), ((0, 0), (1, 0)))
        places = [np.searchsorted(row, points, side) for row in self.nodes]
        low, value, high = (
            np.stack([row.take(i + d, mode="clip") for row, i in zip(sums, places, strict=True)])
            for d in (-1, 0, 1)
        )
        return value, (value, value) if self.exact else (low, high)

    def _share(self, values: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]) -> Share:
        lower, upper = (self._over_probes(bound)[0] for bound in bounds)
        known = lower, upper
        if not self.exact:
            counts = (count / self.size for count in count_bounds(*bounds, self.size))
            known = (share if np.ndim(share) else float(share) for share in counts)
        return Share(*self._over_probes(values), lower, upper, *known)


def _heights(
    points: np.ndarray, centres: np.ndarray, weights: np.ndarray, width: float
) -> np.ndarray:
    """Each probe's density, shape `(probes, points)`."""
    sums = [
        w @ np.exp(-0.5 * ((points - c[:, None]) / width) ** 2)
        for c, w in zip(centres, weights, strict=True)
    ]
    return np.stack(sums) / (width * np.sqrt(2 * np.pi))


def spectral_density(
    operator: SymmetricOperator,
    *,
    steps: int = 90,
    probes: int = 10,
    accuracy: float | None = None,
    seed: int = 0,
    on_progress: OnProgress = None,
) -> Density:
    """The distribution of an operator's eigenvalues, by stochastic Lanczos quadrature.

    Exact where `steps·probes` products could form the whole matrix (up to 4,096 parameters).

    Args:
        operator: such as `hessian(loss, params)`.
        steps: how many products a probe takes: of the resolution, see `Density.resolution`, and
            of the extreme eigenvalues. A probe keeps `steps + 1` vectors.
        probes: at most how many random vectors: the standard errors fall as their root.
        accuracy: end once no standard error of the cumulative distribution, smoothed as by
            `Density.linear`, is above it; not before the fifth probe.
        seed: of the probes.
        on_progress: called after each probe with how many products are done and at most will be;
            where it returns True the density is of what is done.

    Returns:
        The density. What is read from it comes with its standard error, which is of the probes
        alone, and shares with the interval of all that is not known: see `Share.low`.

    Raises:
        ValueError: for bad options, or if the products are not finite.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Ubaru, Chen and Saad 2017 (doi:10.1137/16M1104974); Ghorbani, Krishnan and Xiao 2019
        (arXiv:1901.10159). The probes are even on the sphere: what a vector of random signs sees
        of an eigenvector depends on the eigenvector, and may be nothing.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> density = spectral_density(hessian(lambda w: (w[0] * w[1]) ** 2, jnp.ones(2)))
        >>> density.exact, density.nodes.tolist(), density.moment(1).value
        (True, [[-2.0, 6.0]], 2.0)
    """
    check_accuracy(accuracy)
    if exact := exact_spectrum(operator, steps, probes):
        return exact

    def density(pairs):
        quadratures = [quadrature(*pair) for pair in pairs]
        nodes, weights = (np.stack(arrays) for arrays in zip(*quadratures, strict=True))
        # of k Gauss nodes on an interval, those at its ends lie about 1/k² of it apart
        relative = max(steps * float(np.finfo(operator.dtype).eps), 1 / steps**2)
        tolerance = relative * float(np.abs(nodes).max())
        return Density(nodes, weights, operator.size, nodes.size, exact=False, tolerance=tolerance)

    def enough(pairs):
        if accuracy is None:
            return False
        sofar = density(pairs)
        points, _, _, width = sofar.linear()
        heights = _heights(points, sofar.nodes, sofar.weights, width)
        cumulative = np.cumsum(heights, axis=1) * (points[1] - points[0])
        return bool(standard_error(cumulative).max() <= accuracy)

    return density(krylov_probes(operator, steps, probes, seed, enough, on_progress))


def check_accuracy(accuracy: float | None) -> None:
    """Raise `ValueError` unless it is None or above 0."""
    valid = accuracy is None or 0 < accuracy < np.inf
    require(valid, "an accuracy above 0", accuracy)


def check_operator(operator: SymmetricOperator) -> None:
    """Raise `ValueError` for what is no operator, `BackendError` for a backend that is wrong."""
    valid = isinstance(operator, SymmetricOperator)
    require(valid, "an operator, such as hessian(loss, params)", type(operator).__name__)
    require_sound_backend()


def exact_spectrum(operator: SymmetricOperator, steps: int, probes: int) -> Density | None:
    """All eigenvalues, where as many products as the probes may take give the matrix."""
    check_operator(operator)
    steps = require_positive_int("steps", steps)
    probes = require_positive_int("probes", probes)
    if operator.size > min(steps * probes, _DENSE):
        return None
    matrix = np.asarray(operator.dense(), float)
    _require_finite(matrix)
    values = np.linalg.eigvalsh(matrix)
    return Density(
        values[None],
        np.full((1, operator.size), 1 / operator.size),
        operator.size,
        products=operator.size,
        exact=True,
        tolerance=zero_tolerance(operator.size, operator.dtype, float(np.abs(values).max())),
    )


def krylov_probes(
    operator: SymmetricOperator,
    steps: int,
    probes: int,
    seed: int,
    enough: Callable[[list[tuple[np.ndarray, np.ndarray]]], bool],
    on_progress: OnProgress,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """`alphas` and `betas` of `Tridiagonal` from random vectors, one probe after another.

    Args:
        operator: as `exact_spectrum` has checked it, with the two numbers.
        steps: products a probe.
        probes: at most so many.
        seed: of the probes.
        enough: what is done -> whether to end; asked from `FEWEST` probes on.
        on_progress: see `spectral_density`.
    """
    done = []
    with precision(operator.dtype == np.float64):
        for probe in range(probes):
            pair = jax.device_get(
                _probe(operator.product, words(seed), probe, steps, operator.size, operator.dtype)
            )
            _require_finite(pair[0])
            done.append(pair)
            stop = on_progress is not None and on_progress(len(done) * steps, probes * steps)
            if stop or (len(done) >= FEWEST and enough(done)):
                break
    return done


@jax.jit(static_argnames=("steps", "size", "dtype"))
def _probe(product, seed, probe, steps, size, dtype):
    key = jax.random.fold_in(key_of(seed), probe)
    return lanczos(product, jax.random.normal(key, (size,), dtype), steps)[:2]


def _require_finite(values: np.ndarray) -> None:
    bad = int((~np.isfinite(values)).sum())
    require(bad == 0, "finite products", f"{bad} of {values.size} numbers that are not")
