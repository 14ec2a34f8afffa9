"""The loop that trains everything: one pure scan, driven in chunks from the host."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jaxml.core.checks import require, require_positive_int
from jaxml.core.programs import read
from jaxml.core.sharding import Rows, check_mesh, constrain, place, shard
from jaxml.core.types import Algorithm, Run
from jaxml.training import streaming
from jaxml.training.batches import check_data, check_use, is_numeric, shapes

Sample = Callable[[Any, jax.Array, jax.Array], Any]
"""`(data, key, step) -> batch`; the key is the run's, the same at every step."""


class Chunk(NamedTuple):
    """What a hook sees between two chunks of steps.

    Attributes:
        step: steps done since the state was initialised.
        last_step: where the run will end.
        state: the state after `step` steps (with a leading lane axis in `fit_many`).
        metrics: metric name -> values in this chunk, shape `(steps,)` or `(lanes, steps)`.
    """

    step: int
    last_step: int
    state: Any
    metrics: dict[str, np.ndarray]


Hook = Callable[[Chunk], bool | Chunk | None]
"""Called on the host after each chunk; a true answer ends the run. Context managers are entered.

A hook may answer with the chunk in another state of the same shapes and step: the hooks after it
see that one, and the run goes on from it. Placed before `checkpoint`, it is part of what is saved.
"""


class NonFiniteError(FloatingPointError):
    """A metric that must be finite, or a parameter, became infinite or NaN.

    Attributes:
        run: the last good state, from before the window of steps in which it happened, and the
            history up to there.
    """

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


def run_steps(step, state, data, sample: Sample, key: jax.Array, n: int):
    """Take `n` steps in one `lax.scan`; pure, so it can be jitted, vmapped and differentiated.

    A step's randomness depends on `key` and `state.step` alone: the result is the same however
    many steps are taken at a time, and a resumed run equals an uninterrupted one to the bit.

    Args:
        step: an algorithm's step.
        state: its state.
        data: what `sample` draws from, a dict of arrays.
        sample: `(data, key, step) -> batch`, see `jaxml.training.sampling`.
        key: the run's key.
        n: how many steps.

    Returns:
        The state and the metrics, each of shape `(n,)`.
    """
    key_data, key_step = jax.random.split(key)

    def body(state, _):
        batch = sample(data, key_data, state.step)
        return step(state, batch, jax.random.fold_in(key_step, state.step))

    return jax.lax.scan(body, state, length=n)


def fit(
    algorithm: Algorithm,
    data: Any = None,
    sample: Sample | None = None,
    *,
    key: jax.Array,
    steps: int,
    chunk: int | None = None,
    hooks: Sequence[Hook] = (),
    state: Any = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Run:
    """Train.

    Args:
        algorithm: what trains.
        data: a dict of arrays with one leading axis, or another pytree of them; a
            `streaming.Stream` of batches from the host; `None` for algorithms that make their own.
        sample: which batch each step sees, for example `sampling.epochs(64)`. Of a stream it makes
            each batch, `(batch, key, step) -> batch`. `None` for a stream as it is, and where there
            are no data.
        key: `jax.random.key(seed)`; initialisation, batches and the steps' noise follow from it.
        steps: how many updates.
        chunk: updates in one compiled call, between which hooks run; it changes no result.
            A twentieth of the run by default.
        hooks: see `jaxml.training.hooks`.
        state: where to go on; a fresh state by default.
        mesh: devices to train on together, `jax.make_mesh((8,), ("data",))`. The rows of the data
            and of every batch lie along its axis `data`, the state whole on each device. A batch
            must be a multiple of the devices; the data need not be. The result is that of one
            device up to the order in which sums are taken.

    Returns:
        The final state and the metrics of every step. The caller's arrays are left alone.

    Raises:
        ValueError: for data with NaN, without rows or of unequal lengths; steps or chunk below 1;
            a key that is not one; a mesh without an axis `data`, or with one that does not divide
            a batch; a step whose metrics are no scalars, or whose state is another than it was
            given.
        NonFiniteError: when a metric that must be finite (`Algorithm.finite`), or a parameter, no
            longer is; it carries the last good state.

    Example:
        >>> import jax, optax
        >>> from jaxml import data, nn, training
        >>> from jaxml.training import losses, sampling
        >>> xor = data.load("xor")
        >>> model = nn.mlp([2, 8, 2], activation="tanh")
        >>> algorithm = training.supervised(model, losses.softmax_cross_entropy, optax.adam(0.1))
        >>> key = jax.random.key(0)
        >>> run = training.fit(algorithm, xor.train, sampling.full(), key=key, steps=99)
        >>> run.history["loss"].shape
        (99,)
    """
    require(isinstance(algorithm, Algorithm), "an Algorithm", type(algorithm).__name__)
    sample = _sampler(sample, data)
    _require_key(key, ())
    key_init, key_run = jax.random.split(key)
    mesh = check_mesh(mesh, "data")
    if state is None:
        state = _call(read(algorithm.init, key_init), key_init)
    start = place(state, mesh)
    with _opened(data, _step_of(state), key_run, mesh) as (given, placed, source):
        program = _read(algorithm, sample, given, placed, state, key_run)
        advance = functools.partial(_advance, *program, key_run, placed, mesh=mesh)
        if source is not None:
            sample, step, outcome = program
            one = functools.partial(_advance, sample, step, None, key_run, n=1, mesh=mesh)
            last = functools.partial(_end, sample, outcome, key_run, mesh=mesh)
            advance = functools.partial(streaming.advance, one, last, source)
        return _drive(advance, start, steps, chunk, hooks, _finite(algorithm, program[1]))


def fit_many(
    algorithm: Algorithm | Callable[..., Algorithm],
    data: Any = None,
    sample: Sample | None = None,
    *,
    keys: jax.Array,
    hyperparameters: Mapping[str, Any] | None = None,
    steps: int,
    chunk: int | None = None,
    hooks: Sequence[Hook] = (),
    state: Any = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Run:
    """Train many lanes at once, in one compiled program: `fit` under `jax.vmap`.

    Args:
        algorithm: an algorithm, or a function of the hyper-parameters that returns one:
            `lambda learning_rate: supervised(model, loss, optax.adam(learning_rate))`.
        data: as in `fit`; all lanes share it, and a stream's batches.
        sample: as in `fit`.
        keys: one key for each lane, shape `(lanes,)`: `jax.random.split(jax.random.key(0), 8)`.
        hyperparameters: name -> values, each of shape `(lanes,)`.
        steps: as in `fit`.
        chunk: as in `fit`.
        hooks: as in `fit`; states and metrics have a leading lane axis.
        state: as in `fit`, with a leading lane axis.
        mesh: devices to share the lanes, `jax.make_mesh((8,), ("lanes",))`. States lie along its
            axis `lanes` and stay there; rows lie along `data` where it has that axis too.

    Returns:
        A run whose state and history have a leading lane axis. It agrees with single runs to
        rounding. A lane that diverges shows in its own history and disturbs no other.

    Raises:
        ValueError: as `fit`; also when keys and hyper-parameters differ in length, a
            hyper-parameter is not finite, or the mesh has no axis `lanes` or one that does not
            divide the lanes.
    """
    known = isinstance(algorithm, Algorithm) or callable(algorithm)
    require(known, "an Algorithm or a function that returns one", type(algorithm).__name__)
    sample = _sampler(sample, data)
    _require_key(keys, (None,))
    lanes = keys.shape[0]
    values = {name: np.asarray(value) for name, value in (hyperparameters or {}).items()}
    for name, value in values.items():
        require(value.shape == (lanes,), f"{name} of shape ({lanes},), as keys", value.shape)
        require(is_numeric(value), f"{name} to be numbers", f"dtype {value.dtype}")
        require(bool(np.isfinite(value).all()), f"{name} to be finite", value)
    require(callable(algorithm) or not values, "a function of the hyperparameters", algorithm)
    mesh = check_mesh(mesh, "lanes")
    devices = 1 if mesh is None else mesh.shape["lanes"]
    require(lanes % devices == 0, f"lanes in multiples of the mesh's {devices}", lanes)
    split = jax.vmap(jax.random.split)(keys)
    key_init, key_run, values = place((split[:, 0], split[:, 1], values), mesh, "lanes")
    if state is None:
        init = read(lambda key, of: _build(algorithm, of).init(key), *shapes((key_init, values), 1))
        state = _start_lanes(init, key_init, values, mesh)
    start = place(state, mesh, "lanes")
    with _opened(data, _step_of(state), key_run[0], mesh) as (given, placed, source):
        sample, step, _ = check_use(
            lambda batch, of, state, key: _build(algorithm, of).step(state, batch, key),
            given, *shapes((values, state, key_run), 1), sample=_along_rows(sample, placed),
        )  # fmt: skip
        _check_step(step, shapes(state, 1))
        lanes_of = functools.partial(_advance_lanes, sample, step, key_run, values, mesh=mesh)
        advance = functools.partial(lanes_of, placed)
        if source is not None:
            one = functools.partial(lanes_of, n=1)
            advance = functools.partial(streaming.advance, one, lambda *_: {}, source)
        return _drive(advance, start, steps, chunk, hooks)


@contextlib.contextmanager
def _opened(data, step, key, mesh):
    """What the step is read with, the same on the device, and a stream's batches from a step on."""
    if not isinstance(data, streaming.Stream):
        yield data, check_data(data, mesh), None
        return
    with contextlib.closing(streaming.prefetched(data, step, key, mesh)) as source:
        first = next(source, None)
        require(first is not None, "a stream of batches", "none")
        check_data(first)
        yield first, None, source


def _build(algorithm: Any, hyperparameters: dict[str, jax.Array]) -> Algorithm:
    if isinstance(algorithm, Algorithm):
        return algorithm
    built = algorithm(**hyperparameters)
    require(isinstance(built, Algorithm), "a function that returns an Algorithm", built)
    return built


def _read(algorithm, sample, given, data, state, key):
    """The sampler, the step and the outcome as they are now."""
    of, key_of = shapes((state, key))
    sample, step, _ = check_use(
        lambda batch, state, key: algorithm.step(state, batch, key),
        given, of, key_of, sample=_along_rows(sample, data),
    )  # fmt: skip
    _check_step(step, of)
    return sample, step, read(functools.partial(_outcome, algorithm), of, sample.func.outputs)


def _check_step(step: Any, state: Any) -> None:
    """Refuse a step that a scan cannot take, or whose metrics make no history.

    Args:
        step: as `check_use` reads it.
        state: shapes and dtypes of what it is given.
    """
    outputs = step.func.outputs
    pair = isinstance(outputs, tuple) and len(outputs) == 2
    require(pair, "a step that returns (state, metrics)", jax.tree.structure(outputs))
    after, metrics = outputs
    of = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
    before, after = (
        {of(path): (leaf.shape, leaf.dtype) for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (state, after)
    )
    differ = [name for name in before | after if before.get(name) != after.get(name)]
    said = lambda leaf: "nothing" if leaf is None else f"{leaf[1]} of shape {leaf[0]}"  # noqa: E731
    for name in differ[:1]:
        expected = f"a step that keeps its state, in which {name} is {said(before.get(name))}"
        require(False, expected, said(after.get(name)))
    require(isinstance(metrics, Mapping), "a dict of metrics", type(metrics).__name__)
    for name, value in metrics.items():
        shape = getattr(value, "shape", None)
        got = f"shape {shape}" if shape is not None else type(value).__name__
        require(shape == (), f"the metric {name!r} to be a scalar", got)


def _finite(algorithm: Algorithm, step: Any) -> frozenset[str]:
    """The names of the metrics that must be finite."""
    known = step.func.outputs[1]
    if algorithm.finite is None:
        return frozenset(known) & {"loss"}
    for name in algorithm.finite:
        require(name in known, f"names in `finite` among the metrics {sorted(known)}", repr(name))
    return frozenset(algorithm.finite)


@jax.jit
def _call(function, *arguments):
    return function(*arguments)


@functools.partial(jax.jit, static_argnames="mesh")
def _start_lanes(init, keys, values, mesh):
    # in turn: orthogonal initial weights come of a QR decomposition, and on CPU jaxlib 0.10.1
    # hangs where a program computes two batches of them at once
    start = functools.partial(jax.lax.map, lambda of: init(*of))
    if mesh is None:
        return start((keys, values))
    lanes = PartitionSpec("lanes")
    divided = jax.shard_map(start, mesh=mesh, in_specs=lanes, out_specs=lanes, check_vma=False)
    return divided((keys, values))


# Neither donates the state: the last good one must survive a chunk that goes wrong, and inside
# the scan XLA updates in place anyway. Both take the step and the sampler as they were read, so
# that what is compiled for one algorithm serves all that are the same program.
@functools.partial(jax.jit, static_argnames=("n", "mesh"))
def _advance(sample, step, outcome, key, data, state, n, mesh):
    data = _rows(data)
    one = lambda state, batch, key: step(batch, (state, key))  # noqa: E731
    state, metrics = run_steps(one, state, data, sample, key, n)
    found = {} if outcome is None else _ended(sample, outcome, key, data, state)
    return constrain((state, metrics, found), mesh)


@functools.partial(jax.jit, static_argnames="mesh")
def _end(sample, outcome, key, data, state, mesh):
    return constrain(_ended(sample, outcome, key, data, state), mesh)


def _ended(sample, outcome, key, data, state):
    return outcome(state, sample(data, jax.random.split(key)[0], state.step))


def _outcome(algorithm, state, batch) -> dict[str, jax.Array]:
    """What the metrics, which are those before each update, do not tell of the last one."""
    has_params = lambda node: hasattr(node, "params")  # noqa: E731 - a `TrainState` or the like
    nodes = filter(has_params, jax.tree.leaves(state, is_leaf=has_params))
    leaves = [x for node in nodes for x in jax.tree.leaves(node.params)]
    leaves = [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]
    bad = [jnp.where(jnp.isfinite(leaf), 0, leaf).sum().astype(float) for leaf in leaves]
    outcome = {"a parameter": sum(bad, jnp.zeros(()))}
    if algorithm.loss is not None and has_params(state):
        outcome["metric 'loss'"] = algorithm.loss(state.params, state, batch)
    return outcome


@functools.partial(jax.jit, static_argnames=("n", "mesh"))
def _advance_lanes(sample, step, keys, values, data, state, n, mesh):
    data = _rows(data)

    def lane(key, of, state):
        one = lambda state, batch, key: step(batch, (of, state, key))  # noqa: E731
        return run_steps(one, state, data, sample, key, n)

    over = jax.vmap(lane, spmd_axis_name=None if mesh is None else "lanes")
    state, metrics = over(keys, values, state)
    return constrain(state, mesh, "lanes"), constrain(metrics, mesh), {}


def _rows(data: Any) -> Any:
    """The split, its repetitions left out; to be traced."""
    return data.split() if isinstance(data, Rows) else data


def _along_rows(sample: Sample, data: Any) -> Sample:
    """The sampler with its batches divided among devices as the split is."""
    if not isinstance(data, Rows):
        return sample
    # left alone, a batch drawn from all devices' rows would be whole on each of them
    return lambda *arguments: shard(sample(*arguments), data.mesh)


def _drive(advance, state, steps, chunk, hooks, finite: frozenset[str] | None = None) -> Run:
    steps = require_positive_int("steps", steps)
    chunk = require_positive_int("chunk", -(-steps // 20) if chunk is None else chunk)
    first = _step_of(state)
    config = {"first_step": first, "steps": steps, "chunk": chunk}
    records: list[dict[str, np.ndarray]] = []

    def run(state: Any) -> Run:
        names = records[0] if records else ()
        history = {name: np.concatenate([r[name] for r in records], -1) for name in names}
        return Run(state, history, config)

    with contextlib.ExitStack() as stack:
        for hook in hooks:
            if isinstance(hook, contextlib.AbstractContextManager):
                stack.enter_context(hook)
        done = 0
        while done < steps:
            n = min(chunk, steps - done)
            new_state, metrics, outcome = jax.block_until_ready(advance(state, n))
            metrics, outcome = jax.tree.map(_host, (dict(metrics), outcome))
            if finite is not None:
                watched = {name: metrics[name] for name in metrics if name in finite}
                _require_finite(watched, outcome, first + done, n, functools.partial(run, state))
            state, done = new_state, done + n
            records.append(metrics)
            event, ended = Chunk(first + done, first + steps, state, metrics), False
            for hook in hooks:  # each sees also the chunk that ends the run
                answer = hook(event)
                if isinstance(answer, Chunk):
                    event = answer
                else:
                    ended = bool(answer) or ended
            state = event.state
            if ended:
                break
    return run(state)


def _host(values: jax.Array) -> np.ndarray:
    """In float32 where the numbers have 16 bits: numpy sums them in 16 bits."""
    array = np.asarray(values)
    low = jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize < 4
    return array.astype(np.float32) if low else array


def _step_of(state: Any) -> int:
    """Of the first lane here: on several hosts the others are out of reach."""
    return int(np.ravel(jnp.asarray(state.step).addressable_data(0))[0])


def _require_finite(
    metrics: dict[str, np.ndarray],
    outcome: dict[str, Any],
    done: int,
    steps: int,
    good: Callable[[], Run],
) -> None:
    last = done + steps
    window = f"in the window of steps {done + 1} to {last}"
    bad = {name: np.flatnonzero(~np.isfinite(values)) for name, values in metrics.items()}
    first, name = min(((at[0], name) for name, at in bad.items() if at.size), default=(0, None))
    after = [
        f"{what} became {v} after step {last} (the last {window})"
        for what, v in outcome.items()
        if not np.isfinite(v)
    ]
    if name is not None:
        what = (
            f"metric {name!r} became {metrics[name][first]} at step {done + first + 1} ({window})"
        )
    elif after:
        what = after[-1]
    else:
        return
    raise NonFiniteError(
        f"{what}; the state after step {done} is kept as `.run` of this error",
        good(),
    )


def _sampler(sample: Sample | None, data: Any) -> Sample:
    if sample is None and (data is None or isinstance(data, streaming.Stream)):
        return lambda data, key, step: data  # noqa: ARG005
    require(callable(sample), "a sampler such as sampling.epochs(64)", repr(sample))
    assert sample is not None
    return sample


def _require_key(key: Any, shape: tuple[int | None, ...]) -> None:
    expected = "jax.random.key(seed)" if not shape else "keys, jax.random.split(key, lanes)"
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    require(typed, expected, type(key).__name__)
    require(key.ndim == len(shape) and 0 not in key.shape, expected, f"keys of shape {key.shape}")
