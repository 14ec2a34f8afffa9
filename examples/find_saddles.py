"""Saddles sought on purpose, on surfaces whose saddles are known and between two networks.

Run:    python examples/find_saddles.py
Time:   three minutes on 2 CPU cores
Expect: the 2 saddles of Müller and Brown's surface, the 7 of the six-hump camel, 3 of the
        Lennard-Jones cluster of six atoms and 12 of that of seven, the index-1 saddles of a linear
        autoencoder at the loss of Baldi and Hornik's closed form, each with the minima on either
        side; and a certified saddle between the networks of two seeds, 0.115 above the higher one,
        where the fitted curve of `connect` rises to more
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import data, landscape, nn, training
from jaxml.data import linear_autoencoder, surfaces
from jaxml.training import losses, optimizers, sampling

RNG = np.random.default_rng(0)


def camel(w):
    """The six-hump camel: of its 15 critical points 6 are minima, 7 saddles and 2 maxima."""
    x, y = w
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2


def lennard_jones(points):
    """The energy of atoms in units of a pair's."""
    i, j = np.triu_indices(len(points), 1)
    inverse = 1 / ((points[i] - points[j]) ** 2).sum(1) ** 3
    return 4 * (inverse**2 - inverse).sum()


def autoencoder(params):
    return linear_autoencoder.loss(params, jnp.asarray(COVARIANCE))


def mixed(t, params):
    """The hidden units in another basis: GL(2)."""
    basis = jnp.eye(2) + t.reshape(2, 2)
    return {
        "decoder": params["decoder"] @ basis,
        "encoder": jnp.linalg.solve(basis, params["encoder"]),
    }


COVARIANCE, CLASSES = linear_autoencoder.closed_form((4.0, 3.0, 2.0, 1.0), 2)
RIGID = [landscape.translations(3), landscape.rotations(3)]
BASES = [landscape.ContinuousSymmetry("GL(2)", mixed, 4)]
corners = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
SIX = 0.8 * corners  # an octahedron, about the minimum
SEVEN = np.concatenate([SIX, [[0.9, 0.9, 0.9]]])


def search(name, loss, starts, symmetries=()):
    """Many searches in one program; each saddle found, once, with the minima on either side."""
    with jax.enable_x64(True):
        one = lambda start: landscape.find_saddle(loss, start, symmetries=symmetries)  # noqa: E731
        ends = jax.device_get(jax.vmap(one)(jax.tree.map(jnp.asarray, starts)))
    ended = np.flatnonzero(ends.converged)
    print(f"{name}: {len(ended)} of {len(ends.converged)} searches, median {median(ends)} steps")
    known = {}
    for k in ended:
        params = jax.tree.map(lambda leaf, k=k: leaf[k], ends.params)
        # points of a plane are told apart by their place, orbits by their loss
        place = str(ends.loss[k].round(5) if symmetries else params.round(4) + 0.0)
        known.setdefault(place, params)
    for params in sorted(known.values(), key=loss):
        point = landscape.analyze(loss, params, float64=True, symmetries=symmetries)
        sides = landscape.connected_minima(loss, params, direction=point.descent, float64=True)
        low, high = sorted(float(way.loss) for way in sides)
        print(
            f"  {point.loss:10.5f}  index {point.index}{', certified' if point.certified else ''}"
            f", lowest eigenvalue {point.eigenvalues[0]:.4f}, between {low:.5f} and {high:.5f}"
        )


def median(ends):
    return int(np.median(ends.steps[ends.converged]))


search("Müller and Brown", surfaces.muller_brown, RNG.uniform((-1.2, -0.2), (1, 1.6), (100, 2)))
search("camel", camel, RNG.uniform((-2, -1.2), (2, 1.2), (100, 2)))
search("six atoms", lennard_jones, SIX + RNG.normal(scale=0.3, size=(200, 6, 3)), RIGID)
starts = SEVEN + RNG.normal(scale=0.3, size=(400, 7, 3))
starts[..., 2] /= 8  # the highest of the twelve saddles is a ring around an atom, nearly flat
search("seven atoms", lennard_jones, starts, RIGID)
(only,) = {c.loss for c in CLASSES if c.index == 1}
print(f"Baldi and Hornik: index 1 at the loss {only}")
weights = {"decoder": RNG.normal(size=(20, 4, 2)), "encoder": RNG.normal(size=(20, 2, 4))}
search("linear autoencoder", autoencoder, weights, BASES)

digits = data.load("digits").train
model = nn.mlp([64, 3, 10], activation="tanh")
algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(1e-2), l2=1e-3)


def train(seed):
    key = jax.random.key(seed)
    return training.fit(algorithm, digits, sampling.epochs(64), key=key, steps=1_000).state


states = [train(seed) for seed in range(2)]
loss = training.full_loss(algorithm, states[0], digits)  # params -> scalar
first, second = (landscape.find_minimum(loss, state.params) for state in states)
print(f"two networks: {first.loss:.6f} and {second.loss:.6f}, {first.kind}, {second.kind}")
found = landscape.find_saddle(loss, first.params, to=second.params, float64=True)
print(f"between them: {found.point}")
print(f"  {found.gradients} gradients, {found.hessians} Hessians")
for way in landscape.connected_minima(loss, found.params, max_steps=5_000):
    print(f"  on one side: {way.loss:.6f}, gradient norm {way.gradient_norm:.0e}")
curve = landscape.connect(loss, first.params, second.params, float64=True)
print(f"highest on the line {curve.line.max():.4f}, on the fitted curve {curve.curve.max():.4f}")
