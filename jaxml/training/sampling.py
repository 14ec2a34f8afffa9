"""Which examples a step sees: pure functions `(data, key, step) -> batch`.

`key` is the run's own and the same at every step, so a sampler knows which epoch it is in from
`step` alone and has nothing to carry. Each factory returns the same function for the same
arguments, so that building one anew compiles nothing anew.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxml.core.checks import require, require_positive_int
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


def permute(key: jax.Array, index: Int[Array, "*shape"], n: int) -> Int[Array, "*shape"]:
    """Where a random permutation of `range(n)` sends each index, without forming the permutation.

    A sort of all N indices at every step would cost more than the step of a small network; this
    costs the same few operations for each index whatever N is.

    Args:
        key: which permutation.
        index: in `range(n)`.
        n: the size of the set, below 2³¹.

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
