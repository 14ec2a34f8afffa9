"""Buckets of sequences: every example once an epoch, and steps that are those of whole rows."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import nn, training
from jaxml.training import fit, fit_many, losses, sampling, supervised

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)
LENGTHS = RANDOM.integers(1, 9, 60)
DATA = {
    "x": RANDOM.normal(size=(60, 8, 2)).astype(np.float32),
    "y": RANDOM.integers(0, 3, (60, 8)),
    "mask": np.arange(8) < LENGTHS[:, None],
}
ROWS = {"row": jnp.arange(60)}
BUCKETS = sampling.buckets(LENGTHS, [3, 5, 6, 8], 24)
PLAIN = supervised(nn.mlp([2, 4, 3]), losses.softmax_cross_entropy, optax.adam(0.1))
CUT = BUCKETS.cut(PLAIN)


def drawn(steps):
    sample = jax.jit(lambda step: BUCKETS(ROWS, KEY, step))
    return [sample(step) for step in steps]


def test_rows_fill_the_tokens():
    assert BUCKETS.edges == (3, 5, 6, 8)
    assert BUCKETS.rows == (8, 4, 4, 3)
    counts = np.histogram(LENGTHS, [0, 4, 6, 7, 9])[0]
    assert BUCKETS.steps_per_epoch == (counts // [8, 4, 4, 3]).sum()


@pytest.mark.parametrize("epoch", [0, 7])
def test_an_epoch_has_each_example_once(epoch):
    rows = []
    for batch in drawn(epoch * BUCKETS.steps_per_epoch + np.arange(BUCKETS.steps_per_epoch)):
        bucket = int(batch["bucket"][0])
        own = np.asarray(batch["row"][: BUCKETS.rows[bucket]])
        before = (0, *BUCKETS.edges)[bucket]
        assert (LENGTHS[own] > before).all()
        assert (LENGTHS[own] <= BUCKETS.edges[bucket]).all()
        rows += own.tolist()
    assert len(rows) == len(set(rows)) >= 60 - sum(BUCKETS.rows)


def test_epochs_have_orders_of_their_own():
    first, second = (
        [int(batch["row"][0]) for batch in drawn(range(i, i + BUCKETS.steps_per_epoch))]
        for i in (0, BUCKETS.steps_per_epoch)
    )
    assert first != second


@pytest.mark.slow
def test_a_step_is_that_on_the_rows_of_its_batch_whole():
    run = fit(CUT, DATA, BUCKETS, key=KEY, steps=9, chunk=9)
    key_init, key_run = jax.random.split(KEY)
    key_data, key_step = jax.random.split(key_run)
    state, step = PLAIN.init(key_init), jax.jit(PLAIN.step)
    for i in range(9):
        batch = BUCKETS(DATA, key_data, jnp.int32(i))
        rows = BUCKETS.rows[int(batch.pop("bucket")[0])]
        whole = {name: leaf[:rows] for name, leaf in batch.items()}
        state, metrics = step(state, whole, jax.random.fold_in(key_step, i))
        np.testing.assert_allclose(run.history["loss"][i], metrics["loss"], rtol=1e-4)
    for ours, theirs in zip(
        jax.tree.leaves(run.state.params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_neither_chunks_nor_resuming_change_a_bit():
    whole = fit(CUT, DATA, BUCKETS, key=KEY, steps=10, chunk=10)
    half = fit(CUT, DATA, BUCKETS, key=KEY, steps=5, chunk=5)
    resumed = fit(CUT, DATA, BUCKETS, key=KEY, steps=5, chunk=5, state=half.state)
    for ours, theirs in zip(
        jax.tree.leaves(resumed.state), jax.tree.leaves(whole.state), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_lanes():
    keys = jax.random.split(KEY, 2)
    lanes = fit_many(CUT, DATA, BUCKETS, keys=keys, steps=6, chunk=6)
    alone = fit(CUT, DATA, BUCKETS, key=keys[1], steps=6, chunk=6)
    np.testing.assert_allclose(lanes.history["loss"][1], alone.history["loss"], rtol=1e-4)


@pytest.mark.slow
def test_the_loss_is_of_whole_sequences():
    state = PLAIN.init(KEY)
    ours = training.full_loss(CUT, state, DATA)(state.params)
    np.testing.assert_array_equal(ours, training.full_loss(PLAIN, state, DATA)(state.params))


def test_empty_buckets_are_none():
    sample = sampling.buckets(np.array([1, 1, 8]), [1, 4, 8], 8)
    assert (sample.edges, sample.rows, sample.steps_per_epoch) == ((1, 8), (2, 1), 2)


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_edges_with_the_least_padding(count):
    edges = sampling.buckets(LENGTHS, count, 999).edges

    def padded(edges):
        return np.array(edges)[np.searchsorted(edges, LENGTHS)].sum()

    every = itertools.combinations(range(1, 8), min(count, 8) - 1)
    assert padded(edges) == min(padded((*some, 8)) for some in every)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(([3, 9], [4, 8], 16), "a last edge of at least 9, got 8"),
     (([3, 5], [8, 4], 16), "edges that grow, got"),
     (([3, 5], [4, 8], 7), "tokens for a sequence of 8, got 7"),
     (([3.0, 5.0], [4, 8], 16), "whole lengths of shape"),
     (([], [4, 8], 16), "whole lengths of shape"),
     (([3, 5], [], 16), "edges that grow"),
     (([3, 5], 0, 16), "edges to be a whole number"),
     (([0, 5], [4, 8], 16), "lengths of at least 1, got 0"),
     (([3, 5], [4, 8], 0), "tokens to be a whole number")],
)  # fmt: skip
def test_bad_input(arguments, message):
    lengths, edges, tokens = arguments
    with pytest.raises(ValueError, match=message):
        sampling.buckets(np.array(lengths), edges, tokens)


def test_other_batches_are_refused():
    with pytest.raises(ValueError, match=r"batches of sampling\.buckets, got"):
        fit(CUT, DATA, sampling.epochs(4), key=KEY, steps=2)
