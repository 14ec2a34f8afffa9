"""Which network, data and augmentation the words of `jaxml train` stand for."""

import jax
import numpy as np
import pytest

from jaxml import data, nn
from jaxml.cli import networks
from jaxml.cli.options import Layers
from jaxml.training import augmentation, sampling


def shapes(name, shape, **options):
    model = nn.from_description(networks.description(name, Layers(**options), shape, 10))
    params, model_state = jax.eval_shape(model.init, jax.random.key(0))
    kernels = {k: v["kernel"].shape for k, v in params.items() if "kernel" in v}
    return kernels, set(params) - set(kernels), model_state


def test_defaults_are_the_networks_own():
    assert shapes("mlp", (64,))[0] == {"dense_0": (64, 64), "dense_1": (64, 10)}
    assert shapes("linear", (64,))[0] == {"dense_0": (64, 10)}
    kernels, others, _ = shapes("cnn", (8, 8, 1))
    assert kernels["conv_1"] == (3, 3, 32, 64)
    assert kernels["dense_0"] == (256, 128)
    assert not others


def test_options_reach_the_network():
    kernels, norms, model_state = shapes(
        "cnn", (8, 8, 1), channels=(3, 5), hidden=(7,), norm="batch", dropout=0.5
    )
    assert [kernels[k] for k in ("conv_0", "conv_1", "dense_0", "dense_1")] == [
        (3, 3, 1, 3), (3, 3, 3, 5), (20, 7), (7, 10),
    ]  # fmt: skip
    assert norms == {"conv_norm_0", "conv_norm_1", "dense_norm_0"}
    assert set(model_state) == {"batch_stats"}
    kernels, *_ = shapes("resnet", (8, 8, 1), channels=(4,))
    assert kernels["dense"] == (4, 10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {"hidden": (8,)}, "--channels, --activation, --norm with resnet, got --hidden"),
        ("linear", {"norm": "batch"}, "none of the networks' options with linear, got --norm"),
        ("mlp", {"channels": (8,)}, "got --channels"),
        ("cnn", {"norm": "group"}, "norm"),
    ],
)
def test_options_of_another_network_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        nn.from_description(networks.description(name, Layers(**options), (8, 8, 1), 10))


def test_images_and_vectors():
    digits = data.load("digits")
    assert networks.split_arrays("cnn", digits)["test"]["x"].shape == (360, 8, 8, 1)
    assert networks.split_arrays("mlp", digits)["test"]["x"].shape == (360, 64)
    colour = data.from_arrays(np.zeros((10, 4, 5, 3)), np.arange(10) % 2)
    assert networks.split_arrays("resnet", colour)["train"]["x"].shape == (6, 4, 5, 3)
    assert networks.split_arrays("linear", colour)["train"]["x"].shape == (6, 60)
    with pytest.raises(ValueError, match=r"images for a cnn, got x of shape \('N', 2\)"):
        networks.split_arrays("cnn", data.load("xor"))


def test_augmentations_in_the_order_given():
    sample = networks.sampler("flip,shift:2,rotation:7.5,cutout:3,mixup:0.2", 16, True, 10)
    expected = augmentation.augmented(
        sampling.epochs(16),
        augmentation.flip(),
        augmentation.shift(2),
        augmentation.rotation(7.5),
        augmentation.cutout(3),
        augmentation.mixup(0.2, 10),
    )
    assert sample is expected
    assert networks.sampler(None, 16, True, 10) is sampling.epochs(16)


@pytest.mark.parametrize(
    ("augment", "images", "classes", "message"),
    [
        ("shft:2", True, 10, "augmentations among shift, .*'shft'"),
        ("shift", True, 10, "shift:NUMBER in --augment, got 'shift'"),
        ("flip:3", True, 10, "expected flip in"),
        ("shift:2:3", True, 10, "shift:NUMBER"),
        ("shift:x", True, 10, "shift:NUMBER"),
        ("shift:0", True, 10, "pixels"),
        ("mixup:0.2", True, None, "mixup with a classification"),
        ("flip", False, 10, "with a network of images"),
    ],
)
def test_bad_augmentations(augment, images, classes, message):
    with pytest.raises(ValueError, match=message):
        networks.sampler(augment, 16, images, classes)
