"""Surfaces: closed forms, numpy's loops, and grids that are gone on with to the bit."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxml.landscape import Surface, surface
from jaxml.landscape.geometry.surfaces import _evaluate as evaluating
from tests import problems


@pytest.fixture(scope="module")
def quadratic():
    """½ wᵀAw − bᵀw in six dimensions, a point and three directions, float64."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(6, 6))
    return matrix + matrix.T, rng.normal(size=6), rng.normal(size=6), rng.normal(size=(3, 6))


def bound(matrix, vector):
    with jax.enable_x64(True):
        return Partial(problems.quadratic, matrix=jnp.array(matrix), vector=jnp.array(vector))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_quadratic_in_closed_form(quadratic, count):
    matrix, vector, x, rows = quadratic
    axes = [np.linspace(-2, 3, 4), np.linspace(0, 1, 3), np.array([0.5, -1.0])][:count]
    seen = surface(bound(matrix, vector), x, rows[:count], coordinates=axes)
    assert seen.finished
    assert seen.losses.shape == tuple(map(len, axes))
    assert seen.losses.dtype == np.float64
    for place in np.ndindex(seen.losses.shape):
        w = x + sum(axes[k][i] * rows[k] for k, i in enumerate(place))
        expected = 0.5 * w @ matrix @ w - vector @ w
        assert seen.losses[place] == pytest.approx(expected, rel=1e-12)


def test_coordinates_for_every_direction(quadratic):
    matrix, vector, x, rows = quadratic
    seen = surface(bound(matrix, vector), x, rows[:2])
    assert seen.losses.shape == (51, 51)
    np.testing.assert_array_equal(seen.coordinates, [np.linspace(-1, 1, 51)] * 2)
    again = surface(bound(matrix, vector), x, rows[:2], coordinates=np.linspace(-1, 1, 51))
    np.testing.assert_array_equal(again.losses, seen.losses)


def test_differences_along_eigenvectors():
    """Slope 0 and curvature λ at a critical point, and no mixed term, from the grid alone."""
    rng = np.random.default_rng(1)
    matrix, cubic = rng.normal(size=(5, 5)), rng.normal(size=(5, 5, 5))
    cubic = sum(cubic.transpose(order) for order in itertools.permutations(range(3)))
    matrix = matrix + matrix.T
    with jax.enable_x64(True):
        known = {"matrix": matrix, "cubic": cubic, "quartic": rng.normal(size=5)}
        loss = Partial(problems.polynomial, **jax.tree.map(jnp.array, known))
    eigenvalues, vectors = np.linalg.eigh(matrix)
    h = 1e-3
    f = surface(loss, np.zeros(5), vectors.T[[0, -1]], coordinates=[-h, 0, h]).losses
    slopes = np.array([f[2, 1] - f[0, 1], f[1, 2] - f[1, 0]]) / (2 * h)
    np.testing.assert_allclose(slopes, 0, atol=1e-4)  # h²/6 of the third derivative
    second = [(f[2, 1] - 2 * f[1, 1] + f[0, 1]) / h**2, (f[1, 2] - 2 * f[1, 1] + f[1, 0]) / h**2]
    np.testing.assert_allclose(second, eigenvalues[[0, -1]], rtol=1e-4)
    mixed = (f[2, 2] - f[2, 0] - f[0, 2] + f[0, 0]) / (4 * h**2)
    assert abs(mixed) < 1e-4


def wavy(params, scale):
    """NaN on one side, infinite far out on the other."""
    return scale * jnp.sqrt(params["a"].sum()) + jnp.exp(100 * params["b"].sum())


POINT = {"a": np.full((2, 2), 0.1, np.float32), "b": np.zeros(3, np.float32)}
WAYS = {"a": np.ones((2, 2, 2), np.float32), "b": np.ones((2, 3), np.float32)}
WAYS["a"][1] *= 0.3
AXES = [np.linspace(-1, 1, 9), np.linspace(-2, 2, 7)]


@pytest.mark.parametrize("how", ["interrupted", "told to end"])
def test_gone_on_with_to_the_bit(how, tmp_path):
    loss = Partial(wavy, scale=jnp.float32(2))
    whole = surface(loss, POINT, WAYS, coordinates=AXES, chunk=32)
    assert np.isnan(whole.losses).any()
    assert np.isinf(whole.losses).any()
    assert np.isfinite(whole.losses).any()

    def end(done, total):
        assert total == 63
        if done >= 20 and how == "interrupted":
            raise KeyboardInterrupt
        return done >= 20

    part = surface(loss, POINT, WAYS, coordinates=AXES, chunk=5, on_progress=end)
    assert not part.finished
    assert part.done.sum() == 20
    assert np.isnan(part.losses[~part.done]).all()
    part.save(tmp_path / "part.npz")
    part = Surface.load(tmp_path / "part.npz")
    calls = []
    result = surface(
        loss, POINT, WAYS, coordinates=AXES, chunk=7, done=part,
        on_progress=lambda done, total: calls.append(done),
    )  # fmt: skip
    # what is NaN is done all the same
    assert calls == [27, 34, 41, 48, 55, 62, 63]
    assert result.finished
    np.testing.assert_array_equal(result.losses, whole.losses)
    assert result.losses.tobytes() == whole.losses.tobytes()
    # and what was handed in has not changed
    assert part.done.sum() == 20
    assert surface(loss, POINT, WAYS, coordinates=AXES, done=result).finished


def test_another_problem_is_not_gone_on_with():
    loss = Partial(wavy, scale=jnp.float32(2))
    part = surface(loss, POINT, WAYS, coordinates=AXES, on_progress=lambda done, total: True)
    with pytest.raises(ValueError, match="same coordinates"):
        surface(loss, POINT, WAYS, coordinates=[AXES[0], AXES[0]], done=part)
    with pytest.raises(ValueError, match="same losses"):
        surface(Partial(wavy, scale=jnp.float32(3)), POINT, WAYS, coordinates=AXES, done=part)
    double = Surface(part.coordinates, part.losses.astype(float), part.done)
    with pytest.raises(ValueError, match="a surface in float32, got float64"):
        surface(loss, POINT, WAYS, coordinates=AXES, done=double)


def test_compiled_once_for_all_chunks_and_data():
    traces = []

    def counted(params, scale):
        traces.append(1)
        return scale * (params**2).sum()

    x, rows = np.ones(3, np.float32), np.eye(3, dtype=np.float32)
    before = evaluating._cache_size()
    for scale in (1.0, 2.0):
        loss = Partial(counted, scale=jnp.float32(scale))
        for length in (5, 9):
            seen = surface(loss, x, rows[:2], coordinates=np.linspace(-1, 1, length))
            assert seen.losses[-1, -1] == 9 * scale
    # of each call two to read the loss; what is compiled runs what was read
    assert len(traces) == 2 * 4
    assert evaluating._cache_size() == before + 1


def test_float64_on_demand():
    loss = lambda w: (w - 1e-9).sum()  # noqa: E731
    x = np.zeros(1, np.float32)
    kinds = [surface(loss, x, x[None] + 1, float64=f).losses.dtype for f in (False, True)]
    assert kinds == [np.float32, np.float64]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"directions": np.zeros((4, 3))}, "one to three directions, got 4"),
        ({"directions": np.zeros(3)}, r"stacked along one leading axis, of shapes \[\('n', 3\)\]"),
        ({"directions": np.zeros((2, 4))}, r"got \[\(2, 4\)\]"),
        ({"directions": {"w": np.zeros((2, 3))}}, "directions like"),
        ({"directions": np.full((1, 3), np.nan)}, "finite directions"),
        ({"coordinates": [[0, 1]]}, "coordinates for 2 directions, got for 1"),
        ({"coordinates": [0, np.inf]}, "finite coordinates"),
        ({"coordinates": [[0], []]}, "finite coordinates"),
        ({"chunk": 0}, "chunk to be a whole number"),
        ({"params": np.array([1, 2, 3])}, "float32 or float64"),
    ],
)
def test_bad_input(change, message):
    arguments = {"params": np.zeros(3), "directions": np.eye(3)[:2]} | change
    with pytest.raises(ValueError, match=message):
        surface(lambda w: (w**2).sum(), **arguments)


def test_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.ones(2))
    with pytest.raises(ValueError, match="a file that to_npz wrote"):
        Surface.load(tmp_path / "other.npz")
