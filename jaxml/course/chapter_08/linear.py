"""Linear auto-encoders, all of which is known: subspace, critical points, the best denoiser."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.linalg import subspace_angles

from jaxml import data, generative, landscape, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort
from jaxml.data import linear_autoencoder
from jaxml.training import optimizers


def _pixels(split) -> np.ndarray:
    return split["x"].reshape(len(split["x"]), -1)


def principal_subspace(effort: Effort = "quick") -> Finding:
    """A linear auto-encoder, descended to its minimum, and principal components."""
    from sklearn.decomposition import PCA  # noqa: PLC0415 - slow to import

    pixels = _pixels(data.load("digits").train)
    inputs, code = (16, 3) if effort == "quick" else (64, 8)
    if effort == "quick":  # the pooled digits: 4 by 4
        pooled = nn.mean_pool(jnp.asarray(pixels).reshape(-1, 8, 8, 1))
        pixels = np.asarray(pooled).reshape(len(pixels), -1)
    centred = (pixels - pixels.mean(0)).astype(np.float32)
    covariance = jnp.asarray(centred.T.astype(float) @ centred / len(centred))
    start = {
        "encoder": 0.3 * np.random.default_rng(0).normal(size=(code, inputs)),
        "decoder": 0.3 * np.random.default_rng(1).normal(size=(inputs, code)),
    }
    with jax.enable_x64(True):
        loss = Partial(linear_autoencoder.loss, covariance=np.asarray(covariance, float))
        found = landscape.descend(loss, start, float64=True, max_steps=5000)
    pca: Any = PCA(code).fit(centred.astype(float))
    angles = np.rad2deg(subspace_angles(np.asarray(found.params["decoder"]), pca.components_.T))
    reconstructed = pca.inverse_transform(pca.transform(centred))
    best = 0.5 * float(((centred - reconstructed) ** 2).sum(1).mean())
    gap = float(found.loss / best - 1)
    holds = angles.max() < 0.1 and abs(gap) < 1e-4
    shape = (4, 4) if effort == "quick" else (8, 8)
    own = np.linalg.qr(np.asarray(found.params["decoder"]))[0].T
    turned = own @ pca.components_.T
    rows = {
        "auto-encoder": [_unit(v.reshape(shape)) for v in np.asarray(found.params["decoder"]).T],
        "its span, turned": [_unit((turned.T @ own)[i].reshape(shape)) for i in range(code)],
        "PCA": [_unit(v.reshape(shape)) for v in pca.components_],
    }
    figure = pictures.images(
        rows, "Weights of the decoder as images; those of its span turned look like the principal "
        "components below them.",
    )  # fmt: skip
    return Finding(
        name="principal-subspace",
        question="What does a linear auto-encoder learn?",
        verdict=f"The largest angle between its span and that of the first {code} principal "
        f"components is {angles.max():.1e} degrees; its error is {found.loss:.6f}, that of PCA "
        f"{best:.6f}.",
        sections=[Section("Two bases of one space", figures=[figure])],
        numbers={"largest_angle": float(angles.max()), "loss": float(found.loss), "pca": best},
        expected="at its minimum it spans the subspace of PCA (angles below 0.1°, loss to 1e-4)",
        holds=bool(holds),
    )


def _unit(x: np.ndarray) -> np.ndarray:
    return (x - x.min()) / (x.max() - x.min())


def all_critical_points(effort: Effort = "quick") -> Finding:
    """Every critical point of a linear auto-encoder, in closed form and as measured."""
    inputs, hidden = (5, 2) if effort == "quick" else (10, 3)
    # a geometric series: no two subsets have the same sum, so that the loss names the subset
    covariance, known = linear_autoencoder.closed_form([0.7**i for i in range(inputs)], hidden)
    with jax.enable_x64(True):
        loss = Partial(linear_autoencoder.loss, covariance=jnp.array(covariance))
        measured = [landscape.analyze(loss, point.params) for point in known]
    agree = sum(
        m.index == k.index and m.counts.within == k.nullity and abs(m.loss - k.loss) < 1e-14
        for k, m in zip(known, measured, strict=True)
    )
    minima = sum(m.index == 0 for m in measured)
    saddles = sum(m.kind == "saddle" for m in measured)
    slope = max(m.gradient_norm for m in measured)

    def draw(ax):
        ax.plot([k.loss for k in known], [k.index for k in known], "o", markerfacecolor="none",
                markersize=9, label="closed form")  # fmt: skip
        for r in range(hidden + 1):
            points = [m for k, m in zip(known, measured, strict=True) if len(k.subset) == r]
            label = f"measured, rank {r} ({len(points)})"
            ax.plot([p.loss for p in points], [p.index for p in points], ".", label=label)
        ax.set(xlabel="loss", ylabel=f"index: negative eigenvalues of {measured[0].size}")
        drawing.legend(ax)

    alt = "Index against loss: each measured point lies in the ring of the closed form."
    rows = []
    for r in range(hidden + 1):
        chosen = [k for k in known if len(k.subset) == r]
        indices = [k.index for k in chosen]
        rows.append((f"{r}", f"{len(chosen)}", f"{min(indices)} to {max(indices)}",
                     f"{chosen[0].nullity}"))  # fmt: skip
    table = Table(("kept", "subsets", "index", "zero eigenvalues"), rows)
    return Finding(
        name="autoencoder-critical-points",
        question="Has a linear auto-encoder bad local minima?",
        verdict=f"{agree} of {len(known)} critical points agree with the closed form in loss, "
        f"index and nullity: {saddles} saddles and {minima} minimum; gradients at most "
        f"{slope:.0e}.",
        sections=[Section("Index and loss", figures=[Figure(draw, alt)], table=table)],
        numbers={"agree": agree, "known": len(known), "saddles": saddles, "minima": minima,
                 "largest_gradient": slope},
        expected="one minimum, all else saddles whose index and nullity are known",
        holds=agree == len(known) and minima == 1 and saddles == len(known) - 1,
    )  # fmt: skip


def saddle_to_saddle(effort: Effort = "quick") -> Finding:
    """From a small start, the loss rests at one known saddle after another."""
    eigenvalues = [1.0, 0.5, 0.2, 0.05] if effort == "quick" else [0.55**i for i in range(10)]
    hidden = len(eigenvalues) - 1
    covariance, _ = linear_autoencoder.closed_form(eigenvalues, hidden)
    steps, rate = (4000, 0.2) if effort == "quick" else (60_000, 0.2)
    random = np.random.default_rng(0)
    start = {
        "encoder": jnp.asarray(1e-4 * random.normal(size=(hidden, len(eigenvalues)))),
        "decoder": jnp.asarray(1e-4 * random.normal(size=(len(eigenvalues), hidden))),
    }
    loss = Partial(linear_autoencoder.loss, covariance=jnp.asarray(covariance, jnp.float32))

    @jax.jit
    def descend(loss, params):
        def step(params, _):
            value, slope = jax.value_and_grad(loss)(params)
            return jax.tree.map(lambda p, g: p - rate * g, params, slope), value

        return jax.lax.scan(step, params, length=steps)[1]

    values = np.asarray(descend(loss, start))
    # the saddles on the way keep the first r eigenvectors: half the sum of the others
    levels = [0.5 * sum(eigenvalues[r:]) for r in range(hidden)]
    # at a saddle: within 5 % of the step from it to the next one, half an eigenvalue
    near = [0.05 * 0.5 * eigenvalues[r] for r in range(hidden)]
    rests = [
        int((abs(values - level) < reach).sum()) for level, reach in zip(levels, near, strict=True)
    ]
    holds = min(rests) > 10 and values[-1] < levels[-1]

    def draw(ax):
        ax.plot(np.arange(1, steps + 1), values)
        for r, level in enumerate(levels):
            ax.axhline(level, linestyle=":", linewidth=1, color=f"C{r + 1}",
                       label=f"saddle of rank {r}")  # fmt: skip
        ax.set(xlabel="update", ylabel="loss", xscale="log")
        drawing.legend(ax)

    alt = "The loss falls in stairs; each step lies on the dotted line of a saddle."
    return Finding(
        name="saddle-to-saddle",
        question="Why does a loss fall in stairs?",
        verdict=f"From a small start the loss is at the {hidden} saddles' losses, "
        f"{', '.join(f'{v:.3f}' for v in levels)} (to 5 % of the step to the next), for "
        f"{', '.join(f'{n:,}' for n in rests)} updates each, and ends at {values[-1]:.3f}.",
        sections=[Section("The stairs", figures=[Figure(draw, alt)])],
        numbers={"levels": levels, "updates_near": rests, "end": float(values[-1])},
        expected="training rests at the saddles that keep the first 0, 1, 2, ... components (more "
        "than ten updates at each) and leaves them all",
        holds=bool(holds),
    )  # fmt: skip


def search_bias(effort: Effort = "quick") -> Finding:
    """Searches where all critical points are known: what a strict end finds, and which of them."""
    inputs, hidden, searches = (6, 2, 60) if effort == "quick" else (10, 3, 300)
    covariance, known = linear_autoencoder.closed_form([0.7**i for i in range(inputs)], hidden)
    levels = np.array([point.loss for point in known])
    indices = np.array([point.index for point in known])

    def nearest(values):
        return abs(np.asarray(values)[:, None] - levels).argmin(axis=1)

    def random_starts(scale):
        random = np.random.default_rng(0)
        return {
            "encoder": scale * random.normal(size=(searches, hidden, inputs)),
            "decoder": scale * random.normal(size=(searches, inputs, hidden)),
        }

    drawn, paths, rows, wrong = {}, {}, [], []
    with jax.enable_x64(True):
        loss = Partial(linear_autoencoder.loss, covariance=jnp.array(covariance))

        @jax.jit
        def search(starts):
            """By `lax.map`, not `vmap`: each search ends when it may by itself."""

            def one(start):
                return landscape.find_critical_point(
                    loss, start, gradient_tolerance=1e-13, max_steps=1000
                )

            return jax.lax.map(one, starts)

        whole, halved = "1/√hidden", "half as large"
        for name, scale in ((whole, hidden**-0.5), (halved, hidden**-0.5 / 2)):
            found = jax.device_get(search(random_starts(scale)))
            reached = found.gradient_norm**2 < 1e-20
            which = nearest(found.loss[reached])
            true = 0
            for i, k in zip(np.flatnonzero(reached), which, strict=True):
                end = jax.tree.map(lambda leaf, i=i: leaf[i], found.params)
                point = landscape.analyze(loss, end)
                true += (
                    abs(point.loss - levels[k]) < 1e-12
                    and point.index == indices[k]
                    and point.counts.within == known[k].nullity
                )
            drawn[name] = which
            rows.append((name, int(reached.sum()), int(true), len(set(which.tolist())),
                         float(indices[which].mean())))  # fmt: skip
            paths[name] = found.path["loss"][reached], found.path["gradient_norm"][reached]
    losses_on, norms = paths[whole]
    for squared in (1e-2, 1e-4, 1e-6, 1e-8):
        first = (norms**2 < squared).argmax(axis=1)
        other = nearest(losses_on[np.arange(len(first)), first]) != drawn[whole]
        wrong.append((squared, int(other.sum())))
    enough = all(r >= 0.98 * searches and t >= r - 1 for _, r, t, _, _ in rows)
    apart = rows[0][4] < indices.mean() - 1 and rows[1][4] > rows[0][4] + 1
    holds = enough and apart and wrong[0][1] > wrong[-1][1] == 0

    def surface(ax):
        ax.plot(levels, indices, "o", markerfacecolor="none", color=drawing.GREY,
                label=f"all {len(known)}")  # fmt: skip
        which, times = np.unique(drawn[whole], return_counts=True)
        ax.scatter(levels[which], indices[which], s=8 * times, color=drawing.RED, alpha=0.6,
                   linewidth=0, label=f"found ({len(which)}), area: how often")  # fmt: skip
        ax.set(xlabel="loss", ylabel="index")
        drawing.legend(ax)

    def histogram(ax):
        bins = np.arange(-0.5, indices.max() + 2, 2)
        ax.hist(indices, bins, density=True, color=drawing.GREY, alpha=0.5, label="all")
        for (name, which), color in zip(drawn.items(), (drawing.RED, drawing.BLUE), strict=True):
            ax.hist(indices[which], bins, density=True, histtype="step", linewidth=1.8,
                    color=color, label=f"from starts {name}")  # fmt: skip
        ax.set(xlabel="index", ylabel="density", ylim=(0, 1.4 * ax.get_ylim()[1]))
        drawing.legend(ax)

    figures = [
        Figure(surface, "Known critical points by loss and index; those found are of low index."),
        Figure(histogram, "Indices of what was found from large and from half as large starts, "
               "which are higher."),
    ]  # fmt: skip
    shown = [(n, f"{r} of {searches}", f"{t} of {r}", f"{d} of {len(known)}", f"{m:.1f}")
             for n, r, t, d, m in rows]  # fmt: skip
    columns = ("starts", "‖g‖² < 1e-20", "loss and index true", "different ones", "mean index")
    return Finding(
        name="search-bias",
        question="Do searches find all critical points alike?",
        verdict=f"{rows[0][1]} of {searches} searches reach ‖g‖² < 1e-20, {rows[0][2]} at the loss "
        f"and index of a known point, at {rows[0][3]} of the {len(known)}; their mean index is "
        f"{rows[0][4]:.1f}, from smaller starts {rows[1][4]:.1f}, of all {indices.mean():.1f}. "
        f"Stopped at ‖g‖² < {wrong[1][0]:.0e}, {wrong[1][1]} would be taken for another point.",
        sections=[Section("What is found", figures=figures, table=Table(columns, shown))],
        numbers={"searches": [row[1:] for row in rows], "wrong_if_stopped": wrong,
                 "mean_index_of_all": float(indices.mean()), "known": len(known)},
        expected="98 % or more end, at true points and no wrong one where they end strictly; from "
        "large starts at lower indices than the mean of all, from small ones at higher",
        holds=bool(holds),
    )  # fmt: skip


def linear_denoiser(effort: Effort = "quick") -> Finding:
    """Linear auto-encoders of full width trained on noisy digits, and the filter in closed form."""
    quick = effort == "quick"
    pixels = _pixels(data.load("digits").train).astype(float)
    if quick:  # the pooled digits: 4 by 4
        pixels = pixels.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    clean = pixels[: 100 if quick else 300]
    clean = clean - clean.mean(0)
    size = clean.shape[1]
    covariance = clean.T @ clean / len(clean)
    values, vectors = np.linalg.eigh(covariance)
    levels = (0.2, 0.5) if quick else (0.1, 0.3, 1.0)
    nets = nn.linear(size, size, bias=False), nn.linear(size, size, bias=False)
    algorithm = generative.autoencoder(*nets, optimizers.adam(1e-2))
    state = algorithm.init(key(0))
    start = jax.tree.map(lambda leaf: np.asarray(leaf, float), state.params)
    points = generative.cubature(size)
    kept, off, errors = {}, {}, {}
    for level in levels:
        # all the noise at once: points with its mean and covariance
        noisy = (clean[:, None] + level * points).reshape(-1, size)
        rows = {"x": noisy, "y": np.repeat(clean, len(points), 0)}
        with jax.enable_x64(True):
            loss = training.full_loss(algorithm, state, rows)
            found = landscape.descend(loss, start, gradient_tolerance=1e-9, max_steps=5000)
        whole = _product(found.params)
        best = covariance @ np.linalg.inv(covariance + level**2 * np.eye(size))
        off[level] = float(abs(whole - best).max())
        kept[level] = np.diag(vectors.T @ whole @ vectors)
        # the mean squared error of a pixel at the optimum: λσ²/(λ + σ²) in each direction
        errors[level] = float(found.loss), float((values * level**2 / (values + level**2)).mean())
    worst = max(off.values())
    gap = max(abs(found / best - 1) for found, best in errors.values())
    holds = worst < 1e-5 and gap < 1e-8

    def draw(ax):
        span = np.geomspace(max(values[0], 1e-5), values[-1], 200)
        for color, level in zip(drawing.COLORS, levels, strict=False):
            ax.plot(span, span / (span + level**2), color=color, linewidth=1)
            ax.plot(np.maximum(values, 1e-5), kept[level], "o", color=color, markersize=4,
                    label=f"σ = {level:g}")  # fmt: skip
        ax.set(xlabel="λ, variance of the clean digits", ylabel="share that is kept", xscale="log")
        drawing.legend(ax)

    alt = "What trained denoisers keep in each principal direction lies on the curves λ/(λ + σ²)."
    return Finding(
        name="linear-denoiser",
        question="What does a linear network do against noise?",
        verdict=f"Trained at σ = {', '.join(f'{level:g}' for level in levels)}, the map of "
        f"{size} to {size} pixels is C(C + σ²I)⁻¹ to {worst:.0e}: of each principal component it "
        "keeps the share λ/(λ + σ²). The error is that of this filter, "
        f"{', '.join(f'{best:.4f}' for _, best in errors.values())}, to {gap:.0e}.",
        text=[
            "C is the covariance of the clean digits, λ its eigenvalues. Two linear maps follow "
            "each other, trained from a random start on the squared error to the clean image.",
        ],
        sections=[Section("What is kept of each component", figures=[Figure(draw, alt)])],
        numbers={"largest_difference": off, "errors": errors},
        expected="the trained map is C(C + σ²I)⁻¹ to 1e-5 in every entry, its error that of the "
        "filter to 1e-8",
        holds=bool(holds),
    )


def _product(params: Any) -> np.ndarray:
    kernels = [np.asarray(params[name]["dense_0"]["kernel"]) for name in ("encoder", "decoder")]
    return kernels[0] @ kernels[1]
