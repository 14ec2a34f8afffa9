"""linear, deep_linear and mlp against formulas, finite differences and PyTorch."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxml import nn


def random_like(tree, seed=0):
    """Normal numbers in a tree's shapes: ones and zeros, as at the start, hide mistakes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), tree)


def inputs(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def formula(params, x, *, norm=None, norm_position="before", residual=False, activation=np.tanh):
    """An mlp in NumPy and float64; batch norm by the batch's own statistics."""
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    h = np.asarray(x, np.float64)
    depth = sum(name.startswith("dense") for name in params)

    def dense(i, h):
        return h @ params[f"dense_{i}"]["kernel"] + params[f"dense_{i}"].get("bias", 0)

    def normalize(i, h):
        if norm is None:
            return h
        axes = -1 if norm == "layer" else tuple(range(h.ndim - 1))
        centred = h - h.mean(axes, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + 1e-5)
        return scaled * params[f"norm_{i}"]["scale"] + params[f"norm_{i}"]["bias"]

    def layer(i, h):
        if norm_position == "pre":
            return activation(dense(i, normalize(i, h)))
        z = dense(i, h)
        if norm_position == "before":
            return activation(normalize(i, z))
        return normalize(i, activation(z)) if norm_position == "after" else activation(z)

    for i in range(depth - 1):
        z = layer(i, h)
        h = h + z if residual and h.shape == z.shape else z
        h = normalize(i, h) if norm_position == "post" else h
    return dense(depth - 1, normalize(depth - 1, h) if norm_position == "pre" else h)


@pytest.mark.parametrize("norm", [None, "layer", "batch"])
@pytest.mark.parametrize("norm_position", ["before", "after", "pre", "post"])
@pytest.mark.parametrize("residual", [False, True])
def test_mlp_is_the_formula(norm, norm_position, residual):
    options = {"norm": norm, "norm_position": norm_position, "residual": residual}
    model = nn.mlp([3, 4, 4, 2], activation="tanh", **options)
    params, model_state = model.init(jax.random.key(0))
    params, x = random_like(params), inputs(2, 5, 3)
    y, _ = model.apply(params, model_state, x, train=True)
    np.testing.assert_allclose(y, formula(params, x, **options), rtol=1e-4, atol=1e-5)


def test_the_first_hidden_layer_has_a_skip_too():
    model = nn.mlp([3, 3, 1], activation="tanh", residual=True)
    params = random_like(model.init(jax.random.key(0))[0])
    x = inputs(4, 3)
    expected = formula(params, x, residual=True)
    np.testing.assert_allclose(model.apply(params, {}, x)[0], expected, rtol=1e-5)
    assert expected.shape == (4, 1)


@pytest.mark.parametrize("bias", [False, True])
def test_linear_nets_are_products_of_matrices(bias):
    x = inputs(4, 3)
    for model in (nn.linear(3, 2, bias=bias), nn.deep_linear([3, 5, 4, 2], bias=bias)):
        params = random_like(model.init(jax.random.key(0))[0])
        assert all(
            set(layer) == {"kernel"} | ({"bias"} if bias else set()) for layer in params.values()
        )
        expected = formula(params, x, activation=lambda h: h)
        np.testing.assert_allclose(model.apply(params, {}, x)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_the_trees_are_flat_and_predictable(norm):
    params, model_state = nn.mlp([5, 4, 3, 2], norm=norm).init(jax.random.key(0))
    expected = {f"dense_{i}": {"kernel": (5 - i, 4 - i), "bias": (4 - i,)} for i in range(3)}
    norms = [] if norm is None else [("norm_0", 4), ("norm_1", 3)]
    expected |= {name: {"scale": (width,), "bias": (width,)} for name, width in norms}
    assert jax.tree.map(jnp.shape, params) == expected
    assert set(model_state) == ({"batch_stats"} if norm == "batch" else set())


def test_a_pre_norm_is_as_wide_as_the_input_of_its_layer():
    params, _ = nn.mlp([5, 4, 3], norm="layer", norm_position="pre").init(jax.random.key(0))
    widths = {name: leaf["scale"].shape for name, leaf in params.items() if "norm" in name}
    assert widths == {"norm_0": (5,), "norm_1": (4,)}


def test_initial_values():
    params, _ = nn.mlp([400, 100, 1], norm="layer").init(jax.random.key(0))
    kernel = params["dense_0"]["kernel"]
    assert kernel.dtype == jnp.float32
    np.testing.assert_allclose(kernel.std(), 1 / np.sqrt(400), rtol=0.02)
    # Truncated at two standard deviations of the normal before truncation, 1 / 0.8796 of ours.
    assert abs(kernel).max() <= 2 / 0.8796 / np.sqrt(400)
    assert not params["dense_0"]["bias"].any()
    assert (params["norm_0"]["scale"] == 1).all()


@pytest.mark.slow
def test_init_maps_over_keys():
    model = nn.mlp([3, 4, 1], norm="batch")
    keys = jax.random.split(jax.random.key(0), 3)
    params, model_state = jax.vmap(model.init)(keys)
    kernels = params["dense_0"]["kernel"]
    assert kernels.shape == (3, 3, 4)
    assert len(np.unique(kernels[:, 0, 0])) == 3
    np.testing.assert_allclose(
        kernels[1], model.init(keys[1])[0]["dense_0"]["kernel"], rtol=1e-6, atol=1e-7
    )
    assert model_state["batch_stats"]["norm_0"]["mean"].shape == (3, 4)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("norm", "norm_position", "train"),
    [
        ("batch", "before", True),
        ("batch", "before", False),
        ("batch", "after", True),
        ("layer", "before", False),
        ("layer", "after", True),
    ],
)
def test_mlp_is_pytorch(norm, norm_position, train):
    torch = pytest.importorskip("torch")
    widths, batch = [3, 5, 4, 2], 6
    model = nn.mlp(
        widths,
        activation=functools.partial(jax.nn.gelu, approximate=False),
        norm=norm,
        norm_position=norm_position,
    )
    params, model_state = model.init(jax.random.key(0))
    params, x = random_like(params), inputs(batch, 3)
    model_state = jax.tree.map(abs, random_like(model_state, seed=2))

    def tensor(a):
        return torch.nn.Parameter(torch.from_numpy(np.array(a)))

    layers = []
    for i, (before, after) in enumerate(itertools.pairwise(widths)):
        dense = torch.nn.Linear(before, after)
        dense.weight = tensor(params[f"dense_{i}"]["kernel"].T)
        dense.bias = tensor(params[f"dense_{i}"]["bias"])
        layers.append(dense)
        if i < len(widths) - 2:
            peer = (torch.nn.BatchNorm1d if norm == "batch" else torch.nn.LayerNorm)(after)
            peer.weight = tensor(params[f"norm_{i}"]["scale"])
            peer.bias = tensor(params[f"norm_{i}"]["bias"])
            if norm == "batch":
                statistics = model_state["batch_stats"][f"norm_{i}"]
                peer.running_mean = tensor(statistics["mean"]).data
                peer.running_var = tensor(statistics["var"]).data
            pair = [peer, torch.nn.GELU()]
            layers += pair if norm_position == "before" else pair[::-1]
    net = torch.nn.Sequential(*layers).train(train)
    expected = net(torch.from_numpy(x))
    (expected**2).sum().backward()

    def loss(params):
        y, updated = model.apply(params, model_state, x, train=train)
        return (y**2).sum(), (y, updated)

    grads, (y, updated) = jax.grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-4, atol=1e-4)
    scale = max(abs(np.asarray(g)).max() for g in jax.tree.leaves(grads))
    np.testing.assert_allclose(
        grads["dense_0"]["kernel"] / scale, net[0].weight.grad.T / scale, atol=1e-5
    )
    if norm == "batch":
        peer, old, new = (
            net[1] if norm_position == "before" else net[2],
            *(state["batch_stats"]["norm_0"] for state in (model_state, updated)),
        )
        # PyTorch averages the unbiased variance, here 6/5 of the biased one.
        bessel = batch / (batch - 1)
        var = old["var"] + (new["var"] - 0.9 * old["var"]) * bessel - 0.1 * old["var"]
        np.testing.assert_allclose(new["mean"], peer.running_mean, rtol=1e-5)
        np.testing.assert_allclose(var if train else new["var"], peer.running_var, rtol=1e-4)


@pytest.mark.oracle
@pytest.mark.parametrize("pre", [True, False])
def test_pre_and_post_norm_are_those_of_pytorch_s_transformer(pre):
    """A feed-forward sublayer of it, with an attention of zero weights before."""
    torch = pytest.importorskip("torch")
    width, x = 6, inputs(5, 6)
    peer = torch.nn.TransformerEncoderLayer(
        width, 1, width, dropout=0, norm_first=pre, batch_first=True
    )
    model = nn.mlp(
        [width, width, width], norm="layer", residual=True, norm_position="pre" if pre else "post"
    )
    params = random_like(model.init(jax.random.key(0))[0])
    eye = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    params |= {"dense_1": eye} | (
        {"norm_1": {"scale": jnp.ones(width), "bias": jnp.zeros(width)}} if pre else {}
    )
    with torch.no_grad():
        for parameter in peer.self_attn.parameters():
            parameter.zero_()
        for layer, name in ((peer.linear1, "dense_0"), (peer.linear2, "dense_1")):
            layer.weight.copy_(torch.from_numpy(np.array(params[name]["kernel"].T)))
            layer.bias.copy_(torch.from_numpy(np.array(params[name]["bias"])))
        peer.norm2.weight.copy_(torch.from_numpy(np.array(params["norm_0"]["scale"])))
        peer.norm2.bias.copy_(torch.from_numpy(np.array(params["norm_0"]["bias"])))
        # post-norm has another norm behind the attention, which changes only x
        start = torch.from_numpy(x)
        expected = peer(start[:, None])[:, 0].numpy()
        seen = x if pre else peer.norm1(start).numpy()
    found = np.asarray(model.apply(params, {}, seen)[0])
    if pre:  # the net's last layer normalises once more
        expected = torch.nn.functional.layer_norm(torch.from_numpy(expected), (width,)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.oracle
def test_pytorchs_other_gelu_is_the_named_one():
    torch = pytest.importorskip("torch")
    model = nn.mlp([3, 4, 1], activation="gelu")
    params = random_like(model.init(jax.random.key(0))[0])
    gelu = torch.nn.GELU(approximate="tanh")
    x = inputs(5, 3)
    expected = formula(params, x, activation=lambda h: gelu(torch.from_numpy(h)).numpy())
    np.testing.assert_allclose(model.apply(params, {}, x)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_norms_survive_a_large_mean(norm):
    model = nn.mlp([3, 8, 1], activation="tanh", norm=norm)
    params, model_state = model.init(jax.random.key(0))
    params, x = random_like(params), inputs(16, 3)
    params["dense_0"]["bias"] = jnp.full((8,), 1e4)
    y, _ = model.apply(params, model_state, x, train=True)
    # Around 1e4 float32 has a spacing of 1e-3; E[h²] - E[h]² would be off by 1 and more.
    np.testing.assert_allclose(y, formula(params, x, norm=norm), atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_gradient_by_finite_differences(norm):
    with jax.enable_x64(True):
        model = nn.mlp([2, 3, 3, 1], activation="tanh", norm=norm, residual=True)
        params, model_state = model.init(jax.random.key(0))
        flat, unravel = ravel_pytree(jax.tree.map(lambda a: a.astype(np.float64), params))
        flat = flat + 0.1 * np.random.default_rng(0).normal(size=flat.shape)
        x = inputs(4, 2)

        def loss(flat):
            y, _ = model.apply(unravel(flat), model_state, x, train=True)
            return (y**2).sum()

        steps = 1e-5 * np.eye(flat.size)
        losses = jax.jit(jax.vmap(loss))
        expected = (losses(flat + steps) - losses(flat - steps)) / 2e-5
        np.testing.assert_allclose(jax.grad(loss)(flat), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_float64_parameters_compute_in_float64(norm):
    with jax.enable_x64(True):
        model = nn.mlp([3, 4, 2], activation="tanh", norm=norm)
        params, model_state = model.init(jax.random.key(0))
        assert {a.dtype.name for a in jax.tree.leaves(params)} == {"float32"}
        params = random_like(jax.tree.map(lambda a: a.astype(np.float64), params))
        x = inputs(5, 3)
        y, updated = model.apply(params, model_state, x, train=True)
        assert y.dtype == jnp.float64
        np.testing.assert_allclose(y, formula(params, x, norm=norm), rtol=1e-12, atol=1e-13)
        assert jax.tree.structure(updated) == jax.tree.structure(model_state)
        assert {a.dtype.name for a in jax.tree.leaves(updated)} <= {"float32"}


def test_dtype_is_that_of_the_computation():
    model = nn.mlp([3, 4, 2], dtype=jnp.bfloat16)
    params, _ = model.init(jax.random.key(0))
    y, _ = model.apply(params, {}, inputs(5, 3))
    assert (y.dtype, params["dense_0"]["kernel"].dtype) == (jnp.bfloat16, jnp.float32)


@pytest.mark.slow
def test_dropout():
    rate, width = 0.3, 50
    model = nn.mlp([2, width, width], activation="sigmoid", dropout=rate)
    params, _ = model.init(jax.random.key(0))
    params["dense_1"]["kernel"] = jnp.eye(width)  # the output is the hidden layer
    x = inputs(400, 2)
    hidden, _ = model.apply(params, {}, x)
    np.testing.assert_allclose(
        hidden, formula(params, x, activation=lambda h: 1 / (1 + np.exp(-h))), rtol=1e-5
    )

    def train(seed):
        return model.apply(params, {}, x, train=True, key=jax.random.key(seed))[0]

    y, kept = train(0), train(0) != 0
    np.testing.assert_allclose(y, jnp.where(kept, hidden / (1 - rate), 0), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(y.mean() / hidden.mean() - 1) < 0.03
    assert ((train(1) != 0) != kept).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.mlp([]), r"widths to be \[inputs, hidden ..., outputs\], got \[\]"),
        (lambda: nn.mlp([3]), r"got \[3\]"),
        (lambda: nn.deep_linear([3]), r"got \[3\]"),
        (lambda: nn.mlp([3, -4, 1]), "every width .* got -4"),
        (lambda: nn.deep_linear([0, 1]), "every width .* got 0"),
        (lambda: nn.linear(0, 1), "inputs to be .* got 0"),
        (lambda: nn.linear(1, -1), "outputs to be .* got -1"),
        (lambda: nn.mlp([3, 1], activation="rleu"), "activation to be one of .*relu.* got 'rleu'"),
        (lambda: nn.mlp([3, 1], norm="group"), "norm to be one of batch, layer, got 'group'"),
        (
            lambda: nn.mlp([3, 1], norm_position="around"),
            "norm_position to be one of before, after, pre, post",
        ),
        (lambda: nn.mlp([3, 1], dropout=1.5), "less than 1, got 1.5"),
        (lambda: nn.mlp([3, 1], dropout=1.0), "less than 1, got 1.0"),
        (lambda: nn.mlp([3, 1], dropout=-0.1), "at least 0 .* got -0.1"),
        (lambda: nn.linear(3, 1, dtype=jnp.int32), "floating-point dtype"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (nn.mlp([64, 2]), (5, 8, 8), r"mlp expects inputs of shape \(..., 64\), got \(5, 8, 8\)"),
        (nn.mlp([64, 2]), (), r"mlp expects .* got \(\)"),
        (nn.linear(3, 2), (3, 2), r"linear expects inputs of shape \(..., 3\), got \(3, 2\)"),
        (nn.deep_linear([3, 2]), (2,), r"deep_linear expects .*, got \(2,\)"),
    ],
)
def test_inputs_of_another_shape(model, shape, message):
    params, model_state = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match=message):
        model.apply(params, model_state, jnp.zeros(shape))
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), jnp.zeros(shape))


def test_dropout_without_key():
    model = nn.mlp([3, 4, 1], dropout=0.5)
    params, model_state = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match="key="):
        model.apply(params, model_state, jnp.zeros((2, 3)), train=True)
