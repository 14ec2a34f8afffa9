"""Modules of NNX and Equinox in the place of parameters, against their arrays in jax.hessian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from jaxml import landscape
from jaxml.landscape.operators.modules import takes_modules
from jaxml.training import losses

eqx = pytest.importorskip("equinox")

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = np.sin(X.sum(1)).astype(np.float32)


class NnxNet(nnx.Module):
    """With statistics, a random stream and a function beside its parameters."""

    def __init__(self, rngs):
        self.one = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, deterministic=True, rngs=rngs)
        self.activation = jnp.tanh
        self.two = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x):
        return self.two(self.dropout(self.activation(self.norm(self.one(x)))))[..., 0]


def nnx_net():
    net = NnxNet(nnx.Rngs(0))
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    return net, lambda net, x: net(x), params, lambda p: nnx.merge(graph, p, rest)


def eqx_net():
    net = eqx.nn.MLP(3, "scalar", 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    params, static = eqx.partition(net, eqx.is_inexact_array)
    return net, lambda net, x: jax.vmap(net)(x), params, lambda p: eqx.combine(p, static)


@pytest.fixture(params=[nnx_net, eqx_net], ids=["nnx", "equinox"], scope="module")
def problem(request):
    """A module, what calls it, and the Hessian of its flattened parameters by JAX."""
    net, call, params, merge = request.param()
    x, unravel = ravel_pytree(params)
    truth = jax.jit(jax.hessian(lambda v: ((call(merge(unravel(v)), X) - Y) ** 2).mean()))(x)
    return net, call, truth


@pytest.mark.slow
def test_three_lines(problem):
    net, call, truth = problem

    def loss(net):
        return ((call(net, X) - Y) ** 2).mean()

    point = landscape.analyze(loss, net)
    np.testing.assert_allclose(point.eigenvalues, np.linalg.eigvalsh(truth), atol=1e-5)
    assert loss(net) == pytest.approx(point.loss)


@pytest.mark.slow
def test_a_loss_over_data_keeps_its_fast_matrices(problem):
    net, call, truth = problem
    data = {"x": X, "y": Y}
    loss = landscape.data_loss(lambda net, batch: call(net, batch["x"]), losses.mse, data)
    dense = landscape.hessian(loss, net).dense()
    np.testing.assert_allclose(np.linalg.eigvalsh(dense), np.linalg.eigvalsh(truth), atol=1e-5)
    assert landscape.gauss_newton(loss, net).size == len(truth)


@pytest.mark.slow
def test_what_is_found_goes_back_into_the_module(problem):
    net, call, _ = problem
    loss = lambda net: ((call(net, X) - Y) ** 2).mean()  # noqa: E731
    found = landscape.descend(loss, net, max_steps=30)
    if isinstance(net, nnx.Module):
        lower = nnx.clone(net)
        nnx.update(lower, found.params)
    else:
        lower = eqx.combine(found.params, net)
    assert loss(lower) == pytest.approx(float(found.loss), rel=1e-4)
    assert loss(lower) < loss(net)


def test_every_module_among_the_arguments_is_parted(problem):
    net, call, _ = problem

    @takes_modules
    def losses(loss, starts, *, to=None, count=1):
        assert all(x.dtype == np.float32 for x in jax.tree.leaves((starts, to)))
        return [float(loss(start)) for start in [*starts, to]] * count

    value = float(call(net, X).sum())
    assert losses(lambda net: call(net, X).sum(), [net, net], to=net) == [value] * 3
    assert losses(lambda w: w.sum(), (np.ones(2, "f"),), to=np.ones(2, "f"), count=2) == [2.0] * 4


def test_layers_by_patterns(problem):
    net, call, _ = problem
    loss = lambda net: ((call(net, X) - Y) ** 2).mean()  # noqa: E731
    weight = "kernel" if isinstance(net, nnx.Module) else "weight"
    matrices = [
        path for paths in landscape.layer_names(net, f"*/{weight}").values() for path in paths
    ]
    assert [path.rpartition("/")[2] for path in matrices] == [weight, weight]
    assert landscape.hessian(loss, net, layers=f"*/{weight}").size == 3 * 4 + 4
    with pytest.raises(ValueError, match=r"layers among .*, got '\*/gain'"):
        landscape.layer_names(net, "*/gain")
