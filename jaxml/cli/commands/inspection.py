"""`jaxml landscape` of one point of any size: a training run's, or a user's own."""

import contextlib
import dataclasses
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np
from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxml import landscape, training
from jaxml.cli import runs, texts
from jaxml.cli.commands import train
from jaxml.cli.console import out
from jaxml.cli.datasets import load_dataset
from jaxml.cli.options import COUNT, NATURAL, POSITIVE, number, parsed
from jaxml.core import checksummed_dirs
from jaxml.core.checks import require
from jaxml.core.seeds import key as key_of

_SAVED = "inspection.npz"
SEQUENCES = 1000
"""Rows of a run on sequences that are taken: a product takes seconds then, and minutes of all."""

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# the options that ask for parts, and what stands for each when none is given
ASKING = ("top", "lowest", "index", "sharpness", "density", "layers", "surface", "checkpoints")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnePoint:
    """The options of one point, of any size."""

    top: Annotated[int | None, NATURAL] = None
    """Of one point: so many of the largest eigenvalues (5)."""
    lowest: Annotated[int | None, NATURAL] = None
    """So many of the lowest (1)."""
    index: bool = False
    """Count negative, zero, positive ones."""
    sharpness: bool = False
    """λ_max, trace, φ, SAM."""
    density: bool = False
    """The distribution of all eigenvalues."""
    layers: bool = False
    """Both ends of each layer's spectrum."""
    surface: Annotated[str | None, Parameter(metavar="KIND")] = None
    """The loss on a plane: random, eigenvectors or trajectory."""
    points: Annotated[int, number("a whole number of at least 2", lambda n: n >= 2)] = 25
    """Of the plane along a side."""
    tolerance: Annotated[float, POSITIVE] = 1e-5
    """Of residuals, relative to ‖H‖."""
    probes: Annotated[int, COUNT] = 3
    """Of the density."""
    checkpoints: Annotated[str | None, Parameter(metavar="WHICH")] = None
    """Of a run: latest, best, all (a series), or steps as 100,200 (latest)."""
    rows: Annotated[int | None, COUNT] = None
    """Of a run's data: so many, drawn at random (all; of sequences 1,000)."""
    batch_size: Annotated[int | None, COUNT] = None
    """Rows of a run's data taken at a time (all)."""
    memory: str | None = None
    """That each part may take, as 2GiB (half of what is free)."""


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


def of_run(settings: OnePoint, folder: Path, seed: int) -> Point:
    """The point, or the series, that a training run's checkpoints hold; the seed is of its rows."""
    config = runs.config_of(folder, "train")
    options = parsed(train.Train, config["arguments"])
    dataset = load_dataset(options)
    problem = train.build(options, dataset)
    texts.require_same(config, problem.tokenizer, folder)
    like = problem.algorithm.init(key_of(options.seed))
    where = runs.checkpoints(folder)
    rows = problem.splits["train"]
    count = len(rows["x"])
    number = settings.rows or (count if problem.inputs is None else SEQUENCES)
    about = {}
    if number < count:
        rows = drawn(rows, number, seed)
        about["rows"] = (
            f"The loss over {number:,} of the {count:,} rows to train on, drawn at random: an "
            "estimate of that over all (--rows takes more)."
        )

    def at(step: int | Literal["best"] | None) -> tuple[Any, Any]:
        state = training.restore(where, like, step=step)
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
    about |= {"target": str(folder.absolute()), "checkpoints": which, "data": options.data}
    return Point(loss, params, series, about)


def drawn(rows: dict[str, Any], number: int, seed: int) -> dict[str, Any]:
    """So many of the rows, without replacement; of sequences as long as the longest of them."""
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows["x"]), number, replace=False))
    taken = {name: values[chosen] for name, values in rows.items()}
    if "x_length" in taken:
        taken["x"] = taken["x"][:, : taken["x_length"].max()]
        longest = taken["mask"].sum(1).max()
        taken |= {name: taken[name][:, :longest] for name in ("y", "mask")}
    return taken


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
    asked_for = {
        "eigenpairs": settings.top != 0 or settings.lowest != 0,
        "index": settings.index,
        "sharpness": settings.sharpness,
        "density": settings.density,
        "layers": settings.layers,
        "surface": settings.surface is not None,
    }
    parts = [part for part, chosen in asked_for.items() if chosen]
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
                pairs = last.eigenpairs
                out.print(
                    f"step {last.step:,}: loss {last.loss:.6g}, eigenvalues {_range(pairs)}, "
                    f"{pairs.products} products"
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
            parts,
            plane=settings.surface,
            path=path,
            points=settings.points,
            probes=settings.probes,
            tolerance=settings.tolerance,
            start=series[-1].eigenpairs if series else None,
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
    if part in so_far.left_out:
        yield f"{part} left out: {so_far.left_out[part]}"
    elif part == "eigenpairs":
        yield so_far.plan
        yield str(so_far.eigenpairs)
    elif part == "layers":
        for layer in so_far.layers or []:
            yield f"{layer.name} ({layer.size:,}): {_range(layer.eigenpairs)}"
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


def _range(pairs: landscape.Eigenpairs) -> str:
    """From the lowest to the largest, and how many have not converged, if any."""
    left = int((~pairs.converged).sum())
    unsure = f" ({left} not converged)" if left else ""
    return f"{pairs.values[0]:.4g} to {pairs.values[-1]:.4g}{unsure}"


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
