"""The linear variational auto-encoder, all of which is known in closed form."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from scipy import stats
from scipy.linalg import subspace_angles

from jaxml import data, generative, landscape, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.training import optimizers, sampling

LEAST = 0.05
"""Standard deviation of the pixels that are kept: those at the edge hardly vary."""


def linear_vae(effort: Effort = "quick") -> Finding:
    """A linear VAE trained to its optimum beside probabilistic principal component analysis."""
    codes, steps = (2, 300) if effort == "quick" else (5, 2000)
    x, values, vectors = _digits(effort)
    size = x.shape[1]
    # probabilistic PCA: the variance is the mean of the eigenvalues left out
    variance = float(values[codes:].mean())
    principal = vectors[:, :codes] * np.sqrt(values[:codes] - variance)
    covariance = principal @ principal.T + variance * np.eye(size)
    normal: Any = stats.multivariate_normal
    by_scipy = float(normal(np.zeros(size), covariance).logpdf(x).mean())
    logs = np.log(values[:codes]).sum() + (size - codes) * np.log(variance)
    exact = float(-0.5 * (size * np.log(2 * np.pi) + logs + size))

    nets = *_nets(size, codes), generative.gaussian()
    algorithm = generative.vae(*nets, optimizers.adam(1e-2))
    rows = {"x": x.astype(np.float32)}
    run = training.fit(algorithm, rows, sampling.full(), key=key(0), steps=steps)
    sampled = run.history["reconstruction"] - run.history["kl"]
    end = _bottom(algorithm, run.state, x)
    bound = -float(end.loss)
    weights = _kernel(end.params["decoder"])
    angle = float(subspace_angles(weights.T, principal).max())
    gram = weights @ weights.T
    turned = float(abs(gram - np.diag(np.diag(gram))).max() / gram.max())
    found = float(np.exp(end.params["likelihood"]["log_variance"]))

    levels = _levels(values, codes)[1 : 2 if effort == "quick" else None]
    rows_of, posteriors = [], {}
    for level in levels:
        fixed = generative.vae(*nets[:2], generative.gaussian(level**0.5), optimizers.adam(1e-2))
        start = run.state.replace(params=run.state.params | {"likelihood": {}})
        params = _bottom(fixed, start, x).params
        of_codes = np.sort(np.exp(_bias(params["encoder"])[codes:]))
        posteriors[level] = of_codes
        active = int((of_codes < 0.99).sum())
        expected = np.sort(np.minimum(level / values[:codes], 1))
        rows_of.append((level, active, int((values[:codes] > level).sum()),
                        float(abs(of_codes - expected).max())))  # fmt: skip
    off = max(row[3] for row in rows_of)
    counted = all(row[1] == row[2] for row in rows_of)
    gap = exact - bound
    holds = abs(gap) < 1e-6 and angle < 1e-5 and turned < 1e-4
    holds = holds and abs(found / variance - 1) < 1e-6 and counted and off < 1e-4
    holds = holds and abs(exact - by_scipy) < 1e-10

    def draw_posteriors(ax):
        span = np.geomspace(levels[0] / 1.3, levels[-1] * 1.3, 200)
        for i, value in enumerate(values[:codes]):
            ax.plot(span, np.minimum(span / value, 1), color=drawing.GREY, linewidth=1,
                    label="σ²/λ, at most 1" if i == 0 else None)  # fmt: skip
        for i, (level, of_codes) in enumerate(posteriors.items()):
            ax.plot([level] * codes, of_codes, "o", color=drawing.BLUE, markersize=5,
                    label="measured" if i == 0 else None)  # fmt: skip
        ax.set(xlabel="σ² of the decoder, kept fixed", ylabel="posterior variance of each code",
               xscale="log")  # fmt: skip
        drawing.legend(ax)

    curve = pictures.curves(
        {"bound, one code drawn": sampled, "log-likelihood of PCA": np.full(steps, exact)},
        "The bound rises in training until it wavers just below the line of the exact "
        "log-likelihood.",
        xlabel="step", ylabel="nats an image", ylim=(exact - 30, exact + 4),
        style={"log-likelihood of PCA": "--"},
    )  # fmt: skip
    return Finding(
        name="linear-vae",
        question="How far below the likelihood is the bound that a VAE maximises?",
        verdict=f"At its optimum a linear VAE with {codes} codes on {len(x):,} digits reaches "
        f"{bound:.6f} nats an image; the exact log-likelihood of probabilistic PCA is "
        f"{exact:.6f}, {abs(gap):.0e} apart. Its variance differs by "
        f"{abs(found / variance - 1):.0e} of PCA's, its span by an angle of {angle:.0e}, "
        f"and its decoder's columns are orthogonal to {turned:.0e}. "
        f"At {len(levels)} fixed variances the codes in use are "
        f"{', '.join(str(row[1]) for row in rows_of)} of {codes}, as many as λ exceed σ².",
        text=[
            f"The data are the {size} pixels of the digits whose standard deviation is above "
            f"{LEAST:g}, centred. Encoder and decoder are one affine map each. The bound is exact "
            "for the network's own posterior, which is diagonal: at the optimum the codes lie "
            "along the principal components, so that the true posterior is diagonal too and "
            "nothing is lost.",
        ],
        sections=[
            Section("The bound and the likelihood", figures=[curve]),
            Section(
                "Which codes are used",
                "A code whose posterior has the variance 1 of the prior says nothing of the image.",
                figures=[Figure(
                    draw_posteriors,
                    "Posterior variances at several fixed variances of the decoder lie on the "
                    "lines σ²/λ, and on 1 where these would exceed it.",
                )],
                table=Table(
                    ["σ²", "codes in use", "λ above σ²", "posterior variance off by"],
                    [[f"{v:.4g}", f"{a}", f"{b}", f"{o:.0e}"] for v, a, b, o in rows_of],
                ),
            ),
        ],
        numbers={
            "bound": bound, "log_likelihood": exact, "by_scipy": by_scipy, "gap": gap,
            "variance": found, "variance_of_pca": variance, "angle": angle,
            "not_orthogonal": turned, "codes_in_use": [row[1] for row in rows_of],
            "posterior_variance_off": off,
        },
        expected="the bound is the exact log-likelihood to 1e-6 (closed form, and SciPy's to "
        "1e-10), σ² that of PCA to 1e-6, angles below 1e-5, and at a fixed σ² as many codes in use "
        "as λ > σ², with posterior variances σ²/λ to 1e-4",
        holds=bool(holds),
    )  # fmt: skip


def posterior_collapse(effort: Effort = "quick") -> Finding:
    """The point at which a VAE ignores its code: a saddle whose spectrum is known."""
    sizes, levels = ((2,), (0.05,)) if effort == "quick" else ((3, 5), (0.5, 0.3, 0.1))
    x, values = _digits(effort)[:2]
    rows, drawn, right = [], {}, True
    for codes in sizes:
        for level in (*levels, 1.1 * float(values[0])):
            point, loss, expected = _collapsed(x, values, codes, level)
            index = codes * int((values > level).sum())
            off = float(abs(point.eigenvalues - expected).max() / expected[-1])
            right &= point.index == index and off < 1e-10
            below = float("nan")
            if index:
                way = landscape.escape(loss, point.params, direction=point.descent, max_steps=300)
                below = float(point.loss - way.loss)
                right &= below > 0.01 and point.kind == "saddle"
            else:
                right &= point.kind == "minimum" and _no_way_down(loss, point)
            rows.append((codes, level, point.index, index, point.kind, off, below))
            drawn[codes, level] = point.eigenvalues, expected
    codes, level = sizes[-1], levels[-1]
    saddles = [row for row in rows if row[3] > 0]

    def spectrum(ax):
        found, expected = drawn[codes, level]
        ax.plot(expected, "o", markerfacecolor="none", markersize=6, color=drawing.GREY,
                label="closed form")  # fmt: skip
        ax.plot(found, ".", color=drawing.RED, markersize=3, label="measured")
        ax.set(xlabel="number", ylabel="eigenvalue", yscale="symlog")
        ax.set_yscale("symlog", linthresh=0.1)
        drawing.legend(ax)

    def staircase(ax):
        span = np.geomspace(0.01, 2 * values[0], 400)
        for color, codes in zip(drawing.COLORS, sizes, strict=False):
            index = codes * (values[:, None] > span).sum(0)
            ax.plot(span, index, color=color, linewidth=1.2, label=f"{codes} codes")
            own = [(row[1], row[2]) for row in rows if row[0] == codes]
            ax.plot(*zip(*own, strict=True), "o", color=color, markersize=6)
        ax.set(xlabel="σ² of the decoder", ylabel="index of the collapsed point", xscale="log")
        drawing.legend(ax)

    figures = [
        Figure(spectrum, "Measured eigenvalues, in order, lie in the rings of the closed form."),
        Figure(staircase, "The index falls in stairs as σ² grows, to 0 beyond the largest λ; the "
               "points measured lie on the stairs."),
    ]  # fmt: skip
    return Finding(
        name="posterior-collapse",
        question="Is a VAE that ignores its code stuck?",
        verdict=f"With {', '.join(map(str, sizes))} codes at σ² = "
        f"{', '.join(f'{level:g}' for level in levels)} the collapsed point is a saddle of index "
        f"{', '.join(str(row[2]) for row in saddles)}, as the closed form says, and the escape "
        f"gains {min(row[6] for row in saddles):.2g} to {max(row[6] for row in saddles):.2g} nats "
        f"an image. At σ² = {1.1 * values[0]:.2g}, above the largest λ, it is a "
        f"{rows[-1][4]}: no direction leads down. The {drawn[codes, level][0].size} eigenvalues "
        f"agree with their closed forms to {max(row[5] for row in rows):.0e} of the largest.",
        text=[
            "Collapsed means that the decoder has zero weights and the posterior is the prior. "
            "There the Hessian of a linear VAE falls apart into blocks [[1/σ², −λ/σ²], "
            "[−λ/σ², λ]], one for each code and each eigenvalue λ of the data's covariance: of "
            "negative determinant where λ > σ². All else is positive. So training leaves the "
            "point of itself, slowly where few λ exceed σ² by little; with a σ² above them all, "
            "which is one's own choice and not the optimiser's fault, it is the minimum.",
        ],
        sections=[
            Section(
                "The collapsed point",
                figures=figures,
                table=Table(
                    ["codes", "σ²", "index", "codes · #{λ > σ²}", "kind", "spectrum off by",
                     "nats gained"],
                    [[f"{c}", f"{v:.3g}", f"{i}", f"{e}", kind, f"{off:.0e}",
                      "none" if np.isnan(below) else f"{below:.3g}"]
                     for c, v, i, e, kind, off, below in rows],
                ),
            ),
        ],
        numbers={
            "index": [row[2] for row in rows], "expected_index": [row[3] for row in rows],
            "kinds": [row[4] for row in rows], "spectrum_off": max(row[5] for row in rows),
            "gained": [row[6] for row in saddles], "largest": float(values[0]),
        },
        expected="index codes · #{λ > σ²}, every eigenvalue as in closed form (to 1e-10 of the "
        "largest), the escape gains more than 0.01 nats, and above the largest λ a minimum without "
        "a way down",
        holds=bool(right),
    )  # fmt: skip


def _digits(effort: Effort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centred pixels, and the eigenvalues (falling) and eigenvectors of their covariance."""
    whole = data.load("digits").everything()["x"].astype(float)
    if effort == "quick":  # the pooled digits: 4 by 4
        whole = whole.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)[:400]
    kept = whole.std(0) > LEAST
    x = whole[:, kept] - whole[:, kept].mean(0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    return x, values[::-1], vectors[:, ::-1]


def _nets(size: int, codes: int) -> tuple[Any, Any]:
    return nn.linear(size, 2 * codes), nn.linear(codes, size)


def _bottom(algorithm: Any, state: Any, x: np.ndarray) -> landscape.Descent:
    """The optimum near a state, in float64."""
    with jax.enable_x64(True):
        loss = training.full_loss(algorithm, state, {"x": x})
        return landscape.descend(loss, _wide(state.params), max_steps=5000)


def _wide(params: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, float), params)


def _kernel(params: Any) -> np.ndarray:
    return np.asarray(params["dense_0"]["kernel"])


def _bias(params: Any) -> np.ndarray:
    return np.asarray(params["dense_0"]["bias"])


def _levels(values: np.ndarray, codes: int) -> list[float]:
    """Variances below the leading eigenvalues, between each two of them, and above."""
    middle = np.sqrt(values[:codes] * values[1 : codes + 1])
    return [float(v) for v in (*middle[::-1], 1.2 * values[0])]


def _collapsed(x: np.ndarray, values: np.ndarray, codes: int, level: float) -> tuple:
    """The analysis of the collapsed point, its loss, and its spectrum in closed form."""
    algorithm = generative.vae(
        *_nets(x.shape[1], codes), generative.gaussian(level**0.5), optimizers.adam(1e-2)
    )
    state = algorithm.init(key(0))
    zeros = jax.tree.map(np.zeros_like, _wide(state.params))
    with jax.enable_x64(True):
        loss = training.full_loss(algorithm, state, {"x": x})
        point = landscape.analyze(loss, zeros)
    pairs = np.stack([[np.full_like(values, 1 / level), -values / level],
                      [-values / level, values]]).transpose(2, 0, 1)  # fmt: skip
    # of each code: the pairs, the mean's bias, the log-variance's weights and bias
    of_code = [*np.linalg.eigvalsh(pairs).ravel(), 1.0, *values / 2, 0.5]
    of_bias = [1 / level] * x.shape[1]
    return point, loss, np.sort([*of_code * codes, *of_bias])


def _no_way_down(loss: Any, point: landscape.Analysis) -> bool:
    try:
        landscape.escape(loss, point.params)
    except landscape.NoDescentError:
        return True
    return False
