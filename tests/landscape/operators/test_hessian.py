"""The Hessian operator: closed forms, finite differences, jax.hessian, blocks, memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from problems import (
    classifier_data,
    float32,
    quadratic,
    tanh_classifier,
    tanh_classifier_params,
)

from jaxml import landscape
from jaxml.data.surfaces import course_saddle
from jaxml.landscape.operators import hessian
from jaxml.landscape.operators.dense_hessian import (
    Dense,
    available_memory,
    dense_hessian,
    plan_dense,
)
from jaxml.landscape.operators.hessian import flatten


def symmetric(n, seed=0):
    a = np.random.default_rng(seed).normal(size=(n, n))
    return (a + a.T) / 2


def softmax_covariance(x):
    p = np.exp(x) / np.exp(x).sum()
    return np.diag(p) - np.outer(p, p)


X = np.linspace(-1, 1, 5)
A = symmetric(5)


@pytest.mark.parametrize(
    ("loss", "params", "expected"),
    [
        (Partial(quadratic, matrix=A, vector=X), X, A),
        (course_saddle, np.zeros(2), [[0, -2], [-2, 0]]),
        (course_saddle, np.array([2.0, 3.0]), [[18, 22], [22, 8]]),
        (jax.nn.logsumexp, X, softmax_covariance(X)),
        # two leaves, raveled in the order of their names
        (lambda p: p["b"] * (p["a"] ** 2).sum(), {"b": 3.0, "a": np.array([1.0, 2.0])}, None),
    ],
    ids=["quadratic", "course at 0", "course", "log-sum-exp", "two leaves"],
)
def test_closed_forms(x64, loss, params, expected):
    expected = [[6, 0, 2], [0, 6, 4], [2, 4, 0]] if expected is None else expected
    got = landscape.hessian(loss, params).dense()
    np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-14)


@pytest.fixture(scope="module")
def net():
    """A tanh net of 4-3-3 with 27 parameters, float64."""
    rng = np.random.default_rng(3)
    x, y = classifier_data(rng, 20, 4, 3)
    params = tanh_classifier_params(rng, 4, 3, 3)
    with jax.enable_x64(True):
        loss = Partial(tanh_classifier, x=jnp.array(x), y=jnp.array(y), l2=0.01)
        operator = landscape.hessian(loss, params)
        return loss, params, operator, np.asarray(operator.dense())


def test_a_net_against_finite_differences_of_its_gradient(x64, net):
    loss, params, _, dense = net
    f, x = flatten(loss, jax.tree.map(jnp.array, params))
    gradients = jax.jit(jax.vmap(jax.grad(f)))
    t = 1e-4
    ahead = [gradients(x + k * t * jnp.eye(x.size)) for k in (-2, -1, 1, 2)]
    columns = (ahead[0] - 8 * ahead[1] + 8 * ahead[2] - ahead[3]) / (12 * t)  # of order t⁴
    np.testing.assert_allclose(dense, columns, atol=1e-10)
    np.testing.assert_allclose(dense, jax.jit(jax.hessian(f))(x), atol=1e-15)


def test_the_product_is_the_matrix_times_the_vector(x64, net):
    _, _, operator, dense = net
    v = np.random.default_rng(0).normal(size=operator.size)
    np.testing.assert_allclose(operator.matvec(v), dense @ v, rtol=1e-12, atol=1e-13)
    columns = jax.vmap(operator.matvec)(jnp.eye(operator.size))
    np.testing.assert_allclose(columns, dense, atol=1e-15)


def test_exactly_symmetric_size_and_unravel(net):
    loss, params, operator, dense = net
    assert dense.shape == (operator.size, operator.size) == (27, 27)
    np.testing.assert_array_equal(dense, dense.T)
    with jax.enable_x64(True):
        back = operator.unravel(ravel_pytree(params)[0])
    jax.tree.map(np.testing.assert_array_equal, back, params)
    single = landscape.hessian(float32_loss(loss), float32(params)).dense()
    np.testing.assert_array_equal(single, single.T)
    np.testing.assert_allclose(single, dense, atol=1e-6)


def float32_loss(loss):
    data = {name: np.float32(loss.keywords[name]) for name in ("x", "l2")}
    return Partial(tanh_classifier, y=np.asarray(loss.keywords["y"], np.int32), **data)


SLOW_BLOCKS = [pytest.param(block, marks=pytest.mark.slow) for block in (1, 27)]


@pytest.mark.parametrize("block", [3, 8, 100, *SLOW_BLOCKS])
def test_every_block_size_gives_the_same_matrix(x64, net, block):
    loss, params, _, dense = net
    got, _ = jax.jit(lambda p: dense_hessian(loss, p, Dense((), block)))(params)
    np.testing.assert_allclose(got, dense, atol=1e-15)


def test_a_partial_is_compiled_once_for_all_its_data():
    def loss(w, scale):
        return scale * (w**3).sum()

    w = np.ones(3, np.float32)
    before = hessian._dense._cache_size()
    for scale in (1.0, 2.0, 3.0):
        dense = landscape.hessian(Partial(loss, scale=jnp.float32(scale)), w).dense()
        np.testing.assert_allclose(dense, 6 * scale * np.eye(3), rtol=1e-6)
    assert hessian._dense._cache_size() == before + 1


def test_memory_bound_names_what_it_needs_and_the_alternative():
    n = 100
    operator = landscape.hessian(lambda w: (w**4).sum(), np.ones(n, np.float32), memory=50_000)
    with pytest.raises(ValueError, match=r"at most 0\.05 MiB.*100 parameters.*need 0\.08 MiB"):
        operator.dense()
    with pytest.raises(ValueError, match=r"eigenpairs.*spectral_density.*`memory`"):
        operator.dense()
    np.testing.assert_array_equal(operator.matvec(jnp.ones(n)), 12 * np.ones(n))
    for analysis in (landscape.analyze, landscape.find_critical_point):
        with pytest.raises(ValueError, match="memory for the dense matrix"):
            analysis(lambda w: (w**4).sum(), np.ones(n, np.float32), memory=50_000)


def test_block_size_respects_the_bound():
    @Partial
    def loss(w):  # 1,000 intermediate numbers for 10 parameters
        return jnp.tanh(jnp.outer(jnp.ones(100), w)).sum()

    w = jnp.ones(10)
    least = next(
        memory for memory in range(1000, 100_000, 100) if _fits(loss, w, memory)
    )  # what a single column needs
    sizes = [plan_dense(loss, w, memory).block for memory in range(least, 40 * least, least // 4)]
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 3
    assert sizes[-1] == plan_dense(loss, w).block <= w.size  # by default half of what is free
    assert least > 2 * w.size**2 * 4 + 2 * 1000 * 4  # two matrices, the values and their tangents
    assert available_memory() > 0


def _fits(loss, w, memory):
    try:
        return plan_dense(loss, w, memory).block > 0
    except ValueError:
        return False
