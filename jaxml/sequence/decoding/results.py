"""What decoding returns."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np


class Decoded(NamedTuple):
    """Sequences and their scores; of beam search `n` a row, the best first, else one.

    Attributes:
        tokens: `(rows, T)` or `(rows, n, T)`, the end included, then 0.
        lengths: how many tokens each has, its end included; 0 where there are fewer than `n`
            sequences.
        finished: whether it ends, rather than being cut at the maximal length.
        scores: the log-probability of its tokens (nats); −∞ where there is no sequence.
        ranking: what beam search ranks by, the score over the length penalty; else `None`.
        attention: at each token what the step said that it attends to, after the axes of `tokens`,
            0 behind the end; `None` if it was not asked for.
    """

    tokens: jax.Array
    lengths: jax.Array
    finished: jax.Array
    scores: jax.Array
    ranking: jax.Array | None = None
    attention: Any = None

    def sequences(self) -> list:
        """Of each row the list of its tokens, or `n` such lists, without the end.

        Example:
            >>> one = Decoded(*map(np.array, ([[5, 4, 2, 0]], [3], [True], [-0.7])))
            >>> one.sequences()
            [[5, 4]]
        """
        tokens, lengths = np.asarray(self.tokens), np.asarray(self.lengths - self.finished)
        flat = zip(tokens.reshape(-1, tokens.shape[-1]), lengths.reshape(-1), strict=True)
        lists = [row[:length].tolist() for row, length in flat]
        if tokens.ndim == 2:
            return lists
        n = tokens.shape[1]
        return [lists[i : i + n] for i in range(0, len(lists), n)]
