"""Losses of classification."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, landscape, nn, training
from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section, Table
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.chapter_02.common import grid_of, walk
from jaxml.course.experiment import Effort
from jaxml.training import losses, optimizers


def squared_error_of_softmax(effort: Effort = "quick") -> Finding:
    """MSE and cross-entropy of a softmax, far from the target, at several rates."""
    rates = [0.1, 1.0, 10.0] if effort == "quick" else [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
    steps, distances = 1000, [10.0, 5.0]

    def softened(w):  # the lecture's three classes: y₃ = −1000, the target is the first
        return jnp.append(w, -1000.0)[None]

    def entropy(w):
        return losses.softmax_cross_entropy(softened(w), {"y": jnp.array([0])})[0]

    def squared(w):  # summed over the classes
        return 3 * losses.mse(jax.nn.softmax(softened(w)), {"y": jnp.array([[1.0, 0.0, 0.0]])})[0]

    surfaces = {"MSE": squared, "cross-entropy": entropy}
    with jax.enable_x64(True):  # a step of 1e-9 from 10 is none in float32
        seen = {
            (name, distance, rate): walk(f, [-distance, distance], optimizers.sgd(rate), steps)
            for name, f in surfaces.items()
            for distance in distances
            for rate in rates
        }
    share = {way: 1 / (1 + np.exp(one["w1"] - one["w0"])) for way, one in seen.items()}
    ends = {way: float(p[-1]) for way, p in share.items()}
    slopes = {name: float(seen[name, 10.0, rates[0]]["slope"][0]) for name in surfaces}
    stays = max(ends["MSE", 10.0, rate] for rate in rates)
    moves = {
        name: {d: [r for r in rates if ends[name, d, r] > 0.5] for d in distances}
        for name in surfaces
    }
    holds = slopes["MSE"] < 1e-7 * slopes["cross-entropy"] and stays < 1e-6
    holds = holds and ends["cross-entropy", 10.0, 0.1] > 0.99
    holds = holds and moves["MSE"][5.0] == [rate for rate in rates if rate >= 10]
    axis = np.linspace(-12, 12, 41)
    figures = [
        pictures.contours(
            axis, axis, grid_of(f, axis, axis),
            f"Contours of the {name} over y₁ and y₂; gradient descent from (−10, 10) "
            + ("does not move." if name == "MSE" else "goes down to the right."),
            paths={name: (seen[name, 10.0, 1.0]["w0"], seen[name, 10.0, 1.0]["w1"])},
            xlabel="y₁", ylabel="y₂",
        )
        for name, f in surfaces.items()
    ]  # fmt: skip
    progress = pictures.curves(
        {
            f"{name}, η = {rate:g}, from −{distance:g}": share[name, distance, rate]
            for name, distance, rate in (
                ("cross-entropy", 10.0, 0.1), ("MSE", 10.0, rates[-1]), ("MSE", 5.0, 10.0),
                ("MSE", 5.0, 1.0),
            )
        },
        "Probability of the target against update: under cross-entropy it rises to 1; under the "
        "squared error it stays near zero, but from −5 at a rate of 10.",
        xlabel="update", ylabel="probability of the target", yscale="log", ylim=(1e-14, 10),
    )  # fmt: skip
    table = Table(
        ("loss", "from", *(f"η = {rate:g}" for rate in rates)),
        [
            (name, f"(−{d:g}, {d:g})", *(f"{ends[name, d, rate]:.2g}" for rate in rates))
            for name in surfaces
            for d in distances
        ],
    )
    return Finding(
        name="mse-softmax",
        question="Why is classification not trained by the squared error?",
        verdict=f"At (−10, 10) the gradient has norm {slopes['cross-entropy']:.3g} under "
        f"cross-entropy and {slopes['MSE']:.1e} under the squared error. After {steps:,} updates "
        f"the target has probability {ends['cross-entropy', 10.0, 0.1]:.3f} under cross-entropy at "
        f"η = 0.1, under the squared error {stays:.0e} at most, at all rates up to {rates[-1]:g}; "
        f"from (−5, 5) that moves only at η = {moves['MSE'][5.0][0]:g} or more.",
        sections=[
            Section(
                "Two error surfaces",
                "The squared error is summed over the three classes, and each of the two parts of "
                f"its gradient is {slopes['MSE'] / 2**0.5:.0e}; as the classes' mean it would be a "
                "third of that, as half the sum a half. The logit of the third class is −1000. "
                f"The table has the probability of the target after {steps:,} updates.",
                [*figures, progress], table,
            )
        ],
        numbers={
            "slope": slopes, "rates": rates,
            "probability": {
                name: {f"{d:g}": [ends[name, d, rate] for rate in rates] for d in distances}
                for name in surfaces
            },
        },
        expected="from a far start the squared error has a slope of almost zero and training "
        "stays at every rate, where cross-entropy moves; from nearer by, at large rates only",
        holds=bool(holds),
    )  # fmt: skip


def maximum_likelihood(effort: Effort = "quick") -> Finding:  # noqa: ARG001 - takes seconds
    """A softmax of one-hot features under cross-entropy, and the shares of the classes."""
    digits = data.load("digits").everything()
    ink = digits["x"].mean(1)
    group = np.digitize(ink, np.quantile(ink, [0.2, 0.4, 0.6, 0.8]))
    rows = {"x": np.eye(5, dtype=np.float32)[group], "y": digits["y"]}
    counts = np.zeros((5, 10))
    np.add.at(counts, (group, digits["y"]), 1)
    shares = counts / counts.sum(1, keepdims=True)
    entropy = float(-(counts * np.log(shares)).sum() / counts.sum())

    algorithm = training.supervised(
        nn.linear(5, 10, bias=False), losses.softmax_cross_entropy, optimizers.sgd(1.0)
    )
    state = algorithm.init(key(0))
    loss = training.full_loss(algorithm, state, rows)
    end = landscape.descend(loss, state.params, float64=True)
    logits = np.asarray(end.params["dense_0"]["kernel"])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    off, apart = float(abs(probabilities - shares).max()), abs(end.loss - entropy)

    def draw(ax):
        ax.plot([0, 0.2], [0, 0.2], color=drawing.GREY, linewidth=1)
        for i, color in enumerate(drawing.COLORS[:5]):
            ax.plot(shares[i], probabilities[i], "o", color=color, markersize=4,
                    label=f"fifth {i + 1}")  # fmt: skip
        ax.set(xlabel="share of the class, counted", ylabel="probability, trained")
        drawing.legend(ax)

    alt = "Fifty probabilities against the shares that were counted: all on the diagonal."
    return Finding(
        name="maximum-likelihood",
        question="What does a network learn that minimises cross-entropy?",
        verdict=f"At the minimum of cross-entropy all {shares.size} probabilities are the shares "
        f"of the classes, which maximise the likelihood, to {off:.0e}, and the loss is the mean "
        f"negative log-likelihood of those, {entropy:.6f}, to {apart:.0e}.",
        sections=[
            Section(
                "Which digit is it, by its ink alone?",
                f"{len(ink):,} digits in five groups of equal size, from the least ink to the "
                "most; a linear softmax of the group, as one-hot features. The likelihood of a "
                "group's labels is the product of their probabilities, which is largest at the "
                "shares with which they occur.",
                [Figure(draw, alt)],
            )
        ],
        numbers={"probability": off, "loss": apart, "entropy": entropy},
        expected="the minimum of cross-entropy is that of maximum likelihood: the shares of the "
        "classes, to 1e-6",
        holds=off < 1e-6 and apart < 1e-9,
    )


def softmax_of_two(effort: Effort = "quick") -> Finding:
    """The softmax of two classes, and the sigmoid of their logits' difference."""
    count = 1000 if effort == "quick" else 100_000
    labels = np.arange(count, dtype=np.int32) % 2
    with jax.enable_x64(True):
        logits = 10 * jax.random.normal(key(0), (count, 2), float)
        difference = logits[:, 1:] - logits[:, :1]
        softmax = np.asarray(losses.softmax_cross_entropy(logits, {"y": labels}))
        sigmoid = np.asarray(losses.sigmoid_cross_entropy(difference, {"y": labels[:, None]}))
        both = jax.nn.softmax(logits)[:, 1], jax.nn.sigmoid(difference)[:, 0]
    difference, shares = np.asarray(difference), [np.asarray(share) for share in both]
    off = float((abs(softmax - sigmoid) / (1 + softmax)).max())
    apart = float(abs(shares[0] - shares[1]).max())
    holds = off < 1e-12 and apart < 1e-12

    def draw(ax):
        order = np.argsort(difference[:, 0])
        ax.plot(difference[order, 0], shares[0][order], label="softmax, second class")
        ax.plot(difference[order, 0], shares[1][order], ":", label="sigmoid of the difference")
        ax.set(xlabel="z₂ − z₁", ylabel="probability")
        drawing.legend(ax)

    alt = "Two S-shaped curves over the difference of the logits, one upon the other."
    return Finding(
        name="softmax-sigmoid",
        question="Are two classes a case for the softmax or the sigmoid?",
        verdict=f"On {count:,} pairs of logits the probabilities agree to {apart:.1g} and the "
        f"losses to {off:.1g} of their size.",
        sections=[Section("One curve", figures=[Figure(draw, alt)])],
        numbers={"probability": apart, "loss": off},
        expected="the softmax of two classes is the sigmoid of the difference: to 1e-12 in float64",
        holds=bool(holds),
    )


def fused_logits(effort: Effort = "quick") -> Finding:
    """log(softmax(z)) in two steps and in one, at ever larger logits."""
    scales = np.array([1, 10, 50, 100, 1000, 10_000], float)
    if effort == "full":
        scales = np.geomspace(1, 1e6, 61)
    fused, plain = [], []
    for scale in scales:
        z = jnp.array([[0.0, -scale]], jnp.float32)
        fused.append(float(losses.softmax_cross_entropy(z, {"y": jnp.array([1])})[0]))
        plain.append(float(-jnp.log(jnp.exp(z) / jnp.exp(z).sum())[0, 1]))
    exact = np.logaddexp(0.0, scales)
    fused, plain = np.array(fused), np.array(plain)
    off = float((abs(fused - exact) / exact).max())
    broken = scales[~np.isfinite(plain)]
    holds = off < 1e-6 and len(broken) > 0
    finite = np.isfinite(plain)
    figure = pictures.curves(
        {"fused": (scales, fused), "log of the softmax": (scales[finite], plain[finite])},
        "Loss against the size of the logits: the fused one is a straight line throughout, the "
        f"other ends before {broken.min():g}.",
        style={"fused": "o-", "log of the softmax": "x:"},
        xlabel="size of the logits", ylabel="loss", xscale="log", yscale="log",
    )  # fmt: skip
    return Finding(
        name="fused-logits",
        question="Why are softmax and cross-entropy one function?",
        verdict=f"In one function the loss is right to {off:.0e} at logits up to "
        f"{scales[-1]:,.0f}; in two it is infinite from {broken.min():g} on.",
        sections=[Section("Large logits", figures=[figure])],
        numbers={"relative_error": off, "infinite_from": float(broken.min())},
        expected="fused, the loss is right at logits of 10,000 (to 1e-6), in two steps it is not",
        holds=bool(holds),
    )
