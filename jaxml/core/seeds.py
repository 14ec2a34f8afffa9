"""Seeds: whole numbers from 0 to 2⁶⁴ − 1, each with randomness of its own.

`jax.random.key` keeps the lower 32 bits of a number, so that 2⁴⁰ would be the seed 0.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxml.core.checks import require


def require_seed(seed: Any) -> int:
    """The seed as an int.

    Raises:
        ValueError: if it is none.
    """
    whole = not isinstance(seed, bool | np.bool_) and hasattr(seed, "__index__")
    valid = whole and 0 <= int(seed) < 2**64
    require(valid, "a seed that is a whole number of at least 0 (and below 2**64)", repr(seed))
    return int(seed)


def words(seed: Any) -> np.ndarray:
    """A seed as two numbers of 32 bits, the lower first: an argument of compiled functions.

    Raises:
        ValueError: if it is no seed.
    """
    number = require_seed(seed)
    return np.array([number % 2**32, number >> 32], np.uint32)


def key(seed: Any) -> jax.Array:
    """The key of a seed; that of `jax.random.key` below 2³².

    Args:
        seed: a whole number, or its `words`, which may be traced; one of 32 bits that is traced.

    Raises:
        ValueError: if it is neither.

    Example:
        >>> key(5) == jax.random.key(5), key(2**40) == key(0)
        (Array(True, dtype=bool), Array(False, dtype=bool))
    """
    if np.shape(seed) == (2,):
        low, high = seed
        first = jax.random.key(low)
        return jnp.where(high == 0, first, jax.random.fold_in(first, high))
    if isinstance(seed, Tracer):
        return jax.random.key(seed)
    low, high = words(seed)
    first = jax.random.key(low)
    return jax.random.fold_in(first, high) if high else first


def keys(count: int) -> jax.Array:
    """The keys of the seeds 0 to `count` − 1, shape `(count,)`.

    >>> keys(2).shape
    (2,)
    """
    return jnp.stack([key(seed) for seed in range(count)])
