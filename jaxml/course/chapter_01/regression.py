"""Regression and gradient descent."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog

from jaxml import data, landscape, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import losses, optimizers, sampling


def ols_contour(effort: Effort = "quick") -> Finding:
    """The minima of the error surfaces of y = b + wx, and gradient descent's way to them."""
    rows = data.load("linear_teacher", n=200, inputs=1, noise=0.5, validation=0, test=0).train
    x, y = (rows[key].astype(float)[:, 0] for key in ("x", "y"))
    quick = effort == "quick"
    # the slope of the absolute error does not get smaller at its kinks: the rate must
    cases = {
        "squared": (losses.mse, np.polyfit(x, y, 1), 0.1, 100 if quick else 500),
        "absolute": (
            losses.mae, _least_absolute(x, y),
            training.schedules.cosine(0.1, 1000 if quick else 5000), 1000 if quick else 5000,
        ),
    }  # fmt: skip
    figures, off, cells = [], {}, {}
    for name, (error, (w, b), rate, steps) in cases.items():
        path, plane = _descent(rows, error, rate, steps, around=(w, b))
        across, up = plane.coordinates
        off[name] = float(max(abs(path[-1] - (w, b))))
        lowest = np.unravel_index(plane.losses.argmin(), plane.losses.shape)
        spacing = across[1] - across[0]
        place = across[lowest[0]], up[lowest[1]]
        cells[name] = float(max(abs(np.subtract(place, (w, b)))) / spacing)
        exact = {"squared": "least squares", "absolute": "least absolute error"}[name]
        figures.append(
            pictures.contours(
                across, up, plane.losses.T,
                f"Contours of the mean {name} error over w and b; the path of gradient descent "
                "ends at the exact solution, in the middle.",
                paths={f"gradient descent, {name} error": tuple(path.T)},
                points={exact: (w, b)}, xlabel="w", ylabel="b",
            )
        )  # fmt: skip
    (w, b), (w_absolute, b_absolute) = (case[1] for case in cases.values())
    holds = off["squared"] < 1e-4 and off["absolute"] < 0.01 and max(cells.values()) <= 1
    there = "next to them" if max(cells.values()) <= 1 else "elsewhere"
    return Finding(
        name="ols-contour",
        question="Where is the minimum of the error surface of y = b + wx?",
        verdict=f"Under the squared error gradient descent ends {off['squared']:.1e} from the "
        f"solution of least squares, w = {w:.4f}, b = {b:.4f}; under the absolute error "
        f"{off['absolute']:.1e} from that of linear programming, w = {w_absolute:.4f}, "
        f"b = {b_absolute:.4f}. The lowest points of both surfaces are {there}.",
        sections=[Section("Two error surfaces", figures=figures)],
        numbers={"squared": [float(w), float(b)], "distance": off, "grid_cells": cells,
                 "absolute": [float(w_absolute), float(b_absolute)]},
        expected="gradient descent ends at the exact solutions (1e-4; 0.01 under the absolute "
        "error, whose slope does not get smaller), where the surfaces are lowest",
        holds=bool(holds),
    )  # fmt: skip


def _least_absolute(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The line of least absolute error, as w and b: a linear program."""
    n = len(x)
    line, own = np.column_stack([x, np.ones(n)]), np.eye(n)
    found = linprog(
        np.concatenate([np.zeros(2), np.ones(n)]),
        np.block([[line, -own], [-line, -own]]), np.concatenate([y, -y]),
        bounds=[(None, None)] * 2 + [(0, None)] * n,
    )  # fmt: skip
    return found.x[:2]


def _descent(rows: Any, error: Any, rate: Any, steps: int, around: Any) -> Any:
    """The path of gradient descent over w and b, `(steps + 1, 2)`, and the surface around it."""
    algorithm = training.supervised(nn.linear(1, 1), error, optimizers.sgd(rate))
    start, kept = algorithm.init(jax.random.key(0)), training.snapshots()
    away = {"dense_0": {"kernel": np.full((1, 1), -1.2, np.float32),
                        "bias": np.full(1, 1.1, np.float32)}}  # fmt: skip
    run = training.fit(
        algorithm, rows, sampling.full(), key=jax.random.key(0), chunk=max(1, steps // 500),
        hooks=[kept], steps=steps, state=start.replace(params=away),
    )  # fmt: skip
    layer = kept.params["dense_0"]
    path = np.column_stack([layer["kernel"][:, 0, 0], layer["bias"][:, 0]])
    zero = jax.tree.map(np.zeros_like, away)
    one = np.ones(1, np.float32)
    along_w = {"dense_0": {"kernel": one[:, None], "bias": 0 * one}}
    along_b = {"dense_0": {"kernel": 0 * one[:, None], "bias": one}}
    directions = jax.tree.map(lambda *leaves: np.stack(leaves), along_w, along_b)
    axes = tuple(np.linspace(value - 1.5, value + 1.5, 41) for value in around)
    loss = training.full_loss(algorithm, run.state, rows)
    return path, landscape.surface(loss, zero, directions, coordinates=axes)


def step_and_slope(effort: Effort = "quick") -> Finding:
    """One step of gradient descent from many places of the error curve over w."""
    rows = data.load("linear_teacher", n=200, inputs=1, noise=0.5, validation=0, test=0).train
    model, rate = nn.linear(1, 1, bias=False), 0.2
    algorithm = training.supervised(model, losses.mse, optimizers.sgd(rate))
    starts = np.linspace(-3, 3, 13 if effort == "quick" else 121, dtype=np.float32)
    state = algorithm.init(jax.random.key(0))

    @jax.jit
    def step_from(w):
        params = {"dense_0": {"kernel": w[None, None]}}
        after, _ = algorithm.step(state.replace(params=params), rows, jax.random.key(0))
        return after.params["dense_0"]["kernel"][0, 0] - w

    steps = np.asarray(jax.vmap(step_from)(starts))
    x, y = (rows[key].astype(float)[:, 0] for key in ("x", "y"))

    def error(w):
        return ((np.multiply.outer(w, x) - y) ** 2).mean(-1)

    h = 1e-4
    places = starts.astype(float)
    slopes = (error(places + h) - error(places - h)) / (2 * h)  # of the curve itself
    off = float(abs(steps + rate * slopes).max() / abs(steps).max())
    uphill = int((np.sign(steps) == np.sign(slopes)).sum())
    holds = off < 1e-4 and uphill == 0

    def draw(ax):
        fine = np.linspace(-3.2, 3.2, 200)
        ax.plot(fine, error(fine), color=drawing.GREY, label="mean squared error")
        some = slice(None, None, len(starts) // 12)
        ax.quiver(
            starts[some], error(starts[some]), steps[some], np.zeros_like(steps[some]),
            angles="xy", scale_units="xy", scale=1, width=0.004, color=drawing.BLUE,
            label="one step",
        )  # fmt: skip
        ax.set(xlabel="w", ylabel="error")
        drawing.legend(ax)

    figures = [
        Figure(draw, "A parabola with an arrow from each of its points to the side of its "
               "bottom: the steeper the curve, the longer the arrow."),
        pictures.curves(
            {"step": (slopes, steps)},
            "The step against the slope: a straight line that falls through the origin.",
            style="o-", xlabel="slope", ylabel=f"step, η = {rate:g}",
        ),
    ]  # fmt: skip
    return Finding(
        name="step-and-slope",
        question="The slope is positive: should w become larger or smaller?",
        verdict=f"Smaller: from {len(starts)} places the step is −{rate:g} times the slope of the "
        f"error curve, to {off:.0e} of the largest step, and "
        f"{f'{uphill} steps lead' if uphill else 'none leads'} up the slope.",
        sections=[Section("Steps on the error curve", figures=figures)],
        numbers={"difference": off, "uphill": uphill, "rate": rate},
        expected="the step is the slope times the rate with the opposite sign: w falls where the "
        "slope is positive, and goes further where it is steep",
        holds=holds,
    )


def divergence(effort: Effort = "quick") -> Finding:
    """Gradient descent on least squares just below and above the rate 2/λ_max."""
    rows = data.load("linear_teacher", n=200, inputs=4, validation=0, test=0).train
    model = nn.linear(4, 1)
    start = training.supervised(model, losses.mse, optimizers.sgd(0.1)).init(jax.random.key(0))
    loss = training.full_loss(
        training.supervised(model, losses.mse, optimizers.sgd(0.1)), start, rows
    )
    top = float(landscape.eigenpairs(landscape.hessian(loss, start.params), top=1).values[-1])
    shares = np.array([0.5, 0.95, 0.99, 1.01, 1.05])
    run = training.fit_many(
        lambda rate: training.supervised(model, losses.mse, optimizers.sgd(rate)),
        rows,
        sampling.full(),
        keys=jnp.stack([jax.random.key(0)] * len(shares)),
        hyperparameters={"rate": shares * 2 / top},
        steps=200 if effort == "quick" else 300,
    )
    curves = run.history["loss"]
    grows = curves[:, -1] > curves[:, 0]
    holds = np.isfinite(curves).all() and (grows == (shares > 1)).all()
    figure = pictures.curves(
        {f"η = {share:g} · 2/λ_max": curve for share, curve in zip(shares, curves, strict=True)},
        "Loss against update: below 2/λ_max it falls to a floor, above it grows exponentially.",
        xlabel="update", ylabel="loss", yscale="log",
    )  # fmt: skip
    return Finding(
        name="divergence",
        question="How large may the learning rate be?",
        verdict=f"λ_max = {top:.4f}, so that 2/λ_max = {2 / top:.4f}: the loss grows at "
        f"{', '.join(f'{s:g}' for s in shares[grows])} of it and falls at "
        f"{', '.join(f'{s:g}' for s in shares[~grows])}.",
        sections=[Section("Below and above the threshold", figures=[figure])],
        numbers={
            "largest_eigenvalue": top,
            "share_of_threshold": shares.tolist(),
            "grows": grows.tolist(),
        },
        expected="gradient descent on a quadratic diverges if and only if η > 2/λ_max",
        holds=bool(holds),
    )


def mean_and_median(effort: Effort = "quick") -> Finding:
    """The constant with the least squared, and with the least absolute error."""
    y = np.array([[0.0], [1.0], [2.0], [4.0], [43.0]], np.float32)
    rows = {"x": np.zeros((5, 1), np.float32), "y": y}
    steps = 2000 if effort == "quick" else 10_000
    ends, paths = {}, {}
    for name, loss in {"MSE": losses.mse, "MAE": losses.mae}.items():
        rate = training.schedules.cosine(0.1, steps)
        algorithm = training.supervised(nn.linear(1, 1), loss, optimizers.sgd(rate))
        kept = training.snapshots()
        training.fit(
            algorithm, rows, sampling.full(), key=jax.random.key(0), steps=steps,
            chunk=steps // 100, hooks=[kept],
        )  # fmt: skip
        paths[name] = (np.array(kept.steps), kept.params["dense_0"]["bias"][:, 0])
        ends[name] = float(paths[name][1][-1])
    mean, median = float(y.mean()), float(np.median(y))
    holds = abs(ends["MSE"] - mean) < 1e-2 and abs(ends["MAE"] - median) < 1e-2
    figure = pictures.curves(
        paths,
        f"The constant against the update: with the squared error it goes to {mean:g}, with the "
        f"absolute error to {median:g}.",
        xlabel="update", ylabel="constant b",
    )  # fmt: skip
    return Finding(
        name="mean-and-median",
        question="What do the squared and the absolute error do with an outlier?",
        verdict=f"Of 0, 1, 2, 4 and 43 the squared error finds {ends['MSE']:.3f} (the mean is "
        f"{mean:g}), the absolute error {ends['MAE']:.3f} (the median is {median:g}).",
        sections=[Section("Two losses, one outlier", figures=[figure])],
        numbers={"mse": ends["MSE"], "mae": ends["MAE"], "mean": mean, "median": median},
        expected="the constant of least MSE is the mean, that of least MAE the median: to 0.01",
        holds=bool(holds),
    )
