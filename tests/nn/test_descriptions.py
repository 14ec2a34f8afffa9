"""Networks from plain values: the same ones, through JSON."""

import functools
import json

import jax
import numpy as np
import pytest

from jaxml import nn

KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("name", "arguments", "options", "shape"),
    [
        ("linear", (3, 2), {"bias": False}, (3,)),
        ("deep_linear", ([3, 4, 2],), {}, (3,)),
        ("mlp", ((3, 4, 4, 2),), {"norm": "batch", "residual": True, "activation": "gelu"}, (3,)),
        ("cnn", ((4, 4, 1), 2), {"channels": (2,), "hidden": (), "norm": "layer"}, (4, 4, 1)),
        ("resnet", ((4, 4, 1), 2), {"channels": [2, 3]}, (4, 4, 1)),
    ],
)
def test_the_same_network_comes_back(name, arguments, options, shape):
    described = json.loads(json.dumps(nn.description(name, *arguments, **options)))
    model, again = getattr(nn, name)(*arguments, **options), nn.from_description(described)
    variables, x = jax.eval_shape(model.init, KEY), np.zeros((5, *shape), np.float32)

    def programs(network):
        functions = network.apply, functools.partial(network.apply, train=True)
        traced = [jax.make_jaxpr(network.init)(KEY)]
        traced += [jax.make_jaxpr(function)(*variables, x) for function in functions]
        return list(map(str, traced))

    assert programs(again) == programs(model)


def test_defaults_are_written_out():
    described = nn.description("mlp", [2, 3])
    assert described["activation"] == "relu"
    assert described["norm_position"] == "before"


@pytest.mark.parametrize("option", [{"activation": np.tanh}, {"dtype": np.float32}])
def test_what_no_file_can_hold_is_not_described(option):
    with pytest.raises(ValueError, match=r"plain values for nn.mlp, got \{'name': 'mlp'"):
        nn.description("mlp", [2, 3], **option)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({"name": "mpl", "widths": [2, 3]}, "name to be one of .* got 'mpl' .did you mean 'mlp'"),
        ({"name": "__doc__"}, "name to be one of"),
        ({"widths": [2, 3]}, 'the description of a network, with its "name"'),
        (["mlp"], 'the description of a network, with its "name"'),
        ({"name": "mlp"}, "arguments of nn.mlp, got others: missing .*'widths'"),
        ({"name": "mlp", "widths": [2, 3], "depth": 2}, "arguments of nn.mlp, .* 'depth'"),
        ({"name": "mlp", "widths": [2, 0]}, "every width to be a whole number of at least 1"),
        ({"name": "mlp", "widths": [2, 3], "dtype": 7}, "dtype"),
    ],
)
def test_what_is_no_description(described, message):
    with pytest.raises(ValueError, match=message):
        nn.from_description(described)
