"""Networks as `jaxml.types.Model`: built-in ones, and adapters for Flax's two interfaces."""

from jaxml.core.resampling import affine_grid, grid_sample, resample, rotations
from jaxml.nn import attention
from jaxml.nn.adapters import from_linen, from_nnx
from jaxml.nn.conformer import conformer
from jaxml.nn.convnets import cnn, go_policy, resnet
from jaxml.nn.convolution import conv_general_dilated, depthwise_convolution, max_pool, mean_pool
from jaxml.nn.dense import deep_linear, linear, mlp
from jaxml.nn.descriptions import description, from_description
from jaxml.nn.detection import detr
from jaxml.nn.encoder import attention_maps, transformer_encoder
from jaxml.nn.encoder_decoder import transformer
from jaxml.nn.filter_banks import log_mel, mel_filters
from jaxml.nn.graphs import gat, gcn, rgcn
from jaxml.nn.inspection import LayerSummary, Summary, summary
from jaxml.nn.margin import cosine_classifier
from jaxml.nn.non_autoregressive import NonAutoregressive, non_autoregressive_transformer
from jaxml.nn.recurrent import rnn
from jaxml.nn.recurrent_seq2seq import recurrent_seq2seq
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.nn.spatial_transformer import spatial_transformer
from jaxml.nn.spectral_normalization import largest_singular_values, spectral_norm
from jaxml.nn.vit import patches, vit

__all__ = [
    "LayerSummary",
    "NonAutoregressive",
    "Seq2Seq",
    "Summary",
    "affine_grid",
    "attention",
    "attention_maps",
    "cnn",
    "conformer",
    "conv_general_dilated",
    "cosine_classifier",
    "deep_linear",
    "depthwise_convolution",
    "description",
    "detr",
    "from_description",
    "from_linen",
    "from_nnx",
    "gat",
    "gcn",
    "go_policy",
    "grid_sample",
    "largest_singular_values",
    "linear",
    "log_mel",
    "max_pool",
    "mean_pool",
    "mel_filters",
    "mlp",
    "non_autoregressive_transformer",
    "patches",
    "recurrent_seq2seq",
    "resample",
    "resnet",
    "rgcn",
    "rnn",
    "rotations",
    "spatial_transformer",
    "spectral_norm",
    "summary",
    "transformer",
    "transformer_encoder",
    "vit",
]
