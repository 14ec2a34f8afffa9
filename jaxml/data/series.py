"""A `Dataset` from a series of numbers: the next one from those before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.data.arrays import described, finite_numbers, to_float32
from jaxml.data.dataset import Dataset, Split
from jaxml.data.splits import counts_of, cut


def from_series(
    values: Any,
    *,
    lags: int,
    dates: Any = None,
    validation: float = 0.2,
    test: float = 0.2,
    name: str = "series",
) -> Dataset:
    """Rows for forecasting one step ahead, split in the order of time.

    Nothing is shuffled: the last rows are the test, those before them the validation, and
    training has what is earlier. The first `lags` values are inputs only.

    Args:
        values: `(N,)` numbers at equal distances, the oldest first.
        lags: how many preceding values are the input of a row, at least 1.
        dates: `(N,)` when each was taken, as `datetime64` or what numpy reads as such; checked
            to follow each other at one distance. None if that is known.
        validation: fraction of the rows, in [0, 1); 0 makes no such split.
        test: likewise.
        name: what to call it in `meta`.

    Returns:
        `x` float32 `(rows, lags)`, so that `x[:, -1]` is the value just before, and `y` float32
        `(rows, 1)`, unscaled. With dates, `meta["span"]` has the first and the last as text.

    Raises:
        ValueError: if the values are no finite numbers, if there are no more of them than lags,
            if dates repeat, go back or leave a gap (which ones is said), or if a fraction is out
            of range or leaves nothing to train on.

    >>> hours = np.arange("2026-01-01T00", "2026-01-01T10", dtype="datetime64[h]")
    >>> series = from_series(np.arange(10.0), lags=2, dates=hours)
    >>> series.train["x"][0], series.train["y"][0], series.meta["counts"]
    (array([0., 1.], dtype=float32), array([2.], dtype=float32), {'train': 4, 'validation': 2, 'test': 2})
    """  # noqa: E501
    numbers = finite_numbers("values", values)
    require(numbers.ndim == 1, "values of shape (N,)", f"shape {numbers.shape}")
    span = {} if dates is None else {"span": _span(dates, len(numbers))}
    rows = lagged(to_float32("values", numbers), lags)
    parts = cut(rows, *counts_of(len(rows["y"]), validation, test))
    meta = described(name, "regression", parts, source="a series of the caller")
    return Dataset(*parts, meta={**meta, "lags": int(lags), **span})


def lagged(values: np.ndarray, lags: int) -> Split:
    """`x` `(N - lags, lags)`, the values before each `y` `(N - lags, 1)`.

    Raises:
        ValueError: if `lags` is no whole number from 1 to N - 1.
    """
    lags = require_positive_int("lags", lags)
    require(lags < len(values), f"lags below the series' length {len(values):,}", lags)
    x = np.lib.stride_tricks.sliding_window_view(values, lags)[:-1]
    return {"x": x, "y": values[lags:, None]}


def _span(dates: Any, count: int) -> tuple[str, str]:
    """The first and the last date, if all follow each other at one distance."""
    try:
        days = np.asarray(dates, dtype="datetime64")
    except (TypeError, ValueError):
        days = np.empty(0, "datetime64")
    known = days.shape == (count,) and np.datetime_data(days.dtype)[0] != "generic"
    known = known and not np.isnat(days).any()
    require(known, f"a date for each of the {count:,} values", _shown(dates))
    steps = np.diff(days)
    forward = np.sort(steps[steps > np.timedelta64(0)])
    usual = forward[len(forward) // 2] if len(forward) else np.timedelta64(1)
    odd = np.flatnonzero(steps != usual)
    if len(odd):
        before, after = days[odd[0]], days[odd[0] + 1]
        what = "twice" if before == after else f"followed by {after}"
        more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
        require(False, "dates at one distance, in order", f"{before} {what}{more}")
    return str(days[0]), str(days[-1])


def _shown(dates: Any) -> str:
    array = np.asarray(dates)
    return f"{array.dtype} of shape {array.shape}"
