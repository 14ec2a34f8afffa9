"""Optimisers against PyTorch's and against the updates that their docstrings give."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml.training import optimizers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3))
Y = RNG.integers(0, 2, 20).astype(float)
START = np.array([1.0, -2.0, 0.5])
STEPS, RATE = 40, 0.05


def gradient(w):
    """Of the mean logistic loss, by hand."""
    return X.T @ (1 / (1 + np.exp(-X @ w)) - Y) / len(Y)


def ours(optimizer, steps=STEPS):
    """The trajectory in float64, shape (steps, 3)."""
    with jax.enable_x64(True):

        def step(carry, _):
            w, state = carry
            loss = lambda w: jnp.mean(jnp.logaddexp(0, X @ w) - Y * (X @ w))  # noqa: E731
            updates, state = optimizer.update(jax.grad(loss)(w), state, w)
            w = optax.apply_updates(w, updates)
            return (w, state), w

        w = jnp.asarray(START)
        _, path = jax.jit(lambda c: jax.lax.scan(step, c, length=steps))((w, optimizer.init(w)))
        assert path.dtype == jnp.float64
        return np.asarray(path)


def torchs(name, **options):
    torch = pytest.importorskip("torch")
    w = torch.tensor(START, requires_grad=True)
    optimizer = getattr(torch.optim, name)([w], lr=RATE, **options)
    path = []
    for _ in range(STEPS):
        w.grad = torch.tensor(gradient(w.detach().numpy()))
        optimizer.step()
        path.append(w.detach().numpy().copy())
    return np.array(path)


def by_hand(update):
    """`update(t, g, w, memory) -> (w, memory)` with t from 1, the memory a pair from zeros."""
    w, memory, path = START, (np.zeros(3), np.zeros(3)), []
    for t in range(1, STEPS + 1):
        w, memory = update(t, gradient(w), w, memory)
        path.append(w)
    return np.array(path)


def heavy_ball(t, g, w, memory, look_ahead=False):
    m = 0.9 * memory[0] + g
    return w - RATE * (g + 0.9 * m if look_ahead else m), (m, 0)


def adagrad(t, g, w, memory, start=0.0):
    v = (start if t == 1 else memory[1]) + g**2
    return w - RATE * g / np.sqrt(v + 1e-7), (0, v)


def rmsprop(t, g, w, memory):
    v = 0.9 * memory[1] + 0.1 * g**2
    return w - RATE * g / (np.sqrt(v) + 1e-8), (0, v)


def adam(t, g, w, memory, decay=0.0, rectify=False):
    m, v = 0.9 * memory[0] + 0.1 * g, 0.999 * memory[1] + 0.001 * g**2
    m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
    update = m_hat / (np.sqrt(v_hat) + 1e-8)
    if rectify:
        limit = 2 / (1 - 0.999) - 1
        rho = limit - 2 * t * 0.999**t / (1 - 0.999**t)
        if rho < 5:
            update = m_hat
        else:
            scale = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
            update = np.sqrt(scale) * update
    return w - RATE * update - RATE * decay * w, (m, v)


# name: ours, the update by hand, PyTorch's name and options, the deviation from PyTorch allowed
CASES = {
    "sgd": (optimizers.sgd, lambda t, g, w, memory: (w - RATE * g, memory), "SGD", {}, 1e-14),
    "momentum": (optimizers.momentum, heavy_ball, "SGD", {"momentum": 0.9}, 1e-14),
    "nesterov": (
        optimizers.nesterov,
        functools.partial(heavy_ball, look_ahead=True),
        "SGD",
        {"momentum": 0.9, "nesterov": True},
        1e-14,
    ),
    "adam": (optimizers.adam, adam, "Adam", {}, 1e-13),
    "adamw": (optimizers.adamw, functools.partial(adam, decay=0.01), "AdamW", {}, 1e-13),
    "rmsprop": (optimizers.rmsprop, rmsprop, "RMSprop", {"alpha": 0.9}, 1e-11),
    # 1e-7 inside the root against 1e-10 outside: of order eta eps / 2g², so 3e-6 for g = .03
    "adagrad": (optimizers.adagrad, adagrad, "Adagrad", {}, 2e-5),
    "adagrad, 0.1": (
        functools.partial(optimizers.adagrad, initial_accumulator_value=0.1),
        functools.partial(adagrad, start=0.1),
        "Adagrad",
        {"initial_accumulator_value": 0.1},
        2e-7,
    ),
    # 1e-8 added after the correction of the bias against before
    "radam": (optimizers.radam, functools.partial(adam, rectify=True), "RAdam", {}, 5e-7),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_the_trajectory_is_the_docstrings_and_torchs(name):
    make, update, torch_name, options, tolerance = CASES[name]
    path = ours(make(RATE))
    np.testing.assert_allclose(path, by_hand(update), rtol=0, atol=1e-11)
    assert np.abs(path - START).max() > 0.1  # it went somewhere
    np.testing.assert_allclose(path, torchs(torch_name, **options), rtol=0, atol=tolerance)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "torch_name"), [("RMSprop's decay", "RMSprop"), ("AdamW's weight decay", "AdamW")]
)
def test_other_conventions_would_show(name, torch_name):
    """The comparison above can fail: other defaults part by far more than its tolerances."""
    other = {"RMSprop": optax.rmsprop(RATE), "AdamW": optax.adamw(RATE)}[torch_name]
    assert np.abs(ours(other) - torchs(torch_name)).max() > 1e-4


@pytest.mark.parametrize("name", optimizers.__all__)
def test_the_rate_may_be_a_schedule_or_traced(name):
    make = getattr(optimizers, name)
    expected = ours(make(RATE), 3)
    np.testing.assert_allclose(ours(make(lambda step: RATE), 3), expected, atol=1e-14)
    with jax.enable_x64(True):
        w, g = jnp.asarray(START), jnp.asarray(gradient(START))

        def first(rate):
            optimizer = make(rate)
            return w + optimizer.update(g, optimizer.init(w), w)[0]

        lanes = jax.vmap(first)(jnp.array([RATE, 0.0]))
    np.testing.assert_allclose(lanes, [expected[0], START], atol=1e-14)
