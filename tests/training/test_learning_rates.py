"""The learning-rate finder on a quadratic, whose whole run is known."""

import jax
import numpy as np
import optax
import pytest

from jaxml import nn, training
from jaxml.core.finding import finding
from jaxml.training import LearningRates, find_learning_rate, losses, sampling

KEY = jax.random.key(0)
CURVATURE = 8.0
# 4w², of curvature 8: descent is stable up to a rate of 2/8
PARABOLA = {"x": np.full((1, 1), (CURVATURE / 2) ** 0.5, np.float32), "y": np.zeros((1, 1))}
LINE = nn.linear(1, 1, bias=False)


def make(rate):
    return training.supervised(LINE, losses.mse, optax.sgd(rate))


def find(**options):
    given = {"key": KEY, "low": 1e-4, "high": 10.0, "steps": 120, "smoothing": 0.0}
    return find_learning_rate(make, PARABOLA, sampling.full(), **given | options)


def test_the_losses_of_a_quadratic_are_its_formula():
    found = find()
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 10, 120), rtol=1e-6)
    factors = (1 - CURVATURE * found.rates[:-1]) ** 2
    expected = found.losses[0] * np.cumprod([1, *factors])
    seen = expected > 1e-12  # of what float32 has a few digits
    np.testing.assert_allclose(found.losses[seen][:60], expected[seen][:60], rtol=1e-3)


def test_the_loss_is_lowest_at_the_end_of_stability():
    """It falls while |1 − ηλ| < 1, so to the first rate of at least 2/λ; then it diverges."""
    found = find()
    growth = found.rates[1] / found.rates[0]
    assert 2 / CURVATURE <= found.lowest <= 2 / CURVATURE * growth * (1 + 1e-6)
    assert found.lowest < found.diverged <= 10
    assert found.steepest < 1 / CURVATURE


def test_smoothing_is_a_mean_without_bias():
    found = find(smoothing=0.8, steps=30)
    weights = 0.2 * 0.8 ** np.arange(30)[::-1]
    known = np.isfinite(found.smoothed)
    assert known[:20].all()
    for i in np.flatnonzero(known):
        own = weights[-i - 1 :]
        mean = np.average(found.losses[: i + 1], weights=own)
        assert found.smoothed[i] == pytest.approx(mean, rel=1e-9)


def test_what_is_found_is_said_and_drawn(tmp_path):
    found = find()
    assert str(finding(found).verdict).startswith(f"take about {found.steepest:.2g}, where")
    low, high = find(high=1e-2), find(low=1.0)
    assert low.diverged is None
    assert "still falling at the last rate: go higher" in finding(low).verdict
    assert finding(high).verdict == "no rate lowered the loss: begin lower"
    axes = found.plot()
    assert axes.get_xscale() == "log"
    smoothed = next(line for line in axes.lines if line.get_label() == "smoothed")
    np.testing.assert_array_equal(smoothed.get_ydata(), found.smoothed[np.isfinite(found.smoothed)])
    again = LearningRates.load(found.save(tmp_path / "found.npz"))
    assert again.steepest == found.steepest


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find(low=1.0, high=0.1), "rates 0 < low < high, got 1.0 and 0.1"),
        (lambda: find(steps=2), "at least 3 steps, got 2"),
        (lambda: find(smoothing=1.0), r"smoothing in \[0, 1\), got 1.0"),
        (lambda: find_learning_rate(0.1, key=KEY), "a function of the learning rate, got float"),
        (lambda: find_learning_rate(lambda rate: 1, key=KEY), "that returns an Algorithm, got 1"),
    ],
)
def test_what_is_no_search_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
