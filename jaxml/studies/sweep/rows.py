"""How a bucket's lanes stand in rows of one width, each of a single seed."""

from __future__ import annotations

import os
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from jaxml.studies.sweep.configs import Lanes

# lanes that a processor core takes at a time, whose parameters its cache holds: measured to be
# best or nearly so on networks of 2,410 to 101,770 parameters, at m = 8 to 512
_LANES_OF_A_CORE = 12


def by_cores(mesh: Mesh | None) -> bool:
    """Whether rows of lanes are shared out to processor cores, each a call of its own.

    XLA leaves products of this size to one core and, for all lanes at once, to slow memory.
    """
    return mesh is None and jax.default_backend() == "cpu"


def even(width: int, mesh: Mesh | None) -> int:
    """The next width that the devices divide."""
    devices = 1 if mesh is None else mesh.shape["lanes"]
    return -(-width // devices) * devices


def first_rows(lanes: Lanes, own: np.ndarray, mesh: Mesh | None) -> np.ndarray:
    """Lane numbers of shape (rows, lanes of one): a row a seed, or several where cores share."""
    by_seed = [own[lanes.seed[own] == seed] for seed in np.unique(lanes.seed[own])]
    width = max(map(len, by_seed))
    if by_cores(mesh):
        cores = os.cpu_count() or 1
        width = -(-width // max(-(-width // _LANES_OF_A_CORE), -(-cores // len(by_seed))))
    return rows_of(by_seed, even(width, mesh))


def rows_of(by_seed: Sequence[np.ndarray], width: int) -> np.ndarray:
    """Rows of one width, each of a single seed, -1 where it has no more."""
    parts = [own[i : i + width] for own in by_seed for i in range(0, len(own), width)]
    return np.stack([np.pad(p, (0, width - len(p)), constant_values=-1) for p in parts])
