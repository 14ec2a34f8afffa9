"""The Conformer against PyTorch's layers, and what padding does to it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import copy_dense, copy_heads, copy_norm

from jaxml import nn

LENGTHS = jnp.array([5, 2, 7])
INPUTS = jax.random.normal(jax.random.key(2), (3, 7, 3))
SIZES = {"width": 8, "layers": 1, "heads": 2, "hidden": 12, "kernel": 5}


@functools.cache
def made(output="each"):
    model = nn.conformer(3, 4, output=output, positions=None, **SIZES)
    params, state = model.init(jax.random.key(0))
    # norms and biases that are not those of the start
    keys = iter(jax.random.split(jax.random.key(1), 100))
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), params
    )
    return jax.jit(model.apply), params, state


def test_a_depthwise_convolution_is_xlas():
    x = jax.random.normal(jax.random.key(3), (2, 6, 4))
    kernel = jax.random.normal(jax.random.key(4), (5, 4))
    known = jax.lax.conv_general_dilated(
        x, kernel[:, None], (1,), "SAME",
        dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=4,
    )  # fmt: skip
    np.testing.assert_allclose(nn.depthwise_convolution(x, kernel), known, atol=1e-5)
    np.testing.assert_allclose(nn.depthwise_convolution(x[0], kernel), known[0], atol=1e-5)


@pytest.mark.oracle
def test_a_layer_is_pytorchs():
    torch = pytest.importorskip("torch")
    apply, params, state = made()
    own, f = params["layer_0"], torch.nn.functional

    def tensor(array):
        return torch.tensor(np.asarray(array))

    padding = torch.tensor(np.arange(7) >= np.asarray(LENGTHS)[:, None])

    def through(module, copy, name, x, tree=own):
        copy(module, tree[name])
        return module(x)

    def norm(name, x):
        return through(torch.nn.LayerNorm(8), copy_norm, name, x)

    def linear(name, x, outputs, tree=own):
        return through(torch.nn.Linear(x.shape[-1], outputs), copy_dense, name, x, tree)

    def think(x, i):
        return linear(f"dense_{i + 1}", f.silu(linear(f"dense_{i}", x, 12)), 8)

    def attend(x):
        heads = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        copy_heads(heads, own["attention"])
        return heads(x, x, x, key_padding_mask=padding, need_weights=False)[0]

    def convolve(x):
        h = f.glu(linear("gated", x, 16), -1).masked_fill(padding[..., None], 0)
        depthwise = torch.nn.Conv1d(8, 8, 5, padding=2, groups=8)
        depthwise.weight.copy_(tensor(own["depthwise"]["kernel"]).T[:, None])
        depthwise.bias.copy_(tensor(own["depthwise"]["bias"]))
        h = depthwise(h.transpose(1, 2)).transpose(1, 2)
        return linear("mixed", f.silu(norm("norm", h)), 8)

    with torch.no_grad():
        x = linear("input", tensor(INPUTS), 8, params)
        x = x + 0.5 * think(norm("norm_0", x), 0)
        x = x + attend(norm("norm_1", x))
        x = x + convolve(norm("norm_2", x))
        x = x + 0.5 * think(norm("norm_3", x), 2)
        known = linear("output", norm("norm_4", x), 4, params).numpy()
    seen = ~padding.numpy()
    found = apply(params, state, (INPUTS, LENGTHS))[0]
    np.testing.assert_allclose(found[seen], known[seen], atol=2e-5)


@pytest.mark.parametrize("output", ["each", "pooled"])
def test_padding_changes_nothing(output):
    apply, params, state = made(output)
    seen = jnp.arange(7) < LENGTHS[:, None]
    found, other = (
        apply(params, state, (jnp.where(seen[..., None], INPUTS, fill), LENGTHS))[0]
        for fill in (0.0, 1e3)
    )
    rows = ... if output == "pooled" else seen
    np.testing.assert_array_equal(found[rows], other[rows])
    alone = apply(params, state, INPUTS[1:2, :2])[0][0]
    np.testing.assert_allclose(alone, found[1] if rows is ... else found[1, :2], atol=1e-5)


def test_its_attention_can_be_looked_at():
    maps = nn.attention_maps(nn.conformer(3, 4, **SIZES), made()[1], {}, (INPUTS, LENGTHS))
    assert maps["layer_0/attention"].shape == (3, 2, 7, 7)


def test_refused():
    for kernel, message in ((4, "kernel to be odd, got 4"), (0, r"kernel .* got 0")):
        with pytest.raises(ValueError, match=message):
            nn.conformer(3, 4, kernel=kernel)
    with pytest.raises(ValueError, match="a width that 4 heads divide, got 10"):
        nn.conformer(3, 4, width=10)
    with pytest.raises(ValueError, match="output to be one of each, pooled, first"):
        nn.conformer(3, 4, output="last")
    for shape in ((4, 3), (5, 2), (5,)):
        with pytest.raises(ValueError, match=r"a kernel of shape \(odd size, 3\), got \("):
            nn.depthwise_convolution(jnp.zeros((2, 7, 3)), jnp.zeros(shape))
