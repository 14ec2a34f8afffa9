"""Samplers: exact counts, and statistics that a bad shuffle fails."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxml.training import sampling

KEY = jax.random.key(0)
# a traced n and a padded index: one compilation serves every size
_padded = jax.jit(lambda seed, n: sampling.permute(jax.random.key(seed), jnp.arange(600), n))


@given(n=st.integers(1, 600), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=200, deadline=None)
def test_permute_is_a_bijection(n, seed):
    images = np.asarray(_padded(seed, n))[:n]
    assert sorted(images) == list(range(n))


@pytest.mark.parametrize("n", [2**20 + 7, 2**31 - 1])
def test_permute_of_large_sets_is_into_and_distinct(n):
    index = np.unique(np.random.default_rng(0).integers(0, n, 5000))
    images = np.asarray(sampling.permute(KEY, index, n))
    assert images.dtype == np.int32
    assert images.min() >= 0
    assert images.max() < n
    assert len(np.unique(images)) == len(index)
    # spread over the whole set: a cipher that overflows would crowd one end
    assert stats.kstest(images / n, "uniform").pvalue > 1e-3


def permutations(n, seeds=6000):
    """Shape (seeds, n): where each index goes under each key."""
    keys = jax.random.split(KEY, seeds)
    return np.asarray(jax.vmap(lambda key: sampling.permute(key, jnp.arange(n), n))(keys))


def p_landing(images):
    """Least p-value of χ² tests that each item lands uniformly, Bonferroni-corrected."""
    n = images.shape[1]
    counts = [np.bincount(column, minlength=n) for column in images.T]
    return n * min(stats.chisquare(count).pvalue for count in counts)


def p_neighbours(images):
    """The same for the places of two adjacent items, which are to be uniform over all pairs."""
    n = images.shape[1]
    apart = ~np.eye(n, dtype=bool).reshape(-1)
    p = []
    for i in range(n - 1):
        pairs = np.bincount(images[:, i] * n + images[:, i + 1], minlength=n * n)
        p.append(stats.chisquare(pairs[apart]).pvalue)
    return (n - 1) * min(p)


@pytest.mark.parametrize("n", [2, 5, 8, 13])
def test_items_and_neighbours_land_uniformly(n):
    images = permutations(n)
    assert p_landing(images) > 1e-2
    assert p_neighbours(images) > 1e-2


def test_all_permutations_of_four_are_equally_frequent():
    codes = permutations(4) @ 4 ** np.arange(4)
    _, counts = np.unique(codes, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-2


def test_bad_shuffles_fail_these_tests():
    """A rotation passes the first test and fails the second; a few swaps fail the first."""
    rng, n = np.random.default_rng(0), 8
    rotations = (np.arange(n) + rng.integers(0, n, (6000, 1))) % n
    assert p_landing(rotations) > 1e-2
    assert p_neighbours(rotations) < 1e-12
    swapped = np.tile(np.arange(n), (6000, 1))
    for row in swapped:
        for i, j in rng.integers(0, n, (6, 2)):
            row[[i, j]] = row[[j, i]]
    assert p_landing(swapped) < 1e-12


def indices(sampler, n, steps, key=KEY):
    """What `steps` steps see of `range(n)`, shape (steps, batch)."""
    data = {"x": jnp.arange(n), "y": -jnp.arange(n)}
    batch = jax.jit(jax.vmap(lambda step: sampler(data, key, step)))(jnp.arange(steps))
    np.testing.assert_array_equal(batch["x"], -batch["y"])  # rows stay together
    return np.asarray(batch["x"])


@pytest.mark.parametrize(("n", "size"), [(12, 4), (14, 4), (5, 5), (7, 1), (9, 5)])
def test_an_epoch_visits_every_example_at_most_once(n, size):
    per_epoch = n // size
    seen = indices(sampling.epochs(size), n, 6 * per_epoch).reshape(6, per_epoch * size)
    for epoch in seen:
        assert len(set(epoch)) == per_epoch * size  # all of them where size divides n
    assert len({tuple(epoch) for epoch in seen}) == 6  # an order of its own
    if n % size:
        left_out = {frozenset(range(n)) - frozenset(epoch) for epoch in seen}
        assert len(left_out) > 1  # others in each epoch


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [sampling.epochs(5), sampling.with_replacement(5)])
def test_order_follows_key_and_step_alone(sampler):
    first = indices(sampler, 40, 16)
    np.testing.assert_array_equal(first[3:5], indices(sampler, 40, 5)[3:])
    assert (first != indices(sampler, 40, 16, jax.random.key(1))).mean() > 0.9
    assert len({tuple(batch) for batch in first}) == 16


def test_epochs_mix_every_pair_of_examples():
    """Batches of two from six: over the epochs each of the 15 pairs is equally frequent."""
    batches = np.sort(indices(sampling.epochs(2), 6, 3 * 2000).reshape(-1, 2), -1)
    _, counts = np.unique(batches @ [6, 1], return_counts=True)
    assert len(counts) == 15
    assert stats.chisquare(counts).pvalue > 1e-2


def test_with_replacement_is_uniform_and_independent():
    seen = indices(sampling.with_replacement(7), 5, 3000)
    assert stats.chisquare(np.bincount(seen.reshape(-1), minlength=5)).pvalue > 1e-2
    pairs = np.bincount(seen[:, 0] * 5 + seen[:, 1], minlength=25)
    assert stats.chisquare(pairs).pvalue > 1e-2


def test_with_replacement_may_exceed_the_data():
    assert indices(sampling.with_replacement(9), 2, 3).shape == (3, 9)


def test_full_is_everything_in_order():
    np.testing.assert_array_equal(indices(sampling.full(), 6, 3), np.tile(np.arange(6), (3, 1)))


def test_one_function_for_the_same_arguments():
    """`fit` keys its compiled functions on the sampler."""
    assert sampling.full() is sampling.full()
    assert sampling.epochs(4) is sampling.epochs(np.int64(4))
    assert sampling.epochs(4) is not sampling.epochs(5)
    assert sampling.with_replacement(4) is sampling.with_replacement(batch_size=4)
