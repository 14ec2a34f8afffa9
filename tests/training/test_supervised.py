"""Supervised learning against least squares, ridge regression and hand-computed means."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import data, nn
from jaxml.core.types import Algorithm, TrainState
from jaxml.training import (
    evaluate,
    fit,
    full_loss,
    losses,
    metrics,
    optimizers,
    sampling,
    supervised,
    update,
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_full_loss_is_the_mean_in_evaluation_mode():
    algorithm, state = trained()
    loss = full_loss(algorithm, state, BATCH)
    assert jax.tree.leaves(loss)[-1].shape == (9,)  # a pytree of its data
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


@pytest.mark.slow
def test_full_loss_in_training_is_the_mean_over_its_batches():
    """Batch norm by the statistics of each batch of four, of which the last has one row."""
    model = nn.mlp([3, 4, 2], norm="batch")
    algorithm = supervised(model, losses.softmax_cross_entropy, optimizers.sgd(0.1))
    state = algorithm.init(KEY)
    whole = full_loss(algorithm, state, BATCH, train=True, batch_size=4)(state.params)
    apply = jax.jit(lambda x: model.apply(state.params, state.model_state, x, train=True)[0])
    z = np.concatenate([apply(BATCH["x"][first : first + 4]) for first in (0, 4, 8)], dtype=float)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    assert float(whole) == pytest.approx(-log_p[np.arange(9), BATCH["y"]].mean(), rel=1e-5)


@pytest.mark.slow
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


@pytest.mark.slow
def test_inputs_are_what_the_network_is_given():
    """Two of the data's arrays side by side, as one that is given whole."""
    halves = {"left": BATCH["x"][:, :1], "right": BATCH["x"][:, 1:], "y": BATCH["y"]}
    joined = lambda batch: jnp.concatenate([batch["left"], batch["right"]], 1)  # noqa: E731
    model, rate = nn.mlp([3, 4, 2]), optimizers.sgd(0.1)
    runs = [
        fit(
            supervised(model, losses.softmax_cross_entropy, rate, **options),
            split,
            sampling.full(),
            key=KEY,
            steps=3,
        )
        for split, options in ((BATCH, {}), (halves, {"inputs": joined}))
    ]
    np.testing.assert_allclose(*(run.history["loss"] for run in runs), rtol=1e-6)
    state, measure = runs[0].state, {"accuracy": metrics.accuracy, "f1": metrics.f1()}
    assert evaluate(model, state, halves, measure, inputs=joined) == evaluate(
        model, state, BATCH, measure
    )


def _parts(accumulate, optimizer, model=None, **options):
    loss = losses.softmax_cross_entropy
    return supervised(
        model or nn.mlp([3, 4, 2], activation="tanh"),
        loss,
        optimizer,
        accumulate=accumulate,
        metrics={"accuracy": metrics.accuracy},
        **options,
    )


@pytest.mark.parametrize(
    ("optimizer", "weighted"),
    [
        (optimizers.adam(0.1), False),
        (optimizers.adam(0.1), True),
        pytest.param(optax.lbfgs(), True, marks=pytest.mark.slow),
    ],
)
def test_a_gradient_in_parts_is_that_of_the_whole_batch(optimizer, weighted):
    """Also where the parts weigh differently, with a penalty, and for a line search."""
    batch = {"x": np.float32(RNG.normal(size=(12, 3))), "y": RNG.integers(0, 2, 12)}
    if weighted:
        batch["weights"] = np.float32(RNG.uniform(0, 2, 12))
    ends = []
    for accumulate in (1, 4):
        algorithm = _parts(accumulate, optimizer, l2=0.1)
        state = algorithm.init(KEY)
        ends.append(jax.jit(algorithm.step)(state, batch, KEY))
    compare = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(compare, ends[1][0].params, ends[0][0].params)
    jax.tree.map(compare, ends[1][1], ends[0][1])


@pytest.mark.slow
def test_a_gradient_in_parts_in_float64(x64):
    """To its digits, with a mask that leaves the parts unequal and one of them nothing."""
    batch = {"x": RNG.normal(size=(4, 3)), "y": RNG.integers(0, 2, 4), "mask": np.arange(4) < 3}
    found = []
    for accumulate in (1, 4):
        algorithm = _parts(accumulate, optimizers.sgd(0.1), model=nn.mlp([3, 2]))
        wide = lambda tree: jax.tree.map(lambda x: x.astype(float), tree)  # noqa: E731
        state = algorithm.init(KEY)
        state = state.replace(params=wide(state.params))
        after, record = algorithm.step(state, jax.tree.map(jnp.asarray, batch), KEY)
        found.append((after.params, record["loss"]))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), *found)


def test_a_gradient_in_parts_is_optaxs():
    """One update of `optax.MultiSteps` after as many equal batches."""
    batch = {"x": np.float32(RNG.normal(size=(12, 3))), "y": RNG.integers(0, 2, 12)}
    inner = optimizers.adam(0.1)
    slow = _parts(1, optax.MultiSteps(inner, 3).gradient_transformation())
    state = slow.init(KEY)
    whole = _parts(3, inner)
    found, _ = jax.jit(whole.step)(whole.init(KEY), batch, KEY)
    step = jax.jit(slow.step)
    for i in range(3):
        state, _ = step(state, jax.tree.map(lambda leaf, i=i: leaf[i::3], batch), KEY)
    compare = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(compare, found.params, state.params)


@pytest.mark.slow
def test_parts_bound_the_memory():
    """Temporaries of a wide network on 512 rows, by XLA's own account."""
    wide = nn.mlp([3, 512, 512, 2])
    batch = {"x": np.zeros((512, 3), np.float32), "y": np.zeros(512, int)}
    needed = []
    for accumulate in (1, 16):
        algorithm = _parts(accumulate, optimizers.sgd(0.1), model=wide)
        state = jax.eval_shape(algorithm.init, KEY)
        compiled = jax.jit(algorithm.step).lower(state, batch, KEY).compile()
        needed.append(compiled.memory_analysis().temp_size_in_bytes)
    assert needed[1] < 0.8 * needed[0]


def _distance(params, state, batch):
    """Of a point from pairs of points, in whatever form they come."""
    a, b = batch if isinstance(batch, tuple) else (batch["pair"]["a"], batch["pair"]["b"])
    return ((params - a) ** 2 - (params - b) ** 2 + 0.1 * params**2).sum(-1).mean()


def _descent(loss):
    """Plain gradient descent on `loss(params, state, batch)`."""
    rate = optimizers.sgd(0.1)

    def step(state, batch, key):
        value, gradient = jax.value_and_grad(loss)(state.params, state, batch)
        return update(rate, state, gradient), {"loss": value}

    init = lambda key: TrainState(jnp.int32(0), jnp.zeros(3), {}, rate.init(jnp.zeros(3)))  # noqa: E731
    return Algorithm(init, step, loss)


def test_data_may_be_any_pytree():
    """Tuples and dicts of dicts, through samplers, `fit`, `full_loss`; to the bit the same."""
    a, b = np.float32(RNG.normal(size=(2, 10, 3)))
    forms = [(a, b), {"pair": {"a": a, "b": b}}, {"pair": {"a": a.tolist(), "b": jnp.asarray(b)}}]
    algorithm = _descent(_distance)
    ends = [fit(algorithm, form, sampling.epochs(4), key=KEY, steps=5) for form in forms]
    values = [full_loss(algorithm, ends[0].state, form)(jnp.ones(3)) for form in forms]
    expected = ((1 - a) ** 2 - (1 - b) ** 2).sum(-1).mean() + 0.3
    assert [float(value) for value in values] == pytest.approx([expected] * 3, rel=1e-5)
    for end in ends[1:]:
        np.testing.assert_array_equal(end.history["loss"], ends[0].history["loss"])
        np.testing.assert_array_equal(end.state.params, ends[0].state.params)


@pytest.mark.slow
def test_a_loss_over_nested_data_is_the_same_in_batches():
    """One value an episode, 3 of 7 at a time, and its gradient."""
    x = np.float32(RNG.normal(size=(7, 2, 3)))
    episodes = {"support": {"x": x}, "query": {"x": 2 * x, "y": x[..., 0]}}
    model = nn.linear(3, 1)
    algorithm = supervised(
        model,
        lambda outputs, batch: losses.mse(outputs, batch["query"]),
        optimizers.sgd(0.1),
        inputs=lambda batch: batch["query"]["x"] + batch["support"]["x"].mean(1, keepdims=True),
    )
    state = algorithm.init(KEY)
    whole, parts = (full_loss(algorithm, state, episodes, batch_size=n) for n in (None, 3))
    inputs = 2 * x + x.mean(1, keepdims=True)
    outputs = inputs @ solution(state.params)[:3] + solution(state.params)[3]
    expected = ((outputs - x[..., 0]) ** 2).mean()
    for loss in (whole, parts):
        assert float(loss(state.params)) == pytest.approx(expected, rel=1e-5)
    gradients = [jax.grad(loss)(state.params) for loss in (whole, parts)]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, *gradients)


def test_targets_inside_of_a_pytree_are_checked():
    algorithm = supervised(
        nn.linear(3, 2),
        lambda outputs, batch: losses.softmax_cross_entropy(outputs, batch["query"]),
        optimizers.sgd(0.1),
        inputs=lambda batch: batch["query"]["x"],
    )
    query = {"x": BATCH["x"], "y": BATCH["y"] + 1}
    with pytest.raises(ValueError, match=r"labels from 0 to 1 in data\['query'\]\['y'\], got 2"):
        fit(algorithm, {"query": query}, sampling.full(), key=KEY, steps=1)
    more = {"query": query | {"y": BATCH["y"], "id": np.arange(9)}}
    with pytest.warns(UserWarning, match=r"nothing reads data\['query'\]\['id'\]"):
        fit(algorithm, more, sampling.full(), key=KEY, steps=1)
