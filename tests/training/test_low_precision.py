"""Metrics of 16-bit numbers are reduced in more: means over rows, over steps, over parameters."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxml.core.empirical_risk import weighted_mean
from jaxml.core.types import Algorithm, Model, TrainState
from jaxml.training import (
    evaluate,
    fit,
    fit_many,
    losses,
    metrics_log,
    optimizers,
    progress,
    sampling,
    supervised,
)

KEY = jax.random.key(0)
LOW = pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
ROWS = {"x": np.linspace(0.5, 2, 1000, dtype=np.float32), "y": np.zeros(1000, np.float32)}


def constant(dtype):
    """A network whose one output is its input, in a dtype."""

    def apply(params, state, x, *, train=False, key=None):
        return x.astype(dtype)[:, None] * params["w"], state

    return Model(lambda key, x=None: ({"w": jnp.ones((), dtype)}, {}), apply)


def rounded(dtype):
    """The inputs as the dtype holds them, in float64."""
    return (
        ROWS["x"].astype(np.float16 if dtype == jnp.float16 else ml_dtypes.bfloat16).astype(float)
    )


@LOW
def test_a_log_of_many_steps(dtype, tmp_path):
    """The mean of 1,000 losses; numpy's own sum of bfloat16 stops at 256."""

    counting = Algorithm(
        lambda key: TrainState(jnp.int32(0), {}, {}, ()),
        lambda state, batch, key: (
            TrainState(state.step + 1, {}, {}, ()),
            {"loss": (1 + state.step / 2048).astype(dtype)},
        ),
    )
    log = metrics_log(tmp_path / "log")
    run = fit(
        counting, None, sampling.full(), key=KEY, steps=1000, chunk=1000, hooks=[progress(), log]
    )
    assert run.history["loss"].dtype == np.float32
    expected = (1 + np.arange(1000) / 2048).mean()
    logged = json.loads((tmp_path / "log").read_text())["train"]["loss"]
    assert logged == pytest.approx(expected, rel=1e-3)
    keys = jax.random.split(KEY, 2)
    many = fit_many(counting, None, sampling.full(), keys=keys, steps=1000, chunk=1000)
    np.testing.assert_allclose(many.history["loss"].mean(-1), expected, rtol=1e-3)


@LOW
def test_evaluate_and_the_loss_over_many_rows(dtype):
    model, expected = constant(dtype), (rounded(dtype) ** 2).mean()
    algorithm = supervised(model, losses.mse, optimizers.sgd(0.0))
    state = algorithm.init(KEY)
    for size in (1000, 64):
        got = evaluate(model, state, ROWS, {"mse": losses.mse}, batch_size=size)["mse"]
        # each of the squares is rounded, their mean is not
        assert got == pytest.approx(expected, rel=5e-4)
    weighted = ROWS | {"weights": np.full(1000, 300.0)}
    got = evaluate(model, state, weighted, {"mse": losses.mse})["mse"]
    assert got == pytest.approx(expected, rel=5e-4)
    _, record = jax.jit(algorithm.step)(state, ROWS, KEY)
    assert record["loss"].dtype == jnp.float32
    assert float(record["loss"]) == pytest.approx(expected, rel=5e-4)


@LOW
def test_weights_that_do_not_sum_in_16_bits(dtype):
    """1,000 weights of 100 sum to 1e5: float16 ends at 65,504."""
    values, weights = jnp.ones(1000, dtype), jnp.full(1000, 100, dtype)
    assert float(weighted_mean(values, {"weights": weights})) == 1.0


def test_a_gradient_norm_beyond_float16():
    """The squares of 300 sum to 9e4 in one parameter, beyond float16's 65,504."""
    model = constant(jnp.float16)
    algorithm = supervised(model, lambda z, b: 300 * z[:, 0], optimizers.sgd(0.0), l2=0.1)
    ones = {"x": np.ones(4, np.float32)}
    _, record = jax.jit(algorithm.step)(algorithm.init(KEY), ones, KEY)
    assert float(record["gradient_norm"]) == pytest.approx(300.1, rel=1e-3)
