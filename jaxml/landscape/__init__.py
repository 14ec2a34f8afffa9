"""What a loss surface looks like: Hessians, critical points, their kinds, and the ways out.

Every function takes any `loss(params) -> scalar` that JAX can differentiate twice.
"""

from jaxml.landscape.along import Followed, follow
from jaxml.landscape.critical_points import METHODS, Search, find_critical_point
from jaxml.landscape.density import Density, spectral_density
from jaxml.landscape.descent import Descent, descend
from jaxml.landscape.escape import Escape, escape
from jaxml.landscape.exact import Analysis, Counts, analyze
from jaxml.landscape.exploring import Exploration, Found, explore, find_minimum, search_from
from jaxml.landscape.functions import (
    Estimate,
    diagonal,
    effective_dimension,
    frobenius_norm,
    log_determinant,
    trace,
)
from jaxml.landscape.operators import SymmetricOperator, hessian

__all__ = [
    "METHODS",
    "Analysis",
    "Counts",
    "Density",
    "Descent",
    "Escape",
    "Estimate",
    "Exploration",
    "Followed",
    "Found",
    "Search",
    "SymmetricOperator",
    "analyze",
    "descend",
    "diagonal",
    "effective_dimension",
    "escape",
    "explore",
    "find_critical_point",
    "find_minimum",
    "follow",
    "frobenius_norm",
    "hessian",
    "log_determinant",
    "search_from",
    "spectral_density",
    "trace",
]
