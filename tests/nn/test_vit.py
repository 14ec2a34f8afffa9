"""The vision Transformer against a convolution, its published size, and the order of patches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn

SHAPE = (4, 6, 2)
IMAGES = jax.random.normal(jax.random.key(0), (3, *SHAPE))
SIZES = {"patch": 2, "width": 8, "layers": 1, "heads": 2, "hidden": 12}


@functools.cache
def made(output):
    model = nn.vit(SHAPE, 4, output=output, **SIZES)
    params, state = model.init(jax.random.key(1))
    params["positions"] = jax.random.normal(jax.random.key(2), params["positions"].shape)
    return model, jax.jit(model.apply), params, state


@pytest.mark.slow
def test_the_embedding_of_patches_is_a_convolution_with_their_stride():
    kernel = jax.random.normal(jax.random.key(3), (2, 2, 2, 5))
    known = jax.lax.conv_general_dilated(
        IMAGES, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = nn.patches(IMAGES, 2) @ kernel.reshape(8, 5)
    np.testing.assert_allclose(found, known.reshape(3, 6, 5), atol=1e-5)


def test_it_has_the_published_size():
    model = nn.vit((224, 224, 3), 1000, patch=16, output="first", width=768, layers=12, heads=12)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    # ViT-B/16 of timm and torchvision; ours has no vector of the class token besides its position
    assert count + 768 == 86_567_656


@pytest.mark.slow
@pytest.mark.parametrize("output", ["pooled", "first"])
def test_patches_have_places(output):
    _, apply, params, state = made(output)
    y = apply(params, state, IMAGES)[0]
    assert y.shape == (3, 4)
    # the upper and the lower half of the image change places
    turned = jnp.roll(IMAGES, 2, axis=1)
    assert abs(apply(params, state, turned)[0] - y).max() > 0.01
    first, places = jnp.split(params["positions"], [len(params["positions"]) - 6])
    moved = jnp.concatenate([first, jnp.roll(places, 3, axis=0)])
    np.testing.assert_allclose(apply(params | {"positions": moved}, state, turned)[0], y, atol=1e-5)


def test_the_class_token_is_no_patch_of_the_image():
    model, _, params, state = made("first")
    maps = nn.attention_maps(model, params, state, IMAGES)
    assert maps["layer_0/attention"].shape == (3, 2, 7, 7)
    # a layer that adds nothing leaves the token, which no image changes
    params = jax.tree.map(jnp.copy, params)
    for layer in (params["layer_0"]["attention"]["output"], params["layer_0"]["dense_1"]):
        layer["kernel"] = jnp.zeros_like(layer["kernel"])
    y = model.apply(params, state, IMAGES)[0]
    np.testing.assert_array_equal(y, jnp.broadcast_to(y[0], y.shape))


def test_summary():
    model, _, params, _ = made("pooled")
    table = nn.summary(model)
    assert table.parameters == sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 4}, "a patch that divides 4 by 6 pixels, got 4"),
        ({"patch": 0}, "patch .* got 0"),
        ({"output": "each"}, "output to be one of pooled, first, got 'each'"),
        ({"image_shape": (4, 6)}, r"\(height, width, channels\), got \(4, 6\)"),
        ({"heads": 3}, "a width that 3 heads divide, got 8"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        nn.vit(**{"image_shape": SHAPE, "outputs": 4} | SIZES | options)


def test_other_images_are_refused():
    model, _, params, state = made("pooled")
    message = r"vit expects inputs of shape \(batch, 4, 6, 2\), got \(3, 6, 4, 2\)"
    with pytest.raises(ValueError, match=message):
        model.apply(params, state, IMAGES.swapaxes(1, 2))
    with pytest.raises(ValueError, match="a patch that divides 4 by 6 pixels, got 4"):
        nn.patches(IMAGES, 4)
