"""Saddle-free Newton and perturbed gradient descent against closed forms, dense and in training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial
from problems import quadratic

from jaxml import data, nn, training
from jaxml.training import losses, optimizers, saddles, sampling

KEY = jax.random.key(0)


def indefinite(n, seed=0):
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    eigenvalues = np.concatenate([[-2.0, -0.1], np.geomspace(0.01, 5, n - 2)])
    return vectors * eigenvalues @ vectors.T, rng.normal(size=n)


def step_of(optimizer, loss, params):
    def update(params):
        value, gradient = jax.value_and_grad(loss)(params)
        state = optimizer.init(params)
        return optimizer.update(gradient, state, params, value=value, value_fn=loss)[0]

    return jax.jit(update)(params)


@pytest.mark.parametrize("dimension", [3, 40])
def test_the_step_is_the_dense_one_in_the_krylov_space(dimension):
    """−V(|VᵀHV| + λI)⁻¹Vᵀg, λ by search, with numpy's matrices."""
    n = 6
    matrix, vector = indefinite(n)
    quartic = 0.01
    with jax.enable_x64(True):
        A, b = jnp.array(matrix), jnp.array(vector)
        loss = lambda w: quadratic(w, A, b) + quartic * (w**4).sum()  # noqa: E731
        x = np.random.default_rng(1).normal(size=n)
        got = np.asarray(step_of(saddles.saddle_free_newton(dimension), loss, jnp.array(x)))
    g, H = matrix @ x - vector + 4 * quartic * x**3, matrix + 12 * quartic * np.diag(x**2)
    k = min(dimension, n)
    V = np.linalg.qr(np.stack([np.linalg.matrix_power(H, j) @ g for j in range(k)], 1))[0]
    theta, U = np.linalg.eigh(V.T @ H @ V)
    absolute = U * abs(theta) @ U.T
    f = lambda w: 0.5 * w @ matrix @ w - vector @ w + quartic * (w**4).sum()  # noqa: E731
    steps = [
        -V @ np.linalg.solve(absolute + damping * abs(theta).max() * np.eye(k), V.T @ g)
        for damping in 10.0 ** np.arange(2, -7, -1)
    ]
    best = min(steps, key=lambda step: f(x + step))
    np.testing.assert_allclose(got, best, rtol=1e-7)
    assert f(x + got) < f(x)


@pytest.mark.slow
def test_saddle_free_newton_is_repelled_where_newton_is_drawn():
    """From (x, y) near the saddle of x² − y² + y⁴/4 the distance from it doubles: y − (−2y)/2."""
    loss = lambda w: w[0] ** 2 - w[1] ** 2 + w[1] ** 4 / 4  # noqa: E731
    optimizer = saddles.saddle_free_newton()
    with jax.enable_x64(True):
        w = jnp.array([0.3, 1e-6])
        w1 = w + step_of(optimizer, loss, w)
        np.testing.assert_allclose(w1, [0, 2e-6], rtol=1e-5, atol=1e-6)

        @jax.jit
        def descend(w):
            advance = lambda w, _: (w + step_of(optimizer, loss, w), None)  # noqa: E731
            return jax.lax.scan(advance, w, length=60)[0]

        np.testing.assert_allclose(descend(w1), [0, 2**0.5], atol=1e-9)


@pytest.mark.slow
def test_no_step_where_there_is_no_slope_and_none_up():
    optimizer = saddles.saddle_free_newton()
    loss = lambda w: ((w["a"] - 1) ** 2).sum()  # noqa: E731
    at = {"a": jnp.ones(3)}
    np.testing.assert_array_equal(step_of(optimizer, loss, at)["a"], 0)
    np.testing.assert_array_equal(
        step_of(optimizer, lambda w: -jnp.log(-abs(w["a"]).sum()), at)["a"], 0
    )  # NaN wherever it goes
    slope = step_of(optimizer, lambda w: w["a"].sum(), at)["a"]  # no curvature at all
    assert np.isfinite(slope).all()
    assert (slope < 0).all()


@pytest.fixture(scope="module")
def digits():
    rows = data.load("digits").train
    return {name: values[:256] for name, values in rows.items()}


@functools.cache
def algorithm_with(optimizer):
    model = nn.mlp([64, 8, 10], activation="tanh")
    return training.supervised(model, losses.softmax_cross_entropy, optimizer, l2=1e-2)


@pytest.mark.slow
def test_saddle_free_newton_trains_in_the_loop_and_resumes(digits):
    """Twenty steps on the whole batch go below two hundred of gradient descent."""
    algorithm = algorithm_with(saddles.saddle_free_newton(16))
    fit = functools.partial(training.fit, algorithm, digits, sampling.full(), key=KEY, chunk=10)
    run = fit(steps=20)
    half = fit(steps=10)
    again = fit(steps=10, state=half.state)
    np.testing.assert_array_equal(run.history["loss"][10:], again.history["loss"])
    plain = algorithm_with(optimizers.sgd(0.5))
    slow = training.fit(plain, digits, sampling.full(), key=KEY, steps=200)
    assert run.history["loss"][-1] < slow.history["loss"][-1]
    assert (np.diff(run.history["loss"]) <= 1e-6).all()  # no step is taken up
    minibatches = training.fit(algorithm, digits, sampling.epochs(64), key=KEY, steps=20, chunk=10)
    assert minibatches.history["loss"][-4:].mean() < 0.5 * minibatches.history["loss"][0]


@pytest.mark.slow
def test_lbfgs_in_the_loop_is_optax_s_own(digits):
    """What `supervised` hands an optimiser is what optax asks for."""
    optimizer = optax.lbfgs()
    algorithm = algorithm_with(optimizer)
    run = training.fit(algorithm, digits, sampling.full(), key=KEY, steps=10, chunk=10)
    state = algorithm.init(jax.random.split(KEY)[0])
    loss = training.full_loss(algorithm, state, digits)

    @jax.jit
    def descend(params):
        def step(carry, _):
            params, memory = carry
            value, gradient = jax.value_and_grad(loss)(params)
            updates, memory = optimizer.update(
                gradient, memory, params, value=value, grad=gradient, value_fn=loss
            )
            return (optax.apply_updates(params, updates), memory), value

        return jax.lax.scan(step, (params, optimizer.init(params)), length=10)[1]

    np.testing.assert_allclose(run.history["loss"], descend(state.params), rtol=1e-4)
    assert run.history["loss"][-1] < 0.6 * run.history["loss"][0]


def test_perturbations_by_hand():
    """x² − y² from its saddle: a step in the ball, then (1−2η)ᵗ and (1+2η)ᵗ until the next."""
    rate, radius, wait = 0.05, 0.3, 10
    optimizer = saddles.perturbed_gradient_descent(
        lambda step: rate, gradient_threshold=1e-2, radius=radius, wait=wait, seed=3
    )
    gradient = lambda w: jnp.array([2.0, -2.0]) * w  # noqa: E731

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(gradient(w), state, w)
        return (w + updates, state), w + updates

    start = jnp.zeros(2)
    (_, state), path = jax.lax.scan(step, (start, optimizer.init(start)), length=9)
    path = np.asarray(path)
    assert 0 < np.linalg.norm(path[0]) <= radius
    for t in range(9):
        np.testing.assert_allclose(path[t], path[0] * [0.9**t, 1.1**t], rtol=1e-5)
    assert (int(state.step), int(state.perturbed)) == (9, 0)


def test_perturbations_wait_and_differ():
    optimizer = saddles.perturbed_gradient_descent(0.1, radius=1.0, wait=3, seed=1)
    w = {"a": jnp.zeros((3, 2)), "b": jnp.zeros(4)}
    state, taken = optimizer.init(w), []
    update = jax.jit(optimizer.update)
    for _ in range(10):
        updates, state = update(w, state, w)
        taken.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(updates)]))
    lengths = np.linalg.norm(taken, axis=1)
    assert np.flatnonzero(lengths).tolist() == [0, 4, 8]  # more than 3 steps apart, as the paper's
    assert (lengths[[0, 4, 8]] <= 1).all()
    assert np.linalg.norm(taken[0] - taken[4]) > 0.1
    other = saddles.perturbed_gradient_descent(0.1, radius=1.0, wait=3, seed=2)
    assert np.abs(other.update(w, other.init(w), w)[0]["b"] - taken[0][-4:]).max() > 1e-3
    # a gradient above the threshold is descended
    steep = jax.tree.map(lambda leaf: leaf + 1, w)
    np.testing.assert_allclose(update(steep, optimizer.init(w), w)[0]["a"], -0.1)


def test_perturbations_are_uniform_in_the_ball():
    """In d dimensions the d-th power of the length is uniform, and the mean is zero."""
    w = jnp.zeros(3)

    def first(seed):
        optimizer = saddles.perturbed_gradient_descent(0.1, radius=2.0, seed=seed)
        return optimizer.update(w, optimizer.init(w), w)[0]

    drawn = np.asarray(jax.jit(jax.vmap(first))(jnp.arange(4000)))
    cubes = np.sort((np.linalg.norm(drawn, axis=1) / 2) ** 3)
    assert np.abs(cubes - (np.arange(4000) + 0.5) / 4000).max() < 1.63 / 4000**0.5  # 1 %
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=4 * 2 * 5**-0.5 / 4000**0.5)


@pytest.mark.slow
def test_perturbed_training_is_saved_and_resumed_to_the_bit(tmp_path, digits):
    algorithm = algorithm_with(saddles.perturbed_gradient_descent(0.1, gradient_threshold=10.0))
    fit = functools.partial(training.fit, algorithm, digits, sampling.epochs(64), key=KEY, chunk=75)
    whole = fit(steps=150)
    fit(steps=75, hooks=[training.checkpoint(tmp_path)])
    state = training.restore(tmp_path, algorithm.init(KEY))
    assert int(state.opt_state.perturbed) == 0
    again = fit(steps=75, state=state)
    assert int(again.state.opt_state.perturbed) == 101
    jax.tree.map(np.testing.assert_array_equal, again.state.params, whole.state.params)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: saddles.saddle_free_newton(0), "dimension to be a whole number of at least 1"),
        (lambda: saddles.perturbed_gradient_descent(0.1, radius=0), "a radius above 0, got 0"),
        (
            lambda: saddles.perturbed_gradient_descent(0.1, radius=np.inf),
            "a radius above 0, got inf",
        ),
        (
            lambda: saddles.perturbed_gradient_descent(0.1, radius=1.0, gradient_threshold=np.inf),
            "a gradient_threshold above 0, got inf",
        ),
        (
            lambda: saddles.perturbed_gradient_descent(0.1, gradient_threshold=-1),
            "a gradient_threshold above 0, got -1",
        ),
        (lambda: saddles.perturbed_gradient_descent(0.1, wait=0), "wait to be a whole number"),
        (
            lambda: saddles.saddle_free_newton().update(jnp.ones(2), optax.EmptyState()),
            r"params, value and value_fn as optax.lbfgs takes them, got \[\]",
        ),
    ],
)
def test_bad_options(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.slow
def test_a_partial_is_a_value_fn():
    matrix, vector = indefinite(4)
    loss = Partial(quadratic, matrix=jnp.float32(matrix), vector=jnp.float32(vector))
    assert loss(step_of(saddles.saddle_free_newton(), loss, jnp.zeros(4))) < 0
