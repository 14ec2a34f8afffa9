"""Averages of parameters against recursions by hand and PyTorch's."""

import functools

import jax
import numpy as np
import pytest

from jaxml import nn, training
from jaxml.training import averaging, losses, optimizers, sampling

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
DATA = {"x": np.float32(RNG.normal(size=(12, 3))), "y": RNG.integers(0, 2, 12)}
MODEL = nn.mlp([3, 4, 2], norm="batch")
PLAIN = training.supervised(MODEL, losses.softmax_cross_entropy, optimizers.sgd(0.3))
fit = functools.partial(training.fit, data=DATA, sample=sampling.epochs(4), key=KEY)


def weights(tree):
    return np.asarray(tree["dense_0"]["kernel"], np.float64)


@pytest.fixture(scope="module")
def path():
    """The parameters before the first and after each of 12 steps of the plain algorithm."""
    kept = training.snapshots()
    fit(PLAIN, steps=12, chunk=1, hooks=[kept])
    first = PLAIN.init(jax.random.split(KEY)[0]).params
    return [weights(first), *weights(kept.params)]


def recursion(path, decay):
    mean = path[0]
    for t, new in enumerate(path[1:], 1):
        mean = decay(t) * mean + (1 - decay(t)) * new
    return mean


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            functools.partial(averaging.moving_average, decay=0.5),
            lambda path: recursion(path, lambda t: min(0.5, (1 + t) / (10 + t))),
        ),
        (averaging.moving_average, lambda path: recursion(path, lambda t: (1 + t) / (10 + t))),
        (averaging.uniform_average, lambda path: np.mean(path[1:], 0)),
        (
            functools.partial(averaging.uniform_average, start=5),
            lambda path: np.mean(path[6:], 0),
        ),
        (functools.partial(averaging.uniform_average, start=12), lambda path: path[-1]),
    ],
)
def test_averages_are_their_formulas(make, expected, path):
    run = fit(make(PLAIN), steps=12, chunk=12)
    np.testing.assert_allclose(weights(run.state.params), expected(path), rtol=1e-5)
    np.testing.assert_allclose(weights(run.state.inner.params), path[-1], rtol=1e-6)


@pytest.mark.slow
def test_whoever_looks_at_a_state_sees_the_average(tmp_path):
    """A checkpoint's fields, evaluation and the full loss; and a run goes on to the bit."""
    algorithm = averaging.moving_average(PLAIN, 0.9)
    whole = fit(algorithm, steps=8, chunk=4, hooks=[training.checkpoint(tmp_path / "run")])
    state = training.restore(tmp_path / "run", algorithm.init(KEY), step=4)
    rest = fit(algorithm, steps=4, state=state)
    jax.tree.map(np.testing.assert_array_equal, rest.state, whole.state)
    shapes = jax.eval_shape(algorithm.init, KEY)
    fields = {"params": shapes.params, "model_state": shapes.model_state}
    found = training.restore_fields(tmp_path / "run", fields)
    jax.tree.map(np.testing.assert_array_equal, found["params"], whole.state.params)
    measure = {"loss": losses.softmax_cross_entropy}
    values = [
        training.evaluate(MODEL, of, DATA, measure)["loss"]
        for of in (whole.state, whole.state.inner)
    ]
    loss = training.full_loss(algorithm, whole.state, DATA)
    assert float(loss(whole.state.params)) == pytest.approx(values[0], rel=1e-5)
    assert abs(values[0] - values[1]) > 1e-4
    many = training.fit_many(
        algorithm, DATA, sampling.epochs(4), keys=jax.random.split(KEY), steps=3
    )
    assert weights(many.state.params).shape == (2, 3, 4)


@pytest.mark.oracle
def test_the_mean_of_all_steps_is_torchs():
    """`AveragedModel` over the same least squares."""
    torch = pytest.importorskip("torch")
    x = np.float32(RNG.normal(size=(12, 2)))
    y = x @ np.float32([1, -2])
    line = nn.linear(2, 1)
    algorithm = averaging.uniform_average(
        training.supervised(line, losses.mse, optimizers.momentum(0.05))
    )
    start = line.init(jax.random.split(KEY)[0])[0]["dense_0"]
    module = torch.nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor(np.asarray(start["kernel"]).T.copy()))
        module.bias.copy_(torch.tensor(np.asarray(start["bias"])))
    mean = torch.optim.swa_utils.AveragedModel(module)
    descent = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
    for _ in range(20):
        descent.zero_grad()
        ((module(torch.tensor(x))[:, 0] - torch.tensor(y)) ** 2).mean().backward()
        descent.step()
        mean.update_parameters(module)
    run = training.fit(algorithm, {"x": x, "y": y}, sampling.full(), key=KEY, steps=20)
    found = run.state.params["dense_0"]
    np.testing.assert_allclose(
        np.asarray(found["kernel"]).T, mean.module.weight.detach(), rtol=1e-4
    )
    np.testing.assert_allclose(found["bias"], mean.module.bias.detach(), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: averaging.moving_average(PLAIN, 1.0), r"decay in \[0, 1\), got 1.0"),
        (lambda: averaging.moving_average(MODEL), "an Algorithm, got Model"),
        (lambda: averaging.uniform_average(PLAIN, -1), "start of at least 0, got -1"),
    ],
)
def test_what_is_no_average_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_average_of_states_is_that_of_their_parameters(path, tmp_path):
    """Of the last three checkpoints, read back."""
    saved = training.checkpoint(tmp_path, keep=3)
    state = fit(PLAIN, steps=12, chunk=1, hooks=[saved]).state
    states = [training.restore(tmp_path, state, step=step) for step in (10, 11, 12)]
    found = averaging.average_parameters(states)
    np.testing.assert_allclose(weights(found), np.mean(path[10:], 0), rtol=1e-6)
    assert jax.tree.map(lambda leaf: leaf.dtype, found) == jax.tree.map(
        lambda leaf: leaf.dtype, state.params
    )


def test_states_that_have_no_average():
    with pytest.raises(ValueError, match="at least one state, got none"):
        averaging.average_parameters([])
    states = [training.start(nn.linear(n, 1), optimizers.sgd(0.1), KEY) for n in (2, 3)]
    with pytest.raises(ValueError, match=r"in every state, got .*\(3, 1\)"):
        averaging.average_parameters(states)
