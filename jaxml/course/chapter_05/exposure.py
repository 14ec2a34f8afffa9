"""What a network is right about that goes on from its own tokens."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import nn, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.sequence import decoding
from jaxml.training import losses, optimizers, sampling, schedules

BASE = 10
BEGIN, END, VOCABULARY = BASE + 1, BASE + 2, BASE + 3
NETWORK = nn.mlp([VOCABULARY + BASE, 64, VOCABULARY])
"""Of the token before, one of `VOCABULARY`, and the number that is read, below `BASE`."""


def exposure_bias(effort: Effort = "quick") -> Finding:
    """Running sums of digits, some of which are misread, behind right sums and behind its own."""
    quick = effort == "quick"
    rates, length, rows = ((0.1,), 10, 10_000) if quick else ((0.02, 0.05, 0.1), 40, 40_000)
    steps, times = (300 if quick else 2000), np.arange(1, length + 1)
    random = np.random.default_rng(0)
    forced, free, off = {}, {}, 0.0
    for rate in rates:
        params = _fitted(running_sums(random, 4000, length, rate), steps)
        read, sums = running_sums(random, rows, length, rate)
        before = np.concatenate([np.full((rows, 1), BEGIN), sums[:, :-1]], axis=1)
        forced[rate] = np.asarray((_logits(params, before, read).argmax(-1) == sums).mean(0))
        found = decoding.greedy(
            step, params, {"read": jnp.asarray(read), "time": jnp.zeros(rows, int)}, begin=BEGIN,
            end=END, maximum_length=length, minimum_length=length,
        )  # fmt: skip
        free[rate] = np.asarray((found.tokens == sums).mean(0))
        for measured, known in (
            (forced[rate], forced_accuracy(rate)), (free[rate], free_accuracy(rate, times)),
        ):  # fmt: skip
            off = max(off, float(abs(measured - known).max()))
    last = rates[-1]
    known = [free_accuracy(rate, np.append(times, np.nan)) for rate in rates]  # lines with gaps
    figure = pictures.curves(
        {f"its own, {rate:.0%} misread": (times, free[rate]) for rate in rates}
        | {
            f"right sums, {last:.0%} misread": (times, forced[last]),
            "closed form": (np.tile(np.append(times, np.nan), len(rates)), np.concatenate(known)),
        },
        "Accuracy at each step: behind right sums it stays where it is, behind the network's own "
        "it falls along the closed form towards chance.",
        style={f"its own, {rate:.0%} misread": "o" for rate in rates}
        | {f"right sums, {last:.0%} misread": "--"},
        xlabel="step", ylabel="accuracy", ylim=(0, 1.05),
    )  # fmt: skip
    table = Table(
        ("misread", "right sums before", "closed form", f"its own, step {length}", "closed form"),
        [
            (f"{rate:.0%}", f"{forced[rate].mean():.1%}", f"{forced_accuracy(rate):.1%}",
             f"{free[rate][-1]:.1%}", f"{free_accuracy(rate, length):.1%}")
            for rate in rates
        ],
    )  # fmt: skip
    return Finding(
        name="exposure-bias",
        question="How right is a network that goes on from its own answers?",
        verdict=f"Of running sums modulo {BASE}, {last:.0%} of whose inputs are misread, a network "
        f"that is told the sum before adds {forced[last].mean():.1%} rightly; one that goes on "
        f"from its own {length} times is right in {free[last][-1]:.1%}. From the closed forms "
        f"no accuracy at any step is further than {100 * off:.1f} points.",
        text=(
            "With the share ε of the inputs misread, a uniform digit in the place of the right "
            f"one, m = {BASE} and a right sum before, 1 − ε + ε/m of the sums are right. One "
            "misread input makes the sum uniform and all later ones with it: 1/m + (1 − 1/m)·"
            "(1 − ε)^t are right at step t. What is measured in training does not tell that.",
        ),
        sections=[Section("Behind right sums and behind its own", figures=[figure], table=table)],
        numbers={
            "rates": rates,
            "forced": [forced[rate] for rate in rates],
            "free": [free[rate] for rate in rates],
            "largest_difference": off,
        },
        expected="both accuracies within 2 points of the closed forms at every step",
        holds=off < 0.02,
    )


def forced_accuracy(rate: float) -> float:
    """Of a sum whose predecessor is right."""
    return 1 - rate + rate / BASE


def free_accuracy(rate: float, steps: Any) -> Any:
    """Of the sum after some steps from one's own sums."""
    return 1 / BASE + (1 - 1 / BASE) * (1 - rate) ** steps


def step(params: Any, tokens: jax.Array, cache: Any) -> tuple[jax.Array, Any, None]:
    """The network as decoding takes it; it reads one digit at a time."""
    time = cache["time"]
    read = jnp.take_along_axis(cache["read"], time[:, None], axis=1)[:, 0]
    return _logits(params, tokens, read), cache | {"time": time + 1}, None


def _logits(params: Any, before: Any, read: Any) -> jax.Array:
    return NETWORK.apply(params, {}, _inputs(before, read))[0]


def _inputs(before: Any, read: Any) -> jax.Array:
    hot = [jax.nn.one_hot(before, VOCABULARY), jax.nn.one_hot(read, BASE)]
    return jnp.concatenate(hot, axis=-1)


def running_sums(
    random: np.random.Generator, rows: int, length: int, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Digits as they are read, and the running sums of the right ones as tokens from 1."""
    digits = random.integers(0, BASE, (rows, length))
    misread = random.random((rows, length)) < rate
    read = np.where(misread, random.integers(0, BASE, (rows, length)), digits)
    return read, digits.cumsum(1) % BASE + 1


def _fitted(sequences: tuple[np.ndarray, np.ndarray], steps: int) -> Any:
    """Trained on each sum behind the right one before it."""
    read, sums = sequences
    before = np.concatenate([np.full((len(sums), 1), BEGIN), sums[:, :-1]], axis=1)
    split = {"before": before.reshape(-1), "read": read.reshape(-1), "y": sums.reshape(-1)}
    algorithm = training.supervised(
        NETWORK,
        losses.softmax_cross_entropy,
        optimizers.adam(schedules.warmup_cosine(1e-2, steps)),
        inputs=lambda batch: _inputs(batch["before"], batch["read"]),
    )
    run = training.fit(algorithm, split, sampling.epochs(256), key=key(0), steps=steps)
    return run.state.params
