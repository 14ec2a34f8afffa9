"""Learning-rate schedules as named choices over optax: functions of the step.

Each takes the peak learning rate and the number of steps of the run, so that one command-line
argument chooses among them.
"""

from __future__ import annotations

import jax.numpy as jnp
import optax

from jaxml.core.checks import require, require_positive_int

__all__ = ["constant", "cosine", "exponential", "inverse_sqrt", "linear", "warmup_cosine"]


def constant(learning_rate: float, steps: int) -> optax.Schedule:  # noqa: ARG001
    """η at every step."""
    return optax.constant_schedule(learning_rate)


def linear(learning_rate: float, steps: int) -> optax.Schedule:
    """From η down to 0 in a straight line."""
    return optax.linear_schedule(learning_rate, 0.0, require_positive_int("steps", steps))


def cosine(learning_rate: float, steps: int) -> optax.Schedule:
    """η·½(1 + cos(πt/T)).

    Reference:
        Loshchilov and Hutter 2017 (arXiv:1608.03983), equation 5, without restarts.

    Example:
        >>> [round(float(cosine(1.0, 100)(t)), 3) for t in (0, 50, 100)]
        [1.0, 0.5, 0.0]
    """
    return optax.cosine_decay_schedule(learning_rate, require_positive_int("steps", steps))


def warmup_cosine(learning_rate: float, steps: int, warmup: float = 0.1) -> optax.Schedule:
    """Linearly from 0 to η over the share `warmup` of the run, then `cosine` down to 0.

    Reference:
        Goyal et al. 2017 (arXiv:1706.02677), section 2.2, for the warm-up.
    """
    require(0 <= warmup < 1, "warmup in [0, 1)", warmup)
    steps = require_positive_int("steps", steps)
    warm = min(round(warmup * steps), steps - 1)
    # optax.warmup_cosine_decay_schedule, which does not take a traced learning rate
    rise = optax.linear_schedule(0.0, learning_rate, warm)
    fall = optax.cosine_decay_schedule(learning_rate, steps - warm)
    return optax.join_schedules([rise, fall], [warm])


def exponential(learning_rate: float, steps: int, final: float = 0.01) -> optax.Schedule:
    """η·final^(t/T): the rate falls by the same factor every step, to `final`·η at the end."""
    require(0 < final <= 1, "final in (0, 1]", final)
    return optax.exponential_decay(learning_rate, require_positive_int("steps", steps), final)


def inverse_sqrt(learning_rate: float, steps: int, warmup: float = 0.1) -> optax.Schedule:
    """Linear warm-up to η over the share `warmup` of the run, then η·√(t_w/t).

    Reference:
        Vaswani et al. 2017 (arXiv:1706.03762), equation 3, scaled so that its peak is η. Their own
        rate, "Noam", is that of the peak (d·t_w)^-½ for width d, after t_w steps of warm-up.

    Example:
        >>> schedule = inverse_sqrt(1.0, 100)
        >>> [float(schedule(t)) for t in (5, 10, 40)]
        [0.5, 1.0, 0.5]
        >>> width, warm, steps = 512, 4000, 100_000
        >>> noam = inverse_sqrt((width * warm) ** -0.5, steps, warm / steps)
        >>> theirs = [width**-0.5 * min(t**-0.5, t * warm**-1.5) for t in (100, 4000, 90_000)]
        >>> [f"{noam(t):.3e}" for t in (100, 4000, 90_000)] == [f"{rate:.3e}" for rate in theirs]
        True
    """
    require(0 < warmup < 1, "warmup in (0, 1)", warmup)
    warm = max(1, round(warmup * require_positive_int("steps", steps)))

    def schedule(count):
        count = jnp.maximum(count, 1)
        return learning_rate * jnp.minimum(count / warm, (warm / count) ** 0.5)

    return schedule
