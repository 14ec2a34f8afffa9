"""How often the intervals of steps to target and of the 20 % overhead hold what was planted.

`python -m benchmarks.coverage_studies` prints the table.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxml import studies

SIZES = (8, 32, 128, 512, 2048)
STEPS = {size: 500 * (1 + 200 / size) for size in SIZES}
RATES = {
    "far apart": (1.0, 0.0, 1.0),
    "close": (0.2, 0.1, 0.0, 0.1, 0.2),
    "all alike": (0.0,) * 5,
}
"""Name -> how many doublings of the steps each rate costs."""

Draw = Callable[[np.random.Generator, int], np.ndarray]
LOGARITHMS: dict[str, Draw] = {
    "normal": lambda random, n: 0.2 * random.normal(size=n),
    "Laplace": lambda random, n: 0.2 * random.laplace(size=n),
    "Gumbel": lambda random, n: 0.2 * (random.gumbel(size=n) + math.log(math.log(2))),
}
"""Name -> draws of log(steps/median), of median 0."""


class Coverage(NamedTuple):
    """The shares of simulations whose interval holds the truth.

    Attributes:
        rows: of steps to target, over all batch sizes.
        overhead: of the 20 % overhead, where it is identified.
        simulations: how many of those there were.
    """

    rows: float
    overhead: float
    simulations: int


def planted(
    random: np.random.Generator, seeds: int, rates: Sequence[float], draw: Draw
) -> studies.Study:
    """A study whose steps are made up."""
    grid = [0.1 * 2**i for i in range(len(rates))]
    lanes = studies.grid(list(SIZES), grid, seeds=seeds)
    off = np.array([rates[grid.index(rate)] for rate in lanes.learning_rate])
    medians = np.array([STEPS[size] for size in lanes.batch_size.tolist()]) * 2.0**off
    steps = np.maximum(1, np.round(medians * np.exp(draw(random, len(lanes))))).astype(int)
    return studies.Study(
        lanes=lanes,
        target=studies.Target(0.1),
        microbatch=np.ones(len(lanes), int),
        budget=steps,
        exits=np.full(len(lanes), "target", dtype="U10"),
        updates=steps,
        records={},
        params=None,
        examples=1000,
        size=10,
        seconds={},
        programs={},
    )


def coverage(
    seeds: int, rates: Sequence[float], draw: Draw, *, simulations: int = 200, seed: int = 0
) -> Coverage:
    """Simulate studies and count the intervals that hold the medians planted."""
    random, rows, overheads = np.random.default_rng(seed), [], []
    b, steps = np.array(SIZES, float), np.array([STEPS[size] for size in SIZES])
    ratio = b * steps / (b[0] * steps[0])
    k = int(np.flatnonzero(ratio > 1.2)[0])
    truth = math.exp(np.interp(1.2, ratio[k - 1 : k + 1], np.log(b[k - 1 : k + 1])))
    for _ in range(simulations):
        study = planted(random, seeds, rates, draw)
        table = studies.steps_to_target(study, resamples=1).of("momentum")
        rows += [row.low <= STEPS[row.batch_size] <= row.high for row in table.rows]
        found = studies.by_overhead(table)
        if found.identified:
            overheads.append(found.interval[0] <= truth <= found.interval[1])
    return Coverage(float(np.mean(rows)), float(np.mean(overheads)), len(overheads))


def main() -> int:
    """Print the table."""
    print("95 % intervals: seeds, rates, log steps, rows, overhead (of how many)")
    for seeds in (2, 3, 4, 5, 6, 8):
        for name, rates in RATES.items():
            for kind, draw in LOGARITHMS.items():
                found = coverage(seeds, rates, draw)
                print(
                    f"{seeds}  {name:10}  {kind:8}  {found.rows:.3f}  {found.overhead:.3f} "
                    f"({found.simulations})",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
