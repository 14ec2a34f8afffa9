"""What a loss surface looks like: Hessians, critical points, their kinds, and the ways out.

Every function takes any `loss(params) -> scalar` that JAX can differentiate twice.
"""

import jaxml.landscape.critical.views
import jaxml.landscape.spectra.game_views
import jaxml.landscape.views  # noqa: F401 - what results show
from jaxml.landscape._spectrum import spectrum
from jaxml.landscape.callbacks.edge_of_stability import edge_of_stability
from jaxml.landscape.callbacks.leaving_saddles import leaving_saddles
from jaxml.landscape.critical.analysis import Analysis, Counts, analyze
from jaxml.landscape.critical.descent import Descent, descend
from jaxml.landscape.critical.distinct_points import distinct_points
from jaxml.landscape.critical.escape import Escape, NoDescentError, escape
from jaxml.landscape.critical.explore import Exploration, Found, explore, search_from
from jaxml.landscape.critical.minimum import find_minimum
from jaxml.landscape.critical.saddle_search import SaddleSearch, connected_minima, find_saddle
from jaxml.landscape.critical.search import METHODS, Search, find_critical_point
from jaxml.landscape.critical.symmetries import (
    ContinuousSymmetry,
    Permutations,
    permutations,
    reflection,
    rescaling,
    rotations,
    translations,
)
from jaxml.landscape.geometry.directions import project, random_directions
from jaxml.landscape.geometry.mode_connectivity import Connection, connect
from jaxml.landscape.geometry.path_angle import PathAngle, path_angle
from jaxml.landscape.geometry.sharpness import Rise, Sharpness, sharpness
from jaxml.landscape.geometry.surfaces import Surface, surface
from jaxml.landscape.geometry.trajectory_pca import Trajectory, trajectory
from jaxml.landscape.inspection import inspect, inspect_series
from jaxml.landscape.inspection_result import Inspection, LayerEigenpairs, Step
from jaxml.landscape.operators.base import SymmetricOperator, symmetric
from jaxml.landscape.operators.data_loss import data_loss
from jaxml.landscape.operators.game import GameJacobian, game_jacobian
from jaxml.landscape.operators.gauss_newton import fisher, gauss_newton
from jaxml.landscape.operators.hessian import Block, hessian, hessian_block
from jaxml.landscape.operators.parameter_subset import layer_names, on_layers
from jaxml.landscape.spectra.density import Density, spectral_density
from jaxml.landscape.spectra.eigenpairs import Eigenpairs, eigenpairs
from jaxml.landscape.spectra.game_spectrum import (
    GameSpectrum,
    UpdateJacobian,
    game_spectrum,
    update_jacobian,
)
from jaxml.landscape.spectra.inertia import Interval, SpectrumCounts, count_eigenvalues
from jaxml.landscape.spectra.spectral_sums import effective_dimension, log_determinant
from jaxml.landscape.spectra.spectrum_along import Followed, follow
from jaxml.landscape.spectra.stochastic_trace import Estimate, diagonal, frobenius_norm, trace
from jaxml.linalg.eigvalsh import eigenvalues

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
    "GameJacobian",
    "GameSpectrum",
    "Inspection",
    "Interval",
    "LayerEigenpairs",
    "NoDescentError",
    "PathAngle",
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
    "UpdateJacobian",
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
    "game_jacobian",
    "game_spectrum",
    "gauss_newton",
    "hessian",
    "hessian_block",
    "inspect",
    "inspect_series",
    "layer_names",
    "leaving_saddles",
    "log_determinant",
    "on_layers",
    "path_angle",
    "permutations",
    "project",
    "random_directions",
    "reflection",
    "rescaling",
    "rotations",
    "search_from",
    "sharpness",
    "spectral_density",
    "spectrum",
    "surface",
    "symmetric",
    "trace",
    "trajectory",
    "translations",
    "update_jacobian",
]
