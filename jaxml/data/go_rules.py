"""The rules of Go: what a move takes, and which moves are legal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxml.core.checks import require

EMPTY, BLACK, WHITE = 0, 1, -1

PLANES = (
    "own stones",
    "the opponent's stones",
    "empty points",
    *(f"own chains of {n} liberties" for n in ("1", "2", "3", "4 or more")),
    *(f"the opponent's chains of {n} liberties" for n in ("1", "2", "3", "4 or more")),
    *(f"the move {n} ago" for n in range(1, 5)),
    "points forbidden by the ko",
    "the board",
)
"""What each channel of `x` is 1 at."""


class Board:
    """A position: stones, and the point that the ko forbids. Points are numbered row by row."""

    def __init__(self, stones: np.ndarray) -> None:
        self.size = len(stones)
        self.stones: list[int] = stones.ravel().tolist()
        self.ko: int | None = None
        self._neighbours = _neighbours(self.size)

    def play(self, colour: int, point: int) -> None:
        """Put a stone, and take what has no liberty left.

        Raises:
            ValueError: if the point is taken, or forbidden by the ko, or the stone would have no
                liberty.
        """
        require(self.stones[point] == EMPTY, "a move on an empty point", "one on a stone")
        require(point != self.ko, "a move that the ko allows", "one that takes back at once")
        self.stones[point] = colour
        taken = []
        for neighbour in self._neighbours[point]:
            if self.stones[neighbour] == -colour:
                chain, liberties = self.chain(neighbour)
                if not liberties:
                    taken += chain
                    for stone in chain:
                        self.stones[stone] = EMPTY
        chain, liberties = self.chain(point)
        if not liberties:
            self.stones[point] = EMPTY
            require(False, "a move that leaves its chain a liberty", "one that leaves none")
        alone = len(chain) == len(taken) == len(liberties) == 1
        self.ko = taken[0] if alone else None

    def chain(self, point: int) -> tuple[list[int], set[int]]:
        """The stones connected to the one there, and the empty points next to them."""
        colour, chain, seen, liberties = self.stones[point], [point], {point}, set()
        for stone in chain:
            for neighbour in self._neighbours[stone]:
                if self.stones[neighbour] == EMPTY:
                    liberties.add(neighbour)
                elif self.stones[neighbour] == colour and neighbour not in seen:
                    seen.add(neighbour)
                    chain.append(neighbour)
        return chain, liberties

    def planes(self, colour: int, last: Sequence[int | None]) -> np.ndarray:
        """The position as whose turn it is sees it, bool `(size, size, len(PLANES))`."""
        stones = np.array(self.stones)
        out = np.zeros((self.size**2, len(PLANES)), bool)
        out[:, 0], out[:, 1], out[:, 2] = stones == colour, stones == -colour, stones == EMPTY
        seen: set[int] = set()
        for point in np.flatnonzero(stones).tolist():
            if point not in seen:
                chain, liberties = self.chain(point)
                seen.update(chain)
                first = 3 if self.stones[point] == colour else 7
                out[chain, first + min(len(liberties), 4) - 1] = True
        for i, point in enumerate(last):
            if point is not None:
                out[point, 11 + i] = True
        if self.ko is not None:
            out[self.ko, 15] = True
        out[:, 16] = True
        return out.reshape(self.size, self.size, -1)


def _neighbours(size: int) -> list[list[int]]:
    steps = ((-1, 0), (1, 0), (0, -1), (0, 1))
    return [
        [
            (row + down) * size + column + right
            for down, right in steps
            if 0 <= row + down < size and 0 <= column + right < size
        ]
        for row in range(size)
        for column in range(size)
    ]
