"""Detection against scikit-learn and by pairs, Deep SVDD by hand, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn import metrics

from jaxml import generative, nn, training
from jaxml.training import sampling

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(30, 4)).astype("f")


def test_the_area_is_how_often_an_anomaly_scores_higher():
    scores = RNG.integers(0, 5, 60) / 4  # many ties
    anomalous = RNG.integers(0, 2, 60)
    found = generative.detection(scores, anomalous)
    above = scores[anomalous == 1][:, None] - scores[anomalous == 0]
    assert found.auroc == pytest.approx((above > 0).mean() + (above == 0).mean() / 2)
    curve = np.trapezoid(found.true_positive_rate, found.false_positive_rate)
    assert curve == pytest.approx(found.auroc)
    steps = -np.diff(found.recall) @ found.precision[:-1]
    assert steps == pytest.approx(found.average_precision)
    assert found.average_precision == metrics.average_precision_score(anomalous, scores)


def test_the_principal_error_is_the_distance_from_their_space():
    x = RNG.normal(size=(5, 4))
    centred = ROWS - ROWS.mean(0, dtype=float)
    axes = np.linalg.svd(centred, full_matrices=False)[2][2:]  # those left out
    expected = (((x - ROWS.mean(0, dtype=float)) @ axes.T) ** 2).sum(1)
    np.testing.assert_allclose(generative.principal_error(ROWS, 2)(x), expected, rtol=1e-6)
    images = generative.principal_error(ROWS.reshape(-1, 2, 2, 1), 2)
    np.testing.assert_allclose(images(x.reshape(-1, 2, 2, 1)), expected, rtol=1e-6)


@pytest.mark.slow
def test_the_centre_is_that_of_the_first_batch_and_stays():
    model = nn.linear(4, 3, bias=False)
    algorithm = generative.deep_svdd(model, optax.sgd(0.1), outputs=3, l2=0.2)
    state = algorithm.init(KEY)
    kernel = np.asarray(state.params["dense_0"]["kernel"])
    kernel = kernel * [1, 1, 0]  # one output is 0, whose centre may not be
    state = state.replace(params={"dense_0": {"kernel": jnp.asarray(kernel)}})
    rows = ROWS + 1
    moved, found = jax.jit(algorithm.step)(state, {"x": jnp.asarray(rows)}, KEY)
    first = (rows @ kernel).mean(0)
    center = np.where(abs(first) < 0.1, np.copysign(0.1, first), first)
    assert center[2] == 0.1
    np.testing.assert_allclose(moved.center, center, rtol=1e-5)
    rest = rows @ kernel - center
    assert float(found["distance"]) == pytest.approx((rest**2).sum(1).mean(), rel=1e-5)
    expected = (rest**2).sum(1).mean() + 0.1 * (kernel**2).sum()
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-5)
    slope = 2 * rows.T @ rest / len(rows) + 0.2 * kernel
    now = np.asarray(moved.params["dense_0"]["kernel"])
    np.testing.assert_allclose(now, kernel - 0.1 * slope, rtol=1e-4, atol=1e-5)
    again, _ = algorithm.step(moved, {"x": jnp.asarray(rows + 1)}, KEY)
    np.testing.assert_array_equal(again.center, moved.center)
    scores = generative.svdd_scores(model, moved, rows)
    np.testing.assert_allclose(scores, ((rows @ now - center) ** 2).sum(1), rtol=1e-4)
    loss = training.full_loss(algorithm, moved, {"x": rows})(moved.params)
    assert float(loss) == pytest.approx(float(scores.mean()) + 0.1 * (now**2).sum(), rel=1e-4)


@pytest.mark.slow
def test_lanes_with_data_of_their_own_are_single_runs():
    model = nn.mlp([4, 6, 2], bias=False)
    both = np.stack([ROWS, ROWS * 2 + 1], axis=1)

    def algorithm(number):
        return generative.deep_svdd(
            model, optax.adam(1e-2), outputs=2, inputs=lambda batch: batch["x"][:, number]
        )

    keys = jax.random.split(KEY, 2)
    options = {"sample": sampling.epochs(10), "steps": 8}
    many = training.fit_many(
        algorithm, {"x": both}, keys=keys, hyperparameters={"number": [0, 1]}, **options
    )
    for i in range(2):
        run = training.fit(
            generative.deep_svdd(model, optax.adam(1e-2), outputs=2), {"x": both[:, i]},
            key=keys[i], **options,
        )  # fmt: skip
        np.testing.assert_allclose(run.history["loss"], many.history["loss"][i], rtol=1e-4)


def test_a_free_centre_is_the_batchs_mean():
    model = nn.linear(4, 3, bias=False)
    algorithm = generative.deep_svdd(model, optax.sgd(0.1), outputs=3, free_center=True)
    state = algorithm.init(KEY)
    kernel = np.asarray(state.params["dense_0"]["kernel"])
    moved, found = jax.jit(algorithm.step)(state, {"x": jnp.asarray(ROWS)}, KEY)
    outputs = ROWS @ kernel
    rest = outputs - outputs.mean(0)
    np.testing.assert_allclose(moved.center, outputs.mean(0), rtol=1e-4, atol=1e-6)
    assert float(found["distance"]) == pytest.approx((rest**2).sum(1).mean(), rel=1e-5)
    slope = 2 * (ROWS - ROWS.mean(0)).T @ rest / len(ROWS)
    now = moved.params["dense_0"]["kernel"]
    np.testing.assert_allclose(now, kernel - 0.1 * slope, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_with_biases_and_a_free_centre_everything_is_mapped_to_one_point():
    others, ends = RNG.normal(size=(50, 4)) + 2, {}
    for free in (False, True):
        model = nn.mlp([4, 8, 2], bias=free)
        algorithm = generative.deep_svdd(
            model, optax.adam(1e-2), outputs=2, free_center=free, l2=1e-2
        )
        run = training.fit(algorithm, {"x": ROWS}, sampling.full(), key=KEY, steps=1500)
        ends[free] = float(generative.svdd_scores(model, run.state, others).mean())
    assert 100 * ends[True] < 0.01 < ends[False]


def svdd(**options):
    return generative.deep_svdd(nn.mlp([4, 2]), optax.sgd(0.1), **{"outputs": 2, **options})


REFUSED = {
    "all normal": (
        lambda: generative.detection([0.1, 0.2], [0, 0]), "of both kinds.*got 2 and 0"),
    "all anomalous": (
        lambda: generative.detection([0.1, 0.2], [True, True]), "of both kinds.*got 0 and 2"),
    "other labels": (
        lambda: generative.detection([0.1, 0.2], [1, 2]), r"labels 0 and 1, got \[1, 2\]"),
    "no scores": (lambda: generative.detection([], []), "of both kinds.*got 0 and 0"),
    "scores of another length": (
        lambda: generative.detection([0.1, 0.2], [0, 1, 1]), r"shapes \(2,\) and \(3,\)"),
    "scores that are not finite": (
        lambda: generative.detection([0.1, np.nan], [0, 1]), "finite scores"),
    "as many components as numbers": (
        lambda: generative.principal_error(ROWS, 4), "fewer components than 4, got 4"),
    "no components": (lambda: generative.principal_error(ROWS, 0), "components.*got 0"),
    "no rows": (lambda: generative.principal_error(ROWS[:0], 1), r"data \(n, ...\)"),
    "rows of another size": (
        lambda: generative.principal_error(ROWS, 1)(ROWS[:, :3]), "rows of 4 numbers, got 3"),
    "other outputs": (
        lambda: training.fit(svdd(outputs=3), {"x": ROWS}, sampling.full(), key=KEY, steps=1),
        r"a network of 3 outputs, got shape \(30, 2\)"),
    "no outputs": (lambda: svdd(outputs=0), "outputs.*got 0"),
    "a negative penalty": (lambda: svdd(l2=-1.0), "l2.*got -1.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
