"""Descents and searches in other units, at kinks and at the border of a loss's domain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from problems import autoencoder

from jaxml import landscape
from jaxml.data.surfaces import himmelblau, muller_brown, rosenbrock


def beale(w):
    x, y = w
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def product(w):
    return (1 - w[0] * w[1]) ** 2


def scaled(w, f, height, length):
    return height * f(w / length)


EXTREMES = pytest.mark.parametrize(
    ("height", "length"), [(1e-12, 1.0), (1e-20, 1e20), (1e20, 1e-20), (1e-20, 1e-20)]
)
ENDS = {  # of descents; of every search
    "rosenbrock": (rosenbrock, [-1.2, 1.0], [1, 1], None),
    "beale": (beale, [2.0, 0.2], [3, 0.5], [3, 0.5]),
    "himmelblau": (himmelblau, [3.2, 1.8], [3, 2], [3, 2]),
}


@pytest.mark.slow
@EXTREMES
@pytest.mark.parametrize("name", ENDS)
def test_descents_and_searches_have_no_unit(name, height, length):
    f, start, bottom, point = ENDS[name]
    with jax.enable_x64(True):  # one program for all units
        loss = Partial(scaled, f=Partial(f), height=jnp.array(height), length=jnp.array(length))
    start = length * np.array(start)
    for method in ("lbfgs", "trust_region"):
        got = landscape.descend(loss, start, method)
        np.testing.assert_allclose(got.params / length, bottom, rtol=1e-6)
        assert got.gradient_norm <= 1e-7 * got.path["gradient_norm"][0]
    for method in landscape.METHODS if point else ():
        found = landscape.find_critical_point(loss, start, method)
        assert (bool(found.converged), bool(found.flat)) == (True, False)
        np.testing.assert_allclose(found.params / length, point, rtol=1e-6)
        assert float(found.gradient_norm) <= 1e-10 * found.path["gradient_norm"][0]


@pytest.mark.slow
@pytest.mark.parametrize(("height", "length"), [(1e-12, 1.0), (1e-20, 1e20), (1e20, 1e-20)])
@pytest.mark.parametrize(("f", "start"), [(rosenbrock, [-1.2, 1.0]), (beale, [1.0, 1.0])])
def test_the_minimum_of_a_small_loss(f, start, height, length):
    """1e-12 times Rosenbrock's function once ended at (−1.06, 1.06)."""
    with jax.enable_x64(True):
        loss = Partial(scaled, f=Partial(f), height=jnp.array(height), length=jnp.array(length))
    point = landscape.find_minimum(loss, length * np.array(start))
    np.testing.assert_allclose(
        point.params / length, [1, 1] if f is rosenbrock else [3, 0.5], rtol=1e-7
    )


def test_float32_has_no_unit_either():
    for height, length in ((1e-8, 1.0), (1e8, 1e-3), (1.0, 1e6)):
        loss = Partial(
            scaled, f=Partial(rosenbrock), height=np.float32(height), length=np.float32(length)
        )
        got = landscape.descend(loss, np.float32(length) * np.array([-1.2, 1], np.float32))
        np.testing.assert_allclose(got.params / length, 1, atol=2e-3)


def ackley(w):
    wave = jnp.exp(jnp.cos(2 * jnp.pi * w).mean())
    return -20 * jnp.exp(-0.2 * jnp.sqrt((w**2).mean())) - wave + 20 + jnp.e


def logarithm(w):
    """At w₁ ≤ 0 the loss is NaN, and its gradient is not: the minimum is at (0, 1)."""
    return 5e3 * w[0] ** 2 + w[1] - jnp.log(w[1])


def root(w):
    """The minimum is where 2x = 1/(2√x)."""
    return -jnp.sqrt(w[0]) + w[0] ** 2 + w[1] ** 2


@pytest.mark.parametrize("method", ["lbfgs", "trust_region"])
@pytest.mark.parametrize(
    ("loss", "start", "end"),
    [
        (ackley, [0.3, 0.2], [0, 0]),
        (logarithm, [0.5, 3.0], [0, 1]),
        (root, [1e-6, 1.0], [4 ** (-2 / 3), 0]),
        (jnp.linalg.norm, [3.0, 4.0], [0, 0]),
    ],
    ids=["ackley", "logarithm", "root", "cone"],
)
def test_a_finite_start_has_a_finite_end(loss, start, end, method):
    got = landscape.descend(loss, np.array(start), method, float64=True)
    np.testing.assert_allclose(got.params, end, atol=1e-8)
    assert np.isfinite([got.loss, got.gradient_norm]).all()
    assert all(np.isfinite(values).all() for values in got.path.values())


@pytest.mark.slow
@pytest.mark.parametrize("method", landscape.METHODS)
def test_no_search_ends_out_of_the_domain(method):
    """On the far side of w₁ = 0 the gradient of the logarithm shrinks, and the loss is NaN."""
    for start in ([0.5, 3.0], [0.0, 50.0], [1.0, 0.01]):
        found = landscape.find_critical_point(logarithm, np.array(start), method, float64=True)
        assert np.isfinite(found.loss)
        assert found.params[1] > 0
        if found.converged:
            np.testing.assert_allclose(found.params, [0, 1], atol=1e-8)


@pytest.mark.slow
def test_find_minimum_goes_on_where_l_bfgs_ran_out_of_steps():
    """The autoencoder's least loss is known; an encoder of size 50 is a long way from it."""
    with jax.enable_x64(True):
        loss, points = autoencoder((8.0, 4.0, 2.0, 1.0), 2)
        rng = np.random.default_rng(0)
        start = {"encoder": 50 * rng.normal(size=(2, 4)), "decoder": 1e-3 * rng.normal(size=(4, 2))}
        short = landscape.descend(loss, start, max_steps=20)
        least = min(point.loss for point in points)
        assert short.loss > least + 1e-4
        assert landscape.find_minimum(loss, start, max_steps=20).loss == pytest.approx(
            least, abs=1e-8
        )
        assert landscape.find_minimum(loss, start, max_steps=3, rounds=1).kind == "not critical"


@pytest.mark.slow
def test_newton_converges_from_most_starts_of_the_chained_rosenbrock(x64):
    """Of 100 starts of six parameters: 81 and more, damped by a factor it was 50."""
    starts = jnp.array(np.random.default_rng(0).uniform(-2, 2, (100, 6)))
    found = jax.jit(
        lambda s: jax.lax.map(lambda x: landscape.find_critical_point(rosenbrock, x), s)
    )(starts)
    assert found.converged.sum() >= 75
    assert (found.converged | (found.steps > 0)).all()


@pytest.mark.slow
def test_keskar_s_measure_alone_is_lost_where_it_is_undefined():
    def cosine(w):
        return -w.sum() / jnp.linalg.norm(w) / 3**0.5 - 1e-12

    found = landscape.sharpness(cosine, np.ones(3))
    assert found.loss == pytest.approx(-1)
    # −cos of an angle θ is −1 + θ²/2, and the angle is |y|/√3 across
    assert found.largest_eigenvalue == pytest.approx(1 / 3, rel=1e-6)
    assert found.trace == pytest.approx(2 / 3, rel=1e-6)
    assert np.isnan(found.keskar)
    assert found.sam.largest == pytest.approx(0.05**2 / 6, rel=1e-2)
    assert "undefined for a loss of −1 or less" in str(found)
    below = landscape.sharpness(lambda w: (w**2).sum() - 5, np.zeros(2))
    assert np.isnan(below.keskar)
    assert below.largest_eigenvalue == pytest.approx(2)
    above = landscape.sharpness(lambda w: (w**2).sum() - 0.5, np.zeros(2))
    assert above.keskar == pytest.approx(100 * 2e-6 / 0.5)


@pytest.mark.slow
def test_a_neighbourhood_that_leaves_the_domain():
    """The ball of radius 0.05 around w₁ = 0.01 reaches where the loss is NaN."""
    found = landscape.sharpness(logarithm, np.array([0.0, 0.01]))
    assert 5e3 * 0.05**2 < found.sam.largest < np.inf  # more, towards w₁ = 0


@pytest.mark.slow
def test_muller_brown_in_other_units():
    """Its saddle at (0.2125, 0.2930), from nearby, by a search that squares the error."""
    loss = lambda w: 1e-15 * muller_brown(w / 1e9)  # noqa: E731
    found = landscape.find_critical_point(loss, 1e9 * np.array([0.25, 0.3]), float64=True)
    assert found.converged
    np.testing.assert_allclose(found.params / 1e9, [0.21248658, 0.29298833], atol=1e-8)
