"""What a trained critic measures: Jensen-Shannon's divergence, or how far samples must move."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import norm

from jaxml import generative, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.types import Model
from jaxml.course.experiment import Effort
from jaxml.training import optimizers, sampling, schedules

WIDTH, BOUND = 32, 0.01
STRONG, PUBLISHED = 50.0, 10.0
DEVIATION, FAR = 0.25, 12
CRITIC = nn.mlp([1, WIDTH, WIDTH, 1])


class Trained(NamedTuple):
    """Critics of several gaps: their outputs `(gaps, points)` and slopes on the points."""

    outputs: np.ndarray
    slopes: np.ndarray


def trained_critics(effort: Effort = "quick") -> Finding:
    """Critics against two Gaussians that stand ever further apart."""
    quick = effort == "quick"
    gaps = DEVIATION * np.array([1.0, 2, 4, 8] if quick else [1.0, 2, 4, 8, FAR])
    points = np.linspace(-8 * DEVIATION, (FAR + 8) * DEVIATION, 4001)
    step = points[1] - points[0]
    real = norm.pdf(points, scale=DEVIATION)
    fakes = norm.pdf(points[None], gaps[:, None], DEVIATION)
    steps = 400 if quick else 4000

    def mean(density, values):
        return float((density * values).sum() * step)

    # minus the cross-entropy of telling them apart
    logits = _critics("non_saturating", gaps, points, steps).outputs
    values = [
        -mean(real, np.logaddexp(0, -f)) - mean(fake, np.logaddexp(0, f))
        for f, fake in zip(logits, fakes, strict=True)
    ]
    exact = [generative.jensen_shannon(real / real.sum(), fake / fake.sum()) for fake in fakes]
    known = [2 * js - 2 * np.log(2) for js in exact]
    errors = [abs(v / k - 1) for v, k in zip(values[:3], known[:3], strict=True)]
    far = norm.pdf(points, FAR * DEVIATION, DEVIATION)
    flat = generative.jensen_shannon(real / real.sum(), far / far.sum()) - exact[3]

    penalties = {
        f"gradient penalty, λ = {strength:g}": generative.gradient_penalty(strength)
        for strength in (STRONG, PUBLISHED)
    }
    moved, along = {}, {}
    for name, penalty in penalties.items():
        found = _critics("wasserstein", gaps, points, steps, penalty=penalty)
        moved[name] = _differences(found, real, fakes, mean)
        between = [(points > 0) & (points < gap) for gap in gaps]
        sizes = [abs(s[at]) for s, at in zip(found.slopes, between, strict=True)]
        along[name] = [[float(s.mean()), float(s.min()), float(s.max())] for s in sizes]
    clipped = _critics("wasserstein", gaps, points, steps, project=generative.clip(BOUND))
    moved["clipped weights"] = _differences(clipped, real, fakes, mean)
    lines = {name: float(np.polyfit(gaps, line, 1)[0]) for name, line in moved.items()}
    strong, published = penalties
    steepest = float(abs(clipped.slopes).max())
    corner = BOUND**3 * WIDTH**2
    off = max(abs(a[0] - 1) for a in along[strong])
    holds = (
        max(errors) < 0.02
        and flat < 1e-3
        and abs(lines[strong] - 1) < (0.15 if quick else 0.05)
        and off < 0.05
        and 0 < lines["clipped weights"] < 1
    )
    table = Table(
        ["gap", "JS", "−2 log 2 + 2 JS", "critic", *moved],
        [
            [f"{gap:g}", f"{js:.5f}", f"{k:.4g}", f"{v:.4g}",
             *(f"{line[i]:.4g}" for line in moved.values())]
            for i, (gap, js, k, v) in enumerate(zip(gaps, exact, known, values, strict=True))
        ],
    )  # fmt: skip
    return Finding(
        name="trained-critics",
        question="What does a trained critic measure?",
        verdict=f"The classifier's value is −2 log 2 + 2 JS within {100 * max(errors):.2g} % "
        f"(gaps of 1, 2, 4 deviations), and JS grows by {flat:.1g} from 8 to {FAR}. The "
        f"value of a critic with the gradient penalty grows by {lines[strong]:.3f} of the gap "
        f"where λ is {STRONG:g} (its slope between the two is off 1 by {off:.1g}), by "
        f"{lines[published]:.2f} with the published {PUBLISHED:g}; with weights within "
        f"{BOUND:g} by {lines['clipped weights']:.2g}.",
        text=[
            f"Data and samples are Gaussians of deviation {DEVIATION:g}, so that their Wasserstein "
            "distance is the gap of their means. The critics are trained on fresh batches against "
            "a generator that stands still, and their values are integrated on a grid. Far apart "
            "the best critic with the penalty has the slope 1 + gap/2λ: where distances are not "
            "small beside λ, it overstates them. "
            f"Weights within ±c allow a slope of c³n² = {corner:.2g} for two layers of n units, "
            f"and the clipped critics reach {steepest:.2g}: their unit is the bound's.",
        ],
        sections=[
            Section(
                "By the gap",
                figures=[
                    _values(gaps, exact, values, moved),
                    _slopes(gaps, along),
                ],
                table=table,
            ),
        ],
        numbers={
            "gaps": gaps, "jensen_shannon": exact, "values": values, "known": known,
            "wasserstein": moved, "growth": lines, "slopes_between": along,
            "steepest_clipped": steepest,
        },
        expected="the classifier's value within 2 % of −2 log 2 + 2 JS, JS flat beyond overlap, "
        f"the value with λ = {STRONG:g} linear in the gap with slope 1 within "
        f"{15 if quick else 5} % and the critic's own mean slope between the two 1 within 5 %, "
        "with clipping below 1",
        holds=bool(holds),
    )  # fmt: skip


def _critics(
    game: str, gaps: np.ndarray, points: np.ndarray, steps: int, **options: Any
) -> Trained:
    """A critic for each gap, trained against a generator that only draws the other Gaussian."""
    still = Model(lambda _, x=None: ({}, {}), lambda _, state, z, **__: (z, state))  # noqa: ARG005
    clipped = "project" in options
    schedule = schedules.cosine(5e-4 if clipped else 3e-3, steps)
    of_critic = (optimizers.rmsprop if clipped else optimizers.adam)(schedule)

    def algorithm(gap: Any) -> Any:
        return generative.gan(
            still, CRITIC, game, (optax.sgd(0.0), of_critic),
            latents=lambda key, n: gap + DEVIATION * jax.random.normal(key, (n, 1)), **options,
        )  # fmt: skip

    drawn = np.random.default_rng(0).normal(0, DEVIATION, (100_000, 1))
    real = {"x": drawn.astype(np.float32)}
    run = training.fit_many(
        algorithm, real, sampling.epochs(512), keys=jax.random.split(key(0), len(gaps)),
        hyperparameters={"gap": gaps.astype(np.float32)}, steps=steps,
    )  # fmt: skip
    at = jnp.asarray(points, jnp.float32)

    def output(params: Any, x: Any) -> Any:
        return CRITIC.apply(params, {}, x[None])[0][0]

    both = jax.vmap(jax.vmap(jax.value_and_grad(output, 1), (None, 0)), (0, None))
    outputs, slopes = jax.jit(both)(run.state.critic.params, at)
    return Trained(np.asarray(outputs, float), np.asarray(slopes, float))


def _differences(found: Trained, real: np.ndarray, fakes: np.ndarray, mean: Any) -> list[float]:
    """The critics' mean on the data less that on the samples."""
    pairs = zip(found.outputs, fakes, strict=True)
    return [mean(real, output) - mean(fake, output) for output, fake in pairs]


def _values(gaps: np.ndarray, exact: list, values: list, moved: dict[str, list]) -> Figure:
    def draw(ax: Any) -> None:
        wide = np.linspace(0, gaps[-1], 50)
        ax.plot(wide, wide, color=drawing.ink(), lw=0.8, label="the gap")
        for color, (name, line) in zip(drawing.COLORS, moved.items(), strict=False):
            ax.plot(gaps, line, "o-", ms=4, color=color, label=name)
        ax.plot(gaps, exact, "-", color=drawing.PURPLE, label="JS (nats)")
        by_critic = [(value + 2 * np.log(2)) / 2 for value in values]
        ax.plot(gaps, by_critic, "x", color=drawing.PURPLE, label="JS, by a critic")
        ax.set(
            xlabel="gap between data and samples", ylabel="distance", ylim=(-0.5, 1.6 * gaps[-1])
        )
        drawing.legend(ax)

    return Figure(draw, "Distances by the gap: JS is flat from five deviations on, the critic with "
                  "a strong penalty follows the gap, clipping stays near 0.")  # fmt: skip


def _slopes(gaps: np.ndarray, along: dict[str, list]) -> Figure:
    def draw(ax: Any) -> None:
        for color, (name, slopes) in zip(drawing.COLORS, along.items(), strict=False):
            mean, low, high = np.transpose(slopes)
            ax.plot(gaps, mean, "o-", ms=4, color=color, label=name)
            ax.fill_between(gaps, low, high, color=color, alpha=0.2, lw=0)
        ax.plot(gaps, 1 + gaps / (2 * PUBLISHED), "--", color=drawing.ink(), lw=0.8,
                label=f"1 + gap/2λ, λ = {PUBLISHED:g}")  # fmt: skip
        ax.set(xlabel="gap between data and samples", ylabel="slope of the critic", ylim=(0, None))
        drawing.legend(ax)

    return Figure(draw, "The critic's slope between data and samples, its mean and range: 1 with a "
                  "strong penalty, more with the published one.")  # fmt: skip
