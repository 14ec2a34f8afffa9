"""Layers that several networks have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax.core import Tracer

from jaxml.core.checks import require, require_choice

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "celu": jax.nn.celu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "hard_tanh": jax.nn.hard_tanh,
    "identity": jax.nn.identity,
    "leaky_relu": jax.nn.leaky_relu,
    "log_sigmoid": jax.nn.log_sigmoid,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "soft_sign": jax.nn.soft_sign,
    "softplus": jax.nn.softplus,
    "squareplus": jax.nn.squareplus,
    "swish": jax.nn.swish,
    "tanh": jnp.tanh,
}
"""The activations known by name; each is JAX's function of that name."""


def check_activation(
    activation: str | Callable[[jax.Array], jax.Array],
) -> Callable[[jax.Array], jax.Array]:
    """The function, from its name or as given.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(activation, str):
        return ACTIVATIONS[require_choice("activation", activation, tuple(ACTIVATIONS))]
    require(callable(activation), "activation to be a function or a name", repr(activation))
    return activation


def check_norm(norm: str | None) -> None:
    """Raises `ValueError` for what `normalize` does not know."""
    if norm is not None:
        require_choice("norm", norm, ("batch", "layer"))


def check_dropout(dropout: float) -> None:
    """Raises `ValueError` for what is no probability of dropping, in [0, 1)."""
    require(0 <= dropout < 1, "dropout to be at least 0 and less than 1", dropout)


def check_dtype(dtype: Any) -> None:
    """Raises `ValueError` for a dtype that nothing can be computed in."""
    if dtype is not None:
        floating = jnp.issubdtype(dtype, jnp.floating)
        require(floating, "dtype to be None or a floating-point dtype", dtype)


def check_range(what: str, x: jax.Array | np.ndarray, low: int, high: int) -> None:
    """Raises `ValueError` for whole numbers beyond `low` and `high` (not while they are traced)."""
    if not isinstance(x, Tracer) and x.size:
        known = np.asarray(x)  # within a function that is traced JAX would trace this too
        least, greatest = int(known.min()), int(known.max())
        fits = least >= low and greatest <= high
        require(fits, f"{what} from {low} to {high}", f"{least} to {greatest}")


def normalize(h: jax.Array, norm: str | None, *, train: bool, dtype: Any, name: str) -> jax.Array:
    """Batch norm, layer norm over the last axis, or nothing, within a compact Linen module."""
    if norm == "batch":
        options = {"dtype": dtype, "name": name, **_NORM}
        return linen.BatchNorm(momentum=0.9, use_running_average=not train, **options)(h)
    return layer_norm(dtype, name)(h) if norm == "layer" else h


# The variance is the mean square of the differences from the mean, in two passes:
# Flax's default, E[h²] - E[h]², loses all digits where the mean is large.
_NORM: dict[str, Any] = {"epsilon": 1e-5, "use_fast_variance": False}


def layer_norm(dtype: Any, name: str | None = None) -> linen.LayerNorm:
    """Layer norm over the last axis."""
    return linen.LayerNorm(dtype=dtype, name=name, **_NORM)


class Dropout(linen.Module):
    """`linen.Dropout`, with the same masks, faster beside products of matrices.

    What is kept, x / (1 - rate), is computed as x + x rate / (1 - rate): XLA on CPU moves a bare
    factor into the products around it, which costs a Transformer a tenth of its step.
    """

    rate: float

    @linen.compact
    def __call__(self, x: jax.Array, *, deterministic: bool) -> jax.Array:
        """As `linen.Dropout`'s."""
        if self.rate == 0 or deterministic:
            return x
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, x.shape)
        return jnp.where(kept, x + x * (self.rate / (1 - self.rate)), 0)


def dense(features: int, **options: Any) -> linen.Dense:
    """`linen.Dense` of the last axis of many, as one product of two matrices.

    The gradient of the weights is one too then. As a sum over several axes XLA on CPU moves its
    operands first, which costs a Transformer a quarter of its step.
    """
    return linen.Dense(features, dot_general=_as_matrices, **options)


def _as_matrices(x, kernel, dimensions, **options):
    del dimensions  # the last axis of `x`, the first of the kernel
    flat = jax.lax.dot(x.reshape(-1, x.shape[-1]), kernel, **options)
    return flat.reshape(*x.shape[:-1], kernel.shape[-1])
