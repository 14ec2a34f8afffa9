"""Metrics against scikit-learn and by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from jaxml.training import metrics

RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(size=(50, 6)).astype(np.float32)
LABELS = RNG.integers(0, 6, 50)


def test_accuracy_is_sklearns():
    values = metrics.accuracy(OUTPUTS, {"y": LABELS})
    assert values.shape == (50,)
    assert set(np.unique(values)) == {0.0, 1.0}
    assert float(values.mean()) == pytest.approx(accuracy_score(LABELS, OUTPUTS.argmax(-1)))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_accuracy_is_sklearns(k):
    values = metrics.top_k_accuracy(OUTPUTS, {"y": LABELS}, k=k)
    expected = top_k_accuracy_score(LABELS, OUTPUTS, k=k, labels=range(6))
    assert float(values.mean()) == pytest.approx(expected)


def test_top_k_by_hand():
    outputs = jnp.array([[0.1, 0.4, 0.3, 0.2]] * 4)
    values = metrics.top_k_accuracy(outputs, {"y": jnp.arange(4)}, k=3)
    assert values.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_binary_accuracy_is_sklearns_and_by_hand(shape):
    outputs, labels = np.float32([2.0, -1.0, 0.5, -3.0]).reshape(shape), np.array([1, 1, 0, 0])
    values = metrics.binary_accuracy(outputs, {"y": labels})
    assert values.tolist() == [1, 0, 0, 1]
    assert metrics.binary_accuracy(outputs, {"y": labels[:, None]}).tolist() == [1, 0, 0, 1]
    assert float(values.mean()) == accuracy_score(labels, outputs.reshape(-1) > 0)


@pytest.mark.parametrize(
    ("metric", "outputs", "labels", "match"),
    [
        (metrics.accuracy, (3, 2), (3, 1), r"labels of \(3,\), got \(3, 1\)"),
        (metrics.accuracy, (3, 2), (1,), r"labels of \(3,\), got \(1,\)"),
        (metrics.top_k_accuracy, (3, 2), (3,), "k in 1 to 2, got 5"),
        (metrics.binary_accuracy, (3, 2), (3,), r"one output per example, got \(3, 2\)"),
        (metrics.binary_accuracy, (3, 1), (1,), r"3 labels, got \(1,\)"),
    ],
)
def test_bad_shapes_are_refused(metric, outputs, labels, match):
    with pytest.raises(ValueError, match=match):
        metric(jnp.zeros(outputs), {"y": jnp.zeros(labels, int)})
