"""Optimisers as named choices over optax, each with its update and its conventions.

`learning_rate` is a number, a traced number (a lane of `fit_many`) or a schedule. The formulas
use gradient g, parameters θ, learning rate η. Where optax's defaults differ from PyTorch's, the
docstring says so: two runs under one name need not be one algorithm.
"""

from __future__ import annotations

import optax

__all__ = ["adagrad", "adam", "adamw", "momentum", "nesterov", "radam", "rmsprop", "sgd"]


def sgd(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Gradient descent: θ ← θ − ηg."""
    return optax.sgd(learning_rate)


def momentum(
    learning_rate: optax.ScalarOrSchedule, beta: float = 0.9
) -> optax.GradientTransformation:
    """Heavy ball: m ← βm + g, θ ← θ − ηm; as PyTorch's with dampening 0.

    Reference:
        Polyak 1964, "Some methods of speeding up the convergence of iteration methods".
    """
    return optax.sgd(learning_rate, momentum=beta)


def nesterov(
    learning_rate: optax.ScalarOrSchedule, beta: float = 0.9
) -> optax.GradientTransformation:
    """Look ahead: m ← βm + g, θ ← θ − η(g + βm); as PyTorch's.

    Reference:
        Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    """
    return optax.sgd(learning_rate, momentum=beta, nesterov=True)


def adagrad(
    learning_rate: optax.ScalarOrSchedule, initial_accumulator_value: float = 0.0
) -> optax.GradientTransformation:
    """Divide by the root of the sum of squares: v ← v + g², θ ← θ − ηg/√(v + 1e-7).

    v starts at 0, as in PyTorch and in the paper (optax's own default is 0.1); PyTorch adds
    its ε (1e-10) outside the root.

    Reference:
        Duchi, Hazan and Singer 2011, "Adaptive subgradient methods".
    """
    return optax.adagrad(learning_rate, initial_accumulator_value=initial_accumulator_value)


def rmsprop(
    learning_rate: optax.ScalarOrSchedule, decay: float = 0.9
) -> optax.GradientTransformation:
    """Divide by a running root mean square: v ← ρv + (1−ρ)g², θ ← θ − ηg/(√v + 1e-8).

    ρ is 0.9, as in the lecture it comes from (PyTorch's default is 0.99); ε stands outside the
    root, as in PyTorch.

    Reference:
        Tieleman and Hinton 2012, Coursera lecture 6.5.
    """
    return optax.rmsprop(learning_rate, decay=decay, eps_in_sqrt=False)


def adam(
    learning_rate: optax.ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999
) -> optax.GradientTransformation:
    """Adaptive moments: θ ← θ − η m̂/(√v̂ + 1e-8); as PyTorch's.

    Reference:
        Kingma and Ba 2015 (arXiv:1412.6980), algorithm 1.
    """
    return optax.adam(learning_rate, b1=b1, b2=b2)


def adamw(
    learning_rate: optax.ScalarOrSchedule, weight_decay: float = 1e-2
) -> optax.GradientTransformation:
    """Adam's step and θ ← θ − η·λθ; λ is 0.01 as in PyTorch (optax's own default is 1e-4).

    Reference:
        Loshchilov and Hutter 2019 (arXiv:1711.05101), algorithm 2.
    """
    return optax.adamw(learning_rate, weight_decay=weight_decay)


def radam(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Adam whose rate is rectified while the variance of v̂ is large (rectified from ρ ≥ 5).

    Reference:
        Liu et al. 2020 (arXiv:1908.03265), algorithm 2, which rectifies from ρ > 4; PyTorch
        from ρ > 5, and it adds its ε to √v before the correction of v's bias, not after.
    """
    return optax.radam(learning_rate)
