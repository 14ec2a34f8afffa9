"""Three ways to one noise scale, and the correction for sampling without replacement."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxml import studies
from jaxml.studies.batch_scaling.noise_scale import _ratio


@pytest.fixture(scope="module")
def regression():
    """150 rows of least squares in 8 dimensions, and a point."""
    random = np.random.default_rng(0)
    x = random.normal(size=(150, 8))
    y = x @ random.normal(size=8) + 0.3 * random.normal(size=150)
    return {"x": x, "y": y}, random.normal(size=8)


def loss(w, batch):
    return 0.5 * (batch["x"] @ w - batch["y"]) ** 2


def dense(w, data):
    g = data["x"] * (data["x"] @ w - data["y"])[:, None]
    return g, g.mean(0), np.cov(g.T)


@pytest.mark.slow
def test_exactly(regression):
    data, w = regression
    g, mean, cov = dense(np.asarray(w), data)
    H = data["x"].T @ data["x"] / len(g)
    with jax.enable_x64(True):
        found = studies.noise_scale(loss, w, data, curvature=True, probes=400, batch_size=64)
        population = studies.noise_scale(loss, w, data, of="population")
    assert found.trace == pytest.approx(np.trace(cov), rel=1e-10)
    assert found.gradient == pytest.approx(mean @ mean, rel=1e-10)
    assert found.simple == pytest.approx(np.trace(cov) / (mean @ mean), rel=1e-10)
    assert found.interval == pytest.approx((found.simple, found.simple))
    expected = np.trace(H @ cov) / (mean @ H @ mean)
    assert abs(found.noise - expected) < 4 * found.noise_error < 0.5 * expected
    assert population.gradient == pytest.approx(mean @ mean - np.trace(cov) / len(g), rel=1e-10)
    assert population.interval[0] < population.simple < population.interval[1]


def test_three_estimators_agree(regression):
    data, w = regression
    with jax.enable_x64(True):
        exact = studies.noise_scale(loss, w, data)
        sampled = studies.noise_scale(loss, w, data, sample=100)
        batches = studies.noise_scale_by_batches(loss, w, data, small=5, large=50, batches=800)
    for other in (sampled, batches):
        assert other.resolved
        assert other.interval[0] <= exact.simple <= other.interval[1]


@pytest.mark.slow
def test_intervals_cover(regression):
    """Of 95 % intervals from samples, about so many hold the truth."""
    data, w = regression
    with jax.enable_x64(True):
        exact = studies.noise_scale(loss, w, data).simple
        inside = [
            low <= exact <= high
            for low, high in (
                studies.noise_scale(loss, w, data, sample=75, seed=s).interval for s in range(200)
            )
        ]
        by_batches = [
            low <= exact <= high
            for low, high in (
                studies.noise_scale_by_batches(
                    loss, w, data, small=5, large=50, batches=60, seed=s
                ).interval
                for s in range(200)
            )
        ]
    assert 0.88 <= np.mean(inside) <= 0.99
    assert 0.88 <= np.mean(by_batches) <= 0.99


def test_the_offset_of_a_finite_population(regression):
    """|G|² by batches without replacement is |G_N|² − tr S/N; the correction removes that."""
    data, w = regression
    _, mean, cov = dense(np.asarray(w), data)
    with jax.enable_x64(True):
        options = {"small": 5, "large": 50, "batches": 4000}
        raw = studies.noise_scale_by_batches(loss, w, data, of="population", **options)
        corrected = studies.noise_scale_by_batches(loss, w, data, of="dataset", **options)
    predicted = mean @ mean - np.trace(cov) / len(data["x"])
    error = 0.01 * mean @ mean
    assert raw.gradient == pytest.approx(predicted, abs=error)
    assert corrected.gradient == pytest.approx(mean @ mean, abs=error)
    assert np.trace(cov) / len(data["x"]) > 3 * error  # so that the two are told apart


def test_all_single_rows_against_all_rows_are_exact(regression):
    """The smaller batches are the rows themselves, the larger one is the whole."""
    data, w = regression
    _, mean, cov = dense(np.asarray(w), data)
    with jax.enable_x64(True):
        found = studies.noise_scale_by_batches(loss, w, data, small=1, large=150, batches=2)
    assert found.trace == pytest.approx(np.trace(cov), rel=1e-10)
    assert found.gradient == pytest.approx(mean @ mean, rel=1e-10)
    assert found.interval == pytest.approx((found.simple, found.simple))


@pytest.mark.parametrize("of", ["dataset", "population"])
def test_the_interval_of_a_sample_by_its_rows_influence(regression, of):
    """How both estimates change with each row's weight, by differences, and Fieller's interval."""
    data, w = regression
    w = w / 6 + np.linalg.lstsq(data["x"], data["y"], rcond=None)[0]  # noise is large there
    rows = np.random.default_rng(7).choice(150, 100, replace=False)
    with jax.enable_x64(True):
        found = studies.noise_scale(loss, w, data, sample=100, seed=7, of=of, confidence=0.9)
    g = dense(w, {name: array[rows] for name, array in data.items()})[0]
    missing = 1 / 150 if of == "dataset" else 0

    def both(weights):
        square = ((weights @ g) ** 2).sum()
        trace = 100 / 99 * (weights @ (g**2).sum(1) - square)
        return np.array([trace, square - (1 / 100 - missing) * trace])

    even, small = np.full(100, 0.01), 1e-6
    trace, gradient = both(even)
    moved = [both((1 - small) * even + small * row) - (trace, gradient) for row in np.eye(100)]
    (tt, tg), (_, gg) = np.cov(np.array(moved).T / small) / 100 * (1 - 100 * missing)
    assert (found.trace, found.gradient) == (pytest.approx(trace), pytest.approx(gradient))
    z = stats.norm.ppf(0.95)
    ends = np.roots(
        [gradient**2 - z**2 * gg, 2 * (z**2 * tg - trace * gradient), trace**2 - z**2 * tt]
    )
    np.testing.assert_allclose(found.interval, np.sort(ends), rtol=0.01)


def test_what_an_unresolved_scale_still_says():
    """Where |G|² may be 0: at least the least trace over the largest |G|²."""
    covariance, z = np.array([[4.0, 0.1], [0.1, 0.25]]), stats.norm.ppf(0.975)
    value, (low, high) = _ratio(10.0, 0.5, covariance, 0.95)
    assert np.isnan(value)
    assert (low, high) == (pytest.approx((10 - 2 * z) / (0.5 + 0.5 * z)), np.inf)
    assert _ratio(1.0, 0.5, covariance, 0.95)[1] == (0, np.inf)
    assert _ratio(10.0, -5.0, covariance, 0.95)[1] == (np.inf, np.inf)
    # correlated estimates, resolved: the roots of (a − r·g)² = z²·var(a − r·g)
    covariance = np.array([[4.0, 0.3], [0.3, 0.09]])
    value, found = _ratio(10.0, 2.0, covariance, 0.95)
    ends = np.roots([4 - z**2 * 0.09, 2 * (z**2 * 0.3 - 20), 100 - z**2 * 4])
    assert value == 5
    assert found == pytest.approx(tuple(np.sort(ends)))


def test_unresolved_is_said(regression):
    data, _ = regression
    with jax.enable_x64(True):
        best = np.linalg.lstsq(data["x"], data["y"], rcond=None)[0]
        found = studies.noise_scale(loss, best, data, of="population")
    assert not found.resolved
    assert np.isnan(found.simple)
    assert found.gradient < 0  # not clipped
    assert found.interval[1] == np.inf
    assert "unresolved" in str(found)


@pytest.mark.slow
def test_free_inside_a_study(regression):
    """The norms that the lanes add up give the noise scale where they are."""
    data, w = regression

    task = studies.Task(
        init=lambda key: (jnp.asarray(w), None),
        loss=lambda p, state, batch, key: (loss(p, batch), state),
        measures=lambda p, state, batch: {"loss": loss(p, batch)},
    )
    with jax.enable_x64(True):
        # a rate so small that the lanes stay where they are
        lanes = studies.grid([50], [1e-12], optimizers=["sgd"], seeds=20)
        study = studies.batch_size(
            task, data, lanes, splits={"train": data}, steps=60, microbatches=[5], resolution=0.3
        )
        exact = studies.noise_scale(loss, w, data)
        ((_, found),) = studies.noise_scale_of(study, np.arange(20), parts=1)
        ((_, raw),) = studies.noise_scale_of(study, np.arange(20), parts=1, of="population")
    assert found.interval[0] <= exact.simple <= found.interval[1]
    offset = exact.trace / 150
    assert raw.gradient == pytest.approx(exact.gradient - offset, abs=0.3 * offset)


def test_bad_input(regression):
    data, w = regression
    with pytest.raises(ValueError, match="of to be one of"):
        studies.noise_scale(loss, w, data, of="sample")
    with pytest.raises(ValueError, match="a sample of 2 to 150"):
        studies.noise_scale(loss, w, data, sample=151)
    with pytest.raises(ValueError, match="one value per example"):
        studies.noise_scale(lambda w, b: loss(w, b).mean(), w, data)
    with pytest.raises(ValueError, match="a sample of 2 to 150"):
        studies.noise_scale(loss, w, data, sample=1)
    with jax.enable_x64(True), pytest.raises(ValueError, match="at least two probes"):
        studies.noise_scale(loss, w, data, curvature=True, probes=1)
    for small, large in [(7, 50), (0, 50), (50, 50), (5, 155)]:
        with pytest.raises(ValueError, match="1 ≤ small < large ≤ 150"):
            studies.noise_scale_by_batches(loss, w, data, small=small, large=large)
    with pytest.raises(ValueError, match="at least two batches"):
        studies.noise_scale_by_batches(loss, w, data, small=5, large=50, batches=1)
