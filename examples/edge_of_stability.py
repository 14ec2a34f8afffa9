"""Gradient descent at the edge of stability, after Cohen et al. 2021 (arXiv:2103.00065).

Run:    python examples/edge_of_stability.py [OUT.png]
Time:   about half a minute on 2 CPU cores
Expect: under the squared error λ_max rises to the edge and hovers around it: over the last half,
        in units of the threshold, 1.01 for gradient descent at a rate of 0.4, 1.04 at 0.8, 0.96
        for heavy ball, 0.99 for Adam's preconditioned Hessian; under cross-entropy at a rate of 1
        it falls from a quarter of the threshold
"""

import sys

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxml import data, landscape, nn, training
from jaxml.training import losses, optimizers, sampling

digits = data.load("digits")
splits = (digits.train, digits.validation, digits.test)
x, y = (np.concatenate([split[name] for split in splits]) for name in ("x", "y"))
x = x - x.mean(0)
one_hot = np.eye(10, dtype=np.float32)[y]
model = nn.mlp([64, 32, 10], activation="tanh")


def half_squared_error(outputs, batch):
    return 0.5 * ((outputs - batch["y"]) ** 2).sum(-1)


descent, heavy_ball, adam = optimizers.sgd, optimizers.momentum, optimizers.adam
runs = {
    "gradient descent, η = 0.4": (descent, 0.4, {}, half_squared_error, one_hot),
    "gradient descent, η = 0.8": (descent, 0.8, {}, half_squared_error, one_hot),
    "heavy ball, η = 0.5": (heavy_ball, 0.5, {"momentum": 0.9}, half_squared_error, one_hot),
    "Adam, η = 0.005": (adam, 0.005, {}, half_squared_error, one_hot),
    "cross-entropy, η = 1": (descent, 1.0, {}, losses.softmax_cross_entropy, y),
}
figure = Figure(figsize=(9, 4.2), layout="constrained")
axes = figure.subplots()
for name, (optimizer, rate, options, loss, targets) in runs.items():
    train = {"x": x, "y": targets}
    algorithm = training.supervised(model, loss, optimizer(rate))
    # every 20 steps, for the picture: that costs as much as the training
    edge = landscape.edge_of_stability(algorithm, train, learning_rate=rate, cost=np.inf, **options)
    training.fit(
        algorithm,
        train,
        sampling.full(),
        key=jax.random.key(1),
        steps=2_000,
        chunk=20,
        hooks=[edge, training.progress(name)],
    )
    ratio = np.divide(edge.history["sharpness"], edge.history["threshold"])
    hovering = ratio[len(ratio) // 2 :]
    print(f"{name}: λ_max / threshold {hovering.mean():.3f} over the last half, {ratio.max():.2f}")
    axes.plot(edge.history["step"], ratio, lw=1, label=name)
axes.axhline(1, color="#444444", lw=0.8, ls="--")
axes.set(xlabel="step", ylabel="λ_max / threshold", ylim=(0, 1.4))
axes.legend(frameon=False, fontsize=9)
if len(sys.argv) > 1:
    figure.savefig(sys.argv[1], dpi=120)
