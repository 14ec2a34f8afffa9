"""The least number of edits that make one sequence another."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxml.sequence.arrays import require_lengths, require_tokens


def edit_distance(
    hypotheses: Any,
    lengths: Any,
    references: Any,
    reference_lengths: Any,
) -> Int[Array, " rows"]:
    """The Levenshtein distance: insertions, deletions and substitutions, one each.

    Compiled once for each shape.

    Args:
        hypotheses: tokens, padded.
        lengths: how many tokens of each hypothesis count.
        references: tokens, padded.
        reference_lengths: how many tokens of each reference count.

    Returns:
        One distance a row.

    Raises:
        ValueError: if an array is of another shape or not of whole numbers, or a length is beyond
            the array.

    Reference:
        Wagner and Fischer (1974), Journal of the ACM 21:168-173. Along a row of the table an
        insertion costs 1 more than the entry before, so that a cumulative minimum replaces the
        loop over columns.

    Example:
        >>> edit_distance([[1, 2, 3], [1, 2, 3]], [3, 2], [[1, 3], [4, 4]], [2, 2]).tolist()
        [1, 2]
    """
    hypotheses = require_tokens("hypotheses", hypotheses)
    rows, m = hypotheses.shape
    references = require_tokens("references", references, rows=rows)
    lengths = require_lengths("lengths", lengths, rows, m)
    n = references.shape[1]
    reference_lengths = require_lengths("reference_lengths", reference_lengths, rows, n)
    return _edit_distance(hypotheses, lengths, references, reference_lengths)


@jax.jit
def _edit_distance(hypotheses, lengths, references, reference_lengths):
    rows, m = hypotheses.shape
    columns = jnp.arange(references.shape[1] + 1)

    def one(above, at):
        i, token = at
        substituted = above[:, :-1] + (references != token[:, None])
        best = jnp.minimum(above[:, 1:] + 1, substituted)
        best = jnp.concatenate([above[:, :1] + 1, best], axis=1)
        inserted = jax.lax.cummin(best - columns, axis=1) + columns
        return jnp.where((i < lengths)[:, None], inserted, above), None

    first = jnp.broadcast_to(columns, (rows, len(columns)))
    last, _ = jax.lax.scan(one, first, (jnp.arange(m), hypotheses.T))
    return jnp.take_along_axis(last, reference_lengths[:, None], axis=1)[:, 0]
