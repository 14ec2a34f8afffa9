"""Batches from the host, for data that do not fit in memory or are made elsewhere.

`fit` takes a `Stream` in place of data. A worker thread prepares the next batches while the device
trains on the last, one step is compiled, and a run that goes on opens the stream at its own step.
`evaluate` takes one that knows what a pass over its examples is.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.sharding import place
from jaxml.training.batches import as_tree, labelled, length_of

__all__ = ["Stream", "batches", "passes", "rows"]


class Stream(NamedTuple):
    """Where batches come from.

    Attributes:
        open: `(step, key) -> ` an iterator of the batches from that step on, pytrees of arrays with
            one leading axis and the same shapes every time; `key` is the run's.
        prefetch: batches that are prepared ahead of the step that trains.
        one_pass: `(batch_size) -> ` an iterator of batches in which each example comes once, of
            that size or of the stream's own, for `evaluate`; `None` for a stream without end.
    """

    open: Callable[[int, jax.Array], Iterator[Any]]
    prefetch: int = 2
    one_pass: Callable[[int], Iterator[Any]] | None = None


def batches(make: Callable[[int], Iterable[Any]], *, prefetch: int = 2) -> Stream:
    """A stream of any batches.

    Args:
        make: step -> the batches of this step and of those after it.
        prefetch: batches that are prepared ahead.

    Example:
        >>> import itertools, optax
        >>> from jaxml import nn, training
        >>> from jaxml.training import losses, streaming
        >>> def numbers(step):
        ...     for i in itertools.count(step):
        ...         x = np.random.default_rng(i).normal(size=(8, 1))
        ...         yield {"x": x, "y": 3 * x}
        >>> line = training.supervised(nn.linear(1, 1), losses.mse, optax.sgd(0.5))
        >>> key = jax.random.key(0)
        >>> run = training.fit(line, streaming.batches(numbers), key=key, steps=50)
        >>> bool(run.history["loss"][-1] < 1e-6)
        True
    """
    require(callable(make), "a function of the step that returns batches", type(make).__name__)
    return Stream(lambda step, _: iter(make(step)), require_positive_int("prefetch", prefetch))


def passes(make: Callable[[int], Any], *, prefetch: int = 2) -> Stream:
    """A stream of passes over a loader, such as PyTorch's `DataLoader` or grain's.

    A run that goes on in the middle of a pass reads it from its beginning, up to where it was.

    Args:
        make: number of the pass -> its batches, something of a length: the same number in every
            pass, and the same batches whenever it is asked for that pass. A loader that shuffles
            is seeded by the number. `evaluate` takes pass 0, whose last batch may be short.
        prefetch: batches that are prepared ahead, beside what the loader prepares.

    Example:
        >>> stream = passes(lambda number: [{"x": np.full(2, 10 * number + i)} for i in range(3)])
        >>> opened = stream.open(4, jax.random.key(0))
        >>> [int(batch["x"][0]) for batch in itertools.islice(opened, 3)]
        [11, 12, 20]
    """
    require(callable(make), "a function of a pass's number", type(make).__name__)

    def open_at(step: int, _: jax.Array) -> Iterator[Any]:
        size = len(make(0))
        require(size > 0, "passes of at least one batch", "none")
        first, done = divmod(step, size)
        for number in itertools.count(first):
            yield from itertools.islice(make(number), done if number == first else 0, None)

    return Stream(open_at, require_positive_int("prefetch", prefetch), lambda _: iter(make(0)))


def rows(arrays: Any, sample: Callable[..., Any], *, prefetch: int = 2) -> Stream:
    """Rows of arrays that stay on the host: `np.memmap` and others that NumPy's indexing reads.

    The batches, and so the run, are those of the same data in memory: `fit(algorithm, rows(data,
    sample), key=key, …)` ends as `fit(algorithm, data, sample, key=key, …)`.

    Args:
        arrays: a pytree of them with one leading axis; a file of them is opened by
            `np.load("x.npy", mmap_mode="r")`.
        sample: picks rows, such as `sampling.epochs(64)`; what transforms them is given to `fit`
            as its `sample`: `augmentation.augmented(sampling.full(), …)`.
        prefetch: batches that are prepared ahead.

    Raises:
        ValueError: for arrays without one leading axis, or a sampler that does more than pick.
    """
    tree = as_tree(arrays)
    count = length_of(labelled(tree))
    require(callable(sample), "a sampler such as sampling.epochs(64)", repr(sample))
    leaves, structure = jax.tree.flatten(tree)

    @jax.jit
    def pick(index, key, step):
        batch: Any = None
        with contextlib.suppress(KeyError):  # of one that asks for more than the rows
            batch = sample({"row": index}, key, step)
        only = isinstance(batch, dict) and [*batch] == ["row"] and batch["row"].ndim == 1
        require(only, "a sampler that only picks rows, such as sampling.epochs(64)", "another")
        return batch["row"]

    def open_at(step: int, key: jax.Array) -> Iterator[Any]:
        index, own = jnp.arange(count, dtype=jnp.int32), jax.random.split(key)[0]
        with contextlib.ExitStack() as files:
            takers = [_taker(leaf, files) for leaf in leaves]
            for at in itertools.count(step):
                chosen = np.asarray(pick(index, own, jnp.int32(at)))
                yield structure.unflatten(take(chosen) for take in takers)

    def one_pass(batch_size: int) -> Iterator[Any]:
        with contextlib.ExitStack() as files:
            takers = [_taker(leaf, files) for leaf in leaves]
            for first in range(0, count, batch_size):
                chosen = np.arange(first, min(first + batch_size, count))
                yield structure.unflatten(take(chosen) for take in takers)

    return Stream(open_at, require_positive_int("prefetch", prefetch), one_pass)


def _taker(array: Any, files: contextlib.ExitStack) -> Callable[[np.ndarray], np.ndarray]:
    """What reads some rows of an array.

    Those of a file are read past its mapping, of which whatever is touched, and what the system
    reads around it, counts as this process's memory.
    """
    mapping: Any = getattr(array, "_mmap", None)
    named = getattr(array, "filename", None) is not None
    if mapping is None or not named or not array.flags.c_contiguous or array.mode == "c":
        return lambda chosen: np.asarray(array[chosen])
    file = files.enter_context(open(array.filename, "rb", buffering=0))  # noqa: SIM115
    begin = array.ctypes.data - np.frombuffer(mapping, np.uint8).ctypes.data
    begin += array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    size = array.nbytes // len(array)

    def take(chosen: np.ndarray) -> np.ndarray:
        found = np.empty((len(chosen), *array.shape[1:]), array.dtype)
        for row, at in zip(found.reshape(len(chosen), -1).view(np.uint8), chosen, strict=True):
            content = os.pread(file.fileno(), size, begin + int(at) * size)
            if len(content) != size:
                raise OSError(f"{array.filename} ends before row {at}")
            row[:] = np.frombuffer(content, np.uint8)
        return found

    return take


def prefetched(
    stream: Stream, step: int, key: jax.Array, mesh: Any = None
) -> Generator[Any, None, None]:
    """The stream's batches from a step on, prepared ahead by a thread and on the device.

    Before them stands the first as the host has it, to be looked at.

    Args:
        stream: of them.
        step: the first.
        key: of the run.
        mesh: along whose axis `data`, if it has one, their rows lie.

    Raises:
        ValueError: for a batch that is shaped otherwise than the first.
    """
    axis = "data" if mesh is not None and "data" in mesh.axis_names else None
    source, numbers = stream.open(step, key), itertools.count(step)
    wide = jax.dtypes.canonicalize_dtype(np.float64) == np.float64
    first, end = {}, object()

    def take() -> Any:
        batch = next(source, end)
        if batch is end:
            return end
        at = next(numbers)
        with jax.enable_x64(wide):  # which a thread does not inherit
            batch = jax.tree.map(np.asarray, as_tree(batch))
            kinds = {name: (leaf.shape, leaf.dtype) for name, leaf in labelled(batch).items()}
            if not first:
                first.update(batch=batch, kinds=kinds)
            for name in first["kinds"] | kinds:
                expected, got = (of.get(name, "nothing") for of in (first["kinds"], kinds))
                what = f"batches that are alike, {name or 'each'} of {expected} as at step {step}"
                require(expected == got, what, f"{got} at step {at}")
            return place(jax.tree.map(jnp.asarray, batch), mesh, axis)

    pool = ThreadPoolExecutor(1)
    try:
        ahead = deque(pool.submit(take) for _ in range(stream.prefetch))
        while (batch := ahead.popleft().result()) is not end:
            ahead.append(pool.submit(take))
            if "batch" in first:
                yield first.pop("batch")
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def advance(
    one: Callable[..., Any], last: Callable[..., Any], source: Iterator[Any], state: Any, n: int
) -> tuple[Any, Any, Any]:
    """Take `n` steps, each on the next batch.

    Args:
        one: `(batch, state) -> (state, metrics of shape (…, 1), …)`.
        last: `(batch, state) -> ` what is asked at the end.
        source: of batches.
        state: before the first.
        n: steps.

    Raises:
        ValueError: if the batches end before.
    """
    records: list[Any] = []
    batch = None
    for i in range(n):
        batch = next(source, None)
        require(batch is not None, f"a stream of {n} more batches", f"one that ends after {i}")
        state, metrics, *_ = one(batch, state)
        records.append(metrics)
        if i > 0:  # no more than two steps are under way: the batches wait on the host
            jax.block_until_ready(records[i - 1])
    joined = jax.tree.map(lambda *values: np.concatenate(values, -1), *jax.device_get(records))
    return state, joined, last(batch, state)
