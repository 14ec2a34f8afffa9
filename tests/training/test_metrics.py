"""Metrics against scikit-learn and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from jaxml import Model, training
from jaxml.training import losses, metrics

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
        (metrics.binary_accuracy, (3, 2), (3,), r"labels of \(3, 2\), got \(3,\)"),
        (metrics.binary_accuracy, (3, 1), (1,), r"labels of \(3,\), got \(1,\)"),
    ],
)
def test_bad_shapes_are_refused(metric, outputs, labels, match):
    with pytest.raises(ValueError, match=match):
        metric(jnp.zeros(outputs), {"y": jnp.zeros(labels, int)})


# 20 sequences of 5 tokens of 6 classes, of which two do not occur
TOKENS = RNG.normal(size=(20, 5, 6)).astype(np.float32)
TOKENS[..., 5] = -9
TARGETS = RNG.integers(0, 4, (20, 5))
TOKENS[..., 4] = np.where(RNG.random((20, 5)) < 0.2, 9, -9)  # predicted, and never right
LENGTHS = RNG.integers(1, 6, 20)
WEIGHTS = RNG.integers(1, 4, 20).astype(np.float32)
MASKED = {"x": TOKENS, "y": TARGETS, "mask": np.asarray(training.length_mask(LENGTHS, 5))}
as_they_are = Model(lambda key, x=None: ({}, {}), lambda params, state, x, **mode: (x, state))


def flat(weighted):
    """Targets, predictions and weights of the tokens that count."""
    kept = MASKED["mask"]
    weights = (WEIGHTS[:, None] if weighted else 1) * np.ones((20, 5))
    return TARGETS[kept], TOKENS.argmax(-1)[kept], weights[kept]


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_of_a_corpus_are_sklearns(weighted):
    """Token accuracy, F1 and the confusion matrix in batches of 7, which do not divide the rows."""
    state = training.start(as_they_are, optax.sgd(0.1), jax.random.key(0))
    averages = ["macro", "micro", "weighted"]
    found = training.evaluate(
        as_they_are,
        state,
        MASKED | ({"weights": WEIGHTS} if weighted else {}),
        {name: metrics.f1(name) for name in averages}
        | {
            "each": metrics.f1(None),
            "matrix": metrics.confusion_matrix(),
            "accuracy": metrics.accuracy,
            "error": metrics.error,
            "top 2": functools.partial(metrics.top_k_accuracy, k=2),
            "perplexity": metrics.perplexity(),
        },
        batch_size=7,
    )
    true, predicted, weights = flat(weighted)
    given = {"sample_weight": weights}
    for name in averages:
        expected = f1_score(true, predicted, average=name, **given)
        assert found[name] == pytest.approx(expected, rel=1e-6)
    labels = {"labels": range(6)}
    each = f1_score(true, predicted, average=None, zero_division=0, **labels, **given)
    np.testing.assert_allclose(found["each"], each, rtol=1e-6)
    matrix = confusion_matrix(true, predicted, **labels, **given)
    np.testing.assert_array_equal(found["matrix"], matrix)
    assert found["matrix"].dtype == (float if weighted else int)
    assert found["accuracy"] == pytest.approx(accuracy_score(true, predicted, **given), rel=1e-6)
    assert found["error"] == pytest.approx(1 - found["accuracy"], rel=1e-5)
    scores = TOKENS[MASKED["mask"]]
    of_two = top_k_accuracy_score(true, scores, k=2, **labels, **given)
    assert found["top 2"] == pytest.approx(of_two, rel=1e-6)
    nats = log_loss(true, scipy.special.softmax(scores.astype(float), -1), **labels, **given)
    assert found["perplexity"] == pytest.approx(np.exp(nats), rel=1e-5)


def test_f1_of_two_classes_is_sklearns_and_by_hand():
    labels, logits = np.array([1, 1, 1, 0, 0]), np.eye(2)[[1, 1, 0, 1, 0]]
    metric = metrics.f1("binary")
    found = metric.result(metric.values(jnp.asarray(logits), {"y": labels}))
    assert found == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found == pytest.approx(f1_score(labels, logits.argmax(-1)))
    three = metric.values(jnp.eye(3), {"y": np.arange(3)})
    with pytest.raises(ValueError, match="two classes for average='binary', got 3"):
        metric.result(three)


def test_binary_accuracy_of_sequences():
    outputs, labels = jnp.float32([[[1], [-1], [2]], [[-1], [1], [1]]]), [[1, 1, 0], [0, 0, 1]]
    batch = {"y": np.array(labels), "mask": np.array([[1, 1, 0], [1, 1, 1]])}
    np.testing.assert_allclose(metrics.binary_accuracy(outputs, batch), [0.5, 2 / 3], rtol=1e-6)


def test_a_length_mask():
    assert training.length_mask(np.array([0, 3, 1]), 3).astype(int).tolist() == [
        [0, 0, 0],
        [1, 1, 1],
        [1, 0, 0],
    ]


def test_the_perplexity_of_another_loss():
    smoothed = functools.partial(losses.softmax_cross_entropy, label_smoothing=0.2)
    metric = metrics.perplexity(smoothed)
    outputs = np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)
    found = metric.result(metric.values(jnp.asarray(outputs), {"y": jnp.array([0, 0])}))
    log_p = scipy.special.log_softmax(outputs, -1)
    nats = -(0.9 * log_p[:, 0] + 0.1 * log_p[:, 1]).mean()
    assert found == pytest.approx(np.exp(nats), rel=1e-6)
