"""Scheduled sampling against teacher forcing, a network's own passes and greedy decoding."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import nn, sequence, training
from jaxml.core.types import TrainState
from jaxml.sequence.scheduled_sampling import mixed
from jaxml.training import sampling

BEGIN, END = 5, 6
RANDOM = np.random.default_rng(0)
LENGTH = RANDOM.integers(1, 9, 60)
X = RANDOM.integers(1, 5, (60, 8)) * (np.arange(8) < LENGTH[:, None])
DATA = sequence.with_end({"x": X, "x_length": LENGTH, "y": X, "y_length": LENGTH}, END)
RIGHT = sequence.forced(DATA, begin=BEGIN)[2]
REPLACED = np.pad(DATA["mask"], ((0, 0), (1, 0)))[:, :-1]  # where a token before may be
PARAMS: dict[str, Any] = {
    name: np.float32(RANDOM.normal(size=(7, 7))) for name in ("now", "before")
}


def apply(params, model_state, given, *, train=False, key: Any = None):
    """Logits from the source's end, all tokens before and, in training, noise."""
    x, x_length, previous = given
    end = jnp.take_along_axis(x, x_length[:, None] - 1, 1)
    h = params["now"][end] + jnp.tanh(jnp.cumsum(params["before"][previous], 1))
    return h + (jax.random.normal(key, h.shape) if train else 0), model_state


TINY = nn.Seq2Seq(lambda key, x=None: (PARAMS, {}), apply, *3 * [lambda *_: None])


@functools.partial(jax.jit, static_argnames=("own", "passes"))
def mix(probability, key, own="likeliest", passes=1, y=DATA["y"]):
    batch = {**DATA, "y": y}
    params = jax.tree.map(jnp.asarray, PARAMS)
    return mixed(TINY, params, batch, probability, key, begin=BEGIN, own=own, passes=passes)


def logits(previous):
    """By NumPy."""
    end = X[np.arange(60), LENGTH - 1]
    return PARAMS["now"][end][:, None] + np.tanh(np.cumsum(PARAMS["before"][previous], 1))


@pytest.mark.slow
def test_before_any_own_token_it_is_teacher_forcing():
    """With the same noise of the network; own tokens from step 3 on."""
    optimizer, params = optax.sgd(0.1), jax.tree.map(jnp.asarray, PARAMS)
    own = sequence.scheduled_sampling(TINY, optimizer, lambda step: step >= 3, begin=BEGIN)
    right = sequence.teacher_forcing(TINY, optimizer, begin=BEGIN)

    @jax.jit
    def difference(step):
        state = TrainState(step, params, {}, optimizer.init(params))
        one, two = (make.step(state, DATA, jax.random.key(1))[0].params for make in (own, right))
        return jnp.stack([abs(one[name] - two[name]).max() for name in params]).max()

    assert difference(2) < 1e-7
    assert difference(3) > 1e-4
    assert (mix(0.0, jax.random.key(0)) == RIGHT).all()


def test_own_tokens_are_those_of_the_first_pass():
    found = mix(1.0, jax.random.key(0))
    known = np.pad(logits(RIGHT).argmax(-1), ((0, 0), (1, 0)))[:, :-1]
    np.testing.assert_array_equal(found, np.where(REPLACED, known, RIGHT))
    assert (found != RIGHT)[REPLACED].mean() > 0.5  # the network is hardly ever right
    np.testing.assert_array_equal(found[:, 0], BEGIN)


def test_as_many_passes_as_tokens_are_decoding_one_by_one():
    known = np.full((60, 9), BEGIN)
    for t in range(1, 9):
        known[:, t] = logits(known[:, :t])[:, -1].argmax(-1)
    found = mix(1.0, jax.random.key(0), passes=8)
    np.testing.assert_array_equal(found, np.where(REPLACED, known, RIGHT))
    assert (found != mix(1.0, jax.random.key(0)))[REPLACED].any()  # one pass is not enough


@pytest.mark.slow
@pytest.mark.parametrize("made", [nn.transformer, nn.recurrent_seq2seq])
def test_of_networks_too(made):
    network = made(5, 7, width=8, layers=1)
    params, _ = jax.jit(network.init)(jax.random.key(0))
    options: dict[str, Any] = {"begin": BEGIN, "own": "likeliest", "passes": 8}
    found = jax.jit(lambda: mixed(network, params, DATA, 1.0, jax.random.key(0), **options))()
    cache = network.start(jax.jit(network.encode)(params, X, LENGTH), 9)
    step, fed, known = jax.jit(network.step), jnp.full(60, BEGIN), []
    for _ in range(9):
        known.append(fed)
        values, cache, _ = step(params, fed, cache)
        fed = values.argmax(-1)
    np.testing.assert_array_equal(found, np.where(REPLACED, jnp.stack(known, 1), RIGHT))


@pytest.mark.slow
def test_shares_and_samples():
    """Of 40 draws: how often an own token, and which."""
    tokens = jnp.stack([mix(0.3, jax.random.key(i), own="sample") for i in range(40)])
    probabilities = np.asarray(jax.nn.softmax(logits(RIGHT)))
    probabilities = np.pad(probabilities, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    found = np.asarray(jax.nn.one_hot(tokens, 7))[:, REPLACED].mean((0, 1))
    known = 0.3 * probabilities[REPLACED] + 0.7 * np.eye(7)[RIGHT[REPLACED]]
    error = np.sqrt((known * (1 - known)).mean(0) / (40 * REPLACED.sum()))
    assert (abs(found - known.mean(0)) < 4 * error + 1e-6).all()


def test_padding_is_never_replaced():
    found = mix(1.0, jax.random.key(0))
    np.testing.assert_array_equal(found[~REPLACED], RIGHT[~REPLACED])
    other = mix(1.0, jax.random.key(0), y=np.where(DATA["mask"], DATA["y"], 3))
    np.testing.assert_array_equal(other[REPLACED], found[REPLACED])


@pytest.mark.slow
def test_the_probability_may_be_a_hyperparameter():
    def algorithm(p):
        return sequence.scheduled_sampling(TINY, optax.sgd(0.1), p, begin=BEGIN)

    run = training.fit_many(
        algorithm, DATA, sampling.epochs(20), keys=jnp.stack(2 * [jax.random.key(0)]),
        hyperparameters={"p": [0.0, 1.0]}, steps=2, chunk=2,
    )  # fmt: skip
    right, own = run.history["loss"]
    assert abs(right - own).min() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [({"probability": 1.5}, "a probability from 0 to 1, or a function of the step, got 1.5"),
     ({"probability": "half"}, "a probability from 0 to 1"),
     ({"probability": np.array([0.1])}, "a probability from 0 to 1"),
     ({"own": "beam"}, "own to be"), ({"passes": 0}, "passes"),
     ({"network": nn.linear(1, 1)}, "a network nn.Seq2Seq, got Model"),
     ({"accumulate": 0}, "accumulate")],
)  # fmt: skip
def test_bad_input(options, message):
    given: dict[str, Any] = {
        "network": TINY,
        "optimizer": optax.sgd(0.1),
        "probability": 0.5,
        "begin": BEGIN,
    }
    with pytest.raises(ValueError, match=message):
        sequence.scheduled_sampling(**given | options)
