"""Sharpness: closed forms of quadratics, all vertices, scipy, rescaled ReLU layers, dense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.tree_util import Partial
from problems import classifier_data, float32, quadratic, tanh_classifier, tanh_classifier_params

from jaxml import landscape
from jaxml.core.finding import finding
from jaxml.landscape.operators.hessian import flatten

N = 8


def bowl(matrix, centre, vector=0.0):
    """A quadratic around a minimum at the centre, where its value is 3; `vector` tilts it."""
    vector = matrix @ centre + vector
    height = 3.0 + 0.5 * centre @ matrix @ centre
    return Partial(_bowl, matrix=jnp.array(matrix), vector=jnp.array(vector), height=height)


def _bowl(params, matrix, vector, height):
    return quadratic(params, matrix, vector) + height


def symmetric(eigenvalues, seed=0):
    n = len(eigenvalues)
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    return vectors * eigenvalues @ vectors.T


CENTRE = np.random.default_rng(5).normal(size=N)
VALUES = np.array([0.1, 0.2, 0.4, 0.8, 1.0, 1.5, 2.0, 4.0])


@pytest.mark.slow
def test_the_minimum_of_a_diagonal_quadratic(x64):
    found = landscape.sharpness(bowl(np.diag(VALUES), CENTRE), CENTRE)
    np.testing.assert_allclose(found.loss, 3, rtol=1e-14)
    np.testing.assert_allclose(found.largest_eigenvalue, 4, rtol=1e-8)
    assert found.residual <= 4e-4
    # with entries ±1, zᵀDz is the trace itself
    np.testing.assert_allclose([found.trace, found.trace_error], [10, 0], atol=1e-13)
    b = 1e-3 * (abs(CENTRE) + 1)
    np.testing.assert_allclose(found.keskar, 50 * (VALUES * b**2).sum() / 4, rtol=1e-8)
    np.testing.assert_allclose(found.sam.largest, 0.5 * 0.05**2 * 4, rtol=1e-8)
    assert found.sam.first_order <= 1e-14  # the gradient is zero and says nothing
    top = (VALUES * CENTRE**2).max()
    np.testing.assert_allclose(found.adaptive_sam.largest, 0.5 * 0.5**2 * top, rtol=1e-6)


@pytest.mark.slow
def test_a_tilted_quadratic_against_exact_maxima(x64):
    matrix, tilt = symmetric(VALUES), np.random.default_rng(1).normal(size=N) * 0.02
    loss = bowl(matrix, CENTRE, tilt)
    found = landscape.sharpness(loss, CENTRE, box=0.05, radius=0.1, adaptive_radius=0.2)
    value = found.loss
    gradient = -tilt

    corners = np.array(np.meshgrid(*[[-1, 1]] * N)).reshape(N, -1).T * 0.05 * (abs(CENTRE) + 1)
    rises = corners @ gradient + 0.5 * np.einsum("ij,jk,ik->i", corners, matrix, corners)
    keskar = 100 * rises.max() / (1 + value)
    assert 0.97 * keskar <= found.keskar <= keskar * (1 + 1e-12)

    for rise, radius, scale in (
        (found.sam, 0.1, np.ones(N)),
        (found.adaptive_sam, 0.2, abs(CENTRE)),
    ):
        g, h = scale * gradient, scale[:, None] * matrix * scale
        np.testing.assert_allclose(rise.largest, highest_on_sphere(g, h, radius), rtol=1e-6)
        step = radius * g / np.linalg.norm(g)
        np.testing.assert_allclose(rise.first_order, g @ step + step @ h @ step / 2, rtol=1e-9)


def highest_on_sphere(g, h, radius):
    """max gᵀy + ½yᵀHy over ‖y‖ = r, by the secular equation (More and Sorensen 1983)."""
    values, vectors = np.linalg.eigh(h)
    b = vectors.T @ g
    length = lambda mu: np.linalg.norm(b / (mu - values)) - radius  # noqa: E731
    low = values[-1] + abs(b[-1]) / radius * 1e-6
    mu = scipy.optimize.brentq(length, low, values[-1] + np.linalg.norm(b) / radius + 1, xtol=1e-14)
    y = b / (mu - values)
    return b @ y + 0.5 * values @ y**2


@pytest.fixture(scope="module")
def net():
    """A tanh net after some descent, float64, its sharpness and its dense Hessian."""
    rng = np.random.default_rng(3)
    x, y = classifier_data(rng, 40, 4, 3)
    params = tanh_classifier_params(rng, 4, 3, 3)
    with jax.enable_x64(True):
        loss = Partial(tanh_classifier, x=jnp.array(x), y=jnp.array(y), l2=0.01)
        params = landscape.descend(loss, params, max_steps=8).params
        found = landscape.sharpness(loss, params, box=0.01)
        dense = np.asarray(landscape.hessian(loss, params).dense())
    return loss, params, found, dense


@pytest.mark.slow
def test_a_net_against_its_dense_hessian(net):
    _, _, found, dense = net
    np.testing.assert_allclose(found.largest_eigenvalue, np.linalg.eigvalsh(dense)[-1], rtol=1e-6)
    np.testing.assert_allclose(found.trace, np.trace(dense), rtol=1e-12)  # exact: so few
    assert found.trace_error == 0


def test_keskar_is_at_least_what_ten_steps_of_scipys_l_bfgs_b_find(x64, net):
    loss, params, found, _ = net
    f, x = flatten(loss, jax.tree.map(jnp.array, params))
    falling = jax.jit(jax.value_and_grad(lambda y: -f(x + y)))
    b = 0.01 * (abs(np.asarray(x)) + 1)
    rng = np.random.default_rng(0)
    best = max(
        -scipy.optimize.minimize(
            lambda y: jax.tree.map(np.asarray, falling(y)),
            rng.uniform(-b, b),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(-b, b, strict=True)),
            options={"maxiter": 10},
        ).fun
        for _ in range(5)
    )
    phi = 100 * (best - found.loss) / (1 + found.loss)
    assert phi <= found.keskar * (1 + 1e-9)
    assert found.keskar < 1.1 * phi


def relu_net(params, x, y):
    hidden = jax.nn.relu(x @ params["in"] + params["in_bias"])
    return ((hidden @ params["out"] - y) ** 2).mean()


@pytest.mark.slow
def test_adaptive_sam_alone_is_invariant_under_rescaled_relu_layers():
    with jax.enable_x64(True):
        rng = np.random.default_rng(7)
        x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 2))
        params = {
            "in": rng.normal(size=(4, 5)),
            "in_bias": rng.normal(size=5),
            "out": rng.normal(size=(5, 2)),
        }
        loss = Partial(relu_net, x=jnp.array(x), y=jnp.array(y))
        scaled = {"in": 10 * params["in"], "in_bias": 10 * params["in_bias"]}
        scaled["out"] = params["out"] / 10
        here, there = (landscape.sharpness(loss, p, adaptive_radius=0.1) for p in (params, scaled))
    np.testing.assert_allclose(here.loss, there.loss, rtol=1e-13)
    first = [point.adaptive_sam.first_order for point in (here, there)]
    np.testing.assert_allclose(*first, rtol=1e-10)
    np.testing.assert_allclose(here.adaptive_sam.largest, there.adaptive_sam.largest, rtol=1e-6)
    for other in ("largest_eigenvalue", "keskar"):
        assert abs(getattr(here, other) / getattr(there, other) - 1) > 0.1
    assert abs(here.sam.first_order / there.sam.first_order - 1) > 0.1


def test_at_a_maximum_nothing_rises(x64):
    found = landscape.sharpness(bowl(-np.diag(VALUES), CENTRE), CENTRE)
    rises = [found.keskar, found.sam.largest, found.adaptive_sam.largest]
    np.testing.assert_allclose(rises, 0, atol=1e-14)
    assert found.largest_eigenvalue == pytest.approx(-0.1)


@pytest.mark.slow
def test_dtypes_seeds_and_words(net):
    loss, params, found, _ = net
    outside = landscape.sharpness(loss, params, box=0.01)  # float64 outside x64 mode
    assert outside == found
    another = landscape.sharpness(loss, params, box=0.01, seed=1)
    assert another.trace == found.trace  # of so few parameters it is exact
    np.testing.assert_allclose(another.sam.largest, found.sam.largest, rtol=1e-3)
    data = {name: np.float32(loss.keywords[name]) for name in ("x", "l2")}
    y = np.asarray(loss.keywords["y"], np.int32)
    single = landscape.sharpness(Partial(tanh_classifier, y=y, **data), float32(params), box=0.01)
    np.testing.assert_allclose(single.largest_eigenvalue, found.largest_eigenvalue, rtol=1e-4)
    np.testing.assert_allclose(single.keskar, found.keskar, rtol=1e-3)
    assert "Keskar's φ" in str(found)


@pytest.mark.parametrize("name", ["box", "radius", "adaptive_radius"])
@pytest.mark.parametrize("size", [0.0, -1.0, np.inf])
def test_bad_sizes(name, size):
    with pytest.raises(ValueError, match=f"a {name} above 0"):
        landscape.sharpness(lambda w: (w**2).sum(), np.ones(2), **{name: size})


@pytest.mark.slow
def test_the_interval_of_the_trace_holds_it():
    """A Hessian of rank one by four probes: two standard errors hold it in three of four."""
    vector = np.random.default_rng(2).normal(size=40)
    exact = vector @ vector
    loss = Partial(_steep, vector=np.float32(vector))
    found = [
        landscape.sharpness(
            loss, np.zeros(40, np.float32), probes=4, rounds=1, random_starts=0, seed=seed
        )
        for seed in range(40)
    ]
    narrow = sum(abs(f.trace - exact) <= 2 * f.trace_error for f in found)
    held = sum(f.trace_low <= exact <= f.trace_high for f in found)
    assert narrow < 38 <= held
    assert all(f.converged for f in found)
    first = found[0]
    assert f"({first.trace_low:.5g} to {first.trace_high:.5g} at 95%)" in str(first)
    rows = {row[0]: row[1] for row in finding(first).sections[0].table.rows}
    assert rows["trace"] == first.stated_trace


def _steep(w, vector):
    return (vector @ w) ** 2 / 2


@pytest.mark.slow
def test_one_probe_tells_no_interval():
    found = landscape.sharpness(
        Partial(_steep, vector=np.ones(40, np.float32)), np.zeros(40, np.float32), probes=1
    )
    assert (found.trace_low, found.trace_high) == (-np.inf, np.inf)
    assert "one random vector tells no interval" in str(found)
    assert "±" not in str(found)
