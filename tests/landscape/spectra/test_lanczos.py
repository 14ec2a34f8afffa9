"""Eigenpairs by products: closed forms, eigh, scipy's eigsh, and what is said of errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.sparse.linalg
from jax.tree_util import Partial
from problems import (
    classifier_data,
    float32,
    quadratic,
    tanh_classifier,
    tanh_classifier_params,
)
from sklearn.datasets import load_digits

from jaxml import landscape, nn, training
from jaxml.landscape import eigenpairs
from jaxml.linalg.krylov import begin, extend, key_data, rayleigh_ritz, unit
from jaxml.linalg.reductions import from_blocks
from jaxml.training import losses, sampling


def symmetric(product, *data, size, dtype="float32"):
    """An operator of a plain function `product(*data, vector)`."""
    return landscape.symmetric(Partial(product, *data), size, dtype)


def scaled(values, vector):
    return values * vector


def diagonal(values, dtype="float32"):
    """The operator of a known spectrum; any basis is as good as its eigenvectors'."""
    values = np.asarray(values, dtype)
    return symmetric(scaled, values, size=values.size, dtype=dtype)


def outliers(bulk=400, dtype="float32"):
    """A spectrum as those of networks: outliers above, a bulk at zero, a few below."""
    rng = np.random.default_rng(0)
    above, below = [1.6, 1.0, 0.9, 0.7, 0.5], [-0.02, -0.015]
    return np.concatenate([above, below, 1e-2 * rng.uniform(size=bulk) ** 4]).astype(dtype)


def random_quadratic(size, seed=0):
    a = np.random.default_rng(seed).normal(size=(size, size))
    matrix = (a + a.T) / 2
    return matrix, landscape.hessian(
        Partial(quadratic, matrix=matrix, vector=np.zeros(size)), np.zeros(size)
    )


@pytest.fixture(scope="module")
def dense():
    """A dense matrix of 150 rows in float64, its operator, and what was found outside x64 mode."""
    matrix, operator = random_quadratic(150)
    return matrix, operator, eigenpairs(operator, top=4, lowest=3, tolerance=1e-9)


def test_both_ends_against_eigh(dense):
    matrix, _, found = dense
    values, vectors = np.linalg.eigh(matrix)
    assert found.values.dtype == found.vectors.dtype == np.float64
    assert found.converged.all()
    np.testing.assert_allclose(found.values, np.delete(values, np.s_[3:-4]), rtol=1e-12)
    assert (abs(found.values - np.delete(values, np.s_[3:-4])) <= found.bounds).all()
    overlaps = abs((found.vectors @ np.delete(vectors, np.s_[3:-4], axis=1)).diagonal())
    np.testing.assert_allclose(overlaps, 1, atol=1e-12)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(7), atol=1e-12)
    assert found.norm == pytest.approx(abs(values).max())


def test_both_ends_against_eigsh(dense):
    matrix, _, found = dense
    top = scipy.sparse.linalg.eigsh(matrix, 4, which="LA", return_eigenvectors=False)
    lowest = scipy.sparse.linalg.eigsh(matrix, 3, which="SA", return_eigenvectors=False)
    np.testing.assert_allclose(found.values, np.sort([*lowest, *top]), rtol=1e-10)


def test_the_residuals_are_those_of_the_matrix(dense):
    matrix, _, found = dense
    true = np.linalg.norm(found.vectors @ matrix - found.values[:, None] * found.vectors, axis=1)
    assert (abs(found.residuals - true) <= 2 * found.rounding + 1e-13).all()
    assert (found.residuals <= 1e-9 * found.norm).all()


@pytest.mark.slow
def test_a_restarted_basis_finds_the_same(dense):
    _, operator, found = dense
    again = eigenpairs(operator, top=4, lowest=3, tolerance=1e-9, memory=24 * 4 * 150 * 8)
    assert again.converged.all()
    np.testing.assert_allclose(again.values, found.values, rtol=1e-12)
    assert again.products > found.products


@pytest.mark.slow
def test_no_more_products_than_eigsh():
    spectrum, products = outliers(), 0

    def product(vector):
        nonlocal products
        products += 1
        return spectrum * vector

    size = spectrum.size
    counted = scipy.sparse.linalg.LinearOperator((size, size), matvec=product, dtype="float32")
    scipy.sparse.linalg.eigsh(counted, 5, which="LA", return_eigenvectors=False)
    found = eigenpairs(diagonal(spectrum))
    assert found.converged.all()
    np.testing.assert_allclose(found.values, np.sort(spectrum)[-5:], rtol=1e-6)
    assert found.products <= products


def test_loose_pairs_are_within_their_bounds(dense):
    matrix, operator, _ = dense
    found = eigenpairs(operator, top=4, lowest=3, tolerance=3e-3)
    errors = abs(found.values - np.delete(np.linalg.eigvalsh(matrix), np.s_[3:-4]))
    assert (errors <= found.bounds).all()
    assert (found.bounds < 0.5 * found.residuals).any()
    assert (errors > 1e-3 * found.bounds).any()


@pytest.fixture(scope="module")
def net():
    """A tanh net of 205 parameters in float32 and float64."""
    rng = np.random.default_rng(0)
    x, y = classifier_data(rng, 100, 8, 5)
    params = tanh_classifier_params(rng, 8, 14, 5, scale=0.5)

    def at(params, dtype):
        with jax.enable_x64(dtype == "float64"):
            data = {"x": jnp.array(x, dtype), "y": jnp.array(y, "int32")}
            loss = Partial(tanh_classifier, **data, l2=np.dtype(dtype).type(1e-3))
            return landscape.hessian(loss, jax.tree.map(lambda p: p.astype(dtype), params))

    return params, at


@pytest.mark.slow
def test_float32_residuals_and_bounds_hold_in_float64(net):
    params, at = net
    # the same numbers in both precisions
    exact = np.asarray(at(float32(params), "float64").dense())
    found = eigenpairs(at(params, "float32"), top=4, lowest=2, tolerance=1e-5)
    vectors = found.vectors.astype(float)
    true = np.linalg.norm(vectors @ exact - found.values[:, None] * vectors, axis=1)
    assert found.converged.all()
    assert (true <= found.residuals + 3e-7 * found.norm).all()
    assert (found.residuals <= true + 1e-6 * found.norm).all()
    values = np.delete(np.linalg.eigvalsh(exact), np.s_[2:-4])
    assert (abs(found.values - values) <= found.bounds).all()


@pytest.mark.slow
def test_a_warm_start_saves_products(net):
    params, at = net
    before = eigenpairs(at(params, "float32"))
    near = jax.tree.map(lambda p: p * 1.003, params)
    cold, warm = (eigenpairs(at(near, "float32"), start=start) for start in (None, before))
    assert warm.converged.all()
    np.testing.assert_allclose(warm.values, cold.values, rtol=1e-5)
    assert warm.products <= cold.products - 3


@pytest.mark.slow
def test_three_hundred_steps_show_no_ghosts():
    spectrum = outliers(bulk=1000)
    basis = begin(np.zeros((1, spectrum.size), "float32"), key_data(0), 300, with_images=False)
    basis = extend(diagonal(spectrum).product, basis, 300, key_data(0), spectrum.size)
    values = rayleigh_ritz(basis, unit=unit(basis)).values
    np.testing.assert_allclose(values[-5:], np.sort(spectrum)[-5:], rtol=2e-6)
    assert (values > 0.011).sum() == 5
    assert (values < -1e-3).sum() == 2
    rows = np.asarray(from_blocks(basis.rows, spectrum.size))[:300]
    np.testing.assert_allclose(rows @ rows.T, np.eye(300), atol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_repeated_eigenvalues_are_counted(dtype):
    spectrum = np.concatenate([[5, 5, 5, 4, 4, 3], np.linspace(0, 1, 150), [-2, -2, -1.0]])
    found = eigenpairs(diagonal(spectrum, dtype), top=6, lowest=3, multiplicities=True)
    assert found.converged.all()
    np.testing.assert_allclose(found.values, [-2, -2, -1, 3, 4, 4, 5, 5, 5], rtol=1e-5)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(9), atol=1e-5)


@pytest.mark.slow
def test_multiplicities_that_were_not_looked_for_have_not_converged():
    once = eigenpairs(diagonal(outliers()), top=5)
    options = {"multiplicities": True, "max_products": once.products + 3}
    found = eigenpairs(diagonal(outliers()), top=5, **options)
    assert (found.residuals <= 1e-5 * found.norm).all()
    assert not found.converged.any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "spectrum", [[2.0], [0.0, 0.0], [1.0, -2.0], [0.0, 1.0, 1.0], [3, 3, 3, 2, 2, 1.0]]
)
def test_small_problems_are_solved_whole(spectrum):
    operator = diagonal(spectrum)
    size = len(spectrum)
    whole = eigenpairs(operator, top=size, lowest=1)
    assert whole.converged.all()
    assert whole.products == size + 1
    np.testing.assert_allclose(whole.values, np.sort(spectrum), atol=1e-6)
    assert (abs(whole.values - np.sort(spectrum)) <= whole.bounds).all()
    one = eigenpairs(operator, top=0, lowest=1)
    np.testing.assert_allclose(one.values, [min(spectrum)], atol=1e-6)


@pytest.mark.slow
def test_the_pairs_of_a_projector_need_no_more_than_its_rank():
    found = eigenpairs(diagonal([1.0] * 3 + [0.0] * 200), top=1, lowest=1)
    np.testing.assert_allclose(found.values, [0, 1], atol=1e-6)
    assert found.products <= 8


@pytest.mark.slow
def test_the_products_of_a_net_of_301066_parameters():
    x, y = load_digits(return_X_y=True)
    data = {"x": np.asarray(x / 16, "float32"), "y": np.asarray(y, "int32")}
    model = nn.mlp([64, 512, 512, 10], activation="tanh")
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optax.adam(1e-3))
    run = training.fit(algorithm, data, sampling.full(), key=jax.random.key(0), steps=220)
    loss = training.full_loss(algorithm, run.state, data)
    operator = landscape.hessian(loss, run.state.params)
    top = eigenpairs(operator, top=5)
    assert top.converged.all()
    assert top.products <= 20
    counted = 0

    def product(vector):
        nonlocal counted
        counted += 1
        return np.asarray(operator.matvec(vector))

    size = operator.size
    counting = scipy.sparse.linalg.LinearOperator((size, size), matvec=product, dtype="float32")
    values = scipy.sparse.linalg.eigsh(counting, 5, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(top.values, np.sort(values), rtol=1e-5)
    assert top.products <= counted


@pytest.mark.slow
def test_the_ways_out_of_a_graded_spectrum(x64):
    """Each that the docstrings name, where the lowest of 200 do not converge in 400 products."""
    spectrum = np.geomspace(1e-8, 1, 200)
    spectrum[3] *= -1
    scales = 1 / np.sqrt(abs(spectrum))
    loss = Partial(_graded, spectrum=spectrum)
    operator = landscape.hessian(loss, np.ones(200))
    options = {"top": 1, "lowest": 2, "max_products": 400}
    strict = eigenpairs(operator, tolerance=1e-10, **options)
    assert not strict.converged.all()
    assert "`eigenvalues(operator.dense())`, whose matrix takes 0.31 MiB" in str(strict)
    dense = landscape.eigenvalues(operator.dense())
    np.testing.assert_allclose(dense, np.sort(spectrum), rtol=1e-6)
    loose = eigenpairs(operator, tolerance=1e-4, **options)
    assert loose.converged.all()
    assert abs(loose.values[0]) <= 1e-4
    other = landscape.hessian(Partial(_rescaled, scales=scales, loss=loss), np.ones(200) / scales)
    scaled = eigenpairs(other, tolerance=1e-10, **options)
    assert scaled.converged.all()
    np.testing.assert_allclose(scaled.values, [-1, 1, 1], rtol=1e-9)
    products = {"memory": 0, "max_products": 400}
    assert landscape.count_eigenvalues(operator, **products).undecided > 0
    assert landscape.count_eigenvalues(operator).negative == (1, 1)
    assert landscape.count_eigenvalues(other, **products).negative == (1, 1)
    coarse = landscape.count_eigenvalues(operator, tolerance=1e-2, **products)
    assert coarse.negative == (0, 0)  # above the tolerance


def _graded(w, spectrum):
    return (spectrum * w**2).sum() / 2


def _rescaled(u, scales, loss):
    return loss(scales * u)


def test_too_few_products_say_so():
    found = eigenpairs(diagonal(outliers()), top=3, lowest=4, max_products=15)
    assert found.products == 15
    assert not found.converged[:4].all()
    assert "not converged" in str(found)
    # what has not converged is still within its residual of an eigenvalue
    distances = abs(found.values[:, None] - outliers()).min(axis=1)
    assert (distances <= found.residuals).all()


def test_it_stops_where_rounding_does():
    found = eigenpairs(diagonal(outliers()), tolerance=1e-12, max_products=500)
    assert not found.converged.all()
    assert found.products < 60
    np.testing.assert_allclose(found.values, np.sort(outliers())[-5:], rtol=2e-6)


@pytest.mark.slow
def test_a_product_that_is_not_linear_does_not_converge():
    rough = lambda values, v: values * v + 1e-3 * jnp.sin(1e4 * v)  # noqa: E731
    found = eigenpairs(symmetric(rough, outliers(), size=407), max_products=100)
    assert found.rounding > 1e-4
    assert not found.converged.any()


def test_a_hook_sees_the_products_and_ends_the_search():
    seen = []

    def hook(done, total):
        seen.append((done, total))
        return len(seen) == 2

    found = eigenpairs(diagonal(outliers()), top=2, max_products=90, on_progress=hook)
    assert seen == [(4, 90), (8, 90)]
    assert found.products == 9
    assert not found.converged.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 408}, "top from 0 to the size 407, got 408"),
        ({"top": True}, "top from 0 to the size 407, got True"),
        ({"lowest": -1}, "lowest from 0 to the size 407, got -1"),
        ({"lowest": 1.5}, "lowest from 0 to the size 407, got 1.5"),
        ({"lowest": -1}, "lowest from 0"),
        ({"top": 2.0}, "top from 0"),
        ({"top": 0}, "at least one eigenvalue"),
        ({"tolerance": 0.0}, "tolerance between 0 and 1"),
        ({"max_products": 5}, "max_products above the 5 pairs"),
        ({"max_products": True}, "max_products"),
        ({"seed": -1}, "seed"),
        ({"memory": 1000}, "memory for a basis of 9 rows, 0.1 MiB, got 0.0 MiB"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        eigenpairs(diagonal(outliers()), **options)


@pytest.mark.slow
def test_a_bad_start_and_a_bad_product():
    found = eigenpairs(diagonal([1.0, 2.0]), top=1)
    with pytest.raises(ValueError, match="vectors of size 407"):
        eigenpairs(diagonal(outliers()), start=found)
    spoiled = dataclasses.replace(found, vectors=np.full((1, 407), np.nan, "float32"))
    with pytest.raises(ValueError, match="a start of finite vectors"):
        eigenpairs(diagonal(outliers()), start=spoiled)
    with pytest.raises(ValueError, match="finite matrix-vector products"):
        eigenpairs(diagonal([np.inf, *outliers()]))


def long_spectrum(name, size):
    """Diagonals whose eigenvalues are known to the last digit, in random order."""
    rng = np.random.default_rng(0)
    values = {
        "linear": np.linspace(-1, 1, size),
        "graded": np.geomspace(1e-4, 20, size),
        "outliers": 0.01 * rng.normal(size=size),
        "clustered": np.round(3 * rng.normal(size=size)) / 3,
    }[name]
    if name in ("outliers", "clustered"):
        values[:3] = 20, 15, -7
    return rng.permutation(values).astype(np.float32)


@pytest.mark.parametrize(
    "size", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)], ids=["1e5", "1e6"]
)
@pytest.mark.parametrize("name", ["linear", "graded", "outliers", "clustered"])
def test_bounds_are_true_of_long_vectors_in_float32(name, size):
    values = long_spectrum(name, size)
    operator = symmetric(scaled, jnp.asarray(values), size=size)
    found = landscape.eigenpairs(operator, top=2, lowest=1, max_products=40)
    gaps = [abs(values.astype(float) - value).min() for value in found.values.astype(float)]
    assert (np.array(gaps) <= found.bounds).all()
    vectors = found.vectors.astype(float)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=3e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e-9, 1e18, 1e30])
def test_units_of_float32_do_not_matter(scale):
    values = np.array([1.0, 2.0, 3.5, -1.0]) * scale
    operator = symmetric(scaled, jnp.asarray(values.astype(np.float32)), size=4)
    found = landscape.eigenpairs(operator, top=2, lowest=1)
    np.testing.assert_allclose(found.values / scale, [-1, 2, 3.5], rtol=1e-5)
    assert found.converged.all()
