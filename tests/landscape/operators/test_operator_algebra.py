"""Sums, multiples and products of operators, and SciPy's view of them, against dense matrices."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
from problems import classifier_data, tanh_classifier, tanh_classifier_params

from jaxml import landscape

RNG = np.random.default_rng(0)
SIZE = 6


def matrix(dtype: Any = np.float32):
    half = RNG.normal(size=(SIZE, SIZE))
    return (half + half.T).astype(dtype)


def operator(dense):
    return landscape.symmetric(jax.tree_util.Partial(jnp.matmul, dense), SIZE, dense.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_algebra_is_that_of_the_matrices(dtype):
    a, b = matrix(dtype), matrix(dtype)
    combined = 2 * operator(a) - operator(b) * np.float32(0.5) + (-operator(a))
    truth = a - b / 2
    atol = 50 * np.finfo(dtype).eps
    assert combined.shape == (SIZE, SIZE)
    assert combined.dtype == dtype
    vector, columns = RNG.normal(size=SIZE).astype(dtype), RNG.normal(size=(SIZE, 3)).astype(dtype)
    np.testing.assert_allclose(combined.dense(), truth, atol=atol)
    np.testing.assert_allclose(combined @ vector, truth @ vector, atol=atol)
    np.testing.assert_array_equal(combined(vector), combined @ vector)
    np.testing.assert_allclose(combined @ columns, truth @ columns, atol=atol)


def test_a_damped_hessian_unravels_as_the_hessian():
    hessian = landscape.hessian(lambda p: (p["a"] ** 4).sum(), {"a": jnp.ones(3)})
    damped = hessian + 0.5 * landscape.symmetric(lambda v: v, 3)
    assert damped.unravel(damped @ jnp.ones(3))["a"].tolist() == [12.5] * 3
    assert landscape.trace(damped).value == 37.5


def test_what_does_not_fit_is_refused():
    a = operator(matrix())
    with pytest.raises(ValueError, match="operators of one size and dtype, got"):
        _ = a + operator(matrix(np.float64))
    with pytest.raises(ValueError, match="6 rows, got shape"):
        _ = a @ np.ones(5)
    with pytest.raises(ValueError, match="a finite factor"):
        np.nan * a
    with pytest.raises(TypeError):
        _ = a + 1
    with pytest.raises(TypeError):
        _ = a * [1.0, 2.0]


@pytest.mark.slow
def test_scipy_finds_the_eigenpairs(x64):
    x, y = classifier_data(RNG, 20, 4, 3)
    loss = functools.partial(tanh_classifier, x=x, y=y, l2=1e-2)
    hessian = landscape.hessian(loss, tanh_classifier_params(RNG, 4, 5, 3))
    found = landscape.eigenpairs(hessian, top=3, lowest=2, tolerance=1e-10)
    for which, ours, k in (("LA", slice(2, None), 3), ("SA", slice(0, 2), 2)):
        values, vectors = scipy.sparse.linalg.eigsh(hessian.to_scipy(), k=k, which=which)
        order = np.argsort(values)
        np.testing.assert_allclose(found.values[ours], values[order], atol=1e-9)
        overlaps = abs(found.vectors[ours] @ vectors[:, order])
        np.testing.assert_allclose(overlaps, np.eye(k), atol=1e-6)
    columns = RNG.normal(size=(hessian.size, 2))
    np.testing.assert_allclose(
        hessian.to_scipy().matmat(columns), hessian.dense() @ columns, atol=1e-12
    )
