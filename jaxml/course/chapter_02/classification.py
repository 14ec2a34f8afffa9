"""Losses of classification."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core import drawing
from jaxml.core.finding import Figure, Finding, Section
from jaxml.core.seeds import key
from jaxml.course import pictures
from jaxml.course.chapter_02.common import grid_of, walk
from jaxml.course.experiment import Effort
from jaxml.training import losses, optimizers


def squared_error_of_softmax(effort: Effort = "quick") -> Finding:
    """MSE and cross-entropy of a softmax, far from the target."""
    steps = 100 if effort == "quick" else 1000

    def softened(w):  # the lecture's three classes: y₃ = −1000, the target is the first
        return jnp.append(w, -1000.0)[None]

    def entropy(w):
        return losses.softmax_cross_entropy(softened(w), {"y": jnp.array([0])})[0]

    def squared(w):
        return losses.mse(jax.nn.softmax(softened(w)), {"y": jnp.array([[1.0, 0.0, 0.0]])})[0]

    start = [-10.0, 10.0]
    seen = {name: walk(f, start, optimizers.sgd(1.0), steps)
            for name, f in {"MSE": squared, "cross-entropy": entropy}.items()}  # fmt: skip
    slopes = {name: float(one["slope"][0]) for name, one in seen.items()}
    share = {name: float(one["loss"][-1] / one["loss"][0]) for name, one in seen.items()}
    holds = slopes["MSE"] < 1e-6 * slopes["cross-entropy"]
    holds = holds and share["MSE"] > 0.99 and share["cross-entropy"] < 0.1
    axis = np.linspace(-12, 12, 41)
    figures = [
        pictures.contours(
            axis, axis, grid_of(f, axis, axis),
            f"Contours of the {name} over y₁ and y₂; gradient descent from (−10, 10) "
            + ("does not move." if name == "MSE" else "goes down to the right."),
            paths={name: (seen[name]["w0"], seen[name]["w1"])}, xlabel="y₁", ylabel="y₂",
        )
        for name, f in {"MSE": squared, "cross-entropy": entropy}.items()
    ]  # fmt: skip
    return Finding(
        name="mse-softmax",
        question="Why is classification not trained by the squared error?",
        verdict=f"From (−10, 10) the slope is {slopes['MSE']:.0e} with the squared error and "
        f"{slopes['cross-entropy']:.2g} with cross-entropy; {steps} steps leave "
        f"{share['MSE']:.0%} and {share['cross-entropy']:.1%} of the loss.",
        sections=[Section("Two error surfaces", figures=figures)],
        numbers={"slope": slopes, "loss_left": share},
        expected="from a far start the squared error has a slope of almost zero, and training "
        "stays; cross-entropy moves",
        holds=bool(holds),
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
