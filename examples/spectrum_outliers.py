"""A bulk of eigenvalues near zero and, above it, one fewer than there are classes.

Run:    python examples/spectrum_outliers.py [OUT.png]
Time:   about half a minute on 2 CPU cores
Expect: of the leading eigenvalues of a 64-32-10 tanh network on digits the largest gap, as a ratio
        of neighbours, is after the 9th, C - 1: 1.69 at the start, 1.87 after 100 steps, 1.61 after
        300; after 1,000 that gap is 1.19 and others are larger

Sagun et al. 2017 (arXiv:1706.04454), Papyan 2019 (arXiv:1901.08244): as many outliers as classes,
or about. A prototype of this network, trained in another way, had 1.57, 2.18 and 1.80.
"""

import sys

import jax
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from jaxml import data, landscape, nn, training
from jaxml.training import losses, optimizers, sampling

CLASSES, STEPS, SHOWN = 10, [0, 100, 300, 1000], 20

digits = data.load("digits").everything()
model = nn.mlp([64, 32, CLASSES], activation="tanh")
algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.sgd(0.5))
start = algorithm.init(jax.random.key(0))
kept = training.snapshots()
run = training.fit(
    algorithm, digits, sampling.epochs(64), key=jax.random.key(0), steps=STEPS[-1], chunk=100,
    state=start, hooks=[kept],
)  # fmt: skip

chosen = np.array([kept.steps.index(step) for step in STEPS[1:]])
points = jax.tree.map(lambda a, b: np.stack([a, *b[chosen]]), start.params, kept.params)
loss = training.full_loss(algorithm, run.state, digits)
spectra = landscape.follow(loss, points)

leading = spectra.eigenvalues[:, ::-1][:, : SHOWN + 1]
ratios = leading[:, :-1] / leading[:, 1:]
print("step    loss    λ₁     λ₉     λ₁₀    λ₉/λ₁₀  prototype  largest gap after")
for step, value, top, gaps, expected in zip(
    STEPS, spectra.loss, leading, ratios, ("1.57", "2.18", "1.80", "fades"), strict=True
):
    print(
        f"{step:5,}  {value:6.4f}  {top[0]:5.3f}  {top[8]:5.3f}  {top[9]:5.3f}  {gaps[8]:6.2f}  "
        f"{expected:>9}  {gaps.argmax() + 1} (ratio {gaps.max():.2f})"
    )

figure = Figure(figsize=(9, 4.2), layout="constrained")
bulk, gap = figure.subplots(1, 2)
for ax in (bulk, gap):
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_xticks([1, 5, 9, 15, 20])
    ax.axvspan(9, 10, color="#1b7f4d", alpha=0.12, lw=0)
colors = colormaps["viridis"](np.linspace(0.05, 0.85, len(STEPS)))
ranks = np.arange(1, SHOWN + 1)
for step, top, gaps, color in zip(STEPS, leading, ratios, colors, strict=True):
    bulk.plot(ranks, top[:SHOWN], "o-", ms=4, lw=1, color=color, label=f"step {step:,}")
    gap.plot(ranks + 0.5, gaps, "o-", ms=4, lw=1, color=color)
bulk.set(yscale="log", xlabel="rank, from the largest", ylabel="eigenvalue")
bulk.legend(frameon=False, fontsize=9, loc="lower left")
gap.set(xlabel="between this rank and the next", ylabel="ratio of neighbours")
gap.annotate("after 9 = classes − 1", (9.9, ratios[:, 8].max()), xytext=(8, -4),
             textcoords="offset points", color="#1b7f4d", fontsize=9)  # fmt: skip
path = sys.argv[1] if len(sys.argv) > 1 else "spectrum_outliers.png"
figure.savefig(path, dpi=150)
print(path)
