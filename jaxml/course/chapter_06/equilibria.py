"""Where the training of a GAN ends: the spectrum of the game, and of each player's own loss."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxml import data, generative, landscape, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course.experiment import Effort
from jaxml.training import optimizers, sampling

POINTS = 128
PLAIN, R1 = "non-saturating", "non-saturating, R1"
METHODS: dict[str, tuple[str, Any]] = {
    "minimax": ("minimax", None),
    PLAIN: ("non_saturating", None),
    R1: ("non_saturating", generative.r1(1.0)),
}


def gan_spectrum(effort: Effort = "quick") -> Finding:
    """Small GANs on a ring of eight Gaussians: eigenvalues of the game after training."""
    quick = effort == "quick"
    seeds, steps, width = (2, 200, 4) if quick else (10, 3000, 8)
    real = data.load("ring", n=POINTS, noise=0.05, validation=0, test=0).train["x"]
    noise = np.random.default_rng(0).normal(size=(POINTS, 2)).astype(np.float32)
    nets = (
        nn.mlp([2, width, width, 2], activation="tanh"),
        nn.mlp([2, width, width, 1], activation="tanh"),
    )
    keys = jax.random.split(key(0), seeds)
    adam = optimizers.adam(1e-3, b1=0.5, b2=0.9)
    spectra: dict[str, list[landscape.GameSpectrum]] = {}
    angles: dict[str, landscape.PathAngle] = {}
    for name, (game, penalty) in list(METHODS.items())[1 if quick else 0 :]:
        algorithm = generative.gan(
            *nets, game, (adam, adam), latents=lambda _, n: noise[:n], penalty=penalty
        )
        run = training.fit_many(algorithm, {"x": real}, sampling.full(), keys=keys, steps=steps)

        def players(state: Any) -> list[Any]:
            wide = (state.generator.params, state.critic.params)
            return [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p) for p in wide]

        ends = [jax.tree.map(lambda leaf, i=i: leaf[i], run.state) for i in range(seeds)]
        losses = generative.gan_losses(*nets, game, ends[0], real, noise, penalty=penalty)
        spectra[name] = [landscape.game_spectrum(losses, players(end)) for end in ends]
        first = algorithm.init(jax.random.split(keys[0])[0])  # as the first lane began
        angles[name] = landscape.path_angle(losses, players(first), players(ends[0]))

    counts = {
        name: {
            "complex": [int(s.turning.sum()) for s in found],
            "growing": [int(s.growing.sum()) for s in found],
            "generator_negative": [int((s.players[0] < -1e-6).sum()) for s in found],
            "critic_negative": [int((s.players[1] < -1e-6).sum()) for s in found],
            "field_norm": [s.field_norm for s in found],
            "largest_real_part": [float(np.real(s.eigenvalues[0])) for s in found],
        }
        for name, found in spectra.items()
    }
    size = spectra[PLAIN][0].size
    generator = len(spectra[PLAIN][0].players[0])
    plain = counts[PLAIN]
    kinds = ("complex", "generator_negative", "critic_negative")
    holds = all(min(c[kind]) > 0 for c in counts.values() for kind in kinds)
    medians = {name: {k: float(np.median(v)) for k, v in c.items()} for name, c in counts.items()}
    m = medians[PLAIN]
    return Finding(
        name="gan-spectrum",
        question="Does a trained GAN stand at a minimum?",
        verdict=f"{'No' if holds else 'Not with every seed'}: after {steps:,} steps the "
        f"generator's own Hessian has {_range(plain['generator_negative'])} negative eigenvalues "
        f"of {generator}, the critic's {_range(plain['critic_negative'])} of {size - generator}, "
        f"and the game's Jacobian {_range(plain['complex'])} complex ones of {size} ({seeds} "
        f"seeds, non-saturating). {m['growing']:.3g} have a positive real part, the largest "
        f"{m['largest_real_part']:.2g}; with R1 {medians[R1]['growing']:.3g}, the largest "
        f"{medians[R1]['largest_real_part']:.2g} (medians).",
        text=[
            f"A generator and a critic of two hidden layers of width {width} on {POINTS} points of "
            "a ring of eight Gaussians, all of them and the same latents at every step, so that "
            "training is a deterministic game; Adam at 0.001. ‖v‖ is the norm of the two "
            "gradients where it ended: it is not 0, and an equilibrium was not reached.",
        ],
        sections=[
            Section(
                "Medians over the seeds",
                table=Table(
                    ["game", "‖v‖", "complex", "real part > 0", "generator's negative",
                     "critic's negative", "largest real part"],
                    [[name, f"{m['field_norm']:.2g}", f"{m['complex']:.0f} of {size}",
                      f"{m['growing']:.0f}", f"{m['generator_negative']:.0f}",
                      f"{m['critic_negative']:.0f}", f"{m['largest_real_part']:.2g}"]
                     for name, m in medians.items()],
                ),
            ),
            Section(
                "One seed",
                figures=[_planes({n: found[0] for n, found in spectra.items()}), _ways(angles)],
            ),
        ],
        numbers={"counts": counts, "size": size},
        expected="in every game and with every seed both players' Hessians have negative "
        "eigenvalues, and the game's Jacobian has complex ones",
        holds=bool(holds),
    )  # fmt: skip


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def _planes(spectra: dict[str, landscape.GameSpectrum]) -> Figure:
    def draw(ax: Any) -> None:
        for color, (name, found) in zip(drawing.COLORS, spectra.items(), strict=False):
            values = found.eigenvalues
            ax.plot(np.real(values), np.imag(values), "o", ms=3, color=color, alpha=0.7, label=name)
        ax.axvline(0, color=drawing.ink(), lw=0.8)
        ax.set_xscale("symlog", linthresh=1e-2)
        ax.set(xlabel="real part", ylabel="imaginary part")
        drawing.legend(ax)

    return Figure(draw, "Eigenvalues of the three games: many are off the real axis, some to the "
                  "right of 0.")  # fmt: skip


def _ways(angles: dict[str, landscape.PathAngle]) -> Figure:
    def draw(ax: Any) -> None:
        for color, (name, found) in zip(drawing.COLORS, angles.items(), strict=False):
            ax.plot(found.places, found.cosines, color=color, label=name)
        ax.axhline(0, color=drawing.ink(), lw=0.8)
        ax.axvline(1, color=drawing.GREY, lw=0.8, ls="--")
        ax.set(xlabel="from initialisation (0) to the end (1)", ylabel="cosine of field and line")
        drawing.legend(ax)

    return Figure(draw, "The angle between the players' field and the straight line to where they "
                  "ended.")  # fmt: skip
