"""Weights over their largest singular value: a network whose slope is bounded."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Model, Params
from jaxml.nn.margin import unit


def spectral_norm(model: Model, *, iterations: int = 1) -> Model:
    """A network with each of its matrices divided by an estimate of its largest singular value.

    The estimate σ = ‖Wᵀu‖ is by power iteration, and u is kept in the state: from a random u a few
    iterations are far off, with one at each step of the training it follows the weights. With
    activations of slope at most 1 the network's own is then at most the product of σ(W)/σ, near 1.

    Args:
        model: its parameters of two axes and more are divided, all axes but the last taken as one;
            biases are not.
        iterations: of each application in training; evaluation makes none.

    Returns:
        The model; its parameters are those of the model within, undivided, its state is `{"model":
        ..., "directions": {path: (outputs,)}}`.

    Raises:
        ValueError: if an argument is not as described; by `init`, if nothing is to be divided.

    Reference:
        Miyato et al. (2018), arXiv:1802.05957, algorithm 1. σ's gradient is that of uᵀWv, u and v
        held fixed.

    >>> from jaxml import nn
    >>> model = spectral_norm(nn.mlp([4, 8, 1]))
    >>> params, state = model.init(jax.random.key(0))
    >>> y, state = model.apply(params, state, jnp.ones((2, 4)), train=True)
    >>> y.shape, {path: u.shape for path, u in state["directions"].items()}
    ((2, 1), {'dense_0/kernel': (8,), 'dense_1/kernel': (1,)})
    """
    require(isinstance(model, Model), "a jaxml Model", type(model).__name__)
    iterations = require_positive_int("iterations", iterations)

    def init(key, x=None):
        inner, own = jax.random.split(key)
        params, state = model.init(inner, x)
        matrices = _matrices(params)
        require(matrices, "parameters of two axes or more", jax.tree.map(jnp.shape, params))
        keys = jax.random.split(own, len(matrices))
        directions = {
            path: unit(jax.random.normal(key, leaf.shape[-1:], leaf.dtype), 0)
            for key, (path, leaf) in zip(keys, matrices.items(), strict=True)
        }
        return params, {"model": state, "directions": directions}

    def apply(params, model_state, x, *, train=False, key=None):
        directions = dict(model_state["directions"])
        scales = {}
        for path, matrix in _matrices(params).items():
            still = jax.lax.stop_gradient(matrix)
            u = directions[path]
            v = unit(still @ u, 0)
            for _ in range(iterations if train else 0):
                u = unit(v @ still, 0)
                v = unit(still @ u, 0)
            directions[path] = u
            scale = v @ matrix @ u
            scales[path] = jnp.where(scale > 0, scale, 1)  # a matrix of zeros stays one
        divided = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf / scales[_name(path)] if leaf.ndim > 1 else leaf, params
        )
        y, inner = model.apply(divided, model_state["model"], x, train=train, key=key)
        return y, {"model": inner, "directions": directions}

    return Model(init, apply)


def largest_singular_values(params: Params) -> dict[str, float]:
    """σ of each matrix among the parameters, by its singular value decomposition.

    Args:
        params: a tree; leaves of two axes and more count, as in `spectral_norm`.

    Returns:
        Path -> σ.

    >>> largest_singular_values({"a": jnp.diag(jnp.array([2.0, 3.0])), "b": jnp.ones(2)})
    {'a': 3.0}
    """
    return {
        path: float(np.linalg.norm(np.asarray(matrix), 2))
        for path, matrix in _matrices(params).items()
    }


def _matrices(params: Params) -> dict[str, Any]:
    """Path -> leaf as a matrix, `(all axes but the last, the last)`."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        _name(path): leaf.reshape(-1, leaf.shape[-1]) for path, leaf in leaves if jnp.ndim(leaf) > 1
    }


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
