"""How far distributions are apart, and how good samples are: closed forms and other libraries."""

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from jaxml import generative

RANDOM = np.random.default_rng(0)


def test_divergences_in_closed_form():
    grid = np.linspace(-20, 20, 4001)
    p, q = (scipy.stats.norm(mean, deviation).pdf(grid) for mean, deviation in ((0, 1), (1, 2)))
    p, q = p / p.sum(), q / q.sum()
    expected = np.log(2) + (1 + 1) / 8 - 0.5
    assert generative.kullback_leibler(p, q) == pytest.approx(expected, abs=1e-10)
    back = -np.log(2) + (4 + 1) / 2 - 0.5
    assert generative.kullback_leibler(q, p) == pytest.approx(back, abs=1e-6)
    theirs = scipy.spatial.distance.jensenshannon(p, q) ** 2
    assert generative.jensen_shannon(p, q) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("gap", [1, 5, 40])
def test_without_overlap_jensen_shannon_is_flat(gap):
    p, q = np.zeros(100), np.zeros(100)
    p[:10] = q[10 + gap : 20 + gap] = 0.1
    assert generative.jensen_shannon(p, q) == pytest.approx(np.log(2), abs=1e-15)
    assert scipy.stats.wasserstein_distance(range(100), range(100), p, q) == pytest.approx(10 + gap)


def test_sliced_wasserstein():
    x, y = RANDOM.normal(size=(2, 200, 1))
    own = generative.sliced_wasserstein(x, y, key=jax.random.key(0), directions=3)
    theirs = scipy.stats.wasserstein_distance(x[:, 0], y[:, 0])
    np.testing.assert_allclose(own, theirs, rtol=1e-5)
    # the mean size of a coordinate of a unit vector in 3 dimensions is 1/2
    x = RANDOM.normal(size=(50, 3))
    moved = generative.sliced_wasserstein(
        x, x + np.array([0, 0, 2.0]), key=jax.random.key(1), directions=20_000
    )
    assert float(moved) == pytest.approx(1, abs=0.02)


def test_frechet_distance_in_closed_form():
    first, second = np.array([1.0, 4, 9]), np.array([16.0, 1, 0.25])
    base = RANDOM.normal(size=(500, 3))
    white = np.linalg.solve(np.linalg.cholesky(np.cov(base, rowvar=False)), (base - base.mean(0)).T)
    x, y = white.T * np.sqrt(first), white.T * np.sqrt(second) + [1, 0, 2]
    expected = 5 + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    assert generative.frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)
    # and of covariances that do not commute
    y = y @ np.linalg.qr(RANDOM.normal(size=(3, 3)))[0]
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    mean = x.mean(0) - y.mean(0)
    expected = mean @ mean + np.trace(a + b - 2 * root)
    assert generative.frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


def test_the_number_of_samples_makes_a_distance():
    d, n = 32, 1000
    x, y = np.random.default_rng(1).normal(size=(2, n, d))
    found = generative.frechet_distance(x, y)
    # of the two means 2d/n, of the roots of the two covariances d(d + 1)/2n
    assert found == pytest.approx(d * (d + 5) / (2 * n), rel=0.1)
    assert abs(generative.frechet_at_infinity(x, y)) < 0.25 * found
    with pytest.warns(UserWarning, match="20 samples of 32 features"):
        generative.frechet_distance(x[:20], y)


def test_precision_and_recall():
    real = RANDOM.normal(size=(200, 2))
    half = real[real[:, 0] > 0] + 1e-6
    found = generative.precision_recall(real, half)
    assert found.precision == 1
    assert 0.45 < found.recall < 0.65
    back = generative.precision_recall(half, real)
    assert (back.precision, back.recall) == (found.recall, found.precision)


def test_modes():
    angle = 2 * np.pi * np.arange(8) / 8
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    samples = centres[np.arange(2500) % 5] + 0.02 * RANDOM.normal(size=(2500, 2))
    found = generative.modes_hit(samples, centres, 0.02)
    # within three deviations in the plane: 1 − exp(−9/2)
    assert found.hit == 5
    assert found.share == pytest.approx(1 - np.exp(-4.5), abs=0.005)
    assert found.counts[5:].tolist() == [0, 0, 0]


def test_copies_are_found():
    images = RANDOM.normal(size=(600, 5, 4)).reshape(600, -1)
    training, held_out, fresh = images[:300], images[300:450], images[450:]
    shape = (5, 4)
    assert generative.memorization(fresh, training, held_out, image_shape=shape).p_value > 0.01
    flipped = training.reshape(-1, *shape)[:100, :, ::-1].reshape(100, -1) + 0.01
    found = generative.memorization(flipped, training, held_out, image_shape=shape)
    assert found.share == 1
    assert found.p_value < 1e-20
    assert found.nearest.tolist() == list(range(100))
    # as they stand they are copies of nothing
    assert generative.memorization(flipped, training, held_out).p_value > 0.01


def test_a_planted_support_is_recovered():
    points = np.random.default_rng(2).normal(size=(200, 3))
    drawn = points[np.random.default_rng(3).integers(0, 200, 120)]
    found = generative.support_by_birthdays(drawn, 1e-9)
    assert 200 / 1.5 < found.size < 200 * 1.5
    assert found.low < 200 < found.high
    assert generative.support_by_birthdays(points, 1e-9).size == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generative.kullback_leibler([0.5, 0.4], [0.5, 0.5]), "p of at least 0 that sum"),
        (lambda: generative.jensen_shannon([1.0], [0.5, 0.5]), "q of the shape of p"),
        (lambda: generative.frechet_distance(np.ones((3, 2)), np.ones((3, 4))), "of one d"),
        (lambda: generative.frechet_distance(np.full((3, 2), np.nan), np.ones((3, 2))), "finite"),
        (lambda: generative.inception_score(np.ones((3, 2))), "whose rows sum to 1"),
        (lambda: generative.precision_recall(np.eye(3), np.eye(3)), "more than 3 rows, got 3"),
        (lambda: generative.modes_hit(np.eye(2), np.eye(2), 0.0), "a deviation above 0"),
        (lambda: generative.memorization(np.eye(3), np.eye(3), np.eye(3), image_shape=(2, 2)),
         "an image_shape of 3 pixels"),
    ],
)  # fmt: skip
def test_other_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
