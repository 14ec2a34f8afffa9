"""Searches for critical points: a strict end finds true ones, and where they start biases which.

Run:    python examples/index_and_loss.py [OUT.png]
Time:   about 20 seconds on 2 CPU cores
Expect: 300 searches where the losses and indices of all 176 kinds of critical points are known
        (linear_autoencoder.py). All 300 reach ‖g‖² < 1e-20, at the loss and index of a known
        point: at 66 of the 176, of low index (5.2 in the mean, where that of all is 12.7). Stopped
        at ‖g‖² < 1e-4, 107 would be taken for another point. Starts half as large end at high
        index: all 300 at known points, at 53 of the 176, of mean index 19.7

Frye et al. 2019 (arXiv:1901.10603): a search for critical points must end strictly, or what it
reports are none, and every way to search finds some more readily than others. A prototype with
another covariance and other starts had 298 of 300, and 77 of 176 points.
"""

import sys

import jax
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure

from jaxml import landscape
from jaxml.data import linear_autoencoder

jax.config.update("jax_enable_x64", True)

INPUTS, HIDDEN, SEARCHES = 10, 3, 300
covariance, known = linear_autoencoder.closed_form(0.7 ** np.arange(INPUTS), HIDDEN)
loss = Partial(linear_autoencoder.loss, covariance=jax.numpy.array(covariance))
losses = np.array([point.loss for point in known])
indices = np.array([point.index for point in known])


def random_starts(scale):
    rng = np.random.default_rng(0)
    return {
        "encoder": scale * rng.normal(size=(SEARCHES, HIDDEN, INPUTS)),
        "decoder": scale * rng.normal(size=(SEARCHES, INPUTS, HIDDEN)),
    }


@jax.jit
def search(starts):
    """Damped Newton on ½‖g‖² from every start.

    By `lax.map`, not `vmap`: each search ends, and keeps its Hessian, when it may by itself.
    """

    def one(start):
        return landscape.find_critical_point(loss, start, gradient_tolerance=1e-13, max_steps=1000)

    return jax.lax.map(one, starts)


def nearest(values):
    return abs(np.asarray(values)[:, None] - losses).argmin(axis=1)


print(
    f"{'starts':16}  ‖g‖² < 1e-20  loss and index true  different ones  "
    f"mean index (of all {indices.mean():.1f})"
)
drawn, paths = {}, {}
for name, scale in (("1/√hidden", HIDDEN**-0.5), ("half as large", HIDDEN**-0.5 / 2)):
    found = jax.device_get(search(random_starts(scale)))
    reached = found.gradient_norm**2 < 1e-20
    ends = [jax.tree.map(lambda leaf, i=i: leaf[i], found.params) for i in np.flatnonzero(reached)]
    points = [landscape.analyze(loss, end) for end in ends]
    which = nearest(found.loss[reached])
    true = sum(
        abs(p.loss - losses[k]) < 1e-12
        and p.index == indices[k]
        and p.counts.within == known[k].nullity
        for p, k in zip(points, which, strict=True)
    )
    drawn[name] = which
    print(
        f"{name:16}  {f'{reached.sum()} of {SEARCHES}':>12}  {f'{true} of {reached.sum()}':>19}  "
        f"{f'{len(set(which))} of {len(known)}':>14}  {indices[which].mean():>10.1f}"
    )  # fmt: skip
    paths[name] = found.path["loss"][reached], found.path["gradient_norm"][reached]

print("stopped at    taken for another point of the 176")
path_losses, norms = paths["1/√hidden"]
for squared in (1e-2, 1e-4, 1e-6, 1e-8):
    first = (norms**2 < squared).argmax(axis=1)
    wrong = nearest(path_losses[np.arange(len(first)), first]) != drawn["1/√hidden"]
    print(f"‖g‖² < {squared:.0e}  {f'{wrong.sum()} of {wrong.size}':>33}")

figure = Figure(figsize=(9, 4.2), layout="constrained")
surface, histogram = figure.subplots(1, 2)
for ax in (surface, histogram):
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
surface.plot(losses, indices, "o", mfc="none", ms=7, color="#9a9a9a", label=f"all {len(known)}")
which, times = np.unique(drawn["1/√hidden"], return_counts=True)
surface.scatter(losses[which], indices[which], s=8 * times, color="#c2334d", alpha=0.6, lw=0,
                label=f"found ({len(which)}), area: how often")  # fmt: skip
surface.set(xlabel="loss", ylabel="index")
surface.legend(frameon=False, fontsize=9)
bins = np.arange(-0.5, indices.max() + 2, 2)
histogram.hist(indices, bins, density=True, color="#cfcfcf", label="all 176")
for (name, which), color in zip(drawn.items(), ("#c2334d", "#5b7db1"), strict=True):
    histogram.hist(indices[which], bins, density=True, histtype="step", lw=1.8, color=color,
                   label=f"found from starts {name}")  # fmt: skip
histogram.set(xlabel="index", ylabel="density")
histogram.set_ylim(0, 1.35 * histogram.get_ylim()[1])
histogram.legend(frameon=False, fontsize=9, loc="upper right")
path = sys.argv[1] if len(sys.argv) > 1 else "index_and_loss.png"
figure.savefig(path, dpi=150)
print(path)
