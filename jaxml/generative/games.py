"""What the two networks of a generative adversarial network minimise."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import softplus


class Game(NamedTuple):
    """The losses of the two, one value for each example.

    Attributes:
        discriminator: `(real, fake) -> (batch,)`, of the critic's outputs on data and on samples.
        generator: `fake -> (batch,)`.
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


def _of_classifier(real: jax.Array, fake: jax.Array) -> jax.Array:
    """The cross-entropy (nats) of telling data from samples, the critic's outputs being logits."""
    return softplus(-real) + softplus(fake)


GAMES = {
    "minimax": Game(_of_classifier, lambda fake: -softplus(fake)),
    "non_saturating": Game(_of_classifier, lambda fake: softplus(-fake)),
    "least_squares": Game(
        lambda real, fake: ((real - 1) ** 2 + fake**2) / 2, lambda fake: (fake - 1) ** 2 / 2
    ),
    "hinge": Game(
        lambda real, fake: jnp.maximum(1 - real, 0) + jnp.maximum(1 + fake, 0), lambda fake: -fake
    ),
    "wasserstein": Game(lambda real, fake: fake - real, lambda fake: -fake),
}
"""By name: Goodfellow et al. 2014 (arXiv:1406.2661), equation 1, and the loss of its section 3 that
does not saturate; Mao et al. 2017 (arXiv:1611.04076), equation 9; Lim and Ye 2017
(arXiv:1705.02894); Arjovsky et al. 2017 (arXiv:1701.07875).
Only "minimax" and "wasserstein" are zero-sum: what the generator loses the critic gains.
"""
