"""Networks that draw from a distribution."""

from jaxml.generative.adversarial import GANState, gan, gan_losses
from jaxml.generative.games import GAMES, Game
from jaxml.generative.penalties import Penalty, clip, gradient_penalty, r1, r2

__all__ = [
    "GAMES",
    "GANState",
    "Game",
    "Penalty",
    "clip",
    "gan",
    "gan_losses",
    "gradient_penalty",
    "r1",
    "r2",
]
