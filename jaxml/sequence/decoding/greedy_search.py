"""The likeliest next token, again and again."""

from __future__ import annotations

import functools
from typing import Any

import jax

from jaxml.sequence.decoding.one_by_one import emit
from jaxml.sequence.decoding.results import Decoded
from jaxml.sequence.decoding.steps import Adjust, Step, checked


def greedy(
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
) -> Decoded:
    """Take the likeliest token, and go on from it.

    Args:
        step: the network, see `jaxml.sequence.decoding`.
        params: its parameters.
        cache: as it is before the first token; its first axis is that of the rows.
        begin: the token that is fed first; it is not part of the sequences.
        end: the token that a sequence ends with. Padding, 0, is never emitted before it.
        maximum_length: of a sequence, its end included.
        minimum_length: likewise; the end is not taken before.
        prefix: tokens that the sequences begin with, behind `begin`. They count in the scores.
        prefix_length: how many of them each row begins with, all by default.
        adjust: `logits -> logits`, to forbid tokens (−∞) or favour others: what it returns is
            decoded from, and scored by, as if the step had returned it. Recognised by its identity
            as the step is.
        attention: whether to keep what the step attends to at each token.

    Returns:
        One sequence a row.

    Raises:
        ValueError: if an argument is not as described, begin and end are one token or the maximal
            length is below the minimal one or that of a prefix.

    Example:
        >>> import jax.numpy as jnp
        >>> def step(params, tokens, cache):  # a table of what follows what
        ...     return params[tokens], cache, None
        >>> table = jnp.log(jnp.array([[0, 0, 0, 1], [0, 0, 0.4, 0.6], [0, 0, 0, 1], [0, 0, 1, 0]]))
        >>> greedy(step, table, jnp.zeros(1), begin=1, end=2, maximum_length=4).tokens
        Array([[3, 2, 0, 0]], dtype=int32)
    """
    options, forced, _ = checked(
        step, params, cache, begin=begin, end=end, maximum_length=maximum_length,
        minimum_length=minimum_length, prefix=prefix, prefix_length=prefix_length, adjust=adjust,
        attention=attention,
    )  # fmt: skip
    return _greedy(step, params, cache, options, forced)


@functools.partial(jax.jit, static_argnames=("step", "options"))
def _greedy(step, params, cache, options, prefix):
    return emit(step, params, cache, lambda scores, _: scores.argmax(-1), options, prefix)
