"""What keeps a critic smooth: penalties on its slope, and a bound on its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxml.core.checks import require
from jaxml.core.types import Params

Critic = Callable[[Params, jax.Array], jax.Array]
"""`(params, x) -> (batch,)`."""

Penalty = Callable[[Critic, Params, jax.Array, jax.Array, jax.Array], jax.Array]
"""`(critic, params, real, fake, key) -> scalar`, added to the critic's loss."""


def gradient_penalty(strength: float = 10.0, *, center: float = 1.0) -> Penalty:
    """λ times the mean of (‖∇ₓD‖ − center)² between data and samples.

    Args:
        strength: λ. 10 is for images; on points of the plane it leaves less of the data.
        center: the slope that costs nothing.

    Raises:
        ValueError: if one is negative or not finite.

    Reference:
        Gulrajani et al. (2017), arXiv:1704.00028, equation 3: at points drawn evenly on the line
        from each example to a sample.

    >>> slope = lambda params, x: params * x.sum(-1)
    >>> points = jnp.zeros((3, 4))
    >>> float(gradient_penalty()(slope, 1.0, points, points, jax.random.key(0)))  # slope 2
    10.0
    """
    _check(strength=strength, center=center)

    def penalty(critic, params, real, fake, key):
        share = jax.random.uniform(key, (len(real), *(1,) * (real.ndim - 1)), real.dtype)
        between = real + share * (fake - real)
        # the norm has no gradient at 0
        square = squared_slopes(critic, params, between)
        norm = jnp.sqrt(jnp.where(square > 0, square, 1)) * (square > 0)
        return strength * ((norm - center) ** 2).mean()

    return penalty


def r1(strength: float = 10.0) -> Penalty:
    """γ/2 times the mean of ‖∇ₓD‖² at the data.

    Args:
        strength: γ.

    Raises:
        ValueError: if it is negative or not finite.

    Reference:
        Mescheder, Geiger and Nowozin (2018), arXiv:1801.04406, equation 9.

    >>> slope = lambda params, x: params * x.sum(-1)
    >>> float(r1()(slope, 1.0, jnp.zeros((3, 4)), jnp.zeros((3, 4)), jax.random.key(0)))
    20.0
    """
    _check(strength=strength)
    return lambda critic, params, real, _, __: (
        strength / 2 * squared_slopes(critic, params, real).mean()
    )


def r2(strength: float = 10.0) -> Penalty:
    """As `r1`, at the samples (equation 10)."""
    _check(strength=strength)
    return lambda critic, params, _, fake, __: (
        strength / 2 * squared_slopes(critic, params, fake).mean()
    )


def clip(bound: float = 0.01) -> Callable[[Params], Params]:
    """Every weight into [−bound, bound], after each of the critic's updates.

    Args:
        bound: above 0.

    Raises:
        ValueError: if it is not.

    Reference:
        Arjovsky, Chintala and Bottou (2017), arXiv:1701.07875, algorithm 1.

    >>> clip(0.5)({"w": jnp.array([-2.0, 0.1])})["w"].tolist()
    [-0.5, 0.10000000149011612]
    """
    require(0 < bound < float("inf"), "a finite bound above 0", bound)
    return lambda params: jax.tree.map(lambda leaf: jnp.clip(leaf, -bound, bound), params)


def squared_slopes(critic: Critic, params: Params, x: jax.Array) -> jax.Array:
    """‖∇ₓD‖² at each row, `(batch,)`; rows must not couple in the critic."""
    slopes = jax.grad(lambda x: critic(params, x).sum())(x)
    return (slopes.reshape(len(x), -1) ** 2).sum(1)


def _check(**numbers: Any) -> None:
    for name, number in numbers.items():
        require(0 <= number < float("inf"), f"a finite {name} of at least 0", number)
