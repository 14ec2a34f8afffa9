"""What a loss surface looks like: Hessians, critical points, their kinds, and the ways out.

Every function takes any `loss(params) -> scalar` that JAX can differentiate twice.
"""

from jaxml.landscape.along import Followed, follow
from jaxml.landscape.critical_points import METHODS, Search, find_critical_point
from jaxml.landscape.descent import Descent, descend
from jaxml.landscape.edge_of_stability import edge_of_stability
from jaxml.landscape.escape import Escape, escape
from jaxml.landscape.exact import Analysis, Counts, analyze
from jaxml.landscape.exploring import Exploration, Found, explore, find_minimum, search_from
from jaxml.landscape.operators import SymmetricOperator, hessian
from jaxml.landscape.sharpness import Rise, Sharpness, sharpness

__all__ = [
    "METHODS",
    "Analysis",
    "Counts",
    "Descent",
    "Escape",
    "Exploration",
    "Followed",
    "Found",
    "Rise",
    "Search",
    "Sharpness",
    "SymmetricOperator",
    "analyze",
    "descend",
    "edge_of_stability",
    "escape",
    "explore",
    "find_critical_point",
    "find_minimum",
    "follow",
    "hessian",
    "search_from",
    "sharpness",
]
