"""Train every configuration of a study and tell when each reached its target."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxml.backend import require_sound_backend
from jaxml.checks import require
from jaxml.objective import examples
from jaxml.placement import check_mesh, place
from jaxml.studies.lanes import SCHEDULES, Lanes, check_lanes
from jaxml.studies.planning import COMPILE, TICK, Bucket, Plan, plan
from jaxml.studies.tasks import Task
from jaxml.studies.tick_clock import LaneState, Pack, Settings, advance, start
from jaxml.studies.two_slots import two_slots
from jaxml.training.loop import check_data
from jaxml.types import Batch

# measurements in one compiled call at most, between which the host looks
_MEASUREMENTS = 8
# examples that a compiled call sees at most, or one order of them
_EXAMPLES = 2**16
# no lane is on a plateau before it has done so many updates
_FEWEST = 20


class Target(NamedTuple):
    """What ends a lane.

    Attributes:
        value: to be reached.
        measure: a name among the task's measures.
        split: a name among the study's splits.
        above: whether large is good.
    """

    value: float
    measure: str = "error"
    split: str = "validation"
    above: bool = False

    def met(self, value: Any) -> Any:
        """Whether a value is good enough."""
        return value >= self.value if self.above else value <= self.value

    def __str__(self) -> str:
        """For people."""
        return f"{self.split} {self.measure} {'≥' if self.above else '≤'} {self.value:g}"


@dataclasses.dataclass(frozen=True)
class Study:
    """What became of every lane.

    Attributes:
        lanes: the configurations.
        target: what ended them, if anything was to.
        microbatch: of each lane.
        budget: of each lane, in updates.
        exits: why each ended: `target`, `budget`, `not finite` or `plateau`; `""` where it has not.
        updates: done by each.
        records: the measurements in the order of their lanes' training, as columns: `lane`,
            `updates`, every `split measure`, `running` (the mean loss in training since the last
            measurement), and for the noise scale the means over that time of |g|² over
            microbatches (`small`) and over batches (`large`), and the number of batches.
        params: the flattened parameters at each lane's end, shape (lanes, size), if kept.
        examples: N.
        size: parameters of a lane.
        seconds: spent compiling (`compile`) and running (`run`).
        programs: widths (lanes in all) of the programs that ran, by bucket.
        pending: where the bucket under way is; `None` when all is done.
    """

    lanes: Lanes
    target: Target | None
    microbatch: np.ndarray
    budget: np.ndarray
    exits: np.ndarray
    updates: np.ndarray
    records: dict[str, np.ndarray]
    params: np.ndarray | None
    examples: int
    size: int
    seconds: dict[str, float]
    programs: dict[int, list[int]]
    pending: dict[str, Any] | None = None

    @property
    def steps(self) -> np.ndarray:
        """Updates to the target, of each lane; infinite where it was not met."""
        return np.where(self.exits == "target", self.updates, np.inf)

    def last(self, name: str) -> np.ndarray:
        """The last measurement of each lane; NaN where there is none."""
        values = np.full(len(self.lanes), np.nan)
        values[self.records["lane"]] = self.records[name]  # later rows overwrite
        return values

    def table(self) -> dict[str, np.ndarray]:
        """One row a lane: configuration, exit, updates, epochs and last measurements."""
        columns = self.lanes.columns() | {
            "microbatch": self.microbatch,
            "exit": self.exits,
            "updates": self.updates,
            "epochs": self.updates * self.lanes.batch_size / self.examples,
            "steps_to_target": self.steps,
        }
        measured = [name for name in self.records if " " in name]
        return columns | {name.replace(" ", "_"): self.last(name) for name in measured}


def batch_size(
    task: Task,
    data: Batch,
    lanes: Lanes,
    *,
    splits: Mapping[str, Batch],
    target: Target | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    plateau: float | None = None,
    resolution: float = 0.05,
    noise: bool = True,
    keep_params: bool = False,
    microbatches: Sequence[int] | None = None,
    rows: int = 1000,
    mesh: Mesh | None = None,
    done: Study | None = None,
    on_chunk: Callable[[Study, float], bool | None] | None = None,
) -> Study:
    """Train all lanes, in as many compiled programs as the plan has buckets.

    Args:
        task: the loss, from `task` or any pure functions.
        data: what is trained on, a dict of arrays with one leading axis.
        lanes: the configurations, from `grid`.
        splits: name -> what is measured on.
        target: what ends a lane before its budget.
        epochs: a lane's budget, N examples each.
        steps: a lane's budget in updates; the smaller of the two where both are given.
        plateau: a lane ends when so large a share of its updates at the best measurement of the
            target's measure, at least 20, has been added without a better one: 1 waits as long
            again.
        resolution: lanes are measured when their examples have grown by this share, and after
            every update of the smallest batch at first.
        noise: whether to add up the gradients' norms, for `noise_scale_of`.
        keep_params: whether to keep the parameters at each lane's end.
        microbatches: the buckets' m; chosen by default.
        rows: of a split that pass through the network at a time.
        mesh: devices to share the lanes, along its axis `lanes`.
        done: what an earlier call with the same arguments had done: it goes on from there.
        on_chunk: called with the study so far and the share of its ticks that is done; a true
            answer ends it there.

    Returns:
        What became of the lanes. The same study again is equal to the bit on one device; other
        buckets, an order of lanes or devices change sums in their last digits.

    Raises:
        ValueError: for bad lanes, data with NaN or of unequal lengths, a batch larger than the
            data or divided by no microbatch, no budget, a target that is not measured, cannot be
            reached or is reached before the first update.
        BackendError: if the backend computes known answers wrong.

    Example:
        >>> from jaxml import nn
        >>> from jaxml.studies import grid, task
        >>> from jaxml.training import losses
        >>> x = np.linspace(-1, 1, 32).reshape(-1, 1)
        >>> data = {"x": x, "y": 2 * x}
        >>> line = task(nn.linear(1, 1, bias=False), losses.mse)
        >>> lanes = grid([4, 32], [0.1], optimizers=["sgd"], seeds=1)
        >>> target = Target(1e-3, "loss", "train")
        >>> study = batch_size(line, data, lanes, splits={"train": data}, target=target, epochs=200)
        >>> study.exits.tolist()
        ['target', 'target']
    """
    lanes = check_lanes(lanes)
    arrays, measured_on, size, dtype = _check(task, data, splits, target, lanes)
    require(0 < resolution <= 1, "a resolution in (0, 1]", resolution)
    require(plateau is None or (plateau > 0 and target), "a plateau above 0, and a target", plateau)
    mesh = check_mesh(mesh, "lanes")
    require_sound_backend()
    planned = plan(
        lanes,
        examples=examples(arrays),
        size=size,
        epochs=epochs,
        steps=steps,
        microbatches=microbatches,
        itemsize=dtype.itemsize,
    )
    work = _Work(
        task, arrays, measured_on, lanes, planned, target, noise, resolution, plateau, rows, mesh
    )
    study = _blank(work, dtype, keep_params) if done is None else done
    same = len(study.lanes) == len(lanes) and all(
        (a == b).all()
        for a, b in zip(study.lanes.columns().values(), lanes.columns().values(), strict=True)
    )
    require(same and (study.budget == planned.updates).all(), "the study's own arguments", "others")
    total = sum(b.work for b in planned.buckets)
    past = 0.0
    for bucket in planned.buckets:
        if (study.exits[bucket.lanes] != "").all():
            past += bucket.work
            continue
        for so_far, share in _run_bucket(work, bucket, study, pausing=on_chunk is not None):
            study = so_far
            if on_chunk is not None and on_chunk(study, (past + share * bucket.work) / total):
                return study
        past += bucket.work
    return study


class _Work(NamedTuple):
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


def _check(task, data, splits, target, lanes) -> tuple[Any, Any, int, np.dtype]:
    """The data and splits on the device, and the size and dtype of the parameters."""
    require(isinstance(task, Task), "a Task, from studies.task", type(task).__name__)
    require(isinstance(splits, Mapping) and splits, "at least one split to measure on", splits)
    data = check_data(data)
    require("weights" not in data, "examples that count alike", "data with weights")
    splits = {name: check_data(split) for name, split in splits.items()}
    for name, split in splits.items():
        require("weights" not in split, "examples that count alike", f"{name} with weights")
    if target is not None:
        require(target.split in splits, f"a target on {', '.join(splits)}", target.split)
    key = jax.random.key(int(lanes.seed[0]))
    params, model_state = jax.jit(task.init)(key)
    leaves = jax.tree.leaves(params)
    floating = leaves and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
    require(floating, "parameters of floating-point numbers", [str(leaf.dtype) for leaf in leaves])
    size, dtype = sum(leaf.size for leaf in leaves), leaves[0].dtype
    split = splits[target.split if target else next(iter(splits))]
    measured = jax.jit(task.measures)(params, model_state, split)
    require("loss" in measured, "a measure named loss", ", ".join(measured))
    count = examples(split)
    for name, values in measured.items():
        require(values.shape == (count,), f"{name} of shape ({count},)", values.shape)
    if target is not None:
        known = target.measure in measured
        require(known, f"a target among {', '.join(measured)}", target.measure)
        require(np.isfinite(target.value), "a finite target", target.value)
        values = np.asarray(measured[target.measure])
        if np.isin(values, (0, 1)).all():  # a share of the examples
            low, high = (target.value > 0, target.value <= 1)
            if not target.above:
                low, high = (target.value >= 0, target.value < 1)
            expected = "in (0, 1]" if target.above else "in [0, 1)"
            require(low and high, f"a target {expected} for {target.measure}", target.value)
        met = target.met(values.mean())
        require(not met, "a target that is not met before the first update", target)
    return data, splits, size, np.dtype(dtype)


def _blank(work: _Work, dtype: np.dtype, keep_params: bool) -> Study:
    count = len(work.lanes)
    microbatch = np.zeros(count, np.int64)
    for bucket in work.plan.buckets:
        microbatch[bucket.lanes] = bucket.microbatch
    return Study(
        lanes=work.lanes,
        target=work.target,
        microbatch=microbatch,
        budget=work.plan.updates,
        exits=np.full(count, "", dtype="U10"),
        updates=np.zeros(count, np.int64),
        records={},
        params=np.full((count, work.plan.size), np.nan, dtype) if keep_params else None,
        examples=work.plan.examples,
        size=work.plan.size,
        seconds={"compile": 0.0, "run": 0.0},
        programs={},
    )


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


def _by_seed(lanes: Lanes, own: np.ndarray, multiple: int) -> np.ndarray:
    """Lane numbers of shape (seeds, lanes of one), -1 where a seed has fewer."""
    rows = [own[lanes.seed[own] == seed] for seed in np.unique(lanes.seed[own])]
    return _rectangle(rows, max(map(len, rows)), multiple)


def _rectangle(rows: Sequence[np.ndarray], width: int, multiple: int) -> np.ndarray:
    width = -(-width // multiple) * multiple
    return np.stack([np.pad(row, (0, width - len(row)), constant_values=-1) for row in rows])


def _pack(work: _Work, index: np.ndarray, bucket: Bucket) -> Pack:
    """The numbers of the lanes in a rectangle; what stands for none has no update to do."""
    lanes = work.lanes.take(index.ravel())
    coefficients = two_slots(lanes.optimizer, lanes.momentum)
    last = np.where(index < 0, 0, work.plan.updates[index])
    shape = np.array([SCHEDULES.index(str(name)) for name in lanes.schedule])
    seeds = np.array([work.lanes.seed[row[row >= 0][0]] for row in index])

    def rectangle(column, dtype):
        return jnp.asarray(np.reshape(column, index.shape), dtype)

    warm = np.minimum(np.round(lanes.warmup * last.ravel()), np.maximum(last.ravel() - 1, 0))
    return Pack(
        seed=jnp.asarray(seeds, jnp.uint32),
        ticks=rectangle(lanes.batch_size // bucket.microbatch, jnp.int32),
        rate=rectangle(lanes.learning_rate, float),
        optimizer=type(coefficients)(*(rectangle(column, float) for column in coefficients)),
        shape=rectangle(shape, jnp.int32),
        warm=rectangle(warm, jnp.int32),
        last=rectangle(last, jnp.int32),
    )


def _place(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays of (seeds, lanes, ...) with the lanes divided among the devices."""
    if mesh is None:
        return tree
    along = NamedSharding(mesh, PartitionSpec(None, "lanes"))
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda a: jax.device_put(a, along if a.ndim > 1 else whole), tree)


def _run_bucket(work: _Work, bucket: Bucket, study: Study, pausing: bool):
    """Yield the study after every chunk, and the share of the bucket's ticks that is done.

    Only if it may pause there is the state brought to the host.
    """
    count, m = work.plan.examples, bucket.microbatch
    devices = 1 if work.mesh is None else work.mesh.shape["lanes"]
    seen = max(count, m, min(_EXAMPLES, int(bucket.ticks.max()) * m))
    capacity = seen // m
    own = work.lanes.take(bucket.lanes)
    optimizer, k = two_slots(own.optimizer, own.momentum), own.batch_size // m
    target = work.target
    settings = Settings(
        task=work.task,
        microbatch=m,
        slots=optimizer.slots,
        accumulate=bool((k > 1).any()),
        noise=work.noise and bool((k > 1).any()),
        epochs=-(-capacity * m // count) + 1,
        rows=work.rows,
        target=(target.split, target.measure, target.above) if target else (),
    )
    stops = measurements(int(bucket.ticks.max()), int(k.min()), work.resolution)
    data, splits = place((work.data, work.splits), work.mesh)
    threshold = jnp.asarray(target.value if target else 0.0)
    pending = study.pending
    if pending is None:
        index, tick = _by_seed(work.lanes, bucket.lanes, devices), -1
        pack = _place(_pack(work, index, bucket), work.mesh)
        state = _place(start(settings, pack), work.mesh)
    else:
        index, tick = pending["index"], int(pending["tick"])
        pack = _place(_pack(work, index, bucket), work.mesh)
        shapes = jax.eval_shape(lambda: start(settings, pack))
        leaves = [jnp.asarray(leaf) for leaf in pending["state"]]
        state = _place(jax.tree.unflatten(jax.tree.structure(shapes), leaves), work.mesh)
    compiled = None
    while (study.exits[index[index >= 0]] == "").any():
        first = max(tick, 0)
        ahead = stops[stops > tick][:_MEASUREMENTS] - first
        near = ahead[ahead <= capacity]
        ahead = near if len(near) else np.array([capacity])
        padded = np.pad(ahead, (0, _MEASUREMENTS - len(ahead)))
        epoch, offset = divmod(first * m, count)
        numbers = (first, epoch, offset)
        arguments = (
            settings, pack, state, data, splits, *(jnp.int32(n) for n in numbers),
            jnp.asarray(padded, jnp.int32), jnp.int32(len(ahead)), threshold,
        )  # fmt: skip
        seconds = dict(study.seconds)
        if compiled is None:
            began = time.perf_counter()
            compiled = advance.lower(*arguments).compile()
            seconds["compile"] += time.perf_counter() - began
            widths = [*study.programs.get(m, []), index.size]
            study = dataclasses.replace(study, programs=study.programs | {m: widths})
        began = time.perf_counter()
        state, record = jax.block_until_ready(advance(*arguments))
        seconds["run"] += time.perf_counter() - began
        tick = first + int(ahead[-1])
        record = {name: np.asarray(array)[: len(ahead)] for name, array in record.items()}
        study = dataclasses.replace(study, seconds=seconds)
        study, state = _take_in(work, study, state, record, index)
        left = int(bucket.ticks.max()) - tick
        narrow = _narrower(study, index, devices, left * (m + TICK) * 6 * work.plan.size)
        if narrow is not None:
            index, chosen = narrow
            rows = np.arange(len(index))[:, None]
            state = jax.tree.map(lambda leaf, r=rows, c=chosen: leaf[r, c], state)
            state = state._replace(live=state.live & jnp.asarray(index >= 0))
            state = _place(state, work.mesh)
            pack, compiled = _place(_pack(work, index, bucket), work.mesh), None
        over = (study.exits[bucket.lanes] != "").all()
        pending = None
        if pausing and not over:
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
            pending = {"index": index, "tick": tick, "state": leaves}
        study = dataclasses.replace(study, pending=pending)
        yield study, 1.0 if over else tick / float(bucket.ticks.max())


def _take_in(
    work: _Work, study: Study, state: LaneState, record: dict[str, np.ndarray], index: np.ndarray
) -> tuple[Study, LaneState]:
    """Add a chunk's measurements, and note which lanes have ended and why."""
    there = record["live"] & (index >= 0)
    updates = study.updates.copy()
    before = np.where(study.updates[index] > 0, study.updates[index], -1)
    counts = np.concatenate([before[None], record["count"]])
    fresh = there & (np.diff(counts, axis=0) != 0)
    live = np.asarray(state.live)
    ended = (index >= 0) & ~live & there[0]
    exits, params = study.exits.copy(), study.params
    measured = [name for name in record if " " in name]
    for seed, lane in zip(*np.nonzero(ended), strict=True):
        number = index[seed, lane]
        at = np.flatnonzero(there[:, seed, lane])[-1]
        values = {name: record[name][at, seed, lane] for name in measured}
        exits[number] = _why(work.target, values)
    for number, seed, lane in _plateaus(work, study, record, index, live, fresh):
        exits[number] = "plateau"
        live = live.copy()
        live[seed, lane] = False
    updates[index[index >= 0]] = np.asarray(state.count)[index >= 0]
    new = (study.exits != exits) & (exits != "")
    if params is not None and new.any():
        params = params.copy()
        flat = jax.vmap(jax.vmap(lambda p: ravel_pytree(p)[0]))(state.params)
        for seed, lane in zip(*np.nonzero((index >= 0) & new[index]), strict=True):
            params[index[seed, lane]] = np.asarray(flat[seed, lane])
    at, seed, lane = np.nonzero(fresh)
    rows = {"lane": index[seed, lane], "updates": record["count"][at, seed, lane]}
    names = [*measured, "running", "small", "large", "batches"]
    rows |= {name: record[name][at, seed, lane] for name in names}
    records = {
        name: np.concatenate([study.records[name], rows[name]]) if study.records else rows[name]
        for name in rows
    }
    study = dataclasses.replace(study, exits=exits, updates=updates, params=params, records=records)
    return study, state._replace(live=jnp.asarray(live))


def _why(target: Target | None, values: dict[str, np.ndarray]) -> str:
    if not all(np.isfinite(value) for value in values.values()):
        return "not finite"
    if target is not None and target.met(values[f"{target.split} {target.measure}"]):
        return "target"
    return "budget"


def _plateaus(work, study, record, index, live, fresh):
    """Lanes whose best measurement lies far behind: (number, seed, lane)."""
    if work.plateau is None:
        return
    name = f"{work.target.split} {work.target.measure}"
    sign = -1 if work.target.above else 1
    for seed, lane in zip(*np.nonzero(live & (index >= 0)), strict=True):
        number, some = index[seed, lane], fresh[:, seed, lane]
        values, updates = record[name][some, seed, lane], record["count"][some, seed, lane]
        if study.records:
            own = study.records["lane"] == number
            values = np.concatenate([study.records[name][own], values])
            updates = np.concatenate([study.records["updates"][own], updates])
        if len(values):
            best = updates[np.argmin(sign * values)]
            if updates[-1] >= (1 + work.plateau) * max(best, _FEWEST):
                yield number, seed, lane


def _narrower(
    study: Study, index: np.ndarray, multiple: int, flops: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Live lanes closer together, if fewer than half live and what is left is worth a program.

    Args:
        study: so far.
        index: lane numbers, shape (seeds, lanes).
        multiple: of the new width.
        flops: that a lane has before it.

    Returns:
        The new numbers and from which place of its seed each comes.
    """
    live = (index >= 0) & (study.exits[index] == "")
    rows = [np.flatnonzero(row) for row in live]
    width = max(map(len, rows))
    if width == 0 or 2 * width > index.shape[1]:
        return None
    places = _rectangle(rows, 1 << (width - 1).bit_length(), multiple)
    saved = (index.shape[1] - places.shape[1]) * len(index) * flops
    if saved < COMPILE:
        return None
    chosen = np.maximum(places, 0)
    return np.where(places < 0, -1, index[np.arange(len(index))[:, None], chosen]), chosen
