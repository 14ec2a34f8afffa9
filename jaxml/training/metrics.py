"""Metrics: `(outputs, batch) -> values`, one value per example, like the losses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.core.checks import require
from jaxml.core.types import Batch
from jaxml.training.batches import expect, labels_of, of_batch


def accuracy(outputs: Float[Array, " batch classes"], batch: Batch) -> Float[Array, " batch"]:
    """1 where the largest output is the label's, else 0.

    Example:
        >>> accuracy(jnp.array([[2.0, 1.0], [2.0, 1.0]]), {"y": jnp.array([0, 1])}).tolist()
        [1.0, 0.0]
    """
    return top_k_accuracy(outputs, batch, k=1)


def error(outputs: Float[Array, " batch classes"], batch: Batch) -> Float[Array, " batch"]:
    """0 where the largest output is the label's, else 1.

    Example:
        >>> error(jnp.array([[2.0, 1.0], [2.0, 1.0]]), {"y": jnp.array([0, 1])}).tolist()
        [0.0, 1.0]
    """
    return 1 - accuracy(outputs, batch)


def top_k_accuracy(
    outputs: Float[Array, " batch classes"], batch: Batch, k: int = 5
) -> Float[Array, " batch"]:
    """1 where the label's output is among the `k` largest, else 0.

    Example:
        >>> top_k_accuracy(jnp.array([[3.0, 2.0, 1.0]]), {"y": jnp.array([1])}, k=2).tolist()
        [1.0]
    """
    labels = labels_of(batch, outputs.shape[:-1], outputs.shape[-1])
    require(1 <= k <= outputs.shape[-1], f"k in 1 to {outputs.shape[-1]}", k)
    _, best = jax.lax.top_k(outputs, k)
    found = (best == labels[..., None]).any(-1).astype(outputs.dtype)
    return jnp.where(labels < outputs.shape[-1], found, jnp.nan)


def binary_accuracy(outputs: Float[Array, " batch *one"], batch: Batch) -> Float[Array, " batch"]:
    """1 where the sign of the one output (a logit) is that of the label (0 or 1), else 0.

    Example:
        >>> binary_accuracy(jnp.array([[2.0], [2.0]]), {"y": jnp.array([1, 0])}).tolist()
        [1.0, 0.0]
    """
    require(outputs.size == outputs.shape[0], "one output per example", outputs.shape)
    predicted = outputs.reshape(-1) > 0
    labels = jnp.asarray(of_batch(batch, "y"))
    require(labels.size == outputs.size, f"{outputs.size} labels", labels.shape)
    expect(batch["y"], "probabilities")
    right = (predicted == (labels.reshape(-1) > 0.5)).astype(outputs.dtype)
    return jnp.where((labels.reshape(-1) < 0) | (labels.reshape(-1) > 1), jnp.nan, right)
