"""Every critical point of a linear autoencoder, in closed form and as measured.

Run:    python examples/linear_autoencoder.py [OUT.png]
Time:   about 5 seconds on 2 CPU cores
Expect: of 10 inputs and 3 hidden units 176 of 176 subsets of eigenvectors agree in loss, index and
        nullity: 175 saddles and the minimum; the largest gradient norm is 4e-16

Baldi and Hornik 1989, "Neural networks and principal component analysis: learning from examples
without local minima", Neural Networks 2 (from before arXiv): one minimum, all else saddles.
"""

import sys

import jax
import numpy as np
from jax.tree_util import Partial
from matplotlib.figure import Figure

from jaxml import landscape
from jaxml.data import linear_autoencoder

jax.config.update("jax_enable_x64", True)

INPUTS, HIDDEN = 10, 3
# a geometric series: no two subsets have the same sum, so that the loss names the subset
covariance, known = linear_autoencoder.closed_form(0.7 ** np.arange(INPUTS), HIDDEN)
loss = Partial(linear_autoencoder.loss, covariance=jax.numpy.array(covariance))
measured = [landscape.analyze(loss, point.params) for point in known]

print("kept  subsets  index expected  index measured  nullity expected  measured  largest |Δ loss|")
agree = 0
for r in range(HIDDEN + 1):
    rows = [(k, m) for k, m in zip(known, measured, strict=True) if len(k.subset) == r]
    agree += sum(
        m.index == k.index and m.counts.within == k.nullity and abs(m.loss - k.loss) < 1e-14
        for k, m in rows
    )
    spans = [
        f"{min(v)} to {max(v)}" for v in ([k.index for k, _ in rows], [m.index for _, m in rows])
    ]
    zeros = {m.counts.within for _, m in rows}
    error = max(abs(m.loss - k.loss) for k, m in rows)
    print(
        f"{r:4}  {len(rows):7}  {spans[0]:>14}  {spans[1]:>14}  {rows[0][0].nullity:16}  "
        f"{', '.join(map(str, sorted(zeros))):>8}  {error:16.0e}"
    )
print(f"{agree} of {len(known)} agree in loss, index and nullity")
print(
    f"{sum(m.kind == 'saddle' for m in measured)} saddles, "
    f"{sum(m.index == 0 for m in measured)} minimum"
)
print(f"gradient norms at most {max(m.gradient_norm for m in measured):.0e}")

figure = Figure(figsize=(7, 4.2), layout="constrained")
ax = figure.subplots()
ax.spines[["top", "right"]].set_visible(False)
ax.grid(alpha=0.25, linewidth=0.6)
ax.plot([k.loss for k in known], [k.index for k in known], "o", mfc="none", ms=9, color="#9a9a9a",
        label="closed form")  # fmt: skip
for r, color in enumerate(["#c2334d", "#d98c1f", "#5b7db1", "#1b7f4d"]):
    points = [m for k, m in zip(known, measured, strict=True) if len(k.subset) == r]
    ax.plot([p.loss for p in points], [p.index for p in points], ".", ms=6, color=color,
            label=f"measured, rank {r} ({len(points)})")  # fmt: skip
ax.set(xlabel="loss", ylabel=f"index: negative eigenvalues of {measured[0].size}")
ax.legend(frameon=False, fontsize=9)
path = sys.argv[1] if len(sys.argv) > 1 else "linear_autoencoder.png"
figure.savefig(path, dpi=150)
print(path)
