"""Outputs that are cosines against NumPy, and what no scale of a vector changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn

MODEL = nn.cosine_classifier(nn.mlp([4, 6, 3]), 3, 5)
APPLY = jax.jit(lambda params, x: MODEL.apply(params, {}, x)[0])


def made():
    params, _ = MODEL.init(jax.random.key(0))
    return params, jax.random.normal(jax.random.key(1), (7, 4))


@pytest.mark.slow
def test_outputs_are_the_cosines():
    params, x = made()
    h, d = nn.mlp([4, 6, 3]).apply(params["model"], {}, x)[0], params["directions"]
    norms = np.linalg.norm(h, axis=1)[:, None] * np.linalg.norm(d, axis=0)
    known = np.asarray(h) @ np.asarray(d) / norms
    np.testing.assert_allclose(APPLY(params, x), known, atol=1e-6)


def test_lengths_change_nothing_and_a_vector_of_zero_is_safe():
    params, x = made()
    found = APPLY(params, x)
    longer = params | {"directions": params["directions"] * jnp.arange(1.0, 6.0)}
    np.testing.assert_allclose(APPLY(longer, x), found, atol=1e-6)
    still = jax.tree.map(jnp.zeros_like, params)
    gradient = jax.grad(lambda p: APPLY(p, x).sum())(still)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    np.testing.assert_array_equal(APPLY(still, x), 0)


def test_the_state_is_that_of_the_model_within():
    model = nn.cosine_classifier(nn.mlp([4, 6, 3], norm="batch", dropout=0.5), 3, 5)
    params, state = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (7, 4))
    _, moved = model.apply(params, state, x, train=True, key=jax.random.key(2))
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    assert jax.tree.leaves(jax.tree.map(lambda a, b: abs(a - b).max(), moved, state))[0] > 0


def test_refused():
    with pytest.raises(ValueError, match="a jaxml Model, got function"):
        nn.cosine_classifier(lambda x: x, 3, 5)
    with pytest.raises(ValueError, match=r"classes .* got 0"):
        nn.cosine_classifier(nn.mlp([4, 3]), 3, 0)
    wrong = nn.cosine_classifier(nn.mlp([4, 2]), 3, 5)
    with pytest.raises(ValueError, match="a model of 3 columns, got 2"):
        wrong.apply(*wrong.init(jax.random.key(0)), jnp.zeros((1, 4)))
