"""The searches: rates, records, what they say where they stall, vmap, precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from problems import float32, one_of, quadratic

from jaxml import landscape
from jaxml.data.surfaces import himmelblau

STEPS = 60
"""Of every search on one surface: so many are a program of their own."""

METHODS = pytest.mark.parametrize("method", landscape.METHODS)


def indefinite(n=6, seed=0):
    """A quadratic of eigenvalues −2 to 3, none near zero, and its critical point."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    matrix, vector = vectors * np.linspace(-2, 3.1, n) @ vectors.T, rng.normal(size=n)
    return matrix, vector, np.linalg.solve(matrix, vector)


@pytest.mark.parametrize("float64", [pytest.param(False, marks=pytest.mark.slow), True])
@METHODS
def test_a_quadratic_is_solved_in_few_steps(method, float64):
    matrix, vector, solution = indefinite()
    with jax.enable_x64(float64):
        loss = Partial(quadratic, matrix=jnp.array(matrix), vector=jnp.array(vector))
    found = landscape.find_critical_point(loss, np.zeros(6, np.float32), method, float64=float64)
    assert found.converged
    assert not found.flat
    assert found.steps <= {"newton": 12, "newton_mr": 8, "gradient_norm": 40}[method]
    np.testing.assert_allclose(found.params, solution, atol=1e-10 if float64 else 1e-4)
    assert found.gradient_norm <= (4e-11 if float64 else 2.5e-5)
    dtype = np.dtype(np.float64 if float64 else np.float32)
    assert {leaf.dtype for leaf in (found.params, found.loss, found.gradient_norm)} == {dtype}
    if float64:
        assert isinstance(found.params, np.ndarray)
        assert isinstance(found.path["loss"], np.ndarray)


@pytest.mark.slow
@METHODS
def test_the_path_and_the_rate_at_a_nonsingular_point(x64, method):
    find = functools.partial(landscape.find_critical_point, himmelblau, method=method)
    found = find(np.array([3.2, 0.4]), max_steps=STEPS)
    np.testing.assert_allclose(found.params, [3.3851541836070209, 0.073851879837749288], atol=1e-9)
    steps = int(found.steps)
    for values in found.path.values():
        assert values.shape == (STEPS + 1,)
        assert np.isfinite(values[: steps + 1]).all()
        assert np.isnan(values[steps + 1 :]).all()
    norms = np.asarray(found.path["gradient_norm"])[: steps + 1]
    assert norms[-1] == pytest.approx(float(found.gradient_norm), rel=1e-6, abs=1e-16)
    assert found.path["loss"][steps] == pytest.approx(float(found.loss), rel=1e-12)
    assert found.path["loss"][0] == pytest.approx(himmelblau(np.array([3.2, 0.4])), rel=1e-14)
    start = np.asarray(jax.grad(himmelblau)(jnp.array([3.2, 0.4])))
    assert norms[0] == pytest.approx(np.linalg.norm(start), rel=1e-12)
    assert (np.diff(norms) <= 0).all()
    if method == "newton_mr":  # superlinear: each step of the end squares the error, nearly
        assert (norms[-2:] <= norms[-3:-1] ** 1.5).all()
    # a limit of steps is kept, and said
    cut = find(np.array([3.2, 0.4]), max_steps=2)
    assert (int(cut.steps), bool(cut.converged)) == (2, False)
    assert cut.path["loss"].shape == (3,)
    np.testing.assert_allclose(cut.path["gradient_norm"], norms[:3], rtol=1e-9)


@pytest.mark.slow
@METHODS
def test_a_start_that_is_critical_is_left_alone(x64, method):
    """Where the gradient is exactly zero, ‖Hg‖/(‖H‖‖g‖) has no value."""
    start = np.array([3.0, 2.0])
    found = landscape.find_critical_point(himmelblau, start, method, max_steps=STEPS)
    assert (int(found.steps), bool(found.converged), bool(found.flat)) == (0, True, False)
    assert float(found.gradient_norm) == 0
    assert np.isnan(found.flatness)


SLOPE_AND_VALLEY, SLOPE = one_of(
    # at x = 0 the gradient (0, 1) lies in the Hessian's kernel
    lambda w: w[1] + w[0] ** 2,
    # linear: every gradient lies in the kernel of a Hessian that is zero
    lambda w: w[1] + 2 * w[0],
)


@pytest.mark.parametrize(("loss", "smallest"), [(SLOPE_AND_VALLEY, 1), (SLOPE, 5**0.5)])
@METHODS
def test_gradient_flat_points_are_not_converged(x64, method, loss, smallest):
    """Frye et al. 2021: the searches stall where the gradient is in the Hessian's kernel."""
    found = landscape.find_critical_point(loss, np.array([0.7, 0.2]), method)
    assert not found.converged
    assert found.flat
    assert found.flatness < 1e-4
    assert float(found.gradient_norm) == pytest.approx(smallest, abs=1e-6)


def test_flat_is_a_matter_of_its_tolerance(x64):
    # the least-squares step leads from x = 2 to 0; the slope √17 changes by 3/4 of itself over
    # 1.64, of which the power of two below is the radius of the first region
    loss, start = SLOPE_AND_VALLEY, np.array([2.0, 0.0])
    found = landscape.find_critical_point(loss, start, max_steps=1)
    np.testing.assert_allclose(found.params, [1, 0], atol=1e-11)
    # Hg = (4x, 0), ‖H‖ = 2, ‖g‖² = 1 + 4x²
    flatness = 2 / 5**0.5
    assert float(found.flatness) == pytest.approx(flatness, rel=1e-10)
    for factor in (0.9, 1.1):
        flat_tolerance = factor * flatness
        found = landscape.find_critical_point(
            loss, start, max_steps=1, flat_tolerance=flat_tolerance
        )
        assert found.flat == (factor > 1)


def test_what_has_converged_is_not_flat(x64):
    found = landscape.find_critical_point(SLOPE_AND_VALLEY, np.zeros(2), gradient_tolerance=2.0)
    assert (bool(found.converged), float(found.flatness), bool(found.flat)) == (True, 0, False)


@pytest.mark.slow
@METHODS
def test_vmap_equals_single_runs(x64, method):
    one = functools.partial(
        landscape.find_critical_point, himmelblau, method=method, max_steps=STEPS
    )
    starts = np.random.default_rng(1).uniform(-5, 5, (6, 2))
    many = jax.vmap(one)(jnp.array(starts))
    assert many.converged.shape == (6,)
    assert many.path["loss"].shape == (6, STEPS + 1)
    for i, start in enumerate(starts):
        single = one(start)
        np.testing.assert_allclose(many.params[i], single.params, atol=1e-9)
        assert many.steps[i] == single.steps
        path = many.path["loss"][i]
        np.testing.assert_allclose(path, single.path["loss"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "method",
    [m if m == "newton" else pytest.param(m, marks=pytest.mark.slow) for m in landscape.METHODS],
)
def test_parameters_keep_their_structure(method):
    params = float32({"b": [np.ones(2), np.zeros((1, 2))], "a": np.float32(0.3)})

    def loss(p):
        return (p["b"][0] ** 2).sum() + ((p["b"][1] - p["a"]) ** 2).sum() - (p["a"] - 1) ** 2

    found = landscape.find_critical_point(loss, params, method)
    assert found.converged
    assert jax.tree.structure(found.params) == jax.tree.structure(params)
    assert jax.tree.map(np.shape, found.params) == jax.tree.map(np.shape, params)
    # 2(a − 1) = 2(2a − Σ b₁), and b₁ = a
    np.testing.assert_allclose(found.params["a"], 1, atol=1e-4)
    np.testing.assert_allclose(found.params["b"][1], 1, atol=1e-4)
    np.testing.assert_allclose(found.params["b"][0], 0, atol=1e-4)
