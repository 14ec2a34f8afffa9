"""Directions to look along: random ones on the scale of the network, and places in their span."""

from __future__ import annotations

from typing import Literal

import jax
import numpy as np
from jaxtyping import Float

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Params
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import ravel_host


@takes_modules
def random_directions(
    params: Params,
    count: int = 2,
    *,
    normalize: Literal["filter", "layer"] | None = "filter",
    filter_axis: int = -1,
    biases: bool = False,
    seed: int = 0,
) -> Params:
    """Gaussian directions on the scale of the parameters.

    Without normalisation the plots of two networks cannot be compared: networks with ReLU compute
    the same function at any scale of a layer, so that a step of one length can be long for one of
    them and short for the other.

    Args:
        params: the point; a pytree of arrays.
        count: how many directions.
        normalize: `"filter"` gives each filter of a direction the norm of that filter of `params`;
            `"layer"` does so with whole arrays; `None` leaves standard normal numbers.
        filter_axis: the axis of the outputs, along which the filters of an array lie: the last
            one of Flax's kernels (in, out) and (height, width, in, out), 0 of PyTorch's.
        biases: whether what has fewer than two axes (biases, the scales of norms) changes too,
            each array as one filter. Li et al. leave them as they are.
        seed: of the random numbers.

    Returns:
        The directions, a pytree like the parameters with a leading axis of length `count`.

    Raises:
        ValueError: for options out of range; if nothing would change.

    Reference:
        Li et al. 2018, "Visualizing the loss landscape of neural nets" (arXiv:1712.09913),
        section 4.

    Example:
        >>> kernel = np.array([[3.0, 1.0], [4.0, 0.0]])
        >>> np.linalg.norm(random_directions({"kernel": kernel}, 1)["kernel"][0], axis=0)
        array([5., 1.])
    """
    count = require_positive_int("count", count)
    if normalize is not None:
        require_choice("normalize", normalize, ("filter", "layer"))
    rng = np.random.default_rng(seed)

    def directions(leaf: np.ndarray) -> np.ndarray:
        weights = np.asarray(leaf)[None]
        if not weights.size or (weights.ndim < 3 and not biases):
            return np.zeros((count, *weights.shape[1:]), weights.dtype)
        drawn = rng.normal(size=(count, *weights.shape[1:]))
        axes = list(range(1, weights.ndim))
        if normalize == "filter" and len(axes) > 1:
            known = -len(axes) <= filter_axis < len(axes)
            require(known, f"an axis of an array of shape {weights.shape[1:]}", filter_axis)
            del axes[filter_axis]
        if normalize is not None:
            norms = (np.linalg.norm(_merged(x, axes), axis=-1) for x in (weights, drawn))
            drawn *= np.expand_dims(np.divide(*norms), axes)
        return drawn.astype(weights.dtype)

    result = jax.tree.map(directions, params)
    changes = any(leaf.any() for leaf in jax.tree.leaves(result))
    require(
        changes,
        "an array of two axes or more that is not zero, or biases=True",
        f"shapes {[np.shape(leaf) for leaf in jax.tree.leaves(params)]}",
    )
    return result


def _merged(array: np.ndarray, axes: list[int]) -> np.ndarray:
    """The array with some of its axes merged into a last one."""
    kept = [axis for axis in range(array.ndim) if axis not in axes]
    return array.transpose(*kept, *axes).reshape(*(array.shape[axis] for axis in kept), -1)


@takes_modules
def project(
    params: Params, directions: Params, points: Params
) -> tuple[Float[np.ndarray, "points directions"], Float[np.ndarray, " points"]]:
    """Where points come to lie in the line, plane or volume through a point.

    By least squares: the directions need be neither orthogonal nor of unit length.

    Args:
        params: the point.
        directions: a pytree like `params` with a leading axis, as `surface` takes them.
        points: another.

    Returns:
        The coordinates of the points' orthogonal projections, and the points' distances from
        these. float64.

    Raises:
        ValueError: if the trees do not match.

    Example:
        >>> project(np.zeros(3), np.array([[2.0, 0.0, 0.0]]), np.array([[6.0, 0.0, 1.0]]))
        (array([[3.]]), array([1.]))
    """
    origin = ravel_host(params).astype(float)
    basis = ravel_stack(params, directions, "directions").astype(float)
    away = ravel_stack(params, points, "points") - origin
    coordinates = np.linalg.lstsq(basis.T, away.T)[0].T
    return coordinates, np.linalg.norm(away - coordinates @ basis, axis=1)


def ravel_stack(params: Params, stack: Params, name: str) -> np.ndarray:
    """A stack of pytrees like the parameters as flat rows.

    Args:
        params: the parameters.
        stack: a pytree like them, whose leaves have one leading axis more.
        name: what messages call it.

    Raises:
        ValueError: if the trees do not match or a value is not finite.
    """
    alike = jax.tree.structure(stack) == jax.tree.structure(params)
    require(alike, f"{name} like {jax.tree.structure(params)}", jax.tree.structure(stack))
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(jax.device_get(stack))]
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(params)]
    counts = {leaf.shape[:1] for leaf in leaves}
    stacked = len(counts) == 1 and counts not in ({()}, {(0,)})
    matching = stacked and [leaf.shape[1:] for leaf in leaves] == shapes
    require(
        matching,
        f"{name} stacked along one leading axis, of shapes {[('n', *s) for s in shapes]}",
        [leaf.shape for leaf in leaves],
    )
    rows = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
    require(np.isfinite(rows).all(), f"finite {name}", "NaN or infinity among them")
    return rows
