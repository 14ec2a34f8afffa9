"""Networks that draw from a distribution, and how good what they draw is."""

from jaxml.generative.adversarial import GANState, gan, gan_losses
from jaxml.generative.divergences import jensen_shannon, kullback_leibler, sliced_wasserstein
from jaxml.generative.evaluation import (
    Memorization,
    Modes,
    PrecisionRecall,
    Support,
    frechet_at_infinity,
    frechet_distance,
    inception_score,
    memorization,
    modes_hit,
    precision_recall,
    support_by_birthdays,
)
from jaxml.generative.games import GAMES, Game
from jaxml.generative.penalties import Penalty, clip, gradient_penalty, r1, r2

__all__ = [
    "GAMES",
    "GANState",
    "Game",
    "Memorization",
    "Modes",
    "Penalty",
    "PrecisionRecall",
    "Support",
    "clip",
    "frechet_at_infinity",
    "frechet_distance",
    "gan",
    "gan_losses",
    "gradient_penalty",
    "inception_score",
    "jensen_shannon",
    "kullback_leibler",
    "memorization",
    "modes_hit",
    "precision_recall",
    "r1",
    "r2",
    "sliced_wasserstein",
    "support_by_birthdays",
]
