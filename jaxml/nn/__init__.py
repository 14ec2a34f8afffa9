"""Networks as `jaxml.types.Model`: built-in ones, and adapters for Flax's two interfaces."""

from jaxml.nn.adapters import from_linen, from_nnx
from jaxml.nn.convnets import cnn, resnet
from jaxml.nn.convolution import conv_general_dilated, max_pool, mean_pool
from jaxml.nn.dense import deep_linear, linear, mlp
from jaxml.nn.descriptions import description, from_description
from jaxml.nn.inspection import LayerSummary, Summary, summary

__all__ = [
    "LayerSummary",
    "Summary",
    "cnn",
    "conv_general_dilated",
    "deep_linear",
    "description",
    "from_description",
    "from_linen",
    "from_nnx",
    "linear",
    "max_pool",
    "mean_pool",
    "mlp",
    "resnet",
    "summary",
]
