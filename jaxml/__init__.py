"""Train neural networks in JAX and understand the training."""

__version__ = "0.1.0"
