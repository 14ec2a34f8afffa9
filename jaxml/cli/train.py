"""`jaxml train`."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxml import data, nn, report, training
from jaxml.cli import networks, runs
from jaxml.cli.console import AddCommand, add_data, data_argument, load_dataset, out, told
from jaxml.cli.devices import add_distributed, add_mesh, make_mesh
from jaxml.cli.numbers import finite, fraction, nonnegative, positive, whole
from jaxml.core import checksummed_dirs
from jaxml.core.checks import near, require
from jaxml.core.files import to_json, write_atomically
from jaxml.core.finding import finding
from jaxml.core.seeds import key as key_of
from jaxml.core.selfcheck import require_sound_backend
from jaxml.core.types import Algorithm, DataLoss, Model
from jaxml.training import averaging, losses, metrics, optimizers, schedules
from jaxml.training.loop import Sample

_LOG = "metrics.jsonl"
# the options that came later than the first runs, and what these did
_TRAINER = {
    "clip": None, "accumulate": 1, "average": None, "compute_dtype": None, "patience": None,
}  # fmt: skip


def add(command: AddCommand) -> None:
    """The command and its arguments."""
    sub = command("train", _train, "Train a network on a data set.")
    sub.add_argument("model", nargs="?", metavar="MODEL", help=", ".join(networks.MODELS))
    add_data(sub)
    length = sub.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="updates (2000); with --resume: where to end")
    length.add_argument("--epochs", type=int, help="passes over the training set; likewise")
    sub.add_argument("--seed", type=int, default=0, help="of initialisation and batches (0)")
    networks.add_arguments(sub)
    networks.add_augment(sub)
    sub.add_argument("--batch-size", type=whole(1), default=64, help="examples in a batch (64)")
    names = ", ".join(optimizers.__all__)
    sub.add_argument("--optimizer", default="adam", help=f"{names} (adam)")
    sub.add_argument("--learning-rate", type=finite, default=1e-3, help="its peak (1e-3)")
    sub.add_argument(
        "--schedule", default="constant", help=f"{', '.join(schedules.__all__)} (constant)"
    )
    sub.add_argument("--l2", type=nonnegative, default=0.0, help="λ in (λ/2)‖θ‖² (0)")
    sub.add_argument("--clip", type=positive, help="the gradient's norm, at most (none)")
    sub.add_argument(
        "--accumulate", type=whole(1), default=1, help="parts that a batch is computed in (1)"
    )
    sub.add_argument(
        "--average", type=fraction, metavar="DECAY", help="of a moving average of the parameters"
    )
    sub.add_argument(
        "--compute-dtype", choices=("bfloat16", "float16", "float32"), help="(float32)"
    )
    sub.add_argument(
        "--patience", type=whole(1), metavar="N", help="end at the best of the checkpoints once N "
        "in a row are no better on the validation set",
    )  # fmt: skip
    sub.add_argument(
        "--checkpoint-every", type=int, metavar="STEPS", help="(a twentieth of the run)"
    )
    sub.add_argument("--keep", type=int, default=3, help="checkpoints that stay (3)")
    sub.add_argument(
        "--find-rate", metavar="PAGE.html", help="look for a learning rate, write what is seen, end"
    )
    add_mesh(sub)
    sub.add_argument("--out", help="a new folder for the run (runs/train-N)")
    runs.add_resume(sub, "step")
    add_distributed(sub)


class Problem(NamedTuple):
    """What the arguments ask for.

    `make` is a function of the learning rate; `expects` is what `jaxml.load` is to know.
    """

    splits: dict[str, dict[str, np.ndarray]]
    model: Model
    make: Callable[[Any], Algorithm]
    algorithm: Algorithm
    sample: Sample
    steps: int
    measures: dict[str, DataLoss]
    expects: dict[str, Any]


def _train(given: argparse.Namespace) -> int:
    asked = runs.asked(given, "train", either=("steps", "epochs"))
    options = asked.settings
    needed = {"MODEL": options.model, "--data": options.data}
    if missing := [name for name, value in needed.items() if value is None]:
        raise ValueError(f"required: {', '.join(missing)}, or --resume DIR alone")
    mesh = make_mesh(options.mesh, given.distributed)
    _check(options)
    dataset = load_dataset(options)
    options.data = data_argument(options.data)
    asked_for = problem(options, dataset)
    steps = asked_for.steps
    if options.find_rate is not None:
        return _find_rate(options, asked_for)
    if asked.folder is not None:
        _check_steps(asked, len(dataset.train["y"]), steps)
    if options.checkpoint_every is None:
        options.checkpoint_every = -(-steps // 20)
    every = options.checkpoint_every
    require(every >= 1, "steps between checkpoints of at least 1", every)
    require_sound_backend()
    key = key_of(options.seed)
    with (
        runs.opened(asked, dataset, **asked_for.expects) as folder,
        training.stop_on_signals("finishing this chunk of steps; once more stops at once") as stop,
    ):
        for line in told(dataset):
            out.print(line)
        out.print(nn.summary(asked_for.model))
        state: Any = None
        done = 0
        if asked.checkpoints is not None:
            like = asked_for.algorithm.init(key)
            state = training.restore(asked.checkpoints, like, step=asked.start)
            done = int(state.step)
            require(
                done <= steps, f"an end at or after step {done}, which is done", f"step {steps}"
            )
            if jax.process_index() == 0:
                training.check_log(folder / _LOG, asked.checkpoints, done)
                if not (folder / _LOG).exists():
                    out.print(f"{folder / _LOG} is missing: a new one begins here")
                checksummed_dirs.remove_after(asked.checkpoints, done)
            left = f"going on after step {done} of {steps}"
            out.print(f"{folder}: {left if done < steps else 'all steps are done'}")
        if asked.folder is not None and jax.process_index() == 0:
            runs.update(asked, folder, **asked_for.expects)
        stopping, records = _records(folder, asked_for, options.keep, options.patience, done)
        if done < steps and not (stopping and stopping.stopped):
            state = training.fit(
                asked_for.algorithm,
                asked_for.splits["train"],
                asked_for.sample,
                key=key,
                steps=steps - done,
                chunk=every,
                hooks=[training.progress(), *records, stop],
                state=state,
                mesh=mesh,
            ).state
            done = int(state.step)
        if stopping and stopping.stopped:
            where = runs.checkpoints(folder)
            like = asked_for.algorithm.init(key)
            state = training.restore(where, like, step="best")
            done = int(state.step)
            if jax.process_index() == 0:
                checksummed_dirs.remove_after(where, done)
            out.print(f"no better for {options.patience} checkpoints: the best is step {done}")
        elif done < steps:
            assert stop.received is not None
            return runs.stopped(asked, folder, stop.received, f"step {done} of {steps}")
        results = {
            name: training.evaluate(asked_for.model, state, split, asked_for.measures)
            for name, split in asked_for.splits.items()
        }
        _require_finite(results, done)
        digest = runs.arrays_sha256(state.params)
        body = {
            **report.provenance(),
            "arguments": vars(options),
            "steps": done,
            "metrics": results,
            "params_sha256": digest,
        }
        if jax.process_index() == 0:
            write_atomically(folder / "params.npz", _npz(state.params))
            if jax.tree.leaves(state.model_state):
                body["model_state_sha256"] = runs.arrays_sha256(state.model_state)
                write_atomically(folder / "model_state.npz", _npz(state.model_state))
            write_atomically(folder / "metrics.json", to_json(body, 1))
        out.print(str(folder))
    for name, values in results.items():
        out.print(f"{name} " + " ".join(f"{key} {value:.4f}" for key, value in values.items()))
    out.print(f"sha256 {digest}")
    return 0


def _find_rate(options: argparse.Namespace, problem: Problem) -> int:
    require_sound_backend()
    data, key = problem.splits["train"], key_of(options.seed)
    found = training.find_learning_rate(problem.make, data, problem.sample, key=key)
    out.print(finding(found).verdict)
    if jax.process_index() == 0:
        out.print(str(report.write(found, options.find_rate)))
    return 0


def _require_finite(results: dict[str, dict[str, float]], step: int) -> None:
    for split, values in results.items():
        for name, value in values.items():
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"metric {name!r} on the split {split} is {value} after step {step}; the "
                    "checkpoints are kept"
                )


def _check(options: argparse.Namespace) -> None:
    """What can be said without the data."""
    models = networks.MODELS
    got = f"{options.model!r}{near(options.model, models)}"
    require(options.model in models, f"a model among {', '.join(models)}", got)
    for name, module in (("optimizer", optimizers), ("schedule", schedules)):
        value = getattr(options, name)
        got = f"{value!r}{near(value, module.__all__)}"
        require(value in module.__all__, f"{name} among {', '.join(module.__all__)}", got)
    rate = options.learning_rate
    require(0 < rate < float("inf"), "a learning rate above 0", rate)
    require(options.keep >= 1, "checkpoints to keep, at least 1", options.keep)
    for name in ("steps", "epochs"):
        count = getattr(options, name)
        require(count is None or count >= 1, f"{name} of at least 1", count)


def _check_steps(asked: runs.Asked, examples: int, steps: int) -> None:
    """Whether a run may end after so many steps, as if that had been asked for at first."""
    options = asked.settings
    then = argparse.Namespace(**vars(options) | asked.config["arguments"])
    before = _steps(then, examples)
    require(
        steps == before or options.schedule == "constant",
        f"a run with --schedule constant, to end after {steps} steps in place of {before}",
        f"{options.schedule}, which makes each step's learning rate from the number of all: "
        "begin another run",
    )


def _steps(options: argparse.Namespace, examples: int) -> int:
    """How many updates are asked for."""
    if options.epochs is not None:
        return options.epochs * (examples // min(options.batch_size, examples))
    return 2000 if options.steps is None else options.steps


def problem(options: argparse.Namespace, dataset: data.Dataset) -> Problem:
    """The network, its training and its data.

    Args:
        options: the command's arguments, now or of an earlier run.
        dataset: the data set that `--data` names.

    Raises:
        ValueError: where they do not go together.
    """
    require("y" in dataset.train, "a data set with targets", f"{options.data} without")
    task = dataset.meta["task"]
    require(task in ("classification", "regression"), "classification or regression data", task)
    for name, value in _TRAINER.items():  # of a run of an earlier version
        if not hasattr(options, name):
            setattr(options, name, value)
    splits = networks.split_arrays(options.model, dataset)
    held_out = options.patience is None or "validation" in splits
    require(
        held_out, "a data set with a validation split for --patience", f"{options.data} without"
    )
    shape, y = splits["train"]["x"].shape[1:], splits["train"]["y"]
    measures: dict[str, DataLoss]
    if task == "classification":
        classes = outputs = dataset.meta["classes"]
        measures = {"loss": losses.softmax_cross_entropy, "accuracy": metrics.accuracy}
    else:
        classes, outputs = None, int(np.prod(y.shape[1:]))
        measures = {"loss": losses.mse, "mae": losses.mae}
    network = networks.description(options, shape, outputs)
    model = nn.from_description(network)
    batch_size = min(options.batch_size, len(y))
    whole_parts = batch_size % options.accumulate == 0
    require(whole_parts, f"batches of a multiple of --accumulate {options.accumulate}", batch_size)
    sample = networks.sampler(options.augment, batch_size, len(shape) == 3, classes)
    steps = _steps(options, len(y))
    if options.epochs is None:
        options.steps = steps
    schedule = getattr(schedules, options.schedule)(options.learning_rate, steps)

    def make(rate):
        optimizer = getattr(optimizers, options.optimizer)(rate)
        if options.clip is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(options.clip), optimizer)
        return training.supervised(
            model, measures["loss"], optimizer, l2=options.l2, accumulate=options.accumulate
        )

    algorithm = make(schedule)
    if options.average is not None:
        algorithm = averaging.moving_average(algorithm, options.average)
    x = splits["train"]["x"]
    expects = {
        "network": network,
        "input": {"shape": shape, "range": [float(x.min()), float(x.max())]},
        "target": {"shape": y.shape[1:]},
        "steps": steps,
    }
    return Problem(splits, model, make, algorithm, sample, steps, measures, expects)


def _records(
    folder: Path, problem: Problem, keep: int, patience: int | None, done: int
) -> tuple[training.early_stopping | None, list[training.Hook]]:
    """The hook that ends the run, if any, and those that write.

    They write `metrics.jsonl` and, after its line, the checkpoint.
    """
    path, where = folder / _LOG, runs.checkpoints(folder)
    split = problem.splits.get("validation")
    if split is None:
        log = training.metrics_log(path)
        return None, [log, training.checkpoint(where, keep=keep, log=log)]
    validation = training.evaluation(
        lambda state: training.evaluate(problem.model, state, split, problem.measures)
    )
    log = training.metrics_log(path, validation=validation)
    saved = training.checkpoint(where, keep=keep, watched=validation, log=log)
    if patience is None:
        return None, [validation, log, saved]
    stopping = training.early_stopping(validation, patience=patience)
    text = path.read_text(encoding="utf-8") if done and path.exists() else ""
    for line in map(json.loads, text.splitlines()):
        if line["step"] <= done:
            stopping.see(line["step"], line["validation"]["loss"])
    return stopping, [validation, log, saved, stopping]


def _npz(params: Any) -> bytes:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    arrays = [np.asarray(leaf) for _, leaf in leaves]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(zip(names, arrays, strict=True)))
    return buffer.getvalue()
