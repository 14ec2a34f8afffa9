"""Lengths that no sequence can have, given to each network on sequences."""

import jax
import jax.numpy as jnp
import pytest

from jaxml import nn

NETWORKS = {
    "conformer": nn.conformer(3, 4, width=8, heads=2, layers=1, kernel=3),
    "rnn": nn.rnn(3, 4, width=6),
    "transformer_encoder": nn.transformer_encoder(3, 4, width=8, heads=2, layers=1),
}

LENGTHS = {
    "zero": ([5, 0], "lengths from 1 to 5, got 0 to 5"),
    "negative": ([-1, 5], "lengths from 1 to 5, got -1 to 5"),
    "beyond the array": ([5, 6], "lengths from 1 to 5, got 5 to 6"),
    "not whole": ([2.5, 5.0], "whole lengths, got dtype float32"),
    "booleans": ([True, True], "whole lengths, got dtype bool"),
    "too few": ([5], r"lengths of shape \(2,\), got \(1,\)"),
    "one for all": (5, r"lengths of shape \(2,\), got \(\)"),
    "of each frame": ([[5], [5]], r"lengths of shape \(2,\), got \(2, 1\)"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_lengths_are_checked(name):
    model = NETWORKS[name]
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params)
    x = jnp.zeros((2, 5, 3))
    for lengths, message in LENGTHS.values():
        with pytest.raises(ValueError, match=message):
            model.apply(params, state, (x, jnp.array(lengths)))
    with pytest.raises(ValueError, match=r"sequences of shape \(batch, n, ...\), got \(5,\)"):
        model.apply(params, state, (x[0, :, 0], jnp.array([5])))
