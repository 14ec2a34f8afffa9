"""The noisy quadratic model: a problem whose steps to target are known in closed form.

Loss ½Σ hᵢwᵢ², gradients with noise of variance cᵢ/B in each direction, on average over runs. What a
study measures can be held against it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxml.core.checks import require


@dataclasses.dataclass(frozen=True)
class NoisyQuadratic:
    """The model.

    Attributes:
        curvature: h, all above 0.
        noise: c, the variance of one example's gradient.
        start: s₀, the mean square of w at the start.
    """

    curvature: Float[np.ndarray, " size"]
    noise: Float[np.ndarray, " size"]
    start: Float[np.ndarray, " size"]

    def stationary(
        self, rate: float, batch_size: float, momentum: float = 0.0
    ) -> Float[np.ndarray, " size"]:
        """The mean square of w in the long run, under heavy ball; infinite beyond the edge.

        Reference:
            Zhang et al. 2019 (arXiv:1907.04164), section 3; with momentum, the fixed point of
            M = AMAᵀ + N for A = [[1−ηh, −ηβ], [h, β]] and N = (c/B)[[η², −η], [−η, 1]].
        """
        h, edge = self.curvature, 2 * (1 + momentum)
        inside = rate * h < edge
        share = (1 + momentum) / ((1 - momentum) * np.where(inside, edge - rate * h, 1))
        return np.where(inside, rate * self.noise / (batch_size * h) * share, np.inf)

    def loss(self, steps: Sequence[int] | np.ndarray, rate: float, batch_size: float) -> np.ndarray:
        """The mean loss after so many steps of gradient descent.

        Reference:
            Zhang et al. 2019, equation 4, written to hold beyond the edge of stability too:
            s_t = qᵗs₀ + (η²c/B)(1 − qᵗ)/(1 − q) for q = (1−ηh)².
        """
        t, h = np.asarray(steps, float)[:, None], self.curvature
        shrunk = rate * h * (2 - rate * h)  # 1 − q
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            kept = (1 - rate * h) ** (2 * t)
            added = np.where(shrunk == 0, t, (1 - kept) / shrunk)
            square = kept * self.start + rate**2 * self.noise / batch_size * added
            losses = 0.5 * (h * square).sum(1)
        return np.where(np.isnan(losses), np.inf, losses)

    def steps_to(
        self,
        share: float,
        batch_size: float,
        rates: Sequence[float],
        *,
        max_steps: int = 2**20,
    ) -> tuple[int | float, float]:
        """Steps until the mean loss first is at most a share of the loss at the start.

        Args:
            share: of the loss.
            batch_size: B.
            rates: η, of which the best is taken.
            max_steps: that are looked at.

        Returns:
            The steps, infinite if none gets there, and the rate.
        """
        require(0 < share < 1, "a share in (0, 1)", share)
        grid = np.unique(np.round(np.geomspace(1, max_steps, 400)).astype(int))
        goal = share * self.loss([0], rates[0], batch_size)[0]
        best: tuple[int | float, float] = (math.inf, math.nan)
        for rate in rates:
            met = np.flatnonzero(self.loss(grid, rate, batch_size) <= goal)
            if not len(met) or (met[0] and grid[met[0] - 1] >= best[0]):
                continue
            low, high = (int(grid[met[0] - 1]) if met[0] else 0), int(grid[met[0]])
            while high - low > 1:
                middle = (low + high) // 2
                at = self.loss([middle], rate, batch_size)[0]
                low, high = (low, middle) if at <= goal else (middle, high)
            best = min(best, (high, rate))
        return best


def zhang(size: int = 1000) -> NoisyQuadratic:
    """The model with hᵢ = cᵢ = 1/i and s₀ = 1.

    Reference:
        Zhang et al. 2019 (arXiv:1907.04164), section 3.2; their notebook returns one step too few.

    Example:
        >>> zhang(100).steps_to(0.01, 64, np.geomspace(1e-3, 1.9, 60))[0] > 0
        True
    """
    h = 1 / np.arange(1, size + 1)
    return NoisyQuadratic(h, h, np.ones(size))
