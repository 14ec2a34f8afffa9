"""One optimiser with coefficients for all: two slots, so that lanes of any kind share a program.

With gradient g, slots m and v, parameters θ and t updates done,

    m ← a·m + b·g,   v ← c·v + d·g²,
    u = (p·m + q·g)/(1 − aᵗ)·r / (√(v/(1 − cᵗ) + ε_in) + ε_out),   θ ← θ − η(u + λθ),

where the corrections by 1 − aᵗ and 1 − cᵗ, the rectification r and the denominator are each
there or not. The choices below are those of `jaxml.training.optimizers`, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_choice

_WEIGHT_DECAY = 1e-2  # as optimizers.adamw
_THRESHOLD = 5.0  # of ρ in RAdam, as optax's


class TwoSlots(NamedTuple):
    """Coefficients, each a scalar or an array over lanes.

    Attributes:
        keep: a, the share of m that is kept.
        add: b, the share of g that is added to m.
        keep_square: c, the share of v that is kept.
        add_square: d, the share of g² that is added to v.
        of_slot: p, the share of m in the update.
        of_gradient: q, the share of g in the update.
        corrected: 1 where m and v are divided by 1 − aᵗ and 1 − cᵗ, else 0.
        adaptive: 1 where the update is divided by the root of v, else 0.
        inside: ε under the root.
        outside: ε beside the root.
        rectified: 1 for RAdam's rectification, else 0.
        decay: λ.
    """

    keep: Any
    add: Any
    keep_square: Any
    add_square: Any
    of_slot: Any
    of_gradient: Any
    corrected: Any
    adaptive: Any
    inside: Any
    outside: Any
    rectified: Any
    decay: Any

    @property
    def slots(self) -> tuple[bool, bool]:
        """Whether m and v are of any use; only of coefficients that are numbers."""
        return bool(np.any(self.of_slot)), bool(np.any(self.adaptive))


def _choice(**given: float) -> TwoSlots:
    return TwoSlots(**(dict.fromkeys(TwoSlots._fields, 0.0) | given))


def _adam(beta: float, **more: float) -> TwoSlots:
    first = {"keep": beta, "add": 1 - beta, "of_slot": 1.0}
    second = {"keep_square": 0.999, "add_square": 1 - 0.999, "outside": 1e-8}
    return _choice(**first, **second, corrected=1.0, adaptive=1.0, **more)


OPTIMIZERS = {
    "sgd": lambda _: _choice(of_gradient=1.0),
    "momentum": lambda beta: _choice(keep=beta, add=1.0, of_slot=1.0),
    "nesterov": lambda beta: _choice(keep=beta, add=1.0, of_slot=beta, of_gradient=1.0),
    "adagrad": lambda _: _choice(
        keep_square=1.0, add_square=1.0, of_gradient=1.0, adaptive=1.0, inside=1e-7
    ),
    "rmsprop": lambda _: _choice(
        keep_square=0.9, add_square=0.1, of_gradient=1.0, adaptive=1.0, outside=1e-8
    ),
    "adam": _adam,
    "adamw": lambda beta: _adam(beta, decay=_WEIGHT_DECAY),
    "radam": lambda beta: _adam(beta, rectified=1.0),
}
"""Name -> coefficients given the momentum (β, or Adam's β₁)."""

WITHOUT_MOMENTUM = ("sgd", "adagrad", "rmsprop")
"""Those that know none."""


def two_slots(names: Sequence[str] | np.ndarray, momenta: Sequence[float] | np.ndarray) -> TwoSlots:
    """The coefficients of several optimisers, as arrays.

    Args:
        names: of `OPTIMIZERS`.
        momenta: β of each, or Adam's β₁, in [0, 1); ignored by those that know none.

    Raises:
        ValueError: for an unknown name or a momentum out of range.

    Example:
        >>> two_slots(["sgd", "nesterov"], [0, 0.9]).of_slot.tolist()
        [0.0, 0.9]
    """
    rows = []
    for name, momentum in zip(names, momenta, strict=True):
        require_choice("optimizer", name, tuple(OPTIMIZERS))
        require(0 <= momentum < 1, "a momentum in [0, 1)", momentum)
        rows.append(OPTIMIZERS[name](float(momentum)))
    return TwoSlots(*(np.array(column) for column in zip(*rows, strict=True)))


def update(
    optimizer: TwoSlots,
    rate: Any,
    count: Any,
    params: Any,
    slots: tuple[Any, Any],
    gradient: Any,
) -> tuple[Any, tuple[Any, Any]]:
    """One update; traceable.

    Args:
        optimizer: the coefficients, scalars.
        rate: η.
        count: updates done before this one.
        params: θ.
        slots: m and v, each like the parameters, or `None` where it is of no use.
        gradient: g.

    Returns:
        The parameters and the slots.
    """
    leaves, structure = jax.tree.flatten(params)
    dtype = leaves[0].dtype
    c = TwoSlots(*(jnp.asarray(value, dtype) for value in optimizer))
    rate, t = jnp.asarray(rate, dtype), jnp.asarray(count + 1, dtype)
    first, second = slots

    def corrected(keep):
        return jnp.where(c.corrected > 0, 1 - keep**t, 1)

    m_scale, v_scale = 1 / corrected(c.keep), 1 / corrected(c.keep_square)
    share, adaptive = _rectification(c, t)
    m, v, updated = [], [], []
    per_leaf = zip(leaves, structure.flatten_up_to(gradient), strict=True)
    firsts = None if first is None else structure.flatten_up_to(first)
    seconds = None if second is None else structure.flatten_up_to(second)
    for i, (x, g) in enumerate(per_leaf):
        u = c.of_gradient * g
        if firsts is not None:
            m.append(c.keep * firsts[i] + c.add * g)
            u = (u + c.of_slot * m[-1]) * m_scale
        if seconds is not None:
            v.append(c.keep_square * seconds[i] + c.add_square * g**2)
            root = jnp.sqrt(v[-1] * v_scale + c.inside) + c.outside
            # the root is 0 before the first gradient that is not
            u = jnp.where(adaptive, share * u / jnp.where(root > 0, root, 1), u)
        updated.append(x - rate * (u + c.decay * x))
    unflatten = structure.unflatten
    slots = None if first is None else unflatten(m), None if second is None else unflatten(v)
    return unflatten(updated), slots


def _rectification(c: TwoSlots, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """RAdam's r, and whether the root divides at all yet."""
    # kept away from 1, where nothing is rectified
    keep = jnp.where(c.rectified > 0, c.keep_square, 0.5)
    limit = 2 / (1 - keep) - 1
    power = keep**t
    length = limit - 2 * t * power / (1 - power)
    long = length >= _THRESHOLD
    safe = jnp.where(long, length, _THRESHOLD)
    r = jnp.sqrt((safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe))
    plain = c.rectified == 0
    return jnp.where(plain, 1, r), (c.adaptive > 0) & (plain | long)
