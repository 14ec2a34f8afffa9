"""What a study will take, before it starts: buckets of lanes, updates, products, bytes, seconds."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxml.core.checks import require
from jaxml.studies.sweep.configs import Lanes
from jaxml.studies.sweep.lane_optimizer import two_slots
from jaxml.studies.sweep.rows import first_rows

# reading and writing parameters, slots and sums at every tick costs about so many examples
TICK = 20
# and compiling a bucket's program about so many floating-point operations
COMPILE = 2.8e11
_BUCKETS = 4
_CANDIDATES = 16
_SECONDS_TO_COMPILE = 4.0


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Lanes that share their microbatches.

    Attributes:
        microbatch: m, examples of a tick.
        lanes: their numbers in the study.
        ticks: of each lane, k = B/m of them for every update.
        places: of the lanes in rows of one width, those that stay empty included.
        copies: of the parameters for each: themselves, the optimisers' slots and the sums of
            gradients.
    """

    microbatch: int
    lanes: np.ndarray
    ticks: np.ndarray
    places: int
    copies: int

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
        bytes: of the largest bucket's lanes: parameters, slots and sums of gradients. A tick's
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
        buckets = ", ".join(f"{len(b.lanes)} of m={b.microbatch}" for b in self.buckets)
        ticks = ", ".join(f"{b.ticks.max():,}" for b in self.buckets)
        return (
            f"{lanes} lanes of {self.size:,} parameters on {self.examples:,} examples; "
            f"{len(self.buckets)} compiled programs: {buckets}; at most {ticks} ticks, "
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
) -> Plan:
    """Put each lane where its examples cost least.

    Args:
        lanes: the configurations.
        examples: N.
        size: parameters of one lane.
        epochs: a lane's budget, N examples each.
        steps: a lane's budget in updates; the smaller of the two where both are given.
        microbatches: the buckets' m; chosen by default, four at most.
        itemsize: bytes of a parameter.
        example_flops: of one example's gradient, see `gradient_flops`; 6 a parameter by default,
            which is about right for fully connected layers alone.
        mesh: the devices, as the study's.

    Raises:
        ValueError: if there is no budget, a batch is larger than the data, or no m divides it.
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
    most = {int(b): int(updates[lanes.batch_size == b].max()) for b in sizes}
    counts = {int(b): int((lanes.batch_size == b).sum()) for b in sizes}
    if microbatches is None:
        microbatches = _choose(most, counts, example_flops)
    chosen = _assign(sizes, sorted(set(microbatches)))
    buckets = []
    for m in sorted(set(chosen.values())):
        own = np.flatnonzero([chosen[int(b)] == m for b in lanes.batch_size])
        ticks = updates[own] * (lanes.batch_size[own] // m)
        some = lanes.take(own)
        slots = two_slots(some.optimizer, some.momentum).slots
        copies = 1 + sum(slots) + bool((some.batch_size > m).any())
        buckets.append(Bucket(m, own, ticks, first_rows(lanes, own, mesh).size, copies))
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
        bytes=max(b.copies * b.places * size * itemsize for b in buckets),
        waste=1 - useful / formed,
        seconds=seconds + _SECONDS_TO_COMPILE * len(buckets),
    )


def _assign(sizes: np.ndarray, microbatches: Sequence[int]) -> dict[int, int]:
    """Each batch size's m: the largest that divides it."""
    chosen = {}
    for b in map(int, sizes):
        dividing = [m for m in microbatches if b % m == 0]
        require(dividing, f"a microbatch that divides the batch size {b}", list(microbatches))
        chosen[b] = max(dividing)
    return chosen


def _choose(updates: dict[int, int], counts: dict[int, int], flops: float) -> tuple[int, ...]:
    """The buckets for which ticks and compilations cost least."""
    sizes = np.array(sorted(updates))
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
