"""What the kinds of decoding share: options, the tokens that may come next, a step's scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.sequence.arrays import is_known, require_lengths, require_token, require_tokens, rows_of

PAD = 0

Step = Callable[[Any, jax.Array, Any], tuple[jax.Array, Any, Any]]
"""`(params, tokens, cache) -> (logits, cache, attention)`."""

Adjust = Callable[[jax.Array], jax.Array]
"""`logits -> logits`, both `(rows, vocabulary)`."""

Prefix = tuple[jax.Array, jax.Array] | None
"""Tokens `(rows, k)` and how many of them each row begins with."""


class Options(NamedTuple):
    """What is fixed when a decoding is compiled."""

    begin: int
    end: int
    maximum: int
    minimum: int
    adjust: Adjust | None
    attention: bool


def checked(
    step: Step,
    params: Any,
    cache: Any,
    *,
    begin: int,
    end: int,
    maximum_length: int,
    minimum_length: int,
    prefix: Any,
    prefix_length: Any,
    adjust: Adjust | None,
    attention: bool,
) -> tuple[Options, Prefix, int]:
    """The options, the prefix and the size of the vocabulary.

    Raises:
        ValueError: if one is not as `greedy` describes it, or the step is not as described in
            `jaxml.sequence.decoding`.
    """
    rows, vocabulary, attends = step_shapes(step, params, cache)
    maximum = require_positive_int("maximum_length", maximum_length)
    minimum = require_positive_int("minimum_length", minimum_length)
    require(minimum <= maximum, f"minimum_length of at most maximum_length, {maximum}", minimum)
    begin = require_token("begin", begin, vocabulary)
    end = require_token("end", end, vocabulary)
    require(end != PAD, "an end other than 0, which is padding", end)
    require(begin != end, "begin and end to be two tokens", f"{begin} for both")
    require(adjust is None or callable(adjust), "adjust as a function of logits", repr(adjust))
    require(attends or not attention, "a step that returns attention, to keep it", "None")
    options = Options(begin, end, maximum, minimum, adjust, bool(attention))
    return options, _prefix(prefix, prefix_length, rows, vocabulary, options), vocabulary


def step_shapes(step: Step, params: Any, cache: Any) -> tuple[int, int, bool]:
    """How many rows and tokens there are, and whether the step tells what it attends to.

    Raises:
        ValueError: if the step or the cache is not as described in `jaxml.sequence.decoding`.
    """
    expected = "a step (params, tokens, cache) -> (logits, cache, attention)"
    require(callable(step), expected, repr(step))
    rows = rows_of("cache", cache)
    outputs: Any = jax.eval_shape(step, params, jax.ShapeDtypeStruct((rows,), jnp.int32), cache)
    triple = isinstance(outputs, tuple) and len(outputs) == 3 and hasattr(outputs[0], "shape")
    require(triple, expected, jax.tree.structure(outputs))
    logits, after, attention = outputs
    shape = logits.shape
    fits = len(shape) == 2 and shape[0] == rows and shape[1] > 1
    require(fits, f"logits of shape ({rows}, vocabulary)", shape)
    of = lambda tree: jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), tree)  # noqa: E731
    require(of(after) == of(cache), f"a step that keeps its cache, {of(cache)}", of(after))
    attends = len(jax.tree.leaves(attention)) > 0
    if attends:
        own = rows_of("attention", attention)
        require(own == rows, f"attention of {rows} rows", own)
    return rows, shape[1], attends


def _prefix(prefix: Any, lengths: Any, rows: int, vocabulary: int, options: Options) -> Prefix:
    if prefix is None:
        require(lengths is None, "a prefix, where there is a prefix_length", None)
        return None
    tokens = require_tokens("prefix", prefix, rows=rows, vocabulary=vocabulary)
    columns = tokens.shape[1]
    given = np.full(rows, columns) if lengths is None else lengths
    lengths = require_lengths("prefix_length", given, rows, columns)
    if is_known(lengths):
        most = int(lengths.max())
        required = f"maximum_length of at least the longest prefix's {most}"
        require(most <= options.maximum, required, options.maximum)
        if is_known(tokens):
            forced = np.asarray(tokens)[np.arange(columns) < np.asarray(lengths)[:, None]]
            free = not np.isin(forced, [PAD, options.end]).any()
            require(free, f"prefixes without padding ({PAD}) and end ({options.end})", prefix)
    return (tokens, lengths) if columns else None


def log_softmax_of(logits: jax.Array, adjust: Adjust | None) -> jax.Array:
    """The log-probabilities of the next token, at least in float32."""
    logits = logits if adjust is None else adjust(logits)
    return jax.nn.log_softmax(logits.astype(score_dtype(logits.dtype)))


def score_dtype(logits: Any) -> Any:
    """The dtype of scores, at least float32."""
    return jnp.promote_types(logits, jnp.float32)


def allowed(t: jax.Array, vocabulary: int, options: Options, prefix: Prefix) -> jax.Array:
    """Which tokens may be emitted as number `t`, from 0: `(rows, vocabulary)` or `(1, vocabulary)`.

    Not padding, no end before the minimal length, and where a prefix goes on only its token.
    """
    tokens = jnp.arange(vocabulary)
    free = (tokens != PAD) & ((tokens != options.end) | (t + 1 >= options.minimum))
    if prefix is None:
        return free[None]
    forced, lengths = prefix
    column = forced[:, jnp.minimum(t, forced.shape[1] - 1)]
    return jnp.where((t < lengths)[:, None], tokens == column[:, None], free)
