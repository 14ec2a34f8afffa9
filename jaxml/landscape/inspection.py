"""One point of a loss surface of any size, looked at in parts that each stand alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_choice
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.geometry.directions import random_directions
from jaxml.landscape.geometry.sharpness import Sharpness, sharpness
from jaxml.landscape.geometry.surfaces import Surface, surface
from jaxml.landscape.geometry.trajectory_pca import Trajectory, trajectory
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.dense_hessian import gib
from jaxml.landscape.operators.hessian import flatten, hessian, kept_bytes
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.parameter_subset import layer_names
from jaxml.landscape.operators.validation import checked_problem, unravel_host
from jaxml.landscape.spectra.density import Density, spectral_density
from jaxml.landscape.spectra.eigenpairs import Eigenpairs, eigenpairs
from jaxml.landscape.spectra.inertia import SpectrumCounts, count_eigenvalues

# up to so many parameters sharpness is sought with all effort
_SMALL = 100_000
SURFACES = ("random", "eigenvectors", "trajectory")


@dataclasses.dataclass(frozen=True)
class LayerEnds:
    """The extreme eigenvalues of one layer's diagonal block.

    Attributes:
        name: of the layer.
        size: how many parameters.
        ends: the largest and the lowest eigenvalue.
    """

    name: str
    size: int
    ends: Eigenpairs


@dataclasses.dataclass(frozen=True)
class Step:
    """One checkpoint of a series.

    Attributes:
        step: of the training.
        loss: the loss there.
        gradient_norm: the gradient's norm there.
        ends: eigenpairs, begun from those of the checkpoint before.
    """

    step: int
    loss: float
    gradient_norm: float
    ends: Eigenpairs


@dataclasses.dataclass(frozen=True)
class Inspection(Result):
    """What `inspect` has found so far; a part that was not asked for, or not reached, is `None`.

    Attributes:
        size: how many parameters.
        dtype: float32 or float64.
        loss: the loss at the point.
        gradient_norm: the gradient's 2-norm there.
        product_seconds: what one Hessian-vector product takes.
        product_bytes: what the linearised gradient keeps.
        ends: the extreme eigenpairs.
        top: how many of those are the largest.
        lowest: how many of those are the lowest.
        index: how many eigenvalues are negative, zero and positive.
        sharpness: measures of sharpness.
        density: the distribution of all eigenvalues.
        layers: the extreme eigenvalues of each layer's own block.
        surface: the loss on a plane.
        surface_kind: `random`, `eigenvectors` or `trajectory`, see `inspect`.
        trajectory: how well the plane shows the path, where it is the path's.
        series: the extreme eigenvalues along a training, from `inspect_series`.
        products: part -> Hessian-vector products.
        seconds: part -> time, compilation included.
    """

    size: int
    dtype: str
    loss: float
    gradient_norm: float
    product_seconds: float
    product_bytes: int
    ends: Eigenpairs | None = None
    top: int = 0
    lowest: int = 0
    index: SpectrumCounts | None = None
    sharpness: Sharpness | None = None
    density: Density | None = None
    layers: list[LayerEnds] | None = None
    surface: Surface | None = None
    surface_kind: str | None = None
    trajectory: Trajectory | None = None
    series: list[Step] | None = None
    products: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def plan(self) -> str:
        """What a product takes, in one line."""
        dense = self.size**2 * np.dtype(self.dtype).itemsize
        return (
            f"{self.size:,} parameters ({self.dtype}): a Hessian-vector product takes "
            f"{self.product_seconds:.2g} s and keeps {gib(self.product_bytes)}; the dense Hessian "
            f"would take {gib(dense)}"
        )


@takes_modules
def inspect(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    top: int = 5,
    lowest: int = 1,
    index: bool = False,
    measure_sharpness: bool = False,
    density: bool = False,
    layers: bool = False,
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
) -> Inspection:
    """Look at one point by products alone, part by part.

    Args:
        loss: `params -> scalar`, see `hessian`.
        params: the point.
        top: how many of the largest eigenvalues.
        lowest: how many of the lowest.
        index: count the negative, zero and positive eigenvalues, see `count_eigenvalues`.
        measure_sharpness: see `sharpness`.
        density: the distribution of all eigenvalues, see `spectral_density`.
        layers: the largest and the lowest eigenvalue of each layer.
        plane: the loss on a plane: along filter-normalised random directions, along the
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

    Returns:
        The parts asked for, or what was done of them.

    Raises:
        ValueError: for a bad loss, bad parameters or options, as the parts' own functions.
        BackendError: if the backend computes known answers wrong.

    Example:
        >>> found = inspect(lambda w: (w**2).sum() - 2 * w[0] ** 2, jnp.ones(9), top=1)
        >>> found.ends.values.round(3).tolist(), round(found.gradient_norm, 3)
        ([-2.0, 2.0], 6.0)
    """
    if plane is not None:
        require_choice("plane", plane, SURFACES)
        require(path is not None or plane != "trajectory", "`path` for its plane", "none")
    require(0 < extent < np.inf, "an extent above 0", extent)
    operator = hessian(loss, params, memory=memory)
    result = _point(loss, params, operator) if done is None else done
    stopped = False

    def watched(part: str) -> Callable[[int, int | None], bool]:
        def report(count: int, of: int | None) -> bool:
            nonlocal stopped
            stopped = stopped or bool(on_progress(part, count, of or count))
            return stopped

        return report

    def ends(so_far: Inspection) -> dict[str, Any]:
        pairs = eigenpairs(
            operator,
            top=top,
            lowest=lowest,
            tolerance=tolerance,
            start=so_far.ends or start,
            seed=seed,
            memory=memory,
            on_progress=watched("ends"),
        )
        return {"ends": pairs, "top": top, "lowest": lowest, "products": pairs.products}

    def counted(_: Inspection) -> dict[str, Any]:
        counts = count_eigenvalues(operator, memory=memory, seed=seed, on_progress=watched("index"))
        return {"index": counts, "products": counts.products}

    def measured(_: Inspection) -> dict[str, Any]:
        # of a large network the searches would take hundreds of gradients
        effort = {} if operator.size <= _SMALL else {"probes": 16, "rounds": 4, "random_starts": 0}
        found = sharpness(loss, params, seed=seed, memory=memory, **effort)
        return {"sharpness": found}

    def distribution(_: Inspection) -> dict[str, Any]:
        found = spectral_density(
            operator, steps=steps, probes=probes, seed=seed, on_progress=watched("density")
        )
        return {"density": found, "products": found.products}

    def by_layer(so_far: Inspection) -> dict[str, Any]:
        known = list(so_far.layers or [])
        names = layer_names(params)
        products = so_far.products.get("layers", 0)
        for name in list(names)[len(known) :]:
            own = hessian(loss, params, layers=names[name], memory=memory)
            pairs = eigenpairs(
                own, top=1, lowest=min(1, own.size - 1), tolerance=1e-3, seed=seed, memory=memory
            )
            products += pairs.products
            pairs = dataclasses.replace(pairs, vectors=pairs.vectors[:, :0])  # too many to keep
            known.append(LayerEnds(name, own.size, pairs))
            if watched("layers")(len(known), len(names)):
                break
        return {"layers": known, "products": products}

    def plotted(so_far: Inspection) -> dict[str, Any]:
        seen = so_far.trajectory
        point, grid = params, np.linspace(-extent, extent, points)
        if plane == "trajectory":
            seen = trajectory(loss, path) if seen is None else seen
            point, directions, grid = seen.params, seen.directions, seen.frame(points)
        elif plane == "eigenvectors":
            pairs = so_far.ends
            enough = pairs is not None and len(pairs.values) >= 2
            require(enough, "at least two eigenpairs for a plane along them", "fewer")
            assert pairs is not None
            chosen = np.argsort(-abs(pairs.values), kind="stable")[:2]
            length = np.sqrt(sum((np.asarray(p) ** 2).sum() for p in jax.tree.leaves(params)))
            directions = unravel_host(params, length * pairs.vectors[chosen])
        else:
            directions = random_directions(params, 2, seed=seed)
        found = surface(
            loss, point, directions, coordinates=grid, done=so_far.surface, chunk=8,
            on_progress=watched("surface"),
        )  # fmt: skip
        return {"surface": found, "surface_kind": plane, "trajectory": seen}

    parts = {
        "ends": (top + lowest > 0, ends),
        "index": (index, counted),
        "sharpness": (measure_sharpness, measured),
        "density": (density, distribution),
        "layers": (layers, by_layer),
        "surface": (plane is not None, plotted),
    }
    for part, (asked, work) in parts.items():
        if not asked or part in result.seconds:
            continue
        began = time.perf_counter()
        fields = work(result)
        spent = time.perf_counter() - began
        used = fields.pop("products", 0)
        result = dataclasses.replace(result, **fields)
        if not stopped:  # else it is to be done again, or gone on with
            result = dataclasses.replace(
                result,
                products=result.products | ({part: used} if used else {}),
                seconds=result.seconds | {part: spent},
            )
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
        start = series[-1].ends if series else None
        pairs = eigenpairs(
            operator, top=top, lowest=lowest, tolerance=tolerance, start=start, seed=seed,
            memory=memory,
        )  # fmt: skip
        series.append(Step(step, here.loss, here.gradient_norm, pairs))
        if on_step(series):
            break
    return series
