"""What a loss surface looks like: Hessians, critical points, their kinds, and the ways out.

Every function takes any `loss(params) -> scalar` that JAX can differentiate twice.
"""

from jaxml.landscape.along import Followed, follow
from jaxml.landscape.critical_points import METHODS, Search, find_critical_point
from jaxml.landscape.data_loss import data_loss
from jaxml.landscape.descent import Descent, descend
from jaxml.landscape.escape import Escape, escape
from jaxml.landscape.exact import Analysis, Counts, analyze
from jaxml.landscape.exploring import Exploration, Found, explore, find_minimum, search_from
from jaxml.landscape.gauss_newton import fisher, gauss_newton
from jaxml.landscape.layers import layer_names, on_layers
from jaxml.landscape.operators import Block, SymmetricOperator, hessian, hessian_block, symmetric

__all__ = [
    "METHODS",
    "Analysis",
    "Block",
    "Counts",
    "Descent",
    "Escape",
    "Exploration",
    "Followed",
    "Found",
    "Search",
    "SymmetricOperator",
    "analyze",
    "data_loss",
    "descend",
    "escape",
    "explore",
    "find_critical_point",
    "find_minimum",
    "fisher",
    "follow",
    "gauss_newton",
    "hessian",
    "hessian_block",
    "layer_names",
    "on_layers",
    "search_from",
    "symmetric",
]
