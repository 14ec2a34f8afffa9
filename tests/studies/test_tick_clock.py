"""Lanes against plain loops over optax, and against other arrangements of themselves."""

import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import nn, studies
from jaxml.core.serialization import from_npz, to_npz
from jaxml.studies.sweep import accumulation, executor, rows
from jaxml.studies.sweep.lane_optimizer import OPTIMIZERS, two_slots, update
from jaxml.training import losses, optimizers, sampling

OPTAX = {
    "sgd": lambda rate, beta: optimizers.sgd(rate),
    "momentum": optimizers.momentum,
    "nesterov": optimizers.nesterov,
    "adagrad": lambda rate, beta: optimizers.adagrad(rate),
    "rmsprop": lambda rate, beta: optimizers.rmsprop(rate),
    "adam": optimizers.adam,
    "adamw": lambda rate, beta: optax.adamw(rate, b1=beta, weight_decay=1e-2),
    "radam": lambda rate, beta: optax.radam(rate, b1=beta),
}
# small enough that a last digit stays one over 200 updates
RATES = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adagrad": 0.02}


@pytest.mark.parametrize("name", OPTAX)
def test_an_update_is_optax_s(name):
    with jax.enable_x64(True):
        key = jax.random.key(0)
        params = {"a": jax.random.normal(key, (5, 3)), "b": jnp.ones(4)}
        zeros = jax.tree.map(jnp.zeros_like, params)
        optimizer = OPTAX[name](0.01, 0.8)
        lane = jax.tree.map(lambda c: c[0], two_slots([name], [0.8]))
        ours, slots, theirs, state = params, (zeros, zeros), params, optimizer.init(params)

        @jax.jit
        def both(t, g, ours, slots, theirs, state):
            change, state = optimizer.update(g, state, theirs)
            return (
                *update(lane, 0.01, t, ours, slots, g),
                optax.apply_updates(theirs, change),
                state,
            )

        for t in range(60):
            key = jax.random.fold_in(key, t)
            g = jax.tree.map(lambda p, k=key: jax.random.normal(k, p.shape) * 0.3, params)
            g["b"] = g["b"] * (t > 3)  # no gradient at first
            ours, slots, theirs, state = both(t, g, ours, slots, theirs, state)
            for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13)


def test_every_optimizer_is_compared():
    assert set(OPTAX) == set(OPTIMIZERS)


@pytest.fixture(scope="module")
def small():
    """A small net on random data whose number of rows no batch size divides."""
    random = np.random.default_rng(0)
    x = random.normal(size=(103, 6))
    y = (x @ random.normal(size=(6, 3))).argmax(1)
    model = nn.mlp([6, 5, 3], activation="tanh")

    def init(key):
        params, state = model.init(key)
        return jax.tree.map(lambda p: p.astype(jnp.result_type(float)), params), state

    task = studies.task(
        model._replace(init=lambda key, x=None: init(key)), losses.softmax_cross_entropy
    )
    return task, {"x": x, "y": y}


def plain(task, data, lane, updates):
    """One lane as a loop: the stream of examples, a mean gradient, an optax optimiser."""
    size, batch = len(data["x"]), int(lane.batch_size[0])
    key_init, key_order, _ = jax.random.split(jax.random.key(int(lane.seed[0])), 3)
    params, state = task.init(key_init)
    name, rate = str(lane.optimizer[0]), float(lane.learning_rate[0])
    # optax's own schedules are computed in float32
    warm = round(float(lane.warmup[0]) * updates)
    t = np.arange(updates)
    share = np.clip((t - warm) / (updates - warm), 0, 1)
    falls = {"constant": 1 + 0 * share, "linear": 1 - share}
    falls["cosine"] = (1 + np.cos(np.pi * share)) / 2
    table = rate * np.where(t < warm, t / max(warm, 1), falls[str(lane.schedule[0])])
    optimizer = OPTAX[name](lambda count: jnp.asarray(table)[count], float(lane.momentum[0]))
    slots = optimizer.init(params)
    orders = np.concatenate(
        [
            sampling.permute(jax.random.fold_in(key_order, e), jnp.arange(size), size)
            for e in range(-(-updates * batch // size))
        ]
    )

    @jax.jit
    def step(params, slots, rows):
        g = jax.grad(lambda p: task.loss(p, state, rows, None)[0].mean())(params)
        change, slots = optimizer.update(g, slots, params)
        return optax.apply_updates(params, change), slots

    for t in range(updates):
        some = orders[t * batch : (t + 1) * batch]
        params, slots = step(params, slots, {k: v[some] for k, v in data.items()})
    return jax.flatten_util.ravel_pytree(params)[0]


@pytest.mark.slow
@pytest.mark.parametrize(("schedule", "every"), [("constant", 1), ("cosine", 5)])
def test_lanes_are_plain_loops(small, schedule, every):
    """All optimisers at four batch sizes at once, 200 updates, float64: every lane, or some."""
    task, data = small
    rates = {name: [RATES.get(name, 0.002)] for name in OPTIMIZERS}
    lanes = studies.grid(
        [2, 4, 12, 48],
        rates,
        optimizers=list(OPTIMIZERS),
        schedules=[schedule],
        warmup=0.0 if schedule == "constant" else 0.1,
        seeds=[3],
    )
    with jax.enable_x64(True):
        study = studies.batch_size(
            task, data, lanes, splits={"train": data}, steps=200, keep_params=True
        )
        assert set(study.exits) == {"budget"}
        assert (study.updates == 200).all()
        for i in range(0, len(lanes), every):
            expected = plain(task, data, lanes.take([i]), 200)
            np.testing.assert_allclose(study.params[i], expected, rtol=0, atol=1e-10)


@pytest.mark.slow
def test_order_of_lanes_and_buckets_change_nothing(small):
    task, data = small
    lanes = studies.grid([4, 12], [0.05, 0.2], optimizers=["momentum", "adam"], seeds=2)
    order = np.random.default_rng(0).permutation(len(lanes))
    options = {"splits": {"train": data}, "epochs": 12, "keep_params": True}
    with jax.enable_x64(True):
        one = studies.batch_size(task, data, lanes, **options)
        again = studies.batch_size(task, data, lanes, **options)
        permuted = studies.batch_size(task, data, lanes.take(order), **options)
        other = studies.batch_size(task, data, lanes, microbatches=[4], **options)
    assert set(other.microbatch) == {4}
    np.testing.assert_array_equal(one.params, again.params)  # the same width, to the bit
    np.testing.assert_allclose(permuted.params, one.params[order], rtol=0, atol=1e-6)
    np.testing.assert_allclose(other.params, one.params, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(other.updates, one.updates)


@pytest.mark.slow
def test_going_on_where_it_stopped(small):
    task, data = small
    lanes = studies.grid([4, 48], [0.05, 0.5], seeds=2)
    options = {"splits": {"train": data}, "epochs": 30, "keep_params": True, "microbatches": [4]}
    whole = studies.batch_size(task, data, lanes, **options)
    stopped = studies.batch_size(task, data, lanes, on_chunk=lambda *_: True, **options)
    assert (stopped.exits == "").any()
    kinds = (studies.Study, studies.Lanes, studies.Target)
    kept = from_npz(to_npz(stopped), kinds)
    resumed = studies.batch_size(task, data, lanes, done=kept, **options)
    np.testing.assert_array_equal(resumed.params, whole.params)
    for name, column in whole.records.items():
        np.testing.assert_array_equal(resumed.records[name], column, err_msg=name)


@pytest.mark.slow
def test_exits(small):
    """A target met, a budget spent, a rate that blows up, and a plateau, each by its own name."""
    task, data = small
    target = studies.Target(0.3, "loss", "train")
    lanes = studies.grid([4], [1e-5, 0.1, 3e38], optimizers=["sgd"], seeds=1)
    study = studies.batch_size(task, data, lanes, splits={"train": data}, target=target, epochs=40)
    assert study.exits.tolist() == ["budget", "target", "not finite"]
    assert study.updates[0] == 40 * 103 // 4
    hit = study.records["lane"] == 1
    values = study.records["train loss"][hit]
    assert values[-1] <= 0.3 < values[:-1].min()
    assert study.records["updates"][hit][-1] == study.steps[1] == study.updates[1]
    assert np.isinf(study.steps[[0, 2]]).all()
    wild = studies.grid([4], [0.1, 1e6], optimizers=["sgd"], seeds=1)  # saturates at once
    study = studies.batch_size(
        task, data, wild, splits={"train": data}, target=target, epochs=400, plateau=1.0
    )
    assert study.exits.tolist()[1] == "plateau"
    assert study.updates[1] < 400 * 103 // 4


@pytest.mark.slow
def test_above_is_below_of_the_negative(small):
    """A target from below and one from above end every lane alike: met, plateau and budget."""
    task, data = small

    def measures(*given, loss=task.measures):
        values = loss(*given)
        return values | {"gain": -values["loss"]}

    task = task._replace(measures=measures)
    lanes = studies.grid([4], [1e-4, 0.1, 1e6], optimizers=["sgd"], seeds=1)
    options = {"splits": {"train": data}, "epochs": 60, "plateau": 1.0, "noise": False}
    shares, began = [], time.perf_counter()
    before = accumulation.advance._cache_size()
    below = studies.batch_size(
        task, data, lanes, target=studies.Target(0.6, "loss", "train"), **options,
        on_chunk=lambda _, share: shares.append(share),
    )  # fmt: skip
    assert 0 < sum(below.seconds.values()) < time.perf_counter() - began
    assert accumulation.advance._cache_size() - before == sum(map(len, below.programs.values()))
    assert below.exits.tolist() == ["budget", "target", "plateau"]
    assert shares[0] > 0
    assert (np.diff(shares) >= 0).all()
    assert shares[-1] == 1
    target = studies.Target(-0.6, "gain", "train", above=True)
    above = studies.batch_size(task, data, lanes, target=target, **options)
    assert above.exits.tolist() == below.exits.tolist()
    np.testing.assert_array_equal(above.updates, below.updates)
    np.testing.assert_array_equal(above.records["train gain"], -below.records["train loss"])
    # every update is measured once, in order
    for lane in range(3):
        own = below.records["lane"] == lane
        assert (np.diff(below.records["updates"][own]) > 0).all()
        assert below.records["updates"][own][0] == 0


def test_lanes_are_moved_together_where_that_saves(monkeypatch):
    """Three of eight live: a row of four, if the places saved outweigh a compilation."""
    lanes = studies.grid([4], np.geomspace(0.1, 1, 8), seeds=[5])
    exits = np.array(["", "target", "budget", "", "target", "", "budget", "target"])
    study = types.SimpleNamespace(lanes=lanes, exits=exits)
    index = np.arange(8)[None]
    monkeypatch.setattr(executor, "by_cores", lambda _: False)
    closer = executor._compact(study, index, None, executor.COMPILE / 3.9)
    assert closer[0].tolist() == [[0, 3, 5, -1]]
    assert closer[1].tolist() == [[0, 3, 5, 0]]
    assert executor._compact(study, index, None, executor.COMPILE / 4.1) is None
    study.exits = np.array(["target"] * 8)
    assert executor._compact(study, index, None, 1e20) is None
    # of two seeds, rows that are fewer, where cores take a row each and the width is known
    two = studies.grid([4], [0.1, 0.2, 0.4, 0.8], seeds=[5, 6])
    index = np.array([[0, 2, 4, -1], [1, 3, 5, 7], [6, -1, -1, -1]])
    study = types.SimpleNamespace(lanes=two, exits=np.where(np.arange(8) == 2, "budget", ""))
    monkeypatch.setattr(executor, "by_cores", lambda _: True)
    places, chosen = executor._compact(study, index, None, 1.0)
    assert places.tolist() == [[0, 4, 6, -1], [1, 3, 5, 7]]
    assert index.ravel()[chosen].tolist() == [[0, 4, 6, 0], [1, 3, 5, 7]]


def test_where_lanes_are_measured():
    assert executor.measurements(10, 3, 1e-9).tolist() == [0, 3, 6, 9, 10]
    assert executor.measurements(20, 1, 1.0).tolist() == [0, 1, 2, 4, 8, 16, 20]


def test_rows_on_a_processor():
    """Twelve lanes a core at a time, and no core idle while another has several rows."""
    assert rows.by_cores(None) == (jax.default_backend() == "cpu")
    mesh = jax.make_mesh((1,), ("lanes",))
    assert not rows.by_cores(mesh)
    lanes = studies.grid([4], np.geomspace(0.1, 1, 30), seeds=[7])
    assert rows.first_rows(lanes, np.arange(30), mesh).shape == (1, 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "by_cores", lambda _: True)
        for cores, shape in {1: (3, 10), 2: (3, 10), 5: (5, 6), 16: (15, 2)}.items():
            patch.setattr("os.cpu_count", lambda cores=cores: cores)
            assert rows.first_rows(lanes, np.arange(30), None).shape == shape
    assert rows.even(5, mesh) == 5


@pytest.mark.parametrize("by_cores", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_finished_lanes_make_room(small, monkeypatch, by_cores):
    """Compaction changes no lane, whether cores share the lanes or all go at once."""
    for module in (rows, executor):
        monkeypatch.setattr(module, "by_cores", lambda _: by_cores)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    task, data = small
    lanes = studies.grid([4], np.geomspace(1e-3, 1.0, 16), optimizers=["sgd"], seeds=2)
    # all of the second seed's lanes end early
    lanes = lanes.take((lanes.seed == 0) | (lanes.learning_rate > 0.05))
    options = {
        "splits": {"train": data},
        "target": studies.Target(0.6, "loss", "train"),
        "epochs": 60,
        "keep_params": True,
    }
    wide = studies.batch_size(task, data, lanes, **options)
    calls, advance = [], module.advance

    class Counting:
        lower = advance.lower

        def __call__(self, settings, pack, *rest):
            calls.append(pack.ticks.size)
            return advance(settings, pack, *rest)

    monkeypatch.setattr(module, "advance", Counting())
    monkeypatch.setattr(module, "COMPILE", 0)
    narrow = studies.batch_size(task, data, lanes, **options)
    assert (wide.exits[lanes.seed == 1] == "target").all()
    assert wide.programs[4] == ([8] if by_cores else [32])
    assert calls[0] == wide.programs[4][0]
    assert min(calls) < calls[0]
    assert len(narrow.programs[4]) == len(set(calls)) > 1
    assert narrow.exits.tolist() == wide.exits.tolist()
    np.testing.assert_allclose(narrow.params, wide.params, atol=1e-5)
    np.testing.assert_array_equal(narrow.updates, wide.updates)
