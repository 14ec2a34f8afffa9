"""Losses against hand formulas, PyTorch and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.core.empirical_risk import weighted_mean
from jaxml.training import losses

RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(size=(6, 4)) * 3
TARGETS = RNG.normal(size=(6, 4)) * 3
LABELS = RNG.integers(0, 4, 6)
PROBABILITIES = RNG.dirichlet(np.ones(4), 6)
COINS = RNG.integers(0, 2, (6, 4))


def log_softmax(z):
    shifted = z - z.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(z, p, smoothing=0.0):
    p = (1 - smoothing) * p + smoothing / z.shape[-1]
    return -(p * log_softmax(z)).sum(-1)


def binary_cross_entropy(z, p, smoothing=0.0):
    p = (1 - smoothing) * p + smoothing / 2
    return (np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - p * z).mean(-1)


def additive_margin(z, labels, scale, margin):
    """As Wang et al. (2018) write it: the target's exponential over the sum of all."""
    own = np.eye(z.shape[-1])[labels]
    raised = np.exp(scale * (z - margin * own))
    return -np.log((raised * own).sum(-1) / raised.sum(-1))


def huber(z, y, delta):
    e = np.abs(z - y)
    return np.where(e <= delta, e**2 / 2, delta * (e - delta / 2)).mean(-1)


def with_(loss, **options):
    return functools.partial(loss, **options) if options else loss


def torch_huber(f, z, y, delta):
    return f.huber_loss(z, y, reduction="none", delta=delta).mean(-1)


def torch_cross_entropy(f, z, y, smoothing=0.0):
    return f.cross_entropy(z, y, reduction="none", label_smoothing=smoothing)


def torch_binary(f, z, y):
    return f.binary_cross_entropy_with_logits(z, y.double(), reduction="none").mean(-1)


def torch_margin(f, z, y, scale, margin):
    moved = z - margin * f.one_hot(y, z.shape[-1]).double()
    return f.cross_entropy(scale * moved, y, reduction="none")


ce, bce = losses.softmax_cross_entropy, losses.sigmoid_cross_entropy
# name: loss, targets, formula in NumPy, PyTorch's function of (functional, z, y)
CASES = {
    "mse": (
        losses.mse,
        TARGETS,
        lambda z, y: ((z - y) ** 2).mean(-1),
        lambda f, z, y: f.mse_loss(z, y, reduction="none").mean(-1),
    ),
    "mae": (
        losses.mae,
        TARGETS,
        lambda z, y: np.abs(z - y).mean(-1),
        lambda f, z, y: f.l1_loss(z, y, reduction="none").mean(-1),
    ),
    "huber": (
        losses.huber,
        TARGETS,
        lambda z, y: huber(z, y, 1.0),
        lambda f, z, y: torch_huber(f, z, y, 1.0),
    ),
    "huber, delta 2.5": (
        with_(losses.huber, delta=2.5),
        TARGETS,
        lambda z, y: huber(z, y, 2.5),
        lambda f, z, y: torch_huber(f, z, y, 2.5),
    ),
    "softmax": (ce, LABELS, lambda z, y: cross_entropy(z, np.eye(4)[y]), torch_cross_entropy),
    "softmax, smoothed": (
        with_(ce, label_smoothing=0.1),
        LABELS,
        lambda z, y: cross_entropy(z, np.eye(4)[y], 0.1),
        lambda f, z, y: torch_cross_entropy(f, z, y, 0.1),
    ),
    "softmax, probabilities": (ce, PROBABILITIES, cross_entropy, torch_cross_entropy),
    "softmax, smoothed probabilities": (
        with_(ce, label_smoothing=0.3),
        PROBABILITIES,
        lambda z, y: cross_entropy(z, y, 0.3),
        lambda f, z, y: torch_cross_entropy(f, z, y, 0.3),
    ),
    "margin": (
        with_(losses.additive_margin_softmax, scale=7.0, margin=0.4),
        LABELS,
        lambda z, y: additive_margin(z, y, 7.0, 0.4),
        lambda f, z, y: torch_margin(f, z, y, 7.0, 0.4),
    ),
    "no margin": (
        with_(losses.additive_margin_softmax, scale=7.0, margin=0.0),
        LABELS,
        lambda z, y: cross_entropy(7.0 * z, np.eye(4)[y]),
        lambda f, z, y: torch_cross_entropy(f, 7.0 * z, y),
    ),
    "sigmoid": (bce, COINS, binary_cross_entropy, torch_binary),
    "sigmoid, smoothed": (
        with_(bce, label_smoothing=0.2),
        COINS,
        lambda z, y: binary_cross_entropy(z, y, 0.2),
        lambda f, z, y: torch_binary(f, z, 0.8 * y.double() + 0.1),
    ),
    "sigmoid, probabilities": (bce, PROBABILITIES, binary_cross_entropy, torch_binary),
}
all_losses = pytest.mark.parametrize("name", CASES)


@pytest.mark.oracle
@all_losses
def test_values_are_the_formula_and_torchs(name):
    torch = pytest.importorskip("torch")
    loss, targets, formula, of_torch = CASES[name]
    with jax.enable_x64(True):
        values = np.asarray(loss(jnp.asarray(OUTPUTS), {"y": jnp.asarray(targets)}))
    assert values.shape == (6,)
    np.testing.assert_allclose(values, formula(OUTPUTS, targets), rtol=1e-12)
    expected = of_torch(torch.nn.functional, torch.tensor(OUTPUTS), torch.tensor(targets))
    np.testing.assert_allclose(values, expected.numpy(), rtol=1e-12)


@pytest.mark.oracle
@all_losses
def test_gradients_are_finite_differences_and_torchs(name):
    torch = pytest.importorskip("torch")
    loss, targets, formula, of_torch = CASES[name]
    with jax.enable_x64(True):
        gradient = jax.grad(lambda z: loss(z, {"y": jnp.asarray(targets)}).sum())
        got = np.asarray(gradient(jnp.asarray(OUTPUTS)))
    z = torch.tensor(OUTPUTS, requires_grad=True)
    of_torch(torch.nn.functional, z, torch.tensor(targets)).sum().backward()
    np.testing.assert_allclose(got, z.grad.numpy(), atol=1e-12)
    direction, step = RNG.normal(size=OUTPUTS.shape), 1e-6
    plus, minus = (formula(OUTPUTS + s * step * direction, targets).sum() for s in (1, -1))
    assert (got * direction).sum() == pytest.approx((plus - minus) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("name", ["mse", "mae", "huber", "sigmoid"])
def test_one_output_against_flat_targets_does_not_broadcast(name):
    loss, _, formula, _ = CASES[name]
    z, y = jnp.float32([[0.5], [-1.0], [2.0]]), np.float32([1.0, 0.0, 1.0])
    flat, column = loss(z, {"y": y}), loss(z, {"y": y[:, None]})
    assert flat.shape == (3,)
    np.testing.assert_allclose(flat, formula(np.asarray(z), y[:, None]), rtol=1e-6)
    np.testing.assert_array_equal(flat, column)


@pytest.mark.parametrize(
    ("name", "outputs", "targets"),
    [
        ("mse", (3,), (3, 1)),
        ("mse", (3, 1), (1,)),
        ("mse", (3, 2), (3,)),
        ("mae", (3, 2), (3, 1)),
        ("huber", (3, 1), (2, 1)),
        ("sigmoid", (3, 2), (2, 3)),
        ("softmax", (3, 2), (3, 4)),
        ("softmax", (3, 2), (3,)),
    ],
)
def test_targets_of_another_shape_are_refused(name, outputs, targets):
    with pytest.raises(ValueError, match=r"expected .*\d.*, got \(\d"):
        CASES[name][0](jnp.zeros(outputs), {"y": jnp.zeros(targets)})


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected labels of \(3,\), got \(3, 1\)"):
        ce(jnp.zeros((3, 2)), {"y": jnp.zeros((3, 1), int)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "a finite scale above 0, got 0.0"),
        ({"scale": float("inf")}, "a finite scale above 0, got inf"),
        ({"margin": -0.1}, "a finite margin of at least 0, got -0.1"),
        ({"margin": float("nan")}, "a finite margin of at least 0, got nan"),
    ],
)
def test_margins_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        losses.additive_margin_softmax(jnp.zeros((3, 2)), {"y": jnp.zeros(3, int)}, **options)


def test_the_default_margin_and_scale_are_the_papers():
    cosines, batch = jnp.array([[0.5, 0.5]]), {"y": jnp.array([0])}
    # of two classes: log(1 + exp(s(c_other - c_own + m)))
    known = np.log1p(np.exp(30 * 0.35))
    assert float(losses.additive_margin_softmax(cosines, batch)[0]) == pytest.approx(known)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("label", [0, 1])
def test_logits_of_ten_thousand_are_safe(label, label_smoothing):
    """The loss is exact and its gradient finite where a plain exponential overflows."""
    z = jnp.array([[1e4, -1e4]])
    loss = with_(ce, label_smoothing=label_smoothing)
    wrong = (1 - label_smoothing) * label + label_smoothing / 2
    value, gradient = jax.value_and_grad(lambda z: loss(z, {"y": jnp.array([label])})[0])(z)
    assert float(value) == pytest.approx(2e4 * wrong, rel=1e-6)
    np.testing.assert_allclose(gradient[0], [wrong, -wrong], atol=1e-6)

    loss = with_(bce, label_smoothing=label_smoothing)
    value, gradient = jax.value_and_grad(lambda z: loss(z, {"y": jnp.array([label])})[0])(z[:, 1:])
    assert float(value) == pytest.approx(1e4 * wrong, rel=1e-6)
    assert float(gradient[0, 0]) == pytest.approx(-wrong, abs=1e-6)


@pytest.mark.parametrize("name", ["mse", "mae", "huber"])
def test_an_examples_outputs_are_averaged_whatever_their_shape(name):
    loss, _, formula, _ = CASES[name]
    z, y = OUTPUTS.reshape(2, 3, 4), TARGETS.reshape(2, 3, 4)
    expected = formula(OUTPUTS, TARGETS).reshape(2, 3).mean(-1)
    np.testing.assert_allclose(loss(jnp.float32(z), {"y": jnp.float32(y)}), expected, rtol=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_sequences_of_labels_are_averaged(label_smoothing):
    loss = with_(ce, label_smoothing=label_smoothing)
    got = loss(jnp.float32(OUTPUTS.reshape(2, 3, 4)), {"y": LABELS.reshape(2, 3)})
    expected = cross_entropy(OUTPUTS, np.eye(4)[LABELS], label_smoothing).reshape(2, 3).mean(-1)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_a_label_that_is_no_class_shows(label_smoothing):
    values = ce(jnp.zeros((2, 3)), {"y": jnp.array([3, 0])}, label_smoothing)
    assert np.isnan(values).tolist() == [True, False]


MASK = np.array([[1, 1, 0], [1, 0, 0]])
MASKED = {  # name: outputs and targets of 2 examples of 3 positions
    "mse": (OUTPUTS.reshape(2, 3, 4), TARGETS.reshape(2, 3, 4)),
    "mae": (OUTPUTS.reshape(2, 3, 4), TARGETS.reshape(2, 3, 4)),
    "huber, delta 2.5": (OUTPUTS.reshape(2, 3, 4), TARGETS.reshape(2, 3, 4)),
    "softmax": (OUTPUTS.reshape(2, 3, 4), LABELS.reshape(2, 3)),
    "softmax, smoothed": (OUTPUTS.reshape(2, 3, 4), LABELS.reshape(2, 3)),
    "softmax, probabilities": (OUTPUTS.reshape(2, 3, 4), PROBABILITIES.reshape(2, 3, 4)),
    "margin": (OUTPUTS.reshape(2, 3, 4), LABELS.reshape(2, 3)),
    "sigmoid": (OUTPUTS.reshape(2, 3, 4), COINS.reshape(2, 3, 4)),
}


@pytest.mark.parametrize("weights", [None, np.float32([1.0, 3.0])])
@pytest.mark.parametrize("name", MASKED)
def test_padding_counts_for_nothing(name, weights):
    """The batch's mean is over the three positions left; what stands at the others is no matter."""
    loss, _, formula, _ = CASES[name]
    z, y = MASKED[name]
    each = formula(OUTPUTS, y.reshape(6, *y.shape[2:])).reshape(2, 3)
    batch = {"y": y, "mask": MASK} | ({} if weights is None else {"weights": weights})
    values = loss(jnp.float32(z), batch)
    np.testing.assert_allclose(values, [each[0, :2].mean(), each[1, 0]], rtol=1e-5)
    own = np.repeat(np.ones(2) if weights is None else weights, [2, 1])
    mean = np.average(each[MASK > 0], weights=own)
    assert float(weighted_mean(values, batch)) == pytest.approx(mean, rel=1e-5)
    other = np.where(MASK[..., None] > 0, z, 1e9)
    np.testing.assert_array_equal(loss(jnp.float32(other), batch), values)
    gradient = jax.grad(lambda z: weighted_mean(loss(z, batch), batch))(jnp.float32(z))
    assert np.array_equal(np.asarray(gradient).any(-1), MASK > 0)


def test_an_example_of_padding_alone_counts_for_nothing():
    batch = {"y": LABELS.reshape(2, 3), "mask": MASK * [[0], [1]]}
    values = ce(jnp.float32(OUTPUTS.reshape(2, 3, 4)), batch)
    assert values[0] == 0
    expected = cross_entropy(OUTPUTS, np.eye(4)[LABELS])[3]
    assert float(weighted_mean(values, batch)) == pytest.approx(expected, rel=1e-5)
