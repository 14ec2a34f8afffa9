"""The likeliest sequences, of those that begin with one of the likeliest beginnings."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.sequence.arrays import is_known, rows_of
from jaxml.sequence.decoding.results import Decoded
from jaxml.sequence.decoding.steps import (
    PAD,
    Adjust,
    Step,
    allowed,
    checked,
    log_softmax_of,
    score_dtype,
)


def beam(
    step: Step,
    params: Any,
    cache: Any,
    *,
    begin: int,
    end: int,
    maximum_length: int,
    minimum_length: int = 1,
    prefix: Any = None,
    prefix_length: Any = None,
    adjust: Adjust | None = None,
    attention: bool = False,
    size: int = 5,
    length_penalty: Any = 0.0,
    n_best: int = 1,
) -> Decoded:
    """Keep the likeliest beginnings, extend each by every token, and keep the likeliest again.

    A sequence is complete when its end is among the `size` likeliest extensions. A row goes on
    until no beginning can still reach the ranking of the `n_best` sequences that it has: by the
    length penalty's value where it favours a beginning most, at the maximal length if it is
    positive. What is cut there ranks among the others.

    Args:
        step: as in `greedy`, and so all up to `attention`.
        params: the network's parameters.
        cache: as it is before the first token.
        begin: fed first.
        end: of a sequence.
        maximum_length: end included.
        minimum_length: end included.
        prefix: first tokens.
        prefix_length: of each row.
        adjust: `logits -> logits`.
        attention: whether to keep it.
        size: how many beginnings are kept; 1 is `greedy` (without a length penalty), and as many as
            there are sequences find the likeliest of all.
        length_penalty: α of Wu et al.: sequences are ranked by their score over ((5 + length)/6)^α,
            the end counted in the length. 0 ranks by the score itself, which favours short ones; a
            larger one favours longer ones.
        n_best: how many sequences are returned, at most `size`.

    Returns:
        `n_best` sequences a row, ranked; fewer where there are no more (see `Decoded`).

    Raises:
        ValueError: as `greedy`; for a size below 1 or above the number of sequences,
            vocabulary^maximum_length; for `n_best` above the size; for a length penalty that is no
            finite number.

    Reference:
        Wu et al. (2016), arXiv:1609.08144, equation 14, without its coverage penalty.

    Example:
        >>> def step(params, tokens, cache):
        ...     return params[tokens], cache, None
        >>> table = jnp.log(jnp.array([[0, 0, 0, 1], [0, 0, 0.4, 0.6], [0, 0, 0, 1], [0, 0, 1, 0]]))
        >>> found = beam(step, table, jnp.zeros(1), begin=1, end=2, maximum_length=4, n_best=2)
        >>> found.sequences(), (100 * jnp.exp(found.scores)).round()
        ([[[3], []]], Array([[60., 40.]], dtype=float32))
    """
    options, forced, vocabulary = checked(
        step, params, cache, begin=begin, end=end, maximum_length=maximum_length,
        minimum_length=minimum_length, prefix=prefix, prefix_length=prefix_length, adjust=adjust,
        attention=attention,
    )  # fmt: skip
    size = require_positive_int("size", size)
    sequences = vocabulary**options.maximum
    require(size <= sequences, f"size of at most the number of sequences, {sequences}", size)
    n_best = require_positive_int("n_best", n_best)
    require(n_best <= size, f"n_best of at most the beam's size, {size}", n_best)
    if is_known(length_penalty):
        with np.errstate(over="ignore", under="ignore"):
            largest = np.float32((5 + options.maximum) / 6) ** np.float32(length_penalty)
        valid = np.ndim(length_penalty) == 0 and 0 < largest < np.inf
        require(valid, "length_penalty as a finite number", length_penalty)
    return _beam(step, params, cache, options, forced, length_penalty, size, n_best)


class _Complete(NamedTuple):
    """The best sequences that are complete, `(rows, n)`."""

    ranking: jax.Array
    scores: jax.Array
    lengths: jax.Array
    finished: jax.Array
    # of the beginnings that were kept, the one that its end extends, or that it is if it has none
    slots: jax.Array


@functools.partial(jax.jit, static_argnames=("step", "options", "size", "n_best"))
def _beam(step, params, cache, options, prefix, length_penalty, size, n_best):
    rows, maximum = rows_of("cache", cache), options.maximum
    cache = jax.tree.map(lambda leaf: jnp.repeat(leaf, size, 0), cache)
    fed = jnp.full(rows * size, options.begin, jnp.int32)
    logits, _, attention = jax.eval_shape(step, params, fed, cache)
    dtype, maps = score_dtype(logits.dtype), attention if options.attention else None

    def penalty(length):
        return (((5 + jnp.asarray(length)) / 6) ** length_penalty).astype(dtype)

    def complete(scores, lengths, finished, slots):
        return _Complete(scores / penalty(lengths), scores, lengths, finished, slots)

    def best_of(*groups):
        together = jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *groups)
        _, chosen = jax.lax.top_k(together.ranking, n_best)
        return jax.tree.map(lambda part: _take(part, chosen), together)

    def open_rows(carry):
        t, *_, live, done, _ = carry
        best = live.max(1)  # it can only fall
        reachable = jnp.maximum(best / penalty(t + 1), best / penalty(maximum))
        return (t < maximum) & (reachable > done.ranking[:, -1]).any()

    def one(carry):
        t, fed, before, live, done, trace = carry
        logits, cache, attention = step(params, fed, before)
        scores = log_softmax_of(logits, options.adjust)
        vocabulary = scores.shape[1]
        may = allowed(t, vocabulary, options, prefix)[:, None]
        scores = jnp.where(may, scores.reshape(rows, size, vocabulary), -jnp.inf)
        totals = (live[..., None] + scores).reshape(rows, size * vocabulary)
        # twice as many: of those that do not end there are still enough
        totals, extensions = jax.lax.top_k(totals, 2 * size)
        parents, tokens = jnp.divmod(extensions, vocabulary)
        ends = tokens == options.end
        among_best = ends[:, :size]
        done = best_of(
            done,
            complete(
                jnp.where(among_best, totals[:, :size], -jnp.inf),
                jnp.full((rows, size), t + 1),
                among_best,
                parents[:, :size],
            ),
        )
        live, chosen = jax.lax.top_k(jnp.where(ends, -jnp.inf, totals), size)
        parents, tokens = _take(parents, chosen), _take(tokens, chosen)
        now = (tokens, parents, attention if options.attention else None)
        trace = jax.tree.map(lambda all_, one: all_.at[t].set(one), trace, now)
        kept = _flat(parents, size)
        # what no step changes, such as the source, is the same for all beginnings of a row
        cache = jax.tree.map(lambda old, new: new if new is old else new[kept], before, cache)
        return t + 1, tokens.reshape(-1), cache, live, done, trace

    def of_all_steps(shape, dtype=jnp.int32):
        return jnp.zeros((maximum, *shape), dtype)

    live = jnp.full((rows, size), -jnp.inf, dtype).at[:, 0].set(0)
    none = jnp.zeros((rows, n_best), jnp.int32)
    done = complete(jnp.full((rows, n_best), -jnp.inf, dtype), none, none > 0, none)
    trace = (
        of_all_steps((rows, size)),
        of_all_steps((rows, size)),
        jax.tree.map(lambda m: of_all_steps(m.shape, m.dtype), maps),
    )
    carry = (jnp.int32(0), fed, cache, live, done, trace)
    t, _, _, live, done, trace = jax.lax.while_loop(open_rows, one, carry)
    at_all = jnp.ones((rows, size), jnp.int32)
    done = best_of(
        done,
        complete(
            jnp.where(t == maximum, live, -jnp.inf),
            maximum * at_all,
            at_all == 0,
            jnp.arange(size) * at_all,
        ),
    )
    there = done.ranking > -jnp.inf
    lengths, finished = jnp.where(there, done.lengths, 0), there & done.finished

    def back(slots, at):
        """From what was kept after step `t` to what it extends."""
        t, tokens, parents, maps = at
        extends = t < lengths - finished  # before its end
        source = jnp.where(extends, _take(parents, slots), slots)
        tokens = jnp.where(extends, _take(tokens, slots), PAD)
        tokens = jnp.where(finished & (t == lengths - 1), options.end, tokens)

        def seen(m):
            m = m[_flat(source, size)].reshape(rows, n_best, *m.shape[1:])
            return jnp.where((t < lengths).reshape(rows, n_best, *[1] * (m.ndim - 2)), m, 0)

        return source, (tokens, jax.tree.map(seen, maps))

    _, (tokens, maps) = jax.lax.scan(back, done.slots, (jnp.arange(maximum), *trace), reverse=True)
    tokens, maps = jax.tree.map(lambda m: jnp.moveaxis(m, 0, 2), (tokens, maps))
    return Decoded(tokens, lengths, finished, done.scores, done.ranking, maps)


def _take(values: jax.Array, chosen: jax.Array) -> jax.Array:
    return jnp.take_along_axis(values, chosen, axis=1)


def _flat(slots: jax.Array, size: int) -> jax.Array:
    """Of each row's slots the indices in an axis of all rows' slots."""
    return (jnp.arange(len(slots))[:, None] * size + slots).reshape(-1)
