"""The largest eigenvalue by products: known spectra, warm starts, awkward starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxml.linalg.davidson import largest

N, BASIS = 60, 30


def product(matrix, vector):
    return matrix @ vector


@jax.jit
def find(matrix, starts, tolerance=1e-8, most=BASIS):
    limits = {"max_matvecs": most, "max_basis": BASIS}
    return largest(Partial(product, matrix), starts, tolerance=tolerance, **limits)


def with_spectrum(values, seed=0):
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(N, N)))[0]
    return vectors * values @ vectors.T, vectors


STARTS = np.random.default_rng(1).normal(size=(2, N))
SPECTRA = {
    "outliers": np.r_[np.linspace(-1, 1, N - 3), 5, 7, 10],
    "all negative": np.r_[np.linspace(-9, -4, N - 1), -1],
    "twice": np.r_[np.linspace(-1, 1, N - 2), 3, 3],
}


@pytest.mark.parametrize("name", SPECTRA)
def test_known_spectra(x64, name):
    matrix, _ = with_spectrum(SPECTRA[name])
    found = find(matrix, STARTS)
    np.testing.assert_allclose(found.eigenvalue, SPECTRA[name].max(), rtol=1e-12)
    first = np.asarray(found.vectors[0])
    residual = np.linalg.norm(matrix @ first - found.eigenvalue * first)
    np.testing.assert_allclose(found.residual, residual, atol=1e-12)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(2), atol=1e-12)
    assert found.residual <= 1e-8 * abs(found.eigenvalue)
    assert found.products < BASIS


def test_it_is_lanczos_from_one_start(x64):
    matrix, _ = with_spectrum(np.linspace(-1, 1, N))
    found = find(matrix, STARTS[:1], 0.0, 8)
    krylov = [STARTS[0]]
    for _ in range(7):
        krylov.append(matrix @ krylov[-1] / np.linalg.norm(krylov[-1]))
    basis = np.linalg.qr(np.stack(krylov, 1))[0]
    ritz = np.linalg.eigvalsh(basis.T @ matrix @ basis)[-1]
    assert found.products == 8
    np.testing.assert_allclose(found.eigenvalue, ritz, rtol=1e-9)


def test_a_warm_start_takes_few_products_and_sees_a_crossing(x64):
    values = np.r_[np.linspace(0, 1, N - 2), 5, 5.2]
    matrix, _ = with_spectrum(values)
    cold = find(matrix, STARTS, 1e-3)
    moved, _ = with_spectrum(np.r_[np.linspace(0, 1, N - 2), 5.3, 5.1])
    warm = find(moved, cold.vectors, 1e-3)  # the second has become the first
    np.testing.assert_allclose(warm.eigenvalue, 5.3, rtol=1e-5)
    assert warm.products <= 5 < cold.products


@pytest.mark.parametrize(
    "starts", [np.zeros((2, N)), np.stack([STARTS[0], 2 * STARTS[0]])], ids=["zero", "dependent"]
)
def test_starts_that_say_nothing(x64, starts):
    matrix, _ = with_spectrum(SPECTRA["all negative"])
    found = find(matrix, starts)
    assert np.isfinite(found.vectors).all()
    if starts.any():
        np.testing.assert_allclose(found.eigenvalue, -1, rtol=1e-12)


def test_the_bound_on_products_is_kept_and_the_residual_tells(x64):
    matrix, _ = with_spectrum(SPECTRA["outliers"])
    found = find(matrix, STARTS, 1e-8, 4)
    assert found.products == 4
    values = SPECTRA["outliers"]
    assert found.residual > 1e-3
    assert abs(values - found.eigenvalue).min() <= found.residual
    assert found.eigenvalue <= 10


def test_the_zero_matrix(x64):
    found = find(np.zeros((N, N)), STARTS)
    assert (found.eigenvalue, found.residual, found.products) == (0, 0, 2)


def test_float32_ends_at_its_rounding():
    matrix, _ = with_spectrum(SPECTRA["outliers"])
    found = find(jnp.float32(matrix), jnp.float32(STARTS), jnp.float32(0))
    np.testing.assert_allclose(found.eigenvalue, 10, rtol=1e-5)
    assert found.products < BASIS


@pytest.mark.slow
def test_a_long_vector_in_float32():
    """Plain inner products leave 1.9995 ± 6e-4 of this 2."""
    values = np.r_[2.0, np.linspace(0, 1, 999_999)].astype(np.float32)
    starts = np.random.default_rng(0).normal(size=(2, values.size)).astype(np.float32)
    limits = {"max_matvecs": 30, "max_basis": 32}
    find = jax.jit(lambda v: largest(lambda u: values * u, v, tolerance=1e-5, **limits))
    found = find(starts)
    assert abs(found.eigenvalue - 2) <= found.residual
    assert found.residual < 2e-5
    assert found.products < 20
