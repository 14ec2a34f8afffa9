"""Train every configuration of a study and tell when each reached its target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxml.core.checks import require
from jaxml.core.empirical_risk import examples
from jaxml.core.seeds import key as key_of
from jaxml.core.selfcheck import require_sound_backend
from jaxml.core.sharding import check_mesh
from jaxml.core.types import Batch
from jaxml.studies.sweep.configs import Lanes, check_lanes
from jaxml.studies.sweep.cost_model import plan
from jaxml.studies.sweep.executor import Work, run_bucket
from jaxml.studies.sweep.result import Study, Target
from jaxml.studies.sweep.task import Task, as_it_is, gradient_flops
from jaxml.studies.sweep.transformations import (
    Make,
    check_transformations,
    state_bytes,
    transformation_as_it_is,
)
from jaxml.training.batches import check_data, check_use


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
    transformations: Mapping[str, Make] | None = None,
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
        transformations: optimisers of your own: name -> function of the rate that returns an
            optax transformation, as `{"lion": optax.lion}`. The rate, which the lanes'
            schedule changes, comes traced: no `inject_hyperparams`. Lanes of each have a program
            of their own.
        done: what an earlier call with the same arguments had done: it goes on from there.
            Transformations are not saved with it; they are found by their names.
        on_chunk: called with the study so far and the share of its ticks that is done; a true
            answer ends it there.

    Returns:
        What became of the lanes. The same study again is equal to the bit on one device; other
        buckets, an order of lanes, devices or processor cores change sums in their last digits.

    Raises:
        ValueError: for bad lanes, data with NaN or of unequal lengths, a batch larger than the
            data or divided by no microbatch, no budget, a target that is not measured, cannot be
            reached or is reached before the first update, for an unknown optimiser, or a
            transformation whose state changes its shape.
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
    own = check_transformations(transformations)
    lanes = check_lanes(lanes, own)
    arrays, measured_on, size, dtype = _check(task, data, splits, target, lanes)
    task = as_it_is(task, arrays, next(iter(measured_on.values())))
    require(0 < resolution <= 1, "a resolution in (0, 1]", resolution)
    require(plateau is None or (plateau > 0 and target), "a plateau above 0, and a target", plateau)
    mesh = check_mesh(mesh, "lanes")
    require_sound_backend()
    used = {name: own[name] for name in own if name in lanes.optimizer}
    params, _ = jax.eval_shape(task.init, key_of(lanes.seed[0]))
    as_they_are = {name: transformation_as_it_is(name, make, params) for name, make in used.items()}
    planned = plan(
        lanes,
        examples=examples(arrays),
        size=size,
        epochs=epochs,
        steps=steps,
        microbatches=microbatches,
        itemsize=dtype.itemsize,
        example_flops=gradient_flops(task, arrays),
        mesh=mesh,
        states={name: state_bytes(task, make) for name, make in used.items()},
    )
    work = Work(
        task, arrays, measured_on, lanes, planned, target, noise, resolution, plateau, rows, mesh,
        as_they_are,
    )  # fmt: skip
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
        for so_far, share in run_bucket(work, bucket, study, pausing=on_chunk is not None):
            study = so_far
            if on_chunk is not None and on_chunk(study, (past + share * bucket.work) / total):
                return study
        past += bucket.work
    return study


def _check(task, data, splits, target, lanes) -> tuple[Any, Any, int, np.dtype]:
    """The data and splits on the device, and the size and dtype of the parameters."""
    require(isinstance(task, Task), "a Task, from studies.task", type(task).__name__)
    require(isinstance(splits, Mapping) and splits, "at least one split to measure on", splits)
    data = check_data(data)
    alike = lambda rows: not {"weights", "mask"} & set(rows)  # noqa: E731
    require(alike(data), "examples that count alike", "data with weights or a mask")
    splits = {name: check_data(split) for name, split in splits.items()}
    for name, split in splits.items():
        require(alike(split), "examples that count alike", f"{name} with weights or a mask")
    if target is not None:
        require(target.split in splits, f"a target on {', '.join(splits)}", target.split)
    key = key_of(lanes.seed[0])
    params, model_state = jax.jit(task.init)(key)
    leaves = jax.tree.leaves(params)
    floating = leaves and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
    require(floating, "parameters of floating-point numbers", [str(leaf.dtype) for leaf in leaves])
    size, dtype = sum(leaf.size for leaf in leaves), leaves[0].dtype
    start = params, model_state
    check_use(lambda rows, p, s, key: task.loss(p, s, rows, key), data, *start, key)
    for rows in splits.values():
        check_use(lambda rows, p, s: task.measures(p, s, rows), rows, *start)
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


def _blank(work: Work, dtype: np.dtype, keep_params: bool) -> Study:
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
