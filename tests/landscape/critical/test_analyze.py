"""The analysis of one point: fields, tolerance, kinds, certificate, directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from problems import classifier_data, polynomial, quadratic, tanh_classifier, tanh_classifier_params

from jaxml import landscape
from jaxml.data.surfaces import himmelblau

MIXED = {"a": np.full(2, 0.1), "b": np.float32(0.5)}
EPSILON = {np.float32: 1.1920929e-07, np.float64: 2.220446049250313e-16}


def diagonal(w, h):
    """½ Σ hᵢwᵢ²: Hessian diag(h)."""
    return 0.5 * (h * w**2).sum()


@pytest.fixture(scope="module")
def net():
    rng = np.random.default_rng(5)
    x, y = classifier_data(rng, 20, 4, 3)
    with jax.enable_x64(True):
        loss = Partial(tanh_classifier, x=jnp.array(x), y=jnp.array(y), l2=0.01)
        params = tanh_classifier_params(rng, 4, 3, 3)
        return loss, params, landscape.analyze(loss, params)


@pytest.mark.slow
def test_fields_of_a_point_of_a_net(x64, net):
    loss, params, point = net
    assert point.size == sum(point.counts) == len(point.eigenvalues) == 27
    assert point.dtype == np.float64
    assert point.index == point.counts.negative > 1
    assert point.minimum_ratio == point.counts.positive / 27
    assert (np.diff(point.eigenvalues) >= 0).all()
    jax.tree.map(np.testing.assert_array_equal, point.params, params)
    assert point.loss == pytest.approx(float(loss(params)), rel=1e-14)
    gradient = jax.flatten_util.ravel_pytree(jax.grad(loss)(params))[0]
    assert point.gradient_norm == pytest.approx(float(jnp.linalg.norm(gradient)), rel=1e-12)
    for tree in (point.refined, point.descent, point.params):
        assert {type(leaf) for leaf in jax.tree.leaves(tree)} == {np.ndarray}
        assert jax.tree.map(np.shape, tree) == jax.tree.map(np.shape, params)


def test_eigenvectors_of_the_negative_eigenvalues(x64, net):
    loss, params, point = net  # not critical: the tolerance is rounding alone
    negative = point.counts.negative
    product = landscape.hessian(loss, params).matvec
    vectors = np.stack(
        [
            jax.flatten_util.ravel_pytree(
                jax.tree.map(lambda leaf, i=i: leaf[i], point.eigenvectors)
            )[0]
            for i in range(negative)
        ]
    )
    assert {len(leaf) for leaf in jax.tree.leaves(point.eigenvectors)} == {negative}
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(negative), atol=1e-13)
    for v, eigenvalue in zip(vectors, point.eigenvalues, strict=False):
        np.testing.assert_allclose(product(jnp.array(v)), eigenvalue * v, atol=1e-14)
    descent = jax.flatten_util.ravel_pytree(point.descent)[0]
    assert abs(descent @ vectors[0]) == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tolerance_at_an_exact_point(dtype):
    h = np.array([-3.0, 7.0], dtype)
    float64 = dtype is np.float64
    with jax.enable_x64(float64):
        point = landscape.analyze(Partial(diagonal, h=jnp.array(h)), np.zeros(2, dtype))
    assert point.dtype == dtype
    assert point.tolerance == pytest.approx(2 * EPSILON[dtype] * 7, rel=1e-6)
    assert (point.gradient_norm, point.distance) == (0, 0)
    assert point.gradient_tolerance == pytest.approx(EPSILON[dtype] ** 0.5 * 7, rel=1e-6)
    assert point.counts == (1, 0, 1)
    np.testing.assert_allclose(point.eigenvalues, h, rtol=1e-6)


@pytest.mark.parametrize(
    ("h", "single", "double"),
    [
        ([2.0, 2e-9], "undecided", "minimum"),
        ([2.0, -2e-9], "undecided", "saddle"),
        ([-2.0, 2e-9], "undecided", "saddle"),
        ([-2.0, -2e-9], "undecided", "maximum"),
        ([2.0, 0.0], "undecided", "degenerate"),
        ([2.0, 1e-5], "minimum", "minimum"),
        ([-2.0, -1.0], "maximum", "maximum"),
        ([2.0, -1e-5], "saddle", "saddle"),
    ],
)
def test_kinds_in_both_precisions(h, single, double):
    for float64, kind in ((False, single), (True, double)):
        with jax.enable_x64(float64):
            loss = Partial(diagonal, h=jnp.array(h))
        point = landscape.analyze(loss, np.zeros(2, np.float32), float64=float64)
        assert point.kind == kind
        assert point.certified == (kind in ("minimum", "maximum", "saddle"))
        text = str(point)
        first = text.splitlines()[0]
        assert first.startswith("a minimum") == (kind == "minimum")
        assert kind in text.splitlines()[1]
        assert ("certified" in text) == point.certified
        assert ("float64 would decide" in text) == (kind == "undecided")
        assert f"({'float64' if float64 else 'float32'})" in text


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_loss_s_scale_does_not_change_the_kind(scale):
    points = {
        "minimum": (3.0, 2.0),
        "maximum": (-0.27084459066734761, -0.92303855647998146),
        "saddle": (3.3851541836070209, 0.073851879837749288),
    }
    for kind, x in points.items():
        point = landscape.analyze(_scaled_himmelblau(scale), np.array(x), float64=True)
        assert (point.kind, point.certified) == (kind, True)
        assert point.distance < 1e-10


def _scaled_himmelblau(scale):
    return Partial(lambda w, s: s * himmelblau(w), s=scale)


def test_not_critical_and_the_gradient_tolerance():
    h = jnp.array([1.0, -2.0])
    loss, x = Partial(diagonal, h=h), np.array([1e-2, 0.0], np.float32)
    away = landscape.analyze(loss, x)
    assert (away.kind, away.certified) == ("not critical", False)
    assert np.isnan(away.distance)
    np.testing.assert_array_equal(away.refined, x)
    assert away.index == 1  # the spectrum is reported all the same
    near = landscape.analyze(loss, x, gradient_tolerance=2e-2)
    assert (near.kind, near.gradient_tolerance) == ("saddle", 2e-2)
    assert near.distance == pytest.approx(1e-2, rel=1e-5)
    np.testing.assert_allclose(near.refined, 0, atol=1e-8)


@pytest.mark.slow
def test_refined_is_the_newton_step(x64):
    matrix = np.array([[2.0, 1.0], [1.0, -1.0]])
    loss = Partial(quadratic, matrix=jnp.array(matrix), vector=jnp.array([1.0, 2.0]))
    solution = np.linalg.solve(matrix, [1.0, 2.0])
    x = solution + 1e-9
    point = landscape.analyze(loss, x)
    np.testing.assert_allclose(point.refined, solution, atol=1e-15)
    assert point.distance == pytest.approx(1e-9 * 2**0.5, rel=1e-6)
    # where the Hessian changes, the gradient falls to second order
    start = np.array([3.0, 2.0]) + 1e-6
    rough = landscape.analyze(himmelblau, start, gradient_tolerance=1e-2)
    better = landscape.analyze(himmelblau, rough.refined)
    assert better.gradient_norm < 1e-4 * rough.gradient_norm
    assert rough.distance == pytest.approx(1e-6 * 2**0.5, rel=1e-4)


def test_the_descent_of_a_saddle_lowers_the_loss():
    x = np.array([3.3851541836070209, 0.073851879837749288])
    point = landscape.analyze(himmelblau, x, float64=True)
    assert np.linalg.norm(point.descent) == pytest.approx(1, rel=1e-14)
    curvature = point.eigenvalues[0]
    for t in (-1e-3, 1e-3):
        drop = himmelblau(x + t * point.descent) - point.loss
        assert drop == pytest.approx(0.5 * curvature * t**2, rel=2e-3)


def newton(matrix, cubic, quartic, x):
    """Newton's method in numpy: the end, and the Hessian there."""
    for _ in range(50):
        twice = cubic @ x
        gradient = matrix @ x + 0.5 * twice @ x + quartic * x**3
        hessian = matrix + twice + np.diag(3 * quartic * x**2)
        step = np.linalg.solve(hessian, gradient)
        x = x - step
        if np.linalg.norm(step) <= 1e-15 * (1 + np.linalg.norm(x)):
            break
    return x, np.linalg.norm(gradient), hessian


def random_polynomial(rng, n=3):
    """One with a critical point at 0 whose Hessian has eigenvalues of sizes 1e-6 to 1."""
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    values = rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-6, 0, n)
    cubic = rng.normal(size=(n, n, n))
    axes = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    cubic = sum(cubic.transpose(a) for a in axes) / 6
    return vectors * values @ vectors.T, cubic, rng.normal(size=n)


@pytest.mark.parametrize("points", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_a_certificate_holds(x64, points):
    """Where one is given, Newton's method ends near, at a point of the same index."""
    rng = np.random.default_rng(0)
    certified = refused = wrong_below = 0
    for _ in range(points):
        matrix, cubic, quartic = random_polynomial(rng)
        direction = rng.normal(size=3)
        x = 10.0 ** rng.uniform(-9, -1) * direction / np.linalg.norm(direction)
        loss = Partial(polynomial, matrix=matrix, cubic=cubic, quartic=quartic)
        point = landscape.analyze(loss, x, gradient_tolerance=1.0)
        raw = int((point.eigenvalues < 0).sum())
        if not point.certified:
            refused += 1
            wrong_below += raw != int((np.linalg.eigvalsh(matrix) < 0).sum())
            continue
        certified += 1
        end, gradient_norm, hessian = newton(matrix, cubic, quartic, x)
        assert gradient_norm < 1e-12
        assert np.linalg.norm(end - x) <= 2 * point.distance + 1e-14
        assert int((np.linalg.eigvalsh(hessian) < 0).sum()) == point.index == raw
    # neither is rare, and what is refused is often wrong as it stands
    assert certified > points / 5
    assert refused > points / 5
    assert wrong_below > points / 20


@pytest.mark.parametrize(
    "function", [landscape.analyze, landscape.descend, landscape.find_critical_point]
)
def test_float64_parameters_are_honoured_outside_float64_mode(function):
    """No digit is lost between a search in float64 and the analysis of its end."""
    result = function(lambda w: ((w["a"] - 1) ** 2).sum() + w["b"] ** 2, MIXED)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(result.params))


def test_the_operator_honours_float64():
    operator = landscape.hessian(lambda w: (w["a"] ** 4).sum() + w["b"] ** 2, MIXED)
    exact = np.diag([12 * 0.1**2, 12 * 0.1**2, 2])
    assert operator.dense().dtype == np.float64
    np.testing.assert_allclose(operator.dense(), exact, rtol=1e-15)
    np.testing.assert_allclose(operator.matvec(np.ones(3)), exact.sum(1), rtol=1e-15)
