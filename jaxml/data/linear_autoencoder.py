"""The linear autoencoder, every critical point of whose loss is known in closed form.

Reference:
    Baldi and Hornik, "Neural networks and principal component analysis: learning from examples
    without local minima", Neural Networks 2 (1989).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxml.core.checks import require, require_positive_int


@dataclasses.dataclass(frozen=True)
class CriticalAutoencoder:
    """The critical points of one subset of eigenvectors: all alike up to GL(hidden).

    Attributes:
        subset: which eigenvectors of the covariance are kept, the largest eigenvalue's is 0.
        params: one of the points: `decoder` `(d, hidden)` and `encoder` `(hidden, d)`.
        loss: half the sum of the eigenvalues left out.
        index: how many eigenvalues of the Hessian are negative: with r kept, one for each pair of
            a kept eigenvalue and a larger one left out, and (hidden − r)(d − r).
        nullity: how many are zero: r(2·hidden − r).
    """

    subset: tuple[int, ...]
    params: dict[str, np.ndarray]
    loss: float
    index: int
    nullity: int


class LinearAutoencoder(NamedTuple):
    """A covariance, `(d, d)`, and the critical points of its autoencoder, one of each class."""

    covariance: np.ndarray
    critical_points: tuple[CriticalAutoencoder, ...]


def loss(params: dict[str, Any], covariance: Any) -> Any:
    """½ tr((I − W₂W₁) Σ (I − W₂W₁)ᵀ): half the mean squared error of inputs of covariance Σ.

    Args:
        params: `decoder` W₂, `(d, hidden)`, and `encoder` W₁, `(hidden, d)`; arrays of numpy or
            of any library with `@`, such as jax under its transformations.
        covariance: Σ, `(d, d)`.

    >>> float(loss({"decoder": np.zeros((2, 1)), "encoder": np.zeros((1, 2))}, np.eye(2)))
    1.0
    """
    error = np.eye(len(covariance), dtype=covariance.dtype) - params["decoder"] @ params["encoder"]
    return 0.5 * (error @ covariance * error).sum()


def closed_form(eigenvalues: Sequence[float], hidden: int) -> LinearAutoencoder:
    """A covariance with these eigenvalues, in a fixed random basis, and what is known of it.

    Args:
        eigenvalues: d of them, positive, descending, distinct.
        hidden: the width of the bottleneck, at most d.

    Returns:
        In float64; one critical point for each subset of at most `hidden` eigenvectors, by size.

    Raises:
        ValueError: if the eigenvalues or the width are not as described.

    >>> [(p.subset, p.index, p.nullity) for p in closed_form([3, 2, 1], 1).critical_points]
    [((), 3, 0), ((0,), 0, 1), ((1,), 1, 1), ((2,), 2, 1)]
    """
    values = np.asarray(eigenvalues, float)
    valid = values.ndim == 1 and values.size > 0 and (np.diff([*values, 0.0]) < 0).all()
    require(valid, "positive eigenvalues, descending, distinct", eigenvalues)
    d = values.size
    hidden = require_positive_int("hidden", hidden)
    require(hidden <= d, f"hidden of at most the {d} inputs", hidden)
    vectors = np.linalg.qr(np.random.default_rng(d).normal(size=(d, d)))[0]
    points = []
    for r in range(hidden + 1):
        for subset in itertools.combinations(range(d), r):
            decoder = np.zeros((d, hidden))
            decoder[:, :r] = vectors[:, subset]
            left = [j for j in range(d) if j not in subset]
            swaps = sum(values[j] > values[i] for i in subset for j in left)
            points.append(
                CriticalAutoencoder(
                    subset,
                    {"decoder": decoder, "encoder": decoder.T.copy()},
                    loss=float(0.5 * values[left].sum()),
                    index=int(swaps) + (hidden - r) * (d - r),
                    nullity=r * (2 * hidden - r),
                )
            )
    return LinearAutoencoder(vectors * values @ vectors.T, tuple(points))
