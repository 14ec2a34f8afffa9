"""Optimisers on surfaces against loops by hand, and why each stays or leaves."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import studies
from jaxml.studies.sweep.descents import _why


def test_plain_descent_on_the_saddle_by_hand():
    """½w₀² + ¼w₁⁴ − ½w₁²: slope (w₀, w₁³ − w₁), Hessian diag(1, 3w₁² − 1)."""
    rates = [0.01, 0.3, 0.1]
    with jax.enable_x64(True):
        found = studies.descents(
            *studies.SURFACES["saddle"], optimizers=["sgd"], rates={"sgd": rates}, steps=60
        )
    w, path = np.array([-1.5, 1e-3]), []
    for _ in range(61):
        path.append(w)
        w = w - 0.3 * np.array([w[0], w[1] ** 3 - w[1]])
    path = np.array(path)
    losses = 0.5 * path[:, 0] ** 2 + 0.25 * path[:, 1] ** 4 - 0.5 * path[:, 1] ** 2
    assert found.rates.tolist() == [0.3]  # it ends lowest
    np.testing.assert_allclose(found.path[0], path, rtol=1e-9)
    np.testing.assert_allclose(found.losses[0], losses, rtol=1e-9)
    slopes = np.hypot(path[:, 0], path[:, 1] ** 3 - path[:, 1])
    np.testing.assert_allclose(found.slopes[0], slopes, rtol=1e-9)
    np.testing.assert_allclose(found.lowest[0], np.minimum(1, 3 * path[:, 1] ** 2 - 1), rtol=1e-9)
    goal = losses.min() + 0.01 * (losses[0] - losses.min())
    reached = np.flatnonzero(losses <= goal)[0]
    assert found.reached.tolist() == [reached]
    waited = (
        (slopes[: reached + 1] < 0.1 * slopes.max()) & (found.lowest[0][: reached + 1] < 0)
    ).sum()
    assert found.why == [
        f"{waited} steps at small slopes under negative curvature, out at {reached}"
    ]


def test_surfaces_at_a_point():
    w = jnp.array([3.0, -2.0])
    values = {
        "ravine": 0.5 * (9 / 100 + 10 * 4),
        "plateau": 1 - math.exp(-13 / 2) + 13 / 1000,
        "saddle": 4.5 + 4 - 2,
    }
    for name, value in values.items():
        assert float(studies.SURFACES[name][0](w)) == pytest.approx(value, rel=1e-6)


def test_of_rates_that_end_alike_the_first_there_is_taken():
    """At η = 1 the minimum of ½w² is met at once, at ½ after some steps; beyond 2 it diverges."""
    half = lambda w: 0.5 * (w**2).sum()  # noqa: E731
    found = studies.descents(half, [1.0], optimizers=["sgd"], rates=[0.5, 1.0, 2.5], steps=200)
    assert found.rates.tolist() == [1.0]
    assert found.reached.tolist() == [1]
    assert found.why == ["there at 1"]
    wild = studies.descents(half, [1.0], optimizers=["sgd"], rates=[1e30], steps=200)
    assert wild.why == ["diverges"]


ONES = np.ones(11)


@pytest.mark.parametrize(
    ("losses", "slopes", "lowest", "reached", "expected"),
    [
        (np.arange(11.0)[::-1], ONES, ONES, 9.0, "there at 9"),
        # up and down: five rises in ten steps
        (np.tile([3.0, 2.0], 6)[:11] - np.arange(11) * 0.1, ONES, ONES, 10.0,
         "there at 10, oscillating: the loss rises in 5 steps"),
        # two rises in ten are no oscillation
        (np.array([9, 8, 8.5, 7, 7.5, 6, 5, 4, 3, 2, 1.0]), ONES, ONES, 10.0, "there at 10"),
        # three small slopes under negative curvature in ten steps, and two, which are too few
        (np.arange(11.0)[::-1], np.where(np.arange(11) < 3, 0.09, 1), -ONES, 10.0,
         "3 steps at small slopes under negative curvature, out at 10"),
        (np.arange(11.0)[::-1], np.where(np.arange(11) < 2, 0.09, 1), -ONES, 10.0, "there at 10"),
        (np.arange(11.0)[::-1], np.where(np.arange(11) < 3, 0.09, 1), ONES, 10.0, "there at 10"),
        # what comes after it got there does not count
        (np.array([9, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2.0]), ONES, ONES, 1.0, "there at 1"),
        (ONES, np.where(np.arange(11) < 10, 1, 0.05), -ONES, math.inf,
         "stays where the slope is 5.0e-02 and the curvature negative"),
        (ONES, np.where(np.arange(11) < 10, 1, 0.5), -ONES, math.inf,
         "still on its way: slope 5.0e-01, lowest curvature -1.0e+00"),
        (ONES, np.where(np.arange(11) < 10, 1, 0.05), ONES, math.inf,
         "still on its way: slope 5.0e-02, lowest curvature 1.0e+00"),
        (np.append(np.ones(10), np.inf), ONES, ONES, 3.0, "diverges"),
    ],
)  # fmt: skip
def test_what_held_it_up(losses, slopes, lowest, reached, expected):
    assert _why(losses, slopes, lowest, reached) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": 1.0}, "a start that is a vector"),
        ({"start": []}, "a start that is a vector"),
        ({"optimizers": []}, "at least one optimizer"),
        ({"optimizers": ["sdg"]}, "one of sgd"),
        ({"rates": []}, "rates of sgd"),
        ({"steps": 0}, "steps"),
    ],
)
def test_is_refused(change, message):
    options = {"start": [1.0], "optimizers": ["sgd"], "rates": [0.1]} | change
    with pytest.raises(ValueError, match=message):
        studies.descents(lambda w: (w**2).sum(), **options)
