"""Losses of networks: `(outputs, batch) -> values`, one value per example.

An example's value is the mean over its targets, of those that the batch's `"mask"`, if it has one,
leaves (0 where it leaves none). Whoever reduces says how: `supervised` takes the mean over all
targets of the batch that count, each with its example's `"weights"`.
Arguments beyond the two are fixed with `functools.partial`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxml.core.checks import require
from jaxml.core.types import Batch
from jaxml.training.batches import expect, labels_of, of_batch, over_targets


def _targets(outputs: Array, batch: Batch, kind: str = "numbers") -> Array:
    """The targets, shaped as the outputs: (B, 1) against (B,) must not broadcast to (B, B)."""
    targets = jnp.asarray(of_batch(batch, "y"))
    if outputs.shape == (*targets.shape, 1):
        targets = targets[..., None]
    require(outputs.shape == targets.shape, f"targets of shape {outputs.shape}", targets.shape)
    expect(batch["y"], kind)
    return targets


def mse(outputs: Float[Array, " batch *shape"], batch: Batch) -> Float[Array, " batch"]:
    """Squared error, its mean over an example's outputs.

    Example:
        >>> mse(jnp.array([[1.0], [2.0]]), {"y": jnp.array([1.0, 4.0])}).tolist()
        [0.0, 4.0]
    """
    return over_targets((outputs - _targets(outputs, batch)) ** 2, batch)


def mae(outputs: Float[Array, " batch *shape"], batch: Batch) -> Float[Array, " batch"]:
    """Absolute error, its mean over an example's outputs.

    Example:
        >>> mae(jnp.array([[1.0], [2.0]]), {"y": jnp.array([1.0, 4.0])}).tolist()
        [0.0, 2.0]
    """
    return over_targets(jnp.abs(outputs - _targets(outputs, batch)), batch)


def huber(
    outputs: Float[Array, " batch *shape"], batch: Batch, delta: float = 1.0
) -> Float[Array, " batch"]:
    """Half the squared error up to `delta`, linear beyond; mean over an example's outputs.

    Reference:
        Huber 1964, "Robust estimation of a location parameter".

    Example:
        >>> huber(jnp.array([[0.5], [3.0]]), {"y": jnp.zeros(2)}).tolist()
        [0.125, 2.5]
    """
    values = optax.losses.huber_loss(outputs, _targets(outputs, batch), delta=delta)
    return over_targets(values, batch)


def softmax_cross_entropy(
    outputs: Float[Array, " batch *shape classes"], batch: Batch, label_smoothing: float = 0.0
) -> Float[Array, " batch"]:
    """Cross-entropy (nats) of the softmax of the outputs, fused so that logits of 1e4 are safe.

    Args:
        outputs: logits.
        batch: its `"y"` are class numbers of shape `(batch, *shape)`, or probabilities shaped as
            the outputs.
        label_smoothing: the share of each target that is spread evenly over all classes.

    Reference:
        Szegedy et al. 2016 (arXiv:1512.00567), section 7, for the smoothing.

    Example:
        >>> values = softmax_cross_entropy(jnp.array([[1e4, 0.0]]), {"y": jnp.array([1])})
        >>> values.tolist()
        [10000.0]
    """
    targets = jnp.asarray(of_batch(batch, "y"))
    classes = outputs.shape[-1]
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        targets = labels_of(batch, outputs.shape[:-1], classes)
        values = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, targets)
        if label_smoothing:
            # every class has its share; one row of probabilities a target would cost more
            even = jax.nn.logsumexp(outputs, axis=-1) - outputs.mean(-1)
            values = (1 - label_smoothing) * values + label_smoothing * even
        return over_targets(values, batch)
    require(
        targets.shape == outputs.shape,
        f"probabilities of {outputs.shape}, or integer labels of {outputs.shape[:-1]}",
        f"{targets.shape} of {targets.dtype}",
    )
    expect(batch["y"], "distribution")
    targets = optax.losses.smooth_labels(targets, label_smoothing)
    return over_targets(optax.losses.softmax_cross_entropy(outputs, targets), batch)


def additive_margin_softmax(
    outputs: Float[Array, " batch *shape classes"],
    batch: Batch,
    scale: float = 30.0,
    margin: float = 0.35,
) -> Float[Array, " batch"]:
    """Cross-entropy (nats) of the softmax of scaled cosines, the target's less a margin.

    With margin 0 it is `softmax_cross_entropy` of `scale` times the cosines.

    Args:
        outputs: cosines, such as those of `nn.cosine_classifier`.
        batch: its `"y"` are class numbers of shape `(batch, *shape)`.
        scale: what cosines are multiplied by, as they are too near to each other for a softmax.
        margin: by how much the target's cosine must exceed the others' for the same loss.

    Raises:
        ValueError: if the scale is not positive, the margin is negative, or one is not finite.

    Reference:
        Wang et al. 2018 (arXiv:1801.05599), eq. 6; its section 4 has the scale and the margin.

    Example:
        >>> cosines = jnp.array([[0.5, 0.5]])
        >>> additive_margin_softmax(cosines, {"y": jnp.array([0])}, margin=0.0).round(3).tolist()
        [0.6930000185966492]
    """
    require(0 < scale < float("inf"), "a finite scale above 0", scale)
    require(0 <= margin < float("inf"), "a finite margin of at least 0", margin)
    classes = outputs.shape[-1]
    targets = labels_of(batch, outputs.shape[:-1], classes)
    is_target = targets[..., None] == jnp.arange(classes)
    logits = scale * jnp.where(is_target, outputs - margin, outputs)
    values = optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets)
    return over_targets(values, batch)


def sigmoid_cross_entropy(
    outputs: Float[Array, " batch *shape"], batch: Batch, label_smoothing: float = 0.0
) -> Float[Array, " batch"]:
    """Cross-entropy (nats) of the sigmoid of each output, fused so that logits of 1e4 are safe.

    Args:
        outputs: logits.
        batch: its `"y"` are 0, 1 or probabilities, shaped as the outputs (a last axis of 1 apart).
        label_smoothing: the share of each target that is replaced by one half.

    Example:
        >>> sigmoid_cross_entropy(jnp.array([[-1e4]]), {"y": jnp.array([1])}).tolist()
        [10000.0]
    """
    targets = _targets(outputs, batch, "probabilities")
    targets = jnp.where((targets < 0) | (targets > 1), jnp.nan, targets)
    targets = (1 - label_smoothing) * targets + label_smoothing / 2
    return over_targets(optax.losses.sigmoid_binary_cross_entropy(outputs, targets), batch)
