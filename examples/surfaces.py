"""Pictures of a loss surface, and whether they are right.

Run:    python examples/surfaces.py
Time:   half a minute on 2 CPU cores
Expect: plane.png, trajectory.png and connection.png in the folder it runs in. Two components hold
        93 + 6 % of the path's variance, and their plane's losses are off by up to 16 %, at the
        first point. Between the nets of two seeds: a barrier of 0.23 on the straight line; the
        fitted curve has none, and lies below both, since neither is quite at a minimum
"""

import jax
from matplotlib.figure import Figure

from jaxml import data, landscape, nn, training
from jaxml.landscape.geometry.views import trajectory_figures
from jaxml.training import losses, optimizers, sampling

digits = data.load("digits").train
model = nn.mlp([64, 32, 10], activation="tanh")
algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(3e-3), l2=1e-4)


def train(seed):
    """One run, and its parameters on the way."""
    kept = training.snapshots()
    run = training.fit(
        algorithm,
        digits,
        sampling.epochs(64),
        key=jax.random.key(seed),
        steps=1_000,
        chunk=25,
        hooks=[kept],
    )
    return run.state, kept.params


def save(draw, name: str):
    figure = Figure(layout="constrained")
    draw(figure.add_subplot())
    figure.savefig(name, dpi=120)


(first, path), (second, _) = train(0), train(1)
loss = training.full_loss(algorithm, first, digits)  # params -> scalar

directions = landscape.random_directions(first.params)
plane = landscape.surface(loss, first.params, directions)
save(plane.plot, "plane.png")
print(f"random plane: loss {plane.losses.min():.4f} to {plane.losses.max():.4f}")

way = landscape.trajectory(loss, path)
print("trajectory:", way)
plane = landscape.surface(loss, way.params, way.directions, coordinates=way.frame())
save(trajectory_figures(way, plane)[0].draw, "trajectory.png")

found = landscape.connect(loss, first.params, second.params)
print("two seeds:", found)
save(found.plot, "connection.png")
