"""Decoding of many sources by a network, a batch at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Batch, Params
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.sequence.decoding.greedy_search import greedy
from jaxml.sequence.decoding.results import Decoded


def decode(
    network: Seq2Seq,
    params: Params,
    data: Batch,
    search: Callable[..., Decoded] = greedy,
    *,
    maximum_length: int,
    batch_size: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Decoded:
    """What the network puts out for each source.

    Args:
        network: from sequences to sequences.
        params: its parameters.
        data: with `"x"` and, where they are padded, `"x_length"`.
        search: of `sequence.decoding`: `greedy`, `beam`, or `sample`.
        maximum_length: of what is put out, its end included.
        batch_size: sources at a time.
        on_progress: called with how many sources are done, and of how many.
        **options: of the search: `begin`, `end`, `size`, `attention`, ...; those with one value a
            row (`prefix`) are for all rows of `data` at once, which must then fit one batch.

    Returns:
        NumPy arrays, with a row for each source.

    Raises:
        ValueError: as the search; for data without sources.

    >>> import jax
    >>> from jaxml import nn
    >>> network = nn.transformer(5, 7, width=8, layers=1, heads=2)
    >>> params, _ = network.init(jax.random.key(0))
    >>> found = decode(network, params, {"x": np.ones((3, 4), int)}, begin=5, end=6,
    ...                maximum_length=9)
    >>> found.tokens.shape
    (3, 9)
    """

    def one(x, x_length, _):
        cache = network.start(_encoded(network.encode, params, x, x_length), maximum_length)
        return search(network.step, params, cache, maximum_length=maximum_length, **options)

    return in_batches(one, data, batch_size, on_progress)


def in_batches(
    decoded: Callable[[Any, Any, int], Decoded],
    data: Batch,
    batch_size: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Decoded:
    """What is decoded of all sources, of which so many are taken at a time.

    Args:
        decoded: of the sources of a batch, their lengths (or None) and the batch's first row.
        data: as in `decode`, and so what follows.
        batch_size: sources at a time.
        on_progress: called with how many are done, and of how many.

    Raises:
        ValueError: for data without sources.
    """
    require("x" in data, "data with sources 'x'", sorted(data))
    x, x_length = np.asarray(data["x"]), data.get("x_length")
    require(len(x) > 0, "at least one source", len(x))
    size = min(require_positive_int("batch_size", batch_size), len(x))
    found = []
    for start in range(0, len(x), size):
        # the last batch begins early enough to be whole
        first = min(start, len(x) - size)
        rows = slice(first, first + size)
        one = decoded(x[rows], None if x_length is None else np.asarray(x_length)[rows], start)
        found.append(jax.tree.map(lambda leaf, cut=start - first: np.asarray(leaf)[cut:], one))
        if on_progress is not None:
            on_progress(first + size, len(x))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


@functools.partial(jax.jit, static_argnames="encode")
def _encoded(encode, params, x, x_length):
    return encode(params, x, x_length)
