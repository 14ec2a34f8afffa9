"""The hook at the edge of stability: stable just below, the dense Hessian, its cost."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from problems import classifier_data, tanh_classifier, tanh_classifier_params

from jaxml import landscape, training
from jaxml.core.types import Algorithm, TrainState
from jaxml.training import optimizers, sampling

KEY = jax.random.key(0)


def descent(loss, params, optimizer):
    """An algorithm that descends `loss(params, batch)` from given parameters."""

    def init(key):
        return TrainState(jnp.int32(0), params, (), optimizer.init(params))

    def step(state, batch, key):
        value, gradient = jax.value_and_grad(loss)(state.params, batch)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, (), opt_state), {"loss": value}

    return Algorithm(init, step, lambda params, state, batch: loss(params, batch))


def parabola(params, batch):
    return 0.5 * (batch["curvature"].mean(0) * params**2).sum()


def curvatures(top):
    return {"curvature": np.outer(np.ones(4), [0.1 * top, top, 0.5 * top]).astype("float32")}


@pytest.mark.parametrize(
    ("optimizer", "options", "threshold"),
    [
        (optimizers.sgd(0.5), {}, 4.0),
        (optimizers.momentum(0.5), {"momentum": 0.9}, 7.6),
        (optimizers.nesterov(0.5), {"momentum": 0.9, "nesterov": True}, 3.8 / 1.4),
        # ε is so large that P is ε
        (optax.adam(0.5, eps=1e4), {"eps": 1e4}, 76.0),
        (optax.adam(0.5, b1=0.5, eps=1e4), {"eps": 1e4, "momentum": 0.5}, 12.0),
    ],
    ids=["descent", "heavy ball", "Nesterov", "Adam", "Adam, b1 0.5"],
)
def test_stable_just_below_the_threshold_and_divergent_just_above(optimizer, options, threshold):
    # so small that Adam's v vanishes beside its ε
    algorithm = descent(parabola, jnp.full(3, 1e-30), optimizer)
    scale = options.get("eps", 1.0)
    b1 = options.get("momentum", 0.9) if "eps" in options else 0.0
    change = {}
    for ratio in (0.995, 1.005):
        data = curvatures(ratio * threshold * scale)
        edge = landscape.edge_of_stability(
            algorithm, data, learning_rate=0.5, cost=np.inf, **options
        )
        sizes = []
        hooks = [edge, lambda chunk, sizes=sizes: sizes.append(abs(chunk.state.params[1]))]
        training.fit(algorithm, data, sampling.full(), key=KEY, steps=120, chunk=60, hooks=hooks)
        change[ratio] = sizes[1] / sizes[0]
        assert edge.history["step"] == [60, 120]
        np.testing.assert_allclose(edge.history["threshold"], threshold, rtol=1e-6)
        expected = ratio * threshold / (1 - b1 ** np.array([60, 120]))
        np.testing.assert_allclose(edge.history["sharpness"], expected, rtol=1e-5)
    assert change[0.995] < 0.7
    assert change[1.005] > 1.5


@pytest.fixture(scope="module")
def classifier():
    rng = np.random.default_rng(0)
    x, y = classifier_data(rng, 64, 5, 3)
    params = tanh_classifier_params(rng, 5, 4, 3, scale=0.5)
    loss = Partial(_classifier_loss)
    return loss, jax.tree.map(jnp.float32, params), {"x": np.float32(x), "y": np.int32(y)}


def _classifier_loss(params, batch):
    return tanh_classifier(params, batch["x"], batch["y"], jnp.float32(0))


@pytest.fixture(scope="module")
def descending(classifier):
    """Gradient descent on it, compiled once."""
    loss, params, _ = classifier
    return descent(loss, params, optimizers.sgd(0.5))


def trained(classifier, algorithm, *, batch_size=None, steps=400, chunk=40, **options):
    data = classifier[2]
    edge = landscape.edge_of_stability(algorithm, data, batch_size=batch_size, **options)
    states = {}
    run = training.fit(
        algorithm,
        data,
        sampling.full() if batch_size is None else sampling.epochs(batch_size),
        key=KEY,
        steps=steps,
        chunk=chunk,
        hooks=[edge, lambda chunk: states.update({chunk.step: chunk.state})],
    )
    return edge, states, run


@pytest.mark.slow
@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_against_the_dense_hessian_along_a_run(classifier, name):
    optimizer = {"momentum": optimizers.momentum(0.3), "adam": optimizers.adam(0.02)}[name]
    loss, params, data = classifier
    edge, states, _ = trained(
        classifier,
        descent(loss, params, optimizer),
        batch_size=16,
        learning_rate=0.3,
        momentum=0.9,
        cost=np.inf,
    )
    history = edge.history
    assert history["step"] == list(states)
    for i, step in enumerate(history["step"]):
        state = states[step]
        batch = jax.tree.map(jnp.asarray, data)
        dense = np.float64(landscape.hessian(Partial(loss, batch=batch), state.params).dense())
        if name == "adam":
            (adam,) = (s for s in state.opt_state if isinstance(s, optax.ScaleByAdamState))
            v = np.float64(ravel_pytree(adam.nu)[0]) / (1 - 0.999**step)
            p = (1 - 0.9**step) * (np.sqrt(v) + 1e-8)
            values = np.linalg.eigvals(dense / p[:, None]).real  # of P⁻¹H itself
        else:
            values = np.linalg.eigvalsh(dense)
        got, residual = history["sharpness"][i], history["residual"][i]
        assert residual <= 0.0101 * got
        assert abs(values - got).min() <= residual
        np.testing.assert_allclose(got, values.max(), rtol=2e-3)
    assert sum(history["products"][1:]) / len(history["step"][1:]) < 8


@pytest.mark.slow
def test_the_work_stays_below_the_share_asked_for_and_is_repeatable(classifier, descending):
    runs = [
        trained(classifier, descending, steps=2000, learning_rate=0.5, cost=cost)[0]
        for cost in (0.1, 0.1, 0.02)
    ]
    first, again, cheap = runs
    assert first.history == again.history
    assert 0.05 < first.share <= 0.1
    assert len(first.seconds) == len(first.history["step"]) > len(cheap.history["step"]) > 0
    assert cheap.share <= 0.02
    done = 0
    for step, products in zip(first.history["step"], first.history["products"], strict=True):
        done += 3 + 2 * products
        assert done <= 0.1 * step


@pytest.mark.slow
def test_smaller_batches_and_fewer_rows_count_as_what_they_are(classifier, descending):
    few = {name: rows[:16] for name, rows in classifier[2].items()}
    algorithm = descending
    edge = landscape.edge_of_stability(algorithm, few, learning_rate=0.5, batch_size=32)
    training.fit(
        algorithm, classifier[2], sampling.epochs(32), key=KEY, steps=400, chunk=200, hooks=[edge]
    )
    work = sum(3 + 2 * products for products in edge.history["products"])
    np.testing.assert_allclose(edge.share, work * 16 / (400 * 32), rtol=1e-12)
    quiet = landscape.edge_of_stability(algorithm, few, learning_rate=0.5, batch_size=1)
    quiet(training.Chunk(400, 400, algorithm.init(KEY), {"loss": np.ones(400)}))
    assert quiet.history == {"step": []}  # it could not be afforded
    assert quiet.share == 0


def test_the_run_is_the_same_with_the_hook_and_without(classifier, descending):
    algorithm, data = descending, classifier[2]
    edge = landscape.edge_of_stability(algorithm, data, learning_rate=0.5, cost=np.inf)
    runs = [
        training.fit(algorithm, data, sampling.full(), key=KEY, steps=80, chunk=40, hooks=hooks)
        for hooks in ([], [edge])
    ]
    jax.tree.map(np.testing.assert_array_equal, runs[0].state, runs[1].state)


@pytest.mark.parametrize(
    ("optimizer", "rate", "threshold"),
    [
        (optax.sgd(optax.linear_schedule(0.4, 0.0, 80)), optax.linear_schedule(0.4, 0, 80), 10.0),
        (optax.sgd(0.0), lambda step: 0.0, np.inf),
        (optax.inject_hyperparams(optax.sgd)(learning_rate=0.4, momentum=0.5), None, 3 / 0.4),
        (optax.inject_hyperparams(optax.adam)(learning_rate=0.1, b1=0.8), None, 3.6 / 0.2 / 0.1),
    ],
    ids=["schedule", "rate zero", "injected momentum", "injected Adam"],
)
def test_the_rate_of_a_schedule_and_injected_hyperparameters(optimizer, rate, threshold):
    algorithm = descent(parabola, jnp.ones(3), optimizer)
    data = curvatures(2.0)
    edge = landscape.edge_of_stability(algorithm, data, learning_rate=rate, cost=np.inf)
    training.fit(algorithm, data, sampling.full(), key=KEY, steps=40, chunk=40, hooks=[edge])
    np.testing.assert_allclose(edge.history["threshold"], [threshold], rtol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        (optimizers.momentum(0.1), {"learning_rate": 0.1}, "momentum=, as the optimiser has"),
        (optimizers.sgd(0.1), {"learning_rate": 0.1, "momentum": 0.9}, "no momentum"),
        (optimizers.sgd(0.1), {}, "learning_rate=, got one whose rate is not in its state"),
        (optimizers.sgd(0.1), {"learning_rate": 0.1, "nesterov": True}, "nesterov with a momentum"),
        (optimizers.adam(0.1), {"learning_rate": 0.1, "nesterov": True}, "nesterov"),
        (optimizers.adagrad(0.1), {"learning_rate": 0.1}, "Adam, got a ScaleByRss"),
        (optimizers.radam(0.1), {"learning_rate": 0.1, "cost": 0.0}, "cost above 0"),
        (optimizers.sgd(0.1), {"learning_rate": -1.0}, "learning_rate above 0"),
        (optimizers.sgd(0.1), {"learning_rate": 0.1, "tolerance": 2}, "tolerance in"),
        (optimizers.sgd(0.1), {"learning_rate": 0.1, "momentum": 1.0}, r"momentum in \[0, 1\)"),
        (optimizers.adam(0.1), {"learning_rate": 0.1, "b2": 1.0}, r"b2 in \[0, 1\), got 1.0"),
        (optimizers.adam(0.1), {"learning_rate": 0.1, "eps": -1.0}, "eps of at least 0, got -1.0"),
    ],
)  # fmt: skip
def test_bad_input(optimizer, options, message):
    algorithm = descent(parabola, jnp.ones(3), optimizer)
    data = curvatures(1.0)
    chunk = training.Chunk(1, 1, algorithm.init(KEY), {"loss": np.ones(1)})
    with pytest.raises(ValueError, match=message):
        landscape.edge_of_stability(algorithm, data, **{"cost": np.inf} | options)(chunk)


def test_lanes_and_algorithms_without_a_loss_are_refused():
    algorithm = descent(parabola, jnp.ones(3), optimizers.sgd(0.1))
    with pytest.raises(ValueError, match="descends a loss"):
        landscape.edge_of_stability(algorithm._replace(loss=None), None, learning_rate=0.1)
    edge = landscape.edge_of_stability(algorithm, curvatures(1.0), learning_rate=0.1)
    with pytest.raises(ValueError, match="one run"):
        training.fit_many(
            algorithm, curvatures(1.0), sampling.full(), keys=jax.random.split(KEY, 2), steps=1,
            hooks=[edge],
        )  # fmt: skip
