"""The Transformer's encoder against PyTorch's, and what padding and order do to it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import copy_dense, copy_heads, copy_norm

from jaxml import nn
from jaxml.nn import attention

LENGTHS = jnp.array([5, 2, 7])


@functools.cache
def made(**options):
    model = nn.transformer_encoder(3, 4, width=8, heads=2, hidden=12, **options)
    params, state = model.init(jax.random.key(0))
    # norms and biases that are not those of the start
    keys = iter(jax.random.split(jax.random.key(1), 100))
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), params
    )
    return jax.jit(model.apply, static_argnames="train"), params, state


def inputs(seed=2):
    return jax.random.normal(jax.random.key(seed), (3, 7, 3))


@pytest.mark.oracle
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_equals_pytorch(norm):
    torch = pytest.importorskip("torch")
    apply, params, state = made(norm=norm, positions=None)
    layer = torch.nn.TransformerEncoderLayer(
        8, 2, 12, dropout=0.0, batch_first=True, norm_first=norm == "pre"
    )
    last = torch.nn.LayerNorm(8) if norm == "pre" else None
    theirs = torch.nn.TransformerEncoder(layer, 2, norm=last, enable_nested_tensor=False)

    with torch.no_grad():
        for i, module in enumerate(theirs.layers):
            own = params[f"layer_{i}"]
            copy_heads(module.self_attn, own["attention"])
            for j in range(2):
                copy_dense((module.linear1, module.linear2)[j], own[f"dense_{j}"])
                copy_norm((module.norm1, module.norm2)[j], own[f"norm_{j}"])
        if last is not None:
            copy_norm(theirs.norm, params["norm"])
        first, end = torch.nn.Linear(3, 8), torch.nn.Linear(8, 4)
        copy_dense(first, params["input"])
        copy_dense(end, params["output"])
        padding = torch.tensor(np.arange(7) >= np.asarray(LENGTHS)[:, None])
        x = first(torch.tensor(np.asarray(inputs())))
        known = end(theirs(x, src_key_padding_mask=padding)).numpy()
    found = apply(params, state, (inputs(), LENGTHS))[0]
    seen = ~padding.numpy()
    np.testing.assert_allclose(found[seen], known[seen], atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"output": "pooled"}, {"positions": "rotary"}])
def test_padding_changes_nothing(options):
    apply, params, state = made(**options)
    seen = jnp.arange(7) < LENGTHS[:, None]
    found, other = (
        apply(params, state, (jnp.where(seen[..., None], inputs(), fill), LENGTHS))[0]
        for fill in (0.0, 1e3)
    )
    rows = ... if options.get("output") == "pooled" else seen
    np.testing.assert_array_equal(found[rows], other[rows])
    alone = apply(params, state, inputs()[1:2, :2])[0][0]
    np.testing.assert_allclose(alone, found[1] if rows is ... else found[1, :2], atol=1e-5)


@pytest.mark.slow
def test_without_positions_it_is_a_function_of_a_set():
    x, order = inputs(), jax.random.permutation(jax.random.key(3), 7)
    apply, params, state = made(positions=None)
    y = apply(params, state, x)[0]
    np.testing.assert_allclose(apply(params, state, x[:, order])[0], y[:, order], atol=1e-5)
    for positions in ("sinusoidal", "rotary"):
        apply, params, state = made(positions=positions)
        y = apply(params, state, x)[0]
        assert abs(apply(params, state, x[:, order])[0] - y[:, order]).max() > 0.01


def test_learned_positions_end():
    apply, params, state = made(positions="learned", size=7)
    assert params["positions"].shape == (7, 8)
    apply(params, state, inputs())
    with pytest.raises(ValueError, match="sequences of at most 7 positions, got 8"):
        apply(params, state, jnp.zeros((1, 8, 3)))


@pytest.mark.slow
def test_tokens_are_embedded():
    model = nn.transformer_encoder(11, 2, tokens=True, width=8, heads=2, output="first")
    params, state = model.init(jax.random.key(0))
    assert params["input"]["embedding"].shape == (11, 8)
    assert model.apply(params, state, jnp.zeros((3, 5), int))[0].shape == (3, 2)
    with pytest.raises(ValueError, match="tokens from 0 to 10, got 0 to 11"):
        model.apply(params, state, jnp.array([[0, 11]]))


@pytest.mark.slow
def test_maps_are_the_weights_of_each_head():
    options = {"output": "pooled"}
    model = nn.transformer_encoder(3, 4, width=8, heads=2, hidden=12, **options)
    _, params, state = made(**options)
    maps = nn.attention_maps(model, params, state, (inputs(), LENGTHS))
    assert list(maps) == ["layer_0/attention", "layer_1/attention"]
    first = maps["layer_0/attention"]
    assert first.shape == (3, 2, 7, 7)
    np.testing.assert_allclose(first.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(first[1, :, :, 2:], 0)
    # by hand
    p = params["layer_0"]
    x = inputs() @ params["input"]["kernel"] + params["input"]["bias"]
    x = x + attention.sinusoidal_positions(jnp.arange(7), 8)
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = x * p["norm_0"]["scale"] + p["norm_0"]["bias"]
    q, k = (x @ p["attention"][n]["kernel"] + p["attention"][n]["bias"] for n in ("query", "key"))
    scores = q[2, :, 4:] @ k[2, :, 4:].T / 2  # the second head of the third sequence
    np.testing.assert_allclose(first[2, 1], jax.nn.softmax(scores), atol=1e-5)


def test_any_attention():
    everything = functools.partial(attention.local_attention, window=13)
    found = [
        made(attention=function)[0](*made()[1:], (inputs(), LENGTHS))[0]
        for function in (everything, attention.softmax_attention, attention.linear_attention)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert abs(found[2] - found[1]).max() > 0.01


def test_dropout_is_random_in_training_alone():
    apply, params, state = made(dropout=0.5)
    still = apply(params, state, inputs())[0]
    first, second = (
        apply(params, state, inputs(), train=True, key=jax.random.key(i))[0] for i in (0, 1)
    )
    assert abs(first - second).max() > 0.01
    np.testing.assert_array_equal(still, apply(params, state, inputs())[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "heads": 4}, "a width that 4 heads divide, got 10"),
        ({"width": 9, "heads": 3}, "an even width for sinusoidal positions, got 9"),
        ({"width": 6, "heads": 2, "positions": "rotary"}, "even width for rotary .*, got 3"),
        ({"output": "last"}, "output to be one of each, pooled, first"),
        ({"norm": "batch"}, "norm to be one of pre, post"),
        ({"positions": "learned"}, "size with learned positions, got None"),
        ({"size": 4}, "size with learned positions, got 4"),
        ({"layers": 0}, "layers .* got 0"),
        ({"attention": "softmax"}, "attention, .* got 'softmax'"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        nn.transformer_encoder(3, 4, **options)


@pytest.mark.slow
def test_other_inputs_are_refused():
    model = nn.transformer_encoder(3, 4)
    params, state = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"inputs of shape \(batch, n, 3\), got .*\(2, 5, 4\)"):
        model.apply(params, state, jnp.zeros((2, 5, 4)))
    with pytest.raises(ValueError, match="lengths from 1 to 5, got 0 to 6"):
        model.apply(params, state, (jnp.zeros((2, 5, 3)), jnp.array([0, 6])))
    with pytest.raises(ValueError, match="a model with layers of attention, got none"):
        nn.attention_maps(nn.linear(3, 1), *nn.linear(3, 1).init(jax.random.key(0)), inputs())


@pytest.mark.slow
def test_attention_of_one_length_needs_no_other():
    blocks = attention.bigbird_blocks(jax.random.key(0), 6, 2)
    looking = functools.partial(attention.block_attention, blocks=blocks)
    model = nn.transformer_encoder(3, 2, width=8, heads=2, layers=1, attention=looking)
    params, state = model.init(jax.random.key(0))
    assert model.apply(params, state, jnp.ones((2, 6, 3)))[0].shape == (2, 6, 2)
    with pytest.raises(ValueError, match="expected blocks that divide the 5 positions"):
        model.apply(params, state, jnp.ones((2, 5, 3)))
