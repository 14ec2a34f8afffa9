"""What a loss surface looks like: Hessians, critical points, their kinds, and the ways out.

Every function takes any `loss(params) -> scalar` that JAX can differentiate twice.
"""

from jaxml.landscape.along import Followed, follow
from jaxml.landscape.connectivity import Connection, connect
from jaxml.landscape.copies import distinct_points
from jaxml.landscape.critical_points import METHODS, Search, find_critical_point
from jaxml.landscape.data_loss import data_loss
from jaxml.landscape.density import Density, spectral_density
from jaxml.landscape.descent import Descent, descend
from jaxml.landscape.directions import project, random_directions
from jaxml.landscape.edge_of_stability import edge_of_stability
from jaxml.landscape.eigenvalues import eigenvalues
from jaxml.landscape.escape import Escape, NoDescentError, escape
from jaxml.landscape.exact import Analysis, Counts, analyze
from jaxml.landscape.exploring import Exploration, Found, explore, search_from
from jaxml.landscape.functions import (
    Estimate,
    diagonal,
    frobenius_norm,
    trace,
)
from jaxml.landscape.gauss_newton import fisher, gauss_newton
from jaxml.landscape.index import Interval, SpectrumCounts, count_eigenvalues
from jaxml.landscape.inspection import Inspection, LayerEnds, Step, inspect, inspect_series
from jaxml.landscape.lanczos import Eigenpairs, eigenpairs
from jaxml.landscape.layers import layer_names, on_layers
from jaxml.landscape.minimum import find_minimum
from jaxml.landscape.operators import Block, SymmetricOperator, hessian, hessian_block, symmetric
from jaxml.landscape.saddles import SaddleSearch, connected_minima, find_saddle
from jaxml.landscape.sharpness import Rise, Sharpness, sharpness
from jaxml.landscape.spectral_sums import effective_dimension, log_determinant
from jaxml.landscape.stuck import leaving_saddles
from jaxml.landscape.surfaces import Surface, surface
from jaxml.landscape.symmetries import (
    ContinuousSymmetry,
    Permutations,
    permutations,
    reflection,
    rescaling,
    rotations,
    translations,
)
from jaxml.landscape.trajectories import Trajectory, trajectory

__all__ = [
    "METHODS",
    "Analysis",
    "Block",
    "Connection",
    "ContinuousSymmetry",
    "Counts",
    "Density",
    "Descent",
    "Eigenpairs",
    "Escape",
    "Estimate",
    "Exploration",
    "Followed",
    "Found",
    "Inspection",
    "Interval",
    "LayerEnds",
    "NoDescentError",
    "Permutations",
    "Rise",
    "SaddleSearch",
    "Search",
    "Sharpness",
    "SpectrumCounts",
    "Step",
    "Surface",
    "SymmetricOperator",
    "Trajectory",
    "analyze",
    "connect",
    "connected_minima",
    "count_eigenvalues",
    "data_loss",
    "descend",
    "diagonal",
    "distinct_points",
    "edge_of_stability",
    "effective_dimension",
    "eigenpairs",
    "eigenvalues",
    "escape",
    "explore",
    "find_critical_point",
    "find_minimum",
    "find_saddle",
    "fisher",
    "follow",
    "frobenius_norm",
    "gauss_newton",
    "hessian",
    "hessian_block",
    "inspect",
    "inspect_series",
    "layer_names",
    "leaving_saddles",
    "log_determinant",
    "on_layers",
    "permutations",
    "project",
    "random_directions",
    "reflection",
    "rescaling",
    "rotations",
    "search_from",
    "sharpness",
    "spectral_density",
    "surface",
    "symmetric",
    "trace",
    "trajectory",
    "translations",
]
