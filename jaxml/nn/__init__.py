"""Networks as `jaxml.types.Model`: built-in ones, and adapters for Flax's two interfaces."""

from jaxml.nn.adapters import from_linen, from_nnx
from jaxml.nn.dense import deep_linear, linear, mlp
from jaxml.nn.inspection import LayerSummary, Summary, summary

__all__ = [
    "LayerSummary",
    "Summary",
    "deep_linear",
    "from_linen",
    "from_nnx",
    "linear",
    "mlp",
    "summary",
]
