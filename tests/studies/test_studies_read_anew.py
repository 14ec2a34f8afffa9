"""A loss that changes between two studies is another loss; one that does not is compiled once."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn
from jaxml.studies import batch_size as study_batch_size
from jaxml.studies import descents, grid, noise_scale, smoothness, task
from jaxml.studies.batch_scaling.noise_scale import noise_scale_by_batches
from jaxml.studies.sweep import accumulation
from jaxml.training import losses

X = np.linspace(-1, 1, 16, dtype=np.float32).reshape(-1, 1)
DATA = {"x": X, "y": 2 * X}
W = jnp.ones(1)


def scaled(holder):
    return lambda outputs, batch: holder["s"] * losses.mse(outputs, batch)


@pytest.mark.slow
def test_a_study_reads_its_loss_at_every_call():
    holder = {"s": 1.0}
    shapes = lambda: smoothness(  # noqa: E731
        task(nn.linear(1, 1, bias=False), scaled(holder)),
        DATA,
        batch_size=4,
        learning_rate=0.0,
        steps=1,
        every=1,
        sizes=[1e-3],
    ).loss[0]
    before = shapes()
    holder["s"] = 3.0
    assert shapes() == pytest.approx(3 * before, rel=1e-5)


@pytest.mark.parametrize(
    "measure",
    [
        lambda f: noise_scale(f, W, DATA).trace,
        lambda f: noise_scale_by_batches(f, W, DATA, small=2, large=8, batches=4).trace,
    ],
)
def test_noise_scales_too(measure):
    holder = {"s": 1.0}
    loss = lambda w, batch: holder["s"] * ((batch["x"] @ w - batch["y"][:, 0]) ** 2)  # noqa: E731
    before = measure(loss)
    holder["s"] = 3.0
    assert measure(loss) == pytest.approx(9 * before, rel=1e-4)


def test_descents_too():
    holder = {"s": 1.0}
    surface = lambda w: holder["s"] * (w**2).sum()  # noqa: E731
    run = lambda: descents(surface, [1.0, 1.0], rates=[0.01], optimizers=["sgd"], steps=2)  # noqa: E731
    before = run().losses[0, 0]
    holder["s"] = 3.0
    assert run().losses[0, 0] == 3 * before


@pytest.mark.slow
def test_equal_tasks_share_a_program():
    lanes = grid([4], [0.1], optimizers=["sgd"], seeds=1)

    def study():
        line = task(nn.linear(1, 1, bias=False), scaled({"s": 1.0}))
        return study_batch_size(line, DATA, lanes, splits={"train": DATA}, steps=4)

    study()
    before = accumulation.advance._cache_size()
    study()
    assert accumulation.advance._cache_size() == before
