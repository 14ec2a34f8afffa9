"""Supervised learning against least squares, ridge regression and hand-computed means."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import data, nn
from jaxml.training import (
    evaluate,
    fit,
    full_loss,
    losses,
    metrics,
    optimizers,
    sampling,
    supervised,
)

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
TEACHER = data.load("linear_teacher", n=150, inputs=3, noise=0.5)
# a network that behaves differently in training in two ways
NOISY = nn.mlp([3, 4, 2], norm="batch", dropout=0.5)
BATCH = {"x": RNG.normal(size=(9, 3)).astype(np.float32), "y": RNG.integers(0, 2, 9)}


@functools.cache
def trained():
    """The noisy network after a few steps: its moving averages have moved."""
    algorithm = supervised(NOISY, losses.softmax_cross_entropy, optimizers.sgd(0.1), l2=0.2)
    return algorithm, fit(algorithm, BATCH, sampling.full(), key=KEY, steps=5, chunk=5).state


def design(split):
    return np.c_[split["x"], np.ones(len(split["x"]))].astype(float)


def solution(params):
    return np.r_[params["dense_0"]["kernel"][:, 0], params["dense_0"]["bias"]]


@functools.cache
def least_squares(l2):
    algorithm = supervised(nn.linear(3, 1), losses.mse, optimizers.momentum(0.1), l2=l2)
    run = fit(algorithm, TEACHER.train, sampling.full(), key=KEY, steps=300, chunk=300)
    return algorithm, run


def test_descent_reaches_ordinary_least_squares():
    _, run = least_squares(0.0)
    A, y = design(TEACHER.train), TEACHER.train["y"][:, 0]
    expected, residual, *_ = np.linalg.lstsq(A, y, rcond=None)
    np.testing.assert_allclose(solution(run.state.params), expected, atol=1e-5)
    assert run.history["loss"][-1] == pytest.approx(residual[0] / len(y), rel=1e-5)
    assert run.history["gradient_norm"][-1] < 1e-5


@pytest.mark.parametrize("l2", [0.3, np.float32(0.3)])
def test_l2_is_ridge_regression(l2):
    _, run = least_squares(l2)
    A, y = design(TEACHER.train), TEACHER.train["y"][:, 0]
    expected = np.linalg.solve(A.T @ A * 2 / len(y) + 0.3 * np.eye(4), A.T @ y * 2 / len(y))
    np.testing.assert_allclose(solution(run.state.params), expected, atol=1e-5)
    objective = ((A @ expected - y) ** 2).mean() + 0.15 * (expected**2).sum()
    assert run.history["loss"][-1] == pytest.approx(objective, rel=1e-5)


def test_the_first_step_is_the_hand_computed_one():
    """The recorded loss and gradient norm are from before the update."""
    algorithm = supervised(nn.linear(3, 1), losses.mse, optimizers.sgd(0.1), l2=0.3)
    state = algorithm.init(KEY)
    batch = jax.tree.map(lambda leaf: leaf[:10], TEACHER.train)
    new, record = jax.jit(algorithm.step)(state, batch, KEY)
    A, y, w = design(batch), batch["y"][:, 0], solution(state.params)
    gradient = 2 / 10 * A.T @ (A @ w - y) + 0.3 * w
    np.testing.assert_allclose(solution(new.params), w - 0.1 * gradient, atol=1e-6)
    assert float(record["gradient_norm"]) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    objective = ((A @ w - y) ** 2).mean() + 0.15 * w @ w
    assert float(record["loss"]) == pytest.approx(objective, rel=1e-5)


def test_weights_are_repeats():
    repeats = np.array([1, 3, 0, 2, 1, 1, 0, 4, 2])
    weighted = {**BATCH, "weights": repeats.astype(np.float32)}
    repeated = {name: np.repeat(values, repeats, 0) for name, values in BATCH.items()}
    model = nn.mlp([3, 4, 2], activation="tanh")
    measures = {"accuracy": metrics.accuracy}
    algorithm = supervised(
        model, losses.softmax_cross_entropy, optimizers.sgd(0.5), metrics=measures
    )
    state = algorithm.init(KEY)
    step = jax.jit(algorithm.step)
    (a, record_a), (b, record_b) = (step(state, split, KEY) for split in (weighted, repeated))
    (c, _) = step(state, BATCH, KEY)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, (a.params, record_a), (b.params, record_b))
    assert np.abs(a.params["dense_1"]["bias"] - c.params["dense_1"]["bias"]).max() > 1e-3
    of = lambda split: float(full_loss(algorithm, state, split)(state.params))  # noqa: E731
    assert of(weighted) == pytest.approx(of(repeated), rel=1e-5)
    assert evaluate(model, state, weighted, measures) == pytest.approx(
        evaluate(model, state, repeated, measures)
    )


def test_full_loss_is_the_mean_in_evaluation_mode():
    algorithm, state = trained()
    loss = full_loss(algorithm, state, BATCH)
    assert isinstance(loss, jax.tree_util.Partial)
    squared = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(state.params))

    def by_hand(**mode):
        z, _ = NOISY.apply(state.params, state.model_state, BATCH["x"], **mode)
        z = np.asarray(z, float)
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
        return -log_p[np.arange(9), BATCH["y"]].mean() + 0.1 * squared

    value = loss(state.params)
    assert value.shape == ()
    assert float(value) == pytest.approx(by_hand(), rel=1e-5)
    assert float(value) != pytest.approx(by_hand(train=True, key=KEY), rel=1e-2)
    assert float(loss(state.params)) == float(value)


def test_full_loss_is_an_argument_of_compiled_functions():
    algorithm, state = trained()
    traces = []

    @jax.jit
    def gradient(loss, params):
        traces.append(1)
        return jax.grad(loss)(params)

    for seed in (1, 2):
        x = np.random.default_rng(seed).normal(size=(9, 3)).astype(np.float32)
        loss = full_loss(algorithm, state, {**BATCH, "x": x})
        g = gradient(loss, state.params)
        direction = jax.tree.map(jnp.ones_like, g)
        slope = sum(float(leaf.sum()) for leaf in jax.tree.leaves(g))
        at = lambda s: loss(jax.tree.map(lambda p, d: p + s * d, state.params, direction))  # noqa: E731, B023
        assert slope == pytest.approx(float(at(1e-2) - at(-1e-2)) / 2e-2, rel=0.05, abs=5e-3)
    assert len(traces) == 1


def test_batch_norms_moving_averages_are_carried():
    algorithm, state = trained()
    start = algorithm.init(KEY).model_state
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), start, state.model_state)
    assert all(jax.tree.leaves(moved))


def test_evaluate_is_the_mean_in_evaluation_mode():
    _, state = trained()
    values = evaluate(
        NOISY,
        state,
        BATCH,
        {"loss": losses.softmax_cross_entropy, "accuracy": metrics.accuracy},
    )
    z, _ = NOISY.apply(state.params, state.model_state, BATCH["x"])
    assert list(values) == ["loss", "accuracy"]
    assert all(type(value) is float for value in values.values())
    assert values["accuracy"] == pytest.approx((np.argmax(z, -1) == BATCH["y"]).mean())
    log_p = np.asarray(jax.nn.log_softmax(z))[np.arange(9), BATCH["y"]]
    assert values["loss"] == pytest.approx(-log_p.mean(), rel=1e-5)


def test_metrics_are_recorded_on_the_batch():
    model = nn.linear(3, 1)
    algorithm = supervised(
        model, losses.mse, optimizers.sgd(0.1), metrics={"mae": losses.mae, "mse": losses.mse}
    )
    state = algorithm.init(KEY)
    _, record = jax.jit(algorithm.step)(state, TEACHER.train, KEY)
    error = design(TEACHER.train) @ solution(state.params) - TEACHER.train["y"][:, 0]
    assert float(record["mae"]) == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert float(record["mse"]) == float(record["loss"])


def test_l2_may_be_a_lane():
    start = supervised(nn.linear(3, 1), losses.mse, optimizers.sgd(0.1)).init(KEY)

    @jax.jit
    @jax.vmap
    def lanes(l2):
        algorithm = supervised(nn.linear(3, 1), losses.mse, optimizers.sgd(0.1), l2=l2)
        return algorithm.step(start, TEACHER.train, KEY)[0].params

    # the penalty is the only difference: -rate * l2 * params
    params = lanes(jnp.array([0, 0.3]))
    plain, shrunk = (solution(jax.tree.map(lambda a, i=i: a[i], params)) for i in (0, 1))
    np.testing.assert_allclose(shrunk - plain, -0.03 * solution(start.params), atol=1e-6)


def test_evaluation_in_batches_equals_one_pass():
    model = nn.mlp([3, 5, 4])
    algorithm = supervised(model, losses.softmax_cross_entropy, optimizers.sgd(0.1))
    state = algorithm.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(23, 3)), rng.integers(0, 4, 23), rng.uniform(size=23)
    split = {"x": x, "y": y, "weights": weights}
    measures = {"loss": losses.softmax_cross_entropy, "accuracy": metrics.accuracy}
    whole, *parts = (
        evaluate(model, state, split, measures, batch_size=size) for size in (23, 5, 1, 99)
    )
    for part in parts:
        assert part == pytest.approx(whole, rel=1e-6)
