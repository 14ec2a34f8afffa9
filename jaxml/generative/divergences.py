"""How far one distribution is from another."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int


def kullback_leibler(p: Any, q: Any) -> float:
    """KL(p‖q) in nats, the mean of log p/q under p; infinite where q is 0 and p is not.

    Args:
        p: probabilities of one sum 1, any shape.
        q: of the same shape; KL(q‖p) is the reverse one.

    Raises:
        ValueError: if they are none, or of different shapes.

    >>> kullback_leibler([0.5, 0.5], [0.5, 0.5]), kullback_leibler([0.5, 0.5], [1.0, 0.0])
    (0.0, inf)
    """
    p, q = _probabilities(p, q)
    at = p > 0
    with np.errstate(divide="ignore"):
        return float((p[at] * (np.log(p[at]) - np.log(q[at]))).sum())


def jensen_shannon(p: Any, q: Any) -> float:
    """The mean of KL(p‖m) and KL(q‖m) for their mixture m, in nats; log 2 without overlap.

    Args:
        p: as in `kullback_leibler`.
        q: likewise.

    Raises:
        ValueError: likewise.

    Reference:
        Lin (1991), IEEE Transactions on Information Theory 37:145-151.

    >>> round(jensen_shannon([1.0, 0.0], [0.0, 1.0]), 4)  # log 2
    0.6931
    """
    p, q = _probabilities(p, q)
    middle = (p + q) / 2
    return (kullback_leibler(p, middle) + kullback_leibler(q, middle)) / 2


def sliced_wasserstein(x: Any, y: Any, *, key: jax.Array, directions: int = 100) -> jax.Array:
    """The mean Wasserstein-1 distance of two samples seen along random directions.

    In one dimension it is that distance: the mean difference of the sorted values. (Of samples of
    different sizes, and in several dimensions by a linear programme, SciPy has
    `wasserstein_distance` and `wasserstein_distance_nd`.)

    Args:
        x: `(n, d)`.
        y: likewise; differentiable by both.
        key: of the directions.
        directions: how many.

    Raises:
        ValueError: if the shapes are not two alike.

    Reference:
        Bonneel et al. (2015), Journal of Mathematical Imaging and Vision 51:22-45.

    >>> line = np.arange(4.0)[:, None]
    >>> float(sliced_wasserstein(line, line + 3, key=jax.random.key(0)))
    3.0
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    alike = x.ndim == 2 and x.shape == y.shape and x.size > 0
    require(alike, "two samples of one shape (n, d)", f"{x.shape} and {y.shape}")
    directions = require_positive_int("directions", directions)
    drawn = jax.random.normal(key, (x.shape[1], directions), x.dtype)
    drawn = drawn / jnp.linalg.norm(drawn, axis=0)
    return abs(jnp.sort(x @ drawn, axis=0) - jnp.sort(y @ drawn, axis=0)).mean()


def _probabilities(p: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    p, q = np.asarray(p, float), np.asarray(q, float)
    require(p.shape == q.shape and p.size > 0, f"q of the shape of p, {p.shape}", q.shape)
    for name, values in (("p", p), ("q", q)):
        sound = (values >= 0).all() and abs(values.sum() - 1) < 1e-6
        require(sound, f"{name} of at least 0 that sum to 1", values.sum())
    return p, q
