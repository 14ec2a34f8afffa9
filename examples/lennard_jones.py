"""The minima of Lennard-Jones clusters, on the quotient by motions and permutations.

Run:    python examples/lennard_jones.py
Time:   about a minute on 2 CPU cores
Expect: 4 and 6 atoms at -6 and -12.712062, as in the Cambridge Cluster Database (Wales and Doye
        1997, arXiv:cond-mat/9803344): degenerate by the whole Hessian, with six zero modes, and
        certified minima on the quotient; a linear trimer, a saddle of index 2 with five; of 24
        searches around six atoms and the ways down from their saddles exactly two minima, the
        second at -12.302928
"""

import jax.numpy as jnp
import numpy as np

from jaxml import landscape
from jaxml.landscape import permutations, reflection, rotations, translations


def energy(points):
    """4 Σ r⁻¹² − r⁻⁶ over all pairs."""
    i, j = np.triu_indices(points.shape[0], 1)
    squares = jnp.sum((points[i] - points[j]) ** 2, -1)
    return 4 * jnp.sum(squares**-6 - squares**-3)


symmetries = [translations(3), rotations(3), reflection(3), permutations(0)]
starts = {
    4: [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]],
    6: [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]],
}
clusters = {}
for atoms, start in starts.items():
    found = landscape.find_minimum(energy, 0.7 * np.array(start, float), symmetries=symmetries)
    plain = landscape.analyze(energy, found.params)
    print(f"{atoms} atoms: {plain.kind}, {plain.counts.within} eigenvalues within the tolerance")
    print(f"    on the quotient {found}")
    clusters[atoms] = found

line = np.array([[-1.12, 0, 0], [0, 0, 0], [1.12, 0, 0]])
search = landscape.find_critical_point(energy, line, symmetries=symmetries)
print(f"linear trimer: {landscape.analyze(energy, search.params, symmetries=symmetries)}")

seen = landscape.explore(
    energy, clusters[6].params, searches=24, radius=0.2, symmetries=symmetries
)  # fmt: skip
ends = [found.point.kind for found in seen.found if found.point is not None]
print(f"around 6 atoms {len(ends)} of 24 searches end, {ends.count('minimum')} at minima")
for point in seen.distinct:
    if point.certified:
        print(f"    {point.kind} of index {point.index} at {point.loss:.6f}")
print("different minima:", ", ".join(f"{point.loss:.6f}" for point in seen.minima))
