"""`jaxml train`."""

import dataclasses
import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from cyclopts import Parameter

from jaxml import data, nn, report, sequence, training
from jaxml.cli import networks, runs, texts
from jaxml.cli.console import out
from jaxml.cli.datasets import load_dataset, told
from jaxml.cli.devices import Distributed, Mesh, make_mesh
from jaxml.cli.options import (
    COUNT,
    FLAT,
    FRACTION,
    NONNEGATIVE,
    POSITIVE,
    Config,
    Data,
    Resume,
    SequenceLayers,
    Start,
    parsed,
    positional,
    recorded,
)
from jaxml.cli.training_page import training_finding
from jaxml.core import checksummed_dirs, types
from jaxml.core.checks import require
from jaxml.core.files import to_json, write_atomically
from jaxml.core.finding import finding
from jaxml.core.seeds import key as key_of
from jaxml.core.selfcheck import require_sound_backend
from jaxml.sequence import tokens
from jaxml.training import averaging, losses, metrics, optimizers, sampling, schedules
from jaxml.training.callbacks import logged
from jaxml.training.loop import Sample

_LOG = "metrics.jsonl"
_BUCKETS = 4
"""By length, of sequences; each is compiled."""

_LOGITS = 2**26
"""Of sequences that are evaluated at a time, at most."""

_OF_SEQUENCES = ("x", "x_length", "y", "y_length")
"""What is read of sequences; a set may have more, such as the links of two translations."""


Model = Annotated[str | None, Parameter(choices=networks.MODELS | networks.SEQUENCE_MODELS)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(Data, SequenceLayers):
    """What a run is asked for."""

    model: Annotated[Model, Parameter(show=False)] = None
    """The network."""
    steps: Annotated[int | None, COUNT] = None
    """Updates (2000); with --resume: where to end."""
    epochs: Annotated[int | None, COUNT] = None
    """Passes over the training set in place of --steps; with --resume: where to end."""
    seed: int = 0
    """Of initialisation and batches."""
    augment: Annotated[str | None, Parameter(metavar="NAME:VALUE,…")] = None
    """Of images: shift:PIXELS, flip, rotation:DEGREES, cutout:PIXELS, mixup:ALPHA."""
    batch_size: Annotated[int, COUNT] = 64
    """Examples in a batch; of sequences, of those of the middle length."""
    byte_pairs: Annotated[int | None, COUNT, Parameter(metavar="SIZE")] = None
    """Of texts: learn a vocabulary of so many tokens (one for each character)."""
    optimizer: Annotated[str, Parameter(choices=optimizers.__all__)] = "adam"
    """How the gradient is used."""
    learning_rate: Annotated[float, POSITIVE] = 1e-3
    """Its peak."""
    schedule: Annotated[str, Parameter(choices=schedules.__all__)] = "constant"
    """Of the learning rate."""
    l2: Annotated[float, NONNEGATIVE] = 0.0
    """λ in (λ/2)‖θ‖²."""
    label_smoothing: Annotated[float | None, FRACTION] = None
    """Share of each label that is spread over all classes (0)."""
    clip: Annotated[float | None, POSITIVE] = None
    """The gradient's norm, at most (none)."""
    accumulate: Annotated[int, COUNT] = 1
    """Parts that a batch is computed in."""
    average: Annotated[float | None, FRACTION, Parameter(metavar="DECAY")] = None
    """Of a moving average of the parameters (none)."""
    compute_dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """That layers compute in (float32)."""
    patience: Annotated[int | None, COUNT] = None
    """End at the best of the checkpoints once so many in a row are no better on the validation
    set."""
    checkpoint_every: Annotated[int | None, COUNT, Parameter(metavar="STEPS")] = None
    """Steps between checkpoints (a twentieth of the run)."""
    keep: Annotated[int, COUNT] = 3
    """Checkpoints that stay."""
    mesh: Mesh = None
    """Devices to share the rows (one device)."""
    out: str | None = None
    """A new folder for the run (runs/train-N)."""


class Problem(NamedTuple):
    """What the arguments ask for.

    `make` is a function of the learning rate; `expects` is what `jaxml.load` is to know;
    `rows_at_a_time` are evaluated.
    """

    splits: dict[str, dict[str, np.ndarray]]
    model: types.Model
    make: Callable[[Any], types.Algorithm]
    algorithm: types.Algorithm
    sample: Sample
    inputs: Callable[[types.Batch], Any] | None
    steps_per_epoch: int
    steps: int
    measures: dict[str, types.DataLoss]
    expects: dict[str, Any]
    rows_at_a_time: int = 1000
    tokenizer: tokens.Tokenizer | None = None


def command(
    model: Model = None,
    /,
    *,
    settings: Annotated[Train, FLAT] = Train(),
    resume: Resume = None,
    start: Start = None,
    config: Config = None,
    distributed: Distributed = None,
    find_rate: Annotated[str | None, Parameter(metavar="PAGE.html")] = None,
) -> int:
    """Train a network on a data set.

    Args:
        model: the network.
        settings: of the run.
        resume: go on with the run in this folder.
        start: with --resume: from the checkpoint of this step (the latest); later ones go.
        config: a .toml file with some of these options, or the config.json of a run.
        distributed: run as one of several processes; auto where the cluster tells; all their
            devices.
        find_rate: look for a learning rate, write what is seen to this page, and end.
    """
    asked = runs.asked("train", positional(settings, model=model), resume, start)
    if resume is not None and (settings.steps or settings.epochs):
        length = {"steps": settings.steps, "epochs": settings.epochs}
        asked = asked.change(**length)
    options: Train = asked.settings
    both = options.steps is not None and options.epochs is not None
    require(not both, "--steps or --epochs", "both")
    needed = {"MODEL": options.model, "--data": options.data}
    if missing := [name for name, value in needed.items() if value is None]:
        raise ValueError(f"required: {', '.join(missing)}, or --resume DIR alone")
    mesh = make_mesh(options.mesh, distributed)
    dataset = load_dataset(options)
    asked_for = build(options, dataset)
    steps = asked_for.steps
    if find_rate is not None:
        return _find_rate(options, asked_for, find_rate)
    if asked.folder is not None:
        texts.require_same(asked.config, asked_for.tokenizer, asked.folder)
        _check_steps(asked, asked_for)
    every = options.checkpoint_every or -(-steps // 20)
    asked = asked.change(steps=steps if options.epochs is None else None, checkpoint_every=every)
    options = asked.settings
    require_sound_backend()
    key = key_of(options.seed)
    with (
        runs.opened(asked, dataset, **asked_for.expects) as folder,
        training.stop_on_signals("finishing this chunk of steps; once more stops at once") as stop,
    ):
        for line in told(dataset):
            out.print(line)
        if asked_for.tokenizer is not None:
            out.print(f"  in {asked_for.tokenizer.size:,} tokens of byte pairs")
            if jax.process_index() == 0:
                asked_for.tokenizer.save(folder / texts.FILE)
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
            name: _evaluated(asked_for, state, split) for name, split in asked_for.splits.items()
        }
        _require_finite(results, done)
        digest = runs.arrays_sha256(state.params)
        body = {
            **report.provenance(),
            "arguments": recorded(options),
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
            lines = logged(folder / _LOG, done)
            report.write(training_finding(lines, results), folder / "report.html")
        out.print(str(folder))
    for name, values in results.items():
        out.print(f"{name} " + " ".join(f"{key} {value:.4f}" for key, value in values.items()))
    out.print(f"sha256 {digest}")
    return 0


def _find_rate(options: Train, problem: Problem, page: str) -> int:
    require_sound_backend()
    data, key = problem.splits["train"], key_of(options.seed)
    found = training.find_learning_rate(problem.make, data, problem.sample, key=key)
    out.print(finding(found).verdict)
    if jax.process_index() == 0:
        out.print(str(report.write(found, page)))
    return 0


def _require_finite(results: dict[str, dict[str, float]], step: int) -> None:
    for split, values in results.items():
        for name, value in values.items():
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"metric {name!r} on the split {split} is {value} after step {step}; the "
                    "checkpoints are kept"
                )


def _check_steps(asked: runs.Asked, problem: Problem) -> None:
    """Whether a run may end after so many steps, as if that had been asked for at first."""
    options = asked.settings
    before = _steps(parsed(Train, asked.config["arguments"]), problem.steps_per_epoch)
    require(
        problem.steps == before or options.schedule == "constant",
        f"a run with --schedule constant, to end after {problem.steps} steps in place of {before}",
        f"{options.schedule}, which makes each step's learning rate from the number of all: "
        "begin another run",
    )


def _steps(options: Train, per_epoch: int) -> int:
    """How many updates are asked for."""
    if options.epochs is not None:
        return options.epochs * per_epoch
    return 2000 if options.steps is None else options.steps


def build(options: Train, dataset: data.Dataset) -> Problem:
    """The network, its training and its data.

    Args:
        options: the command's arguments, now or of an earlier run.
        dataset: the data set that `--data` names.

    Raises:
        ValueError: where they do not go together.
    """
    require("y" in dataset.train, "a data set with targets", f"{options.data} without")
    held_out = options.patience is None or dataset.validation is not None
    require(
        held_out, "a data set with a validation split for --patience", f"{options.data} without"
    )
    if options.model in networks.SEQUENCE_MODELS:
        return _of_sequences(options, dataset)
    require(options.byte_pairs is None, "--byte-pairs with sequences", options.byte_pairs)
    targets = networks.targets_of(dataset)
    assert options.model is not None
    splits = networks.split_arrays(options.model, dataset)
    shape, y = splits["train"]["x"].shape[1:], splits["train"]["y"]
    told = targets.error if targets.classes is None else {"accuracy": metrics.accuracy}
    network = networks.description(
        options.model, options, shape, targets.outputs, dtype=options.compute_dtype
    )
    model = nn.from_description(network)
    batch_size = min(options.batch_size, len(y))
    whole_parts = batch_size % options.accumulate == 0
    require(whole_parts, f"batches of a multiple of --accumulate {options.accumulate}", batch_size)
    loss: Any = targets.loss
    if options.label_smoothing is not None:
        classes = targets.classes
        require(classes, "a classification, for --label-smoothing", "a regression")
        loss = functools.partial(loss, label_smoothing=options.label_smoothing)

    def made(optimizer):
        return training.supervised(
            model, loss, optimizer, l2=options.l2, accumulate=options.accumulate
        )

    x = splits["train"]["x"]
    return _problem(
        options,
        made,
        splits=splits,
        model=model,
        sample=networks.sampler(options.augment, batch_size, len(shape) == 3, targets.classes),
        steps_per_epoch=len(y) // batch_size,
        measures={"loss": targets.loss, **told},
        expects={
            "network": network,
            "input": {"shape": shape, "range": [float(x.min()), float(x.max())]},
            "target": {"shape": y.shape[1:]},
        },
    )


def _of_sequences(options: Train, dataset: data.Dataset) -> Problem:
    task = dataset.meta["task"]
    require(
        task == "sequence_to_sequence", f"sequences to sequences for a {options.model}", f"a {task}"
    )
    for name, value in (
        ("augment", options.augment is None),
        ("accumulate", options.accumulate == 1),
    ):
        require(value, f"no --{name} with a {options.model}", getattr(options, name))
    assert options.model is not None
    tokenizer = None
    if options.byte_pairs is not None:
        tokenizer = texts.learned(dataset, options.byte_pairs)
        inputs = outputs = tokenizer.size
        begin, end = tokens.BEGIN, tokens.END
        arrays = texts.encoded(tokenizer, dataset)
    else:
        inputs, begin = (len(dataset.meta[f"{side}_vocabulary"]) for side in ("input", "target"))
        end, outputs = begin + 1, begin + 2
        arrays = {
            name: {key: rows[key] for key in _OF_SEQUENCES} for name, rows in dataset.splits.items()
        }
    network = networks.description(
        options.model, options, (inputs,), outputs, dtype=options.compute_dtype
    )
    made = nn.from_description(network)
    splits = {name: sequence.with_end(rows, end) for name, rows in arrays.items()}
    train = splits["train"]
    lengths = np.maximum(train["x_length"], train["mask"].sum(1))
    budget = max(options.batch_size * int(np.median(lengths)), int(lengths.max()))
    buckets = sampling.buckets(lengths, _BUCKETS, budget)

    def algorithm(optimizer):
        smoothing = options.label_smoothing or 0.0
        return buckets.cut(
            sequence.teacher_forcing(
                made, optimizer, begin=begin, label_smoothing=smoothing, l2=options.l2
            )
        )

    return _problem(
        options,
        algorithm,
        splits=splits,
        model=made.model,
        sample=buckets,
        inputs=functools.partial(sequence.forced, begin=begin),
        steps_per_epoch=buckets.steps_per_epoch,
        measures={"loss": losses.softmax_cross_entropy, "accuracy": metrics.accuracy},
        expects={
            "network": network,
            "input": {"shape": train["x"].shape[1:], "range": [0, inputs - 1]},
            "target": {"shape": train["y"].shape[1:], "begin": begin, "end": end},
            **({} if tokenizer is None else {"tokenizer": tokenizer.digest}),
        },
        rows_at_a_time=max(1, min(1000, _LOGITS // (train["y"].shape[1] * outputs))),
        tokenizer=tokenizer,
    )


def _problem(
    options: Train,
    algorithm_of: Callable[[optax.GradientTransformation], types.Algorithm],
    *,
    steps_per_epoch: int,
    expects: dict[str, Any],
    inputs: Callable[[types.Batch], Any] | None = None,
    **parts: Any,
) -> Problem:
    """The problem, from the algorithm as a function of its optimiser."""
    steps = _steps(options, steps_per_epoch)

    def make(rate):
        optimizer = getattr(optimizers, options.optimizer)(rate)
        if options.clip is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(options.clip), optimizer)
        return algorithm_of(optimizer)

    algorithm = make(getattr(schedules, options.schedule)(options.learning_rate, steps))
    if options.average is not None:
        algorithm = averaging.moving_average(algorithm, options.average)
    return Problem(
        make=make,
        algorithm=algorithm,
        inputs=inputs,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        expects={**expects, "steps": steps},
        **parts,
    )


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
    validation = training.evaluation(lambda state: _evaluated(problem, state, split))
    log = training.metrics_log(path, validation=validation)
    saved = training.checkpoint(where, keep=keep, watched=validation, log=log)
    if patience is None:
        return None, [validation, log, saved]
    stopping = training.early_stopping(validation, patience=patience)
    for line in logged(path, done):
        stopping.see(line["step"], line["validation"]["loss"])
    return stopping, [validation, log, saved, stopping]


def _evaluated(problem: Problem, state: Any, split: Any) -> dict[str, Any]:
    return training.evaluate(
        problem.model, state, split, problem.measures, inputs=problem.inputs,
        batch_size=problem.rows_at_a_time,
    )  # fmt: skip


def _npz(params: Any) -> bytes:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    arrays = [np.asarray(leaf) for _, leaf in leaves]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(zip(names, arrays, strict=True)))
    return buffer.getvalue()
