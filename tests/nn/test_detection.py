"""The detection Transformer: its decoder is PyTorch's, and its queries have no order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import copy_dense, copy_heads, copy_norm

from jaxml import nn

X = jax.random.normal(jax.random.key(1), (2, 12, 10, 1))


@functools.cache
def made():
    model = nn.detr(
        (12, 10, 1), 4, queries=5, channels=(3, 6), width=8, layers=2, heads=2, hidden=12
    )
    params, _ = jax.jit(model.init)(jax.random.key(0))
    # norms and biases that are not those of the start
    random = np.random.default_rng(2)
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * random.normal(size=leaf.shape).astype(np.float32), params
    )
    return jax.jit(lambda params: model.apply(params, {}, X)[0]), params


@pytest.mark.slow
def test_queries_have_no_order():
    apply, params = made()
    order = jnp.array([3, 1, 4, 0, 2])
    other = apply({**params, "queries": params["queries"][order]})
    for name, found in apply(params).items():
        np.testing.assert_allclose(other[name], found[:, order], atol=1e-5)


@pytest.mark.slow
def test_layers_between_are_told_too():
    """Where the last layer adds nothing, it predicts what the one before predicts."""
    _, params = made()
    model = nn.detr((12, 10, 1), 4, queries=5, channels=(3, 6), width=8, layers=2, heads=2,
                    hidden=12, between=True)  # fmt: skip
    apply = jax.jit(lambda params: model.apply(params, {}, X)[0])
    silent = {**params["layer_1"]}
    for branch in ("attention", "cross"):
        silent[branch] = {**silent[branch], "output": zeros(silent[branch]["output"])}
    silent["dense_1"] = zeros(silent["dense_1"])
    found, last = apply(params), apply({**params, "layer_1": silent})
    (between,) = found.pop("between")
    known = made()[0](params)
    for name in ("classes", "boxes"):
        np.testing.assert_allclose(found[name], known[name], atol=1e-6)
        np.testing.assert_allclose(between[name], last[name], atol=1e-6)
        assert abs(between[name] - found[name]).max() > 0.01


def zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


@pytest.mark.oracle
def test_equals_pytorch():
    """From the pixels on: two convolutions, an encoder, a decoder without masks, and heads."""
    torch = pytest.importorskip("torch")
    apply, params = made()
    given = {"dropout": 0.0, "batch_first": True, "norm_first": True}
    encoder = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(8, 2, 12, **given), 2, norm=torch.nn.LayerNorm(8),
        enable_nested_tensor=False,
    )  # fmt: skip
    decoder = torch.nn.TransformerDecoder(
        torch.nn.TransformerDecoderLayer(8, 2, 12, **given), 2, norm=torch.nn.LayerNorm(8)
    )
    ends = {name: torch.nn.Linear(8, n)
            for name, n in (("classes", 5), ("box_0", 8), ("box_1", 8), ("box_2", 4))}  # fmt: skip
    first = torch.nn.Linear(6 + 32, 8)
    with torch.no_grad():
        for side, own in ((encoder, params["encoder"]), (decoder, params)):
            for i, module in enumerate(side.layers):
                layer = own[f"layer_{i}"]
                copy_heads(module.self_attn, layer["attention"])
                if side is decoder:
                    copy_heads(module.multihead_attn, layer["cross"])
                for j in range(2):
                    copy_dense((module.linear1, module.linear2)[j], layer[f"dense_{j}"])
                for j in range(3 if side is decoder else 2):
                    copy_norm(getattr(module, f"norm{j + 1}"), layer[f"norm_{j}"])
            copy_norm(side.norm, own["norm"])
        for name, module in ends.items():
            copy_dense(module, params[name])
        copy_dense(first, params["encoder"]["input"])

        def tensor(array):
            return torch.tensor(np.asarray(array))

        x = tensor(X).permute(0, 3, 1, 2)
        for i in range(2):
            x = torch.nn.functional.pad(x, same_padding(x.shape[2:]))
            kernel = tensor(params[f"conv_{i}"]["kernel"]).permute(3, 2, 0, 1)
            bias = tensor(params[f"conv_{i}"]["bias"])
            x = torch.relu(torch.nn.functional.conv2d(x, kernel, bias, stride=2))
        x = torch.cat(
            [x.permute(0, 2, 3, 1), tensor(places(*x.shape[2:])).expand(2, -1, -1, -1)], 3
        )
        seen = encoder(first(x.reshape(2, -1, 6 + 32)))
        h = decoder(tensor(params["queries"]).expand(2, 5, 8), seen)
        box = torch.relu(ends["box_1"](torch.relu(ends["box_0"](h))))
        known = {"classes": ends["classes"](h), "boxes": torch.sigmoid(ends["box_2"](box))}
    for name, found in apply(params).items():
        np.testing.assert_allclose(found, known[name].numpy(), atol=1e-5)


def places(height, width):
    """Sines and cosines of row and column, of 8 wavelengths each: `(height, width, 32)`."""
    found = np.zeros((height, width, 32), np.float32)
    for row, column, i in np.ndindex(height, width, 8):
        for first, place in ((0, row), (16, column)):
            angle = place / 10_000 ** (i / 8)
            found[row, column, first + 2 * i : first + 2 * i + 2] = np.sin(angle), np.cos(angle)
    return found


def same_padding(shape):
    """Of a kernel of 3 with a stride of 2: left, right, top, bottom."""
    most = [max(2 * (-(-size // 2) - 1) + 3 - size, 0) for size in shape[::-1]]
    return tuple(side for total in most for side in (total // 2, total - total // 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"queries": 0}, "queries to be a whole number"), ({"classes": 0}, "classes to be"),
     ({"channels": (3, 0)}, "every one of channels"), ({"heads": 3}, "a width that 3 heads"),
     ({"image_shape": (12, 10)}, "image_shape to be")],
)  # fmt: skip
def test_bad_arguments(options, message):
    given = {"image_shape": (12, 10, 1), "classes": 4, "queries": 5} | options
    with pytest.raises(ValueError, match=message):
        nn.detr(**given)


def test_images_of_another_shape_are_refused():
    model = nn.detr((8, 8, 1), 2, queries=2, width=8, heads=1)
    with pytest.raises(ValueError, match=r"detr expects inputs of shape \(batch, 8, 8, 1\), got"):
        model.init(jax.random.key(0), jnp.zeros((1, 8, 9, 1)))
