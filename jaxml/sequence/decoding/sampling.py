"""Sequences drawn from the network's distribution, or from one that is sharpened or cut."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.sequence.arrays import is_known
from jaxml.sequence.decoding.one_by_one import emit
from jaxml.sequence.decoding.results import Decoded
from jaxml.sequence.decoding.steps import Adjust, Step, checked


def sample(
    step: Step,
    params: Any,
    cache: Any,
    *,
    key: jax.Array,
    begin: int,
    end: int,
    maximum_length: int,
    minimum_length: int = 1,
    prefix: Any = None,
    prefix_length: Any = None,
    adjust: Adjust | None = None,
    attention: bool = False,
    temperature: Any = 1.0,
    top_k: int | None = None,
    top_p: Any = None,
) -> Decoded:
    """Draw each token, and go on from it.

    Several samples of one input are several rows of it.

    Args:
        step: as in `greedy`, and so all up to `attention`.
        params: the network's parameters.
        cache: as it is before the first token.
        key: `jax.random.key(seed)`.
        begin: fed first.
        end: of a sequence.
        maximum_length: end included.
        minimum_length: end included.
        prefix: first tokens.
        prefix_length: of each row.
        adjust: `logits -> logits`.
        attention: whether to keep it.
        temperature: which logits are divided by, above 0: towards 0 the likeliest token is taken.
        top_k: only the k likeliest tokens are drawn from.
        top_p: only the likeliest tokens are drawn from that together have at least this probability
            (of those that the temperature and `top_k` leave), as few as suffice; in (0, 1].

    Returns:
        One sequence a row. Its score is its log-probability by the network: temperature, `top_k`
        and `top_p` are not in it.

    Raises:
        ValueError: as `greedy`; for a temperature, `top_k` or `top_p` that is not as described.

    Reference:
        Holtzman et al. (2020), arXiv:1904.09751 (`top_p`, nucleus sampling); Fan et al. (2018),
        arXiv:1805.04833 (`top_k`).

    Example:
        >>> def step(params, tokens, cache):
        ...     return params[tokens], cache, None
        >>> table = jnp.log(jnp.array([[0, 0, 0, 1], [0, 0, 0.4, 0.6], [0, 0, 0, 1], [0, 0, 1, 0]]))
        >>> drawn = sample(step, table, jnp.zeros(999), key=jax.random.key(0), begin=1, end=2,
        ...                maximum_length=4)
        >>> round(float((drawn.tokens[:, 0] == 3).mean()), 1)
        0.6
    """
    options, forced, vocabulary = checked(
        step, params, cache, begin=begin, end=end, maximum_length=maximum_length,
        minimum_length=minimum_length, prefix=prefix, prefix_length=prefix_length, adjust=adjust,
        attention=attention,
    )  # fmt: skip
    if is_known(temperature):
        valid = np.ndim(temperature) == 0 and 0 < temperature < np.inf
        require(valid, "a temperature above 0", temperature)
    if top_k is not None:
        top_k = require_positive_int("top_k", top_k)
        require(top_k <= vocabulary, f"top_k of at most the vocabulary's {vocabulary}", top_k)
    if top_p is not None and is_known(top_p):
        valid = np.ndim(top_p) == 0 and 0 < top_p <= 1
        require(valid, "top_p above 0 and at most 1", top_p)
    return _sample(step, params, cache, options, forced, key, temperature, top_k, top_p)


@functools.partial(jax.jit, static_argnames=("step", "options", "top_k"))
def _sample(step, params, cache, options, prefix, key, temperature, top_k, top_p):
    def drawn(scores, t):
        scores = cut(scores / temperature, top_k, top_p)
        return jax.random.categorical(jax.random.fold_in(key, t), scores)

    return emit(step, params, cache, drawn, options, prefix)


def cut(logits: jax.Array, top_k: int | None, top_p: Any) -> jax.Array:
    """The logits of the likeliest tokens, −∞ at the others; see `sample`."""
    if top_k is None and top_p is None:
        return logits
    order = jnp.argsort(logits, axis=-1, descending=True)
    sorted_ = jnp.take_along_axis(logits, order, axis=-1)
    if top_k is not None:
        sorted_ = sorted_.at[..., top_k:].set(-jnp.inf)
    if top_p is not None:
        probabilities = jax.nn.softmax(sorted_)
        before = jnp.cumsum(probabilities, -1) - probabilities
        sorted_ = jnp.where((before < top_p) | (top_p >= 1), sorted_, -jnp.inf)
    return jnp.take_along_axis(sorted_, jnp.argsort(order, axis=-1), axis=-1)
