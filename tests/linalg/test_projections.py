"""Projections against explicit projectors."""

import jax
import numpy as np
import pytest

from jaxml.linalg.projections import across, stiffened

RNG = np.random.default_rng(0)
A = RNG.normal(size=(7, 7))
A = A + A.T
BASIS = np.c_[np.linalg.qr(RNG.normal(size=(7, 2)))[0], np.zeros(7)]
P = np.eye(7) - BASIS @ BASIS.T


def test_across_is_the_projector():
    rows = RNG.normal(size=(4, 7))
    np.testing.assert_allclose(across(BASIS, rows), rows @ P, atol=1e-14)
    np.testing.assert_allclose(across(BASIS, rows[0]), P @ rows[0], atol=1e-14)
    np.testing.assert_array_equal(across(BASIS[:, :0], rows), rows)


@pytest.mark.parametrize("stiffness", [0.0, 3.0])
def test_a_stiffened_operator_has_that_eigenvalue_along_the_directions(x64, stiffness):
    truth = P @ A @ P + stiffness * (np.eye(7) - P)
    product = jax.jit(stiffened(lambda v: v @ A, jax.numpy.asarray(BASIS), stiffness))
    np.testing.assert_allclose(product(np.eye(7)), truth, atol=1e-13)
    np.testing.assert_allclose(product(A[0]), truth @ A[0], atol=1e-13)
