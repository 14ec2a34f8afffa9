"""Optimisers that leave saddles, as optax transformations."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jaxml.core.checks import require, require_positive_int
from jaxml.core.seeds import key as key_of
from jaxml.linalg.krylov import lanczos
from jaxml.linalg.reductions import norm, project, to_blocks

__all__ = ["perturbed_gradient_descent", "saddle_free_newton"]

# relative to the largest curvature, the most first: at its end a short gradient step, which lowers
# any smooth loss
_DAMPINGS = 10.0 ** np.arange(2, -7, -1)


def saddle_free_newton(dimension: int = 32) -> optax.GradientTransformationExtraArgs:
    """Newton's step with the Hessian's absolute value, in a Krylov space: θ ← θ − (|H|+λI)⁻¹g.

    Where Newton's method is drawn to a saddle, this one is repelled, at Newton's pace. H is taken
    in the Krylov space of the gradient, which holds the gradient; λ is at each step the one of
    nine, from 1e-6 to 100 times the largest curvature, that lowers the batch's loss most, the
    smallest where rounding cannot tell; no step is taken where none lowers it.

    A step costs `dimension` Hessian-vector products, two gradients and nine losses, all on the
    batch, and keeps `dimension` copies of the parameters. Its update wants, as `optax.lbfgs`,
    `value` (the loss) and `value_fn` (`params -> loss`): `training.supervised` gives both.

    Args:
        dimension: of the Krylov space; at most the number of parameters is taken.

    Raises:
        ValueError: for a dimension below 1.

    Reference:
        Dauphin et al. 2014 (arXiv:1406.2572), algorithm 1, with one step in each subspace, and
        with the Lanczos vectors begun at the gradient, as Vinyals and Povey 2012
        (arXiv:1111.4259).

    Example:
        >>> loss = lambda w: w[0] ** 2 - w[1] ** 2  # a saddle at 0
        >>> w, optimizer = jnp.array([0.5, 0.1]), saddle_free_newton()
        >>> updates, _ = optimizer.update(
        ...     jax.grad(loss)(w), optimizer.init(w), w, value=loss(w), value_fn=loss
        ... )
        >>> jnp.allclose(w + updates, jnp.array([0.0, 0.2]), atol=1e-4).item()
        True
    """
    dimension = require_positive_int("dimension", dimension)

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None, **extra):
        given = params is not None and {"value", "value_fn"} <= {*extra}
        require(given, "params, value and value_fn as optax.lbfgs takes them", sorted(extra))
        value, value_fn = extra["value"], extra["value_fn"]
        g, unravel = ravel_pytree(updates)
        x, _ = ravel_pytree(params)

        def f(x):
            return value_fn(unravel(x))

        _, product = jax.linearize(jax.grad(f), x)
        size = norm(g)
        start = jnp.where(size > 0, g, 1)  # where there is no gradient, the step is 0 all the same
        alphas, betas, basis = lanczos(product, start, min(dimension, x.size))
        basis, beside = basis[:-1], jnp.diag(betas[:-1], 1)
        curvatures, vectors = jnp.linalg.eigh(jnp.diag(alphas) + beside + beside.T)
        curvatures = abs(curvatures)
        coefficients = vectors.T @ project(to_blocks(basis), to_blocks(g))
        largest = jnp.where(curvatures.max() > 0, curvatures.max(), size)  # size: of a linear loss
        dampings = largest * _DAMPINGS.astype(x.dtype)

        def step(damping):
            inside = coefficients / jnp.maximum(curvatures + damping, jnp.finfo(x.dtype).tiny)
            return -(vectors @ inside) @ basis

        losses = jax.lax.map(lambda damping: f(x + step(damping)), dampings)
        losses = jnp.where(jnp.isnan(losses), jnp.inf, losses)
        rounding = 4 * jnp.finfo(x.dtype).eps * abs(value)
        good = losses <= jnp.minimum(losses.min(), value) + rounding
        last = good.size - 1 - jnp.argmax(good[::-1])
        return unravel(jnp.where(good.any(), step(dampings[last]), 0)), state

    return optax.GradientTransformationExtraArgs(init, update)


class PerturbedState(NamedTuple):
    """What `perturbed_gradient_descent` carries.

    Attributes:
        step: updates so far.
        perturbed: the step at which the last perturbation was taken.
        key: of all perturbations.
    """

    step: jax.Array
    perturbed: jax.Array
    key: jax.Array


def perturbed_gradient_descent(
    learning_rate: optax.ScalarOrSchedule,
    *,
    gradient_threshold: float = 1e-3,
    radius: float = 1e-2,
    wait: int = 100,
    seed: int = 0,
) -> optax.GradientTransformation:
    """Gradient descent that takes a random step where the gradient is small: θ ← θ + ξ.

    ξ is uniform in a ball, and taken where the gradient's 2-norm is at most the threshold and the
    last `wait` steps have had none; every other step is θ ← θ − ηg. On minibatches the gradient
    is the batch's, which noise keeps from being small.

    Args:
        learning_rate: η, a number or a schedule.
        gradient_threshold: the gradient norm up to which a point may be a saddle.
        radius: of the ball.
        wait: steps from one perturbation to the next, at least.
        seed: of the perturbations; kept in the state.

    Raises:
        ValueError: for a threshold or radius that is not above 0, or a wait below 1.

    Reference:
        Jin et al. 2017 (arXiv:1703.00887), algorithm 2, without its end; the perturbation is a
        step of its own here, so that the gradient after it is taken where it led.

    Example:
        >>> optimizer = perturbed_gradient_descent(0.1, radius=0.5)
        >>> w = jnp.zeros(3)
        >>> updates, _ = optimizer.update(jnp.zeros(3), optimizer.init(w), w)
        >>> 0 < float(jnp.linalg.norm(updates)) <= 0.5
        True
    """
    wait = require_positive_int("wait", wait)
    require(0 < gradient_threshold < np.inf, "a gradient_threshold above 0", gradient_threshold)
    require(0 < radius < np.inf, "a radius above 0", radius)

    def init(params):
        del params
        return PerturbedState(jnp.int32(0), jnp.int32(-wait - 1), key_of(seed))

    def update(updates, state, params=None):
        del params
        rate: Any = learning_rate(state.step) if callable(learning_rate) else learning_rate

        def perturb():
            g, unravel = ravel_pytree(updates)
            key1, key2 = jax.random.split(jax.random.fold_in(state.key, state.step))
            direction = jax.random.normal(key1, g.shape, g.dtype)
            length = radius * jax.random.uniform(key2, dtype=g.dtype) ** (1 / g.size)
            return unravel(length / jnp.linalg.norm(direction) * direction)

        def descend():
            return jax.tree.map(lambda g: (-rate * g).astype(g.dtype), updates)

        small = optax.tree.norm(updates) <= gradient_threshold
        now = small & (state.step - state.perturbed > wait)
        perturbed = jnp.where(now, state.step, state.perturbed)
        step = jax.lax.cond(now, perturb, descend)
        return step, PerturbedState(state.step + 1, perturbed, state.key)

    return optax.GradientTransformation(init, update)
