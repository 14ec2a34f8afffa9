"""Copies under declared symmetries are one point; points that only look alike stay two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clusters import MINIMA, OCTAHEDRON, derivatives, lennard_jones, relaxed, trimer
from jax.tree_util import Partial

from jaxml import landscape
from jaxml.landscape import permutations, reflection, rescaling, rotations, translations

PROPER = [translations(3), rotations(3), permutations(0)]
CLUSTER = [*PROPER, reflection(3)]


def turned(rng):
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return turn * np.linalg.det(turn)


@pytest.mark.slow
@pytest.mark.parametrize("name", MINIMA)
def test_copies_of_a_cluster(name):
    rng, points = np.random.default_rng(3), relaxed(MINIMA[name][1])
    copies = [rng.permutation(points) @ turned(rng) + rng.normal(size=3) for _ in range(4)]
    found = [landscape.analyze(lennard_jones, x, symmetries=CLUSTER) for x in copies]
    assert len(landscape.distinct_points(found)) == 4
    assert len(landscape.distinct_points(found, symmetries=PROPER)) == 1


def triangle(points):
    """Zero for the triangles in the plane whose sides have the squares 1, 2 and 4."""
    a, b, c = (((points[i] - points[j]) ** 2).sum() for i, j in ((0, 1), (1, 2), (2, 0)))
    return (a + b + c - 7) ** 2 + (a * b + b * c + c * a - 14) ** 2 / 4 + (a * b * c - 8) ** 2 / 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "count"),
    [
        ([], 4),
        ([reflection(2)], 2),
        ([permutations(0)], 2),
        ([permutations(0), reflection(2)], 1),
    ],
)
def test_mirror_images_and_corners_with_names(more, count):
    """In the plane such a triangle is chiral; without permutations its corners have names."""
    y = (1 + 4 - 2) / 4
    corners = np.array([[0.0, 0.0], [2.0, 0.0], [y, (1 - y**2) ** 0.5]])
    rng, declared = np.random.default_rng(0), [translations(2), rotations(2), *more]
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        for side in (1, -1):
            c, s = np.cos(angle := rng.uniform(0, 6)), np.sin(angle)
            turn = np.array([[c, -s], [s, c]])
            x = (corners * [1, side])[order] @ turn + rng.normal(size=2)
            found.append(landscape.analyze(triangle, x, symmetries=declared))
    assert all(p.certified and (p.kind, p.symmetry_modes) == ("minimum", 3) for p in found)
    assert len(landscape.distinct_points(found, symmetries=declared)) == count


def wells(w):
    """Minima at all (±1, ±1), each with the Hessian 8·I."""
    return ((w**2 - 1) ** 2).sum()


def negated(w):
    return w.at[1].multiply(-1)


@pytest.mark.parametrize(
    ("symmetries", "count"),
    [
        ([], 4),
        ([permutations(0)], 3),
        ([reflection(2)], 2),
        ([negated], 2),
        ([reflection(2), negated], 1),
        ([reflection(2), permutations(0)], 1),
    ],
)
def test_what_is_alike_only_by_loss_and_spectrum_stays_apart(symmetries, count):
    corners = [np.array([a, b]) for a in (1.0, -1.0) for b in (1.0, -1.0)]
    found = [landscape.analyze(wells, x, symmetries=symmetries) for x in corners]
    assert {point.kind for point in found} == {"minimum"}
    assert len(landscape.distinct_points(found, symmetries=symmetries)) == count


def tanh_net(params, x, y):
    outputs = jnp.tanh(x @ params["in"]["kernel"] + params["in"]["bias"]) @ params["out"]
    return ((outputs - y) ** 2).mean() + 1e-3 * sum(
        (leaf**2).sum() for leaf in jax.tree.leaves(params)
    )


UNITS = {"in/kernel": 1, "in/bias": 0, "out": 0}


def flipped(params):
    """One unit of a tanh net with the signs of all its weights changed."""
    sign = jnp.array([-1.0, 1.0, 1.0])
    return {
        "in": jax.tree.map(lambda w: w * sign, params["in"]),
        "out": params["out"] * sign,
    }


@pytest.mark.slow
def test_the_units_of_a_tanh_net():
    """Three units are permuted in 6 ways, and of each the sign is free."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 2))
    loss = Partial(tanh_net, x=x, y=np.sin(2 * x[:, 0]) + x[:, 1] ** 2)
    start = {
        "in": {"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)},
        "out": rng.normal(size=3),
    }
    declared = [permutations(UNITS)]
    bottom = landscape.find_minimum(loss, start, symmetries=declared)
    assert (bottom.kind, bottom.symmetry_modes) == ("minimum", 0)
    found = [bottom]
    for order in ([1, 2, 0], [2, 1, 0]):
        copy = {
            "in": jax.tree.map(lambda w, order=order: w[..., order], bottom.params["in"]),
            "out": bottom.params["out"][order],
        }
        found.append(landscape.analyze(loss, copy, symmetries=declared))
    with jax.enable_x64(True):
        signs = jax.device_get(flipped(jax.tree.map(jnp.asarray, bottom.params)))
    found.append(landscape.analyze(loss, signs, symmetries=declared))
    assert len(landscape.distinct_points(found)) == 4
    assert len(landscape.distinct_points(found, symmetries=declared)) == 2
    assert len(landscape.distinct_points(found, symmetries=[*declared, flipped])) == 1


def line(params, x, y):
    hidden = jax.nn.relu(x @ params["in"])
    return ((hidden @ params["out"] - y) ** 2).mean()


@pytest.mark.slow
def test_rescaled_and_permuted_units_of_a_relu_net():
    """Transformations that are no isometries: the copies' spectra differ."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(40, 2))
    w = rng.normal(size=(2, 2))
    loss = Partial(line, x=x, y=np.maximum(x @ w, 0) @ [1.0, -2.0] + 0.1 * rng.normal(size=40))
    declared = [rescaling(2, {"in": 1}, {"out": 0}), permutations({"in": 1, "out": 0})]
    start = {"in": w, "out": np.array([1.0, -2.0])}
    one = landscape.find_minimum(loss, start, symmetries=declared)
    assert (one.kind, one.symmetry_modes) == ("minimum", 2)
    scale = np.array([3.0, 0.2])
    other = {
        "in": (one.params["in"] * scale)[:, ::-1].copy(),
        "out": (one.params["out"] / scale)[::-1].copy(),
    }
    found = [one, landscape.analyze(loss, other, symmetries=declared)]
    assert found[1].kind == "minimum"
    assert found[1].eigenvalues[-1] > 1.5 * found[0].eigenvalues[-1]
    assert len(landscape.distinct_points(found, symmetries=declared[:1])) == 2
    assert len(landscape.distinct_points(found, symmetries=declared)) == 1


def product(w):
    return (1 - w[0] * w[1]) ** 2


def scale(t, w):
    """Leaves (1 − ab)² as it is."""
    return w * jnp.exp(t * jnp.array([1.0, -1.0]))


@pytest.mark.parametrize("method", ["newton", pytest.param("newton_mr", marks=pytest.mark.slow)])
def test_a_search_steps_off_the_orbit(method):
    """Of (1 − ab)² the orbit of (a, b) goes along (a, −b): what is orthogonal is the gradient."""
    start = np.array([3.0, 1.0])
    aside = []
    for symmetries in ([scale], []):
        found = landscape.find_critical_point(
            product, start, method, symmetries=symmetries, max_steps=1
        )
        step = np.asarray(found.params) - start
        assert np.linalg.norm(step) > 1e-3
        aside.append(abs(step @ [3, -1]) / np.linalg.norm(step))
    assert aside[0] < 1e-12
    assert aside[1] > 1e-2
    with pytest.raises(ValueError, match="symmetry rotations"):
        landscape.find_critical_point(product, start, method, symmetries=[rotations(2)])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["newton", "newton_mr"])
def test_many_searches_off_the_orbit(method):
    start = np.array([3.0, 1.0])
    ends = landscape.find_critical_point(product, start, method, symmetries=[scale])
    assert ends.converged
    with jax.enable_x64(True):
        starts = jnp.stack([start, start + 0.1])
        many = jax.vmap(
            lambda w: landscape.find_critical_point(product, w, method, symmetries=[scale])
        )(starts)
    np.testing.assert_allclose(many.params[0], ends.params, rtol=1e-12)


@pytest.mark.slow
def test_out_of_the_linear_trimer():
    """By bending, to the triangle; not by what only turns it."""
    out = landscape.escape(lennard_jones, trimer(), symmetries=CLUSTER)
    assert out.loss == pytest.approx(-3, abs=1e-9)
    assert derivatives(trimer())[0] > out.loss
    np.testing.assert_allclose(np.asarray(out.direction).sum(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cross(trimer(), out.direction).sum(0), 0, atol=1e-9)
    with pytest.raises(ValueError, match="symmetry shifted"):
        landscape.escape(wells, np.zeros(2), symmetries=[shifted])


def shifted(t, w):
    return w + t


@pytest.mark.slow
@pytest.mark.parametrize("start", [OCTAHEDRON, MINIMA["LJ6 second"][1]])
def test_the_two_minima_of_six_atoms(start):
    point = landscape.find_minimum(lennard_jones, start, symmetries=CLUSTER)
    seen = landscape.explore(
        lennard_jones, point.params, searches=24, radius=0.2, symmetries=CLUSTER
    )
    assert [round(p.loss, 6) for p in seen.minima] == [-12.712062, -12.302928]
    assert all(p.certified and p.symmetry_modes == 6 for p in seen.minima)
    endings = [f.ending for f in seen.found]
    assert endings.count("minimum") > sum(p.kind == "minimum" for p in seen.distinct)
