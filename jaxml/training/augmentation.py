"""Data augmentation inside the compiled step: transforms `(batch, key) -> batch` of images.

`augmented` puts them behind a sampler, so every step draws them anew and on the device. Images
are `batch["x"]` of shape `(batch, height, width, channels)`; each is transformed on its own.
As in `sampling`, the same arguments give the same function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.resampling import affine_grid, grid_sample, rotations
from jaxml.core.types import Batch
from jaxml.training.batches import labels_of
from jaxml.training.loop import Sample

__all__ = [
    "augmented",
    "board_symmetry",
    "cutout",
    "flip",
    "mixup",
    "noise",
    "rotation",
    "scale",
    "shift",
]

Transform = Callable[[Batch, jax.Array], dict[str, Any]]


@functools.cache
def augmented(sample: Sample, *transforms: Transform) -> Sample:
    """The same batches as `sample`'s, each put through the transforms in their order.

    Example:
        >>> from jaxml.training import sampling
        >>> sample = augmented(sampling.epochs(2), shift(1), flip())
        >>> images = {"x": jnp.ones((6, 4, 4, 1)), "y": jnp.arange(6)}
        >>> sample(images, jax.random.key(0), 0)["x"].shape
        (2, 4, 4, 1)
    """
    require(callable(sample), "a sampler such as sampling.epochs(64)", repr(sample))
    for transform in transforms:
        require(callable(transform), "transforms such as flip()", repr(transform))

    def draw(data, key, step):
        batch = sample(data, key, step)
        own = jax.random.fold_in(jax.random.split(key)[1], step)
        for key_transform, transform in zip(
            jax.random.split(own, max(1, len(transforms))), transforms, strict=False
        ):
            batch = transform(batch, key_transform)
        return batch

    return draw


@functools.cache
def shift(pixels: int) -> Transform:
    """Move each image by up to `pixels` in either direction; zeros come in at the edge.

    Args:
        pixels: the largest shift; every whole number up to it is as likely.
    """
    pixels = require_positive_int("pixels", pixels)

    def move(image, key):
        padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
        row, column = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
        return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)

    return _each(move)


@functools.cache
def flip() -> Transform:
    """Mirror each image, left to right, with probability one half."""
    return _each(lambda image, key: jnp.where(jax.random.bernoulli(key), image[:, ::-1], image))


@functools.cache
def rotation(degrees: float) -> Transform:
    """Turn each image about its centre by an angle drawn uniformly; zeros come in at the edge.

    Between pixels the image is interpolated bilinearly.

    Args:
        degrees: the largest angle, in (0, 180].
    """
    require(0 < degrees <= 180, "degrees in (0, 180]", degrees)

    def matrices(keys, size):
        drawn = jax.vmap(lambda key: jax.random.uniform(key, minval=-degrees, maxval=degrees))
        return rotations(-jnp.deg2rad(drawn(keys)), size)

    return _moved(matrices)


@functools.cache
def scale(factor: float) -> Transform:
    """Enlarge or reduce each image about its centre; zeros come in at the edge.

    Between pixels the image is interpolated bilinearly.

    Args:
        factor: the largest factor, above 1; its logarithm is drawn uniformly, so that 1/factor is
            the smallest.
    """
    require(1 < factor < float("inf"), "a factor above 1", factor)

    def matrices(keys, size):  # noqa: ARG001
        drawn = jax.vmap(lambda key: jax.random.uniform(key, minval=-1, maxval=1))(keys)
        return factor ** -drawn[:, None, None] * jnp.eye(2, 3)

    return _moved(matrices)


@functools.cache
def noise(deviation: float) -> Transform:
    """Add to every number of `x`, an image or not, a draw from a normal distribution.

    Args:
        deviation: its standard deviation, in the units of `x`, above 0.

    Reference:
        Bishop 1995, "Training with noise is equivalent to Tikhonov regularization", Neural
        Computation 7(1).
    """
    require(0 < deviation < float("inf"), "a standard deviation above 0", deviation)

    def add(batch, key):
        x = batch["x"]
        return {**batch, "x": x + deviation * jax.random.normal(key, x.shape, x.dtype)}

    return add


@functools.cache
def board_symmetry() -> Transform:
    """Turn and mirror each board in one of its eight ways, and the point that `y` names with it.

    Boards are square, and `y` a point's number, row by row. All eight are as likely.
    """

    def move(batch, key):
        boards, points = batch["x"], batch["y"]
        square = boards.ndim == 4 and boards.shape[1] == boards.shape[2]
        require(square, "boards (batch, size, size, channels)", boards.shape)
        count, size, _, channels = boards.shape
        numbers = np.arange(size**2).reshape(size, size)
        turned = [np.rot90(numbers, k) for k in range(4)]
        # the point that each symmetry brings to a place
        origin = np.stack([board.ravel() for t in turned for board in (t, t[:, ::-1])])
        drawn = jax.random.randint(key, (count,), 0, len(origin))
        flat = boards.reshape(count, size**2, channels)
        moved = jnp.take_along_axis(flat, jnp.asarray(origin)[drawn][..., None], 1)
        places = jnp.asarray(origin.argsort(1))[drawn, points]
        return {**batch, "x": moved.reshape(boards.shape), "y": places}

    return move


@functools.cache
def cutout(size: int) -> Transform:
    """Set a square of each image to zero, its centre drawn uniformly from the pixels.

    Args:
        size: pixels on a side; near the edge part of the square falls outside.

    Reference:
        DeVries and Taylor 2017 (arXiv:1708.04552), section 3.
    """
    size = require_positive_int("size", size)

    def cut(image, key):
        height, width = image.shape[:2]
        row, column = jax.random.randint(key, (2,), 0, jnp.array([height, width])) - size // 2
        y, x = jnp.arange(height)[:, None], jnp.arange(width)[None]
        inside = (y >= row) & (y < row + size) & (x >= column) & (x < column + size)
        return jnp.where(inside[..., None], 0, image)

    return _each(cut)


@functools.cache
def mixup(alpha: float, classes: int) -> Transform:
    """Mix each image, and its label, with another of the batch: λ·a + (1 − λ)·b.

    Args:
        alpha: λ is drawn from Beta(α, α), once a batch; above 0.
        classes: how many; labels become probabilities of shape `(batch, classes)`, which
            `losses.softmax_cross_entropy` takes.

    Reference:
        Zhang, Cissé, Dauphin and Lopez-Paz 2018 (arXiv:1710.09412), section 2.
    """
    require(0 < alpha < float("inf"), "alpha above 0", alpha)
    classes = require_positive_int("classes", classes)

    def mix(batch, key):
        key_weight, key_partner = jax.random.split(key)
        weight = jax.random.beta(key_weight, alpha, alpha)
        partner = jax.random.permutation(key_partner, len(batch["y"]))

        def blend(values):
            return weight * values + (1 - weight) * values[partner]

        one_hot = jnp.eye(classes, dtype=batch["x"].dtype)
        # a label that is no class makes the loss NaN, rather than the target zero
        labels = labels_of(batch, (len(batch["x"]),), classes)
        y = one_hot.at[labels].get(mode="fill", fill_value=jnp.nan)
        return {**batch, "x": blend(batch["x"]), "y": blend(y)}

    return mix


def _moved(matrices: Callable[[jax.Array, tuple[int, int]], jax.Array]) -> Transform:
    """By `(keys, size) -> matrices`, one of either for each image, as `affine_grid` takes them."""

    def transform(batch, key):
        images = _images(batch)
        size = images.shape[1], images.shape[2]
        grid = affine_grid(matrices(jax.random.split(key, len(images)), size), size)
        return {**batch, "x": grid_sample(images, grid)}

    return transform


def _images(batch: Batch) -> jax.Array:
    images = batch["x"]
    require(images.ndim == 4, "images (batch, height, width, channels)", images.shape)
    return images


def _each(one: Callable[[jax.Array, jax.Array], jax.Array]) -> Transform:
    def transform(batch, key):
        images = _images(batch)
        keys = jax.random.split(key, len(images))
        return {**batch, "x": jax.vmap(one)(images, keys)}

    return transform
