"""Declared symmetries: zero modes counted, the rest certified, false declarations refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clusters import MINIMA, derivatives, lennard_jones, relaxed, trimer
from jax.tree_util import Partial
from problems import one_of

from jaxml import landscape
from jaxml.landscape import permutations, reflection, rescaling, rotations, translations

CLUSTER = [translations(3), rotations(3), reflection(3), permutations(0)]


def nonzero(matrix, zeros):
    """The eigenvalues without so many of least size, ascending."""
    values = np.linalg.eigvalsh(matrix)
    order = np.argsort(abs(values))
    assert abs(values[order[:zeros]]).max(initial=0) < 1e-9 * abs(values[order[zeros]])
    return np.sort(values[order[zeros:]])


@pytest.mark.parametrize(
    "name",
    [name if name == "LJ5" else pytest.param(name, marks=pytest.mark.slow) for name in MINIMA],
)
def test_a_cluster_is_a_minimum_on_the_quotient(name):
    energy, start = MINIMA[name]
    points = relaxed(start)
    found = landscape.analyze(lennard_jones, points, symmetries=CLUSTER)
    assert (found.kind, found.certified, found.symmetry_modes) == ("minimum", True, 6)
    assert found.loss == pytest.approx(energy, abs=6e-7)
    assert found.size == points.size == len(found.eigenvalues) + 6
    np.testing.assert_allclose(found.eigenvalues, nonzero(derivatives(points)[2], 6), rtol=1e-9)
    assert found.tolerance < 1e-8
    assert "6 modes of symmetries" in str(found)


@pytest.mark.slow
def test_a_cluster_in_float32():
    points = relaxed(MINIMA["LJ5"][1])
    found = landscape.analyze(lennard_jones, points.astype(np.float32), symmetries=CLUSTER)
    assert (found.kind, found.certified, found.symmetry_modes) == ("minimum", True, 6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.eigenvalues, nonzero(derivatives(points)[2], 6), rtol=1e-3)


@pytest.mark.slow
def test_without_them_it_is_degenerate_and_its_tolerance_larger():
    """A point off its minimum: along zero modes to rounding, a Newton step would be long."""
    points = relaxed(MINIMA["LJ5"][1]) + 1e-9 * np.random.default_rng(1).normal(size=(5, 3))
    plain = landscape.analyze(lennard_jones, points)
    found = landscape.analyze(lennard_jones, points, symmetries=CLUSTER)
    assert (plain.kind, plain.counts.within, plain.symmetry_modes) == ("degenerate", 6, 0)
    assert (found.kind, found.certified) == ("minimum", True)
    assert found.distance < 1e-8
    assert found.tolerance <= plain.tolerance
    refined = derivatives(np.asarray(found.refined))
    assert np.linalg.norm(refined[1]) < 1e-4 * found.gradient_norm


@pytest.mark.parametrize("off", [0, 1e-13, 1e-9])
@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
def test_a_linear_molecule_has_one_rotation_fewer(off, dtype):
    """Where it is linear only nearly too: then the third rotation is one of its bends."""
    line = trimer()
    bent = line + off * np.random.default_rng(2).normal(size=(3, 3))
    found = landscape.analyze(lennard_jones, bent.astype(dtype), symmetries=CLUSTER)
    assert (found.kind, found.certified, found.symmetry_modes) == ("saddle", True, 5)
    assert found.index == 2
    expected = nonzero(derivatives(line)[2], 5)
    np.testing.assert_allclose(
        found.eigenvalues, expected, atol=1e-6 if dtype == np.float64 else 1e-3
    )


def test_the_direction_of_descent_is_off_the_orbit():
    found = landscape.analyze(lennard_jones, trimer(), symmetries=CLUSTER)
    assert jax.tree.leaves(found.eigenvectors)[0].shape == (2, 3, 3)
    descent = np.asarray(found.descent)
    assert np.linalg.norm(descent) == pytest.approx(1)
    np.testing.assert_allclose(descent.sum(0), 0, atol=1e-9)  # no shift
    np.testing.assert_allclose(np.cross(trimer(), descent).sum(0), 0, atol=1e-9)  # no turn
    matrix = derivatives(trimer())[2]
    assert descent.ravel() @ matrix @ descent.ravel() == pytest.approx(found.eigenvalues[0])


def hat(w, height):
    return height * ((w**2).sum() - 1) ** 2


@pytest.mark.slow
@pytest.mark.parametrize("float64", [False, True])
@pytest.mark.parametrize("height", [1e-3, 1.0, 1e3])
def test_the_ring_of_the_mexican_hat(float64, height):
    with jax.enable_x64(float64):
        loss = Partial(hat, height=jnp.asarray(height))
    point = np.array([0.6, 0.8], np.float64 if float64 else np.float32)
    found = landscape.analyze(loss, point, symmetries=[rotations(2)])
    assert (found.kind, found.certified, found.symmetry_modes) == ("minimum", True, 1)
    np.testing.assert_allclose(found.eigenvalues, [8 * height], rtol=1e-5)


@pytest.mark.parametrize("off", [0.0, 1e-12, 1e-9, 1e-6, 1e-4])
def test_the_top_of_the_mexican_hat_is_no_orbit(off):
    """The rotation has a fixed point, and near it no direction that could be left out."""
    loss = Partial(hat, height=np.ones(()))
    point, tolerance = np.array([off, off]), None if off < 1e-8 else 1e-3
    found = landscape.analyze(loss, point, symmetries=[rotations(2)], gradient_tolerance=tolerance)
    assert (found.kind, found.certified, found.symmetry_modes) == ("maximum", True, 0)
    np.testing.assert_allclose(found.eigenvalues, [-4, -4], rtol=1e-6)


def turn_by_hand(t, w):
    c, s = jnp.cos(3 * t), jnp.sin(3 * t)
    return jnp.array([c * w[0] - s * w[1], s * w[0] + c * w[1]])


@pytest.mark.parametrize("symmetries", [[turn_by_hand], [rotations(2), turn_by_hand]])
def test_a_family_of_one_s_own_counts_once(symmetries):
    loss = Partial(hat, height=np.ones(()))
    found = landscape.analyze(loss, np.array([0.6, 0.8]), symmetries=symmetries)
    assert (found.kind, found.symmetry_modes) == ("minimum", 1)


@pytest.mark.slow
def test_a_rescaled_product(x64):
    """(1 − ab)² at ab = 1: the gradient of ab is (b, a), the only curvature 2(a² + b²)."""
    loss = lambda p: (1 - (p["a"] * p["b"]).sum()) ** 2  # noqa: E731
    params = {"a": np.array([2.0]), "b": np.array([0.5])}
    scale = rescaling(1, {"a": 0}, {"b": 0})
    found = landscape.analyze(loss, params, symmetries=[scale])
    assert (found.kind, found.certified, found.symmetry_modes) == ("minimum", True, 1)
    np.testing.assert_allclose(found.eigenvalues, [8.5], rtol=1e-12)


def relu_net(params, x, y, l2=0.0):
    hidden = jax.nn.relu(x @ params["in"]["kernel"] + params["in"]["bias"])
    outputs = hidden @ params["out"]["kernel"]
    squares = sum((leaf**2).sum() for leaf in jax.tree.leaves(params))
    return ((outputs[:, 0] - y) ** 2).mean() + l2 * squares


IN = {"in/kernel": 1, "in/bias": 0}
OUT = {"out/kernel": 0}
UNITS = [rescaling(2, IN, OUT), permutations(IN | OUT)]


@pytest.fixture(scope="module")
def relu():
    """A ReLU net of two units at the bottom of a regression that it cannot fit."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    y += np.maximum(x @ [1.0, 2.0], 0) + np.maximum(x @ [-2.0, 1.0] - 0.2, 0)
    kernel = np.array([[1.0, -2.0], [2.0, 1.0]])
    start = {
        "in": {"kernel": kernel, "bias": np.array([0.0, -0.2])},
        "out": {"kernel": np.ones((2, 1))},
    }
    loss = Partial(relu_net, x=x, y=y)
    return loss, landscape.find_minimum(loss, start).params


@pytest.mark.slow
def test_the_units_of_a_relu_net(relu):
    loss, params = relu
    plain = landscape.analyze(loss, params)
    found = landscape.analyze(loss, params, symmetries=UNITS)
    assert (plain.kind, plain.counts.within) == ("degenerate", 2)
    assert (found.kind, found.certified, found.symmetry_modes) == ("minimum", True, 2)
    matrix = np.asarray(landscape.hessian(loss, found.refined).dense())
    np.testing.assert_allclose(found.eigenvalues, nonzero(matrix, 2), rtol=1e-6)


@pytest.mark.slow
def test_weight_decay_breaks_the_rescaling_but_not_the_permutations(relu):
    loss, params = relu
    decayed = Partial(loss.func, **loss.keywords, l2=0.01)
    with pytest.raises(ValueError, match=r"rescaling of in/kernel, in/bias leaves unchanged"):
        landscape.analyze(decayed, params, symmetries=UNITS)
    found = landscape.analyze(decayed, params, symmetries=UNITS[1:])
    assert found.symmetry_modes == 0


def shifted(t, w):
    return w.at[0].add(t)


def swapped(w):
    return w[::-1]


ELLIPSE, NEARLY_ROUND, SLOPING, QUARTIC, ROUND, ASIDE = one_of(
    lambda w: w[0] ** 2 + 2 * w[1] ** 2,
    lambda w: w[0] ** 2 + (1 + 1e-4) * w[1] ** 2,
    lambda w: w[1] * w[0] ** 2 + w[1] ** 2,
    lambda w: w[0] ** 4 + w[1] ** 2,
    lambda w: (w**2).sum(),
    lambda w: w[0] ** 2 + w[0] + w[1] ** 2,
)


@pytest.mark.parametrize("float64", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("loss", "point", "symmetry", "name"),
    [
        (ELLIPSE, [0.0, 0.0], rotations(2), "rotations"),
        (NEARLY_ROUND, [0.0, 0.0], rotations(2), "rotations"),
        (SLOPING, [0.0, 0.0], shifted, "shifted"),
        (QUARTIC, [0.0, 0.0], shifted, "shifted"),
        (ROUND, [1.0, 1.0], lambda t, w: w.at[0].add(t), r"symmetries\[0\]"),
        (ELLIPSE, [1.0, 1.0], permutations(0), "permutations"),
        (ELLIPSE, [1.0, 1.0], swapped, "swapped"),
        (ASIDE, [1.0, 1.0], reflection(2), "reflection"),
    ],
)
def test_a_false_symmetry_is_refused(loss, point, symmetry, name, float64):
    with pytest.raises(ValueError, match=rf"symmetry {name}.*a change of \d"):
        landscape.analyze(loss, np.float32(point), float64=float64, symmetries=[symmetry])


@pytest.mark.parametrize(
    ("symmetries", "message"),
    [
        (rotations(2), "a list of symmetries, got ContinuousSymmetry"),
        (turn_by_hand, "a list of symmetries, got function"),
        ([3], "a function of .* got int"),
        ([lambda: 0], r"a function of .* got one of \(\)"),
        ([lambda a, b, c: a], r"got one of \(a, b, c\)"),
        ([lambda w: w[:1]], r"parameters of .* from the symmetry symmetries\[0\]"),
        ([lambda t, w: w + 1 + t], r"identity at t = 0 of the symmetry symmetries\[0\], got 1"),
        ([rotations(3)], r"points of 3 coordinates, shape \(\.\.\., 3\), got shape \(2,\)"),
        ([translations(2, leaf="w")], "path, got 'w'"),
        ([rotations(2, leaf="w")], "path, got 'w'"),
        ([reflection(2, leaf="w")], "path, got 'w'"),
        ([permutations(1)], "an axis of the array, of shape"),
        ([permutations({"w": 0})], "path, got 'w'"),
    ],
)
def test_what_is_no_symmetry(symmetries, message):
    loss = Partial(hat, height=np.ones(()))
    with pytest.raises(ValueError, match=message):
        landscape.analyze(loss, np.array([0.6, 0.8]), symmetries=symmetries)


def test_arguments_of_the_ready_ones():
    for make in (translations, rotations, reflection):
        with pytest.raises(ValueError, match="dim"):
            make(0)
    with pytest.raises(ValueError, match="2 dimensions"):
        rotations(1)
    with pytest.raises(ValueError, match="into and out of"):
        rescaling(2, {}, {"out": 0})
    with pytest.raises(ValueError, match="at least one array"):
        permutations({})
    params = {"a": np.ones(2), "b": np.ones(3)}
    with pytest.raises(ValueError, match=r"as many entries .* got \[2, 3\]"):
        landscape.analyze(
            lambda p: (p["a"] ** 2).sum() + (p["b"] ** 2).sum(), params,
            symmetries=[permutations({"a": 0, "b": 0})],
        )  # fmt: skip
    with pytest.raises(ValueError, match="2 units along axis 0 of b"):
        rescaling(2, {"a": 0}, {"b": 0}).transform(np.zeros(2), jax.tree.map(jnp.asarray, params))


def test_a_symmetry_is_read_anew():
    """One that reads a global is what it is now."""
    center = np.zeros(2)

    def about(t, w):
        c, s = jnp.cos(t), jnp.sin(t)
        return jnp.array([[c, -s], [s, c]]) @ (w - center) + center

    loss = Partial(hat, height=np.ones(()))
    point = np.array([0.6, 0.8])
    assert landscape.analyze(loss, point, symmetries=[about]).symmetry_modes == 1
    center += 0.5
    with pytest.raises(ValueError, match="symmetry about"):
        landscape.analyze(loss, point, symmetries=[about])


@pytest.mark.slow
def test_an_orbit_that_is_all_there_is():
    with pytest.raises(ValueError, match="not along an orbit"):
        landscape.analyze(
            lambda w: 0 * w.sum(), np.ones(2), symmetries=[lambda t, w: w + t, shifted]
        )
