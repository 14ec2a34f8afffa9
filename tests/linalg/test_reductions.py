"""Inner products in blocks against float64, and matrices near the ends of float32's range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml.linalg.krylov import lanczos
from jaxml.linalg.reductions import (
    combine,
    from_blocks,
    inner,
    no_scaling,
    norm,
    power_of_two,
    project,
    scaled_product,
    to_blocks,
)

SIZE = 1_000_003  # neither a power of two nor a whole number of blocks
UNIT = np.finfo(np.float32).eps / 2


def vectors() -> list[np.ndarray]:
    """Equal terms, which a plain sum of float32 rounds alike, random ones and lone large ones."""
    rng = np.random.default_rng(0)
    equal, drawn = np.full(SIZE, SIZE**-0.5), rng.normal(size=SIZE) * SIZE**-0.5
    lone = drawn.copy()
    lone[[10, SIZE // 2]] = 10.0, -10.0
    return [v.astype(np.float32) for v in (equal, drawn, lone)]


def test_long_inner_products_are_right_to_a_few_roundings():
    # XLA's own dot product is off by 1e-2 of the first: one term after another
    rows = np.stack(vectors())
    exact, size = rows.astype(float) @ rows.T.astype(float), abs(rows.astype(float)) @ abs(rows.T)
    every = jax.jit(lambda a: jax.lax.map(lambda x: jax.lax.map(lambda y: inner(x, y), a), a))
    assert (abs(np.asarray(every(rows), float) - exact) <= 16 * UNIT * size).all()
    blocks = to_blocks(jnp.asarray(rows))
    for found in (
        jax.jit(project)(blocks, blocks),
        jnp.stack([project(blocks, blocks[:, i]) for i in range(3)], axis=1),
    ):
        # a block of 4,096 terms is summed in 16 lanes, each term by term
        assert (abs(np.asarray(found, float) - exact) <= 256 * UNIT * size).all()
    np.testing.assert_allclose(
        [float(norm(row)) for row in rows], np.sqrt(np.diagonal(exact)), rtol=8 * UNIT
    )


@pytest.mark.parametrize("size", [1, 7, 4096, 4097, 9000])
def test_blocks_hold_what_they_were_given(size):
    rows = np.random.default_rng(size).normal(size=(3, size)).astype(np.float32)
    blocks = to_blocks(jnp.asarray(rows))
    np.testing.assert_array_equal(from_blocks(blocks, size), rows)
    np.testing.assert_array_equal(from_blocks(to_blocks(jnp.asarray(rows[0])), size), rows[0])
    weights = np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0]], np.float32)
    mixed = from_blocks(combine(jnp.asarray(weights), blocks), size)
    np.testing.assert_allclose(mixed, weights @ rows, rtol=1e-5, atol=1e-6)
    single = from_blocks(combine(jnp.asarray(weights[0]), blocks), size)
    np.testing.assert_allclose(single, weights[0] @ rows, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-36, 1e-30, 1e-20, 1.0, 1e20, 1e30, 1e37])
def test_a_norm_has_no_scale(scale):
    v = np.linspace(0.1, 1, 50).astype(np.float32) * np.float32(scale)
    np.testing.assert_allclose(float(norm(v)), np.linalg.norm(v.astype(float)), rtol=4 * UNIT)
    power = float(power_of_two(jnp.asarray(v)))
    assert np.log2(power) % 1 == 0
    assert power <= v.max()


@pytest.mark.parametrize("v", [np.zeros(3), np.zeros(0), np.array([1.0, np.nan])])
def test_without_a_largest_entry_the_power_of_two_is_one(v):
    assert float(power_of_two(jnp.asarray(v, jnp.float32))) == 1


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1.0, 1e30, 1e37])
def test_a_scaled_product_is_exact_in_any_units(scale):
    d = np.geomspace(1e-7, 1, 9).astype(np.float32) * np.float32(scale)
    v = np.full(9, 0.5, np.float32)
    scaled = jax.jit(lambda v: scaled_product(lambda v: d * v, v, no_scaling(v.dtype)))
    image, scaling = scaled(v)
    assert 0.5 < abs(image).max() < 2
    unit = 1 / float(scaling.before) / float(scaling.after)
    exact = d.astype(float) * 0.5
    np.testing.assert_allclose(np.asarray(image, float) * unit, exact, rtol=UNIT)


def test_a_product_lost_to_underflow_is_found_by_a_larger_vector():
    # 1e-50 is no float32; the two factors are
    run = jax.jit(lambda v, tiny: scaled_product(lambda v: v * tiny * tiny, v, no_scaling(v.dtype)))
    image, scaling = run(np.ones(2, np.float32), np.float32(1e-25))
    value = float(image[0]) / float(scaling.before) / float(scaling.after)
    np.testing.assert_allclose(value, 1e-50, rtol=1e-6)


def test_nothing_is_made_of_a_matrix_that_is_zero_or_not_a_number():
    run = jax.jit(lambda v, d: scaled_product(lambda v: d * v, v, no_scaling(v.dtype)))
    image, scaling = run(np.ones(2, np.float32), np.zeros(2, np.float32))
    assert not image.any()
    assert float(scaling.unit) == 1
    assert np.isnan(run(np.ones(2, np.float32), np.full(2, np.nan, np.float32))[0]).all()


@pytest.mark.parametrize("scale", [1e-36, 1e-18, 1e30])
def test_lanczos_matrix_has_the_units_of_the_operator(scale):
    d, start = np.linspace(0.1, 1, 500).astype(np.float32), np.ones(500, np.float32)
    run = jax.jit(lambda d: lanczos(lambda v: d * v, start, 6)[:2])
    expected, found = run(d), run(d * np.float32(scale))
    for these, those in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(these, float) / scale, those, rtol=2e-5)


def test_lanczos_is_right_of_a_million_parameters_in_float32():
    d = np.random.default_rng(1).normal(size=SIZE).astype(np.float32) * 0.01
    d[[5, SIZE // 3, SIZE - 1]] = 20.0, 15.0, -5.0
    start = jax.random.rademacher(jax.random.key(0), (SIZE,), jnp.float32)
    alphas, _, basis = jax.jit(lambda d, v: lanczos(lambda w: d * w, v, 6))(d, start)
    basis = np.asarray(basis, float)
    # 3e-4 and 1e-2 with XLA's own products
    np.testing.assert_allclose(basis @ basis.T, np.eye(7), atol=5e-6)
    np.testing.assert_allclose(alphas, (basis[:-1] ** 2) @ d.astype(float), atol=5e-5)
