"""The spectral density: Lanczos, closed forms, the dense spectrum, matfree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from problems import operator_of as operator
from problems import rotated, tanh_classifier, tanh_classifier_params

from jaxml import data, landscape
from jaxml.landscape.spectra.density import quadrature
from jaxml.linalg.krylov import lanczos

N, STEPS = 300, 20
SIZE = {np.float32: 1e-5, np.float64: 1e-13}


@pytest.fixture(scope="module")
def wigner():
    """A symmetric Gaussian matrix: its spectrum is the semicircle on [−2, 2]."""
    a = np.random.default_rng(0).normal(size=(N, N))
    return (a + a.T) / np.sqrt(2 * N)


@pytest.fixture(scope="module")
def density(wigner):
    return landscape.spectral_density(operator(wigner), steps=STEPS, probes=10)


run = jax.jit(lanczos, static_argnames="steps")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanczos_basis_is_orthonormal_and_its_matrix_tridiagonal(x64, wigner, dtype):
    matrix = jnp.asarray(wigner, dtype)
    start = jnp.asarray(np.random.default_rng(1).normal(size=N), dtype)
    alphas, betas, basis = jax.device_get(run(Partial(jnp.matmul, matrix), start, steps=60))
    assert alphas.dtype == betas.dtype == basis.dtype == dtype
    assert basis.shape == (61, N)
    basis = np.asarray(basis, float)
    np.testing.assert_allclose(basis @ basis.T, np.eye(61), atol=SIZE[dtype])
    tridiagonal = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
    np.testing.assert_allclose(basis[:-1] @ wigner @ basis[:-1].T, tridiagonal, atol=SIZE[dtype])
    # the three-term relation, with what is left out of the space
    left = wigner @ basis[:-1].T - basis[:-1].T @ tridiagonal
    np.testing.assert_allclose(left[:, -1], betas[-1] * basis[-1], atol=SIZE[dtype])


def test_lanczos_has_no_ghosts(x64):
    """Without reorthogonalisation the far eigenvalue would come several times."""
    spectrum = np.concatenate([np.linspace(0, 1, 199), [50.0]])
    for matrix in (np.diag(spectrum), rotated(spectrum)):
        start = jnp.ones(200, jnp.float32)
        found = run(Partial(jnp.matmul, jnp.asarray(matrix, jnp.float32)), start, steps=60)
        nodes, _ = quadrature(*jax.device_get(found[:2]))
        assert (nodes > 1.01).sum() == 1


@pytest.mark.parametrize("distinct", [[2.0], [0.0, 3.0], [-1.0, 0.5, 2.0]])
def test_an_invariant_space_ends_the_quadrature(x64, distinct):
    spectrum = np.repeat(distinct, 12 // len(distinct))
    matrix = Partial(jnp.matmul, jnp.asarray(rotated(spectrum)))
    start = jnp.asarray(np.random.default_rng(0).normal(size=12))
    alphas, betas, basis = jax.device_get(run(matrix, start, steps=8))
    assert np.isfinite(basis).all()
    nodes, weights = quadrature(alphas, betas)
    assert nodes.shape == weights.shape == (8,)
    np.testing.assert_array_equal(weights[len(distinct) :], 0)
    np.testing.assert_allclose(nodes[: len(distinct)], distinct, atol=1e-12)
    assert nodes.min() > distinct[0] - 1e-9  # no node outside, such as 0
    assert weights.sum() == pytest.approx(1)


def test_a_zero_operator():
    found = landscape.spectral_density(operator(np.zeros((40, 40))), steps=3, probes=2)
    np.testing.assert_array_equal(found.nodes, np.zeros((2, 3)))
    assert found.moment(2) == (0, 0, 0, 0)
    assert found.linear().density.max() > 0


def test_semicircle(density):
    assert not density.exact
    assert density.nodes.shape == density.weights.shape == (10, STEPS)
    assert density.nodes.dtype == np.float64
    assert density.products == 10 * STEPS
    x = np.linspace(-1.8, 1.8, 37)
    law = 0.5 + x * np.sqrt(4 - x**2) / (4 * np.pi) + np.arcsin(x / 2) / np.pi
    share = density.cumulative(x)
    np.testing.assert_allclose(share.value, law, atol=0.06)
    assert (share.lower - 4 * share.standard_error <= law).all()
    assert (share.upper + 4 * share.standard_error >= law).all()
    for order, catalan in ((2, 1), (4, 2), (6, 5)):
        moment = density.moment(order)
        assert abs(moment.value - catalan) < 4 * moment.standard_error + 0.02 * catalan


def test_the_curve_is_that_of_the_eigenvalues_up_to_the_probes(density, wigner):
    curve = density.linear(width=0.2)
    apart = (curve.points[:, None] - np.linalg.eigvalsh(wigner)) / 0.2
    truth = np.exp(-0.5 * apart**2).mean(axis=1) / (0.2 * np.sqrt(2 * np.pi))
    inside = abs(curve.points) < 1.5
    # neighbouring points err together: one draw of ten probes decides for a good part of the curve
    errors = ((curve.density - truth) / curve.standard_error)[inside]
    assert np.sqrt((errors**2).mean()) < 3
    semicircle = np.sqrt(np.maximum(4 - curve.points**2, 0)) / (2 * np.pi)
    np.testing.assert_allclose(truth[inside], semicircle[inside], atol=0.03)


def test_moments_of_a_gauss_quadrature_are_those_of_its_probe(density, wigner):
    """To the order 2·steps − 1 a probe gives zᵀAᵏz/zᵀz; tr A² is a check over all probes."""
    second = density.moment(2)
    truth = (np.linalg.eigvalsh(wigner) ** 2).mean()
    assert abs(second.value - truth) < 4 * second.standard_error
    assert density.moment(0) == pytest.approx((1, 0, 1, 1))
    assert density.average(np.exp).value == pytest.approx(
        np.exp(np.linalg.eigvalsh(wigner)).mean(), abs=4 * density.average(np.exp).standard_error
    )


def test_quadrature_bounds_hold_for_each_probe(wigner):
    """Chebyshev, Markov and Stieltjes: the probe's own distribution lies within them."""
    values, vectors = np.linalg.eigh(wigner)
    for seed in range(4):
        found = landscape.spectral_density(operator(wigner), steps=STEPS, probes=1, seed=seed)
        key = jax.random.fold_in(jax.random.key(seed), 0)
        with jax.enable_x64(True):
            z = np.asarray(jax.random.normal(key, (N,), np.float64))
        mass = (vectors.T @ z) ** 2 / (z @ z)
        x = np.linspace(-2.2, 2.2, 201)
        truth = (mass[:, None] * (values[:, None] <= x)).sum(axis=0)
        share = found.cumulative(x)
        assert np.isnan(share.standard_error).all()  # one probe
        assert (share.lower <= truth + 1e-12).all()
        assert (truth <= share.upper + 1e-12).all()
        assert (share.upper - share.lower).max() < 2.5 * found.resolution


@pytest.mark.slow
def test_against_the_dense_hessian_of_a_net():
    """Both ends and the shares, for a tanh net on the digits, in float32."""
    digits = data.load("digits").train
    params = tanh_classifier_params(np.random.default_rng(3), 64, 6, 10, scale=0.3)
    loss = Partial(
        tanh_classifier,
        x=jnp.asarray(digits["x"]),
        y=jnp.asarray(digits["y"]),
        l2=jnp.float32(0.0),
    )
    hessian = landscape.hessian(loss, jax.tree.map(np.float32, params))
    values = np.linalg.eigvalsh(np.asarray(hessian.dense(), float))
    found = landscape.spectral_density(hessian, steps=40, probes=6)
    assert not found.exact
    assert found.size == 460
    np.testing.assert_allclose(found.nodes.max(axis=1), values[-1], rtol=1e-4)
    np.testing.assert_allclose(found.nodes.min(axis=1), values[0], rtol=1e-3)
    truth = (
        (values < -found.tolerance).mean(),
        (abs(values) <= found.tolerance).mean(),
        (values > found.tolerance).mean(),
    )
    shares = found.shares()
    assert sum(share.value for share in shares) == pytest.approx(1)
    for share, expected in zip(shares, truth, strict=True):
        assert share.lower <= share.value <= share.upper
        assert share.lower - 3 * share.standard_error <= expected
        assert expected <= share.upper + 3 * share.standard_error
        assert share.value == pytest.approx(expected, abs=3 * share.standard_error + 0.03)


@pytest.mark.oracle
def test_against_matfree(x64, wigner):
    """The same quadrature as matfree's from the same start."""
    decomp = pytest.importorskip("matfree.decomp")
    start = np.random.default_rng(0).normal(size=N)
    matrix = jnp.asarray(wigner)
    theirs = decomp.tridiag_sym(STEPS, reortho="full")(lambda v: matrix @ v, jnp.asarray(start))
    nodes, vectors = np.linalg.eigh(np.asarray(theirs.J_small))
    ours = quadrature(*run(Partial(jnp.matmul, matrix), jnp.asarray(start), steps=STEPS)[:2])
    np.testing.assert_allclose(ours.nodes, nodes, atol=1e-10)
    np.testing.assert_allclose(ours.weights, vectors[0] ** 2, atol=1e-10)


@pytest.mark.slow
def test_small_problems_are_exact(wigner):
    found = landscape.spectral_density(operator(wigner))  # 900 products would be allowed
    values = np.linalg.eigvalsh(wigner)
    assert found.exact
    assert found.products == N
    np.testing.assert_allclose(found.nodes, [values], atol=1e-12)
    share = found.cumulative(values[[0, 9, -1]] + 1e-9)
    np.testing.assert_allclose(share.value, [1 / N, 10 / N, 1])
    np.testing.assert_array_equal(share.standard_error, 0)
    np.testing.assert_array_equal(share.lower, share.upper)
    assert found.resolution == 1 / N
    assert found.shares().negative.value == pytest.approx((values < 0).mean(), abs=1e-12)
    assert "exact" in str(found)


@pytest.mark.slow
def test_standard_errors_are_calibrated(wigner):
    """±2 standard errors of 20 probes cover the truth 94 times of 100, as Student's t says."""
    values = np.linalg.eigvalsh(wigner)
    runs = [
        landscape.spectral_density(operator(wigner), steps=8, probes=20, seed=seed)
        for seed in range(100)
    ]
    for function in (lambda v: v**2, np.exp, lambda v: v):
        means = np.array([found.average(function) for found in runs])
        scores = (means[:, 0] - function(values).mean()) / means[:, 1]
        assert 0.88 <= (abs(scores) < 2).mean() <= 0.99
        assert 0.85 < scores.std() < 1.2


def test_grids_and_masses(density):
    curve = density.linear()
    spacing = np.diff(curve.points)[0]
    assert curve.density.sum() * spacing == pytest.approx(1, abs=1e-3)
    assert curve.width == pytest.approx(np.ptp(density.nodes) / 100)
    low, high = density.nodes.min() - 4 * curve.width, density.nodes.max() + 4 * curve.width
    np.testing.assert_allclose(curve.points, np.linspace(low, high, 1001))
    assert (curve.standard_error >= 0).all()
    np.testing.assert_allclose(
        density.linear(curve.points[::10], curve.width).density, curve.density[::10]
    )
    signed = density.logarithmic(floor=1e-3)
    spacing = np.diff(np.log10(signed.positive.points))[0]
    sides = [side.density.sum() * spacing for side in (signed.negative, signed.positive)]
    assert sum(sides) + signed.within.value == pytest.approx(1, abs=0.01)
    shares = density.shares(1e-3)
    np.testing.assert_allclose(sides, [shares.negative.value, shares.positive.value], atol=0.01)
    assert density.resolution == pytest.approx(density.weights.max(axis=1).mean())
    assert "10 probes of 20 steps, 200 products" in str(density)


def test_the_width_of_a_curve_over_decades(density):
    """Every eigenvalue a Gaussian in log₁₀|λ|, mean over the probes."""
    curve = density.logarithmic(floor=1e-3, width=0.3).positive
    apart = (np.log10(curve.points) - np.log10(abs(density.nodes))[..., None]) / 0.3
    bumps = np.exp(-0.5 * apart**2) / (0.3 * np.sqrt(2 * np.pi))
    chosen = (density.weights * (density.nodes > 1e-3))[..., None]
    np.testing.assert_allclose(curve.density, (chosen * bumps).sum(1).mean(0), atol=1e-12)
    assert curve.width == 0.3
    with pytest.raises(ValueError, match="a width above 0"):
        density.logarithmic(width=0.0)


def test_it_stops_by_accuracy_and_by_the_hook(wigner):
    asked = []
    found = landscape.spectral_density(
        operator(wigner),
        steps=8,
        probes=30,
        accuracy=0.02,
        on_progress=lambda *at: asked.append(at),
    )
    assert 5 <= len(found.nodes) < 30
    assert asked == [(8 * (i + 1), 240) for i in range(len(found.nodes))]
    strict = landscape.spectral_density(operator(wigner), steps=8, probes=30, accuracy=0.016)
    assert len(found.nodes) < len(strict.nodes) < 30
    np.testing.assert_array_equal(strict.nodes[: len(found.nodes)], found.nodes)
    stopped = landscape.spectral_density(
        operator(wigner), steps=8, probes=30, on_progress=lambda done, _: done >= 16
    )
    np.testing.assert_array_equal(stopped.nodes, found.nodes[:2])
    other = landscape.spectral_density(operator(wigner), steps=8, probes=2, seed=1)
    assert (other.nodes != stopped.nodes).any()


def test_float32_and_float64_give_numpy_float64_nodes(wigner):
    single = landscape.spectral_density(operator(wigner, np.float32), steps=8, probes=2)
    double = landscape.spectral_density(operator(wigner), steps=8, probes=2)
    assert type(single.nodes) is type(double.nodes) is np.ndarray
    mixed = abs(single.moment(1).value - double.moment(1).value)
    assert mixed < 0.2  # other vectors: jax draws other bits in float64 mode
    assert jnp.zeros(1).dtype == jnp.float32  # the mode is as it was


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps to be a whole number"),
        ({"probes": 1.5}, "probes to be a whole number"),
        ({"accuracy": 0.0}, "accuracy above 0"),
        ({"accuracy": np.nan}, "accuracy above 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        landscape.spectral_density(operator(np.eye(3)), **options)


def test_bad_inputs(density):
    with pytest.raises(ValueError, match=r"operator, such as hessian.*got function"):
        landscape.spectral_density(lambda v: v)
    steep = landscape.hessian(lambda w: jnp.sqrt(jnp.abs(w)).sum(), np.zeros(50, np.float32))
    for probes in (2, 40):  # by probes, and dense
        with pytest.raises(ValueError, match="finite products"):
            landscape.spectral_density(steep, steps=3, probes=probes)
    with pytest.raises(ValueError, match="tolerance of at least 0"):
        density.shares(-1.0)
    with pytest.raises(ValueError, match="width above 0"):
        density.linear(width=0.0)
    with pytest.raises(ValueError, match="floor above 0 and below"):
        density.logarithmic(floor=10.0)
