"""What a loss surface looks like: Hessians, critical points, their kinds, and the ways out.

Every function takes any `loss(params) -> scalar` that JAX can differentiate twice.
"""

from jaxml.landscape.along import Followed, follow
from jaxml.landscape.critical_points import METHODS, Search, find_critical_point
from jaxml.landscape.descent import Descent, descend
from jaxml.landscape.escape import Escape, NoDescentError, escape
from jaxml.landscape.exact import Analysis, Counts, analyze
from jaxml.landscape.exploring import Exploration, Found, explore, find_minimum, search_from
from jaxml.landscape.operators import SymmetricOperator, hessian
from jaxml.landscape.stuck import leaving_saddles

__all__ = [
    "METHODS",
    "Analysis",
    "Counts",
    "Descent",
    "Escape",
    "Exploration",
    "Followed",
    "Found",
    "NoDescentError",
    "Search",
    "SymmetricOperator",
    "analyze",
    "descend",
    "escape",
    "explore",
    "find_critical_point",
    "find_minimum",
    "follow",
    "hessian",
    "leaving_saddles",
    "search_from",
]
