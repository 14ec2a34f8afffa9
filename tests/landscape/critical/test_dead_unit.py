"""The embedding of a minimum: a unit without weights makes a saddle of known spectrum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from problems import classifier_data, tanh_classifier, tanh_classifier_params

from jaxml import landscape, nn, training
from jaxml.training import losses, optimizers

INPUTS, CLASSES, L2 = 4, 3, 1e-2


@pytest.fixture(scope="module")
def minimum():
    """A certified minimum of a tanh net of two hidden units on sixty examples."""
    rng = np.random.default_rng(0)
    x, y = classifier_data(rng, 60, INPUTS, CLASSES)
    with jax.enable_x64(True):
        loss = Partial(tanh_classifier, x=jnp.array(x), y=jnp.array(y), l2=L2)
        start = tanh_classifier_params(rng, INPUTS, 2, CLASSES, 0.5)
        end = landscape.descend(loss, start, gradient_tolerance=1e-10, max_steps=1000)
        found = landscape.find_critical_point(loss, end.params, gradient_tolerance=1e-13)
        return loss, jax.device_get(found.params), x, y


def with_dead_unit(params):
    return {
        "in": np.pad(params["in"], ((0, 0), (0, 1))),
        "in_bias": np.pad(params["in_bias"], (0, 1)),
        "out": np.pad(params["out"], ((0, 1), (0, 0))),
        "out_bias": params["out_bias"],
    }


def coupling(params, x, y):
    """C = (1/N) Σ [x; 1] (softmax − onehot)ᵀ, in numpy."""
    logits = np.tanh(x @ params["in"] + params["in_bias"]) @ params["out"] + params["out_bias"]
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    inputs = np.concatenate([x, np.ones((len(x), 1))], 1)
    return inputs.T @ (softmax - np.eye(CLASSES)[y]) / len(x)


@pytest.mark.slow
def test_the_spectrum_of_a_dead_unit(x64, minimum):
    loss, params, x, y = minimum
    old = landscape.analyze(loss, params)
    assert (old.kind, old.certified) == ("minimum", True)
    assert old.gradient_norm < 1e-13

    sigma = np.linalg.svd(coupling(params, x, y), compute_uv=False)
    new = [*(L2 + sigma), *(L2 - sigma), *[L2] * abs(INPUTS + 1 - CLASSES)]
    expected = np.sort([*old.eigenvalues, *new])
    point = landscape.analyze(loss, with_dead_unit(params))
    np.testing.assert_allclose(point.eigenvalues, expected, atol=1e-10)
    assert point.size == old.size + INPUTS + 1 + CLASSES
    assert point.index == (sigma > L2).sum() > 0
    assert point.eigenvalues[0] == pytest.approx(L2 - sigma[0], abs=1e-12)
    assert (point.kind, point.certified) == ("saddle", True)
    assert point.loss == pytest.approx(old.loss, abs=1e-15)
    assert point.gradient_norm < 1e-13

    out = landscape.escape(loss, with_dead_unit(params))
    assert out.loss < old.loss - 1e-3
    end = landscape.analyze(loss, out.params)
    assert end.kind == "minimum"


@pytest.mark.slow
def test_the_same_spectrum_by_way_of_nn_and_training(minimum):
    _, params, x, y = minimum
    model = nn.mlp([INPUTS, 2, CLASSES], activation="tanh")
    ours = {
        "dense_0": {"kernel": params["in"], "bias": params["in_bias"]},
        "dense_1": {"kernel": params["out"], "bias": params["out_bias"]},
    }
    with jax.enable_x64(True):
        algorithm = training.supervised(
            model, losses.softmax_cross_entropy, optimizers.sgd(0.1), l2=L2
        )
        state = algorithm.init(jax.random.key(0))
        full = training.full_loss(algorithm, state, {"x": x, "y": y})
        point = landscape.analyze(full, ours)
        direct = landscape.analyze(minimum[0], params)
    assert (point.kind, point.certified) == ("minimum", True)
    np.testing.assert_allclose(point.eigenvalues, direct.eigenvalues, atol=1e-12)
