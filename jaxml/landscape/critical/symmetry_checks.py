"""Whether a loss has the symmetries that are declared."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from jaxml.core.checks import require
from jaxml.core.empirical_risk import Loss
from jaxml.core.types import Params
from jaxml.landscape.critical.orbits import generator_scales
from jaxml.landscape.critical.scale import length_scale, loss_rounding
from jaxml.landscape.critical.symmetry_group import Declared, Symmetries, permuted, read_symmetries
from jaxml.landscape.operators.hessian import flatten


def check_symmetries(symmetries: Declared, loss: Loss, params: Params) -> Symmetries:
    """Read the symmetries as they are now, and hold the loss to them.

    At the point and at two others, a tenth of and the whole length away over which the Hessian
    changes, the loss is to be the same, to rounding, before and after moves of that length and of
    a third of it the other way, each finite transformation and three permutations.

    Args:
        symmetries: functions `(t, params) -> params` of a scalar t, the identity at t = 0, or
            `params -> params`; and what `translations` and its like return.
        loss: checked.
        params: checked.

    Raises:
        ValueError: for what is no such function; naming the symmetry and the change seen where
            the loss is not the same.
    """
    held = read_symmetries(symmetries, params)
    if held.names and not any(isinstance(x, Tracer) for x in jax.tree.leaves(params)):
        _hold(held, loss, params)
    return held


def _hold(symmetries: Symmetries, loss: Loss, params: Params) -> None:
    """Raise where the loss is not the same, naming the first symmetry that does not hold."""
    length, _ = length_scale(loss, params)
    scales = generator_scales(symmetries, params, length) if symmetries.parameters else None
    leaves = jax.tree.leaves(params)
    rng, orders = np.random.default_rng(0), []
    for exchange in symmetries.exchanges:
        (i, axis), *_ = exchange
        count = leaves[i].shape[axis]
        orders.append(np.stack([np.roll(np.arange(count), 1), *(rng.permutation(count)
                                                                for _ in range(2))]))  # fmt: skip
    found = _seen(symmetries, loss, params, length, scales, orders)
    names = np.array(_move_names(symmetries))
    for values, rounding in zip(*jax.device_get(found), strict=True):
        if not np.isfinite(values[0]):  # out of the loss's domain
            continue
        changes, allowed = np.abs(values[1:] - values[0]), rounding[1:] + rounding[0]
        wrong = ~(changes <= allowed)
        if wrong.any():
            k = int(np.argmax(np.where(wrong, np.nan_to_num(changes, nan=np.inf), -1)))
            require(
                False,
                f"a loss that the symmetry {names[k]} leaves unchanged, to {allowed[k]:.1e}",
                f"{values[0]:.6g} and after the transformation {values[k + 1]:.6g}, "
                f"a change of {changes[k]:.1e}",
            )


def _move_names(symmetries: Symmetries) -> list[str]:
    counts = [2] * len(symmetries.continuous) + [1] * len(symmetries.finite)
    counts += [3] * len(symmetries.exchanges)
    return [name for name, n in zip(symmetries.names, counts, strict=True) for _ in range(n)]


@jax.jit
def _seen(symmetries, loss, params, length, scales, orders):
    """Losses at three places, each before and after every move, and what they round by."""
    f, x = flatten(loss, params)
    unravel = ravel_pytree(params)[1]

    def moves(y):
        here, begin = unravel(y), 0
        ends = [here]
        for symmetry, shape in zip(symmetries.continuous, symmetries.shapes, strict=True):
            count = int(np.prod(shape))
            # signs rather than normal numbers: along each generator as far
            signs = jax.random.rademacher(jax.random.key(begin), (count,), x.dtype)
            t = length * signs / (scales[begin : begin + count] * count**0.5)
            ends += [symmetry((k * t).reshape(shape), here) for k in (1.0, -0.3)]
            begin += count
        ends += [symmetry(here) for symmetry in symmetries.finite]
        for exchange, some in zip(symmetries.exchanges, orders, strict=True):
            ends += [permuted(here, exchange, some[i]) for i in range(3)]
        return jnp.stack([ravel_pytree(end)[0] for end in ends])

    def measure(y):
        value = f(y)
        return value, loss_rounding(f, y, value)

    u = jax.random.normal(jax.random.key(3), (2, x.size), x.dtype)
    u = length * u / jnp.linalg.norm(u, axis=1, keepdims=True)
    places = jnp.stack([x, x + 0.1 * u[0], x + u[1]])
    return jax.lax.map(lambda place: jax.lax.map(measure, moves(place)), places)
