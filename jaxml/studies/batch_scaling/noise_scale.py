"""The gradient noise scale: how large a batch has to be before its noise stops to matter.

Σ is the covariance of one example's gradient, G the mean gradient, H the Hessian. Two things are
called G: the mean over the N examples at hand ("dataset"), and that over all the examples there
could be ("population"), whose squared norm is smaller by tr Σ/N on average. Batches drawn without
replacement obey E|g_B|² = |G_N|² + (1/B − 1/N) tr S, with S normalised by N − 1.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import stats

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.empirical_risk import examples, over_batches, per_example
from jaxml.core.programs import as_read
from jaxml.core.result import Result
from jaxml.core.seeds import key as key_of
from jaxml.core.selfcheck import require_sound_backend
from jaxml.core.types import Batch, Params
from jaxml.linalg.reductions import inner
from jaxml.studies.sweep.result import Study
from jaxml.training.batches import check_data, check_use

Of = Literal["dataset", "population"]


@dataclasses.dataclass(frozen=True)
class NoiseScale(Result):
    """A noise scale, in examples.

    Attributes:
        of: `dataset` or `population`, see the module.
        gradient: the estimate of |G|²; not clipped, so it may be negative.
        trace: that of tr Σ.
        simple: B_simple = tr Σ/|G|²; NaN where it is not resolved.
        interval: of B_simple; both ends equal where it is exact, the upper one infinite where the
            data do not tell |G|² from 0.
        noise: B_noise = tr(HΣ)/GᵀHG, if asked for.
        noise_error: its standard error from the random vectors.
    """

    of: Of
    gradient: float
    trace: float
    simple: float
    interval: tuple[float, float]
    noise: float | None = None
    noise_error: float | None = None

    @property
    def resolved(self) -> bool:
        """Whether |G|² is distinguishable from zero."""
        return math.isfinite(self.simple) and math.isfinite(self.interval[1])


def noise_scale(
    loss: Callable[[Params, Batch], jax.Array],
    params: Params,
    data: Batch,
    *,
    of: Of = "dataset",
    sample: int | None = None,
    curvature: bool = False,
    probes: int = 32,
    batch_size: int = 256,
    confidence: float = 0.95,
    seed: int = 0,
) -> NoiseScale:
    """The noise scale at a point from the gradients of single examples.

    Args:
        loss: `(params, batch) -> values`, one an example; batch norm in evaluation mode.
        params: the point.
        data: a dict of arrays with one leading axis.
        of: the data set, or the population it was drawn from.
        sample: so many examples drawn without replacement; all of them by default, which makes
            the scale of the data set exact.
        curvature: B_noise too.
        probes: random vectors for tr(HΣ).
        batch_size: examples whose gradients are held at a time.
        confidence: of the interval: Fieller's, from the examples' own spread.
        seed: of the sample and the probes.

    Raises:
        ValueError: for bad data, a sample of fewer than two examples or of more than there are,
            or a loss that does not return one value an example.
        BackendError: if the backend computes known answers wrong.

    Reference:
        McCandlish et al. 2018 (arXiv:1812.06162), equations 2.8 and 2.9; Fieller 1954, "Some
        problems in interval estimation"; Cochran 1977, "Sampling techniques", theorem 2.2, for
        samples without replacement.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (100, 5))
        >>> loss = lambda w, batch: 0.5 * ((w - batch["x"]) ** 2).sum(-1)
        >>> found = noise_scale(loss, jnp.ones(5), {"x": x})
        >>> mean = x.mean(0) - 1
        >>> bool(abs(found.simple / (x.var(0, ddof=1).sum() / (mean @ mean)) - 1) < 1e-4)
        True
    """
    require_choice("of", of, ("dataset", "population"))
    data = check_data(data)
    check_use(lambda rows, params: loss(params, rows), data, params)
    loss = as_read(loss, params, data)
    count = examples(data)
    number = count if sample is None else require_positive_int("sample", sample)
    require(2 <= number <= count, f"a sample of 2 to {count} examples", number)
    require(0 < confidence < 1, "a confidence in (0, 1)", confidence)
    require_sound_backend()
    if number < count:
        chosen = np.random.default_rng(seed).choice(count, number, replace=False)
        data = {name: array[chosen] for name, array in data.items()}
    mean, along, squares = _per_example(loss, params, data, min(batch_size, number))
    mean, along, squares = (np.asarray(a, np.float64) for a in (mean, along, squares))
    total = (squares.sum() - number * mean @ mean) / (number - 1)
    missing = 0.0 if of == "population" else 1 / count
    gradient = mean @ mean - (1 / number - missing) * total
    # how both estimates move with an example, and by how much samples differ
    spread = squares - 2 * along + mean @ mean
    moved = np.stack([spread - spread.mean(), 2 * (along - mean @ mean)])
    moved[1] -= (1 / number - missing) * moved[0]
    without = 1 - number / count if of == "dataset" else 1.0
    covariance = without * np.cov(moved) / number
    simple, interval = _ratio(total, gradient, covariance, confidence)
    noise = error = None
    if curvature:
        noise, error = _with_curvature(loss, params, data, probes, seed, batch_size)
    return NoiseScale(of, float(gradient), float(total), simple, interval, noise, error)


def noise_scale_by_batches(
    loss: Callable[[Params, Batch], jax.Array],
    params: Params,
    data: Batch,
    *,
    small: int,
    large: int,
    batches: int = 200,
    of: Of = "dataset",
    confidence: float = 0.95,
    seed: int = 0,
) -> NoiseScale:
    """The noise scale at a point from the gradients of batches of two sizes.

    Args:
        loss: as in `noise_scale`.
        params: the point.
        data: as there.
        small: examples of the smaller batches, which are parts of the larger ones.
        large: examples of the larger batches.
        batches: how many larger ones are drawn, each without replacement.
        of: as there.
        confidence: of Fieller's interval, from the batches' spread.
        seed: of the batches.

    Raises:
        ValueError: as there, or if not 1 ≤ small < large ≤ N, small does not divide large, or
            there are fewer than two batches.

    Reference:
        McCandlish et al. 2018 (arXiv:1812.06162), appendix A.1, with the correction of the module
        for sampling without replacement.
    """
    require_choice("of", of, ("dataset", "population"))
    data = check_data(data)
    check_use(lambda rows, params: loss(params, rows), data, params)
    loss = as_read(loss, params, data)
    count = examples(data)
    ordered = 1 <= small < large <= count and large % small == 0
    require(ordered, f"1 ≤ small < large ≤ {count}, the one dividing the other", (small, large))
    require(batches >= 2, "at least two batches", batches)
    require_sound_backend()
    keys = jax.random.split(key_of(seed), batches)
    squares = _two_sizes(loss, params, data, keys, small, large)
    squares = np.asarray(squares, np.float64)
    to_both = _two_batch(small, large, count, of)
    trace, gradient = to_both @ squares.mean(0)
    covariance = to_both @ np.cov(squares.T) @ to_both.T / batches
    simple, interval = _ratio(trace, gradient, covariance, confidence)
    return NoiseScale(of, float(gradient), float(trace), simple, interval)


def noise_scale_of(
    study: Study, lanes: np.ndarray, *, of: Of = "dataset", confidence: float = 0.95, parts: int = 4
) -> list[tuple[float, NoiseScale]]:
    """The noise scale along a study's training, which came free with it.

    Args:
        study: from `batch_size`, with `noise`.
        lanes: numbers of lanes with one batch size, of more than one microbatch.
        of: as in `noise_scale`.
        confidence: of Fieller's interval, from the measurements' spread.
        parts: into how many parts of equal numbers of batches the training is divided.

    Returns:
        (mean loss in training, noise scale) of each part, in the order of training.

    Raises:
        ValueError: if the lanes differ in batch size or have one microbatch a batch.
    """
    require_choice("of", of, ("dataset", "population"))
    lanes = np.atleast_1d(lanes)
    sizes = np.unique(study.lanes.batch_size[lanes])
    require(len(sizes) == 1, "lanes of one batch size", sizes)
    small, large = int(study.microbatch[lanes[0]]), int(sizes[0])
    require(small < large, "batches of more than one microbatch", f"B = m = {large}")
    own = np.isin(study.records["lane"], lanes) & (study.records["batches"] > 0)
    columns = {name: values[own].astype(np.float64) for name, values in study.records.items()}
    usable = np.isfinite(columns["small"]) & np.isfinite(columns["large"])
    columns = {name: values[usable] for name, values in columns.items()}
    order = np.argsort(columns["updates"], kind="stable")
    done = np.cumsum(columns["batches"][order])
    to_both = _two_batch(small, large, study.examples, of)
    found = []
    for part in range(parts):
        share = done / max(done[-1:].sum(), 1)
        some = order[(share > part / parts) & (share <= (part + 1) / parts)]
        if len(some) < 3:
            continue
        weights = columns["batches"][some] / columns["batches"][some].sum()
        squares = np.stack([columns["small"][some], columns["large"][some]])
        mean = squares @ weights
        off = squares - mean[:, None]
        covariance = (off * weights**2) @ off.T * len(some) / (len(some) - 1)
        trace, gradient = to_both @ mean
        simple, interval = _ratio(trace, gradient, to_both @ covariance @ to_both.T, confidence)
        scale = NoiseScale(of, float(gradient), float(trace), simple, interval)
        found.append((float(columns["running"][some] @ weights), scale))
    return found


def _two_batch(small: int, large: int, count: int, of: Of) -> np.ndarray:
    """What makes (tr Σ, |G|²) of the mean squares (small, large)."""
    trace = np.array([1.0, -1.0]) / (1 / small - 1 / large)
    gradient = np.array([-small, large]) / (large - small)
    return np.stack([trace, gradient + (trace / count if of == "dataset" else 0)])


def _ratio(
    above: float, below: float, covariance: np.ndarray, confidence: float
) -> tuple[float, tuple[float, float]]:
    """A ratio and Fieller's interval; NaN where the denominator is not above 0 beyond doubt."""
    z = stats.norm.ppf((1 + confidence) / 2)
    (tt, tg), (_, gg) = covariance
    a, b = below**2 - z**2 * gg, below * above - z**2 * tg
    # b² − a(above² − z²·tt), expanded so that nothing is left where nothing varies
    spread = below**2 * tt + above**2 * gg - 2 * below * above * tg - z**2 * (tt * gg - tg**2)
    root = z * math.sqrt(max(spread, 0.0))
    if below <= 0 or a <= 0:
        # what can still be said: the ratio is at least that of the extremes
        high = below + z * math.sqrt(max(gg, 0))
        low = max(above - z * math.sqrt(max(tt, 0)), 0) / high if high > 0 else math.inf
        return math.nan, (float(low), math.inf)
    return float(above / below), (float((b - root) / a), float((b + root) / a))


@functools.partial(jax.jit, static_argnames=("loss", "batch_size"))
def _per_example(loss, params, data, batch_size):
    """The mean gradient, and of each example's the product with it and the squared norm."""
    x, unravel = ravel_pytree(params)
    count = examples(data)

    def of_rows(rows):
        one = lambda v, row: loss(unravel(v), jax.tree.map(lambda a: a[None], row)).sum()  # noqa: E731
        return jax.vmap(jax.grad(one), (None, 0))(x, rows)

    def values(rows):
        return per_example(loss(params, rows), rows).sum()

    jax.eval_shape(values, data)  # refuses a loss of another kind
    mean = over_batches(lambda rows: of_rows(rows).sum(0), data, batch_size) / count

    def scalars(row):
        g = of_rows(jax.tree.map(lambda a: a[None], row))[0]
        return inner(g, mean), inner(g, g)

    along, squares = jax.lax.map(scalars, data, batch_size=batch_size)
    return mean, along, squares


@functools.partial(jax.jit, static_argnames=("loss", "small", "large"))
def _two_sizes(loss, params, data, keys, small, large):
    """|g|², averaged over the small batches, and of the large one; shape (batches, 2)."""
    count = examples(data)

    def gradient(rows):
        g = jax.grad(lambda p: per_example(loss(p, rows), rows).mean())(params)
        return ravel_pytree(g)[0]

    def one(key):
        chosen = jax.random.choice(key, count, (large,), replace=False)
        rows = {
            name: array[chosen].reshape(-1, small, *array.shape[1:]) for name, array in data.items()
        }
        g = jax.vmap(gradient)(rows)
        mean = g.mean(0)
        return jnp.stack([(g**2).sum(1).mean(), inner(mean, mean)])

    return jax.lax.map(one, keys)


def _with_curvature(loss, params, data, probes, seed, batch_size):
    """tr(HΣ)/GᵀHG and its standard error."""
    require(probes >= 2, "at least two probes", probes)
    keys = jax.random.split(key_of(seed), probes)
    traces, along = _curvature(loss, params, data, keys, min(batch_size, examples(data)))
    traces = np.asarray(traces, np.float64)
    error = traces.std(ddof=1) / math.sqrt(probes) / abs(float(along))
    return float(traces.mean() / float(along)), float(error)


@functools.partial(jax.jit, static_argnames=("loss", "batch_size"))
def _curvature(loss, params, data, keys, batch_size):
    """Estimates of tr(HΣ), one a probe, and GᵀHG."""
    x, unravel = ravel_pytree(params)
    count = examples(data)

    def gradient(v):
        total = lambda rows: jax.grad(lambda u: loss(unravel(u), rows).sum())(v)  # noqa: E731
        return over_batches(total, data, batch_size) / count

    mean, product = jax.linearize(gradient, x)

    def one(key):
        v = jax.random.rademacher(key, x.shape, x.dtype)

        def share(rows):
            values = lambda u: loss(unravel(u), rows)  # noqa: E731
            _, slopes = jax.jvp(values, (x,), (v,))
            (back,) = jax.vjp(values, x)[1](slopes)
            return back

        # Σₙ gₙ(gₙᵀv) − N·G(Gᵀv)
        scattered = over_batches(share, data, batch_size) - count * mean * inner(mean, v)
        return inner(product(v), scattered) / (count - 1)

    return jax.lax.map(one, keys), inner(mean, product(mean))
