"""Series of numbers as rows of lags."""

import numpy as np
import pytest

from jaxml import data

DAYS = np.arange("2026-01-01", "2026-02-10", dtype="datetime64[D]")


def test_rows_are_what_came_before_in_order():
    series = data.from_series(np.arange(40.0), lags=7, dates=DAYS, validation=0.1, test=0.3)
    assert series.meta["counts"] == {"train": 20, "validation": 3, "test": 10}
    assert series.meta["span"] == ("2026-01-01", "2026-02-09")
    start = 0
    for split in series.splits.values():
        for x, y in zip(split["x"], split["y"], strict=True):
            np.testing.assert_array_equal([*x, *y], np.arange(start, start + 8))
            start += 1
    assert start == 33


def test_splits_of_no_rows_are_none():
    series = data.from_series(range(5), lags=4, validation=0, test=0)
    assert series.validation is None
    assert series.test is None
    np.testing.assert_array_equal(series.train["y"], [[4]])


def test_is_chicago_s_ridership():
    riders = data.load("chicago_ridership", lags=7)
    x = np.concatenate([split["x"] for split in riders.splits.values()])
    y = np.concatenate([split["y"] for split in riders.splits.values()])
    series = data.from_series(np.concatenate([x[0], y[:, 0]]), lags=7, validation=0, test=0)
    np.testing.assert_array_equal(series.train["x"], x)
    np.testing.assert_array_equal(series.train["y"], y)


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (np.insert(DAYS[:-1], 3, DAYS[2]), "got 2026-01-03 twice"),
        (np.delete(np.append(DAYS, DAYS[-1] + 1), 5), "got 2026-01-05 followed by 2026-01-07"),
        (DAYS[::-1], "got 2026-02-09 followed by 2026-02-08, and 38 more"),
        (np.repeat(DAYS[:20], 2), "got 2026-01-01 twice, and 19 more"),
        (np.repeat(DAYS[:1], 40), "got 2026-01-01 twice, and 38 more"),
        (DAYS[:-1], r"a date for each of the 40 values, got datetime64\[D\] of shape \(39,\)"),
        (["monday"] * 40, r"a date for each of the 40 values, got <U6 of shape \(40,\)"),
        ([*DAYS[:-1], np.datetime64("NaT")], "a date for each of the 40 values"),
        (np.arange(40), "a date for each of the 40 values, got int64"),
    ],
)
def test_dates_that_repeat_or_leave_a_gap_are_named(dates, message):
    with pytest.raises(ValueError, match=message):
        data.from_series(np.arange(40.0), lags=7, dates=dates)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.arange(9.0), {"lags": 0}, "lags .* got 0"),
        (np.arange(9.0), {"lags": 9}, "lags below the series' length 9, got 9"),
        (np.ones((9, 2)), {"lags": 2}, r"values of shape \(N,\), got shape \(9, 2\)"),
        ([1.0, np.nan, 2.0], {"lags": 1}, "1 of 3 values NaN, the first at index 1"),
        (np.arange(9.0), {"lags": 2, "test": 1.0}, "test to be a fraction below 1"),
        (np.arange(4.0), {"lags": 2}, "leave at least one row to train on"),
    ],
)
def test_bad_series(values, options, message):
    with pytest.raises(ValueError, match=message):
        data.from_series(values, **options)
