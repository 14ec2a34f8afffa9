"""Saddles found on purpose: those known in closed form, tabled, or checked by numpy alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from problems import autoencoder

from jaxml import data, landscape, nn, training
from jaxml.data.surfaces import CRITICAL_POINTS, himmelblau, monkey_saddle, muller_brown
from jaxml.landscape import connected_minima, find_saddle
from jaxml.landscape.critical.string_method import lower_string
from jaxml.training import losses, optimizers, sampling


def camel(w, height=1.0, length=1.0):
    x, y = w / length
    return height * ((4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (4 * y**2 - 4) * y**2)


def critical_points_of_the_camel():
    """Its 15 critical points by index: with y = 8.4x³ − 8x − 2x⁵ one polynomial in x is left."""
    y = np.polynomial.Polynomial([0, -8, 0, 8.4, 0, -2])
    x = (np.polynomial.Polynomial([0, 1]) - 8 * y + 16 * y**3).roots()
    real = x[abs(x.imag) < 1e-8].real
    points = {0: [], 1: [], 2: []}
    for place in np.stack([real, y(real)], axis=1):
        a, b = place
        matrix = [[8 - 25.2 * a**2 + 10 * a**4, 1], [1, 48 * b**2 - 8]]
        points[int((np.linalg.eigvalsh(matrix) < 0).sum())].append(place)
    return {index: np.array(places) for index, places in points.items()}


def well(w):
    return (w[0] ** 2 - 1) ** 2 + w[1] ** 2


def many(loss, starts, **options):
    """One program for all starts, in float64."""
    with jax.enable_x64(True):
        one = lambda start: find_saddle(loss, start, **options)  # noqa: E731
        return jax.device_get(jax.jit(jax.vmap(one))(jax.tree.map(jnp.asarray, starts)))


@pytest.mark.parametrize("index", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_saddle_of_the_camel_and_none_other(index):
    known = critical_points_of_the_camel()
    assert [len(known[k]) for k in range(3)] == [6, 7, 2]
    starts = np.random.default_rng(0).uniform((-2, -1.2), (2, 1.2), (100, 2))
    found = many(camel, starts, index=index)
    assert found.converged.sum() >= (80 if index == 1 else 30)
    away = np.linalg.norm(found.params[found.converged][:, None] - known[index], axis=-1)
    assert set(away.argmin(1)) == set(range(len(known[index])))
    assert away.min(1).max() < 1e-9
    assert (found.index[found.converged] == index).all()
    assert found.point is None
    # the path begins at the start, ends at the end, and has no more
    k = int(np.flatnonzero(found.converged)[0])
    loss = found.path["loss"][k]
    assert loss[0] == pytest.approx(camel(starts[k]))
    assert loss[found.steps[k]] == pytest.approx(found.loss[k], abs=1e-14)
    assert np.isnan(loss[found.steps[k] + 1 :]).all()
    assert found.path["eigenvalue"][k][found.steps[k]] == found.eigenvalues[k].max() < 0


@pytest.mark.slow
def test_the_minima_on_either_side_are_the_tabled_ones():
    minima = np.array([point.x for point in CRITICAL_POINTS["muller_brown"][:3]])
    for saddle, ends in zip(CRITICAL_POINTS["muller_brown"][3:], ({0, 2}, {1, 2}), strict=True):
        sides = connected_minima(muller_brown, np.array(saddle.x))
        away = np.linalg.norm(np.stack([way.params for way in sides])[:, None] - minima, axis=-1)
        assert set(away.argmin(1)) == ends
        assert away.min(1).max() < 1e-7
        assert sides[0].distance > 0
        assert sides[1].distance > 0


@pytest.mark.slow
def test_between_two_minima_the_highest_saddle_on_the_way():
    first, second, _, highest, lower = CRITICAL_POINTS["muller_brown"]
    ends = np.array(first.x), np.array(second.x)
    found = find_saddle(muller_brown, ends[0], to=ends[1], images=15, string_steps=300)
    np.testing.assert_allclose(found.params, highest.x, atol=1e-9)
    assert (found.point.certified, found.index) == (True, 1)
    assert found.gradients == 13 * 300 + 1 + found.steps
    # the string is evenly spaced, and lies in the valleys: over both saddles, no higher
    np.testing.assert_allclose(found.string[[0, -1]], ends)
    gaps = np.linalg.norm(np.diff(found.string, axis=0), axis=1)
    assert gaps.max() < 1.2 * gaps.min()
    heights = np.array([muller_brown(point) for point in found.string])
    assert highest.value - 5 < heights.max() < highest.value + 5
    between = heights[6:]
    assert lower.value - 2 < between[4:-1].max() < lower.value + 2


def test_a_string_leaves_a_ridge_that_a_symmetry_keeps_it_on():
    """Between (∓1, 0) the line runs over the maximum at 0 of a ring's loss; the ring is at 0."""
    ring = lambda w: ((w**2).sum() - 1) ** 2  # noqa: E731
    with jax.enable_x64(True):
        ends = jnp.array([-1.0, 0]), jnp.array([1.0, 0])
        string = jax.jit(lambda: lower_string(ring, *ends, 11, 400))
        points, heights = jax.device_get(string())
    assert heights.max() < 0.02
    assert np.ptp(np.linalg.norm(points, axis=1)) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("start", [(0.0, 0.0), (-0.270844590667, -0.923038556479)])
def test_a_start_of_another_index_is_left(start):
    """From a maximum of Himmelblau's, and from near it, to one of the four saddles."""
    found = find_saddle(himmelblau, np.array(start), float64=True)
    saddles = np.array([p.x for p in CRITICAL_POINTS["himmelblau"] if p.index == 1])
    assert np.linalg.norm(saddles - found.params, axis=1).min() < 1e-9
    assert (found.converged, found.index, found.point.kind) == (True, 1, "saddle")
    assert found.gradients == found.steps + 1
    # at it, nothing is left to do
    again = find_saddle(himmelblau, found.params)
    assert (again.steps, again.hessians, again.converged) == (0, 1, True)


@pytest.mark.slow
def test_a_minimum_is_left_where_it_is_told():
    for sense in (1.0, -1.0):
        start = np.array([sense, 0.0])
        found = find_saddle(well, start, direction=np.array([-sense, 0.1]))
        np.testing.assert_allclose(found.params, 0, atol=1e-12)
        assert found.loss == 1
        np.testing.assert_allclose(abs(found.directions), [[1, 0]], atol=1e-12)
        assert found.eigenvalues == pytest.approx([-4])
        ways = connected_minima(well, found.params, direction=found.directions[0])
        assert sorted(way.params[0] for way in ways) == pytest.approx([-1, 1])
    with pytest.raises(landscape.NoDescentError, match="falls in that sense not"):
        landscape.escape(well, np.array([1.0, 0.0]), direction=np.array([1.0, 0]), one_sided=True)
    # uphill only: no saddle lies there, and the search says so
    gone = find_saddle(well, np.array([1.0, 0.0]), direction=np.array([0, 1.0]), max_steps=20)
    assert (gone.converged, gone.point) == (False, None)


@pytest.mark.slow
def test_an_index_that_no_eigenvalue_decides_is_not_claimed():
    """The monkey saddle's Hessian is zero: at it nothing is followed, near it nothing decided."""
    at = find_saddle(monkey_saddle, np.zeros(2))
    assert (at.converged, at.index, at.steps, at.point) == (False, 0, 1, None)
    near = find_saddle(monkey_saddle, np.array([1.0, 0.5]))
    assert near.point.kind == "degenerate"
    assert not near.converged


@pytest.mark.slow
def test_single_precision():
    starts = np.random.default_rng(0).uniform((-2, -1.2), (2, 1.2), (20, 2)).astype(np.float32)
    found = jax.jit(jax.vmap(lambda start: find_saddle(camel, start)))(starts)
    assert found.loss.dtype == np.float32
    assert found.converged.sum() >= 16
    known = critical_points_of_the_camel()[1]
    away = np.linalg.norm(np.asarray(found.params)[:, None] - known, axis=-1).min(1)
    assert away[found.converged].max() < 1e-5


@pytest.mark.slow
def test_of_index_two_along_two_directions():
    """From a minimum of Himmelblau's to its maximum; a maximum has the index of all parameters."""
    toward = np.array([[-1.0, 0.0], [0.0, -1.0]])
    found = find_saddle(himmelblau, np.array([3.0, 2.0]), index=2, direction=toward)
    np.testing.assert_allclose(found.params, CRITICAL_POINTS["himmelblau"][-1].x, atol=1e-9)
    assert (found.converged, found.index, found.point.kind) == (True, 2, "maximum")
    assert found.directions.shape == (2, 2)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(2), atol=1e-12)


@pytest.mark.slow
def test_no_unit_matters():
    known = critical_points_of_the_camel()[1]
    for height, length in ((1e-12, 1.0), (1e15, 1e-10), (1e-15, 1e12)):
        with jax.enable_x64(True):
            loss = Partial(camel, height=jnp.array(height), length=jnp.array(length))
        found = find_saddle(loss, length * np.array([0.3, 0.2]))
        assert found.converged
        assert np.linalg.norm(known - found.params / length, axis=1).min() < 1e-8
        assert found.point.certified


def lennard_jones(points):
    i, j = np.triu_indices(len(points), 1)
    inverse = 1 / ((points[i] - points[j]) ** 2).sum(1) ** 3
    return 4 * (inverse**2 - inverse).sum()


def slopes(points):
    """The gradient of it, by numpy."""
    apart = points[:, None] - points[None]
    square = (apart**2).sum(-1) + np.eye(len(points))
    weights = 4 * (-12 / square**7 + 6 / square**4) * (1 - np.eye(len(points)))
    return (weights[..., None] * apart).sum(1)


def index_by_differences(points):
    """Negative eigenvalues of a Hessian of differences of `slopes`, and those that are zero."""
    step, units = 1e-5, np.eye(points.size).reshape(-1, *points.shape)
    rows = [(slopes(points + step * u) - slopes(points - step * u)).ravel() for u in units]
    matrix = np.array(rows) / (2 * step)
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return int((values < -1e-3).sum()), int((abs(values) < 1e-3).sum())


RIGID = [landscape.translations(3), landscape.rotations(3)]
OCTAHEDRON = 0.8 * np.concatenate([np.eye(3), -np.eye(3)])
# the minima of Hoare and Pal 1971, also in the Cambridge Cluster Database
MINIMA = {6: (-12.712062, -12.302928), 7: (-16.505384, -15.935043, -15.593211, -15.533060)}
SADDLES = {
    6: (-12.07903, -11.63031, -11.33403),
    7: (-15.44473, -15.31986, -15.28342, -15.09785, -15.03338, -15.02644, -14.81640, -14.81113,
        -14.59695, -14.56806, -14.54857, -12.54894),
}  # fmt: skip


def check_clusters(atoms, starts, least):
    found = many(lennard_jones, starts, symmetries=RIGID)
    assert found.converged.sum() >= least * len(starts)
    energies = found.loss[found.converged]
    places = np.flatnonzero(found.converged)
    assert set(energies.round(5)) == set(SADDLES[atoms])
    for energy in SADDLES[atoms]:
        points = found.params[places[abs(energies - energy).argmin()]]
        assert abs(slopes(points)).max() < 1e-9
        assert index_by_differences(points) == (1, 6)
    return found


@pytest.mark.slow
def test_three_transition_states_of_six_atoms():
    starts = OCTAHEDRON + np.random.default_rng(0).normal(scale=0.3, size=(60, 6, 3))
    found = check_clusters(6, starts, 0.8)
    best = found.loss[found.converged].argmin()
    params = found.params[found.converged][best]
    point = landscape.analyze(lennard_jones, params, symmetries=RIGID)
    assert (point.kind, point.index, point.certified) == ("saddle", 1, True)
    sides = connected_minima(lennard_jones, params, symmetries=RIGID)
    energies = sorted(way.loss for way in sides)
    np.testing.assert_allclose(energies, MINIMA[6], atol=1e-6)


@pytest.mark.slow
def test_twelve_transition_states_of_seven_atoms():
    """The number is that of Wales's tables."""
    first = np.concatenate([OCTAHEDRON, [[0.9, 0.9, 0.9]]])
    starts = first + np.random.default_rng(0).normal(scale=0.3, size=(400, 7, 3))
    starts[..., 2] /= 8  # the highest is a ring around an atom, nearly flat
    found = check_clusters(7, starts, 0.8)
    for energy in SADDLES[7]:
        k = abs(np.where(found.converged, found.loss, np.inf) - energy).argmin()
        direction = found.directions[k][0]
        for way in connected_minima(lennard_jones, found.params[k], direction=direction):
            assert min(abs(way.loss - e) for e in MINIMA[7]) < 1e-6


@pytest.mark.slow
def test_by_products_alone(x64):
    """The same saddles without a matrix, and one of 3,001 parameters."""
    starts = OCTAHEDRON + np.random.default_rng(1).normal(scale=0.3, size=(20, 6, 3))
    found = many(lennard_jones, starts, symmetries=RIGID, dense=False)
    assert found.converged.sum() >= 5  # the lowest eigenvectors change places, see `dense`
    energies = found.loss[found.converged]
    assert abs(energies[:, None] - np.array(SADDLES[6])).min(1).max() < 1e-5
    assert (found.hessians == 0).all()
    assert (found.products > found.steps).all()
    scales = jnp.linspace(1, 3, 3000)

    def wide(w):
        return (w[0] ** 2 - 1) ** 2 + (scales * w[1:] ** 2).sum() + (w[1:] ** 4).sum()

    start = np.r_[0.7, np.full(3000, 0.1)]
    found = find_saddle(wide, start)
    np.testing.assert_allclose(found.params, 0, atol=1e-8)
    assert (found.converged, found.index, found.point) == (True, 1, None)
    assert found.eigenvalues == pytest.approx([-4], abs=1e-3)


def mixed(t, params):
    """The hidden units in another basis."""
    basis = jnp.eye(2) + t.reshape(2, 2)
    return {
        "decoder": params["decoder"] @ basis,
        "encoder": jnp.linalg.solve(basis, params["encoder"]),
    }


@pytest.mark.slow
def test_a_matrix_factorisation():
    """Baldi and Hornik: of index 1 is only the second eigenvector left out for the third."""
    with jax.enable_x64(True):
        loss, points = autoencoder((4.0, 3.0, 2.0, 1.0), 2)
    (only,) = (point for point in points if point.index == 1)
    assert only.subset == (0, 2)
    rng = np.random.default_rng(0)
    starts = {"decoder": rng.normal(size=(20, 4, 2)), "encoder": rng.normal(size=(20, 2, 4))}
    bases = [landscape.ContinuousSymmetry("GL(2)", mixed, 4)]
    found = many(loss, starts, symmetries=bases)
    assert found.converged.sum() >= 18
    np.testing.assert_allclose(found.loss[found.converged], only.loss, rtol=1e-12)
    params = jax.tree.map(lambda leaf: leaf[found.converged][0], found.params)
    point = landscape.analyze(loss, params, symmetries=bases)
    assert (point.index, point.symmetry_modes, point.certified) == (1, only.nullity, True)
    least = min(point.loss for point in points)
    for way in connected_minima(loss, params, direction=point.descent):
        assert way.loss == pytest.approx(least, rel=1e-9)


@pytest.mark.slow
def test_between_two_networks():
    """On digits: a certified saddle, one of whose sides is a network and the other its twin."""
    rows = data.digits().train
    algorithm = training.supervised(
        nn.mlp([64, 3, 10], activation="tanh"),
        losses.softmax_cross_entropy,
        optimizers.adam(1e-2),
        l2=1e-3,
    )

    def train(seed):
        key = jax.random.key(seed)
        return training.fit(algorithm, rows, sampling.epochs(64), key=key, steps=1000).state

    states = [train(seed) for seed in range(2)]
    loss = training.full_loss(algorithm, states[0], rows)
    ends = [landscape.find_minimum(loss, state.params) for state in states]
    assert all(end.certified for end in ends)
    found = find_saddle(loss, ends[0].params, to=ends[1].params)
    assert (found.point.kind, found.point.index, found.point.certified) == ("saddle", 1, True)
    sides = connected_minima(loss, found.params, max_steps=5000)
    assert sorted(way.loss for way in sides) == pytest.approx(
        sorted(end.loss for end in ends), abs=1e-9
    )
    curve = landscape.connect(loss, ends[0].params, ends[1].params, float64=True)
    assert max(end.loss for end in ends) < found.loss < curve.curve.max() < curve.line.max()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": 0}, "index to be a whole number of at least 1, got 0"),
        ({"index": 3}, "an index of at most the 2 parameters, got 3"),
        ({"max_steps": 0}, "max_steps to be a whole number"),
        ({"string_steps": 0.5}, "string_steps to be a whole number"),
        ({"images": 2}, "at least 3 images, got 2"),
        ({"gradient_tolerance": -1.0}, "gradient_tolerance > 0, got -1"),
        ({"to": np.ones(2), "index": 2}, "index 1 for a saddle between two points, got 2"),
        ({"to": np.ones(2), "direction": np.ones(2)}, "either `to` or a direction, got both"),
        ({"to": np.zeros(2)}, "two points that differ, got the same twice"),
        ({"to": np.zeros(3)}, r"to of shapes \(2,\), got \(3,\)"),
        ({"to": {"w": np.zeros(2)}}, r"to of shapes \(2,\), got \{'w'"),
        ({"to": np.array([0, np.nan])}, "a finite to"),
        ({"direction": np.zeros(2)}, "a direction of length above 0, got zeros"),
        ({"direction": np.ones(2), "index": 2}, r"direction of shapes \(2, 2\), got \(2,\)"),
        ({"direction": np.array([0, np.inf])}, "a finite direction"),
        ({"memory": 10}, "for the dense matrix"),
        ({"symmetries": [landscape.rotations(2)]}, "rotation"),
        ({"params": np.array([0, np.nan])}, "finite values in params"),
        ({"loss": lambda w: w}, "returns one number"),
    ],
)
def test_bad_input(change, message):
    arguments = {"loss": well, "params": np.zeros(2)} | change
    with pytest.raises(ValueError, match=message):
        find_saddle(**arguments)
