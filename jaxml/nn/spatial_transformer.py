"""Networks that turn, shift and scale their input before they look at it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxml.core.checks import require, require_choice
from jaxml.core.resampling import BORDERS, affine_grid, centres, grid_sample, resample, rotations
from jaxml.core.types import Model
from jaxml.nn.convnets import cnn
from jaxml.nn.layers import check_dtype

_IDENTITIES = {
    "affine": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "rotation": (0.0,),
    "attention": (1.0, 0.0, 0.0),
}
"""Transform -> its numbers where it changes nothing."""


def spatial_transformer(
    model: Model,
    image_shape: Sequence[int],
    *,
    transform: str = "affine",
    channels: Sequence[int] = (8, 16),
    hidden: Sequence[int] = (32,),
    border: str = "zeros",
    dtype: Any = None,
) -> Model:
    """A model that first moves its image, as a small network says that looks at it.

    The localisation network is `cnn` with these channels and hidden layers; its last layer starts
    at zero, so that at first nothing is moved. The input's size is kept.

    Args:
        model: takes `(batch, *image_shape)`.
        image_shape: `(height, width, channels)` of the input.
        transform: "affine", six numbers; "rotation", an angle; or "attention", a scale and two
            shifts, for which rows and columns are read one after the other.
        channels: of the localisation network.
        hidden: likewise.
        border: as in `grid_sample`.
        dtype: of the localisation network's computation, as in `mlp`.

    Returns:
        The model; its parameters are `{"localisation": ..., "transform": {"kernel", "bias"},
        "model": ...}`, its state `{"model": ...}`.

    Raises:
        ValueError: if an argument is not as described.

    Reference:
        Jaderberg et al. (2015), arXiv:1506.02025, section 3; eq. 2 for "attention".

    >>> import jax
    >>> from jaxml import nn
    >>> turned = spatial_transformer(nn.cnn((8, 8, 1), 10), (8, 8, 1), transform="rotation")
    >>> params, _ = turned.init(jax.random.key(0))
    >>> params["transform"]["bias"].shape
    (1,)
    """
    require_choice("transform", transform, tuple(_IDENTITIES))
    require_choice("border", border, BORDERS)
    check_dtype(dtype)
    require(len(hidden) >= 1, "hidden to have at least one width", repr(hidden))
    identity = _IDENTITIES[transform]
    localisation = cnn(image_shape, hidden[-1], channels=channels, hidden=hidden[:-1], dtype=dtype)
    height, width = image_shape[:2]
    last = linen.Dense(
        len(identity),
        kernel_init=linen.initializers.zeros,
        bias_init=lambda _key, _shape, dtype=jnp.float32: jnp.asarray(identity, dtype),
        dtype=dtype,
    )

    def init(key, x=None):
        keys = jax.random.split(key, 3)
        params, model_state = model.init(keys[0], x)
        return {
            "localisation": localisation.init(keys[1])[0],
            "transform": last.init(keys[2], jnp.zeros((1, hidden[-1])))["params"],
            "model": params,
        }, {"model": model_state}

    def numbers(params, x):
        seen, _ = localisation.apply(params["localisation"], {}, x)
        return jnp.asarray(last.apply({"params": params["transform"]}, jax.nn.relu(seen)))

    def apply(params, model_state, x, *, train=False, key=None):
        found = numbers(params, x)
        if transform == "attention":
            scale, right, down = (found[:, i, None] for i in range(3))
            y, x_ = scale * centres(height) + down, scale * centres(width) + right
            moved = resample(x, y, x_, border=border)
        else:
            turned = transform == "rotation"
            matrices = rotations(found[:, 0], (height, width)) if turned else found
            grid = affine_grid(matrices.reshape(-1, 2, 3), (height, width))
            moved = grid_sample(x, grid, border=border)
        y, state = model.apply(params["model"], model_state["model"], moved, train=train, key=key)
        return y, {"model": state}

    return Model(init, apply)
