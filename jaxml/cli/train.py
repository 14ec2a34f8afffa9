"""`jaxml train`."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
from typing import Any

import jax
import numpy as np

from jaxml import data, nn, report, training
from jaxml.backend import require_sound_backend
from jaxml.checks import require
from jaxml.cli.console import AddCommand, load_dataset, out, results_folder
from jaxml.cli.devices import add_devices, make_mesh
from jaxml.files import write_atomically
from jaxml.training import losses, metrics, optimizers, sampling, schedules

MODELS = ("linear", "mlp", "deep_linear")


def add(command: AddCommand) -> None:
    """The command and its arguments."""
    sub = command("train", _train, "Train a network on a data set.")
    sub.add_argument("model", metavar="MODEL", help=", ".join(MODELS))
    sub.add_argument("--data", required=True, help=f"{', '.join(data.names())}, or a .npz file")
    length = sub.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="updates (2000)")
    length.add_argument("--epochs", type=int, help="passes over the training set")
    sub.add_argument("--seed", type=int, default=0, help="of initialisation and batches (0)")
    sub.add_argument("--hidden", default="64", help="widths of the hidden layers (64), as 64,32")
    sub.add_argument("--activation", default="relu", help="of an mlp (relu)")
    sub.add_argument("--batch-size", type=int, default=64, help="examples in a batch (64)")
    names = ", ".join(optimizers.__all__)
    sub.add_argument("--optimizer", default="adam", help=f"{names} (adam)")
    sub.add_argument("--learning-rate", type=float, default=1e-3, help="its peak (1e-3)")
    sub.add_argument(
        "--schedule", default="constant", help=f"{', '.join(schedules.__all__)} (constant)"
    )
    sub.add_argument("--l2", type=float, default=0.0, help="λ in (λ/2)‖θ‖² (0)")
    add_devices(sub)
    sub.add_argument("--out", help="a new folder for parameters and metrics (none)")


def _train(options: argparse.Namespace) -> int:
    mesh = make_mesh(options)
    require(options.model in MODELS, f"a model among {', '.join(MODELS)}", repr(options.model))
    for name, module in (("optimizer", optimizers), ("schedule", schedules)):
        value = getattr(options, name)
        require(value in module.__all__, f"{name} among {', '.join(module.__all__)}", repr(value))
    rate = options.learning_rate
    require(0 < rate < float("inf"), "a learning rate above 0", rate)
    dataset = load_dataset(options.data)
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    splits = {
        name: {**split, "x": split["x"].reshape(len(split["x"]), -1)}
        for name, split in splits.items()
        if split is not None
    }
    require("y" in dataset.train, "a data set with targets", f"{options.data} without")
    classify = dataset.meta["task"] == "classification"
    y = dataset.train["y"]
    outputs = dataset.meta["classes"] if classify else int(np.prod(y.shape[1:]))
    loss = losses.softmax_cross_entropy if classify else losses.mse
    measures = {"loss": loss} | (
        {"accuracy": metrics.accuracy} if classify else {"mae": losses.mae}
    )
    model = _model(options, splits["train"]["x"].shape[1], outputs)

    batch_size = min(options.batch_size, len(y))
    sample = sampling.epochs(batch_size)
    if options.epochs is not None:
        require(options.epochs >= 1, "epochs of at least 1", options.epochs)
        steps = options.epochs * (len(y) // batch_size)
    else:
        steps = 2000 if options.steps is None else options.steps
    require(steps >= 1, "steps of at least 1", steps)
    require_sound_backend()
    schedule = getattr(schedules, options.schedule)(rate, steps)
    optimizer = getattr(optimizers, options.optimizer)(schedule)
    algorithm = training.supervised(model, loss, optimizer, l2=options.l2)
    # without --out nothing is written
    with (
        results_folder(options.out, "train") if options.out else contextlib.nullcontext() as folder
    ):
        out.print(nn.summary(model))
        run = training.fit(
            algorithm,
            splits["train"],
            sample,
            key=jax.random.key(options.seed),
            steps=steps,
            hooks=[training.progress()],
            mesh=mesh,
        )
        results = {
            name: training.evaluate(model, run.state, split, measures)
            for name, split in splits.items()
        }
        digest = params_sha256(run.state.params)
        if folder is not None:
            arguments = {k: v for k, v in vars(options).items() if k not in ("command", "debug")}
            body = {
                **report.provenance(),
                "arguments": arguments,
                "steps": steps,
                "metrics": results,
                "params_sha256": digest,
                "history": {name: values.tolist() for name, values in run.history.items()},
            }
            write_atomically(folder / "params.npz", _npz(run.state.params))
            write_atomically(folder / "metrics.json", json.dumps(body, indent=1))
            out.print(str(folder))
    for name, values in results.items():
        out.print(f"{name} " + " ".join(f"{key} {value:.4f}" for key, value in values.items()))
    out.print(f"sha256 {digest}")
    return 0


def _npz(params: Any) -> bytes:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    arrays = [np.asarray(leaf) for _, leaf in leaves]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(zip(names, arrays, strict=True)))
    return buffer.getvalue()


def _model(options: argparse.Namespace, inputs: int, outputs: int) -> Any:
    texts = options.hidden.split(",")
    hidden = [int(text) for text in texts if text.strip().isdecimal()]
    require(len(hidden) == len(texts), "hidden widths as 64 or 64,32", repr(options.hidden))
    if options.model == "linear":
        return nn.linear(inputs, outputs)
    if options.model == "deep_linear":
        return nn.deep_linear([inputs, *hidden, outputs])
    return nn.mlp([inputs, *hidden, outputs], activation=options.activation)


def params_sha256(params: Any) -> str:
    """The SHA-256 of all parameters' bytes, in the order of the pytree's leaves."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
