"""One sequence a row, each token chosen before the next is scored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxml.sequence.arrays import rows_of
from jaxml.sequence.decoding.results import Decoded
from jaxml.sequence.decoding.steps import (
    PAD,
    Options,
    Prefix,
    Step,
    allowed,
    log_softmax_of,
    score_dtype,
)


def emit(
    step: Step,
    params: Any,
    cache: Any,
    choose: Callable[[jax.Array, jax.Array], jax.Array],
    options: Options,
    prefix: Prefix,
) -> Decoded:
    """Emit tokens until every row has ended or is as long as it may be; to be compiled.

    Args:
        step: the network.
        params: its parameters.
        cache: before the first token.
        choose: `(log_probabilities, t) -> tokens`, from shape `(rows, vocabulary)`, −∞ where a
            token may not be emitted.
        options: as `steps.checked` returns them.
        prefix: likewise.
    """
    rows, maximum = rows_of("cache", cache), options.maximum
    fed = jnp.full(rows, options.begin, jnp.int32)
    logits, _, attention = jax.eval_shape(step, params, fed, cache)
    maps = attention if options.attention else None
    empty = Decoded(
        tokens=jnp.zeros((rows, maximum), jnp.int32),
        lengths=jnp.zeros(rows, jnp.int32),
        finished=jnp.zeros(rows, bool),
        scores=jnp.zeros(rows, score_dtype(logits.dtype)),
        attention=jax.tree.map(lambda m: jnp.zeros((rows, maximum, *m.shape[1:]), m.dtype), maps),
    )

    def open_rows(carry):
        t, *_, found = carry
        return (t < maximum) & ~found.finished.all()

    def one(carry):
        t, fed, cache, found = carry
        logits, cache, attention = step(params, fed, cache)
        scores = log_softmax_of(logits, options.adjust)
        may = allowed(t, scores.shape[1], options, prefix)
        chosen = choose(jnp.where(may, scores, -jnp.inf), t).astype(jnp.int32)
        score = jnp.take_along_axis(scores, chosen[:, None], axis=1)[:, 0]
        open_ = ~found.finished
        chosen = jnp.where(open_, chosen, PAD)

        def kept(maps, now):
            return maps.at[:, t].set(jnp.where(open_.reshape(-1, *[1] * (now.ndim - 1)), now, 0))

        maps = None
        if options.attention:
            maps = jax.tree.map(kept, found.attention, attention)
        found = Decoded(
            tokens=found.tokens.at[:, t].set(chosen),
            lengths=found.lengths + open_,
            finished=found.finished | (chosen == options.end),
            scores=found.scores + jnp.where(open_, score, 0),
            attention=maps,
        )
        return t + 1, chosen, cache, found

    return jax.lax.while_loop(open_rows, one, (jnp.int32(0), fed, cache, empty))[-1]
