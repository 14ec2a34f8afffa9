"""Directions: filters by numpy's loops, the invariance they are for, and projections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxml.landscape import project, random_directions, surface
from tests import problems


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    shapes = {"conv": (3, 3, 2, 4), "dense": (5, 3), "bias": (3,), "scale": ()}
    return {name: rng.normal(size=shape).astype("f") for name, shape in shapes.items()}


def test_each_filter_has_the_norm_of_the_network_s(params):
    rows = random_directions(params, 2)
    for k in range(2):
        for out in range(4):
            drawn, weights = rows["conv"][k, :, :, :, out], params["conv"][..., out]
            assert np.linalg.norm(drawn) == pytest.approx(np.linalg.norm(weights), rel=1e-6)
        for out in range(3):
            drawn, weights = rows["dense"][k, :, out], params["dense"][:, out]
            assert np.linalg.norm(drawn) == pytest.approx(np.linalg.norm(weights), rel=1e-6)
    assert not rows["bias"].any()
    assert not rows["scale"].any()
    assert {leaf.dtype for leaf in jax.tree.leaves(rows)} == {np.dtype("f")}
    # the directions differ, and the seed decides
    assert (rows["conv"][0] != rows["conv"][1]).all()
    np.testing.assert_array_equal(random_directions(params)["conv"], rows["conv"])
    assert (random_directions(params, seed=1)["conv"] != rows["conv"]).all()


def test_outputs_first(params):
    """PyTorch's layout: (out, in, height, width) and (out, in)."""
    params = {"conv": params["conv"].transpose(3, 2, 0, 1), "dense": params["dense"].T}
    rows = random_directions(params, 1, filter_axis=0)
    for name in params:
        for drawn, weights in zip(rows[name][0], params[name], strict=True):
            assert np.linalg.norm(drawn) == pytest.approx(np.linalg.norm(weights), rel=1e-6)


def test_layers_and_biases(params):
    rows = random_directions(params, 3, normalize="layer", biases=True)
    for name, weights in params.items():
        for drawn in rows[name]:
            assert np.linalg.norm(drawn) == pytest.approx(np.linalg.norm(weights), rel=1e-6)
    # under filters too a bias is one filter
    rows = random_directions(params, 3, biases=True)
    norms = np.linalg.norm(rows["bias"], axis=1)
    np.testing.assert_allclose(norms, np.linalg.norm(params["bias"]), rtol=1e-6)


def test_without_normalisation():
    rows = random_directions({"w": np.zeros((300, 100))}, 2, normalize=None)
    assert rows["w"].std() == pytest.approx(1, abs=0.02)
    assert rows["w"].mean() == pytest.approx(0, abs=0.02)


def relu_net(params, x, y):
    hidden = jax.nn.relu(x @ params["in"] + params["in_bias"])
    logits = hidden @ params["out"] + params["out_bias"]
    return -jax.nn.log_softmax(logits)[jnp.arange(len(y)), y].mean()


@pytest.mark.parametrize(("normalize", "invariant"), [("filter", True), (None, False)])
def test_scale_invariance(normalize, invariant):
    """Li et al.: the same function at another scale has the same normalised surface."""
    rng = np.random.default_rng(2)
    x, y = problems.classifier_data(rng, 30, 4, 3)
    with jax.enable_x64(True):
        loss = Partial(relu_net, x=jnp.array(x), y=jnp.array(y))
    net = problems.tanh_classifier_params(rng, 4, 5, 3)
    scaled = net | {"in": 10 * net["in"], "in_bias": 10 * net["in_bias"], "out": net["out"] / 10}
    first, second = (
        surface(loss, p, random_directions(p, normalize=normalize), coordinates=[-1, -0.3, 0, 0.6])
        for p in (net, scaled)
    )
    difference = abs(first.losses - second.losses)
    assert difference[2, 2] < 1e-14  # the function is the same
    assert (difference.max() < 1e-12) == invariant


def test_projection_is_by_least_squares():
    rng = np.random.default_rng(3)
    x, rows, points = rng.normal(size=5), rng.normal(size=(2, 5)), rng.normal(size=(4, 5))
    coordinates, distances = project(x, 3 * rows, points)
    for place, distance, point in zip(coordinates, distances, points, strict=True):
        rest = point - x - 3 * place @ rows
        np.testing.assert_allclose(rows @ rest, 0, atol=1e-12)
        assert distance == pytest.approx(np.linalg.norm(rest))
    # a point of the plane is found where it is, whatever the length of the directions
    inside = x + np.array([[0.5, -2.0]]) @ (3 * rows)
    coordinates, distances = project(x, 3 * rows, inside)
    np.testing.assert_allclose(coordinates, [[0.5, -2]], rtol=1e-12)
    np.testing.assert_allclose(distances, 0, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones((2, 3)), 0), {}, "count to be a whole number"),
        ((np.ones((2, 3)),), {"normalize": "weight"}, "normalize to be one of filter, layer"),
        ((np.ones((2, 3)),), {"filter_axis": 2}, r"an axis of an array of shape \(2, 3\), got 2"),
        ((np.ones(3),), {}, "biases=True"),
        ((np.zeros((2, 3)),), {}, "not zero"),
    ],
)
def test_bad_input(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        random_directions(*arguments, **options)
