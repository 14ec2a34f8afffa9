"""Networks that are tables: what they say of every sequence can be written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BEGIN, END = 1, 2


def step(table: jax.Array, tokens: jax.Array, cache: Any) -> tuple[jax.Array, Any, None]:
    """The next token by all that were before.

    Args:
        table: logits, a row for each beginning (see `node`).
        tokens: fed now.
        cache: as `start` returns it.
    """
    vocabulary = table.shape[1]
    now = jnp.where(cache["fed"] == 0, 0, cache["node"] * vocabulary + tokens + 1)
    return table[now], {"node": now, "fed": cache["fed"] + 1}, None


def start(rows: int) -> dict[str, jax.Array]:
    """The cache before the first token."""
    return {"node": jnp.zeros(rows, jnp.int32), "fed": jnp.zeros(rows, jnp.int32)}


def nodes(vocabulary: int, length: int) -> int:
    """How many beginnings of fewer than `length` tokens there are."""
    return sum(vocabulary**i for i in range(length))


def node(tokens: Any, vocabulary: int) -> int:
    """The row of a beginning."""
    at = 0
    for token in tokens:
        at = at * vocabulary + token + 1
    return at


def table_of(sequences: Mapping[tuple[int, ...], float], vocabulary: int) -> np.ndarray:
    """Logits of a table that gives these sequences, their ends included, these probabilities.

    Where no sequence goes on all tokens are equally likely.
    """
    longest = max(map(len, sequences))
    counts = np.zeros((nodes(vocabulary, longest), vocabulary))
    for sequence, probability in sequences.items():
        for i, token in enumerate(sequence):
            counts[node(sequence[:i], vocabulary), token] += probability
    counts[counts.sum(1) == 0] = 1
    with np.errstate(divide="ignore"):
        return np.log(counts).astype(np.float32)


A, B, C, D, E, F = range(3, 9)
LETTERS = dict(zip((A, B, C, D, E, F), "abcdef", strict=True))
VOCABULARY = 9
SEQUENCES = {(A, B, C, END): 0.4, (D, E, C, END): 0.3, (D, F, C, END): 0.3}
"""abc is likelier than dec and dfc, but d is the likelier beginning."""


def spelled(tokens: Any) -> str:
    """Letters, without padding and end."""
    return "".join(LETTERS.get(int(token), "?") for token in tokens if token not in (0, END))
