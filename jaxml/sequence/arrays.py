"""Checks of the arrays that hold sequences; values are checked where they are known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxml.core.checks import require


def is_known(value: Any) -> bool:
    """Whether a value can be looked at, rather than being traced."""
    return not isinstance(value, Tracer)


def rows_of(name: str, tree: Any) -> int:
    """The length of the one leading axis of all arrays of a pytree.

    Raises:
        ValueError: if there is none.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
    leading = {shape[0] if shape else None for shape in shapes}
    one = len(leading) == 1 and None not in leading and 0 not in leading
    require(one, f"{name} to be of arrays with rows as their first axis", f"shapes {shapes}")
    return shapes[0][0]


def require_token(name: str, value: Any, vocabulary: int) -> int:
    """The value as an int, if it is a token of the vocabulary."""
    whole = not isinstance(value, bool) and hasattr(value, "__index__")
    valid = whole and 0 <= int(value) < vocabulary
    require(valid, f"{name} to be a token from 0 to {vocabulary - 1}", repr(value))
    return int(value)


def require_tokens(
    name: str, tokens: Any, *, rows: int | None = None, vocabulary: int | None = None
) -> jax.Array:
    """Tokens `(rows, k)` on the device, each below the size of the vocabulary if that is given."""
    array = np.asarray(tokens) if is_known(tokens) else tokens
    fits = array.ndim == 2 and (rows is None or array.shape[0] == rows)
    require(fits, f"{name} of shape ({'rows' if rows is None else rows}, k)", array.shape)
    # an empty list is one of floats
    whole = array.size == 0 or jnp.issubdtype(array.dtype, jnp.integer)
    require(whole, f"{name} to be of whole numbers", array.dtype)
    if vocabulary is not None and isinstance(array, np.ndarray):
        outside = array[(array < 0) | (array >= vocabulary)]
        expected = f"{name} with tokens from 0 to {vocabulary - 1}"
        require(outside.size == 0, expected, outside[:1])
    return jnp.asarray(array, jnp.int32)


def require_lengths(name: str, lengths: Any, rows: int, most: int) -> jax.Array:
    """Lengths `(rows,)` on the device, from 0 to `most`."""
    array = np.asarray(lengths) if is_known(lengths) else lengths
    fits = array.shape == (rows,) and jnp.issubdtype(array.dtype, jnp.integer)
    require(fits, f"{name} as {rows} whole numbers", f"{array.dtype} of shape {array.shape}")
    if isinstance(array, np.ndarray):
        outside = array[(array < 0) | (array > most)]
        require(outside.size == 0, f"{name} from 0 to {most}", outside[:1])
    return jnp.asarray(array, jnp.int32)
