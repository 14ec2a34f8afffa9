"""What a network from sequences to sequences is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxml.core.types import Model


class Seq2Seq(NamedTuple):
    """A network that puts out a sequence of tokens, given another sequence.

    It has no model state.

    Attributes:
        init: as a `Model`'s.
        apply: as a `Model`'s, of `(x, x_length, previous)`: the source, how much of each row is
            not padding (or None), and for each position of the target the token before it
            `(batch, t)`. Its outputs are the logits of each position's own token `(batch, t,
            outputs)`.
        encode: `(params, x, x_length) -> memory`, what the decoder sees of a source.
        start: `(memory, steps) -> cache`, to decode up to so many tokens; each leaf of the cache
            has the rows as its first axis.
        step: `(params, tokens, cache) -> (logits, cache, attention)`: `tokens` `(batch,)` are the
            last of each row, the first time the one that begins; `logits` `(batch, outputs)` of
            the next; `attention` `(batch, layers, n)`, how much of each position of the source
            each layer took, the mean over its heads.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    encode: Callable[..., Any]
    start: Callable[..., Any]
    step: Callable[..., Any]

    @property
    def model(self) -> Model:
        """What `training` and `landscape` know of it."""
        return Model(self.init, self.apply)
