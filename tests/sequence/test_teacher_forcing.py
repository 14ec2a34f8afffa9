"""Teacher forcing, and decoding whole splits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import nn, sequence, training
from jaxml.sequence import decoding
from jaxml.training import optimizers, sampling

BEGIN, END = 5, 6
NETWORK = nn.transformer(5, 7, width=16, layers=1, heads=2)
RANDOM = np.random.default_rng(0)


def copies(count):
    """Sequences of 1 to 4 tokens, to be copied."""
    length = RANDOM.integers(1, 5, count)
    x = RANDOM.integers(1, 5, (count, 4)) * (np.arange(4) < length[:, None])
    return {"x": x, "x_length": length, "y": x, "y_length": length}


DATA = copies(200)


def test_an_end_behind_each_target():
    data = {"y": np.array([[1, 2, 3], [4, 0, 0], [0, 0, 0]]), "y_length": np.array([3, 1, 0])}
    found = sequence.with_end(data | {"x": data["y"]}, 6)
    assert found["y"].tolist() == [[1, 2, 3, 6], [4, 6, 0, 0], [6, 0, 0, 0]]
    assert found["mask"].sum(1).tolist() == [4, 2, 1]
    assert sorted(found) == ["mask", "x", "y"]


@pytest.mark.slow
def test_the_loss_is_the_mean_over_tokens():
    algorithm = sequence.teacher_forcing(NETWORK, optax.sgd(0.1), begin=BEGIN)
    data = sequence.with_end({name: rows[:6] for name, rows in DATA.items()}, END)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    params = state.params
    found = training.full_loss(algorithm, state, data)(params)
    apply, total, count = jax.jit(NETWORK.apply), 0.0, 0
    for i in range(6):
        n, m = DATA["x_length"][i], DATA["y_length"][i]
        y = [*DATA["y"][i, :m], END]
        previous = jnp.array([[BEGIN, *y[:-1], *[0] * (5 - len(y))]])
        given = (DATA["x"][i : i + 1], np.array([n]), previous)
        chance = jax.nn.log_softmax(apply(params, {}, given)[0][0])
        total -= sum(float(chance[t, token]) for t, token in enumerate(y))
        count += len(y)
    np.testing.assert_allclose(found, total / count, rtol=1e-5)


@pytest.fixture(scope="module")
def trained():
    algorithm = sequence.teacher_forcing(NETWORK, optimizers.adam(1e-2), begin=BEGIN)
    data = sequence.with_end(DATA, END)
    buckets = sampling.buckets(data["mask"].sum(1), [3, 5], 160)
    run = training.fit(
        buckets.cut(algorithm), data, buckets, key=jax.random.key(0), steps=300, chunk=300
    )
    return run.state.params


@pytest.mark.slow
def test_it_copies_and_is_decoded_a_batch_at_a_time(trained):
    new = copies(50)
    marks = {"begin": BEGIN, "end": END, "maximum_length": 6}
    found = sequence.decode(NETWORK, trained, new, batch_size=20, **marks)
    right = [x[:n].tolist() for x, n in zip(new["x"], new["x_length"], strict=True)]
    assert np.mean([a == b for a, b in zip(found.sequences(), right, strict=True)]) > 0.9
    seen = []
    beams = sequence.decode(
        NETWORK, trained, new, decoding.beam, size=3, n_best=2, batch_size=20, attention=True,
        on_progress=lambda done, of: seen.append((done, of)), **marks,
    )  # fmt: skip
    assert seen == [(20, 50), (40, 50), (50, 50)]
    assert beams.tokens.shape == (50, 2, 6)
    assert beams.attention.shape == (50, 2, 6, 1, 4)
    assert (beams.scores[:, 0] >= found.scores - 1e-4).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: sequence.with_end({"y": np.array([[6]]), "y_length": np.array([1])}, 6),
      "an end that is no token of the targets, got 6"),
     (lambda: sequence.with_end({"y": np.array([[1]]), "y_length": np.array([2])}, 6),
      "y_length of shape .* up to 1, got"),
     (lambda: sequence.with_end({"y": np.array([[1]])}, 6), "data with 'y_length', got"),
     (lambda: sequence.teacher_forcing(nn.linear(1, 1), optax.sgd(1.0), begin=1),  # type: ignore
      "a network nn.Seq2Seq, got Model"),
     (lambda: sequence.decode(NETWORK, {}, {"y": 1}, maximum_length=3), "sources 'x'"),
     (lambda: sequence.decode(NETWORK, {}, {"x": np.zeros((0, 3), int)}, maximum_length=3),
      "at least one source, got 0")],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
