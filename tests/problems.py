"""Losses whose landscape is known in closed form, shared by the tests of what looks at one.

Each loss is a function of the parameters and of its data. Tests bind the data by
`jax.tree_util.Partial`, so that a function is compiled once for all data of one shape.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from jaxml import landscape
from jaxml.data import linear_autoencoder


def one_of(*losses):
    """Each of some losses of the same parameters, as one function of its number.

    What is compiled for one of them is compiled for all.
    """

    def choose(params, number):
        return jax.lax.switch(number, losses, params)

    return [Partial(choose, number=number) for number in range(len(losses))]


def quadratic(params, matrix, vector):
    """½ wᵀAw − bᵀw for a symmetric A: Hessian A, critical point A⁻¹b."""
    return 0.5 * params @ matrix @ params - vector @ params


def operator_of(matrix, dtype=np.float64):
    """A symmetric matrix as the Hessian of a quadratic."""
    matrix = np.asarray(matrix, dtype)
    zeros = np.zeros(len(matrix), dtype)
    return landscape.hessian(Partial(quadratic, matrix=matrix, vector=zeros), zeros)


def rotated(spectrum, seed=0):
    """A symmetric matrix of these eigenvalues, whose eigenvectors are random."""
    n = len(spectrum)
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    return vectors * spectrum @ vectors.T


def polynomial(params, matrix, cubic, quartic):
    """½ A[w,w] + ⅙ B[w,w,w] + ¼ Σ cᵢwᵢ⁴ for symmetric A: at 0 critical, with Hessian A."""
    third = jnp.einsum("ijk,i,j,k", cubic, params, params, params) / 6
    return 0.5 * params @ matrix @ params + third + 0.25 * (quartic * params**4).sum()


class Autoencoder(NamedTuple):
    """The linear autoencoder of a covariance, and every class of its critical points."""

    loss: Partial
    points: tuple[linear_autoencoder.CriticalAutoencoder, ...]


def autoencoder(eigenvalues, hidden):
    """The linear autoencoder, float64; the caller is within `jax.enable_x64(True)`."""
    covariance, points = linear_autoencoder.closed_form(eigenvalues, hidden)
    return Autoencoder(Partial(linear_autoencoder.loss, covariance=jnp.array(covariance)), points)


def tanh_classifier(params, x, y, l2):
    """Mean softmax cross-entropy of a tanh net of one hidden layer, plus (l2/2)‖θ‖²."""
    hidden = jnp.tanh(x @ params["in"] + params["in_bias"])
    logits = hidden @ params["out"] + params["out_bias"]
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return cross_entropy + 0.5 * l2 * optax.tree.norm(params, squared=True)


def tanh_classifier_params(rng, inputs, hidden, outputs, scale=1.0):
    """Random parameters of `tanh_classifier`, numpy's float64."""
    shapes = {
        "in": (inputs, hidden),
        "in_bias": (hidden,),
        "out": (hidden, outputs),
        "out_bias": (outputs,),
    }
    return {name: scale * rng.normal(size=shape) for name, shape in shapes.items()}


def classifier_data(rng, examples, inputs, classes):
    """Inputs and labels that no net of the tests separates."""
    y = rng.integers(classes, size=examples)
    x = rng.normal(size=(examples, inputs)) + 0.7 * np.eye(classes, inputs)[y]
    return x, y


def float32(tree):
    """The tree's arrays in single precision."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), tree)
