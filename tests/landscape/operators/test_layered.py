"""The Hessian of dense layers as matrix products: found where it applies, right where it does."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxml import landscape, nn, training
from jaxml.core.empirical_risk import over_examples
from jaxml.landscape.operators.dense_hessian import plan_dense
from jaxml.landscape.operators.layer_detection import find_layers
from jaxml.training import losses, optimizers


def rows(seed=0, shape=(5,), count=11):
    random = np.random.default_rng(seed)
    return {"x": random.normal(size=(count, *shape)), "y": random.integers(3, size=count)}


def plain(params, batch):
    """No bias, a residual, and a weight applied from the left."""
    h = jnp.tanh(batch["x"] @ params["a"])
    h = h + jnp.tanh(h @ params["b"])
    return (params["c"] @ h.T).T


def tied(params, batch):
    return jnp.tanh(batch["x"] @ params["w"]) @ params["w"].T @ params["out"]


def scanned(params, batch):
    h, _ = jax.lax.scan(lambda h, _: (jnp.tanh(h @ params["w"]), None), batch["x"], length=2)
    return h @ params["out"]


def dead(params, batch):
    """relu of exactly zero, where its own rule and that of max differ."""
    return jax.nn.relu(batch["x"] @ params["a"]) @ params["out"]


def weights(*shapes, seed=1):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=shape) for name, shape in shapes}


FUNCTIONS = {
    "residual": (plain, weights(("a", (5, 4)), ("b", (4, 4)), ("c", (3, 4))), ["c", "b", "a"]),
    "tied": (tied, weights(("w", (5, 4)), ("out", (5, 3))), ["out"]),
    "scanned": (scanned, weights(("w", (5, 5)), ("out", (5, 3))), ["out"]),
    "dead": (dead, {"a": np.zeros((5, 4)), **weights(("out", (4, 3)))}, ["a", "out"]),
}


def opaque(loss):
    """The same loss, as nobody can take it apart."""
    return lambda params: 1.0 * loss(params)


def check(loss, params, expected_layers):
    """The plan has the layers, and the matrix is jax.hessian's."""
    x, unravel = ravel_pytree(params)
    truth = jax.jit(jax.hessian(lambda v: loss(unravel(v))))(x)
    assert len(plan_dense(loss, params).layers) == expected_layers
    dense = landscape.hessian(loss, params).dense()
    np.testing.assert_array_equal(dense, dense.T)
    np.testing.assert_allclose(dense, truth, atol=1e-13 * float(abs(truth).max()))
    return dense


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_plain_functions(x64, name):
    predict, params, names = FUNCTIONS[name]
    params = jax.tree.map(jnp.asarray, params)
    loss = landscape.data_loss(predict, losses.softmax_cross_entropy, rows(), l2=0.1)
    check(loss, params, len(names))
    found = {sorted(params)[layer.weight] for layer in find_layers(over_examples(loss), params)}
    assert found == set(names)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"norm": "batch"}, {"norm": "layer"}])
def test_our_networks_and_ragged_batches(x64, options):
    model = nn.mlp([5, 4, 4, 3], activation="tanh", **options)
    algorithm = training.supervised(
        model, losses.softmax_cross_entropy, optimizers.sgd(0.1), l2=0.01
    )
    state = algorithm.init(jax.random.key(0))
    state = state.replace(model_state=jax.tree.map(lambda a: a.astype(float), state.model_state))
    params = jax.tree.map(lambda leaf: leaf.astype(float), state.params)
    data = rows() | {"weights": np.random.default_rng(2).uniform(size=11)}
    dense = check(training.full_loss(algorithm, state, data), params, 3)
    loss = training.full_loss(algorithm, state, data, batch_size=4)  # 11 = 4 + 4 + 3
    operator = landscape.hessian(loss, params)
    np.testing.assert_allclose(operator.dense(), dense, atol=1e-14)
    v = np.random.default_rng(3).normal(size=operator.size)
    np.testing.assert_allclose(operator.matvec(v), dense @ v, atol=1e-13)
    if options["norm"] == "batch":
        coupled = training.full_loss(algorithm, state, data, train=True)
        check(coupled, params, 0)


@pytest.mark.slow
def test_weights_stored_the_other_way_round(x64):
    mlp = eqx.nn.MLP(5, 3, 4, 2, key=jax.random.key(0))
    arrays, rest = eqx.partition(mlp, eqx.is_array)
    arrays = jax.tree.map(lambda leaf: leaf.astype(float), arrays)

    def predict(params, batch):
        return jax.vmap(eqx.combine(params, rest))(batch["x"])

    check(landscape.data_loss(predict, losses.softmax_cross_entropy, rows()), arrays, 3)


@pytest.mark.slow
def test_convolutions_keep_their_own_rows(x64):
    model = nn.cnn((6, 6, 1), 3, channels=[2], hidden=[4])
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.sgd(0.1))
    state = algorithm.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf.astype(float), state.params)
    check(training.full_loss(algorithm, state, rows(shape=(6, 6, 1))), params, 2)


def test_examples_that_couple_are_noticed(x64):
    def predict(params, batch):
        h = batch["x"] @ params["a"]
        return (h - h.mean(axis=0)) @ params["out"]

    params = jax.tree.map(jnp.asarray, weights(("a", (5, 4)), ("out", (4, 3))))
    check(landscape.data_loss(predict, losses.softmax_cross_entropy, rows()), params, 0)


@pytest.mark.slow
def test_layers_by_name_and_the_blocks_between_them(x64):
    predict, params, _ = FUNCTIONS["residual"]
    params = jax.tree.map(jnp.asarray, params)
    loss = landscape.data_loss(predict, losses.softmax_cross_entropy, rows())
    dense = np.asarray(landscape.hessian(loss, params).dense())
    a, c = slice(0, 20), slice(36, 48)
    one = landscape.hessian(loss, params, layers="a")
    np.testing.assert_allclose(one.dense(), dense[a, a], atol=1e-14)
    both = landscape.hessian(loss, params, layers=["a", "c"])
    chosen = np.r_[a, c]
    np.testing.assert_allclose(both.dense(), dense[np.ix_(chosen, chosen)], atol=1e-14)
    block = landscape.hessian_block(loss, params, "a", "c")
    assert block.shape == (20, 12)
    np.testing.assert_allclose(block.matvec(np.ones(12)), dense[a, c].sum(axis=1), atol=1e-13)
    np.testing.assert_allclose(block.rmatvec(np.ones(20)), dense[a, c].sum(axis=0), atol=1e-13)
    over = landscape.hessian_block(opaque(loss), params, "a", ["a", "c"])
    np.testing.assert_allclose(over.matvec(np.ones(32)), dense[a, chosen].sum(axis=1), atol=1e-13)
    with pytest.raises(ValueError, match="layers among a, b, c, got 'z'"):
        landscape.hessian(loss, params, layers="z")


@pytest.mark.slow
def test_a_product_that_does_not_fit_is_taken_in_batches(x64):
    predict, params, _ = FUNCTIONS["residual"]
    params = jax.tree.map(jnp.asarray, params)
    loss = landscape.data_loss(predict, losses.softmax_cross_entropy, rows(count=300))
    whole = landscape.hessian(loss, params)
    small = landscape.hessian(loss, params, memory=30_000)
    assert whole.product.func is not small.product.func
    assert small.product.func.batch_size < 300
    v = np.random.default_rng(3).normal(size=whole.size)
    np.testing.assert_allclose(small.matvec(v), whole.matvec(v), atol=1e-13)


def test_batches_given_weigh_every_example_the_same():
    predict = lambda w, batch: batch["x"] @ w  # noqa: E731
    whole = rows(count=10)
    pieces = [{k: v[i : i + 4] for k, v in whole.items()} for i in (0, 4, 8)]
    w = np.ones(5, np.float32)
    one = landscape.data_loss(predict, losses.mse, whole)
    many = landscape.data_loss(predict, losses.mse, pieces)
    np.testing.assert_allclose(many(w), one(w), rtol=1e-6)
    dense = landscape.hessian(many, w).dense()
    np.testing.assert_allclose(dense, 2 * whole["x"].T @ whole["x"] / 10, atol=1e-5)
    with pytest.raises(ValueError, match="batches with the same names"):
        landscape.data_loss(predict, losses.mse, [whole, {"x": whole["x"]}])
    with pytest.raises(ValueError, match="at least one batch"):
        landscape.data_loss(predict, losses.mse, [])


def test_a_loss_that_draws_anew_is_named():
    random = np.random.default_rng(0)

    def dropped(w):
        return ((w * (random.uniform(size=3) < 0.5)) ** 2).sum()

    with pytest.raises(ValueError, match=r"the same function at every call.*dropout"):
        landscape.hessian(dropped, np.ones(3, np.float32))

    def fixed(w):
        mask = jax.random.bernoulli(jax.random.key(0), 0.5, (3,))
        return ((w * mask) ** 2).sum()

    landscape.hessian(fixed, np.ones(3, np.float32))
