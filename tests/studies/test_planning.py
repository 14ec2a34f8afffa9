"""What a study will take: products, places and bytes against closed forms and the real state."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn, studies
from jaxml.core.flops import flops
from jaxml.studies.sweep import cost_model, rows
from jaxml.studies.sweep.accumulation import Pack, Settings, start
from jaxml.studies.sweep.cost_model import Plan
from jaxml.training import losses


def test_the_plan_says_what_it_takes():
    lanes = studies.grid([8, 32, 128, 512], [0.1, 0.2], seeds=2)
    planned = studies.plan(lanes, examples=1000, size=2410, epochs=10)
    assert isinstance(planned, Plan)
    assert sorted(np.concatenate([b.lanes for b in planned.buckets])) == list(range(16))
    for bucket in planned.buckets:
        sizes = lanes.batch_size[bucket.lanes]
        assert (sizes % bucket.microbatch == 0).all()
        updates = planned.updates[bucket.lanes]
        np.testing.assert_array_equal(bucket.ticks, updates * sizes // bucket.microbatch)
    assert planned.waste < 0.06  # no padding: only what a budget's remainder leaves
    assert "16 lanes of 2,410 parameters" in str(planned)


def test_a_second_program_where_it_saves_more_than_its_compilation():
    """The benchmark's 360 lanes take 7.4 s by one program, its compilation included, 7.0 by two."""
    lanes = studies.grid([8, 32, 112, 448, 896], np.geomspace(1e-3, 1, 24), seeds=3)
    options = {"examples": 1077, "size": 2410, "example_flops": 10_112}
    assert [b.microbatch for b in studies.plan(lanes, epochs=40, **options).buckets] == [8, 112]
    assert [b.microbatch for b in studies.plan(lanes, epochs=10, **options).buckets] == [8]


def task_and_data(model, shape):
    data = {"x": np.zeros((20, *shape), np.float32), "y": np.zeros(20, np.int32)}
    return studies.task(model, losses.softmax_cross_entropy), data


CNN = nn.cnn((8, 8, 1), 10, channels=[4, 6], hidden=[5])
# multiply-adds of a forward pass: places x window x channels in x out, each layer's
CONVOLUTIONS = [64 * 9 * 1 * 4, 16 * 9 * 4 * 6]
DENSE = [4 * 6 * 5, 5 * 10]


@pytest.mark.parametrize(
    ("model", "shape", "layers"),
    [
        (nn.mlp([64, 32, 10]), (64,), [64 * 32, 32 * 10]),
        (nn.mlp([7, 5, 6, 3]), (7,), [35, 30, 18]),
        (CNN, (8, 8, 1), CONVOLUTIONS + DENSE),
    ],
)
def test_products_are_counted_as_often_as_they_are_used(model, shape, layers):
    """Forward, to the weights, and to the inputs but those of the first layer."""
    task, data = task_and_data(model, shape)
    assert studies.gradient_flops(task, data) == 2 * (3 * sum(layers) - layers[0])


def test_products_against_the_compiler_s_count():
    """XLA counts elementwise work beside."""
    cnn = nn.cnn((8, 8, 1), 10, channels=[8, 16], hidden=[32])
    task, data = task_and_data(cnn, (8, 8, 1))
    params, state = jax.eval_shape(task.init, jax.random.key(0))

    def loss(params, state):
        return task.loss(params, state, data, jax.random.key(0))[0].mean()

    analysis: Any = jax.jit(jax.grad(loss)).lower(params, state).cost_analysis()
    counted = analysis["flops"] / len(data["x"])
    assert 0.8 * counted < studies.gradient_flops(task, data) < counted
    assert studies.gradient_flops(task, data) > 5 * 6 * studies.size_of(task)


@pytest.mark.parametrize("inside", ["jit", "scan", "checkpoint", "cond", "vmap"])
def test_products_inside_other_programs(inside):
    a, b = jnp.ones((3, 4)), jnp.ones((4, 4))
    one = 2 * 3 * 4 * 4
    wrapped = {
        "jit": (jax.jit(lambda a: a @ b), one),
        "scan": (lambda a: jax.lax.scan(lambda c, _: (c @ b, None), a, length=5)[0], 5 * one),
        "checkpoint": (jax.checkpoint(lambda a: a @ b), one),
        "cond": (lambda a: jax.lax.cond(True, lambda a: a @ b @ b, lambda a: a @ b, a), 2 * one),
        "vmap": (jax.vmap(lambda row: row @ b), one),
    }
    function, expected = wrapped[inside]
    assert flops(function, a) == expected


def test_the_plan_of_a_study_uses_the_count():
    task, data = task_and_data(CNN, (8, 8, 1))
    lanes = studies.grid([4], [0.1], seeds=1)
    count = studies.gradient_flops(task, data)
    planned = studies.plan(lanes, examples=20, size=10, epochs=3, example_flops=count)
    assert planned.flops == count * 60
    assert planned.waste == 0


@pytest.mark.parametrize(("rates", "seeds"), [(13, 2), (15, 1), (25, 3)])
def test_places_that_stay_empty_are_waste(rates, seeds, monkeypatch):
    """13 lanes a seed stand in two rows of seven: one place of fourteen is empty."""
    monkeypatch.setattr(rows, "by_cores", lambda _: True)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    lanes = studies.grid([8], np.geomspace(0.01, 1, rates).tolist(), seeds=seeds)
    planned = studies.plan(lanes, examples=80, size=100, epochs=1)
    (bucket,) = planned.buckets
    places = {(13, 2): 28, (15, 1): 16, (25, 3): 81}[rates, seeds]
    assert bucket.places == places
    assert planned.waste == pytest.approx(1 - rates * seeds / places)
    assert planned.flops == 600 * 80 * places


def test_seconds_and_words_of_a_plan(monkeypatch):
    """600 FLOPs an example, of 1e6 a second; a tick costs 20 examples more, a program 4 seconds."""
    monkeypatch.setattr(cost_model, "_flops_a_second", lambda: 1e6)
    monkeypatch.setattr(rows, "by_cores", lambda _: False)
    lanes = studies.grid([4, 40], [0.1, 0.2], optimizers=["sgd"], seeds=1)
    options = {"examples": 80, "size": 100, "epochs": 2}
    two = studies.plan(lanes, microbatches=[4, 40], **options)
    assert [b.examples for b in two.buckets] == [2 * 160, 2 * 160]
    assert [b.work for b in two.buckets] == [320 * (1 + 20 / 4), 320 * (1 + 20 / 40)]
    assert two.seconds == pytest.approx(600 * (1920 + 480) / 1e6 + 2 * 4)
    assert two.updates.tolist() == [40, 40, 4, 4]
    assert str(two).startswith(
        "4 lanes of 100 parameters on 80 examples; 2 compiled programs: 2 of m=4, 2 of m=40; "
        "at most 40, 4 ticks, 3.8e+05 FLOPs (0% for no lane), 0 MiB for the lanes; about 9 s"
    )
    both = studies.plan(lanes, steps=3, **options)
    assert both.updates.tolist() == [3] * 4  # the smaller budget
    assert [b.microbatch for b in both.buckets] == [4]  # a second program does not pay
    # as few as one lane a batch size: half of the larger one's places serve no lane
    assert both.waste == pytest.approx(1 - (2 * 12 + 2 * 120) / (4 * 120))


@pytest.mark.parametrize("flops", [1e3, 1e8, 1e10])
def test_buckets_cost_least_of_all_there_are(flops):
    """Every choice of up to four microbatches among the divisors, priced one by one."""
    updates, counts = {6: 400, 9: 300, 24: 90, 60: 50}, {6: 3, 9: 3, 24: 1, 60: 2}

    def price(chosen):
        total = 2.8e11 * len(chosen)
        for b, n in updates.items():
            m = max(m for m in chosen if b % m == 0)
            total += counts[b] * n * (b // m) * (m + 20) * flops
        return total

    divisors = [1, 2, 3, 6, 9, 12, 24, 60]
    options = [
        some for k in range(1, 5) for some in itertools.combinations(divisors, k)
        if all(any(b % m == 0 for m in some) for b in updates)
    ]  # fmt: skip
    found = cost_model._choose(updates, counts, flops)
    assert price(found) == min(map(price, options))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adagrad", "adam"])
@pytest.mark.parametrize("sizes", [[4], [4, 8]])
def test_bytes_are_those_of_the_state(optimizer, sizes):
    task, _ = task_and_data(nn.mlp([3, 4, 2]), (3,))
    lanes = studies.grid(sizes, [0.1, 0.2], optimizers=[optimizer], seeds=2)
    size = studies.size_of(task)
    planned = studies.plan(lanes, examples=20, size=size, epochs=1, microbatches=[4])
    (bucket,) = planned.buckets
    slots = optimizer in ("momentum", "adam"), optimizer in ("adagrad", "adam")
    settings = Settings(task, 4, slots, max(sizes) > 4, False, 1, 20, ())
    places = rows.first_rows(lanes, bucket.lanes, None).shape
    numbers: Any = dict.fromkeys(Pack._fields, jax.ShapeDtypeStruct(places, jnp.int32))
    numbers["key"] = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), places[0]))
    pack = Pack(**numbers)
    state = jax.eval_shape(lambda pack: start(settings, pack), pack)
    held = jax.tree.leaves((state.params, state.slots, state.total))
    assert planned.bytes == sum(leaf.size * leaf.dtype.itemsize for leaf in held)
