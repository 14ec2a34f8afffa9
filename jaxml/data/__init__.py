"""Data sets as plain numpy arrays: name -> `Dataset(train, validation, test, meta)`.

A new data set is one file in this folder and one line in `REGISTRY`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from jaxml.checks import require
from jaxml.data import surfaces
from jaxml.data.arrays import from_arrays
from jaxml.data.csv_files import from_csv
from jaxml.data.dataset import Dataset, Split
from jaxml.data.digits import digits
from jaxml.data.linear_teacher import linear_teacher
from jaxml.data.npz_files import from_npz
from jaxml.data.ring import ring
from jaxml.data.two_spirals import two_spirals
from jaxml.data.xor import xor

__all__ = [
    "REGISTRY",
    "Dataset",
    "Split",
    "digits",
    "from_arrays",
    "from_csv",
    "from_npz",
    "linear_teacher",
    "load",
    "names",
    "ring",
    "surfaces",
    "two_spirals",
    "xor",
]

REGISTRY: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "linear_teacher": linear_teacher,
    "ring": ring,
    "two_spirals": two_spirals,
    "xor": xor,
}
"""Name -> function of keyword options alone, each with a default."""


def names() -> list[str]:
    """The names that `load` knows, sorted.

    >>> names()
    ['digits', 'linear_teacher', 'ring', 'two_spirals', 'xor']
    """
    return sorted(REGISTRY)


def load(name: str, /, **options: Any) -> Dataset:
    """A data set by its name.

    Args:
        name: one of `names()`.
        **options: those of the function of that name, for example `seed`.

    Raises:
        ValueError: if the name is unknown (the message has the nearest one), if the data set
            takes no such option, or if an option's value is out of range.

    >>> load("two_spirals", n=100).meta["counts"]
    {'train': 60, 'validation': 20, 'test': 20}
    """
    known = isinstance(name, str) and name in REGISTRY
    if not known:
        near = difflib.get_close_matches(str(name), REGISTRY, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        require(known, f"name to be one of {', '.join(names())}", f"{name!r}{hint}")
    make = REGISTRY[name]
    accepted = list(inspect.signature(make).parameters)
    expected = (
        f"options of {name} among {', '.join(accepted)}" if accepted else f"no option of {name}"
    )
    unknown = [option for option in options if option not in accepted]
    require(not unknown, expected, ", ".join(unknown))
    return make(**options)
