"""`from_arrays` and the split underneath it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxml import data

PARTS = ("train", "validation", "test")
fractions = st.tuples(st.floats(0, 0.4), st.floats(0, 0.4))


def rows_of(dataset):
    """The row numbers, which the tests put into x, by split."""
    splits = (getattr(dataset, part) for part in PARTS)
    return [[] if s is None else s["x"].astype(int).tolist() for s in splits]


@settings(max_examples=100, deadline=None, database=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=5, max_size=120),
    fractions=fractions,
    seed=st.integers(0, 2**32),
    as_classes=st.booleans(),
)
def test_splits_partition_the_rows_in_the_fractions_asked_for(labels, fractions, seed, as_classes):
    n, y = len(labels), np.array(labels)
    validation, test = fractions
    dataset = data.from_arrays(
        np.arange(n),
        y,
        validation=validation,
        test=test,
        seed=seed,
        task="classification" if as_classes else "regression",
    )
    rows = rows_of(dataset)
    assert sorted(itertools.chain(*rows)) == list(range(n))
    for chosen, fraction in zip(rows[1:], fractions, strict=True):
        if fraction > 0:
            assert abs(len(chosen) - fraction * n) <= 0.5 or len(chosen) == 1
        else:
            assert not chosen
    for part, chosen in zip(PARTS, rows, strict=True):
        if chosen:
            np.testing.assert_array_equal(getattr(dataset, part)["y"], y[chosen])
    if as_classes:
        classes, sizes = np.unique(y, return_counts=True)
        for chosen in rows:
            share = [np.sum(y[chosen] == c) for c in classes]
            bound = 1 + len(classes) * sizes / n + 1e-9
            assert (np.abs(share - sizes * len(chosen) / n) <= bound).all()


def test_a_rare_class_is_there_to_train_on():
    for seed in range(20):
        y = np.array([0] * 50 + [1])
        assert 1 in data.from_arrays(np.arange(51), y, seed=seed).train["y"]


def test_every_stretch_of_a_stratified_split_has_its_classes_mixed():
    y = np.repeat([0, 1], 500)
    train = data.from_arrays(np.arange(1000), y).train["y"]
    assert all(batch.sum() == 10 for batch in train.reshape(-1, 20))


@pytest.mark.parametrize(
    ("y", "task", "found", "dtype"),
    [
        (np.array([0, 2, 1, 0], np.uint8), None, "classification", np.int32),
        (np.array([True, False, True, True]), None, "classification", np.int32),
        (np.array([0.0, 1.0, 0.5, 2.0]), None, "regression", np.float32),
        ([1, 2, 3, 4], "regression", "regression", np.float32),
        (np.zeros((4, 2, 2)), None, "regression", np.float32),
    ],
)
def test_task_and_types(y, task, found, dtype):
    dataset = data.from_arrays(np.ones((4, 2, 3), np.float64), y, task=task, name="mine")
    assert dataset.train["x"].dtype == np.float32
    assert dataset.train["y"].dtype == dtype
    assert dataset.meta["task"] == found
    assert dataset.meta["name"] == "mine"
    assert dataset.meta["input_shape"] == (2, 3)
    assert dataset.meta.get("classes") == (int(np.max(y)) + 1 if found != "regression" else None)


def test_the_arrays_of_the_caller_are_not_shared():
    x, y = np.ones((5, 1), np.float32), np.zeros(5, np.int32)
    dataset = data.from_arrays(x, y, validation=0, test=0)
    assert not np.shares_memory(dataset.train["x"], x)
    assert not np.shares_memory(dataset.train["y"], y)


X, Y = np.ones((6, 2)), np.array([0, 1, 0, 1, 0, 1])
BAD = X.copy()
BAD[2, 1] = BAD[4, 0] = np.nan


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (BAD, Y, {}, r"x .* got 2 of 12 values NaN, the first at index \(2, 1\)"),
        (X, [0, 1, 2, np.nan, 3, 4], {}, "y .* 1 of 6 values NaN, the first at index 3"),
        (X * [1, np.inf], Y, {}, r"x .* 6 of 12 values infinite, the first at index \(0, 1\)"),
        (X * [1e300, 1], Y, {}, r"6 of 12 values out of float32's range, .* \(0, 0\)"),
        (X, Y[:5], {}, "one length, got 6 and 5 rows"),
        (X[:0], Y[:0], {}, r"at least one value, got shape \(0, 2\)"),
        (1.0, Y, {}, "x .* got a scalar"),
        (X, 1, {}, "y .* got a scalar"),
        (X, list("ababab"), {}, "y to hold real numbers, got dtype <U1"),
        (X.astype(object), Y, {}, "x to hold real numbers, got dtype object"),
        (X * 1j, Y, {}, "got dtype complex128"),
        (X, Y - 1, {}, "at least 0, got the label -1"),
        (X, Y + 2**40, {}, "got the label 1099511627777"),
        (X, Y[:, None], {}, r"shape \(N,\) .* got shape \(6, 1\)"),
        (X, Y * 0.5, {"task": "classification"}, "integer labels .* got dtype float64"),
        (X, Y, {"task": "ranking"}, "task .* classification, regression, got 'ranking'"),
        (X, Y, {"validation": 0.5, "test": 0.5}, "train on, got validation=0.5 and test=0.5 of 6"),
        (X[:2], Y[:2], {}, "train on, got .* of 2 rows"),
        (X, Y, {"validation": -0.1}, "validation .* got -0.1"),
        (X, Y, {"test": 1}, "test to be a fraction below 1, got 1"),
        (X, Y, {"test": True}, "test .* got True"),
        (X, Y, {"seed": 0.5}, "seed .* got 0.5"),
    ],
)
def test_what_from_arrays_refuses(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(x, y, **options)


ROWS = np.arange(200.0)[:, None]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.arange(200) * 7 % 128_334, "given for y, got 200 different integers in 200 rows"),
        (np.arange(200) // 2 + 10**6, "given for y, got 100 different integers in 200 rows"),
        (np.arange(200) % 3 / 1.0, "got 3 whole numbers again and again, 0 to 2"),
        (np.arange(200) % 2 * 2.0 - 1, "got 2 whole numbers again and again, -1 to 1"),
        (np.eye(4)[np.arange(200) % 4], r"one-hot labels \(y.argmax\(1\)"),
    ],
)
def test_a_task_that_the_targets_do_not_tell(y, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(ROWS, y)
    assert data.from_arrays(ROWS, y, task="regression").meta["task"] == "regression"


def test_whole_floats_are_labels_where_the_caller_says_so():
    got = data.from_arrays(ROWS, np.arange(200) % 3 / 1.0, task="classification")
    assert got.meta["classes"] == 3
    assert got.train["y"].dtype == np.int32


def test_few_rows_a_class_are_warned_of():
    with pytest.warns(UserWarning, match="y is taken for .* 25 different integers in 200 rows"):
        assert data.from_arrays(ROWS, np.arange(200) % 25).meta["classes"] == 25


def test_labels_with_great_gaps():
    y = np.arange(200) % 2
    y[7] = 2_000_000_000
    for options in ({}, {"task": "classification"}):
        with pytest.raises(ValueError, match="got 3 different ones up to 2,000,000,000"):
            data.from_arrays(ROWS, y, **options)
    # of 100 classes a few may be had
    assert data.from_arrays(ROWS, y.clip(0, 1) * 99).meta["classes"] == 100


SPREAD = np.random.default_rng(0).normal(size=200_000)


@pytest.mark.parametrize(
    "column",
    [
        10**18 + np.arange(1000),
        2.0**24 + np.arange(1000),
        np.array([2**24, 2**24 + 1] * 500),
        1_700_000_000 + np.arange(1000) * 7,  # seconds, of which float32 has every 128th
        1e6 + SPREAD[:1000],
        np.uint64(2**63) + np.arange(1000, dtype=np.uint64),
    ],
)
def test_values_that_float32_merges_are_refused_by_column(column):
    other = np.zeros(1000)
    with pytest.raises(ValueError, match=r"tell apart in column 1 of x .* which become \d+"):
        data.from_arrays(np.stack([other, column.astype(column.dtype)], 1, dtype=column.dtype,
                                  casting="unsafe"), other)  # fmt: skip
    with pytest.raises(ValueError, match="tell apart in y"):
        data.from_arrays(other, column, task="regression")


@pytest.mark.parametrize(
    "column",
    [
        SPREAD,  # of which two thousand fall together
        np.exp(10 * SPREAD[:1000]),
        np.full(1000, 0.1),
        np.arange(1000) * 10**6,
        101_325 + 500 * SPREAD[:1000],
        np.float32(2**24) + np.arange(1000, dtype=np.float32),  # what it has lost it came without
    ],
)
def test_numbers_that_lose_nothing_of_note_are_taken(column):
    rounded = column.astype(np.float32)
    got = data.from_arrays(column, column, task="regression", validation=0, test=0)
    np.testing.assert_array_equal(np.sort(got.train["y"]), np.sort(rounded))
