"""The contract of the loop, over a list of algorithms."""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn
from jaxml.core.types import Algorithm, TrainState
from jaxml.training import (
    NonFiniteError,
    fit,
    fit_many,
    full_loss,
    loop,
    losses,
    metrics,
    optimizers,
    run_steps,
    sampling,
    supervised,
)

KEY = jax.random.key(0)
STEPS = 14
RNG = np.random.default_rng(0)
DATA = {"x": RNG.normal(size=(11, 3)).astype(np.float32), "y": RNG.integers(0, 3, 11)}
OTHER = {"x": RNG.normal(size=(11, 3)).astype(np.float32), "y": RNG.integers(0, 3, 11)}
SAMPLE = sampling.epochs(4)
MODELS = {
    "mlp": nn.mlp([3, 4, 3], activation="tanh"),
    # without biases: their gradient before a batch norm is rounding, which Adam makes a full step
    "batch norm": nn.mlp([3, 4, 3], norm="batch", bias=False),
    "dropout": nn.mlp([3, 4, 3], dropout=0.3),
}
TRACES = dict.fromkeys(MODELS, 0)


@functools.cache
def make(name):
    """A function of the learning rate, one for each name, that counts its traces."""

    def loss(outputs, batch):
        TRACES[name] += 1
        return losses.softmax_cross_entropy(outputs, batch)

    extra = {"accuracy": metrics.accuracy}
    return functools.partial(_supervised, MODELS[name], loss, extra)


def _supervised(model, loss, extra, rate):
    return supervised(model, loss, optimizers.adam(rate), metrics=extra)


@functools.cache
def algorithm(name):
    return make(name)(rate=0.05)


@functools.cache
def whole(name):
    """The run that others are compared with, in two chunks."""
    return fit(algorithm(name), DATA, SAMPLE, key=KEY, steps=STEPS, chunk=7)


def assert_same(a, b):
    """To the bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


def assert_close(a, b, tolerance=1e-5):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), a, b
    )


every = pytest.mark.parametrize("name", MODELS)
# where nothing is left to see of a plain net that those with a state or random numbers do not show
every_other = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "mlp" else name for name in MODELS],
)


@pytest.mark.slow
@every
def test_structure_shapes_and_dtypes_of_the_state_are_preserved(name):
    before = jax.eval_shape(algorithm(name).init, KEY)
    after = whole(name).state
    describe = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert describe(after) == describe(before)
    assert after.step == STEPS
    assert after.step.dtype == jnp.int32


@every
def test_the_run_reports_every_step(name):
    run = whole(name)
    assert set(run.history) == {"loss", "gradient_norm", "accuracy"}
    assert {values.shape for values in run.history.values()} == {(STEPS,)}
    assert run.config == {"first_step": 0, "steps": STEPS, "chunk": 7}
    assert run.history["loss"][-4:].mean() < run.history["loss"][:4].mean()


@every
def test_a_shape_is_compiled_once(name):
    """Each of the four calls reads the loss twice: the step's, and that at the end of a chunk."""
    start, before = whole(name).state, TRACES[name]
    compiled = loop._advance._cache_size()
    for data, key in ((DATA, jax.random.key(1)), (OTHER, KEY)):
        fit(algorithm(name), data, SAMPLE, key=key, steps=21, chunk=7)
        fit(algorithm(name), data, sampling.epochs(4), key=key, steps=7, chunk=7, state=start)
    assert TRACES[name] == before + 8
    assert loop._advance._cache_size() == compiled


def test_one_compilation_is_one_trace():
    """Of the step and of the loss at its end, however many lengths of chunks are compiled."""
    traces = []

    def loss(outputs, batch):
        traces.append(1)
        return losses.mse(outputs, batch)

    counted = supervised(nn.linear(3, 3), loss, optimizers.sgd(0.1))
    data = {"x": DATA["x"], "y": DATA["x"]}
    fit(counted, data, sampling.full(), key=KEY, steps=9, chunk=3)
    assert len(traces) == 2
    fit(counted, data, sampling.full(), key=KEY, steps=5, chunk=3)  # ends with a chunk of two
    assert len(traces) == 4


@pytest.mark.slow
@every
def test_compiled_is_eager(name):
    data, state = jax.tree.map(jnp.asarray, DATA), whole(name).state
    run = lambda state: run_steps(algorithm(name).step, state, data, sampling.full(), KEY, 2)  # noqa: E731
    with jax.disable_jit():
        eager = run(state)
    assert_close(jax.jit(run)(state), eager)


@every
def test_another_key_changes_the_result(name):
    start = whole(name).state
    runs = [
        fit(algorithm(name), DATA, SAMPLE, key=jax.random.key(seed), steps=7, chunk=7, state=start)
        for seed in (0, 0, 1)
    ]
    assert_same(runs[0].state, runs[1].state)
    assert (runs[0].history["loss"] != runs[2].history["loss"]).mean() > 0.8


def test_dropout_draws_anew_at_every_step():
    """With the same batch and no learning the loss still varies: the step's key does."""
    still = supervised(MODELS["dropout"], losses.softmax_cross_entropy, optimizers.sgd(0.0))
    run = fit(still, DATA, sampling.full(), key=KEY, steps=10, chunk=10)
    assert len(set(run.history["loss"].tolist())) == 10


@pytest.mark.slow
@every_other
def test_the_chunk_changes_nothing_to_the_bit(name):
    for chunk in (None, STEPS):  # by default 1
        run = fit(algorithm(name), DATA, SAMPLE, key=KEY, steps=STEPS, chunk=chunk)
        assert run.config["chunk"] == (chunk or 1)
        assert_same((run.state, run.history), (whole(name).state, whole(name).history))


@every
def test_a_resumed_run_is_an_uninterrupted_one_to_the_bit(name):
    first = fit(algorithm(name), DATA, SAMPLE, key=KEY, steps=7, chunk=7)
    # from the host and back, as from a file
    saved = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), first.state)
    second = fit(algorithm(name), DATA, SAMPLE, key=KEY, steps=7, chunk=7, state=saved)
    assert second.config["first_step"] == 7
    assert_same(second.state, whole(name).state)
    both = {k: np.concatenate([first.history[k], second.history[k]]) for k in first.history}
    assert_same(both, whole(name).history)


@pytest.mark.slow
@every_other
def test_lanes_of_seeds_are_single_runs(name):
    keys = jax.random.split(KEY, 3)
    many = fit_many(algorithm(name), DATA, SAMPLE, keys=keys, steps=7, chunk=7)
    assert many.history["loss"].shape == (3, 7)
    assert many.state.step.tolist() == [7, 7, 7]
    for i, key in enumerate(keys):
        one = fit(algorithm(name), DATA, SAMPLE, key=key, steps=7, chunk=7)
        lane = jax.tree.map(lambda leaf, i=i: leaf[i], (many.state, many.history))
        assert_close(lane, (one.state, one.history), 2e-5)


@pytest.mark.slow
def test_lanes_of_hyperparameters_are_single_runs():
    rates = np.float32([0.003, 0.01, 0.1])
    keys = jnp.stack([KEY] * 3)
    many = fit_many(
        make("mlp"), DATA, SAMPLE, keys=keys, hyperparameters={"rate": rates}, steps=7, chunk=7
    )
    assert len(set(many.history["loss"][:, -1].tolist())) == 3
    for i, rate in enumerate(rates):
        one = fit(make("mlp")(rate=float(rate)), DATA, SAMPLE, key=KEY, steps=7, chunk=7)
        lane = jax.tree.map(lambda leaf, i=i: leaf[i], (many.state, many.history))
        assert_close(lane, (one.state, one.history), 2e-5)


@pytest.mark.slow
def test_lanes_are_chunk_invariant_and_resume_to_the_bit():
    run = functools.partial(fit_many, algorithm("mlp"), DATA, SAMPLE, keys=jax.random.split(KEY))
    at_once, first = run(steps=6, chunk=6), run(steps=3, chunk=1)
    second = run(steps=3, chunk=3, state=first.state)
    assert_same(second.state, at_once.state)
    both = np.concatenate([first.history["loss"], second.history["loss"]], -1)
    assert_same(both, at_once.history["loss"])


def _teacher(rate):
    return supervised(nn.linear(3, 1), losses.mse, optimizers.sgd(rate))


def test_a_diverging_lane_leaves_the_others_alone():
    data = {"x": DATA["x"], "y": DATA["x"].sum(-1)}
    lanes = functools.partial(
        fit_many, _teacher, data, sampling.full(), keys=jax.random.split(KEY, 3), steps=30, chunk=10
    )
    good = lanes(hyperparameters={"rate": np.float32([0.1, 0.05, 0.2])})
    bad = lanes(hyperparameters={"rate": np.float32([0.1, 1e5, 0.2])})
    assert np.isfinite(good.history["loss"]).all()
    assert not np.isfinite(bad.history["loss"][1, -1])
    pick = lambda run: jax.tree.map(lambda leaf: leaf[np.array([0, 2])], (run.state, run.history))  # noqa: E731
    assert_same(pick(bad), pick(good))


@every
def test_the_callers_arrays_survive(name):
    data = {"x": jnp.asarray(DATA["x"]), "y": DATA["y"].copy()}
    state = whole(name).state
    kept = jax.tree.map(np.array, (data, state))
    fit(algorithm(name), data, SAMPLE, key=KEY, steps=7, chunk=7, state=state)
    assert_same(jax.tree.map(np.array, (data, state)), kept)


def test_half_precision_data_is_data():
    data = {"x": jnp.asarray(DATA["x"], jnp.bfloat16), "y": DATA["y"]}
    assert np.isfinite(fit(algorithm("mlp"), data, SAMPLE, key=KEY, steps=2).history["loss"]).all()


def _planted(done, values):
    """Counts its steps in its parameters; metrics are 1 but for `values[name] = (step, value)`."""

    def step(state, batch, key):
        record = {
            name: jnp.where(state.step + 1 == at, value, 1.0)
            for name, (at, value) in values.items()
        }
        return TrainState(state.step + 1, state.params + 1.0, {}, {}), record

    init = lambda key: TrainState(jnp.int32(done), jnp.float32(done), {}, {})  # noqa: E731
    return Algorithm(init, step, finite=tuple(values))


def test_algorithms_may_make_their_own_data():
    for nothing in ((None, sampling.full()), (None, None), (None,), ()):
        assert fit(_planted(0, {"a": (99, 0)}), *nothing, key=KEY, steps=5).state.params == 5
    lanes = fit_many(_planted(0, {"a": (99, 0)}), keys=jax.random.split(KEY, 3), steps=5)
    assert lanes.state.params.tolist() == [5, 5, 5]


def test_data_go_with_a_sampler():
    with pytest.raises(ValueError, match=r"expected a sampler such as .*, got None"):
        fit(algorithm("mlp"), DATA, key=KEY, steps=1)


@flax.struct.dataclass
class Counted:
    step: jax.Array
    w: jax.Array


def _recording(record, w=lambda state: state.w, **options):
    """Three weights, and a metric of each step's own number."""

    def step(state, batch, key):
        return Counted(state.step + 1, w(state)), record(state)

    return Algorithm(lambda key: Counted(jnp.int32(0), jnp.zeros(3)), step, **options)


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (
            _recording(lambda s: {"loss": 0.0, "returns": jnp.zeros(5)}),
            r"expected the metric 'returns' to be a scalar, got shape \(5,\)",
        ),
        (_recording(lambda s: {"a": {"b": 0.0}}), "metric 'a' to be a scalar, got dict"),
        (_recording(lambda s: [s.step]), "expected a dict of metrics, got list"),
        (
            _recording(lambda s: {}, w=lambda s: s.w[:2]),
            r"in which w is float32 of shape \(3,\), got float32 of shape \(2,\)",
        ),
        (
            _recording(lambda s: {}, w=lambda s: {"a": s.w}),
            r"in which w is float32 of shape \(3,\), got nothing",
        ),
        (
            _recording(lambda s: {}, w=lambda s: s.w.astype(int)),
            r"in which w is float32 of shape \(3,\), got int32",
        ),
        (Algorithm(lambda key: Counted(0, 0), lambda *_: 1), r"that returns \(state, metrics\)"),
    ],
)
def test_a_step_that_makes_no_history_is_refused(algorithm, message):
    for train in (
        functools.partial(fit, key=KEY),
        functools.partial(fit_many, keys=jax.random.split(KEY)),
    ):
        with pytest.raises(ValueError, match=message):
            train(algorithm, steps=6)


def _every_third(state):
    """A loss at every step, and a return where an episode ends."""
    ended = (state.step + 1) % 3 == 0
    return {"loss": 1.0, "return": jnp.where(ended, 10.0 * (state.step + 1), jnp.nan)}


def test_a_metric_need_not_have_a_value_at_every_step():
    run = fit(_recording(_every_third), key=KEY, steps=7, chunk=4)
    nan = np.nan
    np.testing.assert_array_equal(run.history["return"], [nan, nan, 30, nan, nan, 60, nan])


@pytest.mark.parametrize("finite", [("return",), ["loss", "return"]])
def test_which_metrics_must_be_finite_is_the_algorithms_to_say(finite):
    with pytest.raises(NonFiniteError, match="metric 'return' became nan at step 1"):
        fit(_recording(_every_third, finite=finite), key=KEY, steps=7)
    bad = lambda state: {"loss": jnp.where(state.step == 4, jnp.inf, 0.0)}  # noqa: E731
    with pytest.raises(NonFiniteError, match="metric 'loss' became inf at step 5"):
        fit(_recording(bad), key=KEY, steps=7)
    assert np.isinf(fit(_recording(bad, finite=()), key=KEY, steps=7).history["loss"]).sum() == 1
    with pytest.raises(ValueError, match=r"among the metrics \['loss'\], got 'return'"):
        fit(_recording(bad, finite=finite), key=KEY, steps=7)


def test_parameters_of_every_network_of_a_state_are_looked_at():
    """Of two, the one that goes wrong is not the state's own."""

    def init(key):
        one = TrainState(jnp.int32(0), {"w": jnp.ones(2)}, {}, ())
        return Counted(jnp.int32(0), {"generator": one, "critics": [one, one]})

    def step(state, batch, key):
        bad = jnp.where(state.step == 2, jnp.nan, 1.0)
        critics = state.w["critics"]
        critics = [critics[0], critics[1].replace(params={"w": critics[1].params["w"] * bad})]
        return Counted(state.step + 1, state.w | {"critics": critics}), {"return": jnp.nan}

    assert fit(Algorithm(init, step), key=KEY, steps=2).state.step == 2
    with pytest.raises(NonFiniteError, match="a parameter became nan after step 3"):
        fit(Algorithm(init, step), key=KEY, steps=3)


def test_a_loss_is_called_by_position():
    target = jnp.array([1.0, 2.0, 3.0])

    def squares(theta, of_the_run, rows):
        return ((theta - rows["x"].mean(0)) ** 2).sum()

    line = Algorithm(None, None, squares)
    loss = full_loss(line, None, {"x": np.stack([target, target + 2])})
    assert float(loss(target)) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"a": (9, np.nan), "b": (7, np.inf)},
            "metric 'b' became inf at step 7 (in the window of steps 5 to 8); "
            "the state after step 4 is kept as `.run` of this error",
        ),
        (
            {"a": (8, 0.0), "b": (8, -np.inf)},
            "metric 'b' became -inf at step 8 (in the window of steps 5 to 8); "
            "the state after step 4 is kept as `.run` of this error",
        ),
        # of two in one window the earlier is the cause
        (
            {"a": (8, np.nan), "b": (6, np.nan)},
            "metric 'b' became nan at step 6 (in the window of steps 5 to 8); "
            "the state after step 4 is kept as `.run` of this error",
        ),
    ],
)
def test_a_planted_divergence_is_named_with_its_window(values, message):
    with pytest.raises(NonFiniteError) as caught:
        fit(_planted(0, values), None, sampling.full(), key=KEY, steps=10, chunk=4)
    assert str(caught.value) == message
    run = caught.value.run
    assert (int(run.state.step), float(run.state.params)) == (4, 4.0)
    assert {name: values.tolist() for name, values in run.history.items()} == {
        "a": [1] * 4,
        "b": [1] * 4,
    }
    assert run.config == {"first_step": 0, "steps": 10, "chunk": 4}


def test_a_divergence_in_the_first_window_of_a_resumed_run():
    with pytest.raises(NonFiniteError, match=r"at step 21 .*of steps 21 to 24.*after step 20") as e:
        fit(_planted(20, {"a": (21, np.nan)}), None, sampling.full(), key=KEY, steps=9, chunk=4)
    assert e.value.run.state.step == 20
    assert e.value.run.history == {}


def test_a_divergence_after_the_last_update_is_one():
    """Every length up to the first bad state is good, and the next names the step."""
    data = {"x": DATA["x"], "y": DATA["x"].sum(-1)}
    algorithm = _teacher(1e3)
    with pytest.raises(NonFiniteError, match="metric 'loss' became inf after step") as caught:
        fit(algorithm, data, sampling.full(), key=KEY, steps=40, chunk=1)
    good = int(caught.value.run.state.step)
    for steps in (1, good):
        run = fit(algorithm, data, sampling.full(), key=KEY, steps=steps, chunk=1)
        assert np.isfinite(algorithm.loss(run.state.params, run.state, data))
    seen = []
    with pytest.raises(
        NonFiniteError,
        match=rf"metric 'loss' became inf after step {good + 1} \(the last in the window of steps "
        rf"1 to {good + 1}\); the state after step 0 is kept",
    ):
        fit(
            algorithm, data, sampling.full(), key=KEY, steps=good + 1, chunk=99, hooks=[seen.append]
        )
    assert seen == []  # no hook, and so no checkpoint, has seen the bad state


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_parameters_of_an_algorithm_without_a_loss_are_looked_at(value):
    def step(state, batch, key):
        params = {"w": jnp.where(state.step == 4, value, state.params["w"])}
        return TrainState(state.step + 1, params, {}, ()), {"a": jnp.zeros(())}

    silent = Algorithm(lambda key: TrainState(jnp.int32(0), {"w": jnp.ones(3)}, {}, ()), step)
    assert fit(silent, None, sampling.full(), key=KEY, steps=4).state.step == 4
    with pytest.raises(NonFiniteError, match=r"a parameter became .* after step 5") as caught:
        fit(silent, None, sampling.full(), key=KEY, steps=5)
    assert caught.value.run.state.step == 4


def test_a_learning_rate_too_large_leaves_the_last_good_state():
    data = {"x": DATA["x"], "y": DATA["x"].sum(-1)}
    with pytest.raises(
        NonFiniteError, match=r"metric '(loss|gradient_norm)' became (inf|nan)"
    ) as e:
        fit(_teacher(1e3), data, sampling.full(), key=KEY, steps=40, chunk=1)
    run = e.value.run
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((run.state, run.history)))
    assert len(run.history["loss"]) == int(run.state.step) > 0
