"""Monotonic attention against all of its paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn
from jaxml.nn.attention import monotonic_attention

RANDOM = np.random.default_rng(0)


def by_enumeration(chosen):
    """Of each query the chance of each key, summed over all sequences of keys; m is beyond all."""
    queries, keys = chosen.shape
    known = np.zeros((queries, keys + 1))
    for path in itertools.product(range(keys + 1), repeat=queries):
        chance, at = 1.0, 0
        for i, j in enumerate(path):
            if j < at:
                chance = 0.0
                break
            chance *= np.prod(1 - chosen[i, at:j]) * (chosen[i, j] if j < keys else 1)
            at = j
        for i, j in enumerate(path):
            known[i, j] += chance
    return known[:, :keys]


@pytest.mark.parametrize("shape", [(3, 4), (4, 2), (2, 1)])
def test_expected_alignments_are_those_of_all_paths(shape):
    chosen = RANDOM.random((2, *shape))
    chosen[1, :, -1] = 0  # as padding is
    before, found = jnp.eye(shape[1])[jnp.zeros(2, int)], []
    for i in range(shape[0]):
        before = monotonic_attention(jnp.asarray(chosen[:, i]), before)
        found.append(before)
    known = np.stack([by_enumeration(rows) for rows in chosen])
    np.testing.assert_allclose(np.stack(found, 1), known, atol=1e-6)
    np.testing.assert_allclose(known[0].sum(1) <= 1, True)


def test_a_choice_is_the_first_chosen_key_from_the_last_on():
    before = jnp.eye(5)[1]
    for chosen, known in (([1, 0, 0, 1, 1], 3), ([1, 1, 0, 1, 0], 3), ([1, 1, 1, 0, 0], None)):
        before = monotonic_attention(jnp.array(chosen, float), before)
        np.testing.assert_array_equal(before, np.zeros(5) if known is None else np.eye(5)[known])


def test_gradients_of_certain_choices_are_finite():
    for chosen in (jnp.zeros(4), jnp.ones(4)):
        gradient = jax.grad(lambda p: (monotonic_attention(p, jnp.eye(4)[0]) ** 2).sum())(chosen)
        assert np.isfinite(gradient).all()


def network_of(scale):
    """One whose scores are large where `scale` is, so that its choices are certain."""
    network = nn.recurrent_seq2seq(11, 9, width=6, attention="monotonic")
    shapes, _ = jax.eval_shape(network.init, jax.random.key(0))
    random = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), shapes)
    params["decoder"]["score"] = scale * params["decoder"]["score"]
    return network, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)


@pytest.mark.slow
def test_the_network_moves_on_and_decodes_by_choices():
    x, x_length = RANDOM.integers(0, 11, (3, 7)), np.array([7, 4, 6])
    y = RANDOM.integers(0, 9, (3, 5))
    for scale, certain in ((1e4, True), (1.0, False)):
        network, params = network_of(scale)
        look = jax.jit(network.look)  # type: ignore[arg-type]
        logits, attention = look(params, (x, x_length, y))
        assert (attention.sum(-1) <= 1 + 1e-5).all()
        np.testing.assert_array_equal(attention[1, :, :, 4:], 0)
        reached = np.cumsum(attention[:, :, 0], -1)  # ever less lies before each key
        assert (np.diff(reached, axis=1) <= 1e-5).all()
        cache = network.start(jax.jit(network.encode)(params, x, x_length), 5)
        step = jax.jit(network.step)
        same = []
        for t in range(5):
            found, cache, own = step(params, y[:, t], cache)
            assert np.isin(own, (0, 1)).all()
            assert (own.sum(-1) <= 1).all()
            same.append(np.allclose(found, logits[:, t], atol=1e-4))
        assert all(same) == certain


def test_training_has_noise():
    network, params = network_of(1.0)
    given = (np.ones((2, 4), int), None, np.ones((2, 3), int))
    apply = jax.jit(lambda key: network.apply(params, {}, given, train=True, key=key)[0])
    assert not np.allclose(apply(jax.random.key(0)), apply(jax.random.key(1)))
    with pytest.raises(ValueError, match="key= for dropout in training"):
        network.apply(params, {}, given, train=True)


def test_bad_input():
    with pytest.raises(ValueError, match=r"attention before of shape \(3,\), got \(4,\)"):
        monotonic_attention(jnp.ones(3), jnp.ones(4))
