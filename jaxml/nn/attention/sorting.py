"""Attention to what a sorting brings near: by hashes, by clusters, by learned blocks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxml.core.checks import require, require_positive_int
from jaxml.nn.attention.masks import check_block
from jaxml.nn.attention.softmax import attention_weights, key_mask, softmax_attention


def lsh_attention(
    q: jax.Array,
    k: jax.Array,  # noqa: ARG001 - the keys are the queries
    v: jax.Array,
    *,
    directions: jax.Array,
    block: int,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Attention among positions of one hash, which near vectors are likely to share.

    Queries serve as keys too, at unit length. In each round positions are sorted by hash and cut
    into blocks; each sees those of its hash in its own block and in the one before.

    Args:
        q: queries `(..., n, d)`.
        k: not used.
        v: values `(..., n, e)`.
        directions: `(rounds, d, half)` random vectors; a hash is the largest of the projections and
            of their negatives, one of `2 half`.
        block: positions, a divisor of n.
        mask: boolean `(..., 1, n)`, the same for every query. What it hides is sorted last: no
            other position finds other blocks for it.

    Returns:
        `(..., n, e)`: the rounds' outputs, each weighted by what its softmax is divided by. With
        one block and `half` 0 every position sees every other.

    Raises:
        ValueError: if the block does not divide n, or the directions have another width.

    Reference:
        Kitaev, Kaiser and Levskaya (2020), arXiv:2001.04451, section 2 (Reformer). Here a position
        sees itself as any other, and a key that several rounds find counts in each.

    >>> x = jnp.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    >>> one = jnp.array([[[1.0], [0.0]]])
    >>> lsh_attention(x, x, jnp.arange(4.0)[:, None], directions=one, block=2)[:, 0]
    Array([1., 2., 1., 2.], dtype=float32)
    """
    n, width = q.shape[-2:]
    blocks = check_block(n, block)
    fits = directions.ndim == 3 and directions.shape[1] == width
    require(fits, f"directions of shape (rounds, {width}, half)", directions.shape)
    seen = key_mask(mask, q, "attention by hashes")
    seen = jnp.broadcast_to(seen, (*q.shape[:-1], 1))
    unit = _unit(q)

    def around(x):  # each block with the one before it; the first has itself alone
        x = x.reshape(*x.shape[:-2], blocks, block, x.shape[-1])
        return jnp.concatenate([jnp.roll(x, 1, axis=-3), x], axis=-2)

    def attend(directions):
        projected = unit @ directions
        sides = jnp.concatenate([projected, -projected], axis=-1)
        hashes = sides.argmax(-1) if sides.shape[-1] else jnp.zeros(q.shape[:-1], int)
        # what is masked comes last, so that it moves no other into another block
        places = jnp.where(seen[..., 0], hashes, sides.shape[-1])
        order = jnp.argsort(places, axis=-1, stable=True)

        def sort(x):
            return jnp.take_along_axis(x, order[..., None], axis=-2)

        own = sort(hashes[..., None])
        queries = sort(q).reshape(*q.shape[:-2], blocks, block, width)
        scores = jnp.einsum("...nd,...md->...nm", queries, around(sort(unit))) * width**-0.5
        alike = own.reshape(*own.shape[:-2], blocks, block, 1) == jnp.swapaxes(around(own), -1, -2)
        first = jnp.arange(blocks)[:, None, None] == 0
        before = jnp.arange(2 * block) < block
        allowed = alike & jnp.swapaxes(around(sort(seen)), -1, -2) & ~(first & before)
        out = attention_weights(scores, allowed) @ around(sort(v))
        total = jax.nn.logsumexp(scores, axis=-1, where=allowed, keepdims=True)
        back = jnp.argsort(order, axis=-1)[..., None]
        return tuple(
            jnp.take_along_axis(x.reshape(*q.shape[:-1], -1), back, axis=-2) for x in (out, total)
        )

    values, totals = jax.lax.map(attend, directions)
    shares = jnp.exp(totals - totals.max(0))
    shares = jnp.where(jnp.isfinite(shares), shares, 0)
    return (shares * values).sum(0) / jnp.maximum(shares.sum(0), jnp.finfo(v.dtype).tiny)


def routing_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    centres: jax.Array,
    members: int,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Attention within clusters: to each centre belong the queries and the keys nearest to it.

    Args:
        q: queries `(..., n, d)`.
        k: keys `(..., m, d)`.
        v: values `(..., m, e)`.
        centres: `(clusters, d)`; the paper moves them along with the queries' and keys' means.
        members: queries, and keys, of each cluster, at most n and m.
        mask: boolean `(..., 1, m)`, the same for every query. Keys that it hides belong to a
            cluster only where too few others do.

    Returns:
        `(..., n, e)`; a query of several clusters has the mean of what it finds in them, one of
        none has zero.

    Raises:
        ValueError: if the centres have another width, or the members are too many.

    Reference:
        Roy et al. (2021), arXiv:2003.05997, section 4.1 and algorithm 1.

    >>> x = jnp.array([[1.0], [-1.0], [1.0]])
    >>> routing_attention(x, x, x, centres=jnp.array([[1.0]]), members=2)[:, 0]
    Array([1., 0., 1.], dtype=float32)
    """
    width = q.shape[-1]
    fits = centres.ndim == 2 and centres.shape[1] == width
    require(fits, f"centres of shape (clusters, {width})", centres.shape)
    members = require_positive_int("members", members)
    most = min(q.shape[-2], k.shape[-2])
    require(members <= most, f"at most {most} members", members)
    seen = key_mask(mask, k, "routing attention")
    seen = jnp.broadcast_to(seen, (*k.shape[:-1], 1))

    def nearest(x, seen: Any = True):  # (..., clusters, members): the places of unit vectors
        near = jnp.einsum("cd,...nd->...cn", centres, _unit(x))
        return jax.lax.top_k(jnp.where(seen, near, -jnp.inf), members)[1]

    def gathered(x, places):  # (..., clusters, members, d)
        flat = jnp.take_along_axis(x, places.reshape(*places.shape[:-2], -1)[..., None], axis=-2)
        return flat.reshape(*places.shape, x.shape[-1])

    of_queries, of_keys = nearest(q), nearest(k, jnp.swapaxes(seen, -1, -2))
    allowed = jnp.swapaxes(gathered(seen, of_keys), -1, -2)
    found = softmax_attention(
        gathered(q, of_queries), gathered(k, of_keys), gathered(v, of_keys), mask=allowed
    )
    flat = of_queries.reshape(*of_queries.shape[:-2], -1)
    there = jax.nn.one_hot(
        flat, q.shape[-2], dtype=v.dtype, axis=-2
    )  # (..., n, clusters · members)
    total = there @ found.reshape(*flat.shape, v.shape[-1])
    return total / jnp.maximum(there.sum(-1), 1)[..., None]


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def sinkhorn(scores: jax.Array, rounds: int = 20) -> jax.Array:
    """Rows and columns normalised in turns, until both sum to one.

    Args:
        scores: `(..., b, b)`, logarithms.
        rounds: of both.

    Returns:
        `(..., b, b)`, nearly doubly stochastic; its columns sum to 1.

    Reference:
        Sinkhorn (1964), The Annals of Mathematical Statistics 35(2).

    >>> sinkhorn(jnp.zeros((2, 2)))
    Array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32)
    """

    def both(_, scores):
        scores = scores - jax.nn.logsumexp(scores, axis=-1, keepdims=True)
        return scores - jax.nn.logsumexp(scores, axis=-2, keepdims=True)

    return jnp.exp(jax.lax.fori_loop(0, require_positive_int("rounds", rounds), both, scores))


def sinkhorn_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    scores: jax.Array,
    rounds: int = 20,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Attention of each block to itself and to a block that a learned sorting brings beside it.

    Args:
        q: queries `(..., n, d)`.
        k: keys `(..., n, d)`.
        v: values `(..., n, e)`.
        scores: `(..., b, b)`, how well block j goes beside block i, as logarithms; b divides n.
        rounds: as in `sinkhorn`.
        mask: boolean `(..., 1, n)`, the same for every query.

    Returns:
        `(..., n, e)`, from `(..., n, 2 n / b)` scores; with one block softmax attention.

    Raises:
        ValueError: if the blocks do not divide n.

    Reference:
        Tay et al. (2020), arXiv:2002.11296, section 3.

    >>> x = jnp.zeros((4, 1))
    >>> swap = jnp.array([[-50.0, 0.0], [0.0, -50.0]])
    >>> sinkhorn_attention(x, x, jnp.arange(4.0)[:, None], scores=swap)[:, 0]
    Array([1.5, 1.5, 1.5, 1.5], dtype=float32)
    """
    n, count = q.shape[-2], scores.shape[-1]
    require(n % count == 0, f"blocks that divide the {n} positions", f"{count} of them")
    seen = key_mask(mask, k, "Sinkhorn attention")
    k, v = jnp.where(seen, k, 0), jnp.where(seen, v, 0)
    moved = sinkhorn(scores, rounds).astype(v.dtype)

    def cut(x):
        return x.reshape(*x.shape[:-2], count, n // count, x.shape[-1])

    def beside(x):
        own = cut(x)
        sorted_ = jnp.einsum("...ij,...jnd->...ind", moved, own)
        return jnp.concatenate([own, sorted_], axis=-2)

    # of a mixture of blocks a place counts if any that it has counts
    allowed = jnp.swapaxes(beside(seen.astype(v.dtype)) > 1e-3, -1, -2)
    found = softmax_attention(cut(q), beside(k), beside(v), mask=allowed)
    return found.reshape(*q.shape[:-1], v.shape[-1])
