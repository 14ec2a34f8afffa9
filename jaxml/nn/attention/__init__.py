"""Attention as plain functions of arrays: scores, masks, positions, and what is made of them."""

from jaxml.nn.attention.as_convolution import convolution_by_attention
from jaxml.nn.attention.fourier import fourier_mixing
from jaxml.nn.attention.linear import elu_features, linear_attention
from jaxml.nn.attention.linformer import linformer_attention
from jaxml.nn.attention.local import local_attention
from jaxml.nn.attention.masks import (
    block_mask,
    causal_mask,
    global_mask,
    padding_mask,
    random_blocks,
    stride_mask,
    window_mask,
)
from jaxml.nn.attention.monotonic import monotonic_attention
from jaxml.nn.attention.performer import (
    orthogonal_features,
    performer_attention,
    softmax_features,
)
from jaxml.nn.attention.positions import relative_bias, rotate, sinusoidal_positions
from jaxml.nn.attention.scores import additive_scores, dot_product_scores
from jaxml.nn.attention.softmax import (
    attention_weights,
    softmax_attention,
    synthesizer_attention,
)
from jaxml.nn.attention.sorting import (
    lsh_attention,
    routing_attention,
    sinkhorn,
    sinkhorn_attention,
)
from jaxml.nn.attention.sparse import bigbird_blocks, block_attention

__all__ = [
    "additive_scores",
    "attention_weights",
    "bigbird_blocks",
    "block_attention",
    "block_mask",
    "causal_mask",
    "convolution_by_attention",
    "dot_product_scores",
    "elu_features",
    "fourier_mixing",
    "global_mask",
    "linear_attention",
    "linformer_attention",
    "local_attention",
    "lsh_attention",
    "monotonic_attention",
    "orthogonal_features",
    "padding_mask",
    "performer_attention",
    "random_blocks",
    "relative_bias",
    "rotate",
    "routing_attention",
    "sinkhorn",
    "sinkhorn_attention",
    "sinusoidal_positions",
    "softmax_attention",
    "softmax_features",
    "stride_mask",
    "synthesizer_attention",
    "window_mask",
]
