"""Gauss–Newton and Fisher matrices against JᵀAJ written out, and against curvlinops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxml import landscape
from jaxml.training import losses

LOSSES = {
    "softmax": losses.softmax_cross_entropy,
    "sigmoid": losses.sigmoid_cross_entropy,
    "mse": losses.mse,
}


def predict(params, batch):
    return jnp.tanh(batch["x"] @ params["a"]) @ params["b"]


def problem(name, l2=0.0, **options):
    random = np.random.default_rng(0)
    params = {"a": random.normal(size=(4, 3)), "b": random.normal(size=(3, 3))}
    y = {
        "softmax": random.integers(3, size=10),
        "sigmoid": random.integers(2, size=(10, 3)).astype(float),
        "mse": random.normal(size=(10, 3)),
    }[name]
    data = {"x": random.normal(size=(10, 4)), "y": y, "weights": random.uniform(size=10)}
    loss = landscape.data_loss(predict, LOSSES[name], data, l2=l2, **options)
    return loss, jax.tree.map(jnp.asarray, params), data


def sandwich(name, curvature):
    """Σₙ wₙ JₙᵀAₙJₙ / Σ wₙ with J by jax.jacrev and A from a function of (z, y)."""
    _, params, data = problem(name)
    x, unravel = ravel_pytree(params)
    outputs = lambda v: predict(unravel(v), data)  # noqa: E731
    jacobian, z = np.asarray(jax.jit(jax.jacrev(outputs))(x)), np.asarray(outputs(x))
    total = np.zeros((x.size, x.size))
    for j, zn, yn, w in zip(jacobian, z, data["y"], data["weights"], strict=True):
        total += w * j.T @ curvature(zn, yn) @ j
    return total / data["weights"].sum()


def softmax(z):
    p = np.exp(z - z.max())
    return p / p.sum()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


CURVATURES = {
    "softmax": lambda z, y: np.diag(softmax(z)) - np.outer(softmax(z), softmax(z)),
    "sigmoid": lambda z, y: np.diag(sigmoid(z) * (1 - sigmoid(z))) / 3,
    "mse": lambda z, y: 2 / 3 * np.eye(3),
}
GRADIENTS = {
    "softmax": lambda z, y: softmax(z) - np.eye(3)[y],
    "sigmoid": lambda z, y: (sigmoid(z) - y) / 3,
    "mse": lambda z, y: 2 * (z - y) / 3,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_written_out(x64, name):
    loss, params, _ = problem(name, l2=0.1)
    expected = sandwich(name, CURVATURES[name])
    got = landscape.gauss_newton(loss, params).dense()
    np.testing.assert_allclose(got, expected + 0.1 * np.eye(len(expected)), atol=1e-13)
    np.testing.assert_allclose(landscape.fisher(loss, params).dense(), expected, atol=1e-13)
    gradient = GRADIENTS[name]
    terms = 1 if name == "softmax" else 3  # a mean over three outputs
    outer = sandwich(name, lambda z, y: terms * np.outer(gradient(z, y), gradient(z, y)))
    empirical = landscape.fisher(loss, params, kind="empirical").dense()
    np.testing.assert_allclose(empirical, outer, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_drawn_targets_have_the_fisher_as_mean(x64, name):
    loss, params, _ = problem(name)
    expected = sandwich(name, CURVATURES[name])

    def error(samples):
        drawn = landscape.fisher(loss, params, kind="monte carlo", samples=samples, seed=1)
        return abs(np.asarray(drawn.dense()) - expected).max() / abs(expected).max()

    assert error(40_000) < 0.02  # √40,000 = 200
    assert error(4) > 0.02


@pytest.mark.slow
def test_draws_do_not_depend_on_the_batches(x64):
    options = {"kind": "monte carlo", "samples": 2, "seed": 3}
    loss, params, _ = problem("softmax")
    whole = landscape.fisher(loss, params, **options).dense()
    for size in (3, 10):
        batched, _, _ = problem("softmax", batch_size=size)
        np.testing.assert_allclose(
            landscape.fisher(batched, params, **options).dense(), whole, atol=1e-14
        )
        np.testing.assert_allclose(
            landscape.gauss_newton(batched, params).dense(),
            landscape.gauss_newton(loss, params).dense(),
            atol=1e-14,
        )
    assert abs(landscape.fisher(loss, params, **options | {"seed": 4}).dense() - whole).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 4])
def test_of_a_sum_each_is_the_weights_sum_times_that_of_the_mean(x64, batch_size):
    mean, params, data = problem("softmax")
    total, _, _ = problem("softmax", l2=0.1, reduction="sum", batch_size=batch_size)
    times, penalty = data["weights"].sum(), 0.1 * np.eye(21)
    squares = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(total(params), times * mean(params) + 0.05 * squares, rtol=1e-13)
    expected = times * sandwich("softmax", CURVATURES["softmax"])
    np.testing.assert_allclose(
        landscape.gauss_newton(total, params).dense(), expected + penalty, atol=1e-12
    )
    np.testing.assert_allclose(landscape.fisher(total, params).dense(), expected, atol=1e-12)
    for options in ({"kind": "empirical"}, {"kind": "monte carlo", "samples": 3}):
        one, other = (landscape.fisher(loss, params, **options).dense() for loss in (mean, total))
        np.testing.assert_allclose(other, times * one, atol=1e-12)
    one, other = (landscape.hessian(loss, params) for loss in (mean, total))
    np.testing.assert_allclose(other.dense(), times * one.dense() + penalty, atol=1e-12)
    v = np.arange(21.0)
    np.testing.assert_allclose(other.matvec(v), other.dense() @ v, atol=1e-11)


def test_a_layer_and_a_bound(x64):
    loss, params, _ = problem("softmax")
    whole = landscape.gauss_newton(loss, params).dense()
    layer = landscape.gauss_newton(loss, params, layers="b")
    np.testing.assert_allclose(layer.dense(), whole[12:, 12:], atol=1e-14)
    small = landscape.gauss_newton(loss, params, memory=8_000)
    v = np.ones(21)
    np.testing.assert_allclose(small.matvec(v), whole @ v, atol=1e-13)
    fisher = landscape.fisher(loss, params, layers="b", memory=8_000)
    np.testing.assert_allclose(fisher.dense(), whole[12:, 12:], atol=1e-14)  # of this loss the same


@pytest.mark.slow
def test_targets_drawn_as_the_caller_says(x64):
    """Of a loss that is not known, drawn as those of the one that it is."""
    known, params, data = problem("softmax")
    own = landscape.data_loss(
        predict, lambda outputs, batch: 1.0 * LOSSES["softmax"](outputs, batch), data
    )
    options = {"kind": "monte carlo", "samples": 3, "seed": 2}
    with pytest.raises(ValueError, match="or `draw`"):
        landscape.fisher(own, params, **options)
    drawn = landscape.fisher(
        own, params, draw=lambda key, outputs, _: jax.random.categorical(key, outputs), **options
    ).dense()
    expected = landscape.fisher(known, params, **options).dense()
    np.testing.assert_allclose(drawn, expected, atol=1e-14)
    likeliest = landscape.fisher(
        own, params, draw=lambda key, outputs, _: outputs.argmax(-1), **options
    ).dense()
    assert abs(likeliest - expected).max() > 1e-3


def test_bad_input():
    w = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="a loss from full_loss or data_loss"):
        landscape.gauss_newton(lambda w: (w**2).sum(), w)
    loss = landscape.data_loss(lambda w, b: b["x"] @ w, losses.mae, {"x": np.eye(3), "y": w})
    with pytest.raises(ValueError, match=r"a distribution: a loss over data by .*`draw`"):
        landscape.fisher(loss, w, kind="monte carlo")
    with pytest.raises(ValueError, match="a distribution"):
        landscape.fisher(loss, w)
    with pytest.raises(ValueError, match="kind"):
        landscape.fisher(loss, w, kind="exact")
    with pytest.raises(ValueError, match="samples"):
        landscape.fisher(loss, w, samples=0)
    with pytest.raises(ValueError, match="reduction to be one of mean, sum, got 'none'"):
        landscape.data_loss(lambda w, b: b["x"] @ w, losses.mse, {"x": np.eye(3)}, reduction="none")


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["softmax", "mse"])
def test_curvlinops_has_the_same(name, reduction):
    torch = pytest.importorskip("torch")
    curvlinops = pytest.importorskip("curvlinops")
    with jax.enable_x64(True):
        loss, params, data = problem(name)
    del data["weights"]
    torch.set_default_dtype(torch.float64)
    try:
        first = torch.nn.Linear(4, 3, bias=False)
        second = torch.nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            first.weight.copy_(torch.tensor(np.asarray(params["a"]).T.copy()))
            second.weight.copy_(torch.tensor(np.asarray(params["b"]).T.copy()))
        net = torch.nn.Sequential(first, torch.nn.Tanh(), second)
        kind = torch.nn.CrossEntropyLoss if name == "softmax" else torch.nn.MSELoss
        value = kind(reduction=reduction)
        # two batches, the second short
        pairs = [
            (torch.tensor(data["x"][:6]), torch.tensor(data["y"][:6])),
            (torch.tensor(data["x"][6:]), torch.tensor(data["y"][6:])),
        ]
        arguments = (net, value, list(net.parameters()), pairs)
        eye = torch.eye(21)
        theirs = {
            "ggn": curvlinops.GGNLinearOperator(*arguments) @ eye,
            "empirical": curvlinops.EFLinearOperator(*arguments) @ eye,
            "hessian": curvlinops.HessianLinearOperator(*arguments) @ eye,
        }
        theirs["fisher"] = theirs["ggn"]  # of these losses
    finally:
        torch.set_default_dtype(torch.float32)
    with jax.enable_x64(True):
        loss = landscape.data_loss(predict, LOSSES[name], data, batch_size=6, reduction=reduction)
        # PyTorch's sum is over the outputs too, of which ours is the mean
        times = 3 if (name, reduction) == ("mse", "sum") else 1
        ours = {
            "ggn": landscape.gauss_newton(loss, params).dense(),
            "empirical": landscape.fisher(loss, params, kind="empirical").dense(),
            "hessian": landscape.hessian(loss, params).dense(),
            "fisher": landscape.fisher(loss, params).dense(),
        }
    # their weights are (out, in)
    order = np.r_[np.arange(12).reshape(4, 3).T.ravel(), 12 + np.arange(9).reshape(3, 3).T.ravel()]
    for kind, matrix in theirs.items():
        got = times * np.asarray(ours[kind])[np.ix_(order, order)]
        np.testing.assert_allclose(got, matrix.numpy(), atol=1e-12, err_msg=kind)
