"""Products with random vectors, as the estimates of traces, norms and diagonals need them."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require
from jaxml.core.seeds import key as key_of
from jaxml.core.seeds import words
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.validation import precision
from jaxml.linalg.reductions import inner, no_scaling, norm, project, scaled_product, to_blocks

# products between two looks
BLOCK = 10


def quadratic_forms(operator: SymmetricOperator, max_products: int, seed: int) -> Iterator:
    """zᵀAz and ‖Az‖² of ever more vectors of random signs."""
    forms, squares = np.zeros(0), np.zeros(0)
    for first in range(0, max_products, BLOCK):
        count = min(BLOCK, max_products - first)
        with precision(operator.dtype == np.float64):
            new = _forms(operator.product, words(seed), first, count, shape_of(operator))
        forms, squares = (
            np.concatenate(pair)
            for pair in zip((forms, squares), on_host(*jax.device_get(new)), strict=True)
        )
        yield forms.size, (forms, squares)


def sketches(operator: SymmetricOperator, method: str, max_products: int, seed: int) -> Iterator:
    """What the estimates with a sketch need of A, in rounds that widen sketch and sample alike.

    Yields:
        The products taken and, with Q the orthonormal basis of A·(sketch) and Z the sample, QᵀAQ,
        QᵀZ, QᵀAZ and the diagonal of ZᵀAZ. The sample is the sketch for `xtrace`, apart from it
        for `hutch++`.
    """
    share = 2 if method == "xtrace" else 3
    require(max_products >= share, f"max_products of at least {share} for {method}", max_products)
    block = min(BLOCK, max_products // share)
    rounds = max_products // (share * block)
    product, like, sphere = operator.product, shape_of(operator), method == "xtrace"
    qaq, qz, qaz = np.zeros((3, rounds * block, rounds * block))
    forms, basis = np.zeros(rounds * block), []
    scaling = None
    for r in range(rounds):
        new, end = slice(r * block, (r + 1) * block), (r + 1) * block
        with precision(operator.dtype == np.float64):
            z = _vectors(words(seed), 2 * r, block, like, sphere)
            az, scaling = _apply(product, z, scaling or no_scaling(operator.dtype))
            q = az
            if not sphere:
                sketch = _vectors(words(seed), 2 * r + 1, block, like, sphere)
                q, scaling = _apply(product, sketch, scaling)
            for _ in range(2):  # what is noise after the first time is orthogonal after the second
                for rows in basis:
                    q = _remove(rows, q)
                q = _orthonormal(q)
            aq, scaling = _apply(product, q, scaling)
            basis.append(q)
            forms[new] = np.diagonal(_inner(z, az))
            for i, rows in enumerate(basis):
                old = slice(i * block, (i + 1) * block)
                qaq[old, new] = _inner(rows, aq)
                qz[old, new], qaz[old, new] = _inner(rows, z), _inner(rows, az)
                if i < r:
                    qaq[new, old] = qaq[old, new].T
                    before = _vectors(words(seed), 2 * i, block, like, sphere)  # rather than kept
                    qz[new, old], qaz[new, old] = _inner(q, before), _inner(aq, before)
            unit = float(scaling.unit)
        found = unit * qaq[:end, :end], qz[:end, :end], unit * qaz[:end, :end], unit * forms[:end]
        yield share * end, found


def shape_of(operator: SymmetricOperator) -> jax.ShapeDtypeStruct:
    """The shape and dtype of the operator's vectors."""
    return jax.ShapeDtypeStruct((operator.size,), operator.dtype)


def on_host(forms, norms, units):
    """vᵀAv and ‖Av‖² in float64, whatever the scale of A."""
    units = np.float64(units)
    return forms * units, (norms * units) ** 2


@jax.jit(static_argnames=("count", "like"))
def columns_of(product, first, count, like):
    """Of some columns the diagonal entry and the norm, both to be multiplied by a unit."""

    def column(i):
        unit = jnp.zeros(like.shape, like.dtype).at[i].set(1)
        image, scaling = scaled_product(product, unit, no_scaling(like.dtype))
        return image[i], norm(image), scaling.unit

    return jax.lax.map(column, first + jnp.arange(count))


@jax.jit(static_argnames=("count", "like"))
def _forms(product, seed, first, count, like):
    def form(i):
        z = _signs(seed, i, like)
        image, scaling = scaled_product(product, z, no_scaling(like.dtype))
        return inner(z, image), norm(image), scaling.unit

    return jax.lax.map(form, first + jnp.arange(count))


@jax.jit(static_argnames="count")
def add_diagonals(product, mean, squares, seed, first, count):
    """Welford's mean, and sum of squared deviations, of z⊙Az with `count` vectors more."""

    def add(i, state):
        mean, squares = state
        z = _signs(seed, first + i, mean)
        sample = z * product(z)
        new = mean + (sample - mean) / (first + i + 1)
        return new, squares + (sample - mean) * (sample - new)

    return jax.lax.fori_loop(0, count, add, (mean, squares))


def _signs(seed, i, like):
    key = jax.random.fold_in(key_of(seed), i)
    return jax.random.rademacher(key, like.shape, like.dtype)


@jax.jit(static_argnames=("count", "like", "sphere"))
def _vectors(seed, i, count, like, sphere):
    """Rows of E[zᵀz] = I: random signs, or evenly from the sphere of radius √size."""
    key = jax.random.fold_in(key_of(seed), i)
    shape = (count, *like.shape)
    if not sphere:
        return jax.random.rademacher(key, shape, like.dtype)
    rows = jax.random.normal(key, shape, like.dtype)
    return rows * (like.size**0.5 / jnp.linalg.norm(rows, axis=1, keepdims=True))


@jax.jit
def _apply(product, rows, scaling):
    """The scaled images of the rows, and the scaling, found at the first that is not 0."""

    def apply(scaling, row):
        image, scaling = scaled_product(product, row, scaling)
        return scaling, image

    scaling, images = jax.lax.scan(apply, scaling, rows)
    return images, scaling


@jax.jit
def _remove(basis, rows):
    return rows - _inner(rows, basis) @ basis


@jax.jit
def _orthonormal(rows):
    return jnp.linalg.qr(rows.T)[0].T


@jax.jit
def _inner(left, right):
    return project(to_blocks(left), to_blocks(right))
