"""Spectral normalisation against singular values, PyTorch's, and the slope it bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn
from jaxml.core.types import Model

MODEL = nn.spectral_norm(nn.mlp([2, 32, 32, 1]))
TRAIN = jax.jit(lambda params, state, x: MODEL.apply(params, state, x, train=True))
APPLY = jax.jit(MODEL.apply)


def product(weights):
    """The network x ↦ xW of these weights."""
    return Model(
        lambda key, x=None: ({"w": jnp.asarray(weights)}, {}),
        lambda params, state, x, **_: (x @ params["w"], state),
    )


def estimate(weights, iterations):
    """The largest singular value as seen after so many iterations."""
    model = nn.spectral_norm(product(weights), iterations=iterations)
    params, state = model.init(jax.random.key(0))
    y, _ = model.apply(params, state, np.eye(len(weights), dtype="f"), train=True)
    return weights[0, 0] / float(y[0, 0])


def test_power_iteration_approaches_the_largest_singular_value():
    weights = np.random.default_rng(0).normal(size=(128, 64)).astype("f")
    exact = np.linalg.svd(weights)[1][0]
    shares = [estimate(weights, count) / exact for count in (1, 10, 200)]
    assert shares[0] < 0.85  # so u must be kept
    assert 0.9 < shares[1] < shares[2]
    assert shares[2] == pytest.approx(1, abs=1e-4)
    assert nn.largest_singular_values({"a": weights, "b": np.ones(3)}) == {
        "a": pytest.approx(exact, rel=1e-6)
    }


def test_the_state_goes_on_where_it_was():
    weights = np.random.default_rng(1).normal(size=(12, 8)).astype("f")
    model = nn.spectral_norm(product(weights))
    params, state = model.init(jax.random.key(0))
    x = np.eye(12, dtype="f")
    for _ in range(300):
        y, state = model.apply(params, state, x, train=True)
    np.testing.assert_allclose(y, weights / np.linalg.norm(weights, 2), rtol=1e-4, atol=1e-6)
    again, kept = model.apply(params, state, x)  # evaluation moves nothing
    np.testing.assert_allclose(again, y, rtol=1e-5, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, kept, state)


@pytest.mark.slow
def test_slopes_are_at_most_the_product_of_the_norms():
    params, state = MODEL.init(jax.random.key(0))
    # weights as large as training makes them
    params = jax.tree.map(lambda leaf: 3 * leaf + 0.1, params)
    for _ in range(100):
        _, state = TRAIN(params, state, jnp.zeros((1, 2)))
    ends = jax.random.normal(jax.random.key(1), (2, 10_000, 2))
    moved = [np.asarray(APPLY(params, state, x)[0])[:, 0] for x in ends]
    slopes = abs(moved[0] - moved[1]) / np.linalg.norm(ends[0] - ends[1], axis=1)
    assert 0.1 < slopes.max() <= 1 + 1e-4
    plain = nn.mlp([2, 32, 32, 1])
    moved = [np.asarray(plain.apply(params, {}, x)[0])[:, 0] for x in ends]
    slopes = abs(moved[0] - moved[1]) / np.linalg.norm(ends[0] - ends[1], axis=1)
    assert 3 < slopes.max() <= np.prod(list(nn.largest_singular_values(params).values()))


def test_a_matrix_of_zeros_stays_one_and_kernels_of_images_are_divided():
    model = nn.spectral_norm(product(np.zeros((3, 2), "f")))
    params, state = model.init(jax.random.key(0))
    y, _ = model.apply(params, state, np.ones((4, 3)), train=True)
    np.testing.assert_array_equal(y, 0)
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 5)).astype("f")
    flat = np.linalg.norm(kernel.reshape(18, 5), 2)
    assert nn.largest_singular_values({"kernel": kernel})["kernel"] == pytest.approx(flat)


@pytest.mark.oracle
@pytest.mark.slow
def test_values_and_gradients_are_pytorchs():
    torch = pytest.importorskip("torch")
    weights = np.random.default_rng(2).normal(size=(6, 4)).astype("f")
    x = np.random.default_rng(3).normal(size=(5, 6)).astype("f")
    model = nn.spectral_norm(product(weights))
    params, state = model.init(jax.random.key(0))
    layer = torch.nn.Linear(6, 4, bias=False)
    layer.weight.data = torch.tensor(weights.T.copy())
    layer = torch.nn.utils.parametrizations.spectral_norm(layer)
    u = np.asarray(state["directions"]["w"])
    v = weights @ u
    layer.parametrizations.weight[0]._u.copy_(torch.tensor(u))
    layer.parametrizations.weight[0]._v.copy_(torch.tensor(v / np.linalg.norm(v)))
    expected = layer(torch.tensor(x))
    (expected**2).sum().backward()
    theirs = layer.parametrizations.weight.original.grad.numpy().T

    def loss(params):
        y, _ = model.apply(params, state, x, train=True)
        return (y**2).sum(), y

    gradient, y = jax.grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradient["w"], theirs, rtol=1e-3, atol=1e-5)


def test_refused():
    with pytest.raises(ValueError, match="a jaxml Model, got function"):
        nn.spectral_norm(lambda x: x)
    with pytest.raises(ValueError, match=r"iterations .* got 0"):
        nn.spectral_norm(nn.mlp([4, 3]), iterations=0)
    with pytest.raises(ValueError, match="parameters of two axes or more"):
        nn.spectral_norm(product(np.ones(3))).init(jax.random.key(0))
