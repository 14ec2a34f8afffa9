"""Connections: valleys whose shape is known, and networks with permuted units."""

import itertools

import jax
import numpy as np
import pytest

from jaxml import data, nn, training
from jaxml.data import surfaces
from jaxml.landscape import connect
from jaxml.training import losses, optimizers, sampling


def test_a_parabola_is_found():
    """The valley y = x² is the curve of one control point, (0, −1); the chord rises to 1."""
    valley = lambda w: (w[1] - w[0] ** 2) ** 2 + 0.5  # noqa: E731
    found = connect(valley, np.array([-1.0, 1.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(found.bends, [[0, -1]], atol=1e-3)
    x = np.linspace(-1, 1, 61)
    np.testing.assert_allclose(found.line, (1 - x**2) ** 2 + 0.5, atol=1e-14)
    assert found.line_barrier == pytest.approx(1)
    assert found.curve_barrier < 1e-5
    assert "barrier 1 on the straight line" in str(found)


def test_the_barrier_is_above_the_ends_interpolation():
    """Along a sloping line there is none; a bump on it counts from the slope."""
    sloping = lambda w: w[0] + w[1] ** 2  # noqa: E731
    ends = np.array([0.0, 0.0]), np.array([4.0, 0.0])
    assert connect(sloping, *ends, steps=1).line_barrier == pytest.approx(0, abs=1e-14)
    bumpy = lambda w: w[0] + w[0] * (4 - w[0]) + w[1] ** 2  # noqa: E731
    assert connect(bumpy, *ends, steps=1).line_barrier == pytest.approx(4)


def test_losses_are_those_of_the_curve():
    ring = lambda w: ((w**2).sum() - 1) ** 2  # noqa: E731
    start, end = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    found = connect(ring, start, end, points=11)
    for t, value in zip(found.t, found.curve, strict=True):
        point = (1 - t) ** 2 * start + 2 * t * (1 - t) * found.bends[0] + t**2 * end
        assert value == pytest.approx(ring(point), abs=1e-14)
    assert found.line_barrier == pytest.approx(0.25)
    # quadratic: a quarter of a circle to some 2 % of the radius
    assert found.curve_barrier < 3e-3
    assert connect(ring, start, end, bends=2).curve_barrier < 1e-4


def test_no_lower_than_the_mountain_pass():
    """Between two of Müller and Brown's states every path crosses a saddle of known height."""
    first, second = (surfaces.CRITICAL_POINTS["muller_brown"][k] for k in (0, 2))
    saddle = surfaces.CRITICAL_POINTS["muller_brown"][3]
    start, end = np.array(first.x), np.array(second.x)
    found = connect(surfaces.muller_brown, start, end, bends=2, points=401)
    assert saddle.value < found.curve.max() < found.line.max() - 5


@pytest.fixture(scope="module")
def digits():
    """A network trained on digits, and it with its hidden units permuted."""
    rows = data.digits().train
    algorithm = training.supervised(
        nn.mlp([64, 16, 10], activation="tanh"), losses.softmax_cross_entropy, optimizers.adam(1e-2)
    )
    key = jax.random.key(0)
    run = training.fit(algorithm, rows, sampling.epochs(64), key=key, steps=200)
    order = np.random.default_rng(0).permutation(16)
    first, second = (jax.device_get(run.state.params[f"dense_{k}"]) for k in (0, 1))
    permuted = {
        "dense_0": {"kernel": first["kernel"][:, order], "bias": first["bias"][order]},
        "dense_1": {"kernel": second["kernel"][order], "bias": second["bias"]},
    }
    return training.full_loss(algorithm, run.state, rows), run.state.params, permuted


def test_permuted_units_are_connected_by_a_curve(digits):
    found = connect(*digits, steps=300)
    assert found.line[0] == pytest.approx(found.line[-1], rel=1e-4)
    assert found.line_barrier > 0.2
    assert found.curve_barrier < 0.1 * found.line_barrier
    assert found.bends["dense_0"]["kernel"].shape == (1, 64, 16)
    assert found.curve.dtype == np.float32


@pytest.mark.parametrize("how", ["interrupted", "told to end"])
def test_ended_early(how):
    calls = []

    def end(done, total):
        calls.append((done, total))
        if done == 7 and how == "interrupted":
            raise KeyboardInterrupt
        return done == 7

    valley = lambda w: (w[1] - w[0] ** 2) ** 2  # noqa: E731
    ends = np.array([-1.0, 1.0]), np.array([1.0, 1.0])
    found = connect(valley, *ends, on_progress=end)
    assert calls == list(itertools.product(range(1, 8), [1000]))
    assert 0 < found.curve_barrier < found.line_barrier


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end": np.zeros(2)}, "two points that differ"),
        ({"end": np.zeros(3)}, r"end stacked along one leading axis|got \[\(1, 3\)\]"),
        ({"end": np.array([0, np.inf])}, "finite end"),
        ({"bends": 0}, "bends to be a whole number"),
        ({"steps": 0}, "steps to be a whole number"),
        ({"points": 2}, "at least 3 points"),
        ({"learning_rate": 0}, "a learning_rate above 0"),
    ],
)
def test_bad_input(change, message):
    arguments = {"start": np.zeros(2), "end": np.ones(2)} | change
    with pytest.raises(ValueError, match=message):
        connect(lambda w: (w**2).sum(), **arguments)


def test_the_seed_is_that_of_the_draws():
    ring = lambda w: ((w**2).sum() - 1) ** 2  # noqa: E731
    one, same, other = (
        connect(
            ring, np.array([-1.0, 0.0]), np.array([1.0, 0.0]), bends=2, steps=20, seed=seed
        ).bends
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert abs(one - other).max() > 1e-6
