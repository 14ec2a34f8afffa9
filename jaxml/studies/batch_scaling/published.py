"""Curves that others published, to stand beside one's own."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """Updates to a target by batch size.

    Attributes:
        name: of the source.
        what: network, optimiser and target.
        batch_sizes: B.
        steps: updates, the fewest over rates and momenta.
    """

    name: str
    what: str
    batch_sizes: tuple[int, ...]
    steps: tuple[int, ...]


PUBLISHED = {
    "fashion_mnist": Published(
        "Shallue 2018",
        "a simple CNN, Nesterov, 10 % validation error",
        (2, 8, 32, 128, 512, 2048, 8192, 32768, 55000),
        (21_500, 6100, 1700, 490, 295, 164, 151, 164, 151),
    ),
    "mnist": Published(
        "Shallue 2018",
        "a simple CNN, Nesterov, 1 % validation error",
        (1, 2, 8, 32, 128, 512, 2048, 8192, 32768, 55000),
        (64_000, 31_000, 9000, 2400, 680, 300, 180, 190, 160, 140),
    ),
}
"""Data set -> curve, read off the figures of Shallue et al. 2018 (arXiv:1811.03600) to ± 9 %."""
