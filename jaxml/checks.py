"""Checks of what a caller hands in; each message says what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
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
    require(value in choices, f"{name} to be one of {', '.join(choices)}", repr(value))
    return value
