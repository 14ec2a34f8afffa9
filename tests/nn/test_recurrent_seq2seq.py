"""The recurrent network of sequences from sequences: one token at a time, and against a formula."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn, sequence, training
from jaxml.sequence import decoding
from jaxml.training import optimizers, sampling

LENGTHS = jnp.array([5, 2, 7])
SOURCE = jax.random.randint(jax.random.key(1), (3, 7), 0, 11)
TARGET = jax.random.randint(jax.random.key(2), (3, 6), 0, 9)
TWO = {"cell": "gru", "attention": "dot", "layers": 2}


@functools.cache
def made(**options):
    network = nn.recurrent_seq2seq(11, 9, width=6, **options)
    # to compile the initialisation takes longer than all else
    shapes, _ = jax.eval_shape(network.init, jax.random.key(0))
    random = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(0.5 * random.normal(size=leaf.shape), leaf.dtype)  # noqa: E731
    return network, jax.tree.map(draw, shapes)


@functools.cache
def whole(**options):
    network, _ = made(**options)
    return jax.jit(lambda params, *given: network.apply(params, {}, given)[0])


@functools.cache
def logits(**options):
    return whole(**options)(made(**options)[1], SOURCE, LENGTHS, TARGET)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"attention": "location"}, TWO])
def test_token_by_token_is_all_at_once(options):
    network, params = made(**options)
    cache = network.start(jax.jit(network.encode)(params, SOURCE, LENGTHS), TARGET.shape[1])
    step = jax.jit(network.step)
    for i in range(TARGET.shape[1]):
        found, cache, attention = step(params, TARGET[:, i], cache)
        np.testing.assert_allclose(found, logits(**options)[:, i], atol=1e-5)
        assert attention.shape == (3, 1, 7)
        np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(attention[1, :, 2:], 0)
    assert all(len(leaf) == 3 for leaf in jax.tree.leaves(cache))


@pytest.mark.parametrize("options", [{"attention": "location"}, TWO])
def test_a_later_token_changes_no_earlier_logit(options):
    for i in range(1, TARGET.shape[1]):
        other = TARGET.at[:, i:].add(1) % 9
        other = whole(**options)(made(**options)[1], SOURCE, LENGTHS, other)
        np.testing.assert_array_equal(other[:, :i], logits(**options)[:, :i])
        assert abs(other[:, i:] - logits(**options)[:, i:]).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"attention": "location"}, TWO])
def test_padding_of_the_source_changes_nothing(options):
    params, padding = made(**options)[1], jnp.arange(7) >= LENGTHS[:, None]
    other = jnp.where(padding, 10 - SOURCE, SOURCE)
    found = whole(**options)(params, other, LENGTHS, TARGET)
    np.testing.assert_array_equal(found, logits(**options))
    gradient = jax.jit(jax.grad(lambda p, x: whole(**options)(p, x, LENGTHS, TARGET).sum()))
    one, two = gradient(params, SOURCE), gradient(params, other)
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert all(abs(leaf).max() > 0 for leaf in jax.tree.leaves(one))
    alone = whole(**options)(params, SOURCE[1:2, :2], None, TARGET[1:2])
    np.testing.assert_allclose(alone[0], logits(**options)[1], atol=1e-5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(cell, c, h, x):
    """The new memory and the new state by the formula."""
    own = {name: x @ cell[f"i{name}"]["kernel"] for name in "ifgo"}
    own |= {
        name: own[name] + h @ cell[f"h{name}"]["kernel"] + cell[f"h{name}"]["bias"]
        for name in "ifgo"
    }
    c = sigmoid(own["f"]) * c + sigmoid(own["i"]) * np.tanh(own["g"])
    return c, sigmoid(own["o"]) * np.tanh(c)


@pytest.mark.parametrize("attention", ["additive", "location", "dot"])
def test_two_steps_by_the_formula(attention):
    """NumPy in float64, one row, from the encoder's first letter to the logits."""
    _, params = made(attention=attention)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
    encoder, decoder = params["encoder"], params["decoder"]
    embedded = encoder["input"]["embedding"][np.asarray(SOURCE[0, :5])] * 6**0.5
    directions = []
    for name, rows in (("layer_0_cell", embedded), ("layer_0_backward_cell", embedded[::-1])):
        c = h = np.zeros(6)
        states = []
        for row in rows:
            c, h = lstm(encoder[name], c, h, row)
            states.append(h)
        directions.append(states)
    seen = np.concatenate([directions[0], directions[1][::-1]], axis=1)
    end = np.concatenate([directions[0][-1], directions[1][-1]])

    affine = lambda name, x: x @ decoder[name]["kernel"] + decoder[name].get("bias", 0)  # noqa: E731
    c, h = np.split(np.tanh(affine("start", end)), 2)
    weights = np.zeros(5)
    for i in range(2):
        if attention == "dot":
            scores = affine("key", seen) @ affine("query", h) / 6**0.5
        else:
            place = 0.0
            if attention == "location":
                filters = decoder["filters"]["kernel"]
                features = [
                    sum(weights[at] * filters[at - j + 7] for at in range(5)) for j in range(5)
                ]
                place = np.array(features) @ decoder["location"]["kernel"]
            energy = np.tanh(affine("query", h) + affine("key", seen) + place)
            scores = energy @ decoder["score"]
        weights = np.exp(scores) / np.exp(scores).sum()
        context = weights @ seen
        x = decoder["input"]["embedding"][TARGET[0, i]] * 6**0.5
        c, h = lstm(decoder["layer_0_cell"], c, h, np.concatenate([x, context]))
        hidden = np.tanh(affine("readout", np.concatenate([x, h, context])))
        known = affine("output", hidden)
        np.testing.assert_allclose(logits(attention=attention)[0, i], known, atol=2e-6)


@pytest.mark.parametrize("name", ["filters", "location"])
def test_without_its_filters_it_is_additive(name):
    _, params = made(attention="location")
    decoder = dict(params["decoder"])
    decoder[name] = {"kernel": 0 * decoder[name]["kernel"]}
    found = whole(attention="location")(params | {"decoder": decoder}, SOURCE, LENGTHS, TARGET)
    plain = {k: v for k, v in decoder.items() if k not in ("filters", "location")}
    known = whole()(params | {"decoder": plain}, SOURCE, LENGTHS, TARGET)
    np.testing.assert_allclose(found, known, atol=1e-6)
    assert abs(found - logits(attention="location")).max() > 0.01


@pytest.mark.slow
def test_of_64_bits():
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), made()[1])
        found = whole()(wide, SOURCE, LENGTHS, TARGET)
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, logits(), atol=1e-5)


@pytest.mark.slow
def test_of_16_bits():
    network, params = made(dtype=jnp.bfloat16)[0], made()[1]
    found = whole(dtype=jnp.bfloat16)(params, SOURCE, LENGTHS, TARGET)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(float), logits(), atol=0.2)
    memory = jax.eval_shape(network.encode, params, SOURCE, LENGTHS)
    cache = jax.eval_shape(lambda memory: network.start(memory, 6), memory)
    _, after, _ = jax.eval_shape(network.step, params, TARGET[:, 0], cache)
    assert after == cache


def test_rows_of_numbers_as_a_source():
    """One column for each token is an embedding."""
    params = made()[1]
    network = nn.recurrent_seq2seq(11, 9, tokens=False, width=6)
    table = {"kernel": params["encoder"]["input"]["embedding"] * 6**0.5, "bias": jnp.zeros(6)}
    params = params | {"encoder": params["encoder"] | {"input": table}}
    x = jax.nn.one_hot(SOURCE, 11)
    run = jax.jit(lambda params, x: network.apply(params, {}, (x, LENGTHS, TARGET))[0])
    np.testing.assert_allclose(run(params, x), logits(), atol=1e-5)
    with pytest.raises(ValueError, match=r"inputs of shape \(batch, n, 11\), got"):
        run(params, x[..., :3])


@pytest.mark.slow
def test_dropout_is_random_in_training():
    network, params = made(dropout=0.5)[0], made()[1]
    given = (SOURCE, LENGTHS, TARGET)
    run = jax.jit(lambda key: network.apply(params, {}, given, train=True, key=key)[0])
    first, again, second = (run(jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert abs(first - second).max() > 0.01
    with pytest.raises(ValueError, match="expected key= for dropout in training, got None"):
        network.apply(params, {}, given, train=True)


def test_dropout_is_none_beside_training():
    found = whole(dropout=0.5)(made()[1], SOURCE, LENGTHS, TARGET)
    np.testing.assert_allclose(found, logits(), atol=1e-6)


@pytest.mark.slow
def test_it_learns_to_reverse_in_two_lanes():
    random = np.random.default_rng(0)
    length = random.integers(1, 5, 200)
    x = random.integers(1, 5, (200, 4)) * (np.arange(4) < length[:, None])
    y = np.array([[*row[:n][::-1], *row[n:]] for row, n in zip(x, length, strict=True)])
    data = {"x": x, "x_length": length, "y": y, "y_length": length}
    network = nn.recurrent_seq2seq(5, 7, width=16, attention="location")
    algorithm = sequence.teacher_forcing(network, optimizers.adam(1e-2), begin=5)
    run = training.fit_many(
        algorithm, sequence.with_end(data, 6), sampling.epochs(50), steps=200, chunk=200,
        keys=jax.random.split(jax.random.key(0), 2),
    )  # fmt: skip
    marks: dict[str, Any] = {"begin": 5, "end": 6, "maximum_length": 6}
    right = [row[:n].tolist() for row, n in zip(y, length, strict=True)]
    params = [jax.tree.map(lambda leaf, i=i: leaf[i], run.state.params) for i in range(2)]
    found = [sequence.decode(network, lane, data, **marks) for lane in params]
    for out in found:
        assert np.mean([a == b for a, b in zip(out.sequences(), right, strict=True)]) > 0.9
    beams = sequence.decode(
        network, params[0], data, decoding.beam, size=3, attention=True, **marks
    )
    assert beams.attention.shape == (200, 1, 6, 1, 4)
    assert (beams.scores[:, 0] >= found[0].scores - 1e-4).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"cell": "simple"}, "cell to be"), ({"attention": "local"}, "attention to be"),
     ({"layers": 0}, "layers"), ({"width": 0}, "width"), ({"inputs": 0}, "inputs"),
     ({"outputs": 0}, "outputs"), ({"dropout": 1.0}, "dropout to be"),
     ({"dtype": int}, "dtype to be")],
)  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        nn.recurrent_seq2seq(**{"inputs": 11, "outputs": 9, **options})


@pytest.mark.slow
def test_bad_inputs():
    network, params = made()
    for arguments, message in (
        ((SOURCE, LENGTHS, TARGET + 9), "tokens from 0 to 8, got"),
        ((SOURCE + 11, LENGTHS, TARGET), "tokens from 0 to 10, got"),
        ((SOURCE, LENGTHS, TARGET * 1.0), "whole numbers of shape"),
        ((SOURCE * 1.0, LENGTHS, TARGET), "whole numbers of shape"),
        ((SOURCE, LENGTHS + 1, TARGET), "lengths from 1 to 7, got 3 to 8"),
        ((SOURCE, LENGTHS[:2], TARGET), r"lengths of shape \(3,\), got"),
    ):
        with pytest.raises(ValueError, match=message):
            network.apply(params, {}, arguments)
    with pytest.raises(ValueError, match="steps"):
        network.start(network.encode(params, SOURCE, LENGTHS), 0)
