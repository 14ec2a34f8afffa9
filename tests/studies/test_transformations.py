"""Any optax transformation as a lane's optimiser."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import studies
from jaxml.core.serialization import from_npz, to_npz
from jaxml.studies import Lanes, Study, Target

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
DATA = {"x": X}


def task(of):
    """A loss of three parameters, which begin at 1, and one example."""

    def values(w, batch):
        return jax.vmap(lambda x: of(w, x))(batch["x"])

    return studies.Task(
        init=lambda key: (jnp.ones(3), None),
        loss=lambda w, state, batch, key: (values(w, batch), state),
        measures=lambda w, state, batch: {"loss": values(w, batch)},
    )


QUADRATIC = task(lambda w, x: ((w - x) ** 2).sum())
SLOPE = task(lambda w, x: w @ jnp.array([2.0, -1.0, 4.0]) + x.sum())
LION = {"lion": lambda rate: optax.lion(rate, weight_decay=0.0)}


def run(lanes, own, of=QUADRATIC, **options) -> Any:
    options = {"splits": {"train": DATA}, "keep_params": True, "steps": 8} | options
    return studies.batch_size(of, DATA, lanes, transformations=own, **options)


def grid(sizes, rates, names, own, seeds=1, **options: Any):
    given: Any = {"optimizers": names, "transformations": own, "seeds": seeds}
    return studies.grid(sizes, rates, **given, **options)


@pytest.mark.slow
def test_adam_given_is_adam():
    """Beside the one built in: batches of one and of three microbatches, and a schedule."""
    own = {"given": optax.adam}
    options = {"schedules": ["constant", "cosine"], "warmup": 0.25, "seeds": 2}
    lanes = grid([4, 12], [0.01, 0.1], ["adam", "given"], own, **options)
    lanes = lanes.take(np.arange(len(lanes)) % 16 != 15)  # a place stays empty
    found = run(lanes, own, microbatches=[4])
    given = lanes.optimizer == "given"
    np.testing.assert_allclose(found.params[given], found.params[~given], rtol=0, atol=1e-6)
    assert abs(found.params - 1).min() > 1e-3
    assert len(found.programs[4]) == 2


@pytest.mark.slow
def test_lion_goes_by_the_rate_at_every_update():
    """Where the gradient's signs never change, an update is η·sign(g), to the bit."""
    lanes = grid([12], [2**-4], ["lion"], LION, schedules=["constant", "linear"])
    found = run(lanes, LION, SLOPE, microbatches=[4])
    sums = [8 / 16, (8 + 7 + 6 + 5 + 4 + 3 + 2 + 1) / 8 / 16]
    expected = 1 - np.outer(sums, [1, -1, 1])
    np.testing.assert_array_equal(found.params, expected.astype(np.float32))


@pytest.mark.slow
def test_a_chain_is_a_plain_loop():
    """Over the whole data, where the order of the examples is of no concern."""
    own = {"clipped": lambda rate: optax.chain(optax.clip_by_global_norm(0.5), optax.yogi(rate))}
    found = run(grid([24], [0.05, 0.2], ["clipped"], own), own)
    for rate, params in zip([0.05, 0.2], found.params, strict=True):
        made, w = own["clipped"](rate), np.ones(3, np.float32)
        state = made.init(w)
        for _ in range(8):
            changes, state = made.update(2 * (w - X.mean(0)), state, w)
            w = np.asarray(optax.apply_updates(w, changes))
        np.testing.assert_allclose(params, w, rtol=0, atol=1e-6)


def test_the_plan_keeps_them_apart():
    own = {"given": optax.adam, "plain": optax.sgd}
    lanes = grid([4, 12], [0.1, 0.2], ["sgd", "momentum", "given", "plain"], own, momenta=[0, 0.9])
    assert len(lanes) == 4 * 4 + 4  # momentum alone has two momenta
    states = {name: studies.state_bytes(QUADRATIC, make) for name, make in own.items()}
    assert states == {"given": 2 * 3 * 4 + 4, "plain": 0}  # two moments and a count
    planned = studies.plan(lanes, examples=24, size=3, steps=8, microbatches=[4], states=states)
    assert [(b.transformation, len(b.lanes)) for b in planned.buckets] == [
        ("", 12), ("given", 4), ("plain", 4)
    ]  # fmt: skip
    # θ and the sum of gradients; m where there is momentum; Adam's state
    assert [b.lane_bytes for b in planned.buckets] == [24 + 12, 24 + 28, 24]
    assert planned.bytes == max(b.lane_bytes * b.places for b in planned.buckets)
    assert "4 of m=4 for given alone" in str(planned)
    with pytest.raises(ValueError, match=r"optimizer to be one of sgd, .*got 'given'"):
        studies.plan(lanes, examples=24, size=3, steps=8)


@pytest.mark.slow
def test_a_stopped_study_goes_on_by_name():
    lanes = grid([4, 12], [0.01], ["lion"], LION)
    options = {"microbatches": [4], "steps": 40}
    whole = run(lanes, LION, **options)
    stopped = run(lanes, LION, on_chunk=lambda *_: True, **options)
    assert (stopped.exits == "").all()
    done = from_npz(to_npz(stopped), (Study, Lanes, Target))
    np.testing.assert_array_equal(run(lanes, LION, done=done, **options).params, whole.params)
    with pytest.raises(ValueError, match="or in `transformations`, got 'lion'"):
        run(lanes, None, done=done, **options)
    with pytest.raises(ValueError, match="the lion with which the study was begun"):
        run(lanes, {"lion": optax.adam}, done=done, **options)


@pytest.mark.slow
def test_a_transformation_is_read_at_every_call():
    scale = {"of": 1.0}
    own = {"scaled": lambda rate: optax.sgd(scale["of"] * rate)}
    lanes = grid([24], [0.25], ["scaled"], own)
    before = run(lanes, own, SLOPE).params
    scale["of"] = 0.5
    np.testing.assert_allclose(1 - run(lanes, own, SLOPE).params, (1 - before) / 2)


def grows(rate):
    def update(updates, state: Any, params=None):
        return updates, jnp.tile(state, 2)

    return optax.GradientTransformation(lambda params: jnp.zeros(1), update)


LANES = grid([4], [0.1], ["lion"], LION)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda: grid([4], [0.1], ["lino"], LION), "got 'lino' .did you mean 'lion'"),
        (lambda: grid([4], [0.1], ["adam"], {"adam": optax.adam}), "other names than sgd, .*adam"),
        (lambda: run(LANES, {"lion": lambda rate: 0.1}), "lion to be a function .*, got float"),
        (lambda: run(LANES, {"lion": grows}), "lion to keep the shapes"),
        (
            lambda: run(LANES, {"lion": lambda rate: optax.noisy_sgd(rate, key=jax.random.key(0))}),
            "lion to have a state of numbers",
        ),
    ],
)
def test_is_refused(what, message):
    with pytest.raises(ValueError, match=message):
        what()


@pytest.mark.slow
def test_a_split_is_measured_some_rows_at_a_time():
    """Seven at a time of 24, of which the last are three, or all at once."""
    lanes = grid([24], [0.1], ["sgd"], None)
    whole, parts = (run(lanes, None, rows=rows).records["train loss"] for rows in (1000, 7))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    far = 0.8 ** np.arange(9)[:, None] * (1 - X.mean(0)) + X.mean(0)
    np.testing.assert_allclose(whole, ((far[:, None] - X) ** 2).sum(-1).mean(1), rtol=1e-5)
