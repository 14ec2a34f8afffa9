"""Canvases with a few handwritten digits, and where they stand."""

from __future__ import annotations

import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.data.dataset import Dataset, Split
from jaxml.data.loaders.digits import digits
from jaxml.data.splits import generator

SIDE = 8
"""Pixels on a side of a digit."""


def digit_canvases(*, n: int = 5000, most: int = 3, size: int = 28, seed: int = 0) -> Dataset:
    """Black canvases with 1 to `most` of the digits of `digits`, each with its class and box.

    The squares of 8 by 8 pixels of a canvas do not overlap; how many there are, where, and which
    is drawn evenly. A canvas has digits of one split of `digits` alone: those of the test are on
    no canvas that is trained on.

    Args:
        n: canvases to train on; for validation and for the test a fifth as many each, at least 1.
        most: digits of a canvas.
        size: pixels on a side of it, at least 8 `most`.
        seed: of the canvases and of the split of the digits; a whole number of at least 0.

    Returns:
        `x` float32 `(N, size, size, 1)`, ink from 0 to 1; `y` int32 `(N, most)`, the classes, in
        no order; `boxes` float32 `(N, most, 4)`, around each digit's ink: centre from the left and
        from the top, width and height, as shares of the canvas; `y_length` int32 `(N,)`, how many
        digits there are. What is beyond is 0.

    Raises:
        ValueError: if an option is out of range.

    >>> canvases = digit_canvases(n=20)
    >>> canvases.meta["counts"], canvases.train["boxes"].shape
    ({'train': 20, 'validation': 4, 'test': 4}, (20, 3, 4))
    """
    n, most, size = (
        require_positive_int(name, value)
        for name, value in (("n", n), ("most", most), ("size", size))
    )
    require(size >= SIDE * most, f"size of at least {SIDE * most} for {most} digits", size)
    rng = generator(seed)
    few = max(1, n // 5)
    known = digits(seed=seed)
    train, validation, test = (
        _canvases(known.splits[name], count, most, size, rng)
        for name, count in (("train", n), ("validation", few), ("test", few))
    )
    return Dataset(
        train,
        validation,
        test,
        meta={
            **{name: known.meta[name] for name in ("classes", "source", "licence", "citation")},
            "name": "digit_canvases",
            "task": "detection",
            "description": f"1 to {most} handwritten digits on {size}x{size} pixels, with boxes",
        },
    )


def _canvases(of: Split, count: int, most: int, size: int, rng: np.random.Generator) -> Split:
    images, labels = of["x"].reshape(-1, SIDE, SIDE), of["y"]
    length = rng.integers(1, most + 1, count)
    present = np.arange(most) < length[:, None]
    corner = _apart(length, most, size, rng)
    which = rng.integers(0, len(images), (count, most))
    x = np.zeros((count, size, size, 1), np.float32)
    for row, place in np.argwhere(present):
        up, left = corner[row, place]
        x[row, up : up + SIDE, left : left + SIDE, 0] = images[which[row, place]]
    ink = images[which] > 0
    sides = []  # the first and the last row, and then column, that has ink, as shares
    for axis, inked in enumerate((ink.any(3), ink.any(2))):
        first = corner[..., axis] + inked.argmax(2)
        last = corner[..., axis] + SIDE - inked[..., ::-1].argmax(2)
        sides.append((first / size, last / size))
    (top, bottom), (left, right) = sides
    boxes = np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], -1)
    return {
        "x": x,
        "y": np.where(present, labels[which], 0).astype(np.int32),
        "boxes": np.where(present[..., None], boxes, 0).astype(np.float32),
        "y_length": length.astype(np.int32),
    }


def _apart(length: np.ndarray, most: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Corners `(rows, most, 2)` of squares, of which the first `length` do not overlap."""
    corner = np.zeros((len(length), most, 2), int)
    left = np.arange(len(length))
    while len(left):
        drawn = rng.integers(0, size - SIDE + 1, (len(left), most, 2))
        near = (abs(drawn[:, :, None] - drawn[:, None]) < SIDE).all(-1)
        inside = np.arange(most) < length[left, None]
        near &= inside[:, :, None] & inside[:, None] & ~np.eye(most, dtype=bool)
        corner[left] = drawn
        left = left[near.any((1, 2))]
    return corner
