"""Lennard-Jones clusters: the energy, and its derivatives and minima without JAX."""

import jax.numpy as jnp
import numpy as np
import scipy.optimize


def lennard_jones(points):
    """4 Σ r⁻¹² − r⁻⁶ over all pairs of points, shape (N, 3)."""
    i, j = np.triu_indices(points.shape[0], 1)
    squares = ((points[i] - points[j]) ** 2).sum(-1)
    return 4 * (squares**-6 - squares**-3).sum()


def derivatives(points):
    """Energy, gradient and Hessian by the formulas for each pair, in numpy."""
    count = len(points)
    energy, gradient, matrix = 0.0, np.zeros((count, 3)), np.zeros((count, 3, count, 3))
    for i in range(count):
        for j in range(i):
            u = points[i] - points[j]
            s = u @ u
            first, second = 4 * (3 * s**-4 - 6 * s**-7), 4 * (42 * s**-8 - 12 * s**-5)
            energy += 4 * (s**-6 - s**-3)
            gradient[i] += 2 * first * u
            gradient[j] -= 2 * first * u
            block = 4 * second * np.outer(u, u) + 2 * first * np.eye(3)
            for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                matrix[a, :, b] += sign * block
    return energy, gradient.ravel(), matrix.reshape(3 * count, 3 * count)


def newton(points, steps=4):
    """Newton's method, the zero modes left out."""
    for _ in range(steps):
        _, gradient, matrix = derivatives(points)
        step = np.linalg.pinv(matrix, rcond=1e-6) @ gradient
        points = points - step.reshape(points.shape)
    return points


def relaxed(start):
    """The minimum that BFGS comes to, refined."""
    shape = np.shape(start)
    found = scipy.optimize.minimize(
        lambda x: derivatives(x.reshape(shape))[:2], np.ravel(start), jac=True, method="BFGS"
    )
    return newton(found.x.reshape(shape))


def random_start(count, seed):
    return np.random.default_rng(seed).normal(size=(count, 3))


OCTAHEDRON = 0.78 * np.concatenate([np.eye(3), -np.eye(3)])

# the energies, of Hoare and Pal 1971 and Wales' Cambridge Cluster Database, and starts
MINIMA = {
    "LJ4": (-6.0, random_start(4, 0)),
    "LJ5": (-9.103852, random_start(5, 0)),
    "LJ6 octahedron": (-12.712062, OCTAHEDRON),
    "LJ6 second": (-12.302928, random_start(6, 0)),
    "LJ7 first": (-16.505384, random_start(7, 0)),
    "LJ7 second": (-15.935043, random_start(7, 21)),
    "LJ7 third": (-15.593211, random_start(7, 9)),
    "LJ7 fourth": (-15.533060, random_start(7, 2)),
}


def trimer():
    """The linear saddle of three atoms, on a line that is no axis."""
    turn = np.linalg.qr(random_start(3, 0))[0]
    return newton(np.array([[-1.12, 0, 0], [0, 0, 0], [1.12, 0, 0]]) @ turn)


def as_array(points, dtype):
    return jnp.asarray(points, dtype)
