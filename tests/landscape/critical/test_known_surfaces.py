"""Surfaces whose critical points are tabled: all found, none other, each of its kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import landscape
from jaxml.data.surfaces import (
    CRITICAL_POINTS,
    SURFACES,
    course_saddle,
    monkey_saddle,
    muller_brown,
    quartic_bowl,
)

REGIONS = {
    "himmelblau": ((-6.0, -6.0), (6.0, 6.0)),
    "muller_brown": ((-1.5, -0.2), (1.2, 2.0)),
    "monkey_saddle": ((-2.0, -2.0), (2.0, 2.0)),
    "quartic_bowl": ((-2.0, -2.0), (2.0, 2.0)),
}


def table(name):
    return np.array([point.x for point in CRITICAL_POINTS[name]])


@functools.cache
def search(name, method):
    """200 searches from the surface's region of interest, float64."""
    with jax.enable_x64(True):
        starts = np.random.default_rng(0).uniform(*REGIONS[name], (200, 2))
        one = functools.partial(landscape.find_critical_point, SURFACES[name], method=method)
        return jax.device_get(jax.vmap(one)(jnp.array(starts)))


@pytest.mark.slow
@pytest.mark.parametrize("method", landscape.METHODS)
@pytest.mark.parametrize("name", ["himmelblau", "muller_brown"])
def test_all_known_points_are_found_and_none_other(name, method):
    found, known = search(name, method), CRITICAL_POINTS[name]
    low, high = REGIONS[name]
    inside = ((found.params >= low) & (found.params <= high)).all(1) & found.converged
    if name == "himmelblau":  # of which all critical points are tabled, and all starts converge
        assert found.converged.all()
        inside = found.converged
    away = np.linalg.norm(found.params[:, None] - table(name), axis=-1)[inside]
    which = away.argmin(1)
    assert set(which) == set(range(len(known)))
    assert away.min(1).max() < 1e-6
    values = np.array([point.value for point in known])
    np.testing.assert_allclose(found.loss[inside], values[which], atol=1e-9)
    for x, i in list(zip(found.params[inside], which, strict=True))[:40]:
        point = landscape.analyze(SURFACES[name], x, float64=True)
        assert (point.kind, point.index, point.certified) == (known[i].kind, known[i].index, True)
    if name == "muller_brown" and method != "newton_mr":
        check_that_what_stalls_is_flat(found)


def check_that_what_stalls_is_flat(found):
    """Müller and Brown's ‖g‖ has minima where g lies in the kernel of H: critical is none."""
    flat = found.flat
    assert flat.sum() >= 50
    assert (flat ^ found.converged).all()
    with jax.enable_x64(True):
        ends = jnp.array(found.params[flat])
        hessians = np.asarray(jax.jit(jax.vmap(jax.hessian(muller_brown)))(ends))
        gradients = np.asarray(jax.jit(jax.vmap(jax.grad(muller_brown)))(ends))
    product = np.linalg.norm(np.einsum("nij,nj->ni", hessians, gradients), axis=1)
    size = np.linalg.norm(gradients, axis=1)
    flatness = product / (np.linalg.norm(hessians, ord=2, axis=(1, 2)) * size)
    np.testing.assert_allclose(found.flatness[flat], flatness, rtol=1e-3, atol=1e-12)
    assert flatness.max() < 1e-2
    assert size.min() > 1
    point = landscape.analyze(muller_brown, found.params[flat][0], float64=True)
    assert point.kind == "not critical"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["himmelblau", "muller_brown"])
def test_each_known_point_is_classified(name):
    for known in CRITICAL_POINTS[name]:
        point = landscape.analyze(SURFACES[name], np.array(known.x), float64=True)
        assert (point.kind, point.index) == (known.kind, known.index)
        assert point.certified
        assert point.loss == pytest.approx(known.value, abs=1e-9)
        assert (point.descent is None) == (known.kind == "minimum")
        assert point.distance < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("method", landscape.METHODS)
@pytest.mark.parametrize("name", ["monkey_saddle", "quartic_bowl"])
def test_degenerate_points_are_approached_and_called_so(name, method):
    found = search(name, method)
    assert found.converged.all()
    # ‖g‖ ≤ 4e-11 is all that is asked, and g is 3r² and at most 4r³: r is no smaller than that
    radius = np.linalg.norm(found.params, axis=1)
    assert radius.max() < (4e-6 if name == "monkey_saddle" else 4e-4)
    for x in [np.zeros(2), *found.params[:20]]:
        point = landscape.analyze(SURFACES[name], x, float64=True)
        assert (point.kind, point.certified) == ("degenerate", False)
        assert (point.descent is not None) == (name == "monkey_saddle")


@pytest.mark.slow
def test_the_monkey_saddle_is_escaped_and_the_bowl_is_not():
    out = landscape.escape(monkey_saddle, np.zeros(2), max_steps=0, float64=True)
    assert out.loss < -1
    with pytest.raises(ValueError, match="a point with a direction of descent, got none"):
        landscape.escape(quartic_bowl, np.zeros(2), float64=True)


def test_the_line_search_ends_where_the_loss_is_constant():
    with pytest.raises(landscape.NoDescentError, match="falls in neither sense"):
        landscape.escape(lambda w: 0 * w.sum(), np.zeros(2), direction=np.ones(2), max_steps=0)


def quartic_valley(x):
    return x[0] ** 4 + x[1] ** 2


def cubic_valley(x):
    return x[0] ** 3 + x[1] ** 2


@pytest.mark.slow
@pytest.mark.parametrize("distance", [0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3])
def test_a_degenerate_point_is_recognised_from_a_distance(distance):
    for sense in (1, -1):
        x = np.array([sense * distance, 0.0])
        quartic = landscape.analyze(quartic_valley, x, float64=True, gradient_tolerance=1e-5)
        assert (quartic.kind, quartic.descent) == ("degenerate", None)
        assert quartic.counts == (0, 1, 1)
        # rounding, and four times what the Newton step, a third of the way, changes 12x² by
        change = 12 * distance**2 * (1 - 4 / 9)
        assert quartic.tolerance == pytest.approx(4 * change + 4 * np.finfo(float).eps, rel=1e-6)
        cubic = landscape.analyze(cubic_valley, x, float64=True, gradient_tolerance=1e-5)
        assert (cubic.kind, cubic.counts) == ("degenerate", (0, 1, 1))
        assert cubic.descent[0] < -0.9


@pytest.mark.slow
@pytest.mark.parametrize("float64", [False, True])
def test_the_saddle_of_the_course(float64):
    origin = landscape.analyze(course_saddle, np.zeros(2, np.float32), float64=float64)
    assert origin.eigenvalues.tolist() == [-2, 2]
    assert (origin.kind, origin.index, origin.certified) == ("saddle", 1, True)
    assert origin.loss == 1
    assert abs(origin.descent @ np.array([1, 1])) == pytest.approx(2**0.5, rel=1e-6)
    out = landscape.escape(course_saddle, np.zeros(2, np.float32), float64=float64)
    assert out.loss < 1e-12
    assert out.params[0] * out.params[1] == pytest.approx(1, abs=1e-6)
    assert out.params.dtype == (np.float64 if float64 else np.float32)
    # the minima are a hyperbola: degenerate, with Hessian 2(w wᵀ)' = 2|w|² across it
    end = landscape.analyze(course_saddle, np.array([2.0, 0.5]), float64=True)
    assert (end.kind, end.descent) == ("degenerate", None)
    np.testing.assert_allclose(end.eigenvalues, [0, 2 * (2**2 + 0.5**2)], atol=1e-14)
