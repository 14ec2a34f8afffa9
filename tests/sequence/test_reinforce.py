"""Learning from rewards, on tables whose expected reward and its gradient can be written down."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from jaxml import training
from jaxml.course.chapter_05 import toy
from jaxml.sequence import decoding, reinforce
from jaxml.training import sampling

LENGTH = 4
FLOORED = np.log(np.exp(toy.table_of(toy.SEQUENCES, toy.VOCABULARY)) + 0.02).astype(np.float32)
ONE = {"x": jnp.zeros(1, int)}


def letters_of_abc(tokens, lengths, batch):
    return (tokens[:, :3] == jnp.array([toy.A, toy.B, toy.C])).sum(1)


def cache_of(params, batch):
    return {"node": batch["x"], "fed": batch["x"]}


def made(table=FLOORED, reward=letters_of_abc, optimizer=None, **changed):
    options = {"begin": toy.BEGIN, "end": toy.END, "maximum_length": LENGTH} | changed
    optimizer = optax.sgd(1.0) if optimizer is None else optimizer
    return reinforce(
        lambda key: jnp.asarray(table), cache_of, toy.step, reward, optimizer, **options
    )


def enumerated_gradient(table):
    """Of the expected reward in the logits, P(node) π(a) (Q(node, a) − V(node)); and it itself."""
    vocabulary = table.shape[1]
    policy = np.exp(log_softmax(np.where(np.arange(vocabulary), table, -np.inf), axis=1))
    gradient = np.zeros(table.shape)

    def value(tokens, reached):
        if len(tokens) == LENGTH or tokens[-1:] == (toy.END,):
            return sum(a == b for a, b in zip(tokens, (toy.A, toy.B, toy.C), strict=False))
        row = toy.node(tokens, vocabulary)
        p = policy[row]
        q = np.array([value((*tokens, a), reached * p[a]) if a else 0 for a in range(vocabulary)])
        gradient[row] = reached * p * (q - p @ q)
        return p @ q

    return gradient, value((), 1.0)


@functools.cache
def gradients(baseline, draws=4000):
    algorithm = made(baseline=baseline)
    state = algorithm.init(jax.random.key(0))

    @jax.jit
    @jax.vmap
    def of(key):
        after, metrics = algorithm.step(state, ONE, key)
        return after.params - state.params, metrics["reward"]

    found, rewards = of(jax.random.split(jax.random.key(1), draws))
    return np.asarray(found, np.float64), np.asarray(rewards)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["greedy", "none"])
def test_the_mean_gradient_is_the_enumerated_one(baseline):
    known, value = enumerated_gradient(FLOORED)
    found, rewards = gradients(baseline)
    error = found.std(0) / len(found) ** 0.5
    seen = (error > 0) & ((found != 0).sum(0) > 20)  # where 4 standard errors are an interval
    assert seen.sum() > 20
    z = (found.mean(0) - known)[seen] / error[seen]
    assert np.abs(z).max() < 4
    assert np.abs(known[seen] / error[seen]).max() > 20  # a gradient of zero would be noticed
    assert abs(rewards.mean() - value) < 4 * rewards.std() / len(rewards) ** 0.5


@pytest.mark.slow
def test_the_baseline_makes_the_variance_smaller():
    known = {name: gradients(name)[0].var(0).sum() for name in ("greedy", "none")}
    assert known["greedy"] < 0.8 * known["none"]


def learned(**options):
    algorithm = made(optimizer=optax.adam(0.2), **options)
    return training.fit(
        algorithm, {"x": jnp.zeros(32, int)}, sampling.full(), key=jax.random.key(0), steps=60
    )


@pytest.mark.slow
def test_the_policy_comes_to_abc():
    run = learned()
    best = decoding.greedy(
        toy.step, run.state.params, toy.start(1), begin=toy.BEGIN, end=toy.END, maximum_length=4
    )
    assert toy.spelled(best.tokens[0])[:3] == "abc"
    assert run.history["reward"][0] < 2
    assert run.history["reward"][-1] > 2.9
    assert run.history["baseline"][-1] == 3
    first = decoding.greedy(
        toy.step, FLOORED, toy.start(1), begin=toy.BEGIN, end=toy.END, maximum_length=4
    )
    assert toy.spelled(first.tokens[0])[0] == "d"
    assert np.isfinite(run.state.params).all()


def test_weights_weigh():
    """An example of weight 0 is as if it were not there."""
    algorithm = made(
        reward=lambda tokens, lengths, batch: lengths * batch["worth"], baseline="none"
    )
    state = algorithm.init(jax.random.key(0))
    batch = {
        "x": jnp.zeros(2, int),
        "worth": jnp.array([0.0, 9.0]),
        "weights": jnp.array([1.0, 0.0]),
    }
    after, metrics = jax.jit(algorithm.step)(state, batch, jax.random.key(0))
    assert float(metrics["reward"]) == 0
    np.testing.assert_array_equal(after.params, state.params)


@pytest.mark.slow
def test_a_reward_that_is_not_finite_is_reported():
    def reward(tokens, lengths, batch):
        return jnp.where(tokens[:, 0] == toy.A, jnp.inf, 0.0)

    with pytest.raises(training.NonFiniteError, match="metric 'reward' became inf at step 1"):
        learned(reward=reward)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="baseline to be one of greedy, none, got 'mean'"):
        made(baseline="mean")
    with pytest.raises(ValueError, match="reward as a function, got 3"):
        made(reward=3)
    with pytest.raises(ValueError, match="an optax optimizer, got 3"):
        made(optimizer=3)
    with pytest.raises(ValueError, match="one value per example"):
        learned(reward=lambda tokens, lengths, batch: lengths.sum())
    with pytest.raises(ValueError, match="begin and end to be two tokens"):
        learned(begin=2)
