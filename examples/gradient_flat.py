"""Where searches for critical points stall: at gradient-flat points, which are none.

Run:    python examples/gradient_flat.py [OUT.png]
Time:   about half a minute on 2 CPU cores
Expect: of 200 searches from the training paths of 6-5-4 tanh networks with L2, 139 miss
        ‖g‖² < 1e-18, and all 139 have ‖Hg‖/(‖H‖‖g‖) < 1e-2; Spearman's correlation of index and
        loss is .911 where they converged, .908 at all ends, .947 at the starts

Frye et al. 2021 (arXiv:2003.10397): a search on ‖g‖² stalls where the gradient g lies in the kernel
of the Hessian H. Dauphin et al. 2014 (arXiv:1406.2572): at critical points index and loss rise
together. But so they do where the search failed, and where it began: their correlation alone does
not show that points are critical. A prototype on other data had 149, 148, .990 and .967.
"""

import sys

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from jaxml import data, landscape, nn, training
from jaxml.training import losses, optimizers, sampling

jax.config.update("jax_enable_x64", True)

# 200 rows whose class is the largest output of a noisy linear map
rows = data.load("linear_teacher", n=200, inputs=6, outputs=4, noise=0.5, validation=0, test=0)
rows = {"x": rows.train["x"].astype(float), "y": rows.train["y"].argmax(axis=1)}

# 20 networks train for 1,000 steps; a search starts from each of 10 points on each path
model = nn.mlp([6, 5, 4], activation="tanh")
algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(3e-3), l2=3e-3)
kept = training.snapshots()
run = training.fit_many(
    algorithm, rows, sampling.full(), keys=jax.random.split(jax.random.key(0), 20), steps=1000,
    chunk=100, hooks=[kept],
)  # fmt: skip
loss = training.full_loss(algorithm, jax.tree.map(lambda leaf: leaf[0], run.state), rows)
starts = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]).astype(float), kept.params)


@jax.jit
def search(loss, starts):
    """Damped Newton on ½‖g‖² from every start.

    By `lax.map`, not `vmap`: each search ends, and keeps its Hessian, when it may by itself.
    """

    def one(start):
        return landscape.find_critical_point(loss, start, gradient_tolerance=1e-9, max_steps=500)

    return jax.lax.map(one, starts)


found = jax.device_get(search(loss, starts))
before, after = (landscape.follow(loss, points) for points in (starts, found.params))
converged = found.converged
everywhere = np.ones_like(converged)


def rank_correlation(followed, chosen):
    return f"{spearmanr(followed.loss[chosen], followed.index[chosen]).statistic:.3f}"


print(
    f"{len(converged)} searches, {after.eigenvalues.shape[1]} parameters{'':22}prototype  measured"
)
for what, prototype, value in (
    ("miss ‖g‖² < 1e-18", "149", (~converged).sum()),
    ("of these, ‖Hg‖/(‖H‖‖g‖) < 1e-2", "148", found.flat.sum()),
    ("Spearman of index and loss, where converged", ".990", rank_correlation(after, converged)),
    ("the same at all ends", ".967", rank_correlation(after, everywhere)),
    ("the same at the starts", "", rank_correlation(before, everywhere)),
):
    print(f"{what:51}  {prototype:>9}  {value:>8}")

figure = Figure(figsize=(9, 4.2), layout="constrained")
flatness, index = figure.subplots(1, 2)
for ax in (flatness, index):
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
groups = (
    (converged, "o", "#1b7f4d", f"converged ({converged.sum()})"),
    (~converged, "x", "#c2334d", f"stalled ({(~converged).sum()})"),
)
for chosen, marker, color, label in groups:
    flatness.plot(found.gradient_norm[chosen], found.flatness[chosen], marker, ms=5, color=color)
    index.plot(after.loss[chosen], after.index[chosen], marker, ms=5, color=color, label=label)
flatness.axhline(1e-2, color="#444444", lw=0.8, ls="--")
flatness.axvline(1e-9, color="#444444", lw=0.8, ls="--")
flatness.set(xscale="log", yscale="log", xlabel="‖g‖ at the end", ylabel="‖Hg‖ / (‖H‖ ‖g‖)")
index.plot(before.loss, before.index, ".", ms=4, color="#9a9a9a", label="starts", zorder=0)
index.set(xlabel="objective (loss + L2)", ylabel=f"index, of {after.eigenvalues.shape[1]}")
index.legend(frameon=False, fontsize=9)
path = sys.argv[1] if len(sys.argv) > 1 else "gradient_flat.png"
figure.savefig(path, dpi=150)
print(path)
