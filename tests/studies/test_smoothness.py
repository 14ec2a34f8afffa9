"""Along the gradient of a quadratic, where all is known, and the clock of updates."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import studies
from jaxml.studies.batch_scaling import throughput as clocked
from jaxml.studies.sweep.lane_optimizer import two_slots
from jaxml.training import sampling

H = np.array([3.0, 0.5])
X = np.random.default_rng(0).normal(size=(10, 2))
pytestmark = pytest.mark.usefixtures("x64")


def values(w, batch):
    return 0.5 * (H * (w - batch["x"]) ** 2).sum(-1)


QUADRATIC = studies.Task(
    init=lambda key: (jnp.ones(2), {"updates": jnp.zeros(())}),
    loss=lambda w, state, batch, key: (values(w, batch), {"updates": state["updates"] + 1}),
    measures=lambda w, state, batch: {"loss": values(w, batch)},
)


def by_hand(rate, steps, every, sizes):
    """Batches of 4 of 10 rows, two an epoch; looks before updates 0, every, 2·every, …"""
    order = jax.random.split(jax.random.key(5), 3)[1]
    w, rows = np.ones(2), []
    for t in range(-(-steps // every) * every):
        place = t % 2 * 4 + np.arange(4)
        x = X[sampling.permute(jax.random.fold_in(order, t // 2), place, 10)]
        gradient = H * (w - x.mean(0))
        if t % every == 0:
            loss = lambda v, x=x: (0.5 * H * (v - x) ** 2).sum(1).mean()  # noqa: E731
            along = [loss(w - s * gradient) for s in sizes]
            change = max(sizes) * np.linalg.norm(H * gradient)
            ratio = np.linalg.norm(H * gradient) / np.linalg.norm(gradient)
            rows.append((loss(w), min(along), max(along), change, ratio))
        w = w - rate * gradient
    return w, np.array(rows).T


@pytest.mark.slow
def test_a_quadratic_s_smoothness():
    sizes = (0.1, 0.9, 0.4)
    options = {"batch_size": 4, "learning_rate": 0.2, "steps": 8, "every": 3, "sizes": sizes}
    found = studies.smoothness(QUADRATIC, {"x": X}, seed=5, **options)
    end, rows = by_hand(0.2, 8, 3, sizes)
    assert found.updates.tolist() == [0, 3, 6]
    seen = [found.loss, found.lowest, found.highest, found.change, found.lipschitz]
    np.testing.assert_allclose(seen, rows, rtol=1e-10)
    np.testing.assert_allclose(found.params, end, rtol=1e-10)
    assert found.model_state["updates"] == 9


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"batch_size": 11}, "a batch size of at most 10"),
        ({"batch_size": 0}, "a batch size of at most 10"),
        ({"steps": 0}, "steps"),
        ({"every": 0}, "every"),
        ({"sizes": [0.0]}, "sizes above 0"),
        ({"sizes": [np.inf]}, "sizes above 0"),
        ({"sizes": []}, "sizes above 0"),
    ],
)
def test_is_refused(bad, message):
    options = {"batch_size": 4, "learning_rate": 0.2, "steps": 8}
    with pytest.raises(ValueError, match=message):
        studies.smoothness(QUADRATIC, {"x": X}, **(options | bad))


@pytest.mark.slow
def test_normalisations_are_compared_by_their_curvature(monkeypatch):
    told = []
    found = studies.compare_normalization(
        {"plain": QUADRATIC}, {"x": X}, [0.2, 1e200], batch_size=4, steps=4, every=2,
        on_progress=lambda *numbers: told.append(numbers),
    )  # fmt: skip
    (rate, seen, sharpness), (wild, _, unknown) = found.runs["plain"]
    assert (rate, wild) == (0.2, 1e200)
    assert sharpness == pytest.approx(3.0, rel=1e-3)
    assert np.isnan(unknown)  # the parameters are not finite
    assert seen.updates.tolist() == [0, 2]
    assert told == [(1, 2), (2, 2)]


def test_an_update_s_seconds_are_the_clock_s(monkeypatch):
    """A made-up clock: B/100 seconds an update, a turn's factor, and a start of its own."""
    factors, now, asked = [1.0, 1.3, 0.8, 1.1, 1.0], [0.0], []

    def updates(task, size, coefficients, state, data, steps):
        asked.append((size, steps))
        turn = max(0, (len(asked) - 9) // 2)  # after four calls of either batch size
        now[0] += steps * size / 100 * (factors[turn] if len(asked) > 8 else 1)

    monkeypatch.setattr(clocked, "_updates", updates)
    monkeypatch.setattr(clocked.time, "perf_counter", lambda: now[0])
    small, large = studies.throughput(QUADRATIC, {"x": X}, [1, 4], seconds=2.0)
    assert asked[8:] == [(1, 200), (4, 50)] * 5
    assert (small.batch_size, large.batch_size) == (1, 4)
    assert small.update == pytest.approx(0.01)
    assert large.update == pytest.approx(0.04)
    assert small.spread == large.spread == pytest.approx(0.25)
    for size in (0, 11):
        with pytest.raises(ValueError, match="batch sizes of 1 to 10"):
            studies.throughput(QUADRATIC, {"x": X}, [size])


def test_the_clock_s_updates_are_updates():
    """So many steps of the optimiser, over rows one after another, from the task's start."""
    state = clocked._start(QUADRATIC)
    coefficients = jax.tree.map(lambda c: c[0], two_slots(["sgd"], [0]))
    data = {"x": jnp.asarray(X)}
    w, _, model_state = clocked._updates(QUADRATIC, 4, coefficients, state, data, 3)
    assert model_state["updates"] == 3
    expected = np.ones(2)
    for first in (0, 4, 1):  # 8 mod 7
        expected = expected - 1e-6 * H * (expected - X[first : first + 4].mean(0))
    np.testing.assert_allclose(w, expected, rtol=1e-12)


@pytest.mark.slow
def test_a_lane_descends_over_many_orders_of_the_rows():
    """Batches of 4 of 10 rows, each order followed by another; many orders in one compiled call."""
    lanes = studies.grid([4], [0.2], optimizers=["sgd"], seeds=[5])
    study = studies.batch_size(
        QUADRATIC, {"x": X}, lanes, splits={"train": {"x": X}}, steps=60, resolution=1.0,
        keep_params=True, noise=False,
    )  # fmt: skip
    order = jax.random.split(jax.random.key(5), 3)[1]
    orders = [sampling.permute(jax.random.fold_in(order, e), jnp.arange(10), 10) for e in range(24)]
    stream, w = X[np.concatenate(orders)], np.ones(2)
    for first in range(0, 240, 4):
        w = w - 0.2 * H * (w - stream[first : first + 4].mean(0))
    np.testing.assert_allclose(study.params[0], w, rtol=1e-10)


@pytest.mark.slow
def test_schedules_update_by_update():
    """A loss of slope 1: an update takes off the rate, measured at each."""
    slope = studies.Task(
        init=lambda key: (jnp.zeros(1), None),
        loss=lambda w, state, batch, key: (w[0] + 0 * batch["x"][:, 0], state),
        measures=lambda w, state, batch: {"loss": w[0] + 0 * batch["x"][:, 0]},
    )
    lanes = studies.grid([5], [0.5], optimizers=["sgd"], schedules=list(studies.SCHEDULES), seeds=1)
    warm = studies.grid(
        [5], [0.5], optimizers=["sgd"], schedules=list(studies.SCHEDULES), warmup=0.3, seeds=1
    )
    study = studies.batch_size(
        slope, {"x": X}, lanes + warm, splits={"train": {"x": X}}, steps=12, resolution=1e-9
    )
    t, records = np.arange(12), study.records
    for lane, (first, name) in enumerate(itertools.product([0, 4], studies.SCHEDULES)):
        share = np.clip((t - first) / (12 - first), 0, 1)
        falls = {
            "constant": 1 + 0 * t,
            "linear": 1 - share,
            "cosine": np.cos(np.pi * share / 2) ** 2,
        }
        rates = 0.5 * np.where(t < first, t / max(first, 1), falls[name])
        own = records["lane"] == lane
        assert records["updates"][own].tolist() == list(range(13))
        np.testing.assert_allclose(
            records["train loss"][own], -np.append(0, rates.cumsum()), atol=1e-12
        )
