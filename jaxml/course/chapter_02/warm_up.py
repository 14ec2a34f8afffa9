"""Learning rates at which a deep network is stable only after a while."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax

from jaxml import data, landscape, nn, training
from jaxml.core.finding import Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.core.types import Algorithm
from jaxml.course import pictures, stability
from jaxml.course.experiment import Effort
from jaxml.training import losses, optimizers, sampling

GUESSING = float(np.log(10))
"""The loss where all ten digits are as likely."""


def warm_up(effort: Effort = "quick") -> Finding:
    """Deep residual networks with the norm after the sum and before the layer, at large rates."""
    rows = data.load("digits").train
    quick = effort == "quick"
    blocks, seeds, steps = (8, 4, 300) if quick else (16, 5, 800)
    rates = [0.6] if quick else [0.3, 0.4, 0.5, 0.55, 0.6]
    rate = 0.6 if quick else 0.55
    nets = {
        position: nn.mlp(
            [64, *[64] * (blocks + 1), 10], norm="layer", norm_position=position, residual=True
        )
        for position in ("post", "pre")
    }
    ways = {
        "post-norm": ("post", 0.0),
        "post-norm, warm-up": ("post", 0.5),
        "pre-norm": ("pre", 0.0),
    }
    ended = stability.late_losses(
        lambda position, schedule: _algorithm(nets[position], schedule),
        ways, rows, sampling.epochs(64), rates=rates, seeds=seeds, steps=steps,
    )  # fmt: skip
    failed = {name: (~(values < 0.5)).sum(1).tolist() for name, values in ended.items()}
    here = {name: counts[rates.index(rate)] for name, counts in failed.items()}

    trained = pictures.curves(
        {name: (rates, [seeds - count for count in counts]) for name, counts in failed.items()},
        f"How many of {seeds} networks train against the rate: fewer and fewer post-norm ones "
        "without warm-up, nearly all of the others.",
        style={"post-norm": "o-", "post-norm, warm-up": "s--", "pre-norm": "x:"},
        xlabel="η", ylabel=f"networks of {seeds} that train", ylim=(-0.2, seeds + 0.2),
    )  # fmt: skip
    figures = [trained]
    sharp, beyond, seen = {}, {}, ""
    if not quick:
        sharp = {
            position: stability.sharpness(
                _algorithm(model, optax.constant_schedule(1.0)), rows, seeds
            )
            for position, model in nets.items()
        }
        post, pre = (float(np.mean(values)) for values in sharp.values())
        seen = (
            f" At initialisation λ_max is {post:.0f} in post-norm, {post * rate / 2:.1f} times "
            f"gradient descent's stability threshold 2/η at this rate, and {pre:.0f} in pre-norm, "
            f"{pre * rate / 2:.1f} times."
        )
        paths = {name: _path(nets[where], rows, rate, share, steps, sharp[where][0])
                 for name, (where, share) in ways.items()}  # fmt: skip
        beyond = {name: sharpness / edge for name, (_, sharpness, edge) in paths.items()}
        figures.append(
            pictures.curves(
                {name: (paths[name][0], values) for name, values in beyond.items()},
                "λ_max in units of 2/η against update: without warm-up it begins far above 1 and "
                "falls at once, in post-norm to a plateau; with warm-up it begins far below 1, "
                "rises to about 1 and falls once the digits are learned.",
                xlabel="update", ylabel="λ_max · η/2", yscale="log",
            )
        )  # fmt: skip
    table = Table(
        ("network", "η", "fail", "loss at the end, each seed"),
        [
            (name, f"{r:g}", f"{count} of {seeds}", ", ".join(_loss(v) for v in values))
            for name in ways
            for r, count, values in zip(rates, failed[name], ended[name], strict=True)
        ],
    )
    holds = here["post-norm, warm-up"] == here["pre-norm"] == 0
    holds = holds and here["post-norm"] >= (2 if quick else 4)
    holds = holds and (quick or min(sharp["post"]) * rate > 2)
    return Finding(
        name="warm-up",
        question="Why begin with a small learning rate?",
        verdict=f"At η = {rate:g}, {here['post-norm']} of {seeds} post-norm networks of {blocks} "
        f"blocks do not train, with warm-up {here['post-norm, warm-up']}; of pre-norm ones "
        f"without, {here['pre-norm']}."
        + seen,
        text=[
            "So λ_max tells why the rate is too large to begin with, and warm-up begins below the "
            "threshold 2/η. It does not tell why pre-norm recovers: it is beyond the threshold as "
            "well. Probably since its skips go past the norms, so that a step too long breaks "
            "branches, not the way through."
        ]
        if seen
        else [],
        sections=[
            Section(
                "Rates at which they train",
                f"Residual networks of {blocks} blocks of 64 on digits, gradient descent in "
                f"batches of 64. Warm-up: the rate rises in a straight line over the first half "
                f"of {steps} updates. A network fails if its loss over the last tenth is not "
                f"below 0.5; guessing has {GUESSING:.2f}.",
                figures, table,
            )
        ],
        numbers={
            "rate": rates, "failed": failed, "loss": {n: v.tolist() for n, v in ended.items()},
            "largest_eigenvalue": sharp,
            "of_threshold": {
                name: {"first": float(v[0]), "median": float(np.median(v)), "last": float(v[-1])}
                for name, v in beyond.items()
            },
        },
        expected="without warm-up post-norm networks fail ("
        + ("half of the seeds" if quick else "4 of 5 seeds")
        + " or more) at a rate at which none fails with it, and no pre-norm network"
        + ("" if quick else "; λ_max of post-norm is above 2/η at initialisation"),
        holds=bool(holds),
    )  # fmt: skip


def _loss(value: float) -> str:
    return f"{value:.3f}" if value < 100 else "diverged"


def _algorithm(model: Any, schedule: optax.Schedule) -> Algorithm:
    optimizer = optimizers.sgd(schedule)
    return training.supervised(model, losses.softmax_cross_entropy, optimizer)


def _path(
    model: Any, rows: Any, rate: float, share: float, steps: int, first: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Updates, λ_max and the threshold 2/η along one training, from the first λ_max on."""
    schedule = stability.warmed(rate, share, steps)
    algorithm = _algorithm(model, schedule)
    edge = landscape.edge_of_stability(
        algorithm, rows, learning_rate=schedule, batch_size=64, cost=np.inf
    )
    training.fit(
        algorithm, rows, sampling.epochs(64), key=key(0), steps=steps, chunk=10, hooks=[edge],
        state=algorithm.init(key(0)),
    )  # fmt: skip
    known = {"step": 0, "sharpness": first, "threshold": 2 / np.asarray(schedule(0))}
    step, sharpness, threshold = (np.array([known[n], *edge.history[n]]) for n in known)
    return step, sharpness, threshold
