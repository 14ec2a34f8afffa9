"""Learning rates of their own for every parameter."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml import landscape, studies
from jaxml.core.finding import Finding, Section, Table
from jaxml.course import pictures
from jaxml.course.chapter_02.common import grid_of, walk
from jaxml.course.experiment import Effort
from jaxml.training import optimizers


def stuck_without_critical_point(effort: Effort = "quick") -> Finding:
    """A loss that no longer falls although the gradient is large: between the walls of a ravine."""
    ravine, start = studies.SURFACES["ravine"]
    steps = 200 if effort == "quick" else 1000
    rate = 0.2 * (1 - 0.05 / steps)  # just below 2/λ_max = 0.2
    seen = walk(ravine, start, optimizers.sgd(rate), steps)
    half = steps // 2
    fall = float(1 - seen["loss"][-1] / seen["loss"][half])
    slope = float(seen["slope"][half:].min() / seen["slope"][0])
    end = np.array([seen["w0"][-1], seen["w1"][-1]], np.float32)
    point = landscape.analyze(ravine, end)
    holds = fall < 0.25 and slope > 0.5 and point.kind == "not critical"
    smaller = walk(ravine, start, optimizers.sgd(0.15), steps)
    figures = [
        pictures.curves(
            {"loss": seen["loss"], "‖gradient‖": seen["slope"]},
            "Loss and gradient norm against update: both level off far from zero.",
            xlabel="update", yscale="log", ylim=(0.1, 20),
        ),
        pictures.curves(
            {f"η = {rate:g}": (seen["w0"][:40], seen["w1"][:40]),
             "η = 0.15": (smaller["w0"][:40], smaller["w1"][:40])},
            "The first forty steps: one path jumps between the walls of the ravine, the other "
            "settles on its floor.",
            style=".-", xlabel="w₀, along", ylabel="w₁, across",
        ),
    ]  # fmt: skip
    return Finding(
        name="stuck-ravine",
        question="The loss no longer falls: is that a critical point?",
        verdict=f"Over the last {half} updates the loss falls by {fall:.0%} and the gradient norm "
        f"stays above {slope:.0%} of its first value; the analysis says: {point.kind}.",
        sections=[Section("Between two walls", figures=figures)],
        numbers={"fall": fall, "slope_of_first": slope, "kind": point.kind},
        expected="training is stuck (the loss falls by less than a quarter) with a gradient that "
        "is still more than half as large as at the start",
        holds=bool(holds),
    )


def ravine(w: jax.Array) -> jax.Array:
    """A ravine 1,000 times as steep across as along; its end is at (0, 0)."""
    return 0.5 * (w[0] ** 2 / 100 + 10 * w[1] ** 2)


START, STEPS, ARRIVED = (-8.0, 1.0), 3000, 1e-8


def over_root_mean_square(
    learning_rate: optax.ScalarOrSchedule, decay: float | None = None
) -> optax.GradientTransformation:
    """The lecture's θ ← θ − ηg/σ, where σ² is the mean of g² over all steps so far (Adagrad).

    With η/√(t + 1) for η this is `optimizers.adagrad` without its ε. With `decay` σ is that of
    RMSProp: σ² ← ρσ² + (1 − ρ)g², from the first gradient's square, where `optimizers.rmsprop`
    begins at 0.
    """

    def init(params):
        return jnp.int32(0), jax.tree.map(jnp.zeros_like, params)

    def update(updates, state, params=None):  # noqa: ARG001
        count, square = state
        new = 1 / (count + 1.0) if decay is None else jnp.where(count == 0, 1.0, 1 - decay)
        square = jax.tree.map(lambda v, g: (1 - new) * v + new * g**2, square, updates)
        scaled = jax.tree.map(lambda v, g: g / jnp.sqrt(jnp.where(v > 0, v, 1)), square, updates)
        return scaled, (count + 1, square)

    scale = optax.GradientTransformation(init, update)
    return optax.chain(scale, optax.scale_by_learning_rate(learning_rate))


def _arrivals(losses: np.ndarray) -> dict[str, Any]:
    """When a loss first falls below 1e-8, how high and how often it then rises above 0.01."""
    there = np.flatnonzero(losses < ARRIVED)
    since = losses[there[0] :] if len(there) else losses[:0]
    marks = since[(since < ARRIVED) | (since > 0.01)] > 0.01
    return {
        "end": float(losses[-1]),
        "arrived": int(there[0]) if len(there) else None,
        "peak": float(since.max()) if len(there) else None,
        "bursts": int((marks[1:] & ~marks[:-1]).sum()),
        "late": float(losses[-len(losses) // 10 :].max()),
    }


def _arrivals_table(found: dict[str, dict[str, Any]]) -> Table:
    def rows():
        for name, one in found.items():
            arrived, peak = one["arrived"], one["peak"]
            far = "—" if arrived is None else f"{peak:.2g}"
            end = f"{one['end']:.1g}"
            when = "never" if arrived is None else f"{arrived}"
            yield name, end, when, f"{one['bursts']}", far, f"{one['late']:.1g}"

    columns = (
        "optimiser", "loss at the end", "below 1e-8 at", "bursts since", "highest since",
        "highest, last tenth",
    )  # fmt: skip
    return Table(columns, [*rows()])


def adaptive_rates(effort: Effort = "quick") -> Finding:  # noqa: ARG001 - takes a second
    """Gradient descent on both sides of 2/λ_max, and adaptive rates, in one ravine."""
    ways = {
        "gradient descent, η = 0.19": optimizers.sgd(0.19),
        "gradient descent, η = 0.21": optimizers.sgd(0.21),
        "Adagrad, η = 0.3": over_root_mean_square(0.3),
        "RMSProp, η = 0.1": over_root_mean_square(0.1, 0.99),
        "Adam, η = 0.1": optimizers.adam(0.1),
    }
    with jax.enable_x64(True):
        seen = {name: walk(ravine, START, way, STEPS) for name, way in ways.items()}
    found = {name: _arrivals(one["loss"]) for name, one in seen.items()}
    slow, wild, *adaptive = found.values()
    names = [*found]
    holds = slow["arrived"] is None and wild["end"] > 1e10
    holds = holds and all(one["arrived"] is not None and one["arrived"] < 500 for one in adaptive)
    first = 60
    figures = [
        pictures.curves(
            {name: np.clip(one["loss"], 1e-20, 1e6) for name, one in seen.items()},
            "Loss against update of five optimisers: gradient descent falls slowly or diverges; "
            "the adaptive ones fall steeply, and two of them come up again.",
            xlabel="update", ylabel="loss (1e-20 to 1e6)", yscale="log", ylim=(1e-21, 1e20),
        ),
        pictures.contours(
            (x := np.linspace(-9, 2, 41)), (y := np.linspace(-1.3, 1.3, 41)),
            grid_of(ravine, x, y),
            f"The first {first} steps over the ravine's contours: gradient descent jumps between "
            "the walls and hardly moves along, Adagrad goes along the floor to the end.",
            paths={
                name: (seen[name]["w0"][:first], seen[name]["w1"][:first])
                for name in (names[0], names[2])
            },
            xlabel="w₁, along", ylabel="w₂, across",
        ),
    ]  # fmt: skip
    return Finding(
        name="adaptive-rates",
        question="Why should every parameter have a rate of its own?",
        verdict=f"Gradient descent at 0.19 is at {slow['end']:.0e} after {STEPS:,} updates and at "
        "0.21 has diverged; "
        + ", ".join(f"{name.split(',')[0]} after {found[name]['arrived']}" for name in names[2:])
        + " updates are below 1e-8. At a constant rate only Adam stays there: it ends at "
        f"{found[names[4]]['end']:.0e}, Adagrad has come up to {found[names[2]]['peak']:.0f} in "
        f"{found[names[2]]['bursts']} bursts and RMSProp to {found[names[3]]['peak']:.1f}.",
        sections=[
            Section(
                "½(w₁²/100 + 10w₂²) from (−8, 1)",
                "σ is the lecture's: the root mean square over all steps (Adagrad), or over the "
                "recent ones (RMSProp, ρ = 0.99). The rate of gradient descent is bounded by the "
                "walls, 2/λ_max = 0.2, and along the floor this is 1,000 times too small.",
                figures, _arrivals_table(found),
            )
        ],
        numbers=found,
        expected="gradient descent does not get below 1e-8 in 3,000 updates just below 2/λ_max = "
        "0.2 and diverges just above; Adagrad, RMSProp and Adam are there within 500",
        holds=bool(holds),
    )  # fmt: skip


def rmsprop_forgets(effort: Effort = "quick") -> Finding:
    """The size of the steps when the gradient becomes a tenth of what it was."""
    before, after = (50, 100) if effort == "quick" else (500, 1000)
    gradients = np.concatenate([np.ones(before), np.full(after, 0.1)]).astype(np.float32)

    def steps_of(optimizer):
        def one(state, gradient):
            update, state = optimizer.update(gradient, state)
            return state, -update / gradient

        return np.asarray(jax.lax.scan(one, optimizer.init(jnp.zeros(())), gradients)[1])

    scales = {"Adagrad": steps_of(optimizers.adagrad(1.0)),
              "RMSProp": steps_of(optimizers.rmsprop(1.0))}  # fmt: skip
    # what the rate would be had all gradients been the small one: 10
    reached = {
        name: float(np.argmax(scale[before:] > 5)) if (scale[before:] > 5).any() else np.inf
        for name, scale in scales.items()
    }
    holds = reached["RMSProp"] < 60 and reached["Adagrad"] == np.inf
    figure = pictures.curves(
        scales,
        f"The rate against the update: after update {before} that of RMSProp rises to ten, that of "
        "Adagrad stays below one.",
        xlabel="update", ylabel="rate of the parameter", yscale="log",
    )  # fmt: skip
    return Finding(
        name="rmsprop-forgets",
        question="What if the slope of one parameter changes on the way?",
        verdict=f"When the gradient falls to a tenth, RMSProp's rate comes within a factor of two "
        f"of the new one after {reached['RMSProp']:g} updates; Adagrad's does "
        + ("not" if np.isinf(reached["Adagrad"]) else f"after {reached['Adagrad']:g}")
        + f" within {after}.",
        sections=[Section("A slope that changes", figures=[figure])],
        numbers={"updates": {k: v if np.isfinite(v) else None for k, v in reached.items()}},
        expected="RMSProp, which forgets, follows within 60 updates; Adagrad, which adds up, does "
        "not",
        holds=bool(holds),
    )


def rate_decay(effort: Effort = "quick") -> Finding:  # noqa: ARG001 - takes a second
    """Adagrad and RMSProp at a constant and at a falling rate, in the ravine."""

    def falling(rate):
        return lambda step: rate / jnp.sqrt(step + 1.0)

    ways = {
        "Adagrad, η = 0.3": over_root_mean_square(0.3),
        "Adagrad, 0.3/√(t + 1)": over_root_mean_square(falling(0.3)),
        "RMSProp, η = 0.1": over_root_mean_square(0.1, 0.99),
        "RMSProp, 0.1/√(t + 1)": over_root_mean_square(falling(0.1), 0.99),
    }
    with jax.enable_x64(True):
        seen = {name: walk(ravine, START, way, STEPS) for name, way in ways.items()}
    found = {name: _arrivals(one["loss"]) for name, one in seen.items()}
    adagrad, slow_adagrad, rmsprop, slow_rmsprop = found.values()
    holds = min(adagrad["bursts"], rmsprop["bursts"]) > 0
    holds = holds and slow_adagrad["bursts"] == slow_rmsprop["bursts"] == 0
    holds = holds and slow_rmsprop["late"] < 0.01 * rmsprop["late"]
    figures = [
        pictures.curves(
            {name: np.maximum(one["loss"], 1e-20) for name, one in seen.items() if method in name},
            f"Loss of {method} against update: at the constant rate it comes up again and again "
            "from near zero, with decay it does not.",
            xlabel="update", ylabel="loss (1e-20 at least)", yscale="log", ylim=(1e-21, 1e7),
        )
        for method in ("Adagrad", "RMSProp")
    ]  # fmt: skip
    return Finding(
        name="rate-decay",
        question="Why let the learning rate fall?",
        verdict=f"Once below 1e-8, Adagrad's loss bursts {adagrad['bursts']} times at a constant "
        f"rate, up to {adagrad['peak']:.0f}, and RMSProp's {rmsprop['bursts']} times, up to "
        f"{rmsprop['peak']:.1f}; with the rate falling as 1/√(t + 1) neither "
        f"does. RMSProp ends at {slow_rmsprop['end']:.0e} then, not at {rmsprop['end']:.0e} where "
        f"it jumps from wall to wall; Adagrad goes down slowly, to {slow_adagrad['end']:.0e}.",
        sections=[
            Section(
                "Bursts, and how they end",
                "Across the ravine the gradients become small, so does their root mean square σ, "
                "and η/σ grows until a step is too long. A burst is a rise from below 1e-8 to "
                "above 0.01. Adagrad with this decay is optimizers.adagrad, the usual form.",
                figures,
                _arrivals_table(found),
            )
        ],
        numbers=found,
        expected="at a constant rate both burst after they have arrived; with decay neither "
        "does, and RMSProp's highest loss in the last tenth is below a hundredth",
        holds=bool(holds),
    )
