"""What is certified holds, and what is not critical is told so.

Slopes hidden by stiff directions, Newton steps out of the domain, minima of wildly different
curvatures, falls along curves, the ends of a dtype's range.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from problems import one_of

from jaxml import landscape


def stiff_log(w, stiffness, turn):
    """stiffness·a² + b − log b, its one critical point at a = 0, b = 1, in turned coordinates."""
    c, s = jnp.cos(turn), jnp.sin(turn)
    a, b = c * w[0] + s * w[1], c * w[1] - s * w[0]
    return stiffness * a**2 + b - jnp.log(b)


def log_barrier(w):
    """Σ w − Σ log w beside a stiff coupling of two others: minimum at w₂ = w₃ = 1, w₀ = w₁."""
    return 1e4 * (w[0] - w[1]) ** 2 + 1e-3 * w[0] ** 2 + (w[2:] - jnp.log(w[2:])).sum()


@pytest.mark.parametrize("b", [3.0, 1.9, 1.5, 1.2, 0.5])
@pytest.mark.parametrize(("stiffness", "float64"), [(5e3, False), (5e5, False), (5e11, True)])
def test_a_stiff_direction_hides_no_slope(b, stiffness, float64):
    """The slope 1 − 1/b is −1 to .67; from b = 2 on the Newton step ends at b ≤ 0."""
    loss = Partial(stiff_log, stiffness=stiffness, turn=0.0)
    point = landscape.analyze(loss, np.array([0, b], np.float32), float64=float64)
    assert (point.kind, point.certified) == ("not critical", False)
    assert point.gradient_norm == pytest.approx(abs(1 - 1 / b), rel=1e-6)
    assert point.gradient_norm > point.gradient_tolerance
    bottom = landscape.analyze(loss, np.array([0, 1], np.float32), float64=float64)
    assert bottom.index == 0
    assert bottom.kind in ("minimum", "undecided")  # 1e-6 of the stiffness is float32's rounding
    assert bottom.certified or stiffness == 5e5


@pytest.mark.slow
def test_nor_does_one_that_is_not_an_axis(x64):
    loss = Partial(stiff_log, stiffness=5e6, turn=0.6)
    for b, kind in ((3.0, "not critical"), (1.05, "not critical"), (1.0, "minimum")):
        x = np.array([-np.sin(0.6), np.cos(0.6)]) * b
        assert landscape.analyze(loss, x).kind == kind
    x = np.array([0.0, 0.0, 1.0, 2.5])
    assert landscape.analyze(log_barrier, x).kind == "not critical"
    assert landscape.analyze(log_barrier, np.array([0.0, 0.0, 1.0, 1.0])).certified


@pytest.mark.parametrize("b", [3.0, 2.0, 1.99])
def test_a_step_out_of_the_domain_certifies_nothing(x64, b):
    """Whatever the user calls critical. From b = 1.99 it ends at .02, where the slope is −50."""
    loss = Partial(stiff_log, stiffness=1.0, turn=0.0)
    point = landscape.analyze(loss, np.array([0.0, b]), gradient_tolerance=1.0)
    assert (point.kind, point.certified) == ("degenerate", False)
    assert point.counts == (0, 2, 0)
    np.testing.assert_array_equal(point.params, [0, b])
    near = landscape.analyze(loss, np.array([0.0, 1.01]), gradient_tolerance=1.0)
    assert near.certified
    np.testing.assert_allclose(near.refined, [0, 1], atol=2e-4)


def test_a_kink_between_the_point_and_its_newton_step_certifies_nothing(x64):
    """x² + 10|x − .01| + y²: at 0 the Hessian is 2, the step −∇f/2 = 5 crosses the kink."""

    def loss(w):
        return (w**2).sum() + 10 * abs(w[0] - 0.01)

    point = landscape.analyze(loss, np.zeros(2), gradient_tolerance=20.0)
    assert (point.kind, point.certified) == ("degenerate", False)


def powell(w):
    """Powell's badly scaled function: curvatures of 2e-8 and 2e10."""
    return (1e4 * w[0] * w[1] - 1) ** 2 + (jnp.exp(-w[0]) + jnp.exp(-w[1]) - 1.0001) ** 2


def graded(w, h):
    """½ Σ hᵢwᵢ² with couplings of a tenth of √(hᵢhⱼ)."""
    z = jnp.sqrt(abs(h)) * w
    return 0.5 * (jnp.sign(h) * z**2).sum() + 0.1 * (z[1:] * z[:-1]).sum()


@pytest.mark.slow
def test_powell_s_badly_scaled_minimum(x64):
    # its root by Newton's method in 40 digits; det H = 4·(1e4)²(x₀e^-x₀ − x₁e^-x₁ …)² > 0
    x = np.array([1.0981593296999e-05, 9.106146738665])
    point = landscape.analyze(powell, x, gradient_tolerance=1e-2)
    assert (point.kind, point.certified, point.index) == ("minimum", True, 0)
    assert "after diagonal scaling" in str(point)
    # of the matrix of unit diagonal: 1 ± |H₀₁|/√(H₀₀H₁₁), with H = 2JᵀJ + rounding
    J = np.array([[1e4 * x[1], 1e4 * x[0]], -np.exp(-x)])
    H = 2 * J.T @ J
    coupling = abs(H[0, 1]) / np.sqrt(H[0, 0] * H[1, 1])
    np.testing.assert_allclose(point.scaled_eigenvalues, [1 - coupling, 1 + coupling], rtol=1e-2)
    assert point.scaled_eigenvalues[0] > point.tolerance
    assert point.eigenvalues[0] < 2 * np.finfo(float).eps * point.eigenvalues[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("h", "kind", "counts"),
    [
        ([1e10, 1.0, 1e-10], "minimum", (0, 0, 3)),
        ([1e10, 1.0, -1e-10], "saddle", (1, 0, 2)),
        ([-1e10, -1.0, -1e-10], "maximum", (3, 0, 0)),
        ([1e10, 1.0, 0.0], "degenerate", (0, 1, 2)),
    ],
)
def test_signs_of_graded_curvatures(x64, h, kind, counts):
    """Sylvester: H = D(S + T)D with S the signs and T of norm below .15 has the signs of S."""
    loss = Partial(graded, h=jnp.array(h))
    for x in np.zeros(3), np.array([1e-12, 1e-7, 3e-4]):
        point = landscape.analyze(loss, x, gradient_tolerance=1.0)
        assert (point.kind, point.counts) == (kind, counts)
        assert point.certified == (kind != "degenerate")
    if kind == "saddle":
        drop = float(loss(jnp.array(point.descent))) - float(loss(jnp.zeros(3)))
        assert drop < 0


FALLS = one_of(
    lambda w: (w[1] - w[0] ** 2) * (w[1] - 3 * w[0] ** 2),
    # the same, multiplied out
    lambda w: w[1] ** 2 - 4 * w[1] * w[0] ** 2 + 3 * w[0] ** 4,
    lambda w: (w[1] - w[0] ** 3) * (w[1] - 3 * w[0] ** 3),
    lambda w: 5 + 1e3 * (w[1] - jnp.cos(w[0]) + 1) ** 2 - jnp.sin(w[0]) ** 4,
)


def fall_in_three(w):
    """One that falls along a curve beside a third parameter, in small units."""
    return 1e-9 * ((w[1] - w[0] ** 2) * (w[1] - 3 * w[0] ** 2) + w[2] ** 2)


@pytest.mark.parametrize(
    ("loss", "size"),
    [*((loss, 2) for loss in FALLS), pytest.param(fall_in_three, 3, marks=pytest.mark.slow)],
)
def test_a_fall_along_a_curve_is_found(x64, loss, size):
    """At 0 each has a minimum along every line, or nearly, and falls along a curve."""
    point = landscape.analyze(loss, np.zeros(size))
    assert point.kind == "degenerate"
    assert point.descent is not None
    out = landscape.escape(loss, np.zeros(size), direction=point.descent, max_steps=0)
    assert out.loss < point.loss


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    one_of(
        lambda w: (w[1] - w[0] ** 2) ** 2 + 1e-3 * w[0] ** 6,
        # cancels, to rounding of both signs
        lambda w: w[1] ** 2 - 2 * w[1] * w[0] ** 2 + w[0] ** 4,
        lambda w: w[0] ** 2 - 2 * w[0] * w[1] + w[1] ** 2,
        lambda w: 1 + (w[1] - w[0] ** 2) * (w[1] - 0.9 * w[0] ** 2) + w[0] ** 4,
    ),
)
def test_none_is_found_where_none_is(x64, loss):
    point = landscape.analyze(loss, np.zeros(2))
    assert (point.kind, point.descent) == ("degenerate", None)


CUT, CUT_NEARER = one_of(
    # log of what is below 0 beyond x = −.3, √ beyond −1e-3
    lambda w: w[0] ** 3 + 0 * jnp.log(w[0] + 0.3) + w[1] ** 2,
    lambda w: 1 + 1e6 * w[0] ** 3 + 0 * jnp.sqrt(w[0] + 1e-3) + w[1] ** 2,
)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "ends"), [(CUT, 0.3), (CUT_NEARER, 1e-3)])
def test_a_descent_nearer_in_than_where_the_loss_is_not_finite(x64, loss, ends):
    point = landscape.analyze(loss, np.zeros(2))
    assert point.kind == "degenerate"
    np.testing.assert_allclose(point.descent, [-1, 0], atol=1e-6)
    out = landscape.escape(loss, np.zeros(2), max_steps=0)
    assert out.loss < float(loss(jnp.zeros(2)))
    assert 0 < abs(out.distance) < ends


@pytest.mark.parametrize("scale", [1e-30, 1e-36, 1e-39, 1e30, 1e37])
def test_float32_at_the_ends_of_its_range(scale):
    """Never another kind: undecided where numbers underflow, refused where they overflow."""
    loss = Partial(lambda w, s: s * ((w[0] ** 2 - 1) ** 2 + 100 * (w[1] - w[0]) ** 2), s=scale)
    for x, kind in ([1, 1], "minimum"), ([0, 0], "saddle"), ([1.5, 1.2], "not critical"):
        if scale > 1e36:
            with pytest.raises(ValueError, match=r"expected a finite (gradient|Hessian)"):
                landscape.analyze(loss, np.array(x, np.float32))
            continue
        point = landscape.analyze(loss, np.array(x, np.float32))
        # below 1e-38 a float32 is 0, on this backend
        assert point.kind in ({"undecided"} if scale < 1e-38 else {kind, "undecided"}), str(point)
        assert point.kind == kind or scale < 1e-35
        assert landscape.analyze(loss, np.array(x, np.float32), float64=True).kind == kind
