"""How sharp full-batch training gets, against its optimiser's stability threshold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from jaxml import landscape, training
from jaxml.core.checks import require
from jaxml.core.result import Result
from jaxml.core.seeds import key as key_of
from jaxml.core.types import Batch, DataLoss, Model
from jaxml.training import optimizers, sampling

EDGES = {
    "sgd": "2/η",
    "momentum": "(2 + 2β)/η",
    "nesterov": "(2 + 2β)/((1 + 2β)η)",
    "adam": "(2 + 2β)/((1 − β)η)",
}
"""Optimiser -> its stability threshold, of λ_max of H, of Adam of that of P⁻¹H."""


@dataclasses.dataclass(frozen=True)
class Sharpening(Result):
    """The largest curvature along a training over the full batch.

    Attributes:
        optimizer: its name.
        learning_rate: η.
        updates: at which it was looked at.
        sharpness: λ_max there, of Adam that of P⁻¹H.
        residual: an eigenvalue lies within it of `sharpness`.
        edge: the optimiser's stability threshold; NaN if it diverged before the first look.
        losses: of every update, until one was not finite.
        diverged: whether one was not.
    """

    optimizer: str
    learning_rate: float
    updates: np.ndarray
    sharpness: np.ndarray
    residual: np.ndarray
    edge: float
    losses: np.ndarray
    diverged: bool

    @property
    def ratio(self) -> float:
        """λ_max/edge, mean over the last half; NaN if the training diverged."""
        late = self.sharpness[len(self.sharpness) // 2 :]
        return math.nan if self.diverged or not len(late) else float(late.mean() / self.edge)


def sharpening(
    model: Model,
    loss: DataLoss,
    data: Batch,
    *,
    optimizer: str = "sgd",
    learning_rate: float,
    momentum: float = 0.9,
    steps: int = 2000,
    every: int = 20,
    l2: float = 0.0,
    seed: int = 0,
    on_chunk: Callable[[int, int], bool | None] = lambda done, of: None,  # noqa: ARG005
) -> Sharpening:
    """Train over the full batch and follow λ_max against the edge of stability.

    Args:
        model: the network.
        loss: one value an example.
        data: what is trained on, all of it at every update.
        optimizer: among `EDGES`.
        learning_rate: η.
        momentum: β, of Adam β₁; plain gradient descent has none.
        steps: updates.
        every: updates between two looks.
        l2: λ in (λ/2)‖θ‖².
        seed: of the initialisation.
        on_chunk: called with the numbers of updates done and in all; a true answer ends it.

    Raises:
        ValueError: for another optimiser, bad data or a rate that is not above 0.

    Reference:
        Cohen et al. 2021 (arXiv:2103.00065); Cohen et al. 2022 (arXiv:2207.14484) for Adam.

    Example:
        >>> from jaxml import data, nn
        >>> from jaxml.training import losses
        >>> xor, model = data.load("xor").train, nn.mlp([2, 4, 2], activation="tanh")
        >>> loss = losses.softmax_cross_entropy
        >>> found = sharpening(model, loss, xor, learning_rate=0.5, steps=40)
        >>> found.updates.tolist(), found.edge
        ([20, 40], 4.0)
    """
    require(optimizer in EDGES, f"an optimizer among {', '.join(EDGES)}", repr(optimizer))
    require(0 < learning_rate < math.inf, "a learning_rate above 0", learning_rate)
    make = getattr(optimizers, optimizer)
    plain = optimizer == "sgd"
    made = make(learning_rate) if plain else make(learning_rate, momentum)
    algorithm = training.supervised(model, loss, made, l2=l2)
    follow = landscape.edge_of_stability(
        algorithm,
        data,
        learning_rate=learning_rate,
        momentum=None if plain else momentum,
        nesterov=optimizer == "nesterov",
        cost=math.inf,
        seed=seed,
    )
    try:
        run = training.fit(
            algorithm,
            data,
            sampling.full(),
            key=key_of(seed),
            steps=steps,
            chunk=every,
            hooks=[follow, lambda chunk: on_chunk(chunk.step, steps)],
        )
        diverged = False
    except training.NonFiniteError as error:
        run, diverged = error.run, True
    seen = {name: np.array(values) for name, values in follow.history.items()}
    none = np.array([])
    return Sharpening(
        optimizer,
        float(learning_rate),
        updates=seen["step"].astype(int),
        sharpness=seen.get("sharpness", none),
        residual=seen.get("residual", none),
        edge=float(seen.get("threshold", [math.nan])[0]),
        losses=run.history.get("loss", none),
        diverged=diverged,
    )
