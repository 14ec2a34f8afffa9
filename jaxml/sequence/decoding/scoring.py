"""How likely given sequences are."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.core.checks import require
from jaxml.sequence.arrays import require_lengths, require_token, require_tokens
from jaxml.sequence.decoding.steps import (
    Adjust,
    Step,
    log_softmax_of,
    step_shapes,
)


def log_probabilities(
    step: Step,
    params: Any,
    cache: Any,
    tokens: Any,
    lengths: Any,
    *,
    begin: int,
    adjust: Adjust | None = None,
) -> Float[Array, "rows k"]:
    """The log-probability of each token of given sequences; differentiable in the parameters.

    Args:
        step: as in `greedy`.
        params: the network's parameters.
        cache: as it is before the first token.
        tokens: the sequences, each behind `begin`, with their ends if these are to count.
        lengths: how many tokens of each row count.
        begin: the token that is fed first.
        adjust: as in `greedy`.

    Returns:
        In nats, 0 behind the end. The sum along a row is the `scores` of what was decoded.

    Raises:
        ValueError: if an argument is not as described.

    Example:
        >>> def step(params, tokens, cache):
        ...     return params[tokens], cache, None
        >>> table = jnp.log(jnp.array([[0, 0, 0, 1], [0, 0, 0.4, 0.6], [0, 0, 0, 1], [0, 0, 1, 0]]))
        >>> found = log_probabilities(step, table, jnp.zeros(1), [[3, 2]], [2], begin=1)
        >>> (100 * jnp.exp(found)).round()
        Array([[ 60., 100.]], dtype=float32)
    """
    rows, vocabulary, _ = step_shapes(step, params, cache)
    tokens = require_tokens("tokens", tokens, rows=rows, vocabulary=vocabulary)
    require(tokens.shape[1] > 0, "at least one token", tokens.shape)
    lengths = require_lengths("lengths", lengths, rows, tokens.shape[1])
    begin = require_token("begin", begin, vocabulary)
    return _log_probabilities(step, params, cache, tokens, lengths, begin, adjust)


@functools.partial(jax.jit, static_argnames=("step", "begin", "adjust"))
def _log_probabilities(step, params, cache, tokens, lengths, begin, adjust):
    def one(carry, token):
        fed, cache = carry
        logits, cache, _ = step(params, fed, cache)
        scores = log_softmax_of(logits, adjust)
        return (token, cache), jnp.take_along_axis(scores, token[:, None], axis=1)[:, 0]

    first = jnp.full(len(tokens), begin, jnp.int32)
    _, found = jax.lax.scan(one, (first, cache), tokens.T)
    return jnp.where(jnp.arange(tokens.shape[1]) < lengths[:, None], found.T, 0)
