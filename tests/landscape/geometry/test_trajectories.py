"""Trajectories: scikit-learn's components, numpy's losses, and the random walk's shares."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from jaxml.landscape import surface, trajectory


def loss(params):
    return (params["a"] ** 2).sum() + 3 * (params["b"] - 1).sum() ** 2


def by_numpy(flat):
    return (flat[:4] ** 2).sum() + 3 * (flat[4:] - 1).sum() ** 2


def stacked(rows):
    return {"a": rows[:, :4].reshape(-1, 2, 2), "b": rows[:, 4:]}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(12, 7)) * np.array([5, 3, 2, 1, 1, 0.5, 0.1])


@pytest.fixture(scope="module")
def seen(rows):
    return trajectory(loss, stacked(rows))


def flat(tree):
    return np.concatenate([tree["a"].reshape(*tree["a"].shape[:-2], 4), tree["b"]], axis=-1)


def test_components_are_scikit_learns(rows, seen):
    pca = PCA(2).fit(rows)
    basis = flat(seen.directions)
    np.testing.assert_allclose(seen.explained_variance_ratio, pca.explained_variance_ratio_)
    np.testing.assert_allclose(abs(basis @ pca.components_.T), np.eye(2), atol=1e-12)
    projected = pca.transform(rows) - pca.transform(rows[-1:])
    np.testing.assert_allclose(abs(seen.path), abs(projected), atol=1e-12)
    assert (seen.path[0] >= 0).all()
    np.testing.assert_array_equal(seen.path[-1], 0)


def test_true_losses_beside_projected_ones(rows, seen):
    basis = flat(seen.directions)
    for k, row in enumerate(rows):
        inside = rows[-1] + basis.T @ (basis @ (row - rows[-1]))
        assert seen.losses[k] == pytest.approx(by_numpy(row), rel=1e-12)
        assert seen.projected_losses[k] == pytest.approx(by_numpy(inside), rel=1e-12)
        assert seen.distances[k] == pytest.approx(np.linalg.norm(row - inside), abs=1e-12)
        error = abs(by_numpy(inside) - by_numpy(row)) / by_numpy(row)
        assert seen.errors[k] == pytest.approx(error, abs=1e-12)
    worst = int(np.argmax(seen.errors))
    assert f"at point {worst}," in str(seen)
    assert f"{100 * seen.errors.max():.3g} %" in str(seen)


def test_projected_losses_are_those_of_the_surface(seen):
    axes = [np.sort(seen.path[:, k]) for k in (0, 1)]
    plane = surface(loss, seen.params, seen.directions, coordinates=axes)
    for place, value in zip(seen.path, seen.projected_losses, strict=True):
        i, j = (np.searchsorted(axis, c) for axis, c in zip(axes, place, strict=True))
        assert plane.losses[i, j] == value


def test_a_plane_path_has_a_right_picture():
    plane = np.random.default_rng(1).normal(size=(2, 7))
    path = np.array([[3, 1], [2, 1.5], [1, 1], [0, 0.5]]) @ plane
    seen = trajectory(loss, stacked(path))
    assert seen.explained_variance_ratio.sum() == pytest.approx(1)
    assert seen.errors.max() < 1e-12
    low, high = seen.path.min(axis=0), seen.path.max(axis=0)
    for axis, a, b in zip(seen.frame(11), low, high, strict=True):
        assert axis.size == 11
        assert axis[0] < a <= b < axis[-1]


def test_random_walk_has_its_known_shares():
    """Antognini and Sohl-Dickstein 2018: 6/π² = 60.8 % and 15.2 % for a long walk."""
    steps = np.random.default_rng(2).normal(size=(100, 1500)).astype("f")
    seen = trajectory(lambda w: (w**2).sum(), steps.cumsum(axis=0))
    np.testing.assert_allclose(seen.explained_variance_ratio, [0.608, 0.152], rtol=0.05)
    assert "(a random walk: 76 %)" in str(seen)
    assert seen.errors.max() > 0.1  # and its picture is wrong
    assert seen.losses.dtype == np.float32


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.ones((2, 3)), "more than 2 points, got 2"),
        (np.ones((5, 3)), "points that differ"),
        (np.float64(1.0), "stacked along one leading axis"),
        (np.array([[1, np.nan], [2, 2], [3, 3]]), "finite points"),
    ],
)
def test_bad_input(points, message):
    with pytest.raises(ValueError, match=message):
        trajectory(lambda w: (w**2).sum(), points)


def test_in_float64_if_asked(rows):
    """Of float32 points far out, where the losses of float32 have no digits left."""
    points = (rows + 1e3).astype(np.float32)
    found = trajectory(lambda w: ((w - 1e3) ** 2).sum(), points, float64=True)
    exact = ((points.astype(float) - 1e3) ** 2).sum(1)
    np.testing.assert_allclose(found.losses, exact, rtol=1e-12)
