"""The staircase of critical points that a growing network descends.

At a critical point of a network with one hidden layer, add a hidden unit whose weights in and out
are zero: an exact critical point of the wider network, whose spectrum is known in closed form. It
is a saddle wherever the old network could not fit everything; leave it along its lowest
eigenvector, train on, and the next minimum is lower.

Reference:
    Fukumizu and Amari 2000, "Local minima and plateaus in hierarchical structures of multilayer
    perceptrons"; the embedding principle of Zhang et al. 2021 (arXiv:2105.14573) and Şimşek et
    al. 2021 (arXiv:2105.12221).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxml import landscape, nn, training
from jaxml.core.checks import require, require_positive_int
from jaxml.core.empirical_risk import Loss
from jaxml.core.result import Result
from jaxml.core.seeds import key as key_of
from jaxml.core.selfcheck import parallel_map
from jaxml.core.types import Algorithm, Batch, Params, TrainState
from jaxml.landscape import Analysis, Escape, Followed, Found
from jaxml.landscape.operators.validation import ravel_host, read_problem, unravel_host
from jaxml.training import losses, optimizers, sampling, schedules

_BATCH_SIZE = 128
_LEARNING_RATE = 1e-2


@dataclasses.dataclass(frozen=True)
class DeadUnit:
    """What the closed form says of a minimum with a dead unit added.

    Attributes:
        index: how many eigenvalues are negative.
        lowest: the lowest one.
        eigenvalues: all of them, ascending.
    """

    index: int
    lowest: float
    eigenvalues: np.ndarray


@dataclasses.dataclass(frozen=True)
class Saddle:
    """A minimum with a dead unit added: prediction beside measurement, and the way out.

    Attributes:
        predicted: by the closed form.
        measured: by the exact analysis of the wider network.
        escape: the line search along the lowest eigenvector; `None` where no direction leads
            down, because at this λ one unit more would gain nothing.
    """

    predicted: DeadUnit
    measured: Analysis
    escape: Escape | None

    @property
    def left(self) -> Params:
        """Where training goes on: the end of the escape, or the point itself."""
        return self.measured.params if self.escape is None else self.escape.params

    @property
    def spectrum_error(self) -> float:
        """The largest difference between predicted and measured eigenvalues."""
        return float(np.abs(self.predicted.eigenvalues - self.measured.eigenvalues).max())


@dataclasses.dataclass(frozen=True)
class Level:
    """One width, for all seeds.

    Attributes:
        width: hidden units.
        steps: when the loss was measured in training, counted from the start of the level.
        losses: the full objective then, shape `(seeds, times)`.
        minima: where each seed's training ended, polished.
        saddles: each seed's minimum with a dead unit added; empty at the widest.
    """

    width: int
    steps: np.ndarray
    losses: np.ndarray
    minima: list[Analysis]
    saddles: list[Saddle]


@dataclasses.dataclass(frozen=True)
class Slice:
    """The loss along a line and on a plane through a saddle.

    The line is that of the escape. The plane is spanned by it and by the next minimum.

    Attributes:
        width: of the network that the saddle belongs to.
        curvature: the eigenvalue along the escape.
        distances: along the line, shape `(points,)`.
        losses: there.
        axes: the plane's two coordinates, shapes `(m,)` and `(n,)`.
        plane: the losses there, shape `(n, m)`.
        marks: name -> place in the plane: `saddle`, `escape`, `minimum`.
    """

    width: int
    curvature: float
    distances: np.ndarray
    losses: np.ndarray
    axes: tuple[np.ndarray, np.ndarray]
    plane: np.ndarray
    marks: dict[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Staircase(Result):
    """What `walk` returns.

    Attributes:
        levels: one for each width.
        spectra: the analysis along the training of the narrowest width, axes (times, seeds).
        spectra_steps: when.
        found: the searches for critical points that started from that training's path.
        slice: the surface through the first seed's first saddle; `None` where there is none.
        config: the arguments, and what the network and the data are.
    """

    levels: list[Level]
    spectra: Followed
    spectra_steps: list[int]
    found: list[Found]
    slice: Slice | None
    config: dict[str, Any]


def walk(
    rows: Batch,
    widths: Sequence[int],
    *,
    l2: float = 1e-3,
    seeds: int = 8,
    seed: int = 0,
    steps: int = 1000,
    searches: int = 32,
    hooks: Callable[[int], Sequence[Any]] = lambda width: (),  # noqa: ARG005
    on_level: Callable[[Staircase], bool | None] = lambda so_far: None,  # noqa: ARG005
    done: Staircase | None = None,
) -> Staircase:
    """Walk down the staircase, all seeds at once.

    At each width a tanh network with one hidden layer is trained by Adam (all seeds in one
    compiled program), polished to a critical point in float64 and analysed; a dead unit is added,
    the saddle analysed, left along its lowest eigenvector, and training goes on from there.

    Args:
        rows: one split: `x` of shape `(N, …)` and `y`, class numbers of shape `(N,)` (softmax
            cross-entropy) or targets of shape `(N, outputs)` (squared error).
        widths: consecutive numbers of hidden units.
        l2: λ in (λ/2)‖θ‖², above 0: it makes the minima finite and isolated.
        seeds: how many networks.
        seed: of their initialisation and batches.
        steps: updates at each width.
        searches: how many searches for critical points start from the training's path.
        hooks: width -> hooks of that width's training.
        on_level: called with the staircase so far as each level is done; a true answer ends the
            walk there.
        done: what an earlier walk with the same arguments and data had done when it ended: this
            one goes on after its last level, to the same end.

    Returns:
        See `Staircase`.

    Raises:
        ValueError: for options out of range; when the data have no `x` and `y`, or `y` is neither
            labels nor targets; when `done` is of other arguments.
        FloatingPointError: when training diverges.
    """
    widths = [require_positive_int("every width", width) for width in widths]
    consecutive = len(widths) > 0 and widths == list(range(widths[0], widths[-1] + 1))
    require(consecutive, "consecutive widths", widths)
    require(0 < l2 < np.inf, "l2 above 0 (without it the minima lie at infinity)", l2)
    seeds, steps = require_positive_int("seeds", seeds), require_positive_int("steps", steps)
    require("x" in rows and "y" in rows, "data with x and y", sorted(rows))
    rows = {"x": np.reshape(rows["x"], (len(rows["x"]), -1)), "y": np.asarray(rows["y"])}
    classify = np.issubdtype(rows["y"].dtype, np.integer)
    require(classify or rows["y"].ndim == 2, "labels or (N, outputs) targets", rows["y"].shape)
    inputs = rows["x"].shape[1]
    outputs = int(rows["y"].max()) + 1 if classify else rows["y"].shape[1]
    keys = jax.random.split(key_of(seed), seeds)
    optimizer = optimizers.adam(schedules.cosine(_LEARNING_RATE, steps))
    loss = losses.softmax_cross_entropy if classify else losses.mse

    batch_size = min(_BATCH_SIZE, len(rows["x"]))
    config = {
        "widths": widths, "l2": l2, "seeds": seeds, "seed": seed, "steps": steps,
        "searches": searches, "batch_size": batch_size,
        "learning_rate": _LEARNING_RATE, "examples": len(rows["x"]),
        "inputs": inputs, "outputs": outputs, "activation": "tanh", "loss": loss.__name__,
    }  # fmt: skip
    if done is not None:
        require(done.config == config, f"a staircase of {config}", done.config)

    @functools.cache  # one objective, so one compilation, where two widths meet
    def network(width: int) -> tuple[Algorithm, Loss, Loss]:
        """What trains, its loss, and that as read for float64, once for all points."""
        model = nn.mlp([inputs, width, outputs], activation="tanh")
        algorithm = training.supervised(model, loss, optimizer, l2=l2)
        objective = training.full_loss(algorithm, TrainState(0, {}, {}, ()), rows)
        shapes = jax.eval_shape(algorithm.init, keys[0]).params
        like = jax.tree.map(lambda leaf: np.ones(leaf.shape), shapes)
        return algorithm, objective, read_problem(objective, like, float64=True)[0]

    sample = sampling.epochs(batch_size)
    for width in widths if done is None else widths[len(done.levels) :]:
        algorithm, objective, exact = network(width)
        state = None if done is None else _start(done.levels[-1].saddles, optimizer)
        measure = training.evaluation(_lane_losses(objective))
        kept = training.snapshots()
        run = training.fit_many(
            algorithm, rows, sample, keys=keys, steps=steps, state=state,
            hooks=[*hooks(width), measure, kept],
        )  # fmt: skip
        values = np.stack(measure.history["loss"], axis=-1)
        if not np.isfinite(values).all():
            raise FloatingPointError(f"training at width {width} diverged; try a smaller l2")
        trained = [_lane(run.state.params, s) for s in range(seeds)]
        minima = parallel_map(lambda p, f=exact: landscape.find_minimum(f, p), trained)
        saddles: list[Saddle] = []
        if width < widths[-1]:
            *_, wider = network(width + 1)
            saddles = parallel_map(lambda m, f=wider: embed(f, m, rows, l2), minima)
        level = Level(width, np.array(measure.history["step"]), values, minima, saddles)
        if done is None:
            along = _along(exact, kept, seeds, searches)
            done = Staircase([level], *along, None, config)
        else:
            cut = done.slice
            if len(done.levels) == 1:
                cut = _slice(exact, done.levels[0].saddles[0], minima[0], width)
            done = dataclasses.replace(done, levels=[*done.levels, level], slice=cut)
        if on_level(done):
            break
    assert done is not None
    return done


def save(result: Staircase, path: str | Path) -> None:
    """`result.save(path)`."""
    result.save(path)


def load(path: str | Path) -> Staircase:
    """`Staircase.load(path)`."""
    return Staircase.load(path)


def _start(saddles: list[Saddle], optimizer: Any) -> TrainState:
    """Where training goes on: each seed's way out of its saddle."""
    params = jax.tree.map(
        lambda *lanes: np.stack(lanes).astype(np.float32), *(saddle.left for saddle in saddles)
    )
    opt_state = jax.jit(jax.vmap(optimizer.init))(params)
    return TrainState(np.zeros(len(saddles), np.int32), params, {}, opt_state)


def _lane(tree: Any, lane: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[lane], tree)


def _lane_losses(objective: Loss) -> Callable[[TrainState], dict[str, Any]]:
    lanes = jax.jit(lambda f, params: jax.vmap(f)(params))
    return lambda state: {"loss": np.asarray(lanes(objective, state.params))}


def add_dead_unit(params: Params) -> Params:
    """The same function by a network with one hidden unit more, all of whose weights are zero.

    Args:
        params: of `nn.mlp([inputs, width, outputs], activation="tanh")`.

    Example:
        >>> params, _ = nn.mlp([2, 3, 1], activation="tanh").init(jax.random.key(0))
        >>> add_dead_unit(params)["dense_0"]["kernel"].shape
        (2, 4)
    """
    first, second = params["dense_0"], params["dense_1"]
    return {
        "dense_0": {
            "kernel": np.pad(first["kernel"], ((0, 0), (0, 1))),
            "bias": np.pad(first["bias"], (0, 1)),
        },
        "dense_1": {
            "kernel": np.pad(second["kernel"], ((0, 1), (0, 0))),
            "bias": np.asarray(second["bias"]),
        },
    }


def predict_dead_unit(minimum: Analysis, rows: Batch, l2: float) -> DeadUnit:
    """The spectrum of a critical point with a dead unit added, in closed form.

    The Hessian falls into the old one and the block [[λI, C], [Cᵀ, λI]] of the new unit's weights,
    with C = (1/N) Σₙ [xₙ; 1] δₙᵀ and δ the derivative of the loss by the outputs, because
    tanh(0) = 0 and tanh′(0) = 1. The block's eigenvalues are λ ± σᵢ(C), and λ for the rest.

    Args:
        minimum: the narrower network's analysis.
        rows: the data, as `walk` takes them.
        l2: λ.

    Returns:
        The prediction, computed in numpy alone.
    """
    first, second = minimum.params["dense_0"], minimum.params["dense_1"]
    x, y = np.asarray(rows["x"], np.float64), np.asarray(rows["y"])
    outputs = np.tanh(x @ first["kernel"] + first["bias"]) @ second["kernel"] + second["bias"]
    if np.issubdtype(y.dtype, np.integer):
        exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        delta = probabilities - np.eye(outputs.shape[1])[y]
    else:
        delta = 2 * (outputs - y) / outputs.shape[1]
    C = np.column_stack([x, np.ones(len(x))]).T @ delta / len(x)
    sigma = np.linalg.svd(C, compute_uv=False)
    rest = np.full(abs(C.shape[0] - C.shape[1]), l2)
    block = np.concatenate([l2 - sigma, rest, l2 + sigma])
    return DeadUnit(
        index=minimum.index + int((sigma > l2).sum()),
        lowest=float(min(block.min(), minimum.eigenvalues[0])),
        eigenvalues=np.sort(np.concatenate([minimum.eigenvalues, block])),
    )


def embed(loss: Loss, minimum: Analysis, rows: Batch, l2: float) -> Saddle:
    """Add a dead unit to a minimum: predict, measure, and take the line search out.

    Args:
        loss: of the wider network.
        minimum: of the narrower one.
        rows: the data, as `walk` takes them.
        l2: λ.
    """
    measured = landscape.analyze(loss, add_dead_unit(minimum.params), float64=True)
    way = None
    if measured.descent is not None:
        way = landscape.escape(
            loss, measured.params, direction=measured.descent, max_steps=0, float64=True
        )
    return Saddle(predict_dead_unit(minimum, rows, l2), measured, way)


def _along(objective, kept, seeds, searches):
    """Spectra at five times of the training, and searches from points on its path."""
    count = len(kept.steps)
    times = sorted({min(count - 1, k) for k in (0, count // 20, count // 8, count // 3, count - 1)})
    some = jax.tree.map(lambda leaf: leaf[np.array(times)], kept.params)
    spectra = landscape.follow(objective, some, axes=2, float64=True)
    # each search from another time and another seed
    places = [(k * count // max(1, searches), k % seeds) for k in range(searches)]
    starts = [jax.tree.map(lambda leaf, t=t, s=s: leaf[t, s], kept.params) for t, s in places]
    found = landscape.search_from(objective, starts, method="newton_mr")
    return spectra, [kept.steps[t] for t in times], found


def _slice(loss, saddle: Saddle, minimum: Analysis, width: int) -> Slice | None:
    if saddle.escape is None:
        return None
    like = saddle.measured.params
    origin, v = ravel_host(like), ravel_host(saddle.escape.direction)
    away = ravel_host(minimum.params) - origin
    across = away - (away @ v) * v
    across /= np.linalg.norm(across)
    end = (float(away @ v), float(away @ across))
    left = (saddle.escape.distance, 0.0)
    # the frame holds the saddle, the escape's end and the minimum, with a margin
    axes = []
    for a, b in zip(left, end, strict=True):
        margin = 0.35 * max(abs(a), abs(b))
        axes.append(np.linspace(min(0, a, b) - margin, max(0, a, b) + margin, 41))
    reach = 2 * abs(saddle.escape.distance)
    distances = np.linspace(-reach, reach, 161)
    frame = unravel_host(like, np.stack([v, across]))
    line, plane = (
        landscape.surface(loss, like, frame, coordinates=grid, float64=True)
        for grid in ([distances, [0.0]], axes)
    )
    return Slice(
        width=width,
        curvature=float(saddle.measured.eigenvalues[0]),
        distances=distances,
        losses=line.losses[:, 0],
        axes=(axes[0], axes[1]),
        plane=plane.losses.T,
        marks={"saddle": (0.0, 0.0), "escape": left, "minimum": end},
    )
