"""descend against scipy's minimisers; escape; follow against analyze."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.tree_util import Partial
from problems import classifier_data, one_of, tanh_classifier, tanh_classifier_params

from jaxml import landscape
from jaxml.data.surfaces import course_saddle, himmelblau, rosenbrock
from jaxml.landscape.critical import escape as escape_module
from jaxml.landscape.critical import minimum as minimum_module


@pytest.mark.parametrize("start", [(-1.2, 1.0), (0.0, 0.0), (1.5, -0.5)])
def test_rosenbrock_s_minimum_is_scipy_s(start):
    got = landscape.descend(rosenbrock, np.array(start), float64=True)
    derivative = scipy.optimize.rosen_der
    for method in ("BFGS", "L-BFGS-B"):
        options = {"gtol": 1e-9} | ({"ftol": 0} if method == "L-BFGS-B" else {})
        want = scipy.optimize.minimize(
            scipy.optimize.rosen, start, jac=derivative, method=method, options=options
        )
        np.testing.assert_allclose(got.params, want.x, atol=1e-7)
    np.testing.assert_allclose(got.params, 1, atol=1e-9)
    assert got.gradient_norm <= 4e-11
    assert len(got.path["loss"]) < 60


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 20])
def test_trust_region_newton_is_scipy_s(size):
    """No more steps and products than scipy takes, whose forcing term has a unit."""
    start = np.array([-1.2, 1.0]) if size == 2 else np.random.default_rng(0).normal(size=size)
    products = 0

    def product(x, p):
        nonlocal products
        products += 1
        return scipy.optimize.rosen_hess_prod(x, p)

    want = scipy.optimize.minimize(
        scipy.optimize.rosen, start, jac=scipy.optimize.rosen_der, hessp=product,
        method="trust-ncg", options={"gtol": 3e-11},
    )  # fmt: skip
    loss = lambda w: (100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2).sum()  # noqa: E731
    got = landscape.descend(loss, start, "trust_region", float64=True)
    np.testing.assert_allclose(got.params, want.x, atol=1e-9)
    assert got.gradient_norm <= 4e-11
    steps = len(got.path["loss"]) - 1
    assert steps <= 1.05 * want.nit
    assert steps <= got.products < products
    if size == 2:
        assert (np.diff(got.path["loss"]) <= 0).all()
        single = landscape.descend(loss, np.float32(start), "trust_region")
        np.testing.assert_allclose(single.params, 1, atol=1e-4)


@pytest.mark.slow
def test_trust_region_newton_follows_negative_curvature():
    """One step from (0, y) on x² − y² + y⁴/4: to the boundary, which is at distance 1."""
    loss, bowl = one_of(
        lambda w: w[0] ** 2 - w[1] ** 2 + w[1] ** 4 / 4,
        lambda w: 2 * w[0] ** 2 + w[1] ** 2 + w[0],
    )
    start = np.array([0.0, 1e-7])
    got = landscape.descend(loss, start, "trust_region", max_steps=1, float64=True)
    np.testing.assert_allclose(got.params, [0, 1 + 1e-7], rtol=1e-12)
    assert got.products == 1
    end = landscape.descend(loss, start, "trust_region", float64=True)
    np.testing.assert_allclose(end.params, [0, 2**0.5], atol=1e-10)
    # a quadratic whose minimum is within the region: conjugate gradients solve it
    got = landscape.descend(bowl, np.zeros(2), "trust_region", float64=True)
    np.testing.assert_allclose(got.params, [-0.25, 0], atol=1e-12)


@pytest.mark.slow
def test_the_path_of_a_descent():
    start = np.array([-1.2, 1.0])
    got = landscape.descend(rosenbrock, start, float64=True)
    assert set(got.path) == {"loss", "gradient_norm", "distance"}
    assert len({len(values) for values in got.path.values()}) == 1
    assert (np.diff(got.path["loss"]) <= 0).all()
    assert got.path["loss"][0] == pytest.approx(scipy.optimize.rosen(start), rel=1e-14)
    assert got.path["distance"][0] == 0
    assert got.path["distance"][-1] == pytest.approx(2.2, abs=1e-9)
    assert got.path["loss"][-1] == got.loss
    assert got.path["gradient_norm"][-1] == got.gradient_norm
    assert (type(got.params), got.params.dtype) == (np.ndarray, np.float64)
    cut = landscape.descend(rosenbrock, start, float64=True, max_steps=3)
    np.testing.assert_allclose(cut.path["loss"], got.path["loss"][:4], rtol=1e-12)
    loose = landscape.descend(rosenbrock, start, float64=True, gradient_tolerance=1.0)
    norms = loose.path["gradient_norm"]
    assert norms[-1] <= 1 < norms[:-1].min()


def test_descend_in_float32_ends_where_it_no_longer_moves():
    got = landscape.descend(rosenbrock, np.array([-1.2, 1.0], np.float32), gradient_tolerance=0)
    assert len(got.path["loss"]) < 500
    np.testing.assert_allclose(got.params, 1, atol=2e-3)
    assert got.params.dtype == np.float32


def tilted(w):
    """A saddle at 0 with a shallow valley at x = 0.5 and a deeper one at x = −1."""
    return 6 * (w[0] ** 4 / 4 + w[0] ** 3 / 6 - w[0] ** 2 / 4) + w[1] ** 2


@pytest.mark.slow
@pytest.mark.parametrize("sense", [1.0, -1.0])
def test_escape_tries_both_senses(sense):
    direction = np.array([sense, 0.0])
    out = landscape.escape(tilted, np.zeros(2), direction=direction, float64=True)
    np.testing.assert_allclose(out.params, [-1, 0], atol=1e-10)
    assert out.loss == pytest.approx(6 * (1 / 4 - 1 / 6 - 1 / 4))
    assert np.sign(out.distance) == -sense
    np.testing.assert_array_equal(out.direction, direction)


def spread(w, weights):
    """A saddle at 0 whose lowest curvature is −0.3, along the axis of the least weight."""
    return 0.5 * (weights * w**2).sum() + 0.25 * (w**4).sum()


@pytest.mark.slow
def test_a_direction_by_products_of_three_parameters(monkeypatch):
    monkeypatch.setattr(escape_module, "DENSE_SIZE", 2)
    weights = np.array([1.0, -0.3, 2.0])
    out = landscape.escape(Partial(spread, weights=weights), np.zeros(3), float64=True, max_steps=0)
    np.testing.assert_allclose(abs(out.direction), [0, 1, 0], atol=1e-3)
    assert out.loss == pytest.approx(-(0.3**2) / 4, rel=0.1)  # of −0.15t² + t⁴/4
    with pytest.raises(landscape.NoDescentError, match=r"lowest eigenvalue 0\.3"):
        landscape.escape(Partial(spread, weights=abs(weights)), np.zeros(3), float64=True)


@pytest.mark.slow
@pytest.mark.parametrize("float64", [False, True])
def test_an_escape_by_products_alone(float64):
    """Of 3,000 parameters, in closed form: 300 negative curvatures, the lowest −0.3."""
    weights = np.linspace(-0.3, 5, 3000)
    weights[1:300] = -0.01
    with jax.enable_x64(float64):
        loss = Partial(spread, weights=jnp.array(weights))
    out = landscape.escape(loss, np.zeros(3000, np.float32), float64=float64, max_steps=0)
    curvature = (weights * out.direction**2).sum()
    assert out.direction.dtype == (np.float64 if float64 else np.float32)
    assert curvature == pytest.approx(-0.3, rel=0.01)
    assert abs(out.direction[0]) > 0.99
    assert out.loss == pytest.approx(-(0.3**2) / 4, rel=0.1)  # of −0.15t² + t⁴/4
    bowl = Partial(spread, weights=jnp.array(np.abs(weights), jnp.float32))
    with pytest.raises(landscape.NoDescentError, match="a direction of descent, got none: lowest"):
        landscape.escape(bowl, np.zeros(3000, np.float32))


@pytest.mark.slow
def test_the_direction_by_products_is_that_of_the_dense_analysis(monkeypatch):
    x, y = classifier_data(np.random.default_rng(0), 40, 4, 3)
    loss = Partial(tanh_classifier, x=jnp.float32(x), y=jnp.array(y), l2=0.01)
    params = tanh_classifier_params(np.random.default_rng(1), 4, 5, 3)
    params = jax.tree.map(np.float32, params)
    point = landscape.analyze(loss, params)
    monkeypatch.setattr(escape_module, "DENSE_SIZE", 0)
    out = landscape.escape(loss, params, max_steps=0)
    inner = jax.tree.map(lambda a, b: (a * b).sum(), point.descent, out.direction)
    assert abs(sum(jax.tree.leaves(inner))) > 0.999


def test_one_sense_alone_leads_down_a_cubic():
    out = landscape.escape(
        lambda w: w[0] ** 3 + w[1] ** 2,
        np.zeros(2),
        direction=np.array([3.0, 0.0]),
        max_steps=0,
        float64=True,
    )
    assert out.distance < 0
    assert out.loss == pytest.approx(out.distance**3)
    np.testing.assert_allclose(np.linalg.norm(out.direction), 1)


@pytest.mark.slow
def test_the_path_of_an_escape():
    x = np.array([0.086677504555396352, 2.8842547011747761])  # a saddle of value 67.719
    out = landscape.escape(himmelblau, x, float64=True)
    path = out.path
    assert set(path) == {"loss", "gradient_norm", "distance"}
    assert len({len(values) for values in path.values()}) == 1
    assert path["loss"][0] == pytest.approx(67.71915008752614)
    assert path["distance"][0] == 0
    assert path["gradient_norm"][0] < 1e-10
    left = x + out.distance * out.direction  # the end of the line search
    assert path["loss"][1] == pytest.approx(himmelblau(left), rel=1e-12)
    assert path["distance"][1] == pytest.approx(abs(out.distance))
    assert (np.diff(path["loss"]) <= 0).all()
    assert (path["loss"][-1], path["gradient_norm"][-1]) == (out.loss, out.gradient_norm)
    assert out.loss < 1e-20
    assert landscape.analyze(himmelblau, out.params, float64=True).kind == "minimum"
    np.testing.assert_allclose(
        landscape.escape(himmelblau, x, float64=True, max_steps=0).params, left
    )
    # the direction is the analysis's
    descent = landscape.analyze(himmelblau, x, float64=True).descent
    assert abs(descent @ out.direction) == pytest.approx(1)


@pytest.mark.slow
def test_the_distances_of_the_descent_are_from_where_the_escape_began():
    out = landscape.escape(course_saddle, np.zeros(2), float64=True)
    away = np.linalg.norm(out.params)
    assert out.path["distance"][-1] == pytest.approx(away, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "x", "direction", "match"),
    [
        (himmelblau, [3.0, 2.0], None, "a point with a direction of descent, got none: lowest"),
        (himmelblau, [3.0, 2.0], [1.0, 0.0], "falls along the direction.*falls in neither sense"),
    ],
)
def test_nothing_escapes_from_a_minimum(loss, x, direction, match):
    direction = None if direction is None else np.array(direction)
    with pytest.raises(ValueError, match=match):
        landscape.escape(loss, np.array(x), direction=direction, float64=True)


@pytest.fixture(scope="module")
def snapshots():
    rng = np.random.default_rng(5)
    x, y = classifier_data(rng, 20, 4, 3)
    points = [tanh_classifier_params(rng, 4, 2, 3) for _ in range(6)]
    with jax.enable_x64(True):
        loss = Partial(tanh_classifier, x=jnp.array(x), y=jnp.array(y), l2=0.01)
    return loss, points


@pytest.mark.slow
@pytest.mark.parametrize("leading", [(6,), (2, 3)])
def test_follow_is_analyze_at_every_point(snapshots, leading):
    loss, points = snapshots
    stack = jax.tree.map(
        lambda *leaves: np.stack(leaves).reshape(*leading, *leaves[0].shape), *points
    )
    followed = landscape.follow(loss, stack, axes=len(leading), float64=True)
    assert followed.eigenvalues.shape == (*leading, 19)
    for name in ("loss", "gradient_norm", "index", "minimum_ratio", "tolerance"):
        assert getattr(followed, name).shape == leading
        assert isinstance(getattr(followed, name), np.ndarray)
    for i, params in enumerate(points):
        at = np.unravel_index(i, leading)
        point = landscape.analyze(loss, params, float64=True)
        assert point.kind == "not critical"  # so that its tolerance is rounding's alone
        np.testing.assert_allclose(followed.eigenvalues[at], point.eigenvalues, atol=1e-14)
        for name in ("loss", "gradient_norm", "minimum_ratio", "tolerance"):
            assert getattr(followed, name)[at] == pytest.approx(getattr(point, name), rel=1e-12)
        assert followed.index[at] == point.index


def test_follow_in_float32_has_float32_s_tolerance():
    # at (0, 0) the eigenvalues are -2 and 2, at (1, 1) they are 0 and 4
    points = np.array([[0, 0], [1, 1]], np.float32)
    followed = landscape.follow(course_saddle, points)
    assert followed.eigenvalues.dtype == np.float32
    np.testing.assert_allclose(followed.tolerance, 2 * 1.1920929e-07 * np.array([2, 4]), rtol=1e-6)
    assert followed.index.tolist() == [1, 0]
    assert followed.minimum_ratio.tolist() == [0.5, 0.5]


@pytest.mark.slow
def test_find_minimum_leaves_a_saddle_that_descent_converges_to():
    """From w₁ = −w₂ the course's surface leads straight to its saddle at 0."""
    start = np.array([1.0, -1.0])
    end = landscape.descend(course_saddle, start).params
    assert landscape.analyze(course_saddle, end).kind == "saddle"
    point = landscape.find_minimum(course_saddle, start)
    assert point.loss < 1e-15
    assert point.kind == "degenerate"
    assert point.descent is None
    assert landscape.find_minimum(course_saddle, start, rounds=1).kind == "saddle"


def test_find_minimum_of_himmelblau():
    for start in ([0.0, 0.0], [3.0, -4.0], [-0.27, -0.92]):
        point = landscape.find_minimum(himmelblau, np.array(start))
        assert point.certified
        assert point.kind == "minimum"


@pytest.mark.slow
@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_where_both_ways_are_alike_the_first_is_taken(turn):
    """cos has a maximum at 0, and the loss is even: rounding must not choose the way."""
    direction = np.array([turn * 0.6, turn * 0.8])
    hill, ridge = one_of(
        lambda w: jnp.cos(w[0]) + jnp.cos(w[1]), lambda w: jnp.cos(w[0]) + 0.5 * w[1] ** 2
    )
    given = landscape.escape(hill, np.zeros(2), direction=direction, max_steps=0)
    assert np.dot(given.params, direction) > 0
    own = landscape.escape(ridge, np.zeros(2), max_steps=0)
    assert own.params[0] > 0


def test_find_minimum_ends_where_no_straight_line_falls(monkeypatch):
    def stuck(*_, **__):
        raise landscape.NoDescentError("expected a loss that falls along the direction")

    monkeypatch.setattr(minimum_module, "escape", stuck)
    point = landscape.find_minimum(course_saddle, np.zeros(2))
    assert point.kind == "saddle"
