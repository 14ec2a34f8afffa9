import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

from jaxml import nn

NUMBERS = ("NHWC", "HWIO", "NHWC")


def value_and_gradients(function, *arguments):
    """The value, and the gradients of a sum in which every output has a weight of its own."""

    def weighted(*arguments):
        y = function(*arguments)
        return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum(), y

    every = tuple(range(len(arguments)))
    gradients, y = jax.jit(jax.grad(weighted, every, has_aux=True))(*arguments)
    return [y, *gradients]


def assert_close(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * float(jnp.abs(e).max()))


def images(*shape):
    return jax.random.normal(jax.random.key(0), shape)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "strides", "padding", "pixels"),
    [
        ((3, 3), (1, 1), "SAME", (8, 8)),
        ((3, 3), (2, 2), "SAME", (8, 7)),
        ((5, 3), (1, 2), "VALID", (9, 8)),
        ((1, 1), (2, 2), "SAME", (7, 7)),
        ((2, 4), (3, 1), ((2, 0), (1, 3)), (6, 9)),
        ((3, 3), (1, 1), "CIRCULAR", (5, 6)),
    ],
)
def test_equals_linen_conv(size, strides, padding, pixels):
    x = images(2, *pixels, 3)
    conv = functools.partial(linen.Conv, 4, size, strides=strides, padding=padding)
    reference, ours = conv(), conv(conv_general_dilated=nn.conv_general_dilated)
    params = reference.init(jax.random.key(1), x)
    results = [value_and_gradients(module.apply, params, x) for module in (ours, reference)]
    assert "conv_general_dilated" not in str(jax.make_jaxpr(ours.apply)(params, x))
    assert_close(*(jax.tree.leaves(result) for result in results))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"kernel_dilation": 2}, (2, 8, 8, 4)),
        ({"input_dilation": 2, "padding": 1}, (2, 8, 8, 4)),
        ({"feature_group_count": 2}, (2, 8, 8, 4)),
        ({}, (2, 8, 4)),
        ({}, (2, 3, 4, 5, 4)),
    ],
)
def test_what_is_no_plain_convolution_is_left_to_xla(options, shape):
    x = images(*shape)
    conv = functools.partial(linen.Conv, 4, (3,) * (len(shape) - 2), **options)
    params = conv().init(jax.random.key(1), x)
    ours = conv(conv_general_dilated=nn.conv_general_dilated)
    np.testing.assert_array_equal(ours.apply(params, x), conv().apply(params, x))


@pytest.mark.slow
def test_channels_first_are_left_to_xla():
    x, kernel = images(2, 3, 8, 8), images(4, 3, 3, 3)
    ours = nn.conv_general_dilated(x, kernel, (1, 1), "SAME")
    np.testing.assert_array_equal(ours, lax.conv_general_dilated(x, kernel, (1, 1), "SAME"))


def test_other_backends_take_xlas_convolution(monkeypatch):
    x, kernel = images(2, 8, 8, 3), images(3, 3, 3, 4)
    conv = functools.partial(
        nn.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NUMBERS
    )
    patches = conv(x, kernel)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "conv_general_dilated" in str(jax.make_jaxpr(conv)(x, kernel))
    assert_close([patches], [conv(x, kernel)])


@pytest.mark.oracle
def test_equals_pytorch_with_stride():
    torch = pytest.importorskip("torch")
    x, kernel = images(2, 9, 9, 3), images(3, 3, 3, 4)
    ours = nn.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=NUMBERS)
    theirs = torch.nn.functional.conv2d(
        torch.tensor(np.asarray(x)).permute(0, 3, 1, 2),
        torch.tensor(np.asarray(kernel)).permute(3, 2, 0, 1),
        stride=2,
        padding=1,
    )
    assert_close([ours], [theirs.permute(0, 2, 3, 1).numpy()])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pooling_equals_linens(size):
    x, window = images(2, 7, 8, 3), (size, size)
    for ours, linens in ((nn.max_pool, linen.max_pool), (nn.mean_pool, linen.avg_pool)):
        theirs = functools.partial(linens, window_shape=window, strides=window)
        assert_close(
            value_and_gradients(functools.partial(ours, size=size), x),
            value_and_gradients(theirs, x),
        )


def test_equal_values_share_the_gradient_of_a_maximum():
    gradient = jax.grad(lambda x: nn.max_pool(x).sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(gradient, 0.25)


@pytest.mark.parametrize("size", [0, 1.5, 9])
def test_bad_windows(size):
    with pytest.raises(ValueError, match=r"size|window"):
        nn.max_pool(images(1, 8, 8, 1), size)
