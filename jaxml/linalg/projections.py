"""What is left of vectors and operators across given directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float


def across(
    basis: Float[Any, "size directions"], rows: Float[Any, "*count size"]
) -> Float[Any, "*count size"]:
    """The parts of vectors, in rows or one, that are orthogonal to some directions.

    Args:
        basis: the directions; its columns are orthonormal or zero.
        rows: NumPy's or JAX's, as the basis.
    """
    return rows - (rows @ basis) @ basis.T


def stiffened(
    product: Callable, basis: Float[Array, "size directions"], stiffness: float | Array
) -> Callable:
    """The product of PAP + stiffness·(1 − P), P the projection across some directions.

    Args:
        product: that of a symmetric A, with a vector or with a matrix of rows.
        basis: the directions; its columns are orthonormal or zero.
        stiffness: the eigenvalue along them.
    """

    def apply(v):
        rest = across(basis, v)
        return across(basis, product(rest)) + stiffness * (v - rest)

    return apply
