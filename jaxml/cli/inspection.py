"""`jaxml landscape` of one point of any size: a training run's, or a user's own."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxml import landscape, training
from jaxml.cli import runs, train
from jaxml.cli.console import load_dataset, out
from jaxml.cli.numbers import positive, whole
from jaxml.core import checksummed_dirs
from jaxml.core.checks import require
from jaxml.core.seeds import key as key_of

_SAVED = "inspection.npz"
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# the options that ask for parts, and what stands for each when none is given
ASKING = ("top", "lowest", "index", "sharpness", "density", "layers", "surface", "checkpoints")


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """The options of one point."""
    sub.add_argument(
        "--top", type=whole(0), help="of one point: so many of the largest eigenvalues (5)"
    )
    sub.add_argument("--lowest", type=whole(0), help="so many of the lowest (1)")
    sub.add_argument("--index", action="store_true", help="count negative, zero, positive ones")
    sub.add_argument("--sharpness", action="store_true", help="λ_max, trace, φ, SAM")
    sub.add_argument("--density", action="store_true", help="the distribution of all eigenvalues")
    sub.add_argument("--layers", action="store_true", help="both ends of each layer's spectrum")
    sub.add_argument(
        "--surface", metavar="KIND", help="the loss on a plane: random, eigenvectors or trajectory"
    )
    sub.add_argument("--points", type=whole(2), default=25, help="of the plane along a side (25)")
    sub.add_argument(
        "--tolerance", type=positive, default=1e-5, help="of residuals, relative to ‖H‖ (1e-5)"
    )
    sub.add_argument("--probes", type=whole(1), default=3, help="of the density (3)")
    sub.add_argument(
        "--checkpoints",
        metavar="WHICH",
        help="of a run: latest, best, all (a series), or steps as 100,200 (latest)",
    )
    sub.add_argument(
        "--batch-size", type=whole(1), help="rows of a run's data taken at a time (all)"
    )
    sub.add_argument("--memory", help="that each part may take, as 2GiB (half of what is free)")


def is_run(target: str | None) -> bool:
    """Whether a target is the folder of a training run."""
    return target is not None and (Path(target) / "config.json").is_file()


def memory_bytes(text: str | None) -> int | None:
    """`2GiB`, `500 MB` or a number of bytes.

    Raises:
        ValueError: for anything else.
    """
    if text is None:
        return None
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in _UNITS and not number[-1:].isdigit() else ""
    with contextlib.suppress(ValueError):
        count = float(number.removesuffix(unit)) * _UNITS[unit]
        if 0 < count < np.inf:
            return int(count)
    raise ValueError(f"expected memory as 2GiB or 500MiB, got {text!r}")


class Point(NamedTuple):
    """What is looked at.

    Attributes:
        loss: of the parameters.
        params: the point.
        series: (step, what gives the loss and the parameters there) of a training, or empty.
        about: where it comes from.
    """

    loss: Callable[[Any], Any]
    params: Any
    series: list[tuple[int, Callable[[], tuple[Any, Any]]]]
    about: dict[str, Any]


def of_run(settings: argparse.Namespace) -> Point:
    """The point, or the series, that a training run's checkpoints hold."""
    folder = Path(settings.target)
    options = argparse.Namespace(**runs.config_of(folder, "train")["arguments"])
    dataset = load_dataset(options)
    problem = train.problem(options, dataset)
    like = problem.algorithm.init(key_of(options.seed))
    where = runs.checkpoints(folder)

    def at(step: int | Literal["best"] | None) -> tuple[Any, Any]:
        state = training.restore(where, like, step=step)
        rows = problem.splits["train"]
        loss = training.full_loss(problem.algorithm, state, rows, batch_size=settings.batch_size)
        return loss, state.params

    known = checksummed_dirs.numbers(where)
    require(len(known) > 0, "a run with checkpoints", str(folder))
    which = settings.checkpoints or "latest"
    if which in ("latest", "best"):
        steps = []
        loss, params = at(None if which == "latest" else "best")
    else:
        steps = known if which == "all" else _steps(which, known)
        loss, params = at(steps[-1])
    series = [(step, lambda step=step: at(step)) for step in steps]
    about = {"target": str(folder.absolute()), "checkpoints": which, "data": options.data}
    return Point(loss, params, series, about)


def _steps(text: str, known: list[int]) -> list[int]:
    numbers = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    missing = [n for n in numbers if n not in known]
    valid = len(numbers) == text.count(",") + 1 and not missing
    require(valid, f"latest, best, all, or steps among {', '.join(map(str, known))}", repr(text))
    return sorted(numbers)


def look(asked: runs.Asked, point: Point, folder: Path) -> tuple[landscape.Inspection, bool]:
    """Inspect a point, keeping every part as it is done; whether all was done."""
    settings = asked.settings
    memory = memory_bytes(settings.memory)
    given = {n: getattr(settings, n) for n in ("top", "lowest") if getattr(settings, n) is not None}
    path = None
    if settings.surface == "trajectory":
        enough = len(point.series) >= 3
        require(
            enough, "--checkpoints all of three at least, for the trajectory", len(point.series)
        )
        stack = [problem()[1] for _, problem in point.series]
        path = jax.tree.map(lambda *leaves: np.stack(leaves), *stack)
    done: landscape.Inspection | None = runs.kept(asked, _SAVED, landscape.Inspection)

    with (
        training.stop_on_signals("finishing this step; once more stops at once") as stop,
        _bars() as advance,
    ):
        series = list(done.series or []) if done is not None else []
        if point.series and len(series) < len(point.series):

            def on_step(so_far: list[landscape.Step]) -> bool:
                advance("checkpoints", len(so_far), len(point.series))
                last = so_far[-1]
                values = last.ends.values
                out.print(
                    f"step {last.step:,}: loss {last.loss:.6g}, eigenvalues {values[0]:.4g} to "
                    f"{values[-1]:.4g}{_unsure(last.ends)}, {last.ends.products} products"
                )
                return stop.received is not None

            series = landscape.inspect_series(
                point.series,
                tolerance=settings.tolerance,
                seed=settings.seed,
                memory=memory,
                done=series,
                on_step=on_step,
                **given,
            )

        def on_part(part: str, so_far: landscape.Inspection) -> bool:
            for line in _lines(part, so_far):
                out.print(line)
            runs.keep(folder, _SAVED, with_series(so_far))
            return stop.received is not None

        def on_progress(part: str, count: int, of: int) -> bool:
            advance(part, count, of)
            return stop.received is not None

        def with_series(so_far: landscape.Inspection) -> landscape.Inspection:
            return dataclasses.replace(so_far, series=series or None)

        result = landscape.inspect(
            point.loss,
            point.params,
            index=settings.index,
            measure_sharpness=settings.sharpness,
            density=settings.density,
            layers=settings.layers,
            plane=settings.surface,
            path=path,
            points=settings.points,
            probes=settings.probes,
            tolerance=settings.tolerance,
            start=series[-1].ends if series else None,
            seed=settings.seed,
            memory=memory,
            done=done,
            on_part=on_part,
            on_progress=on_progress,
            **given,
        )
        return with_series(result), stop.received is None


def _lines(part: str, so_far: landscape.Inspection) -> Iterator[str]:
    """What is said of a part that is done."""
    if part == "ends" and so_far.ends is not None:
        yield so_far.plan
        yield str(so_far.ends)
    elif part == "layers":
        for layer in so_far.layers or []:
            low, high = layer.ends.values[0], layer.ends.values[-1]
            yield f"{layer.name} ({layer.size:,}): {low:.4g} to {high:.4g}{_unsure(layer.ends)}"
    elif part == "surface" and so_far.surface is not None:
        losses = so_far.surface.losses[so_far.surface.done]
        yield f"plane: loss {np.nanmin(losses):.4g} to {np.nanmax(losses):.4g}"
        if so_far.trajectory is not None:
            yield str(so_far.trajectory)
    else:
        yield str(getattr(so_far, part))
    if part in so_far.seconds:
        products = so_far.products.get(part)
        used = f", {products:,} products" if products else ""
        spent = f"{so_far.seconds[part]:.0f} s{used}"
        yield f"  {part}: {spent}, at most {peak_memory():.2f} GiB so far"


def _unsure(ends: landscape.Eigenpairs) -> str:
    """How many have not converged, if any."""
    left = int((~ends.converged).sum())
    return f" ({left} not converged)" if left else ""


def peak_memory() -> float:
    """The most that this process has had in memory, GiB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**30 if sys.platform == "darwin" else 2**20)


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for the part under way, with the time left."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    hidden = not out.is_terminal
    with Progress(
        *columns, TimeRemainingColumn(), console=out, transient=True, disable=hidden
    ) as bar:
        tasks: dict[str, Any] = {}

        def advance(part: str, count: int, of: int) -> None:
            if part not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                tasks[part] = bar.add_task(part, total=of)
            bar.update(tasks[part], completed=count, total=of)

        yield advance
