"""Metrics: `(outputs, batch) -> values`, one value per example, like the losses.

An example's value is the mean over its targets that count, and the mean over a split or a batch
one over all of them, as of the losses: `accuracy` of sequences is that of their tokens. What is no
mean over examples is a `Corpus`, for `training.evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxml.core.checks import require, require_choice
from jaxml.core.empirical_risk import weights_of
from jaxml.core.types import Batch, DataLoss
from jaxml.training.batches import expect, labels_of, of_batch, over_targets
from jaxml.training.losses import softmax_cross_entropy


class Corpus(NamedTuple):
    """A metric of a whole split that is no mean over its examples.

    Attributes:
        values: `(outputs, batch) -> ` a pytree of arrays with one leading axis of examples.
        result: those of all examples, as NumPy's arrays -> a number or an array.

    Example:
        >>> from jaxml import nn, training
        >>> largest = Corpus(lambda outputs, batch: abs(outputs[:, 0] - batch["y"]), np.max)
        >>> model = nn.linear(1, 1)
        >>> state = training.start(model, training.optimizers.sgd(0.1), jax.random.key(0))
        >>> split = {"x": jnp.zeros((3, 1)), "y": jnp.array([1.0, -4.0, 2.0])}
        >>> training.evaluate(model, state, split, {"largest error": largest})
        {'largest error': 4.0}
    """

    values: Callable[[Any, Batch], Any]
    result: Callable[[Any], Any]


def accuracy(
    outputs: Float[Array, " batch *shape classes"], batch: Batch
) -> Float[Array, " batch"]:
    """1 where the largest output is the label's, else 0.

    Example:
        >>> accuracy(jnp.array([[2.0, 1.0], [2.0, 1.0]]), {"y": jnp.array([0, 1])}).tolist()
        [1.0, 0.0]
        >>> sequence = {"y": jnp.array([[1, 0, 0]]), "mask": jnp.array([[1, 1, 0]])}
        >>> accuracy(jnp.array([[[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]]), sequence).tolist()
        [0.5]
    """
    return top_k_accuracy(outputs, batch, k=1)


def error(outputs: Float[Array, " batch *shape classes"], batch: Batch) -> Float[Array, " batch"]:
    """0 where the largest output is the label's, else 1.

    Example:
        >>> error(jnp.array([[2.0, 1.0], [2.0, 1.0]]), {"y": jnp.array([0, 1])}).tolist()
        [0.0, 1.0]
    """
    return over_targets(1 - _found(outputs, batch, 1), batch)


def top_k_accuracy(
    outputs: Float[Array, " batch *shape classes"], batch: Batch, k: int = 5
) -> Float[Array, " batch"]:
    """1 where the label's output is among the `k` largest, else 0.

    Example:
        >>> top_k_accuracy(jnp.array([[3.0, 2.0, 1.0]]), {"y": jnp.array([1])}, k=2).tolist()
        [1.0]
    """
    return over_targets(_found(outputs, batch, k), batch)


def _found(outputs: Array, batch: Batch, k: int) -> Array:
    labels = labels_of(batch, outputs.shape[:-1], outputs.shape[-1])
    require(1 <= k <= outputs.shape[-1], f"k in 1 to {outputs.shape[-1]}", k)
    _, best = jax.lax.top_k(outputs, k)
    found = (best == labels[..., None]).any(-1).astype(outputs.dtype)
    return jnp.where(labels < outputs.shape[-1], found, jnp.nan)


def binary_accuracy(outputs: Float[Array, " batch *shape"], batch: Batch) -> Float[Array, " batch"]:
    """1 where the sign of an output (a logit) is that of its label (0 or 1), else 0.

    Example:
        >>> binary_accuracy(jnp.array([[2.0], [2.0]]), {"y": jnp.array([1, 0])}).tolist()
        [1.0, 0.0]
    """
    labels = jnp.asarray(of_batch(batch, "y"))
    one = lambda array: array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array  # noqa: E731
    outputs, labels = one(outputs), one(labels)
    require(labels.shape == outputs.shape, f"labels of {outputs.shape}", labels.shape)
    expect(batch["y"], "probabilities")
    right = ((outputs > 0) == (labels > 0.5)).astype(outputs.dtype)
    return over_targets(jnp.where((labels < 0) | (labels > 1), jnp.nan, right), batch)


def perplexity(loss: DataLoss = softmax_cross_entropy) -> Corpus:
    """The exponential of the mean cross-entropy (nats) of all targets that count.

    Args:
        loss: a cross-entropy, one value per example.

    Example:
        >>> batch = {"y": jnp.array([[0, 1], [1, 0]]), "mask": jnp.array([[1, 1], [1, 0]])}
        >>> metric = perplexity()
        >>> round(float(metric.result(metric.values(jnp.zeros((2, 2, 4)), batch))), 3)
        4.0
    """

    def values(outputs, batch):
        values = loss(outputs, batch)
        return values, weights_of(batch, values.dtype)

    return Corpus(values, lambda found: np.exp(np.average(found[0], weights=found[1])))


def confusion_matrix() -> Corpus:
    """How many targets of class i were given class j, at row i and column j.

    Each counts with its example's weight; integers where there are no weights.

    Example:
        >>> metric = confusion_matrix()
        >>> outputs, batch = jnp.eye(2)[jnp.array([0, 1, 1])], {"y": jnp.array([0, 0, 1])}
        >>> metric.result(metric.values(outputs, batch)).tolist()
        [[1, 1], [0, 1]]
    """
    return Corpus(_classified, _confusion)


def f1(average: Literal["macro", "micro", "weighted", "binary"] | None = "macro") -> Corpus:
    """The harmonic mean of precision and recall, 2·TP / (2·TP + FP + FN).

    Args:
        average: over the classes that occur, among targets or outputs: `"macro"`, their plain mean;
            `"weighted"`, by their targets; `"micro"`, of all counts together (the accuracy);
            `"binary"`, of class 1 alone; `None`, one number for each class, 0 where it does not
            occur.

    Reference:
        van Rijsbergen 1979, "Information Retrieval", chapter 7; scikit-learn's `f1_score`.
    """
    if average is not None:
        require_choice("average", average, ("macro", "micro", "weighted", "binary"))

    def result(found):
        counts = _confusion(found)
        both = counts.sum(0) + counts.sum(1)
        each = 2 * counts.diagonal() / np.where(both > 0, both, 1)
        if average is None:
            return each
        if average == "micro":
            return counts.diagonal().sum() / counts.sum()
        if average == "binary":
            require(len(each) == 2, "two classes for average='binary'", f"{len(each)}")
            return each[1]
        return np.average(each, weights=both > 0 if average == "macro" else counts.sum(1))

    return Corpus(_classified, result)


def _classified(outputs: Array, batch: Batch) -> dict[str, Array]:
    """Of each target its class, the largest output's, and what it counts."""
    classes = outputs.shape[-1]
    labels = labels_of(batch, outputs.shape[:-1], classes)
    counts = jnp.asarray(batch.get("mask", jnp.ones(labels.shape, bool)))
    require(counts.shape == labels.shape, f"a mask of the labels' {labels.shape}", counts.shape)
    if "weights" in batch:
        own = jnp.asarray(of_batch(batch, "weights"))
        counts = counts * own.reshape(-1, *[1] * (counts.ndim - 1))
    predicted = outputs.argmax(-1)
    of_all = jnp.full(len(labels), classes)
    return {"label": labels, "predicted": predicted, "counts": counts, "classes": of_all}


def _confusion(found: dict[str, Any]) -> np.ndarray:
    label, predicted, counts = (
        np.asarray(found[name]).reshape(-1) for name in ("label", "predicted", "counts")
    )
    classes = int(found["classes"][0])
    whole = counts.dtype == bool
    matrix = np.zeros((classes, classes), int if whole else float)
    chosen = counts != 0
    np.add.at(matrix, (label[chosen], predicted[chosen]), counts[chosen])
    return matrix
