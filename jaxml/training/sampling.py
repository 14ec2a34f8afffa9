"""Which examples a step sees: pure functions `(data, key, step) -> batch`.

`key` is the run's own and the same at every step, so a sampler knows which epoch it is in from
`step` alone and has nothing to carry. Each factory returns the same function for the same
arguments, so that building one anew compiles nothing anew.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Algorithm, Batch
from jaxml.training.loop import Sample


@functools.cache
def full() -> Sample:
    """Every step sees all examples.

    Example:
        >>> batch = full()({"x": jnp.arange(3)}, jax.random.key(0), 0)
        >>> batch["x"].tolist()
        [0, 1, 2]
    """

    def sample(data, key, step):  # noqa: ARG001
        return data

    return sample


def epochs(batch_size: int) -> Sample:
    """Batches without replacement: every epoch visits the examples in an order of its own.

    An epoch has `N // batch_size` steps; the `N % batch_size` examples at the end of its order
    are left out of it, others in each epoch.

    Args:
        batch_size: examples in a batch, at most N.

    Example:
        >>> data, key = {"x": jnp.arange(6)}, jax.random.key(0)
        >>> sorted(int(x) for step in range(3) for x in epochs(2)(data, key, step)["x"])
        [0, 1, 2, 3, 4, 5]
    """
    return _epochs(require_positive_int("batch_size", batch_size))


@functools.cache
def _epochs(batch_size: int) -> Sample:
    def sample(data, key, step):
        n = _examples(data)
        require(batch_size <= n, f"batch_size of at most the {n} examples", batch_size)
        per_epoch = n // batch_size
        position = (step % per_epoch) * batch_size + jnp.arange(batch_size)
        index = permute(jax.random.fold_in(key, step // per_epoch), position, n)
        return jax.tree.map(lambda leaf: leaf[index], data)

    return sample


def with_replacement(batch_size: int) -> Sample:
    """Batches of examples drawn independently and uniformly.

    Args:
        batch_size: examples in a batch.

    Example:
        >>> batch = with_replacement(5)({"x": jnp.arange(3)}, jax.random.key(0), 0)
        >>> batch["x"].shape
        (5,)
    """
    return _with_replacement(require_positive_int("batch_size", batch_size))


@functools.cache
def _with_replacement(batch_size: int) -> Sample:
    def sample(data, key, step):
        key = jax.random.fold_in(key, step)
        index = jax.random.randint(key, (batch_size,), 0, _examples(data))
        return jax.tree.map(lambda leaf: leaf[index], data)

    return sample


def buckets(lengths: Any, edges: int | Sequence[int], tokens: int) -> Buckets:
    """Batches of sequences of similar length, without replacement; most padding is cut off.

    Every epoch visits the batches of all buckets, and the examples within each, in an order of
    its own. What is left of a bucket at the end of its order is left out, others in each epoch.
    The mean over each batch counts the same, whatever its bucket.

    Args:
        lengths: `(N,)` whole numbers, the longest of each example's sequences.
        edges: growing whole numbers, the longest sequence of each bucket; a bucket without
            examples is none. Or how many there shall be at most: those with the least padding.
        tokens: how many a batch has, padding included: its rows are `tokens` // its bucket's edge,
            or all that there are.

    Returns:
        A sampler, and its `cut`, which makes an algorithm's steps as small as each bucket.

    Raises:
        ValueError: if the edges do not grow, one does not fit into `tokens`, or the last is below
            the longest sequence.

    >>> import numpy as np
    >>> sample = buckets(np.array([2, 3, 5, 8, 2, 3]), [4, 8], 16)
    >>> sample.edges, sample.rows, sample.steps_per_epoch
    ((4, 8), (4, 2), 2)
    >>> data = {"x": np.ones((6, 8))}
    >>> run = training.fit(sample.cut(algorithm), data, sample, key=key, steps=10)  # doctest: +SKIP
    """
    lengths = np.asarray(lengths)
    whole = lengths.ndim == 1 and len(lengths) > 0 and np.issubdtype(lengths.dtype, np.integer)
    require(whole, "whole lengths of shape (N,)", f"{lengths.dtype} of shape {lengths.shape}")
    require(lengths.min() >= 1, "lengths of at least 1", lengths.min())
    tokens = require_positive_int("tokens", tokens)
    if not isinstance(edges, Sequence):
        edges = _least_padding(lengths, require_positive_int("edges", edges))
    edges = [require_positive_int("an edge", edge) for edge in edges]
    grow = len(edges) > 0 and all(a < b for a, b in itertools.pairwise(edges))
    require(grow, "edges that grow", edges)
    require(edges[-1] >= lengths.max(), f"a last edge of at least {lengths.max()}", edges[-1])
    require(edges[-1] <= tokens, f"tokens for a sequence of {edges[-1]}", tokens)
    bucket = np.searchsorted(edges, lengths)
    counts = np.bincount(bucket, minlength=len(edges))
    kept = [(edge, n) for edge, n in zip(edges, counts, strict=True) if n]
    rows = tuple(min(tokens // edge, int(n)) for edge, n in kept)
    counts = np.array([n for _, n in kept])
    return Buckets(
        edges=tuple(edge for edge, _ in kept),
        rows=rows,
        steps_per_epoch=int((counts // np.array(rows)).sum()),
        _order=np.argsort(bucket, kind="stable").astype(np.int32),
        _counts=counts.astype(np.int32),
    )


def _least_padding(lengths: np.ndarray, count: int) -> list[int]:
    """So many edges, or as many as there are lengths, by dynamic programming."""
    edges, rows = np.unique(lengths, return_counts=True)
    below = np.concatenate([[0], np.cumsum(rows)])
    # sizes[i, j]: of a bucket from the length number i to number j - 1
    sizes = (below[None, 1:] - below[:-1, None]) * edges[None, :].astype(float)
    sizes = np.where(np.tri(len(edges), k=-1), np.inf, sizes)
    best, ends = sizes[0], [[edge] for edge in edges.tolist()]
    for _ in range(min(count, len(edges)) - 1):
        # totals[i, j]: the best up to number i - 1, and one bucket from there to number j
        totals = best[:-1, None] + sizes[1:]
        before = totals.argmin(0)
        found = totals.min(0)
        better = found < best
        ends = [
            [*ends[before[j]], edge] if better[j] else ends[j]
            for j, edge in enumerate(edges.tolist())
        ]
        best = np.minimum(found, best)
    return ends[-1]


@dataclasses.dataclass(frozen=True, eq=False)
class Buckets:
    """A sampler of batches from one bucket each; see `sampling.buckets`.

    Attributes:
        edges: the longest sequence of each bucket.
        rows: examples of a batch of each.
        steps_per_epoch: batches until every bucket has been through.
    """

    edges: tuple[int, ...]
    rows: tuple[int, ...]
    steps_per_epoch: int
    _order: np.ndarray = dataclasses.field(repr=False)
    _counts: np.ndarray = dataclasses.field(repr=False)

    def __call__(self, data: Any, key: jax.Array, step: jax.Array) -> dict[str, Any]:
        """As many rows as the largest batch has, and as `"bucket"` the number of theirs."""
        of = jax.random.fold_in(key, step // self.steps_per_epoch)
        batches = self._counts // np.array(self.rows)
        ends = np.cumsum(batches)
        which = permute(jax.random.fold_in(of, 0), step % self.steps_per_epoch, int(ends[-1]))
        bucket = jnp.searchsorted(ends, which, side="right")
        rows, count = jnp.array(self.rows)[bucket], jnp.array(self._counts)[bucket]
        place = (which - jnp.array(ends - batches)[bucket]) * rows + jnp.arange(max(self.rows))
        # those beyond the batch's own are cut off
        place = permute(jax.random.fold_in(of, bucket + 1), jnp.minimum(place, count - 1), count)
        first = jnp.array(np.cumsum(self._counts) - self._counts)[bucket]
        index = jnp.asarray(self._order)[first + place]
        batch = jax.tree.map(lambda leaf: leaf[index], data)
        return {**batch, "bucket": jnp.full(max(self.rows), bucket)}

    def cut(self, algorithm: Algorithm, names: Sequence[str] = ("x", "y", "mask")) -> Algorithm:
        """The algorithm with steps on batches of this sampler, cut to their bucket's size.

        One program is compiled that has a branch for each bucket. The algorithm's loss, and what
        is made of it, is that of whole sequences.

        Args:
            algorithm: of data that are dicts.
            names: of the arrays of the batch that have positions, as their second axis.
        """
        require(isinstance(algorithm, Algorithm), "an Algorithm", type(algorithm).__name__)

        def step(state: Any, batch: Batch, key: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            require("bucket" in batch, "batches of sampling.buckets", sorted(batch))

            def within(edge, rows):
                part = {
                    name: leaf[:rows, :edge] if name in names else leaf[:rows]
                    for name, leaf in batch.items()
                    if name != "bucket"
                }
                return lambda state: algorithm.step(state, part, key)

            sizes = zip(self.edges, self.rows, strict=True)
            return jax.lax.switch(batch["bucket"][0], [within(*size) for size in sizes], state)

        return algorithm._replace(step=step)


def permute(key: jax.Array, index: Int[Array, "*shape"], n: Any) -> Int[Array, "*shape"]:
    """Where a random permutation of `range(n)` sends each index, without forming the permutation.

    A sort of all N indices at every step would cost more than the step of a small network; this
    costs the same few operations for each index whatever N is.

    Args:
        key: which permutation.
        index: in `range(n)`.
        n: the size of the set, below 2³¹; it may be traced.

    Returns:
        The images, distinct for distinct indices.

    Reference:
        Hoang, Morris and Rogaway 2012, "An enciphering scheme based on a card shuffle"
        (arXiv:1208.1176), the swap-or-not network; the round function is MurmurHash3's finaliser.
    """
    rounds = 32
    pivots, salts = jax.random.bits(key, (2, rounds), jnp.uint32)
    pivots = pivots % jnp.uint32(n)

    def swap_or_not(k, index):
        pivot = pivots[k]
        partner = jnp.where(index <= pivot, pivot - index, pivot + jnp.uint32(n) - index)
        swap = _hash(jnp.maximum(index, partner) ^ salts[k]) & 1
        return jnp.where(swap == 1, partner, index)

    # a loop, not unrolled: it runs as fast and compiles in a tenth of the time
    index = jax.lax.fori_loop(0, rounds, swap_or_not, jnp.asarray(index).astype(jnp.uint32))
    return index.astype(jnp.int32)


def _hash(x: jax.Array) -> jax.Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _examples(data) -> int:
    return jax.tree.leaves(data)[0].shape[0]
