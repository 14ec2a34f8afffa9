"""Baldi and Hornik 1989: every critical point of the linear autoencoder, in closed form."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from problems import autoencoder

from jaxml import landscape, nn


@pytest.mark.slow
@pytest.mark.parametrize(
    ("eigenvalues", "hidden", "subsets"),
    [((5.0, 3.7, 2.2, 1.3, 0.6), 2, 16), (tuple(range(10, 0, -1)), 3, 176)],
    ids=["d=5, h=2", "d=10, h=3"],
)
def test_the_critical_point_of_every_subset(x64, eigenvalues, hidden, subsets):
    loss, points = autoencoder(eigenvalues, hidden)
    assert len(points) == subsets
    kinds = collections.Counter()
    for known in points:
        point = landscape.analyze(loss, known.params)
        assert point.gradient_norm <= 1e-13
        assert point.loss == pytest.approx(known.loss, abs=1e-8)
        assert point.index == known.index
        assert point.counts.within == known.nullity
        assert point.counts.positive == point.size - known.index - known.nullity
        kinds[point.kind] += 1
        # the null space is the symmetry GL(hidden): nothing to find along it
        assert (point.descent is None) == (known.index == 0)
        assert (point.kind == "degenerate") == (known.subset == tuple(range(hidden)))
        assert point.certified == (known.nullity == 0)  # the origin alone is isolated
    assert kinds == {"degenerate": 1, "saddle": subsets - 1}
    # at W = 0 the Hessian is [[0, -Σ], [-Σ, 0]], hidden times
    origin = landscape.analyze(loss, points[0].params)
    expected = np.repeat(np.array(eigenvalues), hidden)
    np.testing.assert_allclose(origin.eigenvalues, np.sort([*expected, *-expected]), atol=1e-12)


@pytest.fixture(scope="module")
def small():
    """d=4, h=2, with covariance eigenvalues whose sums are all different."""
    with jax.enable_x64(True):
        loss, points = autoencoder((8.0, 4.0, 2.0, 1.0), 2)
        rng = np.random.default_rng(0)
        starts = {
            "encoder": jnp.array(0.6 * rng.normal(size=(300, 2, 4))),
            "decoder": jnp.array(0.6 * rng.normal(size=(300, 4, 2))),
        }
    return loss, points, starts


def search(small, method, tolerance, starts):
    """The analyses of the converged ends of some starts, and the known points of the same loss."""
    loss, points, all_starts = small

    def one(start):
        return landscape.find_critical_point(
            loss, start, method, gradient_tolerance=tolerance, max_steps=150
        )

    found = jax.device_get(jax.vmap(one)(jax.tree.map(lambda leaf: leaf[:starts], all_starts)))
    away = abs(found.loss[:, None] - np.array([point.loss for point in points]))[found.converged]
    assert (found.gradient_norm[found.converged] <= tolerance).all()
    assert away.min(1).max() <= 1e-8  # no other loss
    ends = jax.tree.map(lambda leaf: leaf[found.converged], found.params)
    ends = [jax.tree.map(lambda leaf, i=i: leaf[i], ends) for i in range(len(away))]
    return [landscape.analyze(loss, end) for end in ends], [points[i] for i in away.argmin(1)]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "converging"), [("newton", 0.97), ("newton_mr", 0.5)])
def test_random_starts_find_all_eleven_losses_and_no_other(x64, small, method, converging):
    analyses, known = search(small, method, 1e-13, 300)
    assert len(analyses) >= converging * 300
    assert {point.subset for point in known} == {point.subset for point in small[1]}
    for point, truth in zip(analyses, known, strict=True):
        assert (point.index, point.counts.within) == (truth.index, truth.nullity)
        assert point.kind == ("saddle" if truth.index else "degenerate")


@pytest.mark.slow
def test_a_looser_end_claims_less_and_nothing_wrong(x64, small):
    """At 1e-10 a zero eigenvalue can lie above the rounding, and the tolerance then grows."""
    for point, truth in zip(*search(small, "newton", 1e-10, 300), strict=True):
        assert point.index <= truth.index
        assert point.counts.within >= truth.nullity
        assert point.counts.positive <= point.size - truth.index - truth.nullity
        assert point.kind == ("saddle" if truth.index else "degenerate")
        assert point.certified == (truth.nullity == 0)


@pytest.mark.slow
def test_depth_three_and_more_has_a_zero_hessian_at_the_origin(x64):
    x = jnp.array(np.random.default_rng(0).normal(size=(7, 3)))

    def loss(params, model, x):
        return ((x - model.apply(params, {}, x)[0]) ** 2).mean()

    for hidden, zero in (([2], False), ([2, 2], True)):
        model = nn.deep_linear([3, *hidden, 3])
        params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), model.init(jax.random.key(0))[0])
        bound = Partial(lambda p, x, m=model: loss(p, m, x), x=x)
        point = landscape.analyze(bound, params)
        assert point.gradient_norm == 0
        assert (abs(point.eigenvalues).max() == 0) == zero
        assert point.kind == ("degenerate" if zero else "saddle")
        assert point.counts.within == (point.size if zero else 0)
        assert point.tolerance > 0 or zero
