"""Attention to chosen positions against softmax attention under the same mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.nn import attention


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def qkv(n=12, d=4):
    return normal(2, n, d), normal(2, n, d, seed=1), normal(2, n, 3, seed=2)


def softmax(q, k, v, seen):
    return attention.softmax_attention(q, k, v, mask=jnp.asarray(seen))


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1, 4])
def test_blocks_are_the_masked_softmax(first):
    q, k, v = qkv()
    blocks = np.array([[1, 1, -1], [0, 2, 1], [2, -1, -1], [3, 0, -1]])
    mask = attention.padding_mask(jnp.array([10]), 12)[0]
    seen = np.zeros((12, 12), bool)
    for i, row in enumerate(blocks):
        for j in row:
            if 0 <= j < 4:
                seen[3 * i : 3 * i + 3, 3 * j : 3 * j + 3] = True
    seen |= np.asarray(attention.global_mask(12, first)) if first else False
    found = attention.block_attention(q, k, v, blocks=blocks, first=first, mask=mask)
    np.testing.assert_allclose(found, softmax(q, k, v, seen & np.asarray(mask)), rtol=1e-10)


@pytest.mark.slow
def test_bigbird():
    q, k, v = qkv(24)
    blocks = attention.bigbird_blocks(jax.random.key(0), 24, 2, random=2)
    assert blocks.shape == (12, 5)
    drawn = attention.random_blocks(jax.random.key(0), 24, 2, 2)
    near = attention.block_mask(np.arange(12)[:, None] + [-1, 0, 1], 24, 2)
    seen = near | attention.block_mask(drawn, 24, 2) | attention.global_mask(24, 2)
    found = attention.block_attention(q, k, v, blocks=blocks, first=2)
    np.testing.assert_allclose(found, softmax(q, k, v, seen), rtol=1e-10)
    assert float(seen.mean()) < 0.6


@pytest.mark.slow
def test_one_of_everything_is_softmax_attention():
    q, k, v = qkv()
    known = attention.softmax_attention(q, k, v)
    every = jnp.arange(4)[None].repeat(4, 0)
    sinkhorn = attention.sinkhorn_attention(q, k, v, scores=jnp.zeros((1, 1)))
    routed = attention.routing_attention(q, k, v, centres=normal(1, 4, seed=5), members=12)
    for found in (attention.block_attention(q, k, v, blocks=every), sinkhorn, routed):
        np.testing.assert_allclose(found, known, rtol=1e-10)
    unit = q / jnp.linalg.norm(q, axis=-1, keepdims=True)
    hashed = attention.lsh_attention(q, k, v, directions=jnp.zeros((2, 4, 0)), block=12)
    np.testing.assert_allclose(hashed, attention.softmax_attention(q, unit, v), rtol=1e-10)


def test_hashes_against_a_loop():
    q, _, v = qkv()
    directions = normal(1, 4, 2, seed=7)
    found = attention.lsh_attention(q, q, v, directions=directions, block=4)
    unit = np.asarray(q / jnp.linalg.norm(q, axis=-1, keepdims=True))
    for head in range(2):
        projected = unit[head] @ np.asarray(directions[0])
        hashes = np.concatenate([projected, -projected], 1).argmax(1)
        order = np.argsort(hashes, kind="stable")
        rank = np.argsort(order)
        block = rank // 4
        seen = (hashes[:, None] == hashes) & np.isin(block[:, None] - block, (0, 1))
        scores = np.asarray(q[head]) @ unit[head].T / 2
        raised = np.exp(scores) * seen
        known = raised / raised.sum(1, keepdims=True) @ np.asarray(v[head])
        np.testing.assert_allclose(found[head], known, rtol=1e-10)


@pytest.mark.slow
def test_many_hashes_come_nearer():
    q, k, v = normal(1, 64, 4), None, normal(1, 64, 3, seed=2)
    q = 3 * q
    known = attention.softmax_attention(q, q / jnp.linalg.norm(q, axis=-1, keepdims=True), v)
    off = [
        float(abs(attention.lsh_attention(
            q, k, v, directions=normal(rounds, 4, 2, seed=7), block=16
        ) - known).mean())
        for rounds in (1, 16)
    ]  # fmt: skip
    assert off[1] < 0.7 * off[0]


def test_clusters_against_a_loop():
    q, k, v = qkv()
    centres = normal(3, 4, seed=5)
    found = attention.routing_attention(q, k, v, centres=centres, members=5)
    for head in range(2):
        total, count = np.zeros((12, 3)), np.zeros(12)
        for centre in np.asarray(centres):
            nearest = [
                np.argsort(-(np.asarray(x[head]) @ centre) / np.linalg.norm(x[head], axis=1))[:5]
                for x in (q, k)
            ]
            own, others = nearest
            scores = np.asarray(q[head])[own] @ np.asarray(k[head])[others].T / 2
            raised = np.exp(scores)
            total[own] += raised / raised.sum(1, keepdims=True) @ np.asarray(v[head])[others]
            count[own] += 1
        known = total / np.maximum(count, 1)[:, None]
        np.testing.assert_allclose(found[head], known, rtol=1e-10, atol=1e-12)


def test_sinkhorn_is_doubly_stochastic():
    moved = attention.sinkhorn(normal(3, 6, 6), 200)
    np.testing.assert_allclose(moved.sum(-1), 1, rtol=1e-8)
    np.testing.assert_allclose(moved.sum(-2), 1, rtol=1e-8)
    assert moved.min() > 0


@pytest.mark.slow
def test_a_permutation_brings_blocks_beside_each_other():
    q, k, v = qkv()
    swap = jnp.where(jnp.eye(4)[jnp.array([2, 3, 0, 1])] > 0, 0.0, -1e3)
    found = attention.sinkhorn_attention(q, k, v, scores=swap)
    blocks = jnp.array([[0, 2], [1, 3], [2, 0], [3, 1]])
    np.testing.assert_allclose(found, attention.block_attention(q, k, v, blocks=blocks), rtol=1e-10)


def test_hidden_keys_change_nothing():
    q, k, v = qkv()
    mask = attention.padding_mask(jnp.array([7]), 12)[0]
    other = k.at[:, 7:].set(50.0), v.at[:, 7:].set(-50.0)
    blocks = jnp.array([[0, 3], [1, 2], [2, 3], [0, 1]])
    for function in (
        lambda q, k, v: attention.block_attention(q, k, v, blocks=blocks, mask=mask),
        lambda q, k, v: attention.sinkhorn_attention(
            q, k, v, scores=normal(4, 4, seed=3), mask=mask
        ),
    ):
        np.testing.assert_array_equal(function(q, k, v), function(q, *other))
    centres = normal(3, 4, seed=5)
    routed = [
        attention.routing_attention(q, *others, centres=centres, members=5, mask=mask)
        for others in ((k, v), other)
    ]
    np.testing.assert_array_equal(*routed)
    assert abs(routed[0] - attention.routing_attention(q, k, v, centres=centres, members=5)).max()


@pytest.mark.slow
def test_hidden_positions_move_no_other_into_another_block():
    q, k, v = qkv()
    mask, directions = attention.padding_mask(jnp.array([7]), 12)[0], normal(3, 4, 2, seed=7)
    found = [
        attention.lsh_attention(
            q.at[:, 7:].multiply(sign), k, v, directions=directions, block=4, mask=mask
        )[:, :7]
        for sign in (1, -1)
    ]
    np.testing.assert_array_equal(*found)


def test_a_synthesizer_is_given_its_scores():
    v, scores = normal(5, 3), normal(4, 5, seed=1)
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(
        attention.synthesizer_attention(v, scores=scores), weights @ v, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: attention.block_attention(*qkv(), blocks=np.zeros((5, 1), int)),
            "blocks that divide the 12 positions, got 5 of them",
        ),
        (
            lambda: attention.block_attention(*qkv(), blocks=np.zeros((4, 1), int), first=13),
            "0 to 12 positions that see all, got 13",
        ),
        (
            lambda: attention.block_attention(*qkv(), blocks=np.full((4, 1), 4)),
            "blocks numbered from -1 to 3, got 4 to 4",
        ),
        (lambda: attention.bigbird_blocks(jax.random.key(0), 12, 2, window=2), "odd window, got 2"),
        (
            lambda: attention.lsh_attention(*qkv(), directions=normal(1, 3, 2), block=4),
            r"directions of shape \(rounds, 4, half\), got \(1, 3, 2\)",
        ),
        (
            lambda: attention.lsh_attention(*qkv(), directions=normal(1, 4, 2), block=5),
            "a block that divides the 12 positions, got 5",
        ),
        (
            lambda: attention.routing_attention(*qkv(), centres=normal(2, 4), members=13),
            "at most 12 members, got 13",
        ),
        (
            lambda: attention.routing_attention(*qkv(), centres=normal(2, 3), members=3),
            r"centres of shape \(clusters, 4\), got \(2, 3\)",
        ),
        (
            lambda: attention.sinkhorn_attention(*qkv(), scores=normal(5, 5)),
            "blocks that divide the 12 positions, got 5 of them",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
