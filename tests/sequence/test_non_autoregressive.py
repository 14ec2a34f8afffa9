"""All tokens at once: counted, of the length that is asked for, and two translations mixed up."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import nn, sequence, training
from jaxml.core.types import TrainState
from jaxml.sequence.non_autoregressive import _at_once
from jaxml.training import sampling

LAYERS, LONGEST = 2, 8
NETWORK = nn.non_autoregressive_transformer(
    6, 7, longest=LONGEST, width=8, layers=LAYERS, heads=2, hidden=8
)
X = np.array([[1, 2, 3, 0, 0], [4, 5, 1, 2, 3], [5, 0, 0, 0, 0]])
X_LENGTH = np.array([3, 5, 1])


@functools.cache
def params():
    shapes, _ = jax.eval_shape(NETWORK.init, jax.random.key(0))
    random = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(0.5 * random.normal(size=leaf.shape), leaf.dtype)  # noqa: E731
    return jax.tree.map(draw, shapes)


@functools.cache
def apply():
    return jax.jit(lambda params, *given: NETWORK.apply(params, {}, given)[0])


def test_the_decoder_is_passed_once():
    """No loop, and of each of its layers the products of one pass: decoding as training."""
    text = str(
        jax.make_jaxpr(lambda params: _at_once(NETWORK, params, X, X_LENGTH, 1.0, None))(params())
    )
    assert not re.search(r"\b(while|scan)\[", text)
    products = len(re.findall("dot_general", text))
    # of each layer: query, key, value, output, scores, values; two dense layers
    encoder, decoder, others = 8 * LAYERS, 14 * LAYERS, 2
    assert products == encoder + decoder + others
    forced = jax.make_jaxpr(lambda params: NETWORK.apply(params, {}, (X, X_LENGTH, X_LENGTH)))
    assert len(re.findall("dot_general", str(forced(params())))) == products


@pytest.mark.slow
def test_padding_changes_nothing():
    """Neither what is in the source's padding nor how long the other rows are."""
    y_length = np.array([4, 8, 2])
    length, tokens = apply()(params(), X, X_LENGTH, y_length)
    inside = np.arange(5) < X_LENGTH[:, None]
    others = apply()(params(), np.where(inside, X, 3), X_LENGTH, y_length)
    np.testing.assert_array_equal(others[0], length)
    np.testing.assert_array_equal(others[1], tokens)
    alone = apply()(params(), X[:1, :3], None, y_length[:1])
    np.testing.assert_allclose(alone[0][0], length[0], atol=1e-5)
    np.testing.assert_allclose(alone[1][0, :4], tokens[0, :4], atol=1e-5)


def test_each_position_sees_all_others():
    """Another length is another logit at the first position; so is another end of the source."""
    _, tokens = apply()(params(), X, X_LENGTH, np.array([4, 8, 2]))
    _, longer = apply()(params(), X, X_LENGTH, np.array([5, 8, 2]))
    assert abs(tokens[0, 0] - longer[0, 0]).max() > 1e-3
    np.testing.assert_allclose(tokens[1:, :2], longer[1:, :2], atol=1e-6)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.25, 1.5])
def test_the_length_is_the_likeliest_scaled(scale):
    made = params() | {"length": {**params()["length"], "bias": 9.0 * jax.nn.one_hot(4, 9)}}
    found = sequence.decode_at_once(NETWORK, made, {"x": X, "x_length": X_LENGTH}, scale=scale)
    assert found.lengths.tolist() == [round(4 * scale)] * 3
    assert [len(one) for one in found.sequences()] == found.lengths.tolist()
    assert ((found.tokens > 0).sum(1) == found.lengths).all()
    _, logits = apply()(made, X, X_LENGTH, found.lengths)
    scores = jax.nn.log_softmax(logits)
    best = np.where(np.arange(LONGEST) < found.lengths[:, None], scores[..., 1:].argmax(-1) + 1, 0)
    np.testing.assert_array_equal(found.tokens, best)
    known = np.take_along_axis(np.asarray(scores), best[..., None], 2)[..., 0]
    np.testing.assert_allclose(found.scores, (known * (best > 0)).sum(1), rtol=1e-5)


@pytest.mark.slow
def test_the_loss_in_numpy():
    y, y_length = np.array([[1, 2], [3, 0], [6, 5]]), np.array([2, 1, 2])
    data = {"x": X, "x_length": X_LENGTH, "y": y, "y_length": y_length}
    algorithm = sequence.non_autoregressive(NETWORK, optax.sgd(0.1))
    state = TrainState(jnp.int32(0), params(), {}, optax.sgd(0.1).init(params()))
    length, tokens = map(jax.nn.log_softmax, apply()(params(), X, X_LENGTH, y_length))
    known = [
        -length[b, y_length[b]] - np.mean([tokens[b, t, y[b, t]] for t in range(y_length[b])])
        for b in range(3)
    ]
    found = training.full_loss(algorithm, state, data)(params())
    np.testing.assert_allclose(found, np.mean(known), rtol=1e-5)


A, B, C, D, BEGIN, END = range(1, 7)
BOTH = {(A, B), (C, D)}


def two_translations(count):
    """One source; its translation is ab or cd."""
    y = np.array([[A, B], [C, D]])[np.arange(count) % 2]
    length = np.full(count, 2)
    return {"x": np.ones((count, 1), int), "y": y, "y_length": length}


def valid(network, made):
    one = {"x": np.ones((2000, 1), int)}
    drawn = sequence.decode_at_once(network, made, one, key=jax.random.key(1), batch_size=2000)
    return np.mean([tuple(row) in BOTH for row in drawn.sequences()])


@pytest.mark.slow
def test_two_translations_are_mixed_up_and_are_not_after_distillation():
    data = two_translations(40)
    network = nn.non_autoregressive_transformer(
        2, 7, longest=2, width=8, layers=1, heads=2, hidden=8
    )
    algorithm = sequence.non_autoregressive(network, optax.adam(1e-2))
    fit = functools.partial(
        training.fit, sample=sampling.full(), key=jax.random.key(0), steps=300, chunk=300
    )
    mixed = valid(network, fit(algorithm, data).state.params)
    assert abs(mixed - 0.5) < 4 * 0.5 / 2000**0.5 + 0.01

    teacher = nn.transformer(2, 7, width=8, layers=1, heads=2, hidden=8)
    forced = sequence.teacher_forcing(teacher, optax.adam(1e-2), begin=BEGIN)
    taught = fit(forced, sequence.with_end(data, END)).state.params
    marks = {"begin": BEGIN, "end": END, "size": 2, "maximum_length": 3}
    found = sequence.distilled(teacher, taught, data, **marks)
    assert {tuple(row) for row in found["y"]} < BOTH
    assert found["y_length"].tolist() == [2] * 40
    assert valid(network, fit(algorithm, found).state.params) > 0.99


@pytest.mark.slow
def test_targets_are_what_the_teacher_puts_out():
    teacher = nn.recurrent_seq2seq(6, 7, width=4)
    shapes, _ = jax.eval_shape(teacher.init, jax.random.key(0))
    random = np.random.default_rng(3)
    made = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), shapes)
    made = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), made)
    data = {"x": X, "x_length": X_LENGTH, "y": X, "y_length": X_LENGTH, "mask": X > 0}
    marks = {"begin": BEGIN, "end": END, "maximum_length": 4}
    beam = sequence.decode(teacher, made, data, sequence.decoding.beam, size=3, n_best=2, **marks)
    found = sequence.distilled(teacher, made, data, size=3, n_best=2, **marks)
    known = [row[0] for row in beam.sequences()]
    rows = zip(found["y"], found["y_length"], strict=True)
    assert [row[:n].tolist() for row, n in rows] == known
    assert not (found["y"] == END).any()
    assert (found["y"] > 0).sum(1).tolist() == found["y_length"].tolist()
    assert "mask" not in found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.non_autoregressive_transformer(5, 7, longest=0), "longest to be a whole"),
        (lambda: nn.non_autoregressive_transformer(5, 7, longest=3, width=10), "that 4 heads"),
        (lambda: NETWORK.apply(params(), {}, (X, X_LENGTH, np.array([1, 2, 9]))),
         "target lengths from 0 to 8, got 1 to 9"),
        (lambda: NETWORK.apply(params(), {}, (X + 1, X_LENGTH, X_LENGTH)), "tokens from 0 to 5"),
        (lambda: sequence.non_autoregressive(nn.linear(1, 1), optax.sgd(1.0)),  # type: ignore
         "nn.NonAutoregressive, got Model"),
        (lambda: sequence.decode_at_once(NETWORK, params(), {"y": X}), "sources 'x'"),
        (lambda: sequence.decode_at_once(NETWORK, params(), {"x": X[:0]}), "one source, got 0"),
        (lambda: sequence.decode_at_once(NETWORK, params(), {"x": X}, scale=0.0),
         "scale of the length above 0, got 0.0"),
        (lambda: training.full_loss(
            sequence.non_autoregressive(NETWORK, optax.sgd(1.0)),
            TrainState(jnp.int32(0), params(), {}, ()),
            {"x": X, "y": np.ones((3, 9), int), "y_length": X_LENGTH}),
         "targets of at most 8 tokens, got 9"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
