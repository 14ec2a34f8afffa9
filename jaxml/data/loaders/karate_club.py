"""Zachary's karate club: a graph of 34 members that fell apart into two clubs."""

from __future__ import annotations

import numpy as np

from jaxml.data.dataset import Dataset

LATER = """
0: 1 2 3 4 5 6 7 8 10 11 12 13 17 19 21 31
1: 2 3 7 13 17 19 21 30
2: 3 7 8 9 13 27 28 32
3: 7 12 13
4: 6 10
5: 6 10 16
6: 16
8: 30 32 33
9: 33
13: 33
14: 32 33
15: 32 33
18: 32 33
19: 33
20: 32 33
22: 32 33
23: 25 27 29 32 33
24: 25 27 31
25: 31
26: 29 33
27: 33
28: 31 33
29: 32 33
30: 32 33
31: 32 33
32: 33
"""
"""Each member, numbered from 0, and those of higher numbers that it met outside of the club."""

CLUBS = "0000000001000011001010111111111111"
"""Which each member went to: 0, the instructor's (member 0), or 1, the administrator's (33)."""


def karate_club() -> Dataset:
    """Which club each of 34 members went to, told for two of them; nothing is fetched.

    Both splits have the whole graph, a row for each member: of `train` the targets of members 0 and
    33 count, of `test` those of the others.

    Returns:
        `x` float32 `(34, 34)`, the identity: nothing is known of a member but its number;
        `adjacency` float32 `(34, 34)`, 1 for each of the 78 edges, both ways; `y` int32 `(34,)`,
        the club; `mask` float32 `(34,)`.

    Reference:
        Zachary (1977), Journal of Anthropological Research 33:452-473.

    >>> club = karate_club()
    >>> int(club.train["adjacency"].sum()) // 2, int(club.train["mask"].sum())
    (78, 2)
    """
    count = len(CLUBS)
    adjacency = np.zeros((count, count), np.float32)
    for line in LATER.split("\n")[1:-1]:
        member, others = line.split(": ")
        met = [int(other) for other in others.split()]
        adjacency[int(member), met] = adjacency[met, int(member)] = 1
    told = np.isin(np.arange(count), (0, count - 1))

    def rows(mask: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "x": np.eye(count, dtype=np.float32),
            "adjacency": adjacency.copy(),
            "y": np.array([int(club) for club in CLUBS], np.int32),
            "mask": mask.astype(np.float32),
        }

    return Dataset(
        rows(told),
        None,
        rows(~told),
        meta={
            "name": "karate_club",
            "task": "classification",
            "classes": 2,
            "description": "34 members of a karate club, which split in two, and who met whom",
            "source": "W. W. Zachary",
            "licence": "none needed",
            "citation": "Zachary, W. W. (1977). An information flow model for conflict and fission "
            "in small groups. Journal of Anthropological Research 33(4), 452-473",
        },
    )
