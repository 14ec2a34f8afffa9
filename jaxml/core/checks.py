"""Checks of what a caller hands in; each message says what was expected and what came."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


def require(condition: Any, expected: str, got: Any) -> None:
    """Raise `ValueError("expected …, got …")` unless the condition holds."""
    if not condition:
        raise ValueError(f"expected {expected}, got {got}")


def require_positive_int(name: str, value: Any) -> int:
    """The value as an int, if it is a whole number of at least 1 (a bool is not).

    Raises:
        ValueError: otherwise.
    """
    valid = not isinstance(value, bool) and hasattr(value, "__index__") and int(value) >= 1
    require(valid, f"{name} to be a whole number of at least 1", repr(value))
    return int(value)


def require_choice(name: str, value: Any, choices: Sequence[str]) -> Any:
    """The value, if it is one of the choices.

    Raises:
        ValueError: otherwise.
    """
    got = f"{value!r}{near(value, choices)}"
    require(value in choices, f"{name} to be one of {', '.join(choices)}", got)
    return value


def near(value: Any, choices: Iterable[str]) -> str:
    """The choice that may have been meant, as a message appends it; nothing if there is none.

    >>> near("adan", ["sgd", "adam"])
    " (did you mean 'adam'?)"
    """
    found = difflib.get_close_matches(str(value), list(choices), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
