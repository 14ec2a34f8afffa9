"""One set of weights as Linen, NNX, Equinox, numpy and PyTorch has one Hessian: PyTorch's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxml import landscape, nn

torch = pytest.importorskip("torch")
eqx = pytest.importorskip("equinox")
pytestmark = [
    pytest.mark.oracle,
    # torch.func imports what PyTorch itself has deprecated
    pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning"),
]

INPUTS, HIDDEN, OUTPUTS = 6, 5, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, INPUTS)).astype(np.float32)
Y = RNG.integers(OUTPUTS, size=12)
# as PyTorch lays them out and orders them
SHAPES = {"0.weight": (HIDDEN, INPUTS), "0.bias": (HIDDEN,)}
SHAPES |= {"2.weight": (OUTPUTS, HIDDEN), "2.bias": (OUTPUTS,)}
WEIGHTS = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
SIZE = sum(value.size for value in WEIGHTS.values())


def numbered():
    """In place of every weight, its place in PyTorch's order."""
    ends = np.cumsum([0, *(value.size for value in WEIGHTS.values())])
    parts = zip(WEIGHTS.items(), ends, strict=False)
    return {name: first + np.arange(v.size).reshape(v.shape) for (name, v), first in parts}


def cross_entropy(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, Y).mean()


def linen(weights):
    model = nn.mlp([INPUTS, HIDDEN, OUTPUTS], activation="tanh")
    params = {
        "dense_0": {"kernel": weights["0.weight"].T, "bias": weights["0.bias"]},
        "dense_1": {"kernel": weights["2.weight"].T, "bias": weights["2.bias"]},
    }
    return lambda p: cross_entropy(model.apply(p, {}, X)[0]), params


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.one = nnx.Linear(INPUTS, HIDDEN, rngs=rngs)
        self.two = nnx.Linear(HIDDEN, OUTPUTS, rngs=rngs)

    def __call__(self, x):
        return self.two(jnp.tanh(self.one(x)))


def nnx_params(weights):
    return {
        "one": {"kernel": weights["0.weight"].T, "bias": weights["0.bias"]},
        "two": {"kernel": weights["2.weight"].T, "bias": weights["2.bias"]},
    }


def nnx_adapted(weights):
    model = nn.from_nnx(NnxNet)
    return lambda p: cross_entropy(model.apply(p, {}, X)[0]), nnx_params(weights)


def nnx_state(weights):
    graph, state = nnx.split(NnxNet(nnx.Rngs(0)))
    nnx.replace_by_pure_dict(state, jax.tree.map(jnp.asarray, nnx_params(weights)))
    return lambda s: cross_entropy(nnx.merge(graph, s)(X)), state


def equinox(weights):
    net = eqx.nn.MLP(INPUTS, OUTPUTS, HIDDEN, depth=1, activation=jnp.tanh, key=jax.random.key(0))
    params, static = eqx.partition(net, eqx.is_inexact_array)
    arrays = [jnp.asarray(value) for value in weights.values()]
    params = eqx.tree_at(
        lambda p: [a for layer in p.layers for a in (layer.weight, layer.bias)], params, arrays
    )
    return lambda p: cross_entropy(jax.vmap(eqx.combine(p, static))(X)), params


def plain(weights):
    params = {"w": [weights["0.weight"], weights["2.weight"]]}
    params["b"] = [weights["0.bias"], weights["2.bias"]]

    def loss(p):
        hidden = jnp.tanh(X @ p["w"][0].T + p["b"][0])
        return cross_entropy(hidden @ p["w"][1].T + p["b"][1])

    return loss, params


def torch_net():
    layers = torch.nn.Linear(INPUTS, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, OUTPUTS)
    net = torch.nn.Sequential(*layers)
    net.load_state_dict({name: torch.tensor(value) for name, value in WEIGHTS.items()})
    return net


def state_dict(weights):
    def loss(p):
        hidden = jnp.tanh(X @ p["0.weight"].T + p["0.bias"])
        return cross_entropy(hidden @ p["2.weight"].T + p["2.bias"])

    if weights is WEIGHTS:
        return loss, torch_net().state_dict()
    return loss, type(torch_net().state_dict())(weights)


@pytest.fixture(scope="module")
def truth():
    """PyTorch's Hessian in PyTorch's order, in float64."""
    net = torch_net().double()
    params = {name: value.detach() for name, value in net.named_parameters()}

    def loss(p):
        logits = torch.func.functional_call(net, p, torch.tensor(X).double())
        return torch.nn.functional.cross_entropy(logits, torch.tensor(Y))

    blocks = torch.func.hessian(loss)(params)
    rows = [
        [blocks[a][b].reshape(params[a].numel(), params[b].numel()) for b in params] for a in params
    ]
    return torch.cat([torch.cat(row, 1) for row in rows]).numpy()


@pytest.mark.parametrize("make", [linen, nnx_adapted, nnx_state, equinox, plain, state_dict])
def test_five_ways_one_hessian(truth, make):
    loss, params = make(WEIGHTS)
    # the order in which this framework's tree holds PyTorch's weights
    order = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(make(numbered())[1])])
    assert sorted(order) == list(range(SIZE))
    order = order.astype(int)

    got = np.asarray(landscape.hessian(loss, params).dense())
    assert got.dtype == np.float32
    expected = truth[np.ix_(order, order)]
    assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(truth)
    np.testing.assert_allclose(got, expected, atol=1e-5 * abs(truth).max())

    point = landscape.analyze(loss, params)
    spectrum = np.linalg.eigvalsh(truth)
    np.testing.assert_allclose(point.eigenvalues, spectrum, atol=1e-5 * abs(spectrum).max())
    assert jax.tree.structure(point.refined) == jax.tree.structure(params)


def test_a_module_may_hold_functions_and_a_plain_pytree_is_told_to_leave_them_out():
    net = eqx.nn.MLP(2, 1, 2, depth=1, activation=jnp.tanh, key=jax.random.key(0))
    assert landscape.hessian(lambda n: jax.vmap(n)(jnp.ones((1, 2))).sum(), net).size == 9
    params = {"w": jnp.ones(2), "activation": jnp.tanh}
    with pytest.raises(ValueError, match=r"params\['activation'\], got .*leave it out of params"):
        landscape.hessian(lambda p: p["activation"](p["w"]).sum(), params)
