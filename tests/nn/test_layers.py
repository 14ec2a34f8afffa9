"""Layers that several networks have in common."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxml import nn
from jaxml.core.row_coupling import coupling
from jaxml.core.row_rules import Rows
from jaxml.nn.layers import Dropout, dense

KEY = jax.random.key(0)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5, 3), (2, 4, 5, 3)])
def test_dense_is_linens(shape):
    x = jax.random.normal(KEY, shape)
    variables = linen.Dense(7).init(KEY, x)
    expected = linen.Dense(7).apply(variables, x)
    np.testing.assert_allclose(dense(7).apply(variables, x), expected, atol=1e-6)
    own = dense(7).init(KEY, x)
    jax.tree.map(np.testing.assert_array_equal, own, variables)


def _contracted(jaxpr):
    """How many axes each product sums over."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield len(equation.params["dimension_numbers"][0][0])
        for inner in jax.tree.leaves(list(equation.params.values())):
            if hasattr(inner, "jaxpr"):
                yield from _contracted(inner.jaxpr)


@pytest.mark.parametrize(("layer", "most"), [(linen.Dense, 2), (dense, 1)])
def test_gradients_are_products_of_matrices(layer, most):
    x = jnp.ones((2, 5, 3))
    variables = layer(7).init(KEY, x)
    gradient = jax.make_jaxpr(jax.grad(lambda v, x: layer(7).apply(v, x).sum(), (0, 1)))
    assert max(_contracted(gradient(variables, x).jaxpr)) == most


def test_sequences_stay_apart():
    network = nn.transformer(5, 7, width=8, layers=1, heads=2)
    params, state = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(network.init, KEY)
    )
    batch = (np.ones((3, 4), int), np.array([4, 2, 3]), np.ones((3, 6), int))
    values = lambda batch: network.apply(params, state, batch)[0].sum((1, 2))  # noqa: E731
    assert coupling(values, batch, 3) == Rows(0)


def test_dropout_is_linens():
    x = jax.random.normal(KEY, (3, 40))
    ours, linens = (
        layer(0.3).apply({}, x, deterministic=False, rngs={"dropout": KEY})
        for layer in (Dropout, linen.Dropout)
    )
    assert 0 < (ours == 0).sum() < x.size
    np.testing.assert_allclose(ours, linens, rtol=1e-6)
    np.testing.assert_array_equal(Dropout(0.3).apply({}, x, deterministic=True), x)
