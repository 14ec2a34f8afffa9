"""Eigenvalues alone, by whichever driver there is."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.landscape import eigenvalues
from jaxml.linalg import eigvalsh as module


def symmetric(size, dtype):
    half = np.random.default_rng(size).normal(size=(size, size))
    return (half + half.T).astype(dtype)


@pytest.mark.parametrize("two_stages", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_numpy(monkeypatch, dtype, two_stages):
    if two_stages:
        monkeypatch.setattr(module, "_TWO_STAGES", 1)
    for size in (1, 2, 37, 300):
        matrix = symmetric(size, dtype)
        before = matrix.copy()
        values = eigenvalues(matrix)
        assert values.dtype == dtype
        truth = np.linalg.eigvalsh(matrix.astype(float))
        atol = 10 * max(size, 10) ** 0.5 * np.finfo(dtype).eps * abs(truth).max()
        np.testing.assert_allclose(values, truth, rtol=0, atol=atol)
        np.testing.assert_array_equal(matrix, before)


def test_only_the_lower_triangle_is_read(monkeypatch):
    matrix = symmetric(40, float)
    lower = np.tril(matrix) + 1e3 * np.triu(np.ones((40, 40)), 1)
    plain = eigenvalues(lower)
    monkeypatch.setattr(module, "_TWO_STAGES", 1)
    for values in (plain, eigenvalues(lower)):
        np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-12)


def test_without_the_two_stages_another_driver_serves(monkeypatch):
    monkeypatch.setattr(module, "_TWO_STAGES", 1)
    monkeypatch.setattr(module, "_two_stage_driver", lambda _: None)
    np.testing.assert_allclose(eigenvalues(jnp.diag(jnp.arange(3.0))), [0, 1, 2], atol=1e-6)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 3)), r"a square matrix, got an array of shape \(2, 3\)"),
        (np.ones((2, 2), int), "float32 or float64, got int64"),
        (np.full((2, 2), np.nan), "a finite matrix"),
    ],
)
def test_bad_matrices(matrix, message):
    with pytest.raises(ValueError, match=message):
        eigenvalues(matrix)
