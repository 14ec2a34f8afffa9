"""Weights, labels and keys that do not fit are refused; labels to ignore are PyTorch's."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import landscape, nn, studies, training
from jaxml.training import augmentation, losses, metrics, optimizers, sampling
from jaxml.training.batches import Expected, _check_targets

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 5)).astype(np.float32)
Y = np.array([0, 1, 2] * 4)
HOLED = np.where(np.arange(12) == 7, -1, Y)
SIGNS = np.where(Y > 1, 1, -1)
MODEL, BINARY = nn.linear(5, 3), nn.linear(5, 1)
RATE = optimizers.sgd(0.1)
CLASSES = training.supervised(
    MODEL, losses.softmax_cross_entropy, RATE, metrics={"accuracy": metrics.accuracy}
)
SOFT = training.supervised(MODEL, losses.softmax_cross_entropy, RATE)
COINS = training.supervised(BINARY, losses.sigmoid_cross_entropy, RATE)
LINE = training.supervised(BINARY, losses.mse, RATE)


def of_optax(outputs, batch):
    return optax.losses.softmax_cross_entropy_with_integer_labels(outputs, batch["y"])


def fit(y=Y, algorithm=CLASSES, sample=None, **keys):
    sample = sample or sampling.epochs(6)
    return training.fit(algorithm, {"x": X, "y": y, **keys}, sample, key=KEY, steps=2)


def fit_many(y):
    keys = jax.random.split(KEY, 2)
    return training.fit_many(CLASSES, {"x": X, "y": y}, sampling.full(), keys=keys, steps=1)


def evaluate(y=Y, metric=metrics.accuracy, model=MODEL, **keys):
    state = training.supervised(model, losses.mse, RATE).init(KEY)
    return training.evaluate(model, state, {"x": X, "y": y, **keys}, {"it": metric})


def full_loss(y=Y, **keys):
    return training.full_loss(CLASSES, CLASSES.init(KEY), {"x": X, "y": y, **keys})


def study(y=Y, measured=Y):
    return study_of({"x": X, "y": y}, {"x": X, "y": measured})


def study_of(rows, measured=None):
    task = studies.task(MODEL, losses.softmax_cross_entropy)
    lanes = studies.grid([6], [0.1], optimizers=["sgd"], seeds=1)
    splits = {"train": rows if measured is None else measured}
    return studies.batch_size(task, rows, lanes, splits=splits, epochs=1)


def noise_scale(**keys):
    loss = lambda w, batch: (batch["x"] @ w - batch["y"]) ** 2  # noqa: E731
    return studies.noise_scale(loss, jnp.ones(5), {"x": X, "y": Y, **keys})


COLUMN = np.ones((12, 1), np.float32)
LABELS = r"labels from 0 to 2 in data\['y'\], got "
TABLE = {
    # weights of another shape broadcast to (B, B) once
    "a column of weights": (lambda: fit(weights=COLUMN), r"data\['weights'\].*got \(12, 1\)"),
    "a row of weights": (lambda: fit(weights=np.ones((12, 3))), r"got \(12, 3\)"),
    "evaluate: a column": (lambda: evaluate(weights=COLUMN), r"got \(12, 1\)"),
    "full_loss: a column": (lambda: full_loss(weights=COLUMN), r"got \(12, 1\)"),
    "data_loss: a column": (
        lambda: landscape.data_loss(
            lambda w, b: b["x"] @ w, losses.mse, {"x": X, "y": Y, "weights": COLUMN}
        ),
        r"got \(12, 1\)",
    ),
    "a step: a column": (
        lambda: CLASSES.step(CLASSES.init(KEY), {"x": X, "y": Y, "weights": COLUMN}, KEY),
        r"weights'\] of shape \(12,\), got \(12, 1\)",
    ),
    "negative weights": (
        lambda: fit(weights=np.where(Y == 1, -0.5, 1)),
        r"at least 0 in data\['weights'\], got -0.5 at 1",
    ),
    "no weight at all": (lambda: evaluate(weights=np.zeros(12)), "above 0.*got zeros alone"),
    "NaN weights": (lambda: full_loss(weights=COLUMN[:, 0] * np.nan), "finite values"),
    **{
        f"a key {key}": (
            lambda key=key: fit(**{key: COLUMN[:, 0]}),
            rf"'weights', one an example, .*data\['{key}'\], which nothing reads",
        )
        for key in ("weight", "sample_weight", "x_mask", "Weights")
    },
    "evaluate: weight": (lambda: evaluate(weight=COLUMN[:, 0]), "nothing reads"),
    "full_loss: masks": (lambda: full_loss(masks=COLUMN[:, 0]), "nothing reads"),
    "noise_scale: mask": (lambda: noise_scale(mask=COLUMN[:, 0]), "nothing reads"),
    "a study: mask": (
        lambda: study_of({"x": X, "y": Y, "mask": Y > 0}),
        "count alike, got .* mask",
    ),
    "noise_scale: weights": (lambda: noise_scale(weights=COLUMN[:, 0]), "nothing reads"),
    "no targets": (
        lambda: training.fit(CLASSES, {"x": X, "label": Y}, sampling.full(), key=KEY, steps=1),
        r"key 'y', got keys \['label', 'x'\]",
    ),
    "no inputs": (
        lambda: training.fit(CLASSES, {"inputs": X, "y": Y}, sampling.full(), key=KEY, steps=1),
        r"key 'x', got keys \['inputs', 'y'\]",
    ),
    # labels
    "-1": (lambda: fit(HOLED), LABELS + r"-1 at 7 \(1 of 12 are not; training.ignore_label"),
    "1 to C": (lambda: fit(Y + 1), LABELS + r"3 at 2 \(4 of 12 .*count from 0"),
    "C alone": (lambda: fit(np.where(Y == 2, 3, Y)), LABELS + "3 at 2"),
    "lanes": (lambda: fit_many(HOLED), LABELS + "-1"),
    "evaluate: -1": (lambda: evaluate(HOLED), LABELS + "-1"),
    "evaluate the loss: C": (lambda: evaluate(Y + 1, losses.softmax_cross_entropy), LABELS + "3"),
    "full_loss: -1": (lambda: full_loss(HOLED), LABELS + "-1"),
    "a study: -1": (lambda: study(HOLED), LABELS + "-1"),
    "a study's split: C": (lambda: study(Y, Y + 1), LABELS + "3"),
    "within a lambda": (
        lambda: fit(
            HOLED,
            training.supervised(MODEL, lambda o, b: losses.softmax_cross_entropy(o, b, 0.1), RATE),
        ),
        LABELS + "-1",
    ),
    "optax's own loss": (
        lambda: fit(HOLED, training.supervised(MODEL, of_optax, RATE)),
        r"no negative index in data\['y'\], got -1 at 7",
    ),
    "truth values": (lambda: fit(Y > 1), r"integer labels of \(6,\).*got bool"),
    "whole floats": (lambda: fit(Y.astype(float)), r"integer labels of \(6,\), got .* float32"),
    "one-hot integers": (lambda: fit(np.eye(3, dtype=int)[Y]), "one-hot"),
    "one-hot of signs": (
        lambda: fit(2 * np.eye(3)[Y] - 1, SOFT),
        r"probabilities in data\['y'\], got -1.0 at \(0, 1\)",
    ),
    "several hot": (
        lambda: fit(np.ones((12, 3)), SOFT),
        r"sum 1 in data\['y'\], got 3.0 at 0",
    ),
    "signs": (lambda: fit(SIGNS, COINS), r"0, 1 or .*got -1 at 0 \(8 of 12 .*\(y \+ 1\) / 2"),
    "classes of a sigmoid": (lambda: fit(Y, COINS), "got 2 at 2"),
    "signs' accuracy": (lambda: evaluate(SIGNS, metrics.binary_accuracy, BINARY), "got -1"),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_does_not_fit_is_refused(case):
    call, match = TABLE[case]
    with pytest.raises(ValueError, match=match):
        call()


def test_a_key_that_nothing_reads_is_told():
    with pytest.warns(UserWarning, match=r"nothing reads data\['id'\]"):
        fit(id=np.arange(12))


def parity(data, key, step):
    return {**data, "y": data["y"] % 2}


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit(Y > 1, COINS),
        lambda: fit(Y - 7, LINE),
        lambda: fit(np.eye(3)[Y], SOFT),
        # the labels that the loss sees are others than the data's
        lambda: fit(Y - 7, sample=parity),
        lambda: fit(
            Y - 7,
            training.supervised(
                MODEL, lambda o, b: losses.softmax_cross_entropy(o, {"y": b["y"] % 2}), RATE
            ),
        ),
        lambda: fit(weights=Y > 1),
        noise_scale,
    ],
)
def test_what_fits_is_taken(call):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("label", [-1, 3, 99])
def test_a_label_that_is_no_class_is_nan_where_the_host_does_not_see_it(label, smoothing):
    batch = {"y": jnp.array([label, 0], jnp.int8)}
    for of in (lambda *a: losses.softmax_cross_entropy(*a, smoothing), metrics.accuracy):
        assert np.isnan(of(jnp.zeros((2, 3)), batch)).tolist() == [True, False]
    batch = {"y": jnp.array([-1.0, 1.0])}
    for of in (losses.sigmoid_cross_entropy, metrics.binary_accuracy):
        assert np.isnan(of(jnp.zeros((2, 1)), batch)).tolist() == [True, False]


@pytest.mark.slow
def test_mixup_of_a_label_that_is_no_class_is_nan():
    batch = {"x": jnp.ones((2, 1)), "y": jnp.array([-1, -1])}
    mixed = augmentation.mixup(1.0, 3)(batch, KEY)
    assert np.isnan(mixed["y"]).all()


@pytest.mark.oracle
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(12,), (4, 3), (2, 3, 2)])
def test_ignored_labels_are_torchs(shape, smoothing):
    """The mean over the other labels, and its gradient; the whole, and in batches."""
    torch = pytest.importorskip("torch")
    y = np.where(RNG.random(shape) < 0.3, -1, RNG.integers(0, 4, shape))
    y[-1] = -1  # an example without any
    z = RNG.normal(size=(*shape, 4)).astype(np.float32)
    tensor = torch.tensor(z, requires_grad=True)
    labels = torch.tensor(y.reshape(-1))
    expected = torch.nn.functional.cross_entropy(
        tensor.reshape(-1, 4), labels, ignore_index=-1, label_smoothing=smoothing
    )
    expected.backward()

    def cross_entropy(outputs, batch):
        return losses.softmax_cross_entropy(outputs, batch, smoothing)

    def predict(shift, batch):
        return batch["x"] + shift

    split = training.ignore_label({"x": z, "y": y})
    loss = landscape.data_loss(predict, cross_entropy, split)
    batches = landscape.data_loss(predict, cross_entropy, split, batch_size=3)
    zero = jnp.zeros(4)
    assert float(loss(zero)) == pytest.approx(expected.item(), rel=1e-5)
    assert float(batches(zero)) == pytest.approx(expected.item(), rel=1e-5)
    gradient = tensor.grad.numpy().reshape(-1, 4).sum(0)
    np.testing.assert_allclose(jax.grad(loss)(zero), gradient, rtol=1e-4, atol=1e-6)


def test_ignored_labels_count_in_no_metric():
    split = training.ignore_label({"x": X, "y": HOLED, "weights": np.arange(12.0)})
    assert split["y"][7] == 0  # a class that there always is
    np.testing.assert_array_equal(np.delete(split["y"], 7), np.delete(HOLED, 7))
    assert split["y"].dtype == HOLED.dtype
    state = CLASSES.init(KEY)
    got = training.evaluate(MODEL, state, split, {"accuracy": metrics.accuracy}, batch_size=5)
    right = np.asarray(MODEL.apply(state.params, {}, X)[0]).argmax(-1) == Y
    kept = np.arange(12) != 7
    expected = np.average(right[kept], weights=np.arange(12)[kept])
    assert got["accuracy"] == pytest.approx(expected)
    assert HOLED[7] == -1


def test_nothing_left_is_refused():
    with pytest.raises(ValueError, match=r"other than -1 in data\['y'\], got none"):
        training.ignore_label({"x": X, "y": np.full(12, -1)})


def test_distributions_are_along_the_last_axis():
    """Of a row's several targets each sums to 1, whatever they sum to across the row."""
    expected = Expected(None, "distribution")
    targets = np.broadcast_to(np.array([0.5, 0.25, 0.25, 0.0]), (2, 3, 4)).copy()
    _check_targets("y", targets, expected)
    targets[1, 2] = [0.5, 0.25, 0.0, 0.0]
    with pytest.raises(ValueError, match="probabilities of sum 1 in y"):
        _check_targets("y", targets, expected)
