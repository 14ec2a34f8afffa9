"""Copying: the mixture in NumPy, and words that the network has no output for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import nn, sequence, training
from jaxml.sequence import decoding
from jaxml.sequence.pointer_generator import mixture

VOCABULARY, EXTRA, UNKNOWN, BEGIN, END = 7, 3, 1, 2, 3
SIZE = VOCABULARY + EXTRA
SOURCE = np.array([[5, 8, 7, 8, 0], [7, 6, 9, 7, 8], [4, 4, 0, 0, 0]])
LENGTHS = np.array([4, 5, 2])
TARGET = np.array([[2, 8, 7, 5], [2, 6, 6, 9], [2, 4, 5, 7]])
NETWORKS = {
    "recurrent": nn.recurrent_seq2seq(VOCABULARY, VOCABULARY + 1, width=6),
    "transformer": nn.transformer(VOCABULARY, VOCABULARY + 1, width=8, layers=2, heads=2),
}


@functools.cache
def made(kind):
    network = NETWORKS[kind]
    copying = sequence.pointer_generator(network, VOCABULARY, extra=EXTRA, unknown=UNKNOWN)
    shapes, _ = jax.eval_shape(copying.init, jax.random.key(0))
    random = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(0.5 * random.normal(size=leaf.shape), leaf.dtype)  # noqa: E731
    params = jax.tree.map(draw, shapes)
    # so that it rather copies
    output = params["decoder"]["output"]
    output["bias"] = output["bias"].at[-1].set(-2.0)
    return copying, params


@functools.cache
def outputs(kind):
    copying, params = made(kind)
    return jax.jit(lambda params: copying.apply(params, {}, (SOURCE, LENGTHS, TARGET))[0])(params)


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_mixture_in_numpy(kind):
    """Word by word, of what the network says that reads the unknown word in the others' place."""
    _, params = made(kind)
    seen = [np.where(tokens < VOCABULARY, tokens, UNKNOWN) for tokens in (SOURCE, TARGET)]
    look = jax.jit(NETWORKS[kind].look)  # type: ignore[arg-type]
    logits, attention = map(np.asarray, look(params, (seen[0], LENGTHS, seen[1])))
    last = attention[:, :, -1]
    np.testing.assert_allclose(last.sum(-1), 1, rtol=1e-5)
    known = np.zeros((*TARGET.shape, SIZE))
    for b in range(len(SOURCE)):
        for t in range(TARGET.shape[1]):
            share = 1 / (1 + np.exp(-logits[b, t, -1]))
            raised = np.exp(logits[b, t, :-1])
            known[b, t, :VOCABULARY] = share * raised / raised.sum()
            for i in range(LENGTHS[b]):
                known[b, t, SOURCE[b, i]] += (1 - share) * last[b, t, i]
    found = np.exp(outputs(kind))
    np.testing.assert_allclose(found, known, atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    assert known[0, :, 8].min() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_token_by_token_is_all_at_once(kind):
    copying, params = made(kind)
    cache = copying.start(jax.jit(copying.encode)(params, SOURCE, LENGTHS), TARGET.shape[1])
    step, given = jax.jit(copying.step), (SOURCE, LENGTHS, TARGET)
    _, looks = jax.jit(lambda params: copying.look(params, given))(params)  # type: ignore[misc]
    for t in range(TARGET.shape[1]):
        found, cache, attention = step(params, TARGET[:, t], cache)
        np.testing.assert_allclose(found, outputs(kind)[:, t], atol=1e-5)
        assert attention.shape == (3, 1 if kind == "recurrent" else 2, 5)
        np.testing.assert_allclose(attention, looks[:, t], atol=1e-5)


def test_words_outside_the_vocabulary_are_alike_to_the_network():
    """Other numbers for them are other numbers in what is put out."""
    copying, params = made("recurrent")
    other = np.array([*range(VOCABULARY), 9, 7, 8])
    apply = jax.jit(lambda params, *given: copying.apply(params, {}, given)[0])
    found = apply(params, other[SOURCE], LENGTHS, other[TARGET])
    np.testing.assert_allclose(found[..., other], outputs("recurrent"), atol=1e-5)


@pytest.mark.slow
def test_a_vocabulary_of_all_words_has_no_others():
    """What is put out of tokens within it is the same whether or not there could be others."""
    network, params = NETWORKS["transformer"], made("transformer")[1]
    copying = sequence.pointer_generator(network, VOCABULARY, extra=0, unknown=UNKNOWN)
    known = np.minimum(SOURCE, VOCABULARY - 1), LENGTHS, np.minimum(TARGET, VOCABULARY - 1)
    found, wider = (
        np.exp(jax.jit(lambda params, of=of: of.apply(params, {}, known)[0])(params))
        for of in (copying, made("transformer")[0])
    )
    assert found.shape == (3, 4, VOCABULARY)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(found, wider[..., :VOCABULARY], atol=1e-6)


@pytest.mark.slow
def test_extremes_have_logarithms_and_gradients():
    x = np.array([[3, 1]])
    logits = jnp.array([[[0.0, 9e3, 1e4, -1e4], [0.0, 1e4, 0.0, 1e4]]])
    attention = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    found = mixture(logits, attention, x, 4)
    np.testing.assert_allclose(np.exp(found), [[[0, 0, 0, 1], [0, 1, 0, 0]]], atol=1e-6)
    total = lambda logits, attention: mixture(logits, attention, x, 4).sum()  # noqa: E731
    assert all(np.isfinite(g).all() for g in jax.grad(total, (0, 1))(logits, attention))
    smoothed = {"x": x, "y": np.array([[3, 2]])}
    losses = training.losses.softmax_cross_entropy(found, smoothed, 0.1)
    assert np.isfinite(losses).all()


@pytest.mark.slow
def test_it_is_decoded_as_any_other():
    copying, params = made("recurrent")
    data = {"x": SOURCE, "x_length": LENGTHS}
    marks = {"begin": BEGIN, "end": END, "maximum_length": 4}
    for search, options in ((decoding.greedy, {}), (decoding.beam, {"size": 3})):
        found = sequence.decode(copying, params, data, search, **marks, **options)
        tokens, scores = (a[:, 0] if options else a for a in (found.tokens, found.scores))
        previous = np.concatenate([np.full((3, 1), BEGIN), tokens[:, :-1]], 1)
        logits = jax.jit(lambda *given: copying.apply(params, {}, given)[0])
        chances = jax.nn.log_softmax(logits(SOURCE, LENGTHS, previous))
        each = np.take_along_axis(np.asarray(chances), tokens[..., None], 2)[..., 0]
        inside = np.arange(4) < found.lengths.reshape(3, -1)[:, :1]
        np.testing.assert_allclose((each * inside).sum(1), scores, rtol=1e-5)
    assert (found.tokens >= VOCABULARY).any()


@pytest.mark.slow
def test_it_learns_to_copy_what_it_never_saw():
    """Two words in their order; those of the test are outside of the vocabulary."""
    network = nn.recurrent_seq2seq(VOCABULARY, VOCABULARY + 1, width=16, attention="location")
    random = np.random.default_rng(0)
    x = random.integers(4, 60, (400, 3))
    data = {"x": x, "y": x, "y_length": np.full(400, 3)}
    marks = {"extra": 3, "unknown": UNKNOWN}
    copying = sequence.pointer_generator(network, VOCABULARY, **marks)
    split = sequence.with_end(sequence.extended(data, VOCABULARY, **marks)[0], END)
    algorithm = sequence.teacher_forcing(copying, optax.adam(2e-2), begin=BEGIN)
    run = training.fit(
        algorithm, split, training.sampling.epochs(40), key=jax.random.key(0), steps=150, chunk=150
    )
    new, words = sequence.extended({"x": np.array([[70, 80, 70]])}, VOCABULARY, **marks)
    found = sequence.decode(
        copying, run.state.params, new, begin=BEGIN, end=END, maximum_length=5
    ).sequences()
    assert words[0][np.array(found[0]) - VOCABULARY].tolist() == [70, 80, 70]


def test_words_are_numbered_in_each_row():
    data = {
        "x": np.array([[90, 3, 80, 90], [2, 80, 0, 0]]),
        "x_length": np.array([4, 2]),
        "y": np.array([[80, 90, 70], [80, 90, 0]]),
    }
    found, words = sequence.extended(data, 10, extra=2, unknown=1)
    assert found["x"].tolist() == [[10, 3, 11, 10], [2, 10, 0, 0]]
    assert found["y"].tolist() == [[11, 10, 1], [10, 1, 0]]
    assert words.tolist() == [[90, 80], [80, -1]]
    assert found["x_length"] is data["x_length"]


GIVEN = {"extra": EXTRA, "unknown": UNKNOWN}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sequence.pointer_generator(NETWORKS["recurrent"]._replace(look=None), 7, **GIVEN),
         "tells where it looks, got one without"),
        (lambda: sequence.pointer_generator(NETWORKS["recurrent"], 7, extra=-1, unknown=1),
         "extra to be a whole number of at least 0, got -1"),
        (lambda: sequence.pointer_generator(NETWORKS["recurrent"], 7, extra=1, unknown=7),
         "unknown to be a token from 0 to 6, got 7"),
        (lambda: made("recurrent")[0].encode(made("recurrent")[1], SOURCE + 2, LENGTHS),
         r"sources with tokens from 0 to 9, got \[10\]"),
        (lambda: made("recurrent")[0].encode(made("recurrent")[1], SOURCE * 1.0, LENGTHS),
         "sources to be of whole numbers, got float"),
        (lambda: mixture(jnp.zeros((1, 1, 7)), jnp.ones((1, 1, 2)), SOURCE[:1, :2], 5),
         "at most 6 outputs, got 7"),
        (lambda: sequence.extended({"y": SOURCE}, 7, **GIVEN), "data with sources 'x'"),
        (lambda: sequence.extended({"x": np.arange(12)[None]}, 7, **GIVEN),
         "at most 3 words outside the vocabulary in a source, got 5 in that at 0"),
        (lambda: sequence.extended({"x": SOURCE, "y": SOURCE[:2]}, 7, **GIVEN),
         r"y of shape \(3, k\), got \(2, 5\)"),
        (lambda: sequence.extended({"x": SOURCE / 2}, 7, **GIVEN), "x to be of whole numbers"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
