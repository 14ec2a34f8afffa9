"""The toy surfaces against their tables, by automatic differentiation in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.data import surfaces

POINTS = [
    pytest.param(name, point, id=f"{name}-{point.kind}-{i}")
    for name, points in surfaces.CRITICAL_POINTS.items()
    for i, point in enumerate(points)
]


@functools.cache
def derivatives(name):
    """The loss, the gradient and the Hessian's eigenvalues, compiled once for a surface."""
    f = surfaces.SURFACES[name]
    return jax.jit(lambda x: (f(x), jax.grad(f)(x), jnp.linalg.eigvalsh(jax.hessian(f)(x))))


@pytest.mark.parametrize(("name", "point"), POINTS)
def test_tabled_points_are_critical_and_of_their_kind(name, point):
    with jax.enable_x64(True):
        value, gradient, eigenvalues = map(np.asarray, derivatives(name)(np.array(point.x)))
    scale = 1 + abs(point.value)
    assert value == pytest.approx(point.value, abs=1e-12 * scale)
    assert abs(gradient).max() < 1e-7 * scale
    assert (eigenvalues < -1e-9).sum() == point.index
    # What the surface does around the point, without derivatives.
    angle = np.linspace(0, 2 * np.pi, 61)
    circle = point.x + 1e-2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rise = np.array([surfaces.SURFACES[name](x) for x in circle]) - point.value
    kind = {(True, False): "minimum", (False, True): "maximum", (True, True): "saddle"}
    assert kind[bool((rise > 0).any()), bool((rise < 0).any())] == point.kind


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("himmelblau", [0, 0, 0, 0, 13.312, 67.719, 104.015, 178.337, 181.617]),
        ("muller_brown", [-146.700, -108.167, -80.768, -72.249, -40.665]),
    ],
)
def test_values_and_number_are_the_published_ones(name, published):
    points = surfaces.CRITICAL_POINTS[name]
    np.testing.assert_allclose(sorted(p.value for p in points), sorted(published), atol=6e-4)
    # Morse: where a surface rises all around, minima - saddles + maxima = 1.
    assert sum((-1) ** p.index for p in points) == 1
    assert len({p.x for p in points}) == len(published)


def test_himmelblau_has_no_other_point():
    with jax.enable_x64(True):
        gradient = jax.grad(surfaces.himmelblau)
        side = jnp.linspace(-6, 6, 40)
        x = jnp.stack(jnp.meshgrid(side, side), axis=-1).reshape(-1, 2)
        jacobian = jax.vmap(jax.hessian(surfaces.himmelblau))
        newton = jax.jit(
            lambda x: x - jnp.linalg.solve(jacobian(x), jax.vmap(gradient)(x)[..., None])[..., 0]
        )
        for _ in range(100):
            x = newton(x)
        ends = np.asarray(x)[np.linalg.norm(jax.vmap(gradient)(x), axis=1) < 1e-9]
    tabled = np.array([p.x for p in surfaces.CRITICAL_POINTS["himmelblau"]])
    distance = np.linalg.norm(ends[:, None] - tabled, axis=-1)
    assert distance.min(1).max() < 1e-9
    assert set(distance.argmin(1)) == set(range(9))


@pytest.mark.parametrize("name", surfaces.SURFACES)
def test_numpy_and_jax_agree(name):
    f = surfaces.SURFACES[name]
    x = np.array([[-0.5, 0.3], [0.2, 1.1], [-1.0, 0.7]])
    with jax.enable_x64(True):
        traced = jax.jit(jax.vmap(f))(jnp.array(x))
    np.testing.assert_allclose(traced, [f(row) for row in x], rtol=1e-12)
    assert jax.eval_shape(f, jnp.ones(2, jnp.float32)).dtype == jnp.float32


def test_the_minima_of_the_course_saddle_are_a_hyperbola():
    for t in (0.25, 1.0, 2.0, -4.0):
        assert surfaces.course_saddle(np.array([t, 1 / t])) == 0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_surfaces_of_any_dimension(n):
    assert surfaces.quartic_bowl(np.full(n, 2.0)) == 16 * n
    assert surfaces.rosenbrock(np.ones(n + 1)) == 0
    assert surfaces.rosenbrock(np.arange(float(n + 1))) == sum(
        100 * (i + 1 - i**2) ** 2 + (1 - i) ** 2 for i in range(n)
    )


@pytest.mark.parametrize("name", surfaces.SURFACES)
@pytest.mark.parametrize(
    ("x", "got"),
    [(np.ones((2, 2)), r"shape \(2, 2\)"), (np.ones(0), "shape"), ([1.0, 2.0], "a list")],
)
def test_other_shapes_are_refused(name, x, got):
    with pytest.raises(ValueError, match=f"expected an array of shape .* got {got}"):
        surfaces.SURFACES[name](x)
