"""How many objects are found in images."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxml.core.checks import require
from jaxml.core.types import Batch
from jaxml.sequence.boxes import intersection_over_union
from jaxml.training import length_mask


def share_found(outputs: Any, batch: Batch, *, overlap: float = 0.5) -> float:
    """The share of objects that a prediction has with its class and with a box that fits.

    A prediction whose likeliest class is no object is none. From the surest on each finds one
    object at most, and each object is found once.

    Args:
        outputs: as in `sequence.set_loss`: `"classes"` `(N, q, classes + 1)` and `"boxes"`.
        batch: likewise: `"y"`, `"boxes"` and `"y_length"`.
        overlap: from which intersection over union on a box fits, in (0, 1].

    Returns:
        From 0 to 1.

    Raises:
        ValueError: if the overlap is out of range or there is no object.

    >>> outputs = {"classes": np.eye(3)[[[1, 0]]], "boxes": np.full((1, 2, 4), 0.5)}
    >>> batch = {"y": np.array([[1, 1]]), "boxes": np.full((1, 2, 4), 0.5),
    ...          "y_length": np.array([2])}
    >>> share_found(outputs, batch)
    0.5
    """
    found = np.asarray(outputs["classes"]).argmax(-1) < np.shape(outputs["classes"])[-1] - 1
    _, _, right, classes = _claims(outputs, batch, overlap, found)
    return float(right.sum() / len(classes))


def average_precision(outputs: Any, batch: Batch, *, overlap: float = 0.5) -> float:
    """The mean over the classes of the area below precision against recall.

    Predictions of a class are taken from the surest on; each finds, of the objects of its image and
    class that are left, the one that its box fits best. Every prediction counts, with its likeliest
    class but for no object, and that class's probability. The precision at a recall is the best at
    that recall or a higher one.

    Args:
        outputs: as in `share_found`.
        batch: likewise.
        overlap: likewise.

    Returns:
        From 0 to 1; over the classes that have an object.

    Raises:
        ValueError: as `share_found`.

    Reference:
        Everingham et al. (2015), "The PASCAL visual object classes challenge: a retrospective",
        International Journal of Computer Vision 111:98-136, section 3.2, with the objects that
        are left as in Lin et al. (2014), arXiv:1405.0312.

    >>> outputs = {"classes": np.array([[[1.0, 9, 0], [0, 8, 0]]]),
    ...            "boxes": np.full((1, 2, 4), 0.5)}
    >>> batch = {"y": np.array([[1, 1]]), "boxes": np.full((1, 2, 4), 0.5),
    ...          "y_length": np.array([2])}
    >>> average_precision(outputs, batch)
    1.0
    """
    sure, named, right, classes = _claims(outputs, batch, overlap)
    areas = []
    for label in np.unique(classes):
        of = named == label
        hits = right[of][np.argsort(-sure[of], kind="stable")]
        precision = hits.cumsum() / np.arange(1, len(hits) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        areas.append(best[hits].sum() / (classes == label).sum())
    return float(np.mean(areas))


def _claims(
    outputs: Any, batch: Batch, overlap: float, among: Any = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each prediction how sure it is, its class and whether it found an object `(N, q)`.

    And the classes of all objects. Of predictions that are not `among` them none finds any.
    """
    require(0 < overlap <= 1, "overlap in (0, 1]", overlap)
    y = np.asarray(batch["y"])
    present = np.asarray(length_mask(batch["y_length"], y.shape[1]))
    require(present.any(), "at least one object", "none")
    probabilities = np.asarray(jax.nn.softmax(np.asarray(outputs["classes"])))[..., :-1]
    sure, named = probabilities.max(-1), probabilities.argmax(-1)
    boxes, known = np.asarray(outputs["boxes"]), np.asarray(batch["boxes"])
    shared = np.asarray(intersection_over_union(boxes[:, :, None], known[:, None]))
    fits = (shared >= overlap) & (named[:, :, None] == y[:, None]) & present[:, None]
    fits &= np.broadcast_to(among, sure.shape)[..., None]
    right, left, rows = np.zeros(sure.shape, bool), present.copy(), np.arange(len(y))
    for query in np.argsort(-sure, axis=1, kind="stable").T:
        may = np.where(fits[rows, query] & left, shared[rows, query], 0)
        best = may.argmax(1)
        right[rows, query] = may[rows, best] > 0
        left[rows, best] &= ~right[rows, query]
    return sure, named, right, y[present]
