"""Classes as directions: outputs that are cosines, for a softmax with a margin."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Model


def cosine_classifier(model: Model, features: int, classes: int) -> Model:
    """The cosines between what a model puts out and one learned direction for each class.

    `losses.additive_margin_softmax` trains it. The model's outputs, its embedding, tell also those
    apart that are of no class of the training: by the cosine of two.

    Args:
        model: its output has `features` columns.
        features: of the embedding.
        classes: how many directions there are.

    Returns:
        The model of `(..., classes)`, each in [-1, 1]; its parameters are `{"model": ...,
        "directions": (features, classes)}`, its state is that of the model within.

    Raises:
        ValueError: if a number is not positive; by `apply`, if the model puts out other columns.

    Reference:
        Wang et al. (2018), arXiv:1801.05599, section 3: features and weights of norm 1, no bias.

    >>> import jax
    >>> from jaxml import nn
    >>> model = cosine_classifier(nn.mlp([4, 8, 3]), 3, 5)
    >>> params, state = model.init(jax.random.key(0))
    >>> y, _ = model.apply(params, state, jnp.ones((2, 4)))
    >>> y.shape, bool((abs(y) <= 1).all())
    ((2, 5), True)
    """
    require(isinstance(model, Model), "a jaxml Model", type(model).__name__)
    shape = (
        require_positive_int("features", features),
        require_positive_int("classes", classes),
    )

    def init(key, x=None):
        inner, own = jax.random.split(key)
        params, state = model.init(inner, x)
        return {"model": params, "directions": jax.random.normal(own, shape)}, state

    def apply(params, model_state, x, *, train=False, key=None):
        h, model_state = model.apply(params["model"], model_state, x, train=train, key=key)
        fits = h.shape[-1] == features
        require(fits, f"a model of {features} columns", h.shape[-1])
        return unit(h, -1) @ unit(params["directions"], 0), model_state

    return Model(init, apply)


def unit(x: jax.Array, axis: int) -> jax.Array:
    """Each vector along an axis over its norm; zero stays zero, also in the gradient.

    >>> unit(jnp.array([[3.0, 4.0], [0.0, 0.0]]), -1).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    square = (x * x).sum(axis, keepdims=True)
    return x * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)
