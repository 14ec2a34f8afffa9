"""Functions as they were read: equal where they compute the same, whatever their identity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.core.programs import alike, as_read, read

X = np.arange(6, dtype=np.float32).reshape(3, 2)


def relu_network(scale):
    return lambda w: jax.nn.relu(X @ w).sum() + scale * jax.nn.gelu(w).sum()


def with_rule(factor):
    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    @f.defjvp
    def rule(primals, tangents):
        return f(primals[0]), factor * tangents[0]

    return lambda w: f(w).sum()


def with_backward(factor):
    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), (x, 2 * x)), lambda kept, t: (factor * t * kept[1],))
    return lambda w: f(w).sum()


def compiled_inside(matrix):
    return jax.jit(lambda v: (matrix @ v).sum())


def scanned(matrix):
    return lambda w: jax.lax.scan(lambda c, row: (c + row @ w, None), 0.0, matrix)[0]


MAKERS = {
    "literal": (relu_network, 1.0, 2.0),
    "sign of zero": (relu_network, 0.0, -0.0),
    "whole or not": (lambda s: lambda w: (w**s).sum(), 2, 2.5),
    "jvp rule": (with_rule, 1.0, 2.0),
    "vjp rule": (with_backward, 1.0, 2.0),
    "captured where it is compiled": (compiled_inside, X, 2 * X),
}


@pytest.mark.parametrize(("make", "one", "other"), MAKERS.values(), ids=MAKERS)
def test_equal_where_the_same_is_computed(make, one, other):
    w = jnp.ones(2)
    readings = [read(make(value), w).func for value in (one, one, other)]
    assert readings[0] == readings[1]
    assert hash(readings[0]) == hash(readings[1])
    assert readings[0] != readings[2]


@pytest.mark.parametrize("make", [scanned, lambda m: lambda w: (m @ w).sum()])
def test_captured_arrays_are_arguments(make):
    w, compiled = jnp.ones(2), jax.jit(lambda reading, w: jax.grad(reading)(w))
    for matrix in (X, 2 * X, X - 1):
        np.testing.assert_allclose(compiled(read(make(matrix), w), w), matrix.sum(axis=0))
    assert compiled._cache_size() == 1


def test_derivatives_by_rules_are_kept():
    w = jnp.ones(2)
    assert jax.grad(read(with_rule(3.0), w))(w).tolist() == [3.0, 3.0]
    assert jax.grad(read(with_backward(3.0), w))(w).tolist() == [6.0, 6.0]


def test_a_rule_in_terms_of_its_function_ends():
    @jax.custom_jvp
    def exponential(x):
        return jnp.exp(x)

    @exponential.defjvp
    def rule(primals, tangents):
        y = exponential(*primals)
        return y, y * tangents[0]

    first, second = (read(lambda w: exponential(w).sum(), jnp.ones(2)) for _ in range(2))
    assert first.func == second.func


def test_changes_in_place_do_not_reach_a_reading():
    array, w = np.ones(2, np.float32), jnp.ones(2)
    outer = read(lambda w: (array * w).sum(), w)
    inner = read(jax.jit(lambda v: (array * v).sum()), w)
    array *= 3
    assert outer(w) == 2
    assert inner.func != read(jax.jit(lambda v: (array * v).sum()), w).func


def test_callbacks_pass_for_the_same_in_determinism_only():
    def loss(w):
        shape = jax.ShapeDtypeStruct((), w.dtype)
        return jax.pure_callback(lambda v: np.float32(v.sum()), shape, w)

    first, second = read(loss, jnp.ones(2)), read(loss, jnp.ones(2))
    assert alike(first, second)
    assert first.func != second.func


def test_other_shapes_are_of_the_same_function_or_refused():
    scale = {"of": 2.0}
    kept = as_read(lambda w: scale["of"] * w, jnp.ones(2))
    assert kept(jnp.ones(3)).tolist() == [2.0, 2.0, 2.0]
    assert kept == as_read(lambda w: scale["of"] * w, jnp.ones(2))
    scale["of"] = 5.0
    assert kept(jnp.ones(2)).tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="got one that has changed since"):
        kept(jnp.ones(3))
