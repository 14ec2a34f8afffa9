"""Normalising flows: densities learned exactly."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, generative, training
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course.experiment import Effort
from jaxml.training import optimizers, sampling, schedules

NOISE, EDGE = 0.2, 4.0


def flow_density(effort: Effort = "quick") -> Finding:
    """Two flows on the ring of eight, against the density that drew it."""
    quick = effort == "quick"
    seeds, steps, width, layers = (2, 400, 32, 4) if quick else (3, 12_000, 64, 12)
    points = data.load("ring", n=40_000, noise=NOISE, validation=0, test=0)
    real = {"x": points.train["x"]}
    axis = np.linspace(-EDGE, EDGE, 201)
    cell = (axis[1] - axis[0]) ** 2
    plane = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    squares = ((plane[:, None] - points.meta["centres"]) ** 2).sum(2)
    true = np.exp(-squares / (2 * NOISE**2)).mean(1) / (2 * np.pi * NOISE**2)
    entropy = float(-(true * np.log(np.maximum(true, 1e-300))).sum() * cell)

    def divergence(logs: np.ndarray) -> float:
        """KL(data ‖ flow) by quadrature; nothing is normalised."""
        return float(-(true * logs).sum() * cell - entropy)

    flows = {
        "RealNVP": generative.real_nvp(2, couplings=layers, hidden=(width, width)),
        "Glow": generative.glow(2, steps=layers, hidden=(width, width)),
    }
    found, totals, off, pictured = {}, {}, {}, {}
    for name, flow in flows.items():
        model = generative.log_likelihood(flow, real["x"][:512])
        algorithm = training.supervised(
            model,
            generative.negative_log_likelihood,
            optimizers.adam(schedules.cosine(3e-3, steps)),
        )
        run = training.fit_many(
            algorithm, real, sampling.epochs(256), keys=jax.random.split(key(0), seeds),
            steps=steps,
        )  # fmt: skip
        params = run.state.params
        logs = _each(lambda p, x, m=model: m.apply(p, {}, x)[0], params, plane)
        found[name] = [divergence(each) for each in logs]
        totals[name] = [float(np.exp(each).sum() * cell) for each in logs]
        there = _each(
            lambda p, x, f=flow: f.inverse(p, f.forward(p, x)[0]), params, real["x"][:2000]
        )
        off[name] = float(abs(there - real["x"][:2000]).max())
        pictured[name] = np.exp(logs[0])
    gaussian = np.cov(real["x"].T)
    whitened = (plane @ np.linalg.inv(gaussian) * plane).sum(1)
    known = -(whitened + np.linalg.slogdet(gaussian)[1]) / 2 - np.log(2 * np.pi)
    baseline = divergence(known)
    limit = 1.2 if quick else 0.1
    worst = max(map(max, found.values()))
    unity = max(abs(total - 1) for each in totals.values() for total in each)
    holds = worst < limit and unity < 0.01 and min(map(min, found.values())) > -1e-3
    shape = (len(axis), len(axis))
    rows = [["Gaussian", f"{baseline:.3f}", "1", ""]]
    rows += [
        [name, _range(found[name], ".3f"), _range(totals[name], ".4f"), f"{off[name]:.0e}"]
        for name in flows
    ]
    ends = ", ".join(f"{name}'s {_range(kls, '.3f')}" for name, kls in found.items())
    return Finding(
        name="flow-density",
        question="Can a network tell how likely a point is?",
        verdict=f"The divergence of the data's exact density from {ends} nats ({seeds} seeds); "
        f"from the best Gaussian's {baseline:.2f}. They integrate to 1 within {unity:.0e}.",
        text=[
            f"Eight Gaussians of width {NOISE:g} on a ring, whose density is known, so that "
            f"KL(data ‖ flow) is an integral over a grid of {len(axis)} by {len(axis)} points, not "
            "an estimate. Trained by the likelihood alone; nothing is normalised afterwards. There "
            "and back: the largest difference of a point and its image's preimage.",
        ],
        sections=[
            Section(
                "Densities",
                figures=[
                    _density(true.reshape(shape), "The density that drew the data: eight dots on a "
                             "ring."),
                    *(_density(values.reshape(shape), f"The density of {name}'s first seed: eight "
                               "dots, and what thin bridges are left between them.")
                      for name, values in pictured.items()),
                ],
                table=Table(["density", "KL (nats)", "integral", "there and back"], rows),
            ),
        ],
        numbers={
            "divergence": found, "integral": totals, "gaussian": baseline, "entropy": entropy,
            "there_and_back": off,
        },
        expected=f"with every seed a divergence below {limit} nats, and integrals of 1 within 0.01",
        holds=bool(holds),
    )  # fmt: skip


def _each(function: Any, params: Any, x: Any) -> np.ndarray:
    """Of every seed's parameters, in float64: `(seeds, points, ...)`."""
    over = jax.jit(jax.vmap(function, (0, None)))
    return np.asarray(over(params, jnp.asarray(x, jnp.float32)), float)


def _range(numbers: list[float], form: str) -> str:
    low, high = format(min(numbers), form), format(max(numbers), form)
    return low if low == high else f"{low} to {high}"


def _density(values: np.ndarray, alt: str) -> Figure:
    def draw(ax: Any) -> None:
        ends = (-EDGE, EDGE)
        ax.imshow(np.sqrt(values), origin="lower", extent=(*ends, *ends), cmap="viridis")
        ax.grid(visible=False)
        ax.set(xticks=[-2, 0, 2], yticks=[-2, 0, 2])

    return Figure(draw, alt, height=1.0)
