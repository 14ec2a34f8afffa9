"""Descent to a critical point by optax's L-BFGS, with a record of the way."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def lbfgs(
    f: Callable,
    x: Float[Array, " size"],
    measure: Callable,
    tolerance: float,
    max_steps: int,
) -> tuple[Float[Array, " size"], Array, dict[str, Array]]:
    """Minimise `f` from `x` until `measure(x, gradient)` is below the tolerance; traceable.

    Args:
        f: vector -> scalar.
        x: where to start.
        measure: `(x, ∇f(x)) -> (size of what should vanish, dict of numbers to record)`.
        tolerance: of that size.
        max_steps: at most so many updates.

    Returns:
        The end, the number of updates, and the record, each of shape `(max_steps + 1,)` and NaN
        after the end.

    Reference:
        Liu and Nocedal 1989; the line search is optax's zoom (Nocedal and Wright 2006, 3.5).
    """
    optimizer = optax.lbfgs()
    differentiate = optax.value_and_grad_from_state(f)

    def record_at(record, k, x, gradient):
        size, numbers = measure(x, gradient)
        return size, {name: record[name].at[k].set(numbers[name]) for name in record}

    def advance(carry):
        x, state, k, record, _, _ = carry
        value, gradient = differentiate(x, state=state)
        updates, state = optimizer.update(
            gradient, state, x, value=value, grad=gradient, value_fn=f
        )
        new = optax.apply_updates(x, updates)
        size, record = record_at(record, k + 1, new, optax.tree.get(state, "grad"))
        # a line search that no longer moves has reached the precision of the loss
        return new, state, k + 1, record, size, (new != x).any()

    def going_on(carry):
        _, _, k, _, size, moved = carry
        return (k < max_steps) & (size > tolerance) & moved

    gradient = jax.grad(f)(x)
    empty = {
        name: jnp.full(max_steps + 1, jnp.nan, x.dtype) for name in measure(x, gradient)[1]
    }
    size, record = record_at(empty, 0, x, gradient)
    start = (x, optimizer.init(x), jnp.int32(0), record, size, jnp.bool_(True))
    x, _, k, record, _, _ = jax.lax.while_loop(going_on, advance, start)
    return x, k, record
