"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number of things, of which one has no s.

    >>> counted(1, "lane"), counted(1200, "lane")
    ('1 lane', '1,200 lanes')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
