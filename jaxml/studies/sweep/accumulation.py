"""Every batch size in one compiled program: a clock that ticks once a microbatch.

Lanes of a bucket see the same microbatches of m examples. A lane of batch size B = k·m adds up
their gradients and updates at every k-th tick, so that no gradient evaluation is wasted, whatever
sizes stand side by side. The examples come in one stream, a random order of all N, then another,
and so on; a batch may reach from one order into the next, so none is left out and the stream
does not depend on m.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxml.core.empirical_risk import examples, over_batches, per_example
from jaxml.studies.sweep.lane_optimizer import TwoSlots, update
from jaxml.studies.sweep.task import Task
from jaxml.studies.sweep.transformations import Transformation
from jaxml.training.sampling import permute


class Settings(NamedTuple):
    """What the lanes of a bucket have in common; equal for equal fields, to be compiled once.

    Attributes:
        task: what is trained.
        microbatch: m.
        slots: whether any lane's optimiser uses m, and v.
        accumulate: whether any lane's batch is more than one microbatch.
        noise: whether the gradients' norms are added up, for the noise scale.
        epochs: orders of the examples that are at hand during a chunk.
        rows: of a split that are measured at a time.
        target: (split, measure, whether above) of what ends a lane; empty for nothing.
        transformation: the optimiser, where it is the caller's.
    """

    task: Task
    microbatch: int
    slots: tuple[bool, bool]
    accumulate: bool
    noise: bool
    epochs: int
    rows: int
    target: tuple[str, str, bool] | tuple[()]
    transformation: Transformation | None = None


class Pack(NamedTuple):
    """The lanes' own numbers, each of shape (seeds, lanes), `key` of shape (seeds,).

    Attributes:
        key: of initialisation and order.
        ticks: k, microbatches in a batch.
        rate: η.
        optimizer: the coefficients; `None` where the optimiser is the caller's.
        shape: 0 for a constant rate, 1 for a linear and 2 for a cosine decay.
        warm: updates over which the rate rises.
        last: updates after which the lane ends.
    """

    key: Any
    ticks: Any
    rate: Any
    optimizer: TwoSlots | None
    shape: Any
    warm: Any
    last: Any


class LaneState(NamedTuple):
    """Where the lanes are, each leaf with leading axes (seeds, lanes).

    Attributes:
        params: θ.
        slots: m and v, each `None` where no lane uses it; or the state of the caller's optimiser.
        total: the sum of the gradients since the last update; `None` where there is none to take.
        model_state: such as moving averages.
        count: updates done.
        live: whether the lane goes on.
        window: sums since the last measurement: of the microbatches' losses and their number,
            of |g|² over microbatches and over batches, and the number of batches.
    """

    params: Any
    slots: Any
    total: Any
    model_state: Any
    count: Any
    live: Any
    window: Any


def _keys(keys: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """For initialisation, order and noise; the same for every lane of a seed."""
    split = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
    return split[:, 0], split[:, 1], split[:, 2]


@functools.partial(jax.jit, static_argnames="settings")
def start(settings: Settings, pack: Pack) -> LaneState:
    """The lanes before their first update; a seed's begin at the same parameters."""
    seeds, lanes = pack.ticks.shape
    # in turn, as in `fit_many`: batches of QR decompositions hang
    params, model_state = jax.lax.map(settings.task.init, _keys(pack.key)[0])

    def for_every_lane(tree):
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf[:, None], (seeds, lanes, *leaf.shape[1:])), tree
        )

    params = for_every_lane(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    dtype = jax.tree.leaves(params)[0].dtype
    slots: Any = tuple(zeros if used else None for used in settings.slots)
    if settings.transformation is not None:
        init = jax.vmap(jax.vmap(settings.transformation.init))
        slots = init(pack.rate.astype(dtype), params)
    return LaneState(
        params=params,
        slots=slots,
        total=zeros if settings.accumulate else None,
        model_state=for_every_lane(model_state),
        count=jnp.zeros((seeds, lanes), jnp.int32),
        live=pack.last > 0,
        window=jnp.zeros((seeds, lanes, 5), dtype),
    )


@functools.partial(jax.jit, static_argnames="settings", donate_argnames="state")
def advance(
    settings: Settings,
    pack: Pack,
    state: LaneState,
    data: dict[str, jax.Array],
    splits: dict[str, dict[str, jax.Array]],
    first: jax.Array,
    epoch: jax.Array,
    offset: jax.Array,
    stops: jax.Array,
    count: jax.Array,
    threshold: jax.Array,
) -> tuple[LaneState, dict[str, jax.Array]]:
    """Tick on, measuring on the way.

    Args:
        settings: of the bucket.
        pack: the lanes.
        state: where they are; donated.
        data: what is trained on.
        splits: name -> what is measured on.
        first: ticks done.
        epoch: the order in which the next example stands.
        offset: its place there.
        stops: ticks from here after which to measure, ascending.
        count: how many of these are meant.
        threshold: of the target.

    Returns:
        The state, and what was measured, with leading axes (measurements, seeds, lanes): the
        means `(split, measure)`, `count`, `live` (before the measurement), `running` (the mean
        loss in training since the last), `small`, `large` and `batches`.
    """
    _, order_keys, noise_keys = _keys(pack.key)
    size = examples(data)

    def order(key):
        epochs = jnp.arange(settings.epochs) + epoch
        one = lambda e: permute(jax.random.fold_in(key, e), jnp.arange(size), size)  # noqa: E731
        return jax.vmap(one)(epochs).reshape(-1)

    orders = jax.vmap(order)(order_keys)

    def tick(i, state):
        position = offset + i * settings.microbatch
        some = jax.lax.dynamic_slice_in_dim(orders, position, settings.microbatch, axis=1)
        keys = jax.vmap(jax.random.fold_in, (0, None))(noise_keys, first + i)
        over = functools.partial(_tick_lanes, settings, data, first + i + 1)
        return jax.vmap(over)(some, keys, pack, state)

    def measure(state):
        return _measure(settings, splits, threshold, pack, state)

    def to_next(j, carry):
        state, records = carry
        begin = jnp.where(j == 0, 0, stops[j - 1])
        state, record = measure(jax.lax.fori_loop(begin, stops[j], tick, state))
        return state, {name: array.at[j].set(record[name]) for name, array in records.items()}

    shapes = jax.eval_shape(measure, state)[1]
    records = {name: jnp.zeros((len(stops), *s.shape), s.dtype) for name, s in shapes.items()}
    return jax.lax.fori_loop(0, count, to_next, (state, records))


def _tick_lanes(settings, data, ticks, rows, key, pack, state):
    """One tick of the lanes of one seed."""
    batch = {name: array[rows] for name, array in data.items()}

    def objective(params, model_state):
        values, model_state = settings.task.loss(params, model_state, batch, key)
        return per_example(values, batch).mean(), model_state

    differentiate = jax.value_and_grad(objective, has_aux=True)
    results = jax.vmap(differentiate)(state.params, state.model_state)
    pack = pack._replace(key=None)
    step = functools.partial(_update_lane, settings, ticks)
    return jax.vmap(step)(pack, state, *results)


def _update_lane(settings, ticks, pack, state, value_and_state, gradient):
    """Take in a microbatch's gradient, and update if it was a batch's last."""
    value, model_state = value_and_state
    live = state.live & (state.count < pack.last)
    fires = live & (ticks % pack.ticks == 0)
    small = _squared_norm(gradient) if settings.noise else jnp.zeros_like(value)
    total = gradient
    if settings.accumulate:
        total = jax.tree.map(jnp.add, state.total, gradient)
        gradient = jax.tree.map(lambda leaf: leaf / pack.ticks.astype(leaf.dtype), total)
    large = _squared_norm(gradient) if settings.noise else jnp.zeros_like(value)
    rate = pack.rate * _schedule(pack, state.count, value.dtype)
    if settings.transformation is None:
        moved = update(pack.optimizer, rate, state.count, state.params, state.slots, gradient)
    else:
        rate = rate.astype(value.dtype)
        moved = settings.transformation.update(rate, gradient, state.slots, state.params)
    params, slots = jax.tree.map(
        lambda new, old: jnp.where(fires, new, old), moved, (state.params, state.slots)
    )
    if settings.accumulate:
        total = jax.tree.map(lambda leaf: jnp.where(fires, 0, leaf), total)
    model_state = jax.tree.map(
        lambda new, old: jnp.where(live, new, old), model_state, state.model_state
    )
    sums = jnp.stack([value, jnp.ones_like(value), small, large * fires, fires.astype(value.dtype)])
    return LaneState(
        params=params,
        slots=slots,
        total=total if settings.accumulate else None,
        model_state=model_state,
        count=state.count + fires,
        live=state.live,
        window=jnp.where(live, state.window + sums.astype(state.window.dtype), state.window),
    )


def _squared_norm(tree):
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(tree))


def _schedule(pack, count, dtype):
    """The share of its highest rate that a lane has now; `training.schedules` in numbers."""
    count, warm, last = (jnp.asarray(n, dtype) for n in (count, pack.warm, pack.last))
    share = jnp.clip((count - warm) / jnp.maximum(last - warm, 1), 0, 1)
    linear, cosine = 1 - share, 0.5 * (1 + jnp.cos(jnp.pi * share))
    fall = jnp.where(pack.shape == 0, 1, jnp.where(pack.shape == 1, linear, cosine))
    return jnp.where(count < warm, count / jnp.maximum(warm, 1), fall)


def _measure(settings, splits, threshold, pack, state):
    """The means over the splits, and which lanes go on."""
    measured = {}
    for split, rows in splits.items():
        for name, value in _means(settings, state, rows).items():
            measured[f"{split} {name}"] = value
    losses, ticks, small, large, batches = jnp.moveaxis(state.window, -1, 0)
    finite = functools.reduce(jnp.logical_and, map(jnp.isfinite, measured.values()))
    record = measured | {
        "count": state.count,
        "live": state.live,
        "running": losses / ticks,
        "small": small / ticks,
        "large": large / batches,
        "batches": batches,
    }
    live = state.live & finite & (state.count < pack.last)
    if settings.target:
        split, measure, above = settings.target
        value = measured[f"{split} {measure}"]
        live &= ~(value >= threshold if above else value <= threshold)
    window = jnp.zeros_like(state.window)
    return state._replace(live=live, window=window), record


def _means(settings, state, rows):
    """Name -> mean over the rows, of shape (seeds, lanes)."""
    count = examples(rows)

    def lane(params, model_state):
        def sums(some):
            values = settings.task.measures(params, model_state, some)
            return {name: per_example(value, some).sum() for name, value in values.items()}

        total = over_batches(sums, rows, min(settings.rows, count))
        return {name: value / count for name, value in total.items()}

    return jax.vmap(jax.vmap(lane))(state.params, state.model_state)
