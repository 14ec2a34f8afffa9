"""The command line, the only reader of argv."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxml
from jaxml import data, landscape, nn, report, staircase, training
from jaxml.backend import BackendError, known_answers, require_sound_backend
from jaxml.checks import require
from jaxml.files import new_folder, numbered_folder, write_atomically
from jaxml.report import tables
from jaxml.training import losses, metrics, optimizers, sampling, schedules

MODELS = ("linear", "mlp", "deep_linear")
_out = Console(highlight=False, soft_wrap=True)


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit code: 0, 1 from a failing `doctor`, 2 on an error."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("jaxml: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            raise
        # what jaxml refuses explains itself; anything else, such as a user's own loss that
        # fails, is named by its type
        known = isinstance(error, ValueError | FloatingPointError | BackendError)
        text = str(error) if known else f"{type(error).__name__}: {error} (--debug shows where)"
        print(f"jaxml: error: {' '.join(text.split())}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="jaxml", description=_first_line(jaxml))
    parser.add_argument("--version", action="version", version=f"jaxml {jaxml.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Any, help: str) -> argparse.ArgumentParser:  # noqa: A002
        sub = commands.add_parser(name, help=help, description=help)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(command=function)
        return sub

    sub = command(
        "landscape",
        _landscape,
        "Walk down the staircase of critical points of networks trained on a data set, "
        "or analyse and explore a point of your own.",
    )
    sub.add_argument(
        "target",
        nargs="?",
        metavar="FILE.py:FUNCTION",
        help="a function of no arguments that returns (loss, params); without it, the staircase",
    )
    sub.add_argument("--data", help="data set of the staircase, or a .npz file (digits)")
    sub.add_argument("--hidden", help="hidden widths of the staircase, first:last (3:8)")
    sub.add_argument("--l2", type=float, help="λ in (λ/2)‖θ‖² (1e-3)")
    sub.add_argument("--seeds", type=int, help="networks (8)")
    sub.add_argument("--steps", type=int, help="training steps at each width (1000)")
    sub.add_argument("--searches", type=int, help="searches (32, or 16 of your own)")
    sub.add_argument("--radius", type=float, help="of the searches around your own point (0.3)")
    sub.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    sub.add_argument("--out", help="a new folder for the report (runs/landscape-N)")

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
    sub.add_argument("--out", help="a new folder for parameters and metrics (none)")

    command("list", _list, "List the data sets, models, optimisers, schedules and methods.")
    command("doctor", _doctor, "Versions, devices, and known answers computed on them.")
    return parser


def _landscape(options: argparse.Namespace) -> int:
    own = ("radius",)
    walking = ("data", "hidden", "l2", "seeds", "steps")
    for name in walking if options.target else own:
        require(
            getattr(options, name) is None,
            f"--{name} only {'without' if options.target else 'with'} FILE.py:FUNCTION",
            getattr(options, name),
        )
    return _explore(options) if options.target else _walk(options)


def _walk(options: argparse.Namespace) -> int:
    widths = _widths(options.hidden or "3:8")
    dataset = _dataset(options.data or "digits")
    given = {name: getattr(options, name) for name in ("l2", "seeds", "steps", "searches")}
    require_sound_backend()
    _out.print(
        f"{options.seeds or 8} networks on {dataset.meta['name']}, hidden widths {widths[0]} to "
        f"{widths[-1]}, {jax.devices()[0].device_kind}, jax {jax.__version__}"
    )
    _print_row(tables.STAIRCASE_COLUMNS)

    def on_level(level: staircase.Level) -> None:
        _print_row(tables.staircase_row(level))

    with _folder(options.out, "landscape") as folder:
        result = staircase.walk(
            dataset.everything(),
            widths,
            seed=options.seed,
            hooks=lambda width: [training.progress(f"training at width {width}")],
            on_level=on_level,
            **{name: value for name, value in given.items() if value is not None},
        )
        _print_endings("searches from the training path", result.found)
        return _write(result, folder, {"command": "landscape", "data": dataset.meta["name"]})


def _explore(options: argparse.Namespace) -> int:
    require_sound_backend()
    loss, params = _own_problem(options.target)
    given = {name: getattr(options, name) for name in ("searches", "radius")}
    with _folder(options.out, "landscape") as folder:
        with _out.status("analysing the point, searching around it"):
            result = landscape.explore(
                loss,
                params,
                seed=options.seed,
                **{name: value for name, value in given.items() if value is not None},
            )
        _out.print(str(result.point))
        _print_endings("searches from it and around it", result.found)
        columns, rows = tables.exploration_rows(result)
        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*row)
        _out.print(table)
        return _write(result, folder, {"command": "landscape", "target": options.target})


def _print_row(cells: Sequence[str]) -> None:
    sizes = (5, 7, 16, 7, 5, 9, 18, 6)
    line = "  ".join(cell.rjust(size) for cell, size in zip(cells, sizes, strict=True))
    _out.print(line.rstrip())


def _print_endings(title: str, found: Sequence[landscape.Found]) -> None:
    rows = tables.ending_rows(found)
    _out.print(f"{len(found)} {title}: " + ", ".join(f"{row[1]} {row[0]}" for row in rows))


def _write(result: Any, folder: Path, about: dict[str, Any]) -> int:
    points = json.dumps(about | report.record(result), indent=1)
    write_atomically(folder / "critical_points.json", points)
    page = report.write(result, folder / "report.html")
    _out.print(f"{page}\n{folder / 'critical_points.json'}")
    return 0


@contextlib.contextmanager
def _folder(out: str | None, name: str) -> Iterator[Path]:
    """Where the results go: made before the work, and gone again if the work came to nothing."""
    folder = numbered_folder("runs", name) if out is None else new_folder(out)
    try:
        yield folder
    finally:
        for path in (folder, folder.parent) if out is None else (folder,):
            if not any(path.iterdir()):
                path.rmdir()


def _dataset(name: str) -> data.Dataset:
    return data.from_npz(name) if name.endswith(".npz") else data.load(name)


def _widths(text: str) -> list[int]:
    first, _, last = text.partition(":")
    require(
        first.isdecimal() and (last or first).isdecimal() and int(last or first) >= int(first) > 0,
        "hidden widths as first:last, such as 3:8",
        repr(text),
    )
    return list(range(int(first), int(last or first) + 1))


def _own_problem(target: str) -> tuple[Any, Any]:
    file, _, name = target.rpartition(":")
    require(file.endswith(".py") and name.isidentifier(), "FILE.py:FUNCTION", repr(target))
    path = Path(file)
    require(path.is_file(), "a Python file", repr(file))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # as `python FILE.py` would
    try:
        spec.loader.exec_module(module)
        function = getattr(module, name, None)
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        require(callable(function), f"a function of {file}, such as {', '.join(names)}", repr(name))
        assert function is not None
        problem = function()
    except Exception as error:
        if isinstance(error, ValueError):
            raise
        raise ValueError(f"{target} failed: {type(error).__name__}: {error}") from error
    pair = isinstance(problem, tuple) and len(problem) == 2
    require(pair, f"(loss, params) from {target}", type(problem).__name__)
    return problem


def _train(options: argparse.Namespace) -> int:
    require(options.model in MODELS, f"a model among {', '.join(MODELS)}", repr(options.model))
    for name, module in (("optimizer", optimizers), ("schedule", schedules)):
        value = getattr(options, name)
        require(value in module.__all__, f"{name} among {', '.join(module.__all__)}", repr(value))
    rate = options.learning_rate
    require(0 < rate < float("inf"), "a learning rate above 0", rate)
    dataset = (
        data.from_npz(options.data) if options.data.endswith(".npz") else data.load(options.data)
    )
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
    with _folder(options.out, "train") if options.out else contextlib.nullcontext() as folder:
        _out.print(nn.summary(model))
        run = training.fit(
            algorithm,
            splits["train"],
            sample,
            key=jax.random.key(options.seed),
            steps=steps,
            hooks=[training.progress()],
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
            _out.print(str(folder))
    for name, values in results.items():
        _out.print(f"{name} " + " ".join(f"{key} {value:.4f}" for key, value in values.items()))
    _out.print(f"sha256 {digest}")
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


def _list(options: argparse.Namespace) -> int:  # noqa: ARG001
    _out.print("[bold]data sets[/bold]")
    for name in data.names():
        meta = data.load(name).meta
        counts = " / ".join(f"{count:,}" for count in meta["counts"].values())
        _out.print(f"  {name:16} {meta['task']:15} {counts:20} {meta['description']}")
    functions = (
        ("optimisers", [getattr(optimizers, name) for name in optimizers.__all__]),
        ("schedules", [getattr(schedules, name) for name in schedules.__all__]),
    )
    _out.print("[bold]models[/bold]")
    for name in MODELS:
        _out.print(f"  {name:16} {_first_line(getattr(nn, name))}")
    for title, choices in functions:
        _out.print(f"[bold]{title}[/bold]")
        for function in choices:
            _out.print(f"  {function.__name__:16} {_first_line(function)}", markup=False)
    _out.print("[bold]searches for critical points[/bold]")
    for name in landscape.METHODS:
        _out.print(f"  {name}")
    return 0


def _first_line(function: Any) -> str:
    return (function.__doc__ or "").partition("\n")[0]


def _doctor(options: argparse.Namespace) -> int:  # noqa: ARG001
    about = report.provenance()
    for name, version in about["versions"].items():
        _out.print(f"{name:10} {version}")
    sound = True
    for platform in dict.fromkeys([jax.default_backend(), "cpu"]):
        devices = jax.devices(platform)
        _out.print(f"{platform:10} {len(devices)} × {devices[0].device_kind}")
        for answer in known_answers(platform):
            verdict = "right" if answer.right else "WRONG"
            _out.print(
                f"  {verdict} {answer.name}: off by {answer.error:.1e} of its size "
                f"(at most {answer.tolerance:.0e})"
            )
            sound &= answer.right
    if sound:
        _out.print("sound: figures from this installation can be trusted")
        return 0
    _out.print(
        f"jax {jax.__version__} returns wrong numbers here; install another release "
        "(0.10.1 is right where 0.10.2 is not)"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
