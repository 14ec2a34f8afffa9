"""The Transformer against PyTorch's, one token at a time against all at once, and what it sees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import copy_dense, copy_heads, copy_norm

from jaxml import nn

LENGTHS = jnp.array([5, 2, 7])
SOURCE = jax.random.randint(jax.random.key(1), (3, 7), 0, 11)
TARGET = jax.random.randint(jax.random.key(2), (3, 6), 0, 9)


@functools.cache
def made(**options):
    network = nn.transformer(11, 9, width=8, layers=2, heads=2, hidden=12, **options)
    params, _ = network.init(jax.random.key(0))
    # norms and biases that are not those of the start
    keys = iter(jax.random.split(jax.random.key(1), 200))
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), params
    )
    return network, params


@functools.cache
def whole(**options):
    network, params = made(**options)
    return jax.jit(lambda x, length, y: network.apply(params, {}, (x, length, y))[0])


@functools.cache
def logits(**options):
    return whole(**options)(SOURCE, LENGTHS, TARGET)


@pytest.mark.oracle
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_equals_pytorch(norm):
    torch = pytest.importorskip("torch")
    first = norm == "pre"
    given = {"dropout": 0.0, "batch_first": True, "norm_first": first}
    normed = [torch.nn.LayerNorm(8) if first else None for _ in range(2)]
    theirs = torch.nn.Transformer(
        8, 2,
        custom_encoder=torch.nn.TransformerEncoder(
            torch.nn.TransformerEncoderLayer(8, 2, 12, **given), 2, norm=normed[0],
            enable_nested_tensor=False,
        ),
        custom_decoder=torch.nn.TransformerDecoder(
            torch.nn.TransformerDecoderLayer(8, 2, 12, **given), 2, norm=normed[1]
        ),
        batch_first=True,
    )  # fmt: skip
    params = made(norm=norm, positions=None)[1]
    source, target = torch.nn.Embedding(11, 8), torch.nn.Embedding(9, 8)
    end = torch.nn.Linear(8, 9)

    with torch.no_grad():
        for side, part in ((theirs.encoder, "encoder"), (theirs.decoder, "decoder")):
            for i, module in enumerate(side.layers):
                own = params[part][f"layer_{i}"]
                copy_heads(module.self_attn, own["attention"])
                if part == "decoder":
                    copy_heads(module.multihead_attn, own["cross"])
                for j in range(2):
                    copy_dense((module.linear1, module.linear2)[j], own[f"dense_{j}"])
                for j in range(2 if part == "encoder" else 3):
                    copy_norm(getattr(module, f"norm{j + 1}"), own[f"norm_{j}"])
            if first:
                copy_norm(side.norm, params[part]["norm"])
        source.weight.copy_(torch.tensor(np.asarray(params["encoder"]["input"]["embedding"])))
        target.weight.copy_(torch.tensor(np.asarray(params["decoder"]["input"]["embedding"])))
        copy_dense(end, params["decoder"]["output"])
        padding = torch.tensor(np.arange(7) >= np.asarray(LENGTHS)[:, None])
        causal = torch.nn.Transformer.generate_square_subsequent_mask(6)
        known = end(
            theirs(
                source(torch.tensor(np.asarray(SOURCE))) * 8**0.5,
                target(torch.tensor(np.asarray(TARGET))) * 8**0.5,
                tgt_mask=causal,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
            )
        ).numpy()
    np.testing.assert_allclose(logits(norm=norm, positions=None), known, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"norm": "post", "positions": "rotary", "cross": "all"},
     {"positions": "learned", "size": 7, "cross": "parallel"}],
)  # fmt: skip
def test_token_by_token_is_all_at_once(options):
    network, params = made(**options)
    cache = network.start(network.encode(params, SOURCE, LENGTHS), TARGET.shape[1])
    step = jax.jit(network.step)
    for i in range(TARGET.shape[1]):
        found, cache, attention = step(params, TARGET[:, i], cache)
        np.testing.assert_allclose(found, logits(**options)[:, i], atol=1e-5)
        np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(attention[1, :, 2:], 0)
    assert all(len(leaf) == 3 for leaf in jax.tree.leaves(cache))


def test_a_later_token_changes_no_earlier_logit():
    for i in range(1, TARGET.shape[1]):
        other = whole()(SOURCE, LENGTHS, TARGET.at[:, i:].add(1) % 9)
        np.testing.assert_array_equal(other[:, :i], logits()[:, :i])
        assert abs(other[:, i:] - logits()[:, i:]).max() > 0.01


def test_what_is_known_while_it_is_traced_is_checked():
    network, params = made()
    given = (SOURCE, LENGTHS, TARGET)
    run = lambda x: jax.jit(lambda p: network.apply(p, {}, x)[0])(params)  # noqa: E731
    np.testing.assert_allclose(run(given), logits(), atol=1e-5)
    with pytest.raises(ValueError, match="tokens from 0 to 10, got 11 to"):
        run((SOURCE + 11, *given[1:]))
    with pytest.raises(ValueError, match="lengths from 1 to 7, got 3 to 8"):
        run((SOURCE, LENGTHS + 1, TARGET))


@pytest.mark.slow
def test_padding_of_the_source_changes_nothing():
    padding = jnp.arange(7) >= LENGTHS[:, None]
    other = whole()(jnp.where(padding, 10 - SOURCE, SOURCE), LENGTHS, TARGET)
    np.testing.assert_array_equal(other, logits())
    network, params = made()
    alone = network.apply(params, {}, (SOURCE[1:2, :2], None, TARGET[1:2]))[0]
    np.testing.assert_allclose(alone[0], logits()[1], atol=1e-5)


@pytest.mark.slow
def test_what_each_layer_looks_at():
    network, params = made(cross="all")
    shares = jnp.array([[1e3, 0.0], [0.0, 1e3]])  # each layer at that of its own number
    params["decoder"]["cross"] = shares
    found = network.apply(params, {}, (SOURCE, LENGTHS, TARGET))[0]
    parallel = made(cross="parallel")[0]
    del params["decoder"]["cross"]
    given = (SOURCE, LENGTHS, TARGET)
    np.testing.assert_allclose(found, parallel.apply(params, {}, given)[0], atol=1e-5)
    last = made()[0].apply(params, {}, given)[0]
    assert abs(last - found).max() > 0.01


@pytest.mark.slow
def test_dropout_is_random_in_training_alone():
    network, params = made(dropout=0.5)
    run = lambda key, train: network.apply(  # noqa: E731
        params, {}, (SOURCE, LENGTHS, TARGET), train=train, key=key
    )[0]
    first, second = (run(jax.random.key(i), True) for i in range(2))
    assert abs(first - second).max() > 0.01
    np.testing.assert_allclose(run(None, False), logits(), atol=1e-5)
    with pytest.raises(ValueError, match="expected key= for dropout in training, got None"):
        run(None, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"heads": 3}, "a width that 3 heads divide, got 8"),
     ({"heads": 8, "positions": "rotary"}, "an even width for rotary positions, got 1"),
     ({"cross": "first"}, "cross to be"),
     ({"positions": "learned"}, "size with learned positions"),
     ({"layers": 0}, "layers")],
)  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        nn.transformer(11, 9, **{"width": 8, "heads": 2, **options})


def test_bad_inputs():
    network, params = made(positions="learned", size=7)
    given = lambda x, length, y: network.apply(params, {}, (x, length, y))  # noqa: E731
    for arguments, message in (
        ((SOURCE, LENGTHS, TARGET + 9), "tokens from 0 to 8, got"),
        ((SOURCE + 11, LENGTHS, TARGET), "tokens from 0 to 10, got"),
        ((SOURCE, LENGTHS, TARGET * 1.0), "whole numbers of shape"),
        ((SOURCE, LENGTHS + 1, TARGET), "lengths from 1 to 7, got 3 to 8"),
        ((SOURCE, LENGTHS, jnp.zeros((3, 8), int)), "at most 7 positions, got 8"),
    ):
        with pytest.raises(ValueError, match=message):
            given(*arguments)
    with pytest.raises(ValueError, match="at most 7 steps, got 8"):
        network.start(network.encode(params, SOURCE, LENGTHS), 8)
