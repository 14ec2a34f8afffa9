"""Whether two minima are connected: the straight line between them, and a fitted curve."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jaxml.core.checks import require, require_positive_int
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.geometry.directions import ravel_stack
from jaxml.landscape.geometry.surfaces import evaluate
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import (
    checked_problem,
    needs_float64,
    ravel_host,
    unravel_host,
)


@dataclasses.dataclass(frozen=True)
class Connection(Result):
    """Two ways from one point to another. All arrays are numpy's.

    Attributes:
        bends: the curve's control points between its ends, a pytree like these with a leading
            axis. With one, b, the curve is (1−t)²·start + 2t(1−t)·b + t²·end.
        t: the places on the way from 0 to 1, shape `(points,)`.
        line: the losses on the straight line, shape `(points,)`.
        curve: the losses on the curve, shape `(points,)`.
    """

    bends: Params
    t: np.ndarray
    line: np.ndarray
    curve: np.ndarray

    @property
    def line_barrier(self) -> float:
        """How far the loss on the line rises above the linear interpolation of its ends."""
        return _barrier(self.t, self.line)

    @property
    def curve_barrier(self) -> float:
        """How far the loss on the curve rises above the linear interpolation of its ends."""
        return _barrier(self.t, self.curve)


def _barrier(t: np.ndarray, losses: np.ndarray) -> float:
    return float((losses - ((1 - t) * losses[0] + t * losses[-1])).max())


@takes_modules
def connect(
    loss: Callable[[Params], Any],
    start: Params,
    end: Params,
    *,
    bends: int = 1,
    steps: int = 1000,
    learning_rate: float = 0.03,
    points: int = 61,
    seed: int = 0,
    on_progress: Callable[[int, int], bool | None] = lambda done, total: None,  # noqa: ARG005
    float64: bool = False,
) -> Connection:
    """Fit a curve of low loss between two points, and measure it beside the straight line.

    The curve is a Bézier curve whose control points minimise the mean loss over t, uniform in
    [0, 1], by Adam with one draw of t and the loss of all data at each step. They start near the
    straight line: off it by a hundredth of its length, since a symmetry may make the line a
    stationary curve. What barrier is left on the curve is an upper bound: the mean was minimised,
    not the maximum, and among curves of this kind. Ctrl-C (`KeyboardInterrupt`) ends the fit and
    measures the curve so far.

    Args:
        loss: `params -> scalar`.
        start: one point, such as a minimum.
        end: another.
        bends: how many control points between the ends; 1 makes the curve quadratic.
        steps: of Adam.
        learning_rate: the first steps' size as a share of the root mean square of `end − start`;
            it falls to zero along a half cosine.
        points: at how many places, evenly spread in t, both ways are measured.
        seed: of the draws.
        on_progress: called with the numbers of steps done and in all; a true answer ends the fit.
        float64: compute in float64, as is done anyway where a parameter is in it.

    Returns:
        See `Connection`.

    Raises:
        ValueError: for a bad loss or bad points, as `hessian`; if the points do not match or are
            the same; for options out of range.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Garipov et al. 2018 (arXiv:1802.10026), section 3, with t uniform (equation 2); the barrier
        as in Entezari et al. 2022 (arXiv:2110.06296).

    Example:
        >>> ring = lambda w: ((w**2).sum() - 1) ** 2
        >>> found = connect(ring, np.array([-1.0, 0.0]), np.array([1.0, 0.0]), bends=2)
        >>> found.line_barrier, found.curve_barrier < 0.01
        (1.0, True)
    """
    bends, steps = require_positive_int("bends", bends), require_positive_int("steps", steps)
    require(points >= 3, "at least 3 points", points)
    require(0 < learning_rate < np.inf, "a learning_rate above 0", learning_rate)
    float64 = needs_float64((start, end), float64)
    with checked_problem(loss, start, float64) as problem:
        loss, start = problem
        x = ravel_host(start)
        ends = ravel_stack(start, jax.tree.map(lambda leaf: np.asarray(leaf)[None], end), "end")
        away = ends[0].astype(x.dtype) - x
        scale = float(np.sqrt((away.astype(float) ** 2).mean()))
        require(scale > 0, "two points that differ", "the same twice")

        rng = np.random.default_rng(seed)
        # from here on relative to the start, which is the first of the control points
        bent = np.arange(1, bends + 1)[:, None] / (bends + 1) * away
        bent = bent + 0.01 * scale * rng.normal(size=bent.shape)
        bent = jnp.asarray(bent.astype(x.dtype))
        state = optax.scale_by_adam().init(bent)
        try:
            for step in range(steps):
                weights = _bernstein(rng.uniform(), bends).astype(x.dtype)
                rate = learning_rate * scale * (1 + math.cos(math.pi * step / steps)) / 2
                bent, state = _step(loss, start, away, bent, state, weights, rate)
                jax.block_until_ready(bent)
                if on_progress(step + 1, steps):
                    break
        except KeyboardInterrupt:
            pass

        t = np.linspace(0, 1, points)
        curve = np.stack([_bernstein(place, bends) for place in t]).astype(x.dtype)
        line = np.zeros_like(curve)
        line[:, -1] = t
        rows = jnp.concatenate([bent, away[None]])
        return Connection(
            bends=unravel_host(start, x + np.asarray(bent)),
            t=t,
            line=evaluate(loss, start, rows, line),
            curve=evaluate(loss, start, rows, curve),
        )


def _bernstein(t: float, bends: int) -> np.ndarray:
    """The weights of a Bézier curve's control points at t, without that of the first."""
    degree = bends + 1
    return np.array(
        [math.comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(1, degree + 1)]
    )


# one step at a time: a convolution's gradient in a compiled loop is many times slower on CPU
@jax.jit
def _step(loss, start, away, bent, state, weights, rate):
    x, unravel = ravel_pytree(start)

    def on_curve(bent):
        control = jnp.concatenate([bent, away[None]])
        away_there = sum(w * row for w, row in zip(weights, control, strict=True))
        return loss(unravel(x + away_there))

    update, state = optax.scale_by_adam().update(jax.grad(on_curve)(bent), state)
    return bent - rate * jnp.asarray(update), state
