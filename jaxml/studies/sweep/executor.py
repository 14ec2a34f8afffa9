"""Run a bucket's lanes, chunk by chunk, and take in what was measured."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxml.core.checks import require
from jaxml.core.seeds import key as key_of
from jaxml.core.seeds import words
from jaxml.core.selfcheck import parallel_map
from jaxml.core.sharding import place
from jaxml.studies.sweep.accumulation import LaneState, Pack, Settings, advance, start
from jaxml.studies.sweep.configs import SCHEDULES, Lanes
from jaxml.studies.sweep.cost_model import COMPILE, TICK, Bucket, Plan
from jaxml.studies.sweep.lane_optimizer import two_slots
from jaxml.studies.sweep.result import Study, Target
from jaxml.studies.sweep.rows import by_cores, even, first_rows, rows_of
from jaxml.studies.sweep.task import Task
from jaxml.studies.sweep.transformations import Transformation

# measurements in one compiled call at most, between which the host looks
_MEASUREMENTS = 8
# examples that a compiled call sees at most, or one order of them
_EXAMPLES = 2**16
# no lane is on a plateau before it has done so many updates
_FEWEST = 20


class Work(NamedTuple):
    """What a study is given."""

    task: Task
    data: dict[str, jax.Array]
    splits: dict[str, dict[str, jax.Array]]
    lanes: Lanes
    plan: Plan
    target: Target | None
    noise: bool
    resolution: float
    plateau: float | None
    rows: int
    mesh: Mesh | None
    transformations: dict[str, Transformation]


def measurements(ticks: int, least: int, resolution: float) -> np.ndarray:
    """The ticks after which to measure: 0, every `least` at first, then ever farther apart.

    Example:
        >>> measurements(100, 1, 0.5)
        array([  0,   1,   2,   3,   5,   8,  12,  18,  27,  41,  62,  93, 100])
    """
    found = [0]
    while found[-1] < ticks:
        found.append(min(ticks, max(found[-1] + least, int(np.ceil(found[-1] * (1 + resolution))))))
    return np.array(found)


def _compact(
    study: Study, index: np.ndarray, mesh: Mesh | None, flops: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Live lanes in fewer places, if that saves more than it costs to compile.

    Args:
        study: so far.
        index: lane numbers, shape (rows, lanes of one).
        mesh: as the study's.
        flops: that a lane has before it.

    Returns:
        The new numbers, and from which place each comes, rows after one another.
    """
    places = np.arange(index.size).reshape(index.shape)
    live = (index >= 0) & (study.exits[index] == "")
    seeds = study.lanes.seed[index]
    by_seed = [places[live & (seeds == seed)] for seed in np.unique(seeds[live])]
    if not by_seed:
        return None
    width = index.shape[1]
    narrow = min(width, even(1 << (max(map(len, by_seed)) - 1).bit_length(), mesh))

    def cost(rows: np.ndarray) -> float:
        known = rows.shape[1] == width if by_cores(mesh) else rows.shape == index.shape
        return rows.size * flops + (0 if known else COMPILE)

    best = min((places, rows_of(by_seed, width), rows_of(by_seed, narrow)), key=cost)
    if best is places:
        return None
    chosen = np.maximum(best, 0)
    return np.where(best < 0, -1, index.ravel()[chosen]), chosen


def _pack(work: Work, index: np.ndarray, bucket: Bucket) -> Pack:
    """The numbers of the lanes in a rectangle; what stands for none has no update to do."""
    lanes = work.lanes.take(np.where(index < 0, bucket.lanes[0], index).ravel())
    coefficients = None
    if not bucket.transformation:
        coefficients = two_slots(lanes.optimizer, lanes.momentum)
    last = np.where(index < 0, 0, work.plan.updates[index])
    shape = np.array([SCHEDULES.index(str(name)) for name in lanes.schedule])
    seeds = np.array([work.lanes.seed[row[row >= 0][0]] for row in index])

    def rectangle(column, dtype):
        return jnp.asarray(np.reshape(column, index.shape), dtype)

    warm = np.minimum(np.round(lanes.warmup * last.ravel()), np.maximum(last.ravel() - 1, 0))
    return Pack(
        key=jax.vmap(key_of)(np.stack([words(seed) for seed in seeds])),
        ticks=rectangle(lanes.batch_size // bucket.microbatch, jnp.int32),
        rate=rectangle(lanes.learning_rate, float),
        optimizer=jax.tree.map(lambda column: rectangle(column, float), coefficients),
        shape=rectangle(shape, jnp.int32),
        warm=rectangle(warm, jnp.int32),
        last=rectangle(last, jnp.int32),
    )


def _place(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays of (rows, lanes, ...) with the lanes divided among the devices."""
    if mesh is None:
        return tree
    along = NamedSharding(mesh, PartitionSpec(None, "lanes"))
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda a: jax.device_put(a, along if a.ndim > 1 else whole), tree)


def _shared_out(tree: Any, mesh: Mesh | None) -> list[Any]:
    """A tree of arrays (rows, lanes, ...) as the calls take it: a row each, or all at once."""
    if not by_cores(mesh):
        return [_place(tree, mesh)]
    rows = len(jax.tree.leaves(tree)[0])
    return [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], tree) for i in range(rows)]


def _whole(parts: Sequence[Any]) -> Any:
    """The opposite, on the host."""
    return jax.tree.map(lambda *leaves: np.concatenate([*map(np.asarray, leaves)]), *parts)


def _begin(
    work: Work, bucket: Bucket, study: Study, settings: Settings
) -> tuple[np.ndarray, int, list[Pack], list[LaneState]]:
    """Lane numbers, the last tick at which they were measured (-1 before the first), and parts."""
    if study.pending is None:
        index, tick = first_rows(work.lanes, bucket.lanes, work.mesh), -1
        packs = _shared_out(_pack(work, index, bucket), work.mesh)
        states = [_place(start(settings, pack), work.mesh) for pack in packs]
        return index, tick, packs, states
    index, tick = study.pending["index"], int(study.pending["tick"])
    pack = _pack(work, index, bucket)
    fresh = jax.eval_shape(lambda: start(settings, pack))
    expected = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(fresh)]
    held = [(leaf.shape, leaf.dtype) for leaf in study.pending["state"]]
    which = bucket.transformation or "optimisers"
    require(held == expected, f"the {which} with which the study was begun", "another state's")
    state = jax.tree.unflatten(jax.tree.structure(fresh), map(jnp.asarray, study.pending["state"]))
    return index, tick, _shared_out(pack, work.mesh), _shared_out(state, work.mesh)


def run_bucket(
    work: Work, bucket: Bucket, study: Study, pausing: bool
) -> Iterator[tuple[Study, float]]:
    """Yield the study after every chunk, and the share of the bucket's ticks that is done.

    Only if it may pause there is the state kept in the study.
    """
    count, m, longest = work.plan.examples, bucket.microbatch, int(bucket.ticks.max())
    capacity = max(count, m, min(_EXAMPLES, longest * m)) // m
    own = work.lanes.take(bucket.lanes)
    transformation = work.transformations.get(bucket.transformation)
    slots = (False, False)
    if transformation is None:
        slots = two_slots(own.optimizer, own.momentum).slots
    k, target = own.batch_size // m, work.target
    settings = Settings(
        task=work.task,
        microbatch=m,
        slots=slots,
        accumulate=bool((k > 1).any()),
        noise=work.noise and bool((k > 1).any()),
        epochs=-(-capacity * m // count) + 1,
        rows=work.rows,
        target=(target.split, target.measure, target.above) if target else (),
        transformation=transformation,
    )
    stops = measurements(longest, int(k.min()), work.resolution)
    data, splits = place((work.data, work.splits), work.mesh)
    threshold = jnp.asarray(target.value if target else 0.0)
    index, tick, packs, states = _begin(work, bucket, study, settings)
    compiled = None
    while (study.exits[index[index >= 0]] == "").any():
        first = max(tick, 0)
        ahead = stops[stops > tick][:_MEASUREMENTS] - first
        near = ahead[ahead <= capacity]
        ahead = near if len(near) else np.array([capacity])
        padded = np.pad(ahead, (0, _MEASUREMENTS - len(ahead)))
        when = (jnp.int32(n) for n in (first, *divmod(first * m, count)))
        shared = (
            data, splits, *when, jnp.asarray(padded, jnp.int32), jnp.int32(len(ahead)), threshold
        )  # fmt: skip
        seconds, programs = dict(study.seconds), study.programs
        if compiled != packs[0].ticks.shape:
            began = time.perf_counter()
            advance.lower(settings, packs[0], states[0], *shared).compile()
            seconds["compile"] += time.perf_counter() - began
            compiled = packs[0].ticks.shape
            programs = programs | {m: [*programs.get(m, []), packs[0].ticks.size]}

        def ticks(part, shared=shared):
            return jax.block_until_ready(advance(settings, *part, *shared))

        began = time.perf_counter()
        done = parallel_map(ticks, zip(packs, states, strict=True), compiled=True)
        seconds["run"] += time.perf_counter() - began
        states, records = map(list, zip(*done, strict=True))
        record = {
            name: np.concatenate([np.asarray(r[name])[: len(ahead)] for r in records], axis=1)
            for name in records[0]
        }
        tick = first + int(ahead[-1])
        study = _take_in(work, study, states, record, index)
        left = longest - tick
        compact = _compact(study, index, work.mesh, left * (m + TICK) * work.plan.example_flops)
        if compact is not None:
            index, chosen = compact
            whole = jax.tree.map(
                lambda leaf, c=chosen: leaf.reshape(-1, *leaf.shape[2:])[c], _whole(states)
            )
            states = _shared_out(jax.tree.map(jnp.asarray, whole), work.mesh)
            packs = _shared_out(_pack(work, index, bucket), work.mesh)
        live = _shared_out(jnp.asarray((index >= 0) & (study.exits[index] == "")), work.mesh)
        states = [s._replace(live=now) for s, now in zip(states, live, strict=True)]
        over = (study.exits[bucket.lanes] != "").all()
        pending = None
        if pausing and not over:
            pending = {"index": index, "tick": tick, "state": jax.tree.leaves(_whole(states))}
        study = dataclasses.replace(study, seconds=seconds, programs=programs, pending=pending)
        yield study, 1.0 if over else tick / float(longest)


def _take_in(
    work: Work,
    study: Study,
    states: Sequence[LaneState],
    record: dict[str, np.ndarray],
    index: np.ndarray,
) -> Study:
    """Add a chunk's measurements, and note which lanes have ended and why."""
    there = record["live"] & (index >= 0)
    updates = study.updates.copy()
    before = np.where(study.updates[index] > 0, study.updates[index], -1)
    counts = np.concatenate([before[None], record["count"]])
    fresh = there & (np.diff(counts, axis=0) != 0)
    live, count = (_whole([getattr(s, name) for s in states]) for name in ("live", "count"))
    ended = (index >= 0) & ~live & there[0]
    exits, params = study.exits.copy(), study.params
    measured = [name for name in record if " " in name]
    for row, lane in zip(*np.nonzero(ended), strict=True):
        at = np.flatnonzero(there[:, row, lane])[-1]
        values = {name: record[name][at, row, lane] for name in measured}
        exits[index[row, lane]] = _why(work.target, values)
    for number in _plateaus(work, study, record, index, live, fresh):
        exits[number] = "plateau"
    updates[index[index >= 0]] = count[index >= 0]
    new = (index >= 0) & (study.exits != exits)[index]
    if params is not None and new.any():
        params = params.copy()
        leaves = jax.tree.leaves(_whole([state.params for state in states]))
        flat = [leaf.reshape(*index.shape, -1)[new] for leaf in leaves]
        params[index[new]] = np.concatenate(flat, axis=-1)
    at, row, lane = np.nonzero(fresh)
    rows = {"lane": index[row, lane], "updates": record["count"][at, row, lane]}
    names = [*measured, "running", "small", "large", "batches"]
    rows |= {name: record[name][at, row, lane] for name in names}
    records = {
        name: np.concatenate([study.records[name], rows[name]]) if study.records else rows[name]
        for name in rows
    }
    return dataclasses.replace(study, exits=exits, updates=updates, params=params, records=records)


def _why(target: Target | None, values: dict[str, np.ndarray]) -> str:
    if not all(np.isfinite(value) for value in values.values()):
        return "not finite"
    if target is not None and target.met(values[f"{target.split} {target.measure}"]):
        return "target"
    return "budget"


def _plateaus(work, study, record, index, live, fresh):
    """The lanes whose best measurement lies far behind."""
    if work.plateau is None:
        return
    name = f"{work.target.split} {work.target.measure}"
    sign = -1 if work.target.above else 1
    for row, lane in zip(*np.nonzero(live & (index >= 0)), strict=True):
        number, some = index[row, lane], fresh[:, row, lane]
        values, updates = record[name][some, row, lane], record["count"][some, row, lane]
        if study.records:
            own = study.records["lane"] == number
            values = np.concatenate([study.records[name][own], values])
            updates = np.concatenate([study.records["updates"][own], updates])
        if len(values):
            best = updates[np.argmin(sign * values)]
            if updates[-1] >= (1 + work.plateau) * max(best, _FEWEST):
                yield number
