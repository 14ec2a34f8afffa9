"""Descent by optax's L-BFGS or by Newton's method, with a record of the way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxml.checks import require, require_choice
from jaxml.landscape.operators import flatten
from jaxml.landscape.problem import check_problem, needs_float64, precision
from jaxml.landscape.trust_region import trust_region_newton
from jaxml.types import Params


class Descent(NamedTuple):
    """A way down. All arrays are numpy's.

    Attributes:
        params: its end.
        loss: the loss there.
        gradient_norm: the gradient's 2-norm there.
        path: `"loss"`, `"gradient_norm"` and `"distance"` (from the start), each of shape
            `(steps + 1,)`: the start, and the point after each step.
        products: Hessian-vector products taken.
    """

    params: Params
    loss: float
    gradient_norm: float
    path: dict[str, np.ndarray]
    products: int


def descend(
    loss: Callable[[Params], Any],
    params: Params,
    method: str = "lbfgs",
    *,
    gradient_tolerance: float | None = None,
    max_steps: int = 500,
    float64: bool = False,
) -> Descent:
    """Minimise a loss with its gradient over all the data, without a matrix.

    Args:
        loss: `params -> scalar`.
        params: where to start.
        method: how.

            - `lbfgs`: by gradients alone.
            - `trust_region`: Newton's method in a trust region, each step by conjugate gradients
              on Hessian-vector products; twice differentiable losses. It follows negative
              curvature wherever the gradient has a part along it, so that it leaves saddles that
              hold up L-BFGS; where the gradient has none, see `escape`.
        gradient_tolerance: the gradient norm at which it ends; ε^(2/3) by default. It also ends
            where the search no longer moves: at the precision of the loss.
        max_steps: at most so many steps.
        float64: compute in float64, as is done anyway where a parameter is in it.

    Raises:
        ValueError: for a bad loss, bad parameters, as `hessian`, or bad options.

    Reference:
        Liu and Nocedal 1989; the line search is optax's zoom (Nocedal and Wright 2006, 3.5).
        Steihaug 1983 and Toint 1981 for the step in the trust region.

    Example:
        >>> import jax.numpy as jnp
        >>> descend(lambda w: ((w - 1.0) ** 2).sum(), jnp.zeros(3)).params.tolist()
        [1.0, 1.0, 1.0]
    """
    require(isinstance(max_steps, int) and max_steps >= 0, "max_steps of at least 0", max_steps)
    require(
        gradient_tolerance is None or 0 <= gradient_tolerance < np.inf,
        "a gradient_tolerance of at least 0",
        gradient_tolerance,
    )
    require_choice("method", method, ("lbfgs", "trust_region"))
    float64 = needs_float64(params, float64)
    with precision(float64):
        loss, params = check_problem(loss, params, float64=float64)
        return descend_checked(loss, params, params, gradient_tolerance, max_steps, method)


def descend_checked(
    loss: Partial,
    params: Params,
    origin: Params,
    tolerance: float | None,
    max_steps: int,
    method: str = "lbfgs",
) -> Descent:
    """`descend` for a problem that is checked, with the path's distances taken from `origin`."""
    if tolerance is None:
        tolerance = default_gradient_tolerance(jax.tree.leaves(params)[0].dtype)
    end, steps, path, products = _descend(loss, params, origin, tolerance, max_steps, method)
    path = {name: np.asarray(values)[: int(steps) + 1] for name, values in path.items()}
    last = {name: float(values[-1]) for name, values in path.items()}
    return Descent(jax.device_get(end), last["loss"], last["gradient_norm"], path, int(products))


@functools.partial(jax.jit, static_argnames=("max_steps", "method"))
def _descend(loss, params, origin, tolerance, max_steps, method):
    f, x = flatten(loss, params)
    start = ravel_pytree(origin)[0]

    def measure(y, value, gradient):
        size = jnp.linalg.norm(gradient)
        away = jnp.linalg.norm(y - start)
        return size, {"loss": value, "gradient_norm": size, "distance": away}

    if method == "lbfgs":
        end, steps, path, products = *lbfgs(f, x, measure, tolerance, max_steps), 0
    else:
        end, steps, path, products = trust_region_newton(f, x, measure, tolerance, max_steps)
    return ravel_pytree(params)[1](end), steps, path, products


def default_gradient_tolerance(dtype: Any) -> float:
    """ε^(2/3): 4e-11 in float64, 2e-5 in float32."""
    return float(jnp.finfo(dtype).eps) ** (2 / 3)


def lbfgs(
    f: Callable,
    x: Float[Array, " size"],
    measure: Callable,
    tolerance: float | Array,
    max_steps: int,
) -> tuple[Float[Array, " size"], Array, dict[str, Array]]:
    """Minimise `f` from `x` until a size is below the tolerance; traceable.

    Args:
        f: vector -> scalar.
        x: where to start.
        measure: `(x, f(x), ∇f(x)) -> (the size that should vanish, dict of numbers to record)`.
        tolerance: of that size.
        max_steps: at most so many steps.

    Returns:
        The end, the number of steps, and the record, each of shape `(max_steps + 1,)` and NaN
        after the end.
    """
    # a step of a long memory costs little beside a gradient over all data, and saves many of them
    optimizer = optax.lbfgs(memory_size=int(np.clip(2**26 // x.size, 10, 100)))

    def advance(c):
        updates, state = optimizer.update(
            c["gradient"], c["state"], c["x"], value=c["value"], grad=c["gradient"], value_fn=f
        )
        x = optax.apply_updates(c["x"], updates)
        # the line search has left the value and the gradient of its last point, which is x
        value, gradient = optax.tree.get(state, "value"), optax.tree.get(state, "grad")
        size, numbers = measure(x, value, gradient)
        record = {name: c["record"][name].at[c["k"] + 1].set(numbers[name]) for name in numbers}
        return {
            "x": x,
            "value": value,
            "gradient": gradient,
            "state": state,
            "k": c["k"] + 1,
            "record": record,
            "size": size,
            "moved": (x != c["x"]).any(),
        }

    def going_on(c):
        return (c["k"] < max_steps) & (c["size"] > tolerance) & c["moved"]

    value, gradient = jax.value_and_grad(f)(x)
    size, numbers = measure(x, value, gradient)
    empty = jnp.full(max_steps + 1, jnp.nan, x.dtype)
    end = jax.lax.while_loop(
        going_on,
        advance,
        {
            "x": x,
            "value": value,
            "gradient": gradient,
            "state": optimizer.init(x),
            "k": jnp.int32(0),
            "record": {name: empty.at[0].set(number) for name, number in numbers.items()},
            "size": size,
            "moved": jnp.bool_(True),
        },
    )
    return end["x"], end["k"], end["record"]
