"""Alternating measurements, and what the machine could do at best."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One side of a comparison.

    Attributes:
        run: does the work once and returns its seconds, compilation and set-up left out.
        compile_seconds: what getting ready took, beyond one run.
    """

    run: Callable[[], float]
    compile_seconds: float


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable) -> None:
        self._function = function
        self.calls = 0

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        self.calls += 1
        return self._function(*args)


def contestant(run: Callable[[], float]) -> Contestant:
    """Run once to compile, and once more to know what of the first was compilation."""
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    start = time.perf_counter()
    run()
    return Contestant(run, max(0.0, first - (time.perf_counter() - start)))


def timed(work: Callable[[], Any]) -> Callable[[], float]:
    """The seconds that a function takes, results of JAX waited for."""

    def run() -> float:
        start = time.perf_counter()
        jax.block_until_ready(work())
        return time.perf_counter() - start

    return run


def alternate(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, np.ndarray]:
    """Name -> seconds of shape `(rounds,)`, measured in turns, A B C, A B C."""
    seconds = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, one in contestants.items():
            seconds[name].append(one.run())
    return {name: np.array(values) for name, values in seconds.items()}


def matmul_peak(size: int = 2048) -> Contestant:
    """A product of square float32 matrices, the most arithmetic the device is good for.

    Its `run` returns the seconds for one multiply-add's two operations.
    """
    a = jax.random.normal(jax.random.key(0), (size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    repeats = 3

    def work():
        for _ in range(repeats):
            last = product(a)
        return last

    seconds = timed(work)
    return contestant(lambda: seconds() / (repeats * 2 * size**3))


def spread(values: np.ndarray) -> dict[str, float]:
    """Median, smallest and largest."""
    return {
        "median": float(np.median(values)),
        "min": float(values.min()),
        "max": float(values.max()),
    }
