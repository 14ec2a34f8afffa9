"""What is found at one point of a loss surface."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from jaxml.core.result import Result
from jaxml.landscape.geometry.sharpness import Sharpness
from jaxml.landscape.geometry.surfaces import Surface
from jaxml.landscape.geometry.trajectory_pca import Trajectory
from jaxml.landscape.operators.dense_hessian import gib
from jaxml.landscape.spectra.density import Density
from jaxml.landscape.spectra.eigenpairs import Eigenpairs
from jaxml.landscape.spectra.inertia import SpectrumCounts


@dataclasses.dataclass(frozen=True)
class LayerEigenpairs:
    """The extreme eigenvalues of one layer's diagonal block.

    Attributes:
        name: of the layer.
        size: how many parameters.
        eigenpairs: of the largest and the lowest eigenvalue, without vectors.
    """

    name: str
    size: int
    eigenpairs: Eigenpairs

    FORMERLY: ClassVar = {"LayerEnds": "LayerEigenpairs", "ends": "eigenpairs"}


@dataclasses.dataclass(frozen=True)
class Step:
    """One checkpoint of a series.

    Attributes:
        step: of the training.
        loss: the loss there.
        gradient_norm: the gradient's norm there.
        eigenpairs: the extreme ones, begun from those of the checkpoint before.
    """

    step: int
    loss: float
    gradient_norm: float
    eigenpairs: Eigenpairs

    FORMERLY: ClassVar = {"ends": "eigenpairs"}


@dataclasses.dataclass(frozen=True)
class Inspection(Result):
    """What `inspect` has found so far; a part not asked for, not reached or left out is `None`.

    Attributes:
        size: how many parameters.
        dtype: float32 or float64.
        loss: the loss at the point.
        gradient_norm: the gradient's 2-norm there.
        product_seconds: what one Hessian-vector product takes.
        product_bytes: what the linearised gradient keeps.
        eigenpairs: the extreme ones.
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
        seconds: part -> time, compilation included, of those that are done, in their order.
        left_out: part -> why there is none.
    """

    size: int
    dtype: str
    loss: float
    gradient_norm: float
    product_seconds: float
    product_bytes: int
    eigenpairs: Eigenpairs | None = None
    top: int = 0
    lowest: int = 0
    index: SpectrumCounts | None = None
    sharpness: Sharpness | None = None
    density: Density | None = None
    layers: list[LayerEigenpairs] | None = None
    surface: Surface | None = None
    surface_kind: str | None = None
    trajectory: Trajectory | None = None
    series: list[Step] | None = None
    products: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)

    FORMERLY: ClassVar = {"ends": "eigenpairs"}

    @property
    def plan(self) -> str:
        """What a product takes, in one line."""
        dense = self.size**2 * np.dtype(self.dtype).itemsize
        return (
            f"{self.size:,} parameters ({self.dtype}): a Hessian-vector product takes "
            f"{self.product_seconds:.2g} s and keeps {gib(self.product_bytes)}; the dense Hessian "
            f"would take {gib(dense)}"
        )
