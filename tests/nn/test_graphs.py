"""Networks on graphs against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn
from jaxml.nn.graphs import normalized

EDGES = [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)]  # node 5 has none


def graph():
    adjacency = np.zeros((6, 6), np.float32)
    for i, j in EDGES:
        adjacency[i, j] = adjacency[j, i] = 1
    return jax.random.normal(jax.random.key(1), (6, 3)), jnp.asarray(adjacency)


def rgcn(inputs, outputs, **options):
    return nn.rgcn(inputs, outputs, 3, **options)


def related():
    """The same graph with edges of three kinds, two of them one way."""
    x, adjacency = graph()
    kinds = np.asarray(adjacency, int)
    kinds[1, 2], kinds[2, 1], kinds[0, 3] = 2, 3, 0
    return x, jnp.asarray(kinds)


def given(kind):
    return related() if kind is rgcn else graph()


def made(kind, **options):
    model = kind(3, 2, hidden=(4,), **options)
    return model, *model.init(jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.gcn, nn.gat, rgcn])
def test_another_order_of_the_nodes(kind):
    model, params, state = made(kind)
    x, adjacency = given(kind)
    order = jax.random.permutation(jax.random.key(2), 6)
    y = model.apply(params, state, (x, adjacency))[0]
    moved = model.apply(params, state, (x[order], adjacency[order][:, order]))[0]
    np.testing.assert_allclose(moved, y[order], atol=1e-6)
    assert np.isfinite(y).all()  # also where there is no edge


def test_a_convolution_is_its_formula():
    model, params, state = made(nn.gcn)
    x, adjacency = graph()
    looped = np.asarray(adjacency) + np.eye(6)
    root = np.diag(looped.sum(1) ** -0.5)
    mixed = root @ looped @ root
    np.testing.assert_allclose(normalized(adjacency), mixed, atol=1e-6)
    h = np.maximum(mixed @ np.asarray(x @ params["dense_0"]["kernel"]), 0)
    known = mixed @ (h @ params["dense_1"]["kernel"])
    np.testing.assert_allclose(model.apply(params, state, (x, adjacency))[0], known, atol=1e-5)


def test_attention_without_scores_is_the_mean_of_the_neighbours():
    model = nn.gat(3, 2, hidden=(), heads=1)
    params, state = model.init(jax.random.key(0))
    own = params["attend_0"]
    params = {"attend_0": own | {name: jnp.zeros_like(own[name]) for name in ("own", "other")}}
    x, adjacency = graph()
    looped = np.asarray(adjacency) + np.eye(6)
    known = looped / looped.sum(1, keepdims=True) @ np.asarray(x @ own["kernel"])
    np.testing.assert_allclose(model.apply(params, state, (x, adjacency))[0], known, atol=1e-6)


def test_attention_against_a_loop():
    model = nn.gat(3, 2, hidden=(), heads=1)
    params, state = model.init(jax.random.key(0))
    own = jax.tree.map(np.asarray, params["attend_0"])
    x, adjacency = graph()
    h = np.asarray(x) @ own["kernel"]
    known = np.zeros((6, 2))
    for i in range(6):
        neighbours = [j for j in range(6) if adjacency[i, j] or i == j]
        scores = np.array([own["own"][0] @ h[i] + own["other"][0] @ h[j] for j in neighbours])
        raised = np.exp(np.where(scores > 0, scores, 0.2 * scores))
        known[i] = raised / raised.sum() @ h[neighbours]
    np.testing.assert_allclose(model.apply(params, state, (x, adjacency))[0], known, atol=1e-5)


def test_kinds_of_edges_against_a_loop():
    model, params, state = made(rgcn, output="sum")
    params["relate_0"]["bias"] = jnp.arange(4.0)
    own = jax.tree.map(np.asarray, params)
    x, adjacency = related()
    layer, total = own["relate_0"], np.zeros(4)
    for i in range(6):
        h = np.asarray(x[i]) @ layer["kernel"] + layer["bias"]
        for j in range(6):
            if kind := int(adjacency[i, j]):
                h = h + np.asarray(x[j]) @ layer["kernels"][kind - 1]
        total += np.maximum(h, 0)
    known = total @ own["output"]["kernel"] + own["output"]["bias"]
    np.testing.assert_allclose(model.apply(params, state, (x, adjacency))[0], known, atol=1e-5)


def test_a_sum_counts_the_nodes_and_a_mean_does_not():
    x, adjacency = related()
    twice = jnp.concatenate([x, x]), jnp.kron(jnp.eye(2, dtype=int), adjacency)
    for output, factor in (("mean", 1), ("sum", 2)):
        model, params, state = made(rgcn, output=output)  # its last bias is zero
        once = model.apply(params, state, (x, adjacency))[0]
        found = model.apply(params, state, twice)[0]
        np.testing.assert_allclose(found, factor * once, atol=1e-5)


@pytest.mark.parametrize("output", ["mean", "sum"])
@pytest.mark.parametrize("kind", [nn.gcn, nn.gat, rgcn])
def test_padded_graphs_of_a_batch(kind, output):
    model, params, state = made(kind, output=output)
    x, adjacency = given(kind)
    alone = model.apply(params, state, (x[:5], adjacency[:5, :5]))[0]
    x = x.at[5].set(9.0)
    padded = jnp.stack([x, x]), jnp.stack([adjacency] * 2), jnp.array([5, 6])
    both = model.apply(params, state, padded)[0]
    np.testing.assert_allclose(both[0], alone, atol=1e-6)
    assert abs(both[1] - both[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, a: (x[:, :2], a), r"nodes of shape \(..., n, 3\), got \(6, 2\)"),
        (lambda x, a: (x, a[:5]), r"an adjacency of shape \(6, 6\), got \(5, 6\)"),
        (lambda x, a: (x, a.at[0, 2].set(1)), r"symmetric adjacency, got another at \(0, 2\)"),
        (lambda x, a: (x, a.at[0, 0].set(1)), "a diagonal of 0: each node sees itself once"),
        (lambda x, a: (x, -a), "edges of at least 0, got -1"),
    ],
)
def test_bad_graphs(change, message):
    model, params, state = made(nn.gcn)
    with pytest.raises(ValueError, match=message):
        model.apply(params, state, change(*graph()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, a: (x, a * 1.0), "whole numbers for the kinds of edges, got dtype float32"),
        (lambda x, a: (x, a.at[0, 1].set(4)), "kinds of edges up to 3, got 4"),
        (lambda x, a: (x, a.at[0, 1].set(-1)), "edges of at least 0, got -1"),
        (lambda x, a: (x, a.at[0, 0].set(1)), "a diagonal of 0: each node sees itself once"),
        (lambda x, a: (x, a[:, :5]), r"an adjacency of shape \(6, 6\), got \(6, 5\)"),
    ],
)
def test_bad_kinds_of_edges(change, message):
    model, params, state = made(rgcn)
    with pytest.raises(ValueError, match=message):
        model.apply(params, state, change(*related()))


def test_refused():
    with pytest.raises(ValueError, match="output to be one of each, mean, sum"):
        nn.gcn(3, 2, output="pooled")
    with pytest.raises(ValueError, match=r"heads .* got 0"):
        nn.gat(3, 2, heads=0)
    with pytest.raises(ValueError, match="hidden to be a sequence of widths, got 16"):
        nn.gcn(3, 2, hidden=16)
    with pytest.raises(ValueError, match=r"kinds .* got 0"):
        nn.rgcn(3, 2, 0)
