"""Descent by optax's L-BFGS or by Newton's method, with a record of the way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxml.core.checks import require, require_choice
from jaxml.core.empirical_risk import Loss
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.critical.trust_region import trust_region_newton
from jaxml.landscape.critical.units import Units, natural_units
from jaxml.landscape.operators.hessian import flatten
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import checked_problem
from jaxml.linalg.reductions import norm

# steps of L-BFGS without a better point after which it is at the precision of the loss
_IDLE = 20


@flax.struct.dataclass
class Descent(Result):
    """A way down. All arrays are numpy's.

    Attributes:
        params: its end, the best point that it came to; never one where the loss or its gradient
            is not finite, unless the start is.
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


@takes_modules
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
        gradient_tolerance: the gradient norm at which it ends; by default the rounding of the
            gradient at the start, see `default_gradient_tolerance`. It also ends where it gets no
            further: at the precision of the loss, at a kink or at the border of its domain.
        max_steps: at most so many steps.
        float64: compute in float64, as is done anyway where a parameter is in it.

    The units of the loss and of the parameters do not matter: both methods work in the length
    over which the slope at the start changes, and in the change of the loss over it.

    Raises:
        ValueError: for a bad loss, bad parameters, as `hessian`, or bad options.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Liu and Nocedal 1989; the line search is optax's zoom (Nocedal and Wright 2006, 3.5).
        Steihaug 1983 and Toint 1981 for the step in the trust region.

    Example:
        >>> import jax.numpy as jnp
        >>> descend(lambda w: ((w - 1.0) ** 2).sum(), jnp.zeros(3)).params.tolist()
        [1.0, 1.0, 1.0]
    """
    require(isinstance(max_steps, int) and max_steps >= 0, "max_steps of at least 0", max_steps)
    check_gradient_tolerance(gradient_tolerance)
    require_choice("method", method, ("lbfgs", "trust_region"))
    with checked_problem(loss, params, float64) as problem:
        loss, params = problem
        return descend_checked(loss, params, params, gradient_tolerance, max_steps, method)


def check_gradient_tolerance(tolerance: float | None) -> None:
    """Raises `ValueError` for what is neither None nor a number of at least 0."""
    valid = tolerance is None or 0 <= tolerance < np.inf
    require(valid, "a gradient_tolerance of at least 0", tolerance)


def descend_checked(
    loss: Loss,
    params: Params,
    origin: Params,
    tolerance: float | None,
    max_steps: int,
    method: str = "lbfgs",
) -> Descent:
    """`descend` for a problem that is checked, with the path's distances taken from `origin`."""
    end, steps, path, products = _descend(loss, params, origin, tolerance, max_steps, method)
    path = {name: np.asarray(values)[: int(steps) + 1] for name, values in path.items()}
    last = {name: float(values[-1]) for name, values in path.items()}
    return Descent(jax.device_get(end), last["loss"], last["gradient_norm"], path, int(products))


@functools.partial(jax.jit, static_argnames=("max_steps", "method"))
def _descend(loss, params, origin, tolerance, max_steps, method):
    f, x = flatten(loss, params)
    start = ravel_pytree(origin)[0]

    def measure(y, value, size):
        return size, {"loss": value, "gradient_norm": size, "distance": norm(y - start)}

    units = natural_units(f, x)
    if tolerance is None:
        tolerance = default_gradient_tolerance(x, units)
    if method == "lbfgs":
        end, steps, path, products = *lbfgs(f, x, units, measure, tolerance, max_steps), 0
    else:
        end, steps, path, products = trust_region_newton(f, x, units, measure, tolerance, max_steps)
    return ravel_pytree(params)[1](end), steps, path, products


def default_gradient_tolerance(x: Float[Array, " size"], units: Units) -> Array:
    """ε·‖g‖·max(1, ‖x‖/ℓ): ε‖g‖, and what the rounding of x makes of a slope that changes over ℓ.

    Args:
        x: the start.
        units: there, with g and ℓ.
    """
    epsilon = jnp.finfo(x.dtype).eps
    return epsilon * units.gradient_norm * jnp.maximum(1, norm(x) / units.length)


def lbfgs(
    f: Callable,
    x: Float[Array, " size"],
    units: Units,
    measure: Callable,
    tolerance: float | Array,
    max_steps: int,
) -> tuple[Float[Array, " size"], Array, dict[str, Array]]:
    """Minimise `f` from `x` until a size is below the tolerance; traceable.

    A step on which the line search fails (it leads out of the domain, across a kink, or upwards)
    is not taken: the memory is forgotten, and where that does not help the descent has ended. So
    it has after 20 steps without a better point, which is a lower one or, where the loss cannot
    tell, one of smaller size.

    Args:
        f: vector -> scalar.
        x: where to start.
        units: of `f` at `x`, see `natural_units`.
        measure: `(x, f(x), ‖∇f(x)‖) -> (the size that should vanish, dict of numbers to record)`.
        tolerance: of that size.
        max_steps: at most so many steps.

    Returns:
        The best point, the number of steps to it, and the record, each of shape
        `(max_steps + 1,)` and NaN after that point.
    """
    # a step of a long memory costs little beside a gradient over all data, and saves many of them
    optimizer = optax.lbfgs(memory_size=int(np.clip(2**26 // x.size, 10, 100)))
    scaled, epsilon = units.scaled(f), jnp.finfo(x.dtype).eps

    def measured(y, value, gradient):
        point = units.length * y, units.height * value, units.slope * norm(gradient)
        return measure(*point)

    def advance(c):
        updates, state = optimizer.update(
            c["gradient"], c["state"], c["y"], value=c["value"], grad=c["gradient"], value_fn=scaled
        )
        y = optax.apply_updates(c["y"], updates)
        # the line search has left the value and the gradient of its last point, which is y
        value, gradient = optax.tree.get(state, "value"), optax.tree.get(state, "grad")
        # as far as the line search lets a loss rise that is at its precision
        ceiling = c["value"] + 1e-6 * abs(c["value"])
        taken = (value <= ceiling) & jnp.isfinite(gradient).all() & (y != c["y"]).any()
        y, value, gradient = jax.tree.map(
            lambda new, old: jnp.where(taken, new, old),
            (y, value, gradient),
            (c["y"], c["value"], c["gradient"]),
        )
        count, weights = (optax.tree.get(state, name) for name in ("count", "weights_memory"))
        forgotten = {"count": jnp.where(taken, count, 0), "weights_memory": taken * weights}
        size, numbers = measured(y, value, gradient)
        best, k = c["best"], c["k"] + 1
        rounding = 10 * epsilon * abs(best["value"])
        lower = value < best["value"] - rounding
        better = lower | ((value <= best["value"] + rounding) & (size < best["size"]))
        here = {"y": y, "value": value, "size": size, "k": k}
        return {
            "y": y,
            "value": value,
            "gradient": gradient,
            "state": optax.tree.set(state, **forgotten),
            "k": k,
            "record": {name: c["record"][name].at[k].set(numbers[name]) for name in numbers},
            "best": jax.tree.map(lambda new, old: jnp.where(better, new, old), here, best),
            "taken": taken,
            "ended": ~(taken | c["taken"]),
        }

    def going_on(c):
        idle = c["k"] - c["best"]["k"] >= _IDLE
        return (c["k"] < max_steps) & (c["best"]["size"] > tolerance) & ~idle & ~c["ended"]

    y, value, gradient = units.start(x)
    size, numbers = measured(y, value, gradient)
    empty = jnp.full(max_steps + 1, jnp.nan, x.dtype)
    end = jax.lax.while_loop(
        going_on,
        advance,
        {
            "y": y,
            "value": value,
            "gradient": gradient,
            "state": optimizer.init(y),
            "k": jnp.int32(0),
            "record": {name: empty.at[0].set(number) for name, number in numbers.items()},
            "best": {"y": y, "value": value, "size": size, "k": jnp.int32(0)},
            "taken": jnp.bool_(True),
            "ended": jnp.bool_(False),
        },
    )
    best = end["best"]
    to_it = jnp.arange(max_steps + 1) <= best["k"]
    record = {name: jnp.where(to_it, kept, jnp.nan) for name, kept in end["record"].items()}
    return units.length * best["y"], best["k"], record
