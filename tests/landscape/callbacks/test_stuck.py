"""A saddle on which SGD stays is left by the hook, exactly as often when resumed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import data, landscape, nn, training
from jaxml.training import losses, optimizers, saddles, sampling

KEY = jax.random.key(0)


def algorithm_with(optimizer):
    model = nn.mlp([64, 4, 10], activation="tanh")
    return training.supervised(model, losses.softmax_cross_entropy, optimizer, l2=1e-3)


@pytest.fixture(scope="module")
def rows():
    return {name: values[:200] for name, values in data.load("digits").train.items()}


def dead(params, units):
    """The network with its first hidden units' weights set to zero."""
    first, second = dict(params["dense_0"]), dict(params["dense_1"])
    first["kernel"] = first["kernel"].at[:, :units].set(0)
    second["kernel"] = second["kernel"].at[:units].set(0)
    return {"dense_0": first, "dense_1": second}


def is_dead(params, units):
    return not params["dense_0"]["kernel"][:, :units].any()


@functools.cache
def on_the_saddle(optimizer):
    algorithm = algorithm_with(optimizer)
    state = algorithm.init(KEY)
    return algorithm, state.replace(params=dead(state.params, 2))


SGD = optimizers.sgd(0.5)


@pytest.mark.slow
def test_sgd_stays_and_the_hook_leaves(rows):
    """The gradient of a dead unit's weights is exactly zero on every minibatch."""
    algorithm, start = on_the_saddle(SGD)
    fit = functools.partial(training.fit, algorithm, rows, sampling.epochs(20), key=KEY, chunk=500)
    stays = fit(steps=3000, state=start)
    assert is_dead(stays.state.params, 2)
    loss = training.full_loss(algorithm, start, rows)
    leaving = landscape.leaving_saddles(lambda state: training.full_loss(algorithm, state, rows))
    left = fit(steps=3000, state=start, hooks=[leaving])
    assert len(leaving.escapes) >= 1
    assert not is_dead(left.state.params, 1)
    assert loss(left.state.params) < 0.8 * loss(stays.state.params)
    for step, out in leaving.escapes.items():
        assert step % 500 == 0
        assert out.loss < 0.999 * out.path["loss"][0]


@pytest.mark.slow
def test_perturbed_gradient_descent_leaves_it(rows):
    """From the polished saddle, where plain gradient descent stays."""
    algorithm, start = on_the_saddle(SGD)
    loss = training.full_loss(algorithm, start, rows)
    below = landscape.descend(loss, start.params, max_steps=2000)
    assert is_dead(below.params, 2)
    perturbed, _ = on_the_saddle(saddles.perturbed_gradient_descent(0.5))
    for each, expected in ((algorithm, True), (perturbed, False)):
        state = each.init(KEY).replace(params=below.params)
        run = training.fit(
            each, rows, sampling.full(), key=KEY, steps=1500, chunk=1500, state=state
        )
        assert is_dead(run.state.params, 2) == expected
        assert (loss(run.state.params) < 0.9 * below.loss) != expected


@pytest.mark.slow
def test_a_resumed_run_takes_the_same_escapes(rows, tmp_path):
    algorithm, start = on_the_saddle(SGD)
    objective = lambda state: training.full_loss(algorithm, state, rows)  # noqa: E731
    fit = functools.partial(training.fit, algorithm, rows, sampling.epochs(20), key=KEY, chunk=500)
    leaving = landscape.leaving_saddles(objective)
    whole = fit(steps=3000, state=start, hooks=[leaving, training.checkpoint(tmp_path, keep=9)])
    assert leaving.escapes
    first = min(leaving.escapes)  # saved as it was left
    saved = training.restore(tmp_path, start, step=first)
    jax.tree.map(np.testing.assert_array_equal, saved.params, leaving.escapes[first].params)
    again = landscape.leaving_saddles(objective)
    resumed = fit(steps=3000 - first, state=saved, hooks=[again])
    jax.tree.map(np.testing.assert_array_equal, resumed.state.params, whole.state.params)
    assert {*again.escapes} == {*leaving.escapes} - {first}


def test_nothing_is_done_at_a_minimum_or_on_the_way(rows):
    metrics = {"loss": np.full(10, 3.0)}
    state = training.supervised(nn.linear(1, 1), losses.mse, SGD).init(KEY)
    bowl = landscape.leaving_saddles(lambda state: sum_of_squares)
    at_zero = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
    assert bowl(training.Chunk(10, 20, at_zero, metrics)) is None

    def never(state):
        raise AssertionError("a training that gets on is left alone")

    falling = {"loss": np.linspace(3.0, 2.0, 10)}
    assert landscape.leaving_saddles(never)(training.Chunk(10, 20, state, falling)) is None
    single = {"loss": np.ones(1)}
    assert landscape.leaving_saddles(never)(training.Chunk(10, 20, state, single)) is None
    with pytest.raises(ValueError, match="a chunk of `fit`, got one of 4 lanes"):
        bowl(training.Chunk(10, 20, state, {"loss": np.ones((4, 10))}))


def sum_of_squares(params):
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((3,), r"a function, state -> loss\(params\), got 3"),
        ((len, 0), "a share between 0 and 1, got 0"),
        ((len, 1.5), "a share between 0 and 1, got 1.5"),
    ],
)
def test_bad_options(arguments, match):
    with pytest.raises(ValueError, match=match):
        landscape.leaving_saddles(arguments[0], **dict(zip(["share"], arguments[1:], strict=False)))
