"""One point of a loss surface of any size, looked at in parts that each stand alone."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_choice
from jaxml.core.types import Params
from jaxml.landscape.inspection_parts import PARTS, Context, Found
from jaxml.landscape.inspection_result import Inspection, Step
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.hessian import flatten, hessian, kept_bytes
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import checked_problem
from jaxml.landscape.spectra.eigenpairs import Eigenpairs, eigenpairs

SURFACES = ("random", "eigenvectors", "trajectory")


@takes_modules
def inspect(
    loss: Callable[[Params], Any],
    params: Params,
    parts: Sequence[str] = ("eigenpairs",),
    *,
    top: int = 5,
    lowest: int = 1,
    plane: Literal["random", "eigenvectors", "trajectory"] | None = None,
    path: Params | None = None,
    steps: int = 90,
    probes: int = 3,
    points: int = 25,
    extent: float = 1.0,
    tolerance: float = 1e-5,
    start: Eigenpairs | None = None,
    seed: int = 0,
    memory: int | None = None,
    done: Inspection | None = None,
    on_part: Callable[[str, Inspection], bool | None] = lambda part, so_far: None,  # noqa: ARG005
    on_progress: Callable[[str, int, int], bool | None] = lambda part, n, of: None,  # noqa: ARG005
    index: bool = False,
    measure_sharpness: bool = False,
    density: bool = False,
    layers: bool = False,
) -> Inspection:
    """Look at one point by products alone, part by part.

    Args:
        loss: `params -> scalar`, see `hessian`.
        params: the point.
        parts: what to look at, in this order, some of
            `"eigenpairs"`, the extreme ones, see `eigenpairs`;
            `"index"`, how many eigenvalues are negative, zero and positive, see
            `count_eigenvalues`;
            `"sharpness"`, see `sharpness`;
            `"density"`, the distribution of all eigenvalues, see `spectral_density`;
            `"layers"`, the largest and the lowest eigenvalue of each layer;
            `"surface"`, the loss on a plane.
        top: how many of the largest eigenvalues.
        lowest: how many of the lowest.
        plane: of the surface: along filter-normalised random directions (the default), along the
            eigenvectors of the two largest |λ|, as long as the parameters, or in the principal
            plane of `path`.
        path: parameters stacked along a leading axis, such as the checkpoints of a training.
        steps: of each probe of the density.
        probes: of the density.
        points: of the plane along each side.
        extent: half the side of a plane along directions, in units of their length.
        tolerance: of the eigenpairs' residuals, relative to ‖H‖.
        start: eigenpairs of a point nearby, such as an earlier checkpoint.
        seed: of everything random.
        memory: bytes that each part may take; half of what is free by default.
        done: what an earlier call with the same arguments had done: it goes on from there.
        on_part: called with each part's name when it is done; a true answer ends the inspection.
        on_progress: called with a part, how much of it is done and how much there is; a true
            answer ends the part where it stands, and the inspection.
        index: deprecated, as the next three: name the parts.
        measure_sharpness: likewise.
        density: likewise.
        layers: likewise.

    Returns:
        The parts asked for, what was done of them, or why there is none.

    Raises:
        ValueError: for a bad loss, bad parameters or options, as the parts' own functions; for an
            unknown part; for a plane that the other arguments leave undefined.
        BackendError: if the backend computes known answers wrong.

    Example:
        >>> found = inspect(lambda w: (w**2).sum() - 2 * w[0] ** 2, jnp.ones(9), top=1)
        >>> found.eigenpairs.values.round(3).tolist(), round(found.gradient_norm, 3)
        ([-2.0, 2.0], 6.0)
    """
    flags = {"index": index, "sharpness": measure_sharpness, "density": density, "layers": layers}
    former = {name for name, asked in flags.items() if asked}
    former |= {"surface"} - {*parts} if plane is not None else set()
    if former:
        given = {*parts, *former} - ({"eigenpairs"} if top + lowest == 0 else set())
        parts = [name for name in PARTS if name in given]
        warnings.warn(f"write inspect(..., parts={parts})", DeprecationWarning, stacklevel=3)
    require(not isinstance(parts, str), "a list of parts", repr(parts))
    for name in parts:
        require_choice("part", name, tuple(PARTS))
    require(len(set(parts)) == len(parts), "parts without repetitions", list(parts))
    plane = plane or "random"
    require_choice("plane", plane, SURFACES)
    require(path is not None or plane != "trajectory", "`path` for its plane", "none")
    along = plane == "eigenvectors" and "surface" in parts
    two = "eigenpairs" in parts[: parts.index("surface")] and top + lowest > 1 if along else True
    require(two, "at least two eigenpairs before a plane along them", parts)
    require(0 < extent < np.inf, "an extent above 0", extent)
    operator = hessian(loss, params, memory=memory)
    result = _point(loss, params, operator) if done is None else done
    stopped = False

    def progress(part: str, count: int, of: int | None) -> bool:
        nonlocal stopped
        stopped = stopped or bool(on_progress(part, count, of or count))
        return stopped

    for part in parts:
        if part in result.seconds or part in result.left_out:
            continue
        at = Context(
            operator, result, lambda count, of, part=part: progress(part, count, of),
            top, lowest, plane, path, steps, probes, points, extent, tolerance, start, seed, memory,
        )  # fmt: skip
        began = time.perf_counter()
        found = PARTS[part](loss, params, at)
        spent = time.perf_counter() - began
        if isinstance(found, Found):
            result = dataclasses.replace(result, **found.fields)
            if not stopped:  # else it is to be done again, or gone on with
                used = {part: found.products} if found.products else {}
                result = dataclasses.replace(
                    result,
                    products=result.products | used,
                    seconds=result.seconds | {part: spent},
                )
        else:
            result = dataclasses.replace(result, left_out=result.left_out | {part: found})
        if on_part(part, result) or stopped:
            break
    return result


def _point(loss: Any, params: Params, operator: SymmetricOperator) -> Inspection:
    """The loss and its gradient, and what one product takes."""
    with checked_problem(loss, params) as (checked, arrays):
        value, norm = jax.device_get(_value(checked, arrays))
        vector = jnp.ones(operator.size, operator.dtype)
        jax.block_until_ready(operator.matvec(vector))
        began = time.perf_counter()
        jax.block_until_ready(operator.matvec(vector))
        seconds = time.perf_counter() - began
    for name, number in {"loss": value, "gradient": norm}.items():
        require(np.isfinite(number), f"a finite {name} at params", number)
    return Inspection(
        size=operator.size,
        dtype=str(operator.dtype),
        loss=float(value),
        gradient_norm=float(norm),
        product_seconds=seconds,
        product_bytes=kept_bytes(operator.product),
    )


@jax.jit
def _value(loss, params):
    f, x = flatten(loss, params)
    value, gradient = jax.value_and_grad(f)(x)
    return value, jnp.linalg.norm(gradient)


def inspect_series(
    points: Sequence[tuple[int, Callable[[], tuple[Any, Params]]]],
    *,
    top: int = 5,
    lowest: int = 1,
    tolerance: float = 1e-5,
    seed: int = 0,
    memory: int | None = None,
    done: Sequence[Step] = (),
    on_step: Callable[[list[Step]], bool | None] = lambda so_far: None,  # noqa: ARG005
) -> list[Step]:
    """The extreme eigenvalues along a training, each search begun from the one before.

    Args:
        points: (step, a function that returns the loss and the parameters there), in order.
        top: how many of the largest eigenvalues.
        lowest: how many of the lowest.
        tolerance: of the residuals, relative to ‖H‖.
        seed: of the first starting vector.
        memory: bytes that a search may take.
        done: what was done before.
        on_step: called with the series so far; a true answer ends it.
    """
    series = list(done)
    for step, problem in points[len(series) :]:
        loss, params = problem()
        operator = hessian(loss, params, memory=memory)
        here = _point(loss, params, operator)
        start = series[-1].eigenpairs if series else None
        pairs = eigenpairs(
            operator, top=top, lowest=lowest, tolerance=tolerance, start=start, seed=seed,
            memory=memory,
        )  # fmt: skip
        series.append(Step(step, here.loss, here.gradient_norm, pairs))
        if on_step(series):
            break
    return series
