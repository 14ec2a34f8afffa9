"""Tokens mixed by the Fourier transform, without parameters."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxml.core.checks import require


def fourier_mixing(x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
    """The real part of the Fourier transform over positions and columns.

    Args:
        x: tokens `(..., n, width)`, all heads together.
        mask: boolean `(..., n)`; tokens that are not seen enter as zeros.

    Returns:
        `(..., n, width)`.

    Raises:
        ValueError: if the mask is of another shape or kind.

    Reference:
        Lee-Thorp et al. (2022), arXiv:2105.03824, eq. 3 (FNet).

    >>> fourier_mixing(jnp.ones((2, 2)))
    Array([[4., 0.],
           [0., 0.]], dtype=float32)
    """
    if mask is not None:
        require(mask.dtype == bool, "a boolean mask", f"one of {mask.dtype}")
        fits = mask.ndim >= 1 and mask.shape[-1] == x.shape[-2]
        require(fits, f"a mask of shape (..., {x.shape[-2]})", mask.shape)
        x = jnp.where(mask[..., None], x, 0)
    return jnp.fft.fft2(x).real.astype(x.dtype)
