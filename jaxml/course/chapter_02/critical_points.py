"""Critical points: what they are, how they are left and sought."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from jaxml import data, landscape, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.chapter_02.common import classifier, grid_of
from jaxml.course.experiment import Effort
from jaxml.data.surfaces import course_saddle
from jaxml.studies.topics import staircase
from jaxml.training import losses, optimizers, saddles, sampling


def saddle_of_the_course(effort: Effort = "quick") -> Finding:
    """(1 − w₁w₂)² at 0: the gradient vanishes, the Hessian tells that it is a saddle."""
    point = landscape.analyze(course_saddle, np.zeros(2, np.float32))
    values = point.eigenvalues.tolist()
    down = np.asarray(point.descent)
    lower = float(course_saddle(jnp.asarray(0.5 * down)))
    holds = point.kind == "saddle" and np.allclose(values, [-2, 2], atol=1e-6) and lower < 1
    axis = np.linspace(-1.6, 1.6, 61 if effort == "quick" else 201)
    up = np.array([down[1], -down[0]])
    figure = pictures.contours(
        axis, axis, grid_of(course_saddle, axis, axis),
        "Contours of (1 − w₁w₂)²: a saddle at the origin, falling along the diagonal and rising "
        "across it, between two valleys that are hyperbolas.",
        paths={
            "λ = −2: down": ([-down[0], down[0]], [-down[1], down[1]]),
            "λ = 2: up": ([-up[0], up[0]], [-up[1], up[1]]),
        },
        points={"critical point": (0, 0)}, xlabel="w₁", ylabel="w₂",
    )  # fmt: skip
    return Finding(
        name="course-saddle",
        question="The gradient is zero: a minimum, or a saddle?",
        verdict=f"The origin is a {point.kind}: eigenvalues {values[0]:g} and {values[1]:g}; half "
        f"a step along the first one's eigenvector the loss is {lower:.4f}, below {point.loss:g}.",
        sections=[Section("A saddle between two valleys", figures=[figure])],
        numbers={"eigenvalues": values, "loss": point.loss, "loss_along_the_lowest": lower},
        expected="eigenvalues −2 and 2 at the origin, and the loss falls along the first",
        holds=bool(holds),
    )


def saddle_escape(effort: Effort = "quick") -> Finding:
    """On a network's saddle SGD stays; a step along the lowest eigenvector leads out."""
    if effort == "quick":
        from sklearn.datasets import load_iris  # noqa: PLC0415 - slow to import

        iris: Any = load_iris()
        x, y = iris.data, iris.target
        x = (x - x.mean(0)) / x.std(0)
        rows = {"x": x.astype(np.float32), "y": y.astype(np.int32)}
        inputs, width, outputs, steps = 4, 1, 3, 1000
    else:
        rows = data.load("digits").train
        inputs, width, outputs, steps = 64, 3, 10, 10_000
    narrow = classifier([inputs, width, outputs], optimizers.adam(1e-2), activation="tanh", l2=1e-3)
    state = training.fit(narrow, rows, sampling.epochs(50), key=key(0), steps=1000).state
    own = training.full_loss(narrow, state, rows)
    bottom = landscape.descend(own, state.params, float64=True, max_steps=5000)
    below = landscape.analyze(own, bottom.params, float64=True)
    saddle = staircase.add_dead_unit(below.params)
    known = staircase.predict_dead_unit(below, rows, 1e-3)

    widths = [inputs, width + 1, outputs]
    wide = classifier(widths, optimizers.sgd(0.1), activation="tanh", l2=1e-3)
    start = wide.init(key(0)).replace(params=jax.tree.map(jnp.float32, saddle))
    loss = training.full_loss(wide, start, rows)
    point = landscape.analyze(loss, saddle, float64=True)
    out = landscape.escape(loss, point.params, direction=point.descent, float64=True, max_steps=0)
    beside = start.replace(params=jax.tree.map(jnp.float32, out.params))
    curves = {
        name: training.fit(
            wide, rows, sampling.full(), key=key(0), steps=steps, state=at
        ).history["loss"]
        for name, at in {"from the saddle": start, "from beside it": beside}.items()
    }  # fmt: skip
    left, gone = (float(curve[-1]) for curve in curves.values())
    holds = (
        point.kind == "saddle"
        and point.index == known.index
        and abs(point.eigenvalues[0] - known.lowest) < 1e-8
        and abs(left - point.loss) < 1e-3 * point.loss
        and gone < 0.9 * point.loss
    )
    figure = pictures.curves(
        curves,
        "Loss against update: from the saddle it is a level line, from a point along the lowest "
        "eigenvector it falls at once.",
        xlabel="update of gradient descent", ylabel="loss", xscale="symlog",
    )  # fmt: skip
    return Finding(
        name="saddle-escape",
        question="Training has stopped at a saddle: what now?",
        verdict=f"A network with a dead unit is a saddle of index {point.index} of {point.size}, "
        f"lowest eigenvalue {point.eigenvalues[0]:.4f}. {steps:,} steps of gradient descent take "
        f"the loss from {point.loss:.4f} to {left:.4f}; begun {abs(out.distance):.2g} away, along "
        f"the lowest eigenvector, to {gone:.4f}.",
        sections=[Section("Staying and leaving", figures=[figure])],
        numbers={"loss": point.loss, "index": point.index, "predicted_index": known.index,
                 "lowest": float(point.eigenvalues[0]), "predicted_lowest": known.lowest,
                 "from_the_saddle": left, "from_beside_it": gone, "distance": out.distance},
        expected=f"index {known.index} and lowest eigenvalue {known.lowest:.4f} by the closed "
        "form; on the saddle gradient descent stays (to 0.1 %), from beside it the loss falls by a "
        "tenth or more",
        holds=bool(holds),
    )  # fmt: skip


def minimum_ratio(effort: Effort = "quick") -> Finding:
    """The share of positive eigenvalues where trainings of several networks stop."""
    digits = data.load("digits").train
    seeds, steps, width = (4, 600, 2) if effort == "quick" else (20, 6000, 8)
    algorithm = classifier([64, width, 10], optimizers.adam(1e-2), activation="tanh")
    kept = training.snapshots()
    run = training.fit_many(
        algorithm, digits, sampling.epochs(64), keys=jax.random.split(key(0), seeds), steps=steps,
        chunk=steps // 3, hooks=[kept],
    )  # fmt: skip
    loss = training.full_loss(algorithm, jax.tree.map(lambda leaf: leaf[0], run.state), digits)
    seen = landscape.follow(loss, kept.params, axes=2)
    ends = seen.minimum_ratio[-1]
    holds = (ends < 1).all()

    def draw(ax):
        for i, step in enumerate(kept.steps):
            ax.plot(seen.minimum_ratio[i], seen.loss[i], "o", markersize=5, label=f"step {step:,}")
        ax.set(xlabel="minimum ratio", ylabel="loss", xlim=(0, 1.02), yscale="log")
        drawing.legend(ax)

    alt = "Loss against minimum ratio at three times of training: no point lies at ratio 1."
    return Finding(
        name="minimum-ratio",
        question="Are the points at which training ends minima?",
        verdict=f"At the ends of {seeds} trainings {ends.min():.0%} to {ends.max():.0%} of the "
        f"{seen.eigenvalues.shape[-1]} eigenvalues are positive beyond rounding"
        + (": none is a minimum." if holds else "."),
        sections=[Section("Loss and minimum ratio", figures=[Figure(draw, alt)])],
        numbers={"minimum_ratio": ends.tolist(), "loss": seen.loss[-1].tolist(),
                 "gradient_norm": seen.gradient_norm[-1].tolist()},
        expected="the ratio stays below 1: a trained network still has directions that go down",
        holds=bool(holds),
    )  # fmt: skip


def gradient_flat(effort: Effort = "quick") -> Finding:
    """Searches for critical points that stall where the gradient lies in the Hessian's kernel."""
    networks, points = (5, 4) if effort == "quick" else (20, 10)
    rows = data.load("linear_teacher", n=200, inputs=6, outputs=4, noise=0.5, validation=0, test=0)
    rows = {"x": rows.train["x"].astype(float), "y": rows.train["y"].argmax(axis=1)}
    with jax.enable_x64(True):
        algorithm = classifier([6, 5, 4], optimizers.adam(3e-3), activation="tanh", l2=3e-3)
        kept = training.snapshots()
        run = training.fit_many(
            algorithm, rows, sampling.full(), keys=jax.random.split(jax.random.key(0), networks),
            steps=1000, chunk=1000 // points, hooks=[kept],
        )  # fmt: skip
        loss = training.full_loss(algorithm, jax.tree.map(lambda leaf: leaf[0], run.state), rows)
        starts = jax.tree.map(
            lambda leaf: leaf.reshape(-1, *leaf.shape[2:]).astype(float), kept.params
        )

        @jax.jit
        def search(loss, starts):
            """By `lax.map`, not `vmap`: each search ends when it may by itself."""

            def one(start):
                return landscape.find_critical_point(
                    loss, start, gradient_tolerance=1e-9, max_steps=500
                )

            return jax.lax.map(one, starts)

        found = jax.device_get(search(loss, starts))
        before, after = (landscape.follow(loss, points) for points in (starts, found.params))
    converged, everywhere = found.converged, np.ones_like(found.converged)
    missed, flat = int((~converged).sum()), int(found.flat.sum())

    def correlation(followed, chosen):
        found: Any = spearmanr(followed.loss[chosen], followed.index[chosen])
        return float(found.statistic)

    ranks = {
        "converged": correlation(after, converged),
        "all ends": correlation(after, everywhere),
        "starts": correlation(before, everywhere),
    }
    holds = missed > len(converged) / 3 and flat >= 0.98 * missed

    def flatness(ax):
        for chosen, marker, label in ((converged, "o", "converged"), (~converged, "x", "stalled")):
            ax.plot(found.gradient_norm[chosen], found.flatness[chosen], marker, markersize=5,
                    label=f"{label} ({chosen.sum()})")  # fmt: skip
        ax.axhline(1e-2, color=drawing.GREY, linewidth=0.8, linestyle="--")
        ax.set(xscale="log", yscale="log", xlabel="‖g‖ at the end", ylabel="‖Hg‖ / (‖H‖ ‖g‖)")
        drawing.legend(ax)

    def index(ax):
        for chosen, marker, label in ((converged, "o", "converged"), (~converged, "x", "stalled")):
            ax.plot(after.loss[chosen], after.index[chosen], marker, markersize=5, label=label)
        ax.plot(before.loss, before.index, ".", color=drawing.GREY, label="starts", zorder=0)
        size = after.eigenvalues.shape[1]
        ax.set(xlabel="objective (loss + L2)", ylabel=f"index, of {size}")
        drawing.legend(ax)

    figures = [
        Figure(flatness, "Where a search stalled its gradient is almost in the Hessian's kernel."),
        Figure(index, "The index rises with the loss, at critical points and elsewhere alike."),
    ]
    return Finding(
        name="gradient-flat",
        question="Why do searches for critical points stall?",
        verdict=f"{missed} of {len(converged)} searches miss ‖g‖ < 1e-9, and {flat} of these have "
        "‖Hg‖/(‖H‖‖g‖) < 1e-2. The rank correlation of index and loss is "
        + ", ".join(f"{rank:.3f} ({name})" for name, rank in ranks.items())
        + ": alone it does not show that points are critical.",
        sections=[Section("Ends of searches", figures=figures)],
        numbers={"searches": len(converged), "missed": missed, "flat": flat, "spearman": ranks},
        expected="a search on ‖g‖² stalls, in more than a third of the cases, where the gradient "
        "lies in the kernel of the Hessian: 98 % or more of those that stall",
        holds=bool(holds),
    )


def spectrum_outliers(effort: Effort = "quick") -> Finding:
    """A bulk of eigenvalues near zero and, above it, one fewer than there are classes."""
    digits = data.load("digits").everything()
    steps, classes, shown = [0, 100, 300], 10, 20
    steps += [1000] if effort == "full" else []
    algorithm = classifier([64, 32, classes], optimizers.sgd(0.5), activation="tanh")
    start, kept = algorithm.init(key(0)), training.snapshots()
    run = training.fit(
        algorithm, digits, sampling.epochs(64), key=key(0), steps=steps[-1], chunk=100, state=start,
        hooks=[kept],
    )  # fmt: skip
    chosen = np.array([kept.steps.index(step) for step in steps[1:]])
    points = jax.tree.map(lambda a, b: np.stack([a, *b[chosen]]), start.params, kept.params)
    loss = training.full_loss(algorithm, run.state, digits)
    values, leading = [], np.zeros((len(steps), shown + 1))
    for i in range(len(steps)):
        params = jax.tree.map(lambda leaf, i=i: leaf[i], points)
        pairs = landscape.eigenpairs(landscape.hessian(loss, params), top=shown + 1)
        values.append(float(loss(params)))
        leading[i] = pairs.values[::-1]
    ratios = leading[:, :-1] / leading[:, 1:]
    after = (ratios.argmax(1) + 1).tolist()
    early = steps.index(300)
    holds = all(place == classes - 1 for place in after[1 : early + 1])
    ranks, tops = np.arange(1, shown + 1), leading[:, :shown]
    names = [f"step {step:,}" for step in steps]
    figures = [
        pictures.curves(
            {name: (ranks, top) for name, top in zip(names, tops, strict=True)},
            "The leading eigenvalues by rank: they fall most from the ninth to the tenth.",
            style="o-", yscale="log", xlabel="rank, from the largest", ylabel="eigenvalue",
        ),
        pictures.curves(
            {name: (ranks + 0.5, gaps) for name, gaps in zip(names, ratios, strict=True)},
            "The ratio of neighbours by rank: highest between the ninth and the tenth.",
            style="o-", xlabel="between this rank and the next", ylabel="ratio of neighbours",
        ),
    ]  # fmt: skip
    rows = [
        (name, f"{value:.4f}", f"{top[0]:.3f}", f"{top[8]:.3f}", f"{top[9]:.3f}", f"{gaps[8]:.2f}",
         f"{place} (ratio {gaps.max():.2f})")
        for name, value, top, gaps, place in zip(
            names, values, leading, ratios, after, strict=True
        )
    ]  # fmt: skip
    columns = ("", "loss", "λ₁", "λ₉", "λ₁₀", "λ₉/λ₁₀", "largest gap after")
    return Finding(
        name="spectrum-outliers",
        question="How many directions of a loss surface are steep?",
        verdict="The largest gap among the leading eigenvalues is after the "
        + ", ".join(f"{place}th" for place in after)
        + f" at steps {', '.join(f'{step:,}' for step in steps)}; λ₉/λ₁₀ is "
        + ", ".join(f"{gaps[8]:.2f}" for gaps in ratios)
        + ".",
        sections=[Section("Outliers above a bulk", figures=figures, table=Table(columns, rows))],
        numbers={"steps": steps, "gap_after": after, "ratio_9_10": ratios[:, 8].tolist()},
        expected="about as many outliers as classes: the largest gap, at steps 100 and 300, after "
        "the ninth, one fewer than the ten classes",
        holds=bool(holds),
    )


def saddle_free_newton(effort: Effort = "quick") -> Finding:
    """On the plateau of an auto-encoder begun near zero: saddle-free Newton and Adam."""
    pixels = data.load("digits").train["x"]
    if effort == "quick":
        widths, dimension, target, steps = [64, 16, 4, 16, 64], 16, 0.04, (60, 2000)
        rates, scale, pixels = [3e-3], 0.03, pixels[:300]
    else:
        widths, dimension, target, steps = [64, 32, 8, 32, 64], 32, 0.0125, (120, 6000)
        rates, scale = [1e-3, 3e-3, 1e-2], 0.03
    rows, model = {"x": pixels, "y": pixels}, nn.mlp(widths, activation="tanh")
    races = {
        # a product costs 1.3 gradients, a loss a third; benchmarks/curvature.py measures the first
        "saddle-free Newton": (
            saddles.saddle_free_newton(dimension), steps[0], 2 + 1.3 * dimension + 9 / 3
        ),
        **{f"Adam, η = {rate:g}": (optimizers.adam(rate), steps[1], 1.0) for rate in rates},
    }  # fmt: skip
    curves, reached, work = {}, {}, {}
    for name, (optimizer, count, cost) in races.items():
        algorithm = training.supervised(model, losses.mse, optimizer)
        state = algorithm.init(key(0))
        params = jax.tree.map(lambda leaf: scale * leaf, state.params)
        last = f"dense_{len(widths) - 2}"
        params[last]["bias"] = jnp.asarray(pixels.mean(axis=0))
        state = state.replace(params=params)
        run = training.fit(algorithm, rows, sampling.full(), key=key(0), steps=count, state=state)
        values = run.history["loss"]
        there = values <= target
        reached[name] = int(there.argmax()) if there.any() else None  # the loss before the step
        work[name] = None if reached[name] is None else reached[name] * cost
        curves[name] = values
    newton, *adam = reached.values()
    holds = newton is not None and all(other is None or 10 * newton < other for other in adam)
    figures = [
        pictures.curves(
            curves, "Loss against step: saddle-free Newton leaves the plateau at once, Adam late.",
            xlabel="step", ylabel="loss", xscale="symlog",
        ),
        pictures.curves(
            {name: (np.arange(len(v)) * races[name][2], v) for name, v in curves.items()},
            "Loss against the work in gradients: the curves lie close to each other.",
            xlabel="work, in gradients", ylabel="loss", xscale="symlog",
        ),
    ]  # fmt: skip
    told = ", ".join(
        f"{name} " + (f"{n:,} ({work[name]:,.0f} gradients' work)" if n is not None else "never")
        for name, n in reached.items()
    )
    return Finding(
        name="saddle-free-newton",
        question="Does the Hessian help on a plateau?",
        verdict=f"Steps to a loss of {target:g}: {told}.",
        sections=[Section("Steps, and work", figures=figures)],
        numbers={"steps": reached, "work": work, "target": target,
                 "ends": {name: float(v[-1]) for name, v in curves.items()}},
        expected="saddle-free Newton takes less than a tenth of Adam's steps to leave a plateau; "
        "the work is another matter",
        holds=bool(holds),
    )  # fmt: skip
