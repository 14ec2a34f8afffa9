"""Regression and gradient descent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, landscape, nn, training
from jaxml.core.finding import Finding, Section
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import losses, optimizers, sampling


def ols_contour(effort: Effort = "quick") -> Finding:
    """The minimum of the error surface of y = b + wx, and gradient descent's way to it."""
    rows = data.load("linear_teacher", n=200, inputs=1, noise=0.5, validation=0, test=0).train
    algorithm = training.supervised(nn.linear(1, 1), losses.mse, optimizers.sgd(0.1))
    start, kept = algorithm.init(jax.random.key(0)), training.snapshots()
    away = {"dense_0": {"kernel": np.full((1, 1), -1.2, np.float32),
                        "bias": np.full(1, 1.1, np.float32)}}  # fmt: skip
    run = training.fit(
        algorithm, rows, sampling.full(), key=jax.random.key(0), chunk=1, hooks=[kept],
        steps=100 if effort == "quick" else 500, state=start.replace(params=away),
    )  # fmt: skip
    design = np.column_stack([rows["x"], np.ones(len(rows["x"]))]).astype(float)
    (w, b), *_ = np.linalg.lstsq(design, rows["y"][:, 0].astype(float))
    layer = run.state.params["dense_0"]
    off = max(abs(float(layer["kernel"][0, 0]) - w), abs(float(layer["bias"][0]) - b))

    loss = training.full_loss(algorithm, run.state, rows)
    zero = jax.tree.map(np.zeros_like, jax.device_get(run.state.params))
    one = np.ones(1, np.float32)
    along_w = {"dense_0": {"kernel": one[:, None], "bias": 0 * one}}
    along_b = {"dense_0": {"kernel": 0 * one[:, None], "bias": one}}
    directions = jax.tree.map(lambda *leaves: np.stack(leaves), along_w, along_b)
    axes = np.linspace(w - 1.5, w + 1.5, 41), np.linspace(b - 1.5, b + 1.5, 41)
    plane = landscape.surface(loss, zero, directions, coordinates=axes)
    path = kept.params["dense_0"]
    lowest = np.unravel_index(plane.losses.argmin(), plane.losses.shape)
    cell = max(abs(axes[0][lowest[0]] - w), abs(axes[1][lowest[1]] - b))
    spacing = axes[0][1] - axes[0][0]
    holds = off < 1e-4 and cell <= spacing
    figure = pictures.contours(
        axes[0],
        axes[1],
        plane.losses.T,
        "Contour ellipses of the mean squared error over w and b; the path of gradient descent "
        "ends where least squares has its solution, in the middle.",
        paths={"gradient descent": (path["kernel"][:, 0, 0], path["bias"][:, 0])},
        points={"least squares": (w, b)},
        xlabel="w",
        ylabel="b",
    )
    return Finding(
        name="ols-contour",
        question="Where is the minimum of the error surface of y = b + wx?",
        verdict=f"Gradient descent ends {off:.1e} from the solution of least squares, "
        f"w = {w:.4f}, b = {b:.4f}, and the lowest of {plane.losses.size:,} points of the surface "
        f"is {'next to it' if cell <= spacing else 'elsewhere'}.",
        sections=[Section("The error surface", figures=[figure])],
        numbers={"w": float(w), "b": float(b), "distance": off, "grid_distance": float(cell)},
        expected="the contour minimum is the solution of least squares: both numbers to 1e-4",
        holds=bool(holds),
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
