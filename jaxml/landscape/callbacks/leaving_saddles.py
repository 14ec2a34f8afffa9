"""The way out of a saddle for a training that is stuck there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxml.core.checks import require
from jaxml.core.types import Params
from jaxml.landscape.critical.escape import Escape, NoDescentError, escape
from jaxml.training.loop import Chunk


class leaving_saddles:  # noqa: N801 - used as a function
    """A hook of `training.fit` that leaves a saddle on which the training is stuck.

    The training is stuck where the mean loss over the second half of a chunk is lower than that
    over the first by less than a share. Then the line search of `escape` is taken on the full
    loss, along its most negative curvature, and the training goes on from its end, if that lowers
    the full loss by more than the share; otherwise it goes on as it was. The optimiser's state is
    kept.

    Each chunk is judged by itself, so that a run that is resumed from a checkpoint takes the same
    escapes, if the hook is placed before `checkpoint` and the chunks are the same.

    Args:
        loss: `state -> loss(params)`, over all the data:
            `lambda state: training.full_loss(algorithm, state, dataset.train)`.
        share: see above, relative to the loss.

    Attributes:
        escapes: step -> the escape taken there.

    Example:
        >>> import optax
        >>> from jaxml import nn, training
        >>> from jaxml.training import losses, sampling
        >>> model = nn.mlp([2, 4, 2], activation="tanh")
        >>> algorithm = training.supervised(model, losses.softmax_cross_entropy, optax.sgd(0.5))
        >>> rows = {"x": np.eye(2, dtype="float32"), "y": np.arange(2)}
        >>> state = algorithm.init(jax.random.key(0))
        >>> saddle = state.replace(params=jax.tree.map(lambda leaf: 0 * leaf, state.params))
        >>> leaving = leaving_saddles(lambda state: training.full_loss(algorithm, state, rows))
        >>> run = training.fit(
        ...     algorithm, rows, sampling.full(), key=jax.random.key(0), steps=40, chunk=20,
        ...     state=saddle, hooks=[leaving],
        ... )
        >>> [*leaving.escapes], float(run.history["loss"][-1]) < 0.4
        ([20], True)
    """

    def __init__(
        self, loss: Callable[[Any], Callable[[Params], Any]], *, share: float = 1e-3
    ) -> None:
        require(callable(loss), "a function, state -> loss(params)", repr(loss))
        require(0 < share < 1, "a share between 0 and 1", share)
        self._loss, self._share = loss, share
        self.escapes: dict[int, Escape] = {}

    def __call__(self, chunk: Chunk) -> Chunk | None:
        """See `Hook`."""
        losses = chunk.metrics["loss"]
        require(losses.ndim == 1, "a chunk of `fit`", f"one of {len(losses)} lanes")
        first, second = np.array_split(losses, [len(losses) // 2])
        if len(first) == 0 or first.mean() - second.mean() > self._share * abs(first.mean()):
            return None
        try:
            out = escape(self._loss(chunk.state), chunk.state.params, max_steps=0)
        except NoDescentError:
            return None
        before = out.path["loss"][0]
        if before - out.loss <= self._share * abs(before):
            return None
        self.escapes[chunk.step] = out
        params = jax.tree.map(
            lambda new, old: jax.device_put(new, old.sharding), out.params, chunk.state.params
        )
        return chunk._replace(state=dataclasses.replace(chunk.state, params=params))
