"""Bad input raises ValueError, before tracing, and says what was expected and what came."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import data, nn
from jaxml.core.types import Algorithm
from jaxml.training import (
    early_stopping,
    evaluate,
    evaluation,
    fit,
    fit_many,
    full_loss,
    losses,
    metrics,
    optimizers,
    sampling,
    schedules,
    supervised,
)

MODEL = nn.linear(2, 1)
GOOD = supervised(MODEL, losses.mse, optimizers.sgd(0.1))
X, Y = np.ones((4, 2), np.float32), np.ones(4, np.float32)
SPLIT, FULL = {"x": X, "y": Y}, sampling.full()
KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 2)


def holed(value):
    x = X.copy()
    x[2, 1] = value
    return {"x": x, "y": Y}


def one(split=SPLIT, algorithm=GOOD, sample=FULL, **options):
    return fit(algorithm, split, sample, **{"key": KEY, "steps": 2, **options})


def many(algorithm=lambda rate: GOOD, sample=FULL, **options):
    return fit_many(algorithm, SPLIT, sample, **{"keys": KEYS, "steps": 2, **options})


def hyper(values):
    return functools.partial(many, hyperparameters={"rate": values})


def build(**options):
    given = {"model": MODEL, "loss": losses.mse, "optimizer": optax.sgd(0.1), **options}
    return supervised(given.pop("model"), given.pop("loss"), given.pop("optimizer"), **given)


def with_loss(loss):
    return lambda: one(algorithm=build(loss=loss))


def stop(**options):
    return early_stopping(evaluation(lambda state: {}), **options)


WHOLE = "to be a whole number of at least 1, got"
TABLE = {
    # data
    "NaN": (lambda: one(holed(np.nan)), r"finite .* data\['x'\], got 1 .* first at \(2, 1\)"),
    "infinity": (lambda: one(holed(-np.inf)), r"finite .* data\['x'\], got 1 .* at \(2, 1\)"),
    "beyond float32": (
        lambda: one({"x": X.astype(float) * 1e300, "y": Y}),
        r"finite values of float32 in data\['x'\], got 8",
    ),
    "beyond int32": (
        lambda: one({"x": X, "y": np.array([0, 1, 2**40, 3])}),
        r"range of int32 in data\['y'\], got 1 that are not, the first at \(2,\)",
    ),
    "NaN in weights": (
        lambda: one({"x": X, "y": Y, "weights": Y * np.nan}),
        r"data\['weights'\], got 4 that are not, the first at \(0,\)",
    ),
    "no rows": (lambda: one({"x": X[:0], "y": Y[:0]}), "at least one example, got .*'x': 0"),
    "unequal lengths": (lambda: one({"x": X, "y": Y[:3]}), "lengths {'x': 4, 'y': 3}"),
    "scalars": (lambda: one({"x": 1.0, "y": 2.0}), "one leading axis, got lengths {'x': None"),
    "no arrays": (lambda: one({}), "a dict of arrays, or .*, got dict"),
    "an array": (lambda: one(X), "data with the key 'x', got"),
    "a name": (lambda: one("xor"), "a dict of arrays, or .*, got str"),
    "NaN inside": (
        lambda: one({"query": holed(np.nan)}),
        r"finite .* data\['query'\]\['x'\], got 1 .* first at \(2, 1\)",
    ),
    "unequal lengths inside": (
        lambda: one({"support": X, "query": (X, Y[:3])}),
        "lengths {'query/0': 4, 'query/1': 3, 'support': 4}",
    ),
    "a mask of twos": (lambda: one(SPLIT | {"mask": Y + 1}), r"0 and 1 in data\['mask'\], got 2.0"),
    "a mask of zeros": (lambda: one(SPLIT | {"mask": Y * 0}), "counts in .*, got zeros alone"),
    "a mask of another shape": (
        lambda: one(SPLIT | {"mask": np.ones((4, 3))}),
        r"leading axes of the values' \(4, 1\), got \(4, 3\)",
    ),
    "a data set": (lambda: one(data.load("xor")), "one split, such as dataset.train, got the wh"),
    "strings": (
        lambda: one({"x": np.array(list("abcd")), "y": Y}),
        r"numbers in data\['x'\], got dtype <U1",
    ),
    "data of full_loss": (lambda: full_loss(GOOD, GOOD.init(KEY), holed(np.nan)), "finite"),
    "data of evaluate": (
        lambda: evaluate(MODEL, GOOD.init(KEY), holed(np.nan), {"mse": losses.mse}),
        "finite",
    ),
    # fit
    **{
        f"steps {steps!r}": (lambda steps=steps: one(steps=steps), f"steps {WHOLE} {steps!r}")
        for steps in (0, -1, 1.5, True, "9", None)
    },
    **{
        f"chunk {chunk!r}": (lambda chunk=chunk: one(chunk=chunk), f"chunk {WHOLE} {chunk!r}")
        for chunk in (0, -3, 2.0, False)
    },
    "a seed for a key": (lambda: one(key=0), r"jax.random.key\(seed\), got int"),
    "an old key": (lambda: one(key=jax.random.PRNGKey(0)), r"jax.random.key\(seed\), got Array"),
    "keys for a key": (lambda: one(key=KEYS), r"key\(seed\), got keys of shape \(2,\)"),
    "no algorithm": (lambda: one(algorithm=MODEL), "an Algorithm, got Model"),
    "no sampler": (lambda: one(sample=64), r"a sampler such as sampling.epochs\(64\), got 64"),
    # fit_many
    "one key": (lambda: many(keys=KEY), r"split\(key, lanes\), got keys of shape \(\)"),
    "two axes of keys": (lambda: many(keys=KEYS[None]), r"got keys of shape \(1, 2\)"),
    "no lanes": (lambda: many(keys=KEYS[:0]), r"got keys of shape \(0,\)"),
    "seeds for keys": (lambda: many(keys=[0, 1]), "lanes.*, got list"),
    "many steps": (lambda: many(algorithm=GOOD, steps=0), f"steps {WHOLE} 0"),
    "many: no algorithm": (lambda: many(algorithm="adam"), "a function that returns one, got str"),
    "many: no sampler": (lambda: many(sample="full"), "a sampler .*, got 'full'"),
    "too many values": (hyper([0.1, 0.2, 0.3]), r"rate of shape \(2,\), as keys, got \(3,\)"),
    "one value": (hyper(0.1), r"rate of shape \(2,\), as keys, got \(\)"),
    "NaN value": (hyper([0.1, np.nan]), "rate to be finite, got .*nan"),
    "value in words": (hyper(["low", "high"]), "rate to be numbers, got dtype <U4"),
    "no function of them": (
        lambda: many(algorithm=GOOD, hyperparameters={"rate": [0.1, 0.2]}),
        "a function of the hyperparameters, got Algorithm",
    ),
    "a function of no algorithm": (
        lambda: many(algorithm=lambda rate: rate, hyperparameters={"rate": [0.1, 0.2]}),
        "a function that returns an Algorithm",
    ),
    # supervised
    "model": (lambda: build(model=lambda x: x), "a jaxml Model, got function"),
    "loss": (lambda: build(loss="mse"), "a loss, .*, got 'mse'"),
    "optimizer": (lambda: build(optimizer="adam"), "an optax optimizer, got 'adam'"),
    "negative l2": (lambda: build(l2=-0.1), "l2 to be finite and at least 0, got -0.1"),
    "negative float32 l2": (lambda: build(l2=np.float32(-1)), "l2 to be .* at least 0, got -1.0"),
    "NaN l2": (lambda: build(l2=float("nan")), "l2 to be finite and at least 0, got nan"),
    "infinite l2": (lambda: build(l2=float("inf")), "l2 to be finite and at least 0, got inf"),
    "l2 in words": (lambda: build(l2="weak"), "l2 to be a number, got 'weak'"),
    "scalar loss": (
        with_loss(lambda z, b: losses.mse(z, b).mean()),
        r"one value per example, shape \(4,\), got shape \(\)",
    ),
    "loss per output": (
        with_loss(lambda z, b: jnp.c_[z, z] ** 2),
        r"one value per example, shape \(4,\), got shape \(4, 2\)",
    ),
    "no loss to look at": (
        lambda: full_loss(Algorithm(GOOD.init, GOOD.step), GOOD.init(KEY), {"x": X, "y": Y}),
        "an algorithm that descends a loss, got one without",
    ),
    "evaluate: no model": (
        lambda: evaluate(GOOD, GOOD.init(KEY), {"x": X, "y": Y}, {"mse": losses.mse}),
        r"a jaxml Model, or a function \(state, batch\) -> outputs, got Algorithm",
    ),
    "full_loss: no loss": (
        lambda: full_loss("mse", GOOD.init(KEY), SPLIT),
        "an Algorithm or a loss, got str",
    ),
    "inputs": (lambda: build(inputs="x"), "inputs as a function of a batch, got 'x'"),
    "a corpus metric at every step": (
        lambda: build(metrics={"f1": metrics.f1()}),
        r"metrics\['f1'\] to be a mean over examples, got a corpus metric \(for `evaluate`\)",
    ),
    "no parts": (lambda: build(accumulate=0), f"accumulate {WHOLE} 0"),
    "parts that do not divide": (
        lambda: one(algorithm=build(accumulate=3)),
        "batches of a multiple of 3 examples, got 4",
    ),
    "average": (lambda: metrics.f1("mean"), "average to be one of macro, micro, .* got 'mean'"),
    # samplers, schedules, hooks
    "batch of more than all": (
        lambda: one(sample=sampling.epochs(5)),
        "batch_size of at most the 4 examples, got 5",
    ),
    **{
        f"{name} over 0 steps": (
            lambda name=name: getattr(schedules, name)(0.1, 0),
            f"steps {WHOLE} 0",
        )
        for name in ("linear", "cosine", "exponential", "warmup_cosine", "inverse_sqrt")
    },
    "all warm-up": (lambda: schedules.warmup_cosine(0.1, 9, 1.0), r"warmup in \[0, 1\), got 1.0"),
    "negative warm-up": (lambda: schedules.warmup_cosine(0.1, 9, -0.1), "warmup in .*, got -0.1"),
    "only warm-up": (lambda: schedules.inverse_sqrt(0.1, 9, 1.0), r"warmup in \(0, 1\), got 1.0"),
    "no warm-up": (lambda: schedules.inverse_sqrt(0.1, 9, 0), r"warmup in \(0, 1\), got 0"),
    "decay to nothing": (lambda: schedules.exponential(0.1, 9, 0.0), r"final in \(0, 1\], got 0"),
    "growth": (lambda: schedules.exponential(0.1, 9, 1.1), r"final in \(0, 1\], got 1.1"),
    "mode": (lambda: stop(mode="least"), "mode to be one of min, max, got 'least'"),
    "patience": (lambda: stop(patience=0), f"patience {WHOLE} 0"),
}


@pytest.mark.parametrize("case", TABLE)
def test_bad_input_is_refused(case):
    call, match = TABLE[case]
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("sampler", [sampling.epochs, sampling.with_replacement])
@pytest.mark.parametrize("size", [0, -2, 2.5, True, "4", [4]])
def test_a_batch_size_is_a_positive_number(sampler, size):
    with pytest.raises(ValueError, match="batch_size to be a whole number of at least 1, got"):
        sampler(size)


def test_the_good_call_is_good():
    """The table's calls fail for the reason given and no other."""
    assert one().state.step == 2
    assert many(hyperparameters={"rate": [0.1, 0.2]}).history["loss"].shape == (2, 2)
