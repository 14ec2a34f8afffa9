"""How good samples are: quality, variety, and whether they are copies."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from jaxml.core.checks import require, require_positive_int
from jaxml.core.seeds import require_seed


def frechet_distance(x: Any, y: Any) -> float:
    """The Fréchet distance of two Gaussians with the means and covariances of two samples.

    It falls with the number of samples: between samples of one distribution it is not 0 but some
    d(d + 5)/2n. So report the number, and `frechet_at_infinity` beside.

    Args:
        x: features `(n, d)`, of whichever network; only with the features of its Inception network
            it is the FID of the literature.
        y: likewise, of another number of rows perhaps.

    Raises:
        ValueError: if they are not two such arrays of at least two rows, or not finite.

    Warns:
        UserWarning: if there are no more samples than features: a covariance is singular then.

    Reference:
        Heusel et al. (2017), arXiv:1706.08500, equation 6; Dowson and Landau (1982), Journal of
        Multivariate Analysis 12:450-455. The trace of the root of the covariances' product is the
        sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric.

    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> round(frechet_distance(x, x + [3, 4]), 6), frechet_distance(x, x) < 1e-6
    (25.0, True)
    """
    x, y = _features(x, y)
    few = min(len(x), len(y))
    if few <= x.shape[1]:
        warnings.warn(
            f"{few} samples of {x.shape[1]} features: the covariance is singular and the distance "
            "far too large",
            stacklevel=2,
        )
    mean = x.mean(0) - y.mean(0)
    first, second = (np.atleast_2d(np.cov(part, rowvar=False)) for part in (x, y))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    between = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    return float(mean @ mean + np.trace(first) + np.trace(second) - 2 * between)


def frechet_at_infinity(x: Any, y: Any, *, points: int = 10, seed: int = 0) -> float:
    """The Fréchet distance of so many samples that their number does not matter, extrapolated.

    Args:
        x: as in `frechet_distance`.
        y: likewise.
        points: sizes of random parts, from half of the samples to all, through whose distances
            a line in 1/n is laid.
        seed: of the parts.

    Raises:
        ValueError: as `frechet_distance`; for fewer than two points.

    Reference:
        Chong and Forsyth (2020), arXiv:1911.07023.
    """
    x, y = _features(x, y)
    require(require_positive_int("points", points) > 1, "at least 2 points", points)
    random = np.random.default_rng(require_seed(seed))
    sizes = np.linspace(0.5, 1, points)
    inverse, found = [], []
    for share in sizes:
        parts = [random.permutation(part)[: max(2, round(share * len(part)))] for part in (x, y)]
        inverse.append(np.mean([1 / len(part) for part in parts]))
        found.append(frechet_distance(*parts))
    return float(np.polyfit(inverse, found, 1)[1])


def inception_score(probabilities: Any) -> float:
    """Exp of the mean KL(p(class|sample) ‖ p(class)): 1 to the number of classes.

    Args:
        probabilities: of each sample's classes `(n, classes)`, by whichever classifier; only by its
            Inception network it is the score of the literature.

    Raises:
        ValueError: if they are no probabilities.

    Reference:
        Salimans et al. (2016), arXiv:1606.03498, section 4.

    >>> [round(inception_score(p), 6) for p in (np.eye(10), np.full((5, 10), 0.1))]
    [10.0, 1.0]
    """
    p = np.asarray(probabilities, float)
    rows = p.ndim == 2 and p.size > 0 and (p >= 0).all() and abs(p.sum(1) - 1).max() < 1e-4
    require(rows, "probabilities (n, classes) whose rows sum to 1", f"shape {p.shape}")
    tiny = np.finfo(float).tiny
    logs = np.log(np.maximum(p, tiny)) - np.log(np.maximum(p.mean(0), tiny))
    return float(np.exp((p * logs).sum(1).mean()))


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1.

    Attributes:
        precision: of the samples that are near data.
        recall: of the data that are near samples.
    """

    precision: float
    recall: float


def precision_recall(real: Any, fake: Any, *, neighbors: int = 3) -> PrecisionRecall:
    """How many samples lie where data are, and how many data where samples are.

    Near is what is no further from a point of the other set than that point's own k-th neighbour.

    Args:
        real: features of data `(n, d)`.
        fake: of samples `(m, d)`.
        neighbors: k.

    Raises:
        ValueError: if they are not two such arrays, or have no more rows than neighbours.

    Reference:
        Kynkäänniemi et al. (2019), arXiv:1904.06991, equations 1 and 2.

    >>> x = np.random.default_rng(0).normal(size=(50, 2))
    >>> precision_recall(x, x), precision_recall(x, x + 100)
    (PrecisionRecall(precision=1.0, recall=1.0), PrecisionRecall(precision=0.0, recall=0.0))
    """
    real, fake = _features(real, fake)
    k = require_positive_int("neighbors", neighbors)
    few = min(len(real), len(fake))
    require(few > k, f"more than {k} rows", few)
    return PrecisionRecall(_covered(real, fake, k), _covered(fake, real, k))


class Modes(NamedTuple):
    """What samples found of a mixture of Gaussians.

    Attributes:
        hit: modes with a sample of high quality.
        share: of the samples that are of high quality.
        counts: of those, by mode.
    """

    hit: int
    share: float
    counts: np.ndarray


def modes_hit(samples: Any, centres: Any, deviation: float) -> Modes:
    """How many modes samples reach, and how many samples are near one.

    A sample is of high quality within three standard deviations of the nearest centre; one such
    sample is enough for a mode to count.

    Args:
        samples: `(n, d)`.
        centres: `(modes, d)`.
        deviation: of each mode along an axis, above 0.

    Raises:
        ValueError: if an argument is not as described.

    Reference:
        Srivastava et al. (2017), arXiv:1705.07761, section 4.1.

    >>> modes_hit([[0.1, 0.0], [0.0, 0.0], [5.0, 5.0]], [[0.0, 0.0], [9.0, 9.0]], 0.1)
    Modes(hit=1, share=0.6666666666666666, counts=array([2, 0]))
    """
    samples, centres = _features(samples, centres, least=1)
    require(0 < deviation < np.inf, "a deviation above 0", deviation)
    distances, nearest = _nearest(samples, centres, 1)
    near = nearest[distances[:, 0] <= 3 * deviation, 0]
    counts = np.bincount(near, minlength=len(centres))
    return Modes(int((counts > 0).sum()), len(near) / len(samples), counts)


class Memorization(NamedTuple):
    """Whether samples are nearer to the training data than data never trained on are.

    Attributes:
        share: of the samples whose nearest example is within `threshold`; without copying some
            `level`.
        threshold: the distance within which that share of the held-out data has an example.
        p_value: of so large a share if samples were as far from it as data held out are.
        nearest: the number of each sample's nearest example.
    """

    share: float
    threshold: float
    p_value: float
    nearest: np.ndarray


def memorization(
    samples: Any,
    training: Any,
    held_out: Any,
    *,
    image_shape: Sequence[int] | None = None,
    level: float = 0.05,
) -> Memorization:
    """Test whether a generator copies, from left to right or mirrored, what it was trained on.

    Args:
        samples: `(n, d)`, pixels or features.
        training: `(N, d)`.
        held_out: of the same distribution, never trained on.
        image_shape: `(height, width)` or `(height, width, channels)` of d pixels: examples are then
            mirrored too.
        level: which quantile of the held-out data's distances is the threshold, in (0, 1).

    Raises:
        ValueError: if an argument is not as described.

    Reference:
        Gulrajani, Raffel and Metz (2019), arXiv:2001.03653, on memorising generators; the test is
        binomial.

    >>> x = np.random.default_rng(0).normal(size=(300, 4))
    >>> memorization(x[:50] + 1e-3, x[:200], x[200:]).p_value < 1e-6
    True
    """
    samples, training = _features(samples, training)
    _, held_out = _features(training, held_out)
    require(0 < level < 1, "level in (0, 1)", level)
    known = training
    if image_shape is not None:
        size = int(np.prod(image_shape))
        fits = len(image_shape) in (2, 3) and size == training.shape[1]
        require(fits, f"an image_shape of {training.shape[1]} pixels", tuple(image_shape))
        flipped = training.reshape(len(training), *image_shape)[:, :, ::-1]
        known = np.concatenate([training, flipped.reshape(training.shape)])
    threshold = float(np.quantile(_nearest(held_out, known, 1)[0], level))
    distances, nearest = _nearest(samples, known, 1)
    copies = int((distances[:, 0] <= threshold).sum())
    test = stats.binomtest(copies, len(samples), level, alternative="greater")
    return Memorization(
        copies / len(samples), threshold, float(test.pvalue), nearest[:, 0] % len(training)
    )


class Support(NamedTuple):
    """How many different samples a generator has.

    Attributes:
        size: the estimate; infinite without a pair alike.
        low: the lower end of a 95 % interval.
        high: the upper end.
        pairs: of samples that are alike.
    """

    size: float
    low: float
    high: float
    pairs: int


def support_by_birthdays(samples: Any, tolerance: float) -> Support:
    """The size of a generator's support, told by how often two samples are alike.

    Of s samples drawn evenly from N there are s(s − 1)/2N pairs alike in the mean.

    Args:
        samples: `(s, d)`.
        tolerance: the distance up to which two are alike.

    Raises:
        ValueError: if an argument is not as described.

    Reference:
        Arora and Zhang (2017), arXiv:1706.08224; the interval is that of a Poisson count (Garwood
        1936).

    >>> support_by_birthdays([[0.0], [0.0], [1.0]], 0.1).size
    3.0
    """
    samples, _ = _features(samples, samples)
    require(0 <= tolerance < np.inf, "a tolerance of at least 0", tolerance)
    from scipy.spatial import KDTree  # noqa: PLC0415 - slow to import

    pairs = len(KDTree(samples).query_pairs(tolerance))
    possible = len(samples) * (len(samples) - 1) / 2
    fewest = stats.chi2.ppf(0.025, 2 * pairs) / 2 if pairs else 0.0
    most = stats.chi2.ppf(0.975, 2 * pairs + 2) / 2
    size, high, low = (
        float(possible / count) if count else float("inf") for count in (pairs, fewest, most)
    )
    return Support(size, low, high, pairs)


def _features(x: Any, y: Any, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    alike = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1] > 0
    require(alike, "two arrays (n, d) of one d", f"shapes {x.shape} and {y.shape}")
    few = min(len(x), len(y))
    require(few >= least, f"at least {least} rows", few)
    require(bool(np.isfinite(x).all() and np.isfinite(y).all()), "finite numbers", "others")
    return x, y


def _nearest(points: np.ndarray, among: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the k nearest, and which they are: `(n, k)`."""
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - slow to import

    return NearestNeighbors(n_neighbors=k).fit(among).kneighbors(points)


def _covered(points: np.ndarray, others: np.ndarray, k: int) -> float:
    """The share of the others that lie within the k-th neighbour's distance of some point."""
    from sklearn.metrics import pairwise_distances_chunked  # noqa: PLC0415 - slow to import

    radii = _nearest(points, points, k + 1)[0][:, -1]
    near = [(rows <= radii).any(1) for rows in pairwise_distances_chunked(others, points)]
    return float(np.concatenate(near).mean())
