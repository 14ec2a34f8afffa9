"""What a study will take, before it starts: buckets of lanes, updates, products, bytes, seconds."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxml.core.checks import require
from jaxml.core.words import counted
from jaxml.studies.sweep.configs import Lanes
from jaxml.studies.sweep.lane_optimizer import OPTIMIZERS, two_slots
from jaxml.studies.sweep.rows import first_rows
from jaxml.studies.sweep.transformations import require_known

# reading and writing parameters, slots and sums at every tick costs about so many examples
TICK = 20
# and compiling a bucket's program about so many floating-point operations
COMPILE = 1.9e11
_BUCKETS = 4
_CANDIDATES = 16
_SECONDS_TO_COMPILE = 4.0


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Lanes that share their microbatches and a program.

    Attributes:
        microbatch: m, examples of a tick.
        lanes: their numbers in the study.
        ticks: of each lane, k = B/m of them for every update.
        places: of the lanes in rows of one width, those that stay empty included.
        lane_bytes: of one place: parameters, what the optimiser keeps and the sum of gradients.
        transformation: the name of the caller's optimiser, which shares its program with no
            other; empty for those of jaxml, which share one.
    """

    microbatch: int
    lanes: np.ndarray
    ticks: np.ndarray
    places: int
    lane_bytes: int
    transformation: str = ""

    @property
    def examples(self) -> float:
        """Whose gradients are formed if no lane ends early."""
        return float(self.microbatch * self.ticks.max() * self.places)

    @property
    def work(self) -> float:
        """The same, with what every tick costs beside."""
        return self.examples * (1 + TICK / self.microbatch)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a study will run.

    Attributes:
        buckets: in the order in which they run.
        updates: of each lane at most.
        size: parameters of one lane.
        examples: N.
        example_flops: of one example's gradient.
        flops: of all gradients at most.
        bytes: of the largest bucket's lanes: parameters, optimisers and sums of gradients. A tick's
            gradients and activations, and the network's state such as batch norm's, come on top.
        waste: the share of the gradients that serves no lane: of lanes which ended before others
            of their bucket, and of places that stay empty, if no lane ends early.
        seconds: that it may take, very roughly, compilation included.
    """

    buckets: list[Bucket]
    updates: np.ndarray
    size: int
    examples: int
    example_flops: float
    flops: float
    bytes: int
    waste: float
    seconds: float

    def __str__(self) -> str:
        """What one wants to know before it starts."""
        lanes = len(self.updates)
        buckets = ", ".join(
            f"{len(b.lanes)} of m={b.microbatch}"
            + (f" for {b.transformation} alone" if b.transformation else "")
            for b in self.buckets
        )
        ticks = ", ".join(f"{b.ticks.max():,}" for b in self.buckets)
        return (
            f"{counted(lanes, 'lane')} of {self.size:,} parameters on {self.examples:,} examples; "
            f"{counted(len(self.buckets), 'compiled program')}: {buckets}; at most {ticks} ticks, "
            f"{self.flops:.1e} FLOPs ({self.waste:.0%} for no lane), "
            f"{self.bytes / 2**20:,.0f} MiB for the lanes; about {self.seconds:,.0f} s at most"
        )


def plan(
    lanes: Lanes,
    *,
    examples: int,
    size: int,
    epochs: float | None = None,
    steps: int | None = None,
    microbatches: Sequence[int] | None = None,
    itemsize: int = 4,
    example_flops: float | None = None,
    mesh: Mesh | None = None,
    states: Mapping[str, int] | None = None,
) -> Plan:
    """Put each lane where its examples cost least.

    Args:
        lanes: the configurations.
        examples: N.
        size: parameters of one lane.
        epochs: a lane's budget, N examples each.
        steps: a lane's budget in updates; the smaller of the two where both are given.
        microbatches: the buckets' m; chosen by default, four at most of a kind.
        itemsize: bytes of a parameter.
        example_flops: of one example's gradient, see `gradient_flops`; 6 a parameter by default,
            which is about right for fully connected layers alone.
        mesh: the devices, as the study's.
        states: name -> bytes of the state of each optimiser that is not one of jaxml's, see
            `state_bytes`. Each has buckets of its own.

    Raises:
        ValueError: for an unknown optimiser, if there is no budget, a batch is larger than the
            data, or no m divides it.
    """
    require(epochs is not None or steps is not None, "a budget: epochs or steps", "none")
    for name, budget in {"epochs": epochs, "steps": steps}.items():
        require(budget is None or 0 < budget < math.inf, f"{name} above 0", budget)
    sizes = np.unique(lanes.batch_size)
    require(sizes[-1] <= examples, f"batch sizes of at most the {examples} examples", sizes[-1])
    limit = np.full(len(lanes), np.inf)
    if epochs is not None:
        limit = np.minimum(limit, np.floor(epochs * examples / lanes.batch_size))
    if steps is not None:
        limit = np.minimum(limit, steps)
    require(limit.min() >= 1, "a budget of at least one update of every lane", f"epochs={epochs}")
    updates = limit.astype(np.int64)
    if example_flops is None:
        example_flops = 6.0 * size
    states = {} if states is None else states
    for name in np.unique(lanes.optimizer):
        require_known(str(name), states)
    kinds = np.where(np.isin(lanes.optimizer, [*OPTIMIZERS]), "", lanes.optimizer)
    buckets = []
    for kind in np.unique(kinds):
        alike = np.flatnonzero(kinds == kind)
        of = lanes.batch_size[alike]
        most = {int(b): int(updates[alike][of == b].max()) for b in np.unique(of)}
        counts = {int(b): int((of == b).sum()) for b in most}
        if microbatches is None:
            chosen = _assign(most, _choose(most, counts, example_flops))
        else:
            chosen = _assign(most, microbatches)
        for m in sorted(set(chosen.values())):
            own = alike[[chosen[int(b)] == m for b in of]]
            some = lanes.take(own)
            ticks = updates[own] * (some.batch_size // m)
            accumulates = bool((some.batch_size > m).any())
            if kind:
                state = states[str(kind)]
            else:
                state = sum(two_slots(some.optimizer, some.momentum).slots) * size * itemsize
            lane_bytes = (1 + accumulates) * size * itemsize + state
            places = first_rows(lanes, own, mesh).size
            buckets.append(Bucket(m, own, ticks, places, lane_bytes, str(kind)))
    for bucket in buckets:
        seen = int(bucket.ticks.max()) * bucket.microbatch
        require(seen < 2**31, "fewer than 2³¹ examples seen by a lane", seen)
    useful = float(sum(b.microbatch * b.ticks.sum() for b in buckets))
    formed = sum(b.examples for b in buckets)
    seconds = example_flops * sum(b.work for b in buckets) / _flops_a_second()
    return Plan(
        buckets=buckets,
        updates=updates,
        size=size,
        examples=examples,
        example_flops=example_flops,
        flops=example_flops * formed,
        bytes=max(b.lane_bytes * b.places for b in buckets),
        waste=1 - useful / formed,
        seconds=seconds + _SECONDS_TO_COMPILE * len(buckets),
    )


def _assign(sizes: Iterable[int], microbatches: Sequence[int]) -> dict[int, int]:
    """Each batch size's m: the largest that divides it."""
    chosen = {}
    for b in sizes:
        dividing = [m for m in microbatches if b % m == 0]
        require(dividing, f"a microbatch that divides the batch size {b}", list(microbatches))
        chosen[b] = max(dividing)
    return chosen


def _choose(updates: dict[int, int], counts: dict[int, int], flops: float) -> tuple[int, ...]:
    """The buckets for which ticks and compilations cost least."""
    sizes = sorted(updates)
    pairs = itertools.combinations_with_replacement(updates, 2)
    candidates = sorted({math.gcd(*pair) for pair in pairs} | {math.gcd(*updates)})
    if len(candidates) > _CANDIDATES:  # sizes with hardly a common divisor
        candidates = sorted({*updates, math.gcd(*updates)})

    def cost(chosen: tuple[int, ...]) -> float:
        total = COMPILE * len(chosen)
        for b, m in _assign(sizes, chosen).items():
            total += counts[b] * updates[b] * (b // m) * (m + TICK) * flops
        return total

    options = [
        option
        for count in range(1, _BUCKETS + 1)
        for option in itertools.combinations(candidates, count)
        if all(any(b % m == 0 for m in option) for b in sizes)
    ]
    return min(options, key=cost)


@functools.cache
def _flops_a_second() -> float:
    """As a study reaches them: measured once, in a few milliseconds."""
    x = jnp.ones((512, 512))
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        product(x).block_until_ready()
        times.append(time.perf_counter() - began)
    # the measurements on the way take a third of a study's time
    return 2 * 512**3 / sorted(times)[2] / 1.5
