"""Noise scales at given losses of a training."""

import jax
import numpy as np
import pytest

from jaxml import nn, studies
from jaxml.training import losses

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
NOISE = np.random.default_rng(1).normal(size=(40, 1)).astype("float32")
DATA = {"x": X, "y": X @ np.ones((3, 1), "float32") + 0.1 * NOISE}
LINE = studies.task(nn.linear(3, 1, bias=False), losses.mse)


def by_hand(start, loss, rate=0.05):
    """B_simple where plain gradient descent first meets the loss, and its updates."""
    w, updates = start.astype(float), 0
    while True:
        off = X @ w - DATA["y"]
        gradients = 2 * off * X
        if (off**2).mean() <= loss:
            mean = gradients.mean(0)
            return gradients.var(0, ddof=1).sum() / (mean @ mean), updates
        w, updates = w - rate * gradients.mean(0)[:, None], updates + 1


@pytest.mark.slow
def test_is_that_of_descent_by_hand():
    lanes = studies.grid([40], [0.05], optimizers=["sgd"], seeds=2)
    wanted = [1.0, 0.1, 0.02]
    found = studies.noise_along(LINE, DATA, lanes, wanted, steps=400, resolution=1e-9)
    assert [at.loss for at in found] == [1.0, 1.0, 0.1, 0.1, 0.02, 0.02]
    for at in found:
        key = jax.random.split(jax.random.key(at.seed), 3)[0]
        scale, updates = by_hand(np.asarray(LINE.init(key)[0]["dense_0"]["kernel"]), at.loss)
        assert at.updates == updates
        np.testing.assert_allclose(at.scale.simple, scale, rtol=1e-3)
        assert at.scale.interval[0] == at.scale.interval[1]  # exact
    means = studies.mean_scales(found, 40)
    assert [loss for loss, _ in means] == wanted
    assert means[0][1] < means[1][1] < means[2][1]
    assert studies.mean_scales(found, 8) == []
    both = [at.scale for at in found[:2]]
    ratio = sum(s.trace for s in both) / sum(s.gradient for s in both)
    assert means[0][1] == pytest.approx(ratio)


@pytest.mark.slow
def test_a_sample_and_what_is_told():
    lanes, told = studies.grid([40], [0.05], optimizers=["sgd"], seeds=[3]), []
    (first, second) = studies.noise_along(
        LINE, DATA, lanes, [0.5, 0.1], sample=10, on_loss=lambda *n: told.append(n), steps=400
    )
    assert told == [(1, 2), (2, 2)]
    assert (first.batch_size, first.seed) == (40, 3)
    # ten rows of forty, the seed's own
    rows = np.random.default_rng(3).choice(40, 10, replace=False)
    assert second.updates > first.updates
    study = studies.batch_size(
        LINE, DATA, lanes, splits={"train": DATA}, target=studies.Target(0.5, "loss", "train"),
        steps=400, keep_params=True,
    )  # fmt: skip
    w = study.params[0].astype(float)[:, None]
    gradients = 2 * (X @ w - DATA["y"])[rows] * X[rows]
    assert first.scale.trace == pytest.approx(np.trace(np.cov(gradients.T)), rel=1e-4)


def test_no_scale_where_the_mean_gradient_is_lost():
    scales = [studies.NoiseScale("dataset", g, 6.0, 1.0, (0, 1)) for g in (1.0, -2.0)]
    at = [studies.NoiseAt(0.1, 8, i, 5, scale) for i, scale in enumerate(scales)]
    assert studies.mean_scales(at[:1]) == [(0.1, 6.0)]
    ((loss, scale),) = studies.mean_scales(at)
    assert loss == 0.1
    assert np.isnan(scale)


def test_is_refused():
    lanes = studies.grid([40], [0.05], optimizers=["sgd"], seeds=1)
    with pytest.raises(ValueError, match="at least one loss"):
        studies.noise_along(LINE, DATA, lanes, [], steps=4)
