"""minres against scipy's and numpy's least squares."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

from jaxml.linalg.minres import minres

N = 12


@functools.partial(jax.jit, static_argnames="max_steps")
def solve(matrix, b, tolerance, max_steps=4 * N):
    return minres(lambda v: matrix @ v, b, tolerance, max_steps)


def system(spectrum, compatible, seed):
    """A symmetric matrix of this spectrum, and a right-hand side in its range or not."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(N, N)))[0]
    matrix = vectors * np.array(spectrum) @ vectors.T
    b = rng.normal(size=N)
    return matrix, matrix @ b if compatible else b


DEFINITE = np.linspace(1, 5, N)
INDEFINITE = np.linspace(-3, 5, N)
SINGULAR = [0.0, 0.0, 0.0, *np.linspace(-3, 5, N - 3)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("spectrum", "compatible"),
    [(DEFINITE, False), (INDEFINITE, False), (SINGULAR, True)],
    ids=["definite", "indefinite", "singular, compatible"],
)
def test_compatible_systems(x64, spectrum, compatible, seed):
    matrix, b = system(spectrum, compatible, seed)
    x = solve(matrix, b, 1e-12)
    np.testing.assert_allclose(x, scipy.sparse.linalg.minres(matrix, b, rtol=1e-13)[0], rtol=1e-8)
    # of a singular system the shortest solution, which lies in the Krylov space
    np.testing.assert_allclose(x, np.linalg.lstsq(matrix, b, rcond=1e-10)[0], rtol=1e-9)
    assert np.linalg.norm(matrix @ x - b) <= 1e-12 * np.linalg.norm(b) * 10


@pytest.mark.parametrize("seed", range(3))
def test_an_incompatible_system_is_solved_by_least_squares(x64, seed):
    matrix, b = system(SINGULAR, False, seed)
    residual = b - matrix @ solve(matrix, b, 1e-8)
    best = b - matrix @ np.linalg.lstsq(matrix, b, rcond=1e-10)[0]
    assert np.linalg.norm(best) > 0.1 * np.linalg.norm(b)
    np.testing.assert_allclose(residual, best, atol=1e-7)
    assert np.linalg.norm(matrix @ residual) <= 1e-7 * 5 * np.linalg.norm(residual)


def test_a_loose_tolerance_still_finds_a_step_where_b_is_nearly_in_the_kernel(x64):
    """‖Ab‖ = .06‖A‖‖b‖: b is no residual of a solution yet, and zero no solution."""
    matrix = np.diag([0.0, 0.0, 0.0, *np.linspace(-3, 5, N - 3)])
    b = np.array([1.0, 0, 0, *np.full(N - 3, 0.03)])
    residual = b - matrix @ solve(matrix, b, 0.3)
    assert np.linalg.norm(matrix @ residual) <= 1.01e-2 * 5 * np.linalg.norm(residual)


@pytest.mark.parametrize("tolerance", [0.3, 1e-2, 1e-4])
def test_it_ends_at_the_tolerance_asked_for(x64, tolerance):
    spectrum, b = jnp.linspace(1, 100, 80), np.random.default_rng(0).normal(size=80)
    x = minres(lambda v: spectrum * v, jnp.array(b), tolerance, 200)
    residual = np.linalg.norm(spectrum * x - b) / np.linalg.norm(b)
    assert 0.3 * tolerance < residual <= tolerance


def test_each_step_has_the_least_residual_of_its_krylov_space(x64):
    matrix, b = system(INDEFINITE, False, 1)
    krylov = np.linalg.qr(np.stack([np.linalg.matrix_power(matrix, k) @ b for k in range(6)], 1))[0]
    for k in (1, 3, 6):
        y = np.linalg.lstsq(matrix @ krylov[:, :k], b, rcond=None)[0]
        np.testing.assert_allclose(solve(matrix, b, 1e-14, k), krylov[:, :k] @ y, rtol=1e-7)


def test_float32_and_the_zero_right_hand_side(x64):
    matrix, b = system(INDEFINITE, False, 0)
    x = solve(np.float32(matrix), np.float32(b), 1e-5)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, np.linalg.solve(matrix, b), atol=1e-4)
    np.testing.assert_array_equal(solve(matrix, np.zeros(N), 1e-8), np.zeros(N))
    np.testing.assert_array_equal(solve(np.zeros((N, N)), b, 1e-8), np.zeros(N))
