"""Learning to put out a set, whose elements have no order: objects in images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml.core.checks import require
from jaxml.core.types import Algorithm, Batch, Model
from jaxml.sequence.boxes import generalized_iou
from jaxml.training import length_mask, supervised

DISTANCE, OVERLAP = 5.0, 2.0
"""What the distance of two boxes and their generalised IoU count, beside 1 of the class."""


def hungarian(costs: Any) -> jax.Array:
    """Which row each column gets, no two the same, so that the sum of their costs is least.

    Exact, compiled, and under `jax.vmap` for many matrices at once.

    Args:
        costs: `(n, m)`, at least as many rows as columns; what is not finite counts as 0.

    Returns:
        `(m,)`, rows.

    Raises:
        ValueError: if it is no such matrix.

    Reference:
        Kuhn (1955), "The Hungarian method for the assignment problem", Naval Research Logistics
        Quarterly 2:83-97; by `optax.assignment`.

    >>> hungarian(np.array([[8, 4], [5, 2], [9, 6]]))
    Array([1, 0], dtype=int32)
    """
    costs = jnp.asarray(costs, jnp.result_type(float, jnp.asarray(costs).dtype))
    fits = costs.ndim == 2 and costs.shape[0] >= costs.shape[1]
    require(fits, "costs of shape (n, m), n of at least m", costs.shape)
    # the search for the least of numbers that are none would never end
    costs = jnp.where(jnp.isfinite(costs), costs, 0)
    rows, columns = optax.assignment.hungarian_algorithm(costs)
    return jnp.zeros(costs.shape[1], jnp.int32).at[columns].set(rows.astype(jnp.int32))


def set_loss(
    outputs: Any,
    batch: Batch,
    *,
    no_object: float = 0.1,
    match: Callable[[jax.Array], jax.Array] = hungarian,
) -> jax.Array:
    """How far a set of predictions is from a set of objects, each with the one that it fits best.

    Each object is matched with one prediction, by the probability of its class and the fit of its
    box. An image's value is the sum over all predictions of the cross-entropy, those without an
    object having the class "no object", and over the objects of 5 times the distance of the boxes
    (the sum of the four differences' sizes) and of 2 times 1 − their generalised IoU. What layers
    before the last predict counts alike, each with matches of its own.

    Args:
        outputs: `"classes"`, logits `(N, q, classes + 1)`, the last of no object, and `"boxes"`
            `(N, q, 4)`, as in `intersection_over_union`; perhaps `"between"`, a list
            of the same, see `nn.detr`.
        batch: `"y"` `(N, m)`, classes, `"boxes"` `(N, m, 4)` and `"y_length"` `(N,)`, how many of
            them there are.
        no_object: what the cross-entropy of a prediction without an object counts.
        match: costs `(q, m)` -> the prediction of each object `(m,)`. Columns of objects that
            are not there are 0.

    Returns:
        `(N,)`; the same in whichever order the objects, or the predictions, stand.

    Raises:
        ValueError: if the shapes are not as described, or there are more objects than predictions.

    Reference:
        Carion et al. (2020), arXiv:2005.12872, equations 1 and 2 and appendix A.2, which divide by
        the number of objects in the batch instead of images; section 3.2 for the layers between.

    >>> outputs = {"classes": jnp.zeros((1, 2, 3)), "boxes": jnp.full((1, 2, 4), 0.5)}
    >>> batch = {"y": np.array([[1]]), "boxes": np.full((1, 1, 4), 0.5), "y_length": np.array([1])}
    >>> set_loss(outputs, batch)  # log 3, and a tenth of it
    Array([1.2084736], dtype=float32)
    """
    logits, boxes, y, known, present = _checked(outputs, batch)
    each = functools.partial(jnp.expand_dims, axis=2)
    rows = jnp.arange(len(y))[:, None]

    def apart(one, other):
        distance = abs(one - other).sum(-1)
        return DISTANCE * distance + OVERLAP * (1 - generalized_iou(one, other))

    probabilities = jax.nn.softmax(logits)[rows[..., None], jnp.arange(boxes.shape[1])[:, None],
                                           y[:, None]]  # fmt: skip
    costs = jnp.where(present[:, None], apart(each(boxes), known[:, None]) - probabilities, 0)
    matched = jax.vmap(match)(jax.lax.stop_gradient(costs))

    nothing = logits.shape[-1] - 1
    target = jnp.full(boxes.shape[:2], nothing)
    # what is not there is written beyond the last prediction, which is nowhere
    target = target.at[rows, jnp.where(present, matched, boxes.shape[1])].set(y, mode="drop")
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels(logits, target)
    entropy = jnp.where(target == nothing, no_object, 1) * entropy
    own = entropy.sum(1) + jnp.where(present, apart(boxes[rows, matched], known), 0).sum(1)
    before = outputs.get("between", ())
    return own + sum(set_loss(one, batch, no_object=no_object, match=match) for one in before)


def set_prediction(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    no_object: float = 0.1,
    match: Callable[[jax.Array], jax.Array] = hungarian,
    **options: Any,
) -> Algorithm:
    """Minimise the distance of a set of predictions from the set of objects of each image.

    Args:
        model: from images to `"classes"` and `"boxes"`, such as `nn.detr`.
        optimizer: as in `training.supervised`.
        no_object: as in `set_loss`.
        match: likewise.
        **options: as in `training.supervised`.

    Returns:
        The algorithm of `training.supervised`, so that all that takes its loss takes this.

    Raises:
        ValueError: if an argument is not as described; by the first update, as `set_loss`.

    Reference:
        Carion et al. (2020), arXiv:2005.12872; its losses of the layers between are those of a
        `nn.detr` with `between`.

    >>> from jaxml import nn
    >>> algorithm = set_prediction(nn.detr((28, 28, 1), 10, queries=5), optax.adam(1e-3))
    """
    share = isinstance(no_object, int | float | np.number) and 0 <= no_object < float("inf")
    require(share, "no_object to be finite and at least 0", repr(no_object))
    require(callable(match), "match as a function of the costs", repr(match))
    loss = functools.partial(set_loss, no_object=no_object, match=match)
    return supervised(model, loss, optimizer, **options)


def _checked(outputs: Any, batch: Batch) -> tuple[jax.Array, ...]:
    """Logits, boxes, and of the objects the classes, the boxes and which are there."""
    for of, names in ((outputs, ("classes", "boxes")), (batch, ("y", "boxes", "y_length"))):
        missing = [name for name in names if not isinstance(of, dict) or name not in of]
        require(not missing, f"a dict with {', '.join(names)}", f"none of {', '.join(missing)}")
    logits, boxes = jnp.asarray(outputs["classes"]), jnp.asarray(outputs["boxes"])
    fits = logits.ndim == 3 and boxes.shape == (*logits.shape[:2], 4)
    expected = "classes (N, q, classes + 1) and boxes (N, q, 4)"
    require(fits, expected, f"{logits.shape} and {boxes.shape}")
    y, known, length = (jnp.asarray(batch[name]) for name in ("y", "boxes", "y_length"))
    count, q = boxes.shape[:2]
    fits = y.ndim == 2 and len(y) == count and known.shape == (*y.shape, 4)
    expected = f"y ({count}, m) and boxes ({count}, m, 4)"
    require(fits, expected, f"{y.shape} and {known.shape}")
    require(y.shape[1] <= q, f"at most as many objects as the {q} predictions", y.shape[1])
    return logits, boxes, y, known, length_mask(length, y.shape[1])
