"""from_linen and from_nnx against nn.mlp, and what every model promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxml import nn

WIDTHS = (3, 4, 2)
NORM = {"momentum": 0.9, "epsilon": 1e-5, "use_fast_variance": False}


class Linen(linen.Module):
    """nn.mlp(WIDTHS, norm="batch", dropout=0.5) as one would write it by hand."""

    @linen.compact
    def __call__(self, x, train):
        x = linen.Dense(WIDTHS[1], name="dense_0")(x)
        x = linen.BatchNorm(use_running_average=not train, name="norm_0", **NORM)(x)
        x = linen.Dropout(0.5, deterministic=not train)(linen.relu(x))
        return linen.Dense(WIDTHS[2], name="dense_1")(x)


class Deterministic(linen.Module):
    """The same with the other convention for the argument."""

    @linen.compact
    def __call__(self, x, *, deterministic):
        net = Linen()
        linen.share_scope(self, net)
        return net(x, train=not deterministic)


class Nnx(nnx.Module):
    """The same in NNX; its attributes give the parameters the same names."""

    def __init__(self, rngs, rate=0.5):
        self.dense_0 = nnx.Linear(WIDTHS[0], WIDTHS[1], rngs=rngs)
        self.norm_0 = nnx.BatchNorm(WIDTHS[1], rngs=rngs, **NORM)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.dense_1 = nnx.Linear(WIDTHS[1], WIDTHS[2], rngs=rngs)

    def __call__(self, x):
        return self.dense_1(self.dropout(nnx.relu(self.norm_0(self.dense_0(x)))))


X = np.random.default_rng(0).normal(size=(6, WIDTHS[0])).astype(np.float32)
BUILT_IN = nn.mlp(WIDTHS, norm="batch", dropout=0.5)
PEERS = {
    "train": nn.from_linen(Linen(), X, train_argument="train"),
    "deterministic": nn.from_linen(Deterministic(), X, train_argument="deterministic"),
    "nnx": nn.from_nnx(Nnx),
}


def loss(model, params, model_state, x, **mode):
    y, model_state = model.apply(params, model_state, x, **mode)
    return (y**2).mean(), (y, model_state)


def assert_trees_close(actual, expected, **tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


@pytest.mark.parametrize("name", PEERS)
def test_same_weights_same_network(name):
    model = PEERS[name]
    params, statistics = BUILT_IN.init(jax.random.key(0))
    assert jax.tree.structure(model.init(jax.random.key(1))[0]) == jax.tree.structure(params)
    state = statistics["batch_stats"] if name == "nnx" else statistics
    both = [
        jax.grad(lambda p, m=m, s=s: loss(m, p, s, X), has_aux=True)(params)
        for m, s in ((model, state), (BUILT_IN, statistics))
    ]
    assert_trees_close(both[0][0], both[1][0], rtol=1e-5, atol=1e-6)
    assert_trees_close(both[0][1][0], both[1][1][0], rtol=1e-5, atol=1e-6)


def test_nnx_trains_inside_a_scan_as_mlp_does():
    model = nn.from_nnx(lambda rngs: Nnx(rngs, rate=0.0))
    params, statistics = BUILT_IN.init(jax.random.key(0))
    peer = nn.mlp(WIDTHS, norm="batch")

    def descend(model, params, model_state):
        def body(carry, key):
            (value, (_, model_state)), grads = jax.value_and_grad(
                lambda p: loss(model, p, carry[1], X, train=True, key=key), has_aux=True
            )(carry[0])
            return (jax.tree.map(lambda p, g: p - 0.1 * g, carry[0], grads), model_state), value

        return jax.lax.scan(body, (params, model_state), jax.random.split(jax.random.key(1), 4))

    (params_nnx, state_nnx), values = jax.jit(lambda p, s: descend(model, p, s))(
        params, statistics["batch_stats"]
    )
    (expected, state), expected_values = jax.jit(lambda p, s: descend(peer, p, s))(
        params, statistics
    )
    assert values[-1] < values[0]
    np.testing.assert_allclose(values, expected_values, rtol=1e-5)
    assert_trees_close(params_nnx, expected, rtol=1e-4, atol=1e-5)
    assert_trees_close(state_nnx, state["batch_stats"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [BUILT_IN, *PEERS.values()], ids=["mlp", *PEERS])
class TestEveryModel:
    @pytest.mark.slow
    def test_lanes_are_single_runs(self, model):
        keys = jax.random.split(jax.random.key(0), 2)
        params, model_state = jax.jit(jax.vmap(model.init))(keys)
        assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))
        assert (params["dense_0"]["kernel"][0] != params["dense_0"]["kernel"][1]).all()

        def apply(params, model_state, key):
            return model.apply(params, model_state, X, train=True, key=key)

        lanes = jax.jit(jax.vmap(apply))(params, model_state, keys)
        single = apply(*jax.tree.map(lambda a: a[1], (params, model_state)), keys[1])
        assert_trees_close(jax.tree.map(lambda a: a[1], lanes), single, rtol=1e-5, atol=1e-6)

    def test_modes(self, model):
        params, model_state = model.init(jax.random.key(0))

        def apply(**mode):
            return model.apply(params, model_state, X, **mode)

        y, state = apply()
        assert_trees_close(state, model_state, rtol=0)
        assert_trees_close(apply(key=jax.random.key(5))[0], y, rtol=0)
        first, again, other = (apply(train=True, key=jax.random.key(i)) for i in (1, 1, 2))
        assert_trees_close(first, again, rtol=0)
        assert (first[0] != other[0]).any()
        mean = 0.1 * (X @ params["dense_0"]["kernel"] + params["dense_0"]["bias"]).mean(0)
        state = first[1].get("batch_stats", first[1])
        np.testing.assert_allclose(state["norm_0"]["mean"], mean, rtol=1e-4, atol=1e-6)
        with pytest.raises(ValueError, match="key="):
            apply(train=True)

    def test_float64_keeps_the_states_dtypes(self, model):
        with jax.enable_x64(True):
            params, model_state = model.init(jax.random.key(0))
            params = jax.tree.map(lambda a: a.astype(np.float64), params)
            dtype = "float64" if model is PEERS["nnx"] else "float32"
            model_state = jax.tree.map(lambda a: a.astype(dtype), model_state)
            y, updated = model.apply(params, model_state, X, train=True, key=jax.random.key(0))
            assert y.dtype == jnp.float64
            assert {a.dtype.name for a in jax.tree.leaves(updated)} == {dtype}


class Counter(linen.Module):
    """Counts its calls, in a collection of its own, and takes a pytree."""

    @linen.compact
    def __call__(self, x):
        calls = self.variable("calls", "count", jnp.zeros, (), jnp.int32)
        if not self.is_initializing():
            calls.value += 1
        return x["a"] + linen.Dense(1)(x["b"])


def test_other_collections_travel_in_the_state():
    x = {"a": jnp.ones((2, 1)), "b": jnp.ones((2, 3))}
    model = nn.from_linen(Counter(), x)
    params, state = model.init(jax.random.key(0))
    assert set(params) == {"Dense_0"}
    for expected in (1, 2):
        _, state = model.apply(params, state, x)
        assert state == {"calls": {"count": expected}}


def test_init_prefers_the_batch_it_is_given():
    model = nn.from_linen(linen.Dense(1), jnp.ones((1, 3)))
    params, state = model.init(jax.random.key(0), jnp.ones((1, 5)))
    assert params["kernel"].shape == (5, 1)
    assert state == {}


def test_nnx_streams_differ_and_evaluate_reproducibly():
    def make(rngs):
        return nnx.Sequential(nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs))

    model = nn.from_nnx(make)
    assert jax.tree.leaves(model.init(jax.random.key(0))) == []
    y, _ = model.apply({}, {}, jnp.ones((100, 100)), train=True, key=jax.random.key(0))
    # With one mask for both layers a half would stay.
    assert abs((y != 0).mean() - 0.25) < 0.03


class Noise(nnx.Module):
    def __init__(self, rngs):
        self.rngs = rngs

    def __call__(self, x):
        return x + jax.random.normal(self.rngs.noise(), x.shape)


def test_nnx_random_in_evaluation():
    model = nn.from_nnx(Noise)
    one, two, three = (
        model.apply({}, {}, jnp.zeros(3), key=key)[0] for key in (None, None, jax.random.key(1))
    )
    assert (one == two).all()
    assert (one != three).all()


class Sows(linen.Module):
    @linen.compact
    def __call__(self, x):
        self.sow("losses", "size", (x**2).sum())
        return linen.Dense(1)(x)


def test_bad_modules():
    with pytest.raises(ValueError, match=r"argument of Dense.__call__, got 'train'"):
        nn.from_linen(linen.Dense(1), X, train_argument="train")
    model = nn.from_linen(Sows(), X)
    params, state = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match="structure of its state"):
        model.apply(params, state, X)
