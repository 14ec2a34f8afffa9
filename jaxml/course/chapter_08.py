"""Chapter 8, auto-encoders: principal components, known critical points, denoising, anomalies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.linalg import subspace_angles

from jaxml import data, landscape, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.experiment import Effort, Experiment
from jaxml.data import linear_autoencoder
from jaxml.training import augmentation, losses, optimizers, sampling, schedules


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


def deep_against_pca(effort: Effort = "quick") -> Finding:
    """A deep auto-encoder and PCA with codes of two numbers."""
    from sklearn.decomposition import PCA  # noqa: PLC0415 - slow to import

    digits = data.load("digits").splits
    train, test = _pixels(digits["train"]), _pixels(digits["test"])
    steps = 1500 if effort == "quick" else 20_000
    model = nn.mlp([64, 64, 32, 2, 32, 64, 64], activation="tanh")
    algorithm = training.supervised(
        model, losses.mse, optimizers.adam(schedules.warmup_cosine(5e-3, steps))
    )
    state = training.fit(
        algorithm, {"x": train, "y": train}, sampling.epochs(128), key=key(0), steps=steps
    ).state
    own = np.asarray(model.apply(state.params, state.model_state, test)[0])
    pca = PCA(2).fit(train)
    flat = pca.inverse_transform(pca.transform(test))
    errors = {"deep auto-encoder": float(((own - test) ** 2).mean()),
              "PCA": float(((flat - test) ** 2).mean())}  # fmt: skip
    holds = errors["deep auto-encoder"] < 0.9 * errors["PCA"]
    figure = pictures.images(
        {name: [np.clip(v[i].reshape(8, 8), 0, 1) for i in range(8)]
         for name, v in {"test": test, "deep": own, "PCA": flat}.items()},
        "Eight test digits; below them what two numbers keep, by the deep auto-encoder and, "
        "more blurred, by PCA.",
    )  # fmt: skip
    return Finding(
        name="deep-against-pca",
        question="What do the layers of a deep auto-encoder add?",
        verdict=f"With codes of two numbers the squared error on the test is "
        f"{errors['deep auto-encoder']:.4f} deep and {errors['PCA']:.4f} with PCA.",
        sections=[Section("Two numbers a digit", figures=[figure])],
        numbers={"test_error": errors},
        expected="at the same size of code the deep one has the smaller test error, by a tenth",
        holds=bool(holds),
    )


def denoising(effort: Effort = "quick") -> Finding:
    """From a noisy image back to the clean one."""
    digits = data.load("digits").splits
    steps = 1500 if effort == "quick" else 10_000
    train, test = _pixels(digits["train"]), _pixels(digits["test"])
    random = np.random.default_rng(0)
    noisy = {name: (x + 0.3 * random.normal(size=x.shape)).astype(np.float32)
             for name, x in {"train": train, "test": test}.items()}  # fmt: skip
    model = nn.mlp([64, 128, 24, 128, 64])

    def fresh(batch, key):  # another noise at every step
        return {**batch, "x": batch["x"] + 0.3 * jax.random.normal(key, batch["x"].shape)}

    algorithm = training.supervised(model, losses.mse, optimizers.adam(2e-3))
    sample = augmentation.augmented(sampling.epochs(64), fresh)
    rows = {"x": train, "y": train}
    state = training.fit(algorithm, rows, sample, key=key(0), steps=steps).state
    outputs = np.asarray(model.apply(state.params, state.model_state, noisy["test"])[0])
    before = float(((noisy["test"] - test) ** 2).mean())
    after = float(((outputs - test) ** 2).mean())
    kept = float(((outputs - noisy["test"]) ** 2).mean())
    holds = after < 0.5 * before and after < kept
    figure = pictures.images(
        {name: [np.clip(v[i].reshape(8, 8), 0, 1) for i in range(8)]
         for name, v in {"clean": test, "noisy": noisy["test"], "output": outputs}.items()},
        "Eight clean digits, the same under noise, and the outputs, which look clean.",
    )  # fmt: skip
    return Finding(
        name="denoising",
        question="Can a network give back what noise has covered?",
        verdict=f"The noisy test images are {before:.4f} from the clean ones, the outputs "
        f"{after:.4f}; from their inputs they are {kept:.4f}.",
        sections=[Section("Clean, noisy, output", figures=[figure])],
        numbers={"before": before, "after": after, "from_input": kept},
        expected="the output is closer to the clean image than the input is, by half or more, and "
        "closer than to its input",
        holds=bool(holds),
    )


def anomalies(effort: Effort = "quick") -> Finding:
    """An auto-encoder of some digits meets others."""
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - slow to import

    digits = data.load("digits").splits
    steps, left_out = (800, (1,)) if effort == "quick" else (5000, (0, 1, 4, 7))
    areas, drawn = {}, {}
    for digit in left_out:
        known = digits["train"]["y"] != digit
        train, test = _pixels(digits["train"])[known], _pixels(digits["test"])
        model = nn.mlp([64, 32, 6, 32, 64], activation="tanh")
        algorithm = training.supervised(model, losses.mse, optimizers.adam(5e-3))
        rows = {"x": train, "y": train}
        state = training.fit(algorithm, rows, sampling.epochs(64), key=key(0), steps=steps).state
        outputs = np.asarray(model.apply(state.params, state.model_state, test)[0])
        errors, strange = ((outputs - test) ** 2).mean(1), digits["test"]["y"] == digit
        areas[digit] = float(roc_auc_score(strange, errors))
        drawn[digit] = errors, strange
    first = left_out[0]
    errors, strange = drawn[first]
    holds = min(areas.values()) > 0.7

    def draw(ax):
        bins = np.linspace(0, errors.max(), 30)
        ax.hist(errors[~strange], bins, density=True, alpha=0.7, label="digits it knows")
        ax.hist(errors[strange], bins, density=True, alpha=0.7, label=f"{first}, left out")
        ax.set(xlabel="squared error of the reconstruction", ylabel="density")
        drawing.legend(ax)

    alt = "Two histograms of errors: that of the digit left out lies to the right of the others'."
    return Finding(
        name="anomalies",
        question="How does an auto-encoder know that something is unusual?",
        verdict="By its error it tells the digit that was left out from the others with an area "
        "under the curve of "
        + ", ".join(f"{area:.3f} ({digit})" for digit, area in areas.items())
        + ".",
        sections=[Section("Errors of the known and the unknown", figures=[Figure(draw, alt)])],
        numbers={"area": areas},
        expected="an area under the ROC curve far above one half: above 0.7",
        holds=bool(holds),
    )


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


LECTURE_8 = "Hung-yi Lee, Machine Learning 2021, lecture 8"

EXPERIMENTS = (
    Experiment(
        "principal-subspace", 8, "a linear auto-encoder spans the subspace of PCA",
        f"{LECTURE_8}; Baldi and Hornik 1989", principal_subspace, 0.5,
        "Give the code one unit more, and look at how much the loss falls: half an eigenvalue.",
    ),
    Experiment(
        "autoencoder-critical-points", 8,
        "a linear auto-encoder has one minimum, and all other critical points are saddles",
        "Baldi and Hornik 1989", all_critical_points, 0.5,
        "Leave a saddle by landscape.escape: at which of the others does it pass?",
    ),
    Experiment(
        "search-bias", 8, "a search must end strictly, and finds some points more readily",
        "Frye et al. 2019 (arXiv:1901.10603)", search_bias, 1.0,
        "Start twice as large: which index do most of them end at?",
    ),
    Experiment(
        "saddle-to-saddle", 8, "from a small start training goes from saddle to saddle",
        "Saxe et al. 2014 (arXiv:1312.6120)", saddle_to_saddle, 0.5,
        "Begin ten times as large: which of the stairs are left?",
    ),
    Experiment(
        "deep-against-pca", 8, "at the same size of code a deep auto-encoder beats PCA",
        f"{LECTURE_8}; Hinton and Salakhutdinov 2006", deep_against_pca, 1.0,
        "Try codes of 1, 4 and 16 numbers: where does PCA catch up?",
    ),
    Experiment(
        "denoising", 8, "a denoising auto-encoder gives back the clean image",
        f"{LECTURE_8}; Vincent et al. 2008", denoising, 0.5,
        "Test with another noise than in training: pixels set to zero, say.",
    ),
    Experiment(
        "anomalies", 8, "the error of the reconstruction shows what is unusual", LECTURE_8,
        anomalies, 1.0, "Widen the code to 32 numbers: why does that make it worse?",
    ),
)  # fmt: skip
