"""Training reads the step and the metrics anew at every call, and compiles equal programs once."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxml import nn
from jaxml.core.types import Algorithm, TrainState
from jaxml.training import evaluate, fit, fit_many, loop, losses, optimizers, sampling, supervised
from jaxml.training.evaluating import _values

KEY = jax.random.key(0)
DATA = {"x": np.eye(3, dtype=np.float32), "y": np.ones((3, 1), np.float32)}
OF = {"scale": 1.0}


class Scaled:
    """A squared error in units that change."""

    def __init__(self):
        self.scale = np.ones(1, np.float32)

    def __call__(self, outputs, batch):
        return self.scale[0] * losses.mse(outputs, batch)


def make(loss):
    return supervised(nn.linear(3, 1), loss, optimizers.sgd(0.1))


def by_a_global(outputs, batch):
    return OF["scale"] * losses.mse(outputs, batch)


def in_place():
    loss = Scaled()
    return loss, lambda: loss.scale.__imul__(4)


def by_attribute():
    loss = Scaled()
    return loss, lambda: setattr(loss, "scale", np.full(1, 4, np.float32))


def by_global():
    OF["scale"] = 1.0
    return by_a_global, lambda: OF.update(scale=4.0)


@pytest.mark.parametrize("kind", [by_global, by_attribute, in_place])
def test_a_loss_that_has_changed_is_read_anew(kind):
    """Four times the loss is four times the step of gradient descent, from one start."""
    loss, change = kind()
    algorithm = make(loss)
    start = algorithm.init(KEY)

    def step():
        one = fit(algorithm, DATA, sampling.full(), key=KEY, steps=1, state=start)
        many = fit_many(
            algorithm, DATA, sampling.full(), keys=KEY[None], steps=1,
            state=jax.tree.map(lambda leaf: leaf[None], start),
        )  # fmt: skip
        assert np.allclose(one.history["loss"], many.history["loss"])
        moved = jax.tree.map(lambda new, old: new - old, one.state.params, start.params)
        value = evaluate(nn.linear(3, 1), start, DATA, {"loss": loss})["loss"]
        np.testing.assert_allclose(value, one.history["loss"][0], rtol=1e-6)
        return moved["dense_0"]["kernel"], value

    moved, value = step()
    change()
    moved_again, value_again = step()
    np.testing.assert_allclose(moved_again, 4 * moved, rtol=1e-4)
    assert value_again == pytest.approx(4 * value)


def test_an_algorithm_of_ones_own_and_its_sampler_are_read_anew():
    """Also the initialisation: it adds up what the sampler gives."""
    of = {"start": 0.0, "batch": 1.0}
    algorithm = Algorithm(
        lambda key: TrainState(jax.numpy.int32(0), jax.numpy.float32(of["start"]), {}, ()),
        lambda state, batch, key: (
            state.replace(step=state.step + 1, params=state.params + batch), {"batch": batch}
        ),
    )  # fmt: skip

    def total():
        sample = lambda data, key, step: jax.numpy.float32(of["batch"])  # noqa: E731
        return float(fit(algorithm, None, sample, key=KEY, steps=3).state.params)

    assert total() == 3
    of.update(start=10.0, batch=2.0)
    assert total() == 16


@pytest.mark.slow
def test_equal_programs_are_compiled_once():
    """Fresh algorithms, models, metrics and samplers, of which only the shapes are the same."""

    def metric():
        return lambda outputs, batch: abs(outputs - batch["y"]).mean(-1)

    def train(rate):
        algorithm = supervised(
            nn.mlp([3, 2, 1]), metric(), optimizers.adam(rate),
            metrics={"error": metric()},
        )  # fmt: skip
        run = fit(algorithm, DATA, sampling.epochs(2), key=KEY, steps=3, chunk=3)
        fit_many(
            lambda rate: algorithm, DATA, sampling.epochs(2), keys=KEY[None],
            hyperparameters={"rate": [0.1]}, steps=3, chunk=3,
        )  # fmt: skip
        evaluate(nn.mlp([3, 2, 1]), run.state, DATA, {"error": metric()}, batch_size=2)

    compiled = [loop._advance, loop._advance_lanes, loop._call, loop._call_lanes, _values]
    train(0.1)
    before = [function._cache_size() for function in compiled]
    for _ in range(3):
        train(0.1)
    assert [function._cache_size() for function in compiled] == before
    train(0.2)  # a rate is a number in the program
    assert loop._advance._cache_size() == before[0] + 1


SWEEP = """
import resource, jax, numpy as np
from jaxml import nn, training
from jaxml.training import losses, optimizers, sampling
data = {"x": np.eye(8, dtype=np.float32), "y": np.arange(8)}
peaks = []
for i in range(200):
    algorithm = training.supervised(
        nn.mlp([8, 256, 256, 8]), losses.softmax_cross_entropy, optimizers.adam(1e-3)
    )
    run = training.fit(algorithm, data, sampling.full(), key=jax.random.key(i), steps=4, chunk=4)
    metric = {"loss": lambda *a: losses.softmax_cross_entropy(*a)}
    training.evaluate(nn.mlp([8, 256, 256, 8]), run.state, data, metric)
    pages = int(open("/proc/self/statm").read().split()[1])
    peaks.append(pages * resource.getpagesize() / 2**20)
print(peaks[40], peaks[-1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_hundred_fits_stay_flat_in_memory():
    ran = subprocess.run([sys.executable, "-c", SWEEP], capture_output=True, text=True, check=True)
    after_forty, at_the_end = map(float, ran.stdout.split())
    assert at_the_end - after_forty < 30  # MiB; each network compiled is 10
