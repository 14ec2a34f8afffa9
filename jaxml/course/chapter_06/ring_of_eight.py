"""GANs on a ring of eight Gaussians: which of its modes they find, by method and by setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxml import data, generative, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course.experiment import Effort
from jaxml.training import optimizers, sampling

MODES, BATCH, SAMPLES, EARLY = 8, 128, 2500, 200


class Method(NamedTuple):
    """A row: what is trained, and how.

    Attributes:
        game: of `generative.GAMES`.
        steps: updates of the generator.
        critic: the critic's optimiser; by default the setting's.
        generator: likewise.
        options: of `generative.gan`.
        normalized: whether the critic's matrices are divided by their norms.
    """

    game: str
    steps: int = 4000
    critic: Callable[[], optax.GradientTransformation] | None = None
    generator: Callable[[], optax.GradientTransformation] | None = None
    options: Mapping[str, Any] = {}
    normalized: bool = False


class Setting(NamedTuple):
    """The width of the Gaussians, both optimisers, and the methods that are trained so."""

    noise: float
    generator: Callable[[], optax.GradientTransformation]
    critic: Callable[[], optax.GradientTransformation]
    methods: Mapping[str, Method]


def _adam(rate: float, b1: float = 0.5, b2: float = 0.9) -> Callable:
    return lambda: optimizers.adam(rate, b1=b1, b2=b2)


def _penalized(strength: float, critic_steps: int, steps: int) -> Method:
    penalty = generative.gradient_penalty(strength)
    return Method(
        "wasserstein", steps, options={"penalty": penalty, "critic_steps": critic_steps}
    )  # fmt: skip


AVERAGED = {"average": 0.999}
SN: dict[str, Any] = {"critic": _adam(1e-3, 0.0), "generator": _adam(1e-3, 0.0), "normalized": True}
CLIPPED: dict[str, Any] = {
    name: lambda: optimizers.rmsprop(5e-4) for name in ("critic", "generator")
}
PLAIN, GP = "non-saturating", "gradient penalty"
BALANCED = Setting(
    0.05, _adam(1e-3), _adam(1e-3),
    {
        "minimax": Method("minimax"),
        PLAIN: Method("non_saturating"),
        "least squares": Method("least_squares"),
        "hinge": Method("hinge", options=AVERAGED),
        "hinge, spectral norm": Method("hinge", **SN),
        "non-saturating, R1 10": Method(
            "non_saturating", options={"penalty": generative.r1(10.0), **AVERAGED}
        ),
        "clip 0.1, 5 critic steps": Method(
            "wasserstein", 2500, **CLIPPED,
            options={"project": generative.clip(0.1), "critic_steps": 5},
        ),
        f"{GP} 0.1, 5 critic steps": _penalized(0.1, 5, 2000),
        f"{GP} 0.1, 1 critic step": _penalized(0.1, 1, 4000),
        f"{GP} 10, 5 critic steps": _penalized(10.0, 5, 2000),
    },
)  # fmt: skip
UNROLLED = "non-saturating, unrolled 5"
WEAK = Setting(
    0.02, _adam(1e-3, 0.5, 0.999), _adam(1e-4, 0.5, 0.999),
    {
        "minimax": Method("minimax"),
        PLAIN: Method("non_saturating"),
        "hinge, spectral norm": Method("hinge", normalized=True),
        UNROLLED: Method(
            "non_saturating", options={"unrolled": 5},
            # differentiable where a weight has no gradient
            critic=lambda: optax.adam(1e-4, b1=0.5, eps_root=1e-8),
        ),
    },
)  # fmt: skip
SETTINGS = {"balanced": BALANCED, "weak critic": WEAK}


class Score(NamedTuple):
    """Of each seed: modes found, share of samples near one, and KL(samples' modes ‖ even)."""

    modes: np.ndarray
    share: np.ndarray
    reverse: np.ndarray


class Outcome(NamedTuple):
    """What a method ends with, its average too, what both were early, and samples of a seed."""

    steps: int
    late: Score
    averaged: Score | None
    early: Score | None
    early_averaged: Score | None
    samples: np.ndarray


def ring_of_eight(effort: Effort = "quick") -> Finding:
    """Modes found by games, penalties and settings, ten seeds each."""
    quick = effort == "quick"
    seeds, width = (2, 32) if quick else (10, 64)
    found: dict[str, dict[str, Outcome]] = {}
    for name, setting in SETTINGS.items():
        chosen = {
            method: row._replace(steps=2 * EARLY) if quick else row
            for method, row in setting.methods.items()
            if not quick or method == PLAIN or (method, name) == ("minimax", "balanced")
        }
        points = data.load("ring", n=20_000, noise=setting.noise, validation=0, test=0)
        found[name] = {m: _trained(row, setting, points, seeds, width) for m, row in chosen.items()}
    means = {s: {m: float(o.late.modes.mean()) for m, o in rows.items()}
             for s, rows in found.items()}  # fmt: skip
    balanced, weak = means["balanced"], means["weak critic"]
    plain = [m for m in BALANCED.methods if m in balanced and GP not in m]
    alike = [balanced[m] for m in plain]
    rates = balanced[PLAIN] - weak[PLAIN]
    between = max(alike) - min(alike)
    best = f"{GP} 0.1, 5 critic steps"
    within = {} if quick else {
        "λ": balanced[best] - balanced[f"{GP} 10, 5 critic steps"],
        "critic steps": balanced[best] - balanced[f"{GP} 0.1, 1 critic step"],
    }  # fmt: skip
    holds = min(rates, *within.values(), rates) > between
    return Finding(
        name="ring-of-eight",
        question="Which GAN finds all the modes?",
        verdict=_verdict(found, means, plain, within, holds=holds),
        text=[
            f"{SAMPLES:,} samples; one within three standard deviations of a centre is near it, "
            "and a mode is found by one such sample. The reverse divergence is that of the "
            "samples' nearest modes from an even choice (nats; 0 is best, log 8 = 2.08 one mode). "
            f"Both networks have two hidden layers of {width}, the latents two numbers, batches "
            f"{BATCH} points. Balanced: Adam at 0.001 for both networks, Gaussians of width "
            f"{BALANCED.noise:g}; weak critic: its rate a tenth of the generator's, Gaussians of "
            f"width {WEAK.noise:g}.",
        ],
        sections=[
            Section(
                "Modes found",
                figures=[_dots(found), _panels(found)],
                table=_table(found),
            ),
            *([] if quick else [_average(found["balanced"])]),
        ],
        numbers={
            "modes": {
                s: {m: o.late.modes.tolist() for m, o in r.items()} for s, r in found.items()
            },
            "share": {
                s: {m: o.late.share.tolist() for m, o in r.items()} for s, r in found.items()
            },
            "reverse": {
                s: {m: o.late.reverse.tolist() for m, o in r.items()} for s, r in found.items()
            },
            "averages": {
                m: [[part.modes.mean(), part.share.mean()] for part in o[1:5] if part is not None]
                for m, o in found["balanced"].items() if o.averaged is not None
            },
            "between_methods": between, "by_rates": rates, "by_others": within,
        },
        expected="the critic's rate, λ and the critic's steps each change the mean number of modes "
        "more than the choice among the methods without a penalty on the slope of the critic "
        "between data and samples does in the balanced setting",
        holds=bool(holds),
    )  # fmt: skip


def _trained(row: Method, setting: Setting, points: Any, seeds: int, width: int) -> Outcome:
    critic = nn.mlp([2, width, width, 1])
    generator = nn.mlp([2, width, width, 2])
    algorithm = generative.gan(
        generator,
        nn.spectral_norm(critic) if row.normalized else critic,
        row.game,
        ((row.generator or setting.generator)(), (row.critic or setting.critic)()),
        latents=2,
        **row.options,
    )
    sample = sampling.epochs(BATCH * row.options.get("critic_steps", 1))
    real = {"x": points.train["x"]}

    def run(steps: int, state: Any = None) -> Any:
        return training.fit_many(
            algorithm, real, sample, keys=jax.random.split(key(0), seeds), steps=steps,
            chunk=EARLY, state=state,
        ).state  # fmt: skip

    z = jax.random.normal(key(1), (SAMPLES, 2))

    def drawn(params: Any) -> np.ndarray:
        return np.asarray(jax.vmap(lambda params: generator.apply(params, {}, z)[0])(params))

    def scored(params: Any) -> Score:
        return _score(drawn(params), points.meta["centres"], setting.noise)

    averaged = "average" in row.options
    state = run(EARLY)
    early = (scored(state.generator.params), scored(state.average)) if averaged else (None, None)
    state = run(row.steps - EARLY, state)
    late = scored(state.generator.params)
    mean = scored(state.average) if averaged else None
    return Outcome(row.steps, late, mean, *early, drawn(state.generator.params)[0])


def _score(samples: np.ndarray, centres: np.ndarray, noise: float) -> Score:
    near = [generative.modes_hit(part, centres, noise) for part in samples]
    # every sample counts with its nearest mode where the width is without bound
    shares = [generative.modes_hit(part, centres, 1e6).counts / len(part) for part in samples]
    even = np.full(len(centres), 1 / len(centres))
    reverse = [generative.kullback_leibler(share, even) for share in shares]
    return Score(
        np.array([found.hit for found in near]), np.array([found.share for found in near]),
        np.array(reverse),
    )  # fmt: skip


def _verdict(found, means, plain, within, *, holds) -> str:
    balanced, weak = means["balanced"], means["weak critic"]
    low, high = min(balanced[m] for m in plain), max(balanced[m] for m in plain)
    parts = [
        f"{'The method does not decide' if holds else 'Not shown'}: with balanced rates the "
        f"{len(plain)} methods without a gradient penalty find {low:.3g} to {high:.3g} of the "
        f"{MODES} modes, with a critic of a tenth of the rate the non-saturating one "
        f"{weak[PLAIN]:.3g} instead of {balanced[PLAIN]:.3g}"
    ]
    if within:
        best, slopes = balanced[f"{GP} 0.1, 5 critic steps"], f"{GP} 10, 5 critic steps"
        one = balanced[f"{GP} 0.1, 1 critic step"]
        gain = weak[UNROLLED] - weak[PLAIN]
        parts.append(
            f"the gradient penalty finds {best:.3g} with λ = 0.1 and five critic steps, "
            f"{balanced[slopes]:.3g} with λ = 10, {one:.3g} with one critic step; unrolled by five "
            f"steps the weak critic's game finds {weak[UNROLLED]:.3g} "
            f"({'three modes more or better' if gain >= 3 else f'{gain:+.2g}'}), its spectral norm "
            f"{weak['hinge, spectral norm']:.3g}"
        )
    seeds = len(found["balanced"][PLAIN].late.modes)
    return f"{'; '.join(parts)} (means of {seeds} seeds)."


def _range(values: np.ndarray, form: str) -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return f"{format(values.mean(), form)} ({low} to {high})"


def _table(found: dict[str, dict[str, Outcome]]) -> Table:
    rows = [
        [f"{method}", setting, f"{o.steps:,}",
         f"{o.late.modes.mean():.1f} ({o.late.modes.min()} to {o.late.modes.max()})",
         _range(100 * o.late.share, ".0f"), _range(o.late.reverse, ".2f")]
        for setting, methods in found.items() for method, o in methods.items()
    ]  # fmt: skip
    return Table(
        ["method", "setting", "steps", "modes of 8", "% near a mode", "reverse divergence"], rows
    )


def _average(found: dict[str, Outcome]) -> Section:
    rows = []
    for method, o in found.items():
        if o.averaged is None or o.early is None or o.early_averaged is None:
            continue
        parts = [(f"{EARLY:,}", o.early, o.early_averaged), ("end", o.late, o.averaged)]
        rows += [
            [method, when, f"{own.modes.mean():.1f}, {100 * own.share.mean():.0f} %",
             f"{mean.modes.mean():.1f}, {100 * mean.share.mean():.0f} %"]
            for when, own, mean in parts
        ]  # fmt: skip
    return Section(
        "The moving average of the generator",
        "Modes found and the share of samples near one, by the generator itself and by the average "
        "of its parameters (decay 0.999, less at first).",
        table=Table(["method", "steps", "generator", "average"], rows),
    )


def _dots(found: dict[str, dict[str, Outcome]]) -> Figure:
    rows = [(f"{m} ({s})", s, o) for s, methods in found.items() for m, o in methods.items()]

    def draw(ax: Any) -> None:
        colors = dict(zip(found, drawing.COLORS, strict=False))
        for i, (_, setting, outcome) in enumerate(rows):
            modes = outcome.late.modes
            ax.plot([modes.min(), modes.max()], [i, i], color=colors[setting], lw=1.2)
            ax.plot(modes.mean(), i, "o", color=colors[setting], ms=5)
        for setting, color in colors.items():
            ax.plot([], [], "o-", color=color, label=setting)
        ax.set_yticks(range(len(rows)), [label.split(" (")[0] for label, *_ in rows], fontsize=7.5)
        ax.invert_yaxis()
        ax.set(xlabel="modes found of 8", xlim=(-0.3, 8.3))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)

    return Figure(draw, "The mean number of modes and its range over the seeds: what the setting "
                  "changes is more than what the method does.")  # fmt: skip


def _panels(found: dict[str, dict[str, Outcome]]) -> Figure:
    rows = [(f"{m}", s, o.samples) for s, methods in found.items() for m, o in methods.items()]
    columns = 4 if len(rows) > 4 else 2

    def draw(ax: Any) -> None:
        colors = dict(zip(found, drawing.COLORS, strict=False))
        for i, (method, setting, samples) in enumerate(rows):
            x, y = 6.5 * (i % columns), -8.4 * (i // columns)
            inside = samples[(abs(samples) < 3).all(1)][:800]
            color = colors[setting]
            ax.plot(x + inside[:, 0], y + inside[:, 1], ".", ms=1.2, alpha=0.5, color=color)
            name = method.replace(", ", ",\n", 1)
            ax.text(x, y + 3.2, name, ha="center", va="bottom", fontsize=4.8)
        for setting, color in colors.items():
            ax.plot([], [], "o", ms=4, color=color, label=setting)
        ax.set(aspect="equal", xlim=(-3.5, 6.5 * columns - 3))
        ax.margins(y=0.12)
        ax.axis("off")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, frameon=False)

    height = 0.72 if len(rows) <= 4 else 1.1
    return Figure(draw, "Samples of the first seed by method and setting: where modes are missed, "
                  "and where points lie between them.", height=height)  # fmt: skip
