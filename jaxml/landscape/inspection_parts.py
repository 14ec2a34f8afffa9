"""The parts of an inspection: functions of a loss, parameters and a context.

A part returns what it found, or a sentence that says why there is nothing to be found. A further
part is one more function in `PARTS`, a field of `Inspection` for what it finds, and a section of
the page in `views`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxml.core.types import Params
from jaxml.landscape.geometry.directions import random_directions
from jaxml.landscape.geometry.sharpness import sharpness as measures_of_sharpness
from jaxml.landscape.geometry.surfaces import surface as loss_on_a_plane
from jaxml.landscape.geometry.trajectory_pca import trajectory
from jaxml.landscape.inspection_result import Inspection, LayerEigenpairs
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.hessian import hessian
from jaxml.landscape.operators.parameter_subset import layer_names
from jaxml.landscape.operators.validation import unravel_host
from jaxml.landscape.spectra.density import spectral_density
from jaxml.landscape.spectra.eigenpairs import Eigenpairs
from jaxml.landscape.spectra.eigenpairs import eigenpairs as extreme_eigenpairs
from jaxml.landscape.spectra.inertia import count_eigenvalues

# up to so many parameters sharpness is sought with all effort
_SMALL = 100_000


class Context(NamedTuple):
    """What a part is given beside the loss and the parameters.

    Attributes:
        operator: the Hessian there.
        so_far: what was found before, of this part too if it was stopped.
        progress: to be called with how much is done and how much there is; a true answer ends
            the part where it stands.
        top: see `inspect`, as the others.
    """

    operator: SymmetricOperator
    so_far: Inspection
    progress: Callable[[int, int | None], bool]
    top: int
    lowest: int
    plane: str
    path: Params | None
    steps: int
    probes: int
    points: int
    extent: float
    tolerance: float
    start: Eigenpairs | None
    seed: int
    memory: int | None


class Found(NamedTuple):
    """What a part found.

    Attributes:
        fields: of the `Inspection`.
        products: Hessian-vector products that it took.
    """

    fields: dict[str, Any]
    products: int = 0


def eigenpairs(loss: Any, params: Params, at: Context) -> Found | str:  # noqa: ARG001
    """The extreme eigenvalues."""
    if at.top + at.lowest == 0:
        return "neither the largest nor the lowest were asked for"
    pairs = extreme_eigenpairs(
        at.operator,
        top=at.top,
        lowest=at.lowest,
        tolerance=at.tolerance,
        start=at.so_far.eigenpairs or at.start,
        seed=at.seed,
        memory=at.memory,
        on_progress=at.progress,
    )
    return Found({"eigenpairs": pairs, "top": at.top, "lowest": at.lowest}, pairs.products)


def index(loss: Any, params: Params, at: Context) -> Found:  # noqa: ARG001
    """How many eigenvalues are negative, zero and positive."""
    counts = count_eigenvalues(at.operator, memory=at.memory, seed=at.seed, on_progress=at.progress)
    return Found({"index": counts}, counts.products)


def sharpness(loss: Any, params: Params, at: Context) -> Found:
    """Measures of sharpness."""
    # of a large network the searches would take hundreds of gradients
    small = at.operator.size <= _SMALL
    effort = {} if small else {"probes": 16, "rounds": 4, "random_starts": 0}
    found = measures_of_sharpness(loss, params, seed=at.seed, memory=at.memory, **effort)
    return Found({"sharpness": found})


def density(loss: Any, params: Params, at: Context) -> Found:  # noqa: ARG001
    """The distribution of all eigenvalues."""
    found = spectral_density(
        at.operator, steps=at.steps, probes=at.probes, seed=at.seed, on_progress=at.progress
    )
    return Found({"density": found}, found.products)


def layers(loss: Any, params: Params, at: Context) -> Found:
    """The extreme eigenvalues of each layer."""
    known, names = list(at.so_far.layers or []), layer_names(params)
    products = at.so_far.products.get("layers", 0)
    for name in list(names)[len(known) :]:
        own = hessian(loss, params, layers=names[name], memory=at.memory)
        pairs = extreme_eigenpairs(
            own, top=1, lowest=min(1, own.size - 1), tolerance=1e-3, seed=at.seed,
            memory=at.memory,
        )  # fmt: skip
        products += pairs.products
        pairs = dataclasses.replace(pairs, vectors=pairs.vectors[:, :0])  # too many to keep
        known.append(LayerEigenpairs(name, own.size, pairs))
        if at.progress(len(known), len(names)):
            break
    return Found({"layers": known}, products)


def surface(loss: Any, params: Params, at: Context) -> Found | str:
    """The loss on a plane."""
    seen = at.so_far.trajectory
    point, grid = params, np.linspace(-at.extent, at.extent, at.points)
    if at.plane == "trajectory":
        seen = trajectory(loss, at.path) if seen is None else seen
        point, directions, grid = seen.params, seen.directions, seen.frame(at.points)
    elif at.plane == "eigenvectors":
        pairs = at.so_far.eigenpairs
        if pairs is None or len(pairs.values) < 2:
            return "a plane along eigenvectors needs two eigenpairs"
        chosen = np.argsort(-abs(pairs.values), kind="stable")[:2]
        length = np.sqrt(sum((np.asarray(p) ** 2).sum() for p in jax.tree.leaves(params)))
        directions = unravel_host(params, length * pairs.vectors[chosen])
    else:
        directions = random_directions(params, 2, seed=at.seed)
    found = loss_on_a_plane(
        loss, point, directions, coordinates=grid, done=at.so_far.surface, chunk=8,
        on_progress=at.progress,
    )  # fmt: skip
    return Found({"surface": found, "surface_kind": at.plane, "trajectory": seen})


PARTS: dict[str, Callable[[Any, Params, Context], Found | str]] = {
    "eigenpairs": eigenpairs,
    "index": index,
    "sharpness": sharpness,
    "density": density,
    "layers": layers,
    "surface": surface,
}
"""Name -> part; it is the name of the field of `Inspection` too."""
