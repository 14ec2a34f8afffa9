"""What the options that are numbers take, for `add_argument(type=)`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def finite(text: str) -> float:
    """Any number but NaN and the infinities."""
    return _checked(text, lambda _: True, "a finite number")


def positive(text: str) -> float:
    """A finite number above 0."""
    return _checked(text, lambda value: value > 0, "a finite number above 0")


def nonnegative(text: str) -> float:
    """A finite number of at least 0."""
    return _checked(text, lambda value: value >= 0, "a finite number of at least 0")


def fraction(text: str) -> float:
    """A number of at least 0 and below 1."""
    return _checked(text, lambda value: 0 <= value < 1, "a number of at least 0 and below 1")


def whole(least: int) -> Callable[[str], int]:
    """Whole numbers from `least` on."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            expected = f"a whole number of at least {least}"
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
        return value

    return parse


def _checked(text: str, holds: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and holds(value)):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return value
