"""Searches for critical points: where the gradient vanishes, whatever the index."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.critical.descent import default_gradient_tolerance, lbfgs
from jaxml.landscape.critical.orbits import tangent_basis, tangent_scales
from jaxml.landscape.critical.symmetry_checks import check_symmetries
from jaxml.landscape.critical.symmetry_group import Declared
from jaxml.landscape.critical.trust_region import damping_of_length
from jaxml.landscape.critical.units import natural_units
from jaxml.landscape.operators.dense_hessian import Dense, checked, dense_hessian, plan_dense
from jaxml.landscape.operators.hessian import flatten, hessian_vector_product
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import checked_problem, leaves_float64, needs_float64
from jaxml.linalg.minres import minres
from jaxml.linalg.projections import across
from jaxml.linalg.reductions import inner, norm

METHODS = ("newton", "newton_mr", "gradient_norm")


@flax.struct.dataclass
class Search(Result):
    """What a search found; under `vmap` every field has a leading axis.

    Attributes:
        params: the end of the path.
        loss: the loss there.
        gradient_norm: the gradient's 2-norm there.
        converged: whether that is within the tolerance.
        flat: whether the search stalled where the gradient g lies in the kernel of the Hessian H:
            not converged, and ‖Hg‖ below `flat_tolerance`·‖H‖‖g‖. Such a gradient-flat point is
            no critical point, however small its gradient (Frye 2021).
        flatness: ‖Hg‖/(‖H‖‖g‖) at the end; NaN where g is exactly zero.
        steps: steps tried; one that was rejected leaves the path level.
        path: `"loss"` and `"gradient_norm"` before the first step and after each, shape
            `(max_steps + 1,)`, NaN after the end.
    """

    params: Any
    loss: Any
    gradient_norm: Any
    converged: Any
    flat: Any
    flatness: Any
    steps: Any
    path: dict[str, Any]


@takes_modules
def find_critical_point(
    loss: Callable[[Params], Any],
    params: Params,
    method: str = "newton",
    *,
    gradient_tolerance: float | None = None,
    max_steps: int = 200,
    flat_tolerance: float = 1e-2,
    float64: bool = False,
    memory: int | None = None,
    symmetries: Declared = (),
) -> Search:
    """Search for a critical point of a loss from a starting point.

    For many starts, map it: `jax.vmap(lambda p: find_critical_point(loss, p))(starts)`.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: the starting point.
        method: how.

            - `newton`: Newton's method in a trust region on ½‖g‖² (Levenberg and Marquardt's
              step); finds points of any index, by the dense Hessian.
            - `newton_mr`: the step is the least-squares solution of Hp = −g by MINRES, with a
              line search on ½‖g‖²; matrix-free.
            - `gradient_norm`: L-BFGS on ½‖g‖²; matrix-free.
        gradient_tolerance: the gradient norm at which the search has converged. By default
            the rounding of the gradient at the start, as in `descend`, or 4·ε·‖H‖·‖x‖ at the end:
            what the rounding of the parameters explains there, ε the dtype's machine epsilon.
        max_steps: at most so many steps.
        flat_tolerance: see `Search.flat`.
        float64: compute in float64, as is done anyway where a parameter is in it.
        memory: bytes that the dense Hessian may take; half of what is free by default.
        symmetries: transformations that leave the loss unchanged, see `analyze`: the steps of
            `newton` and `newton_mr` do not go along their orbits, where the Hessian is as small as
            the gradient. Those of `gradient_norm` do not anyway. Under `vmap` they are not checked.

    The units of the loss and of the parameters do not matter, see `descend`.

    Returns:
        A pytree, see `Search`.

    Raises:
        ValueError: for a bad loss, bad parameters or options; if a dense Hessian does not fit.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Frye et al. 2019 (arXiv:1901.10603) compares the three as finders of critical points;
        Roosta et al. 2018 (arXiv:1810.00303) for Newton-MR; Moré 1978 for Levenberg and
        Marquardt's step in a trust region;
        Frye et al. 2021 (arXiv:2003.10397) for gradient-flat points.

    Example:
        >>> import jax.numpy as jnp
        >>> found = find_critical_point(lambda w: (1 - w[0] * w[1]) ** 2, jnp.array([0.3, 0.2]))
        >>> bool(found.converged), round(float(found.loss), 3)
        (True, 1.0)
    """
    require_choice("method", method, METHODS)
    max_steps = require_positive_int("max_steps", max_steps)
    if gradient_tolerance is not None:
        require(0 < gradient_tolerance < float("inf"), "gradient_tolerance > 0", gradient_tolerance)
    require(0 < flat_tolerance < 1, "flat_tolerance in (0, 1)", flat_tolerance)
    float64 = needs_float64(params, float64)
    leaves = leaves_float64(float64)
    with checked_problem(loss, params, float64) as problem:
        loss, params = problem
        held = check_symmetries(symmetries, loss, params)
        orbits = held, tangent_scales(held, loss, params)
        newton = method == "newton"
        found = checked(
            lambda plan: _search(
                loss, params, orbits, method, gradient_tolerance, max_steps, flat_tolerance, plan
            ),
            plan_dense(loss, params, memory, copies=6) if newton else Dense((), 0),
        )
        traced = isinstance(found.loss, Tracer)
        return jax.device_get(found) if leaves and not traced else found


@functools.partial(jax.jit, static_argnames=("method", "max_steps", "plan"))
def _search(
    loss, params, orbits, method, tolerance, max_steps, flat_tolerance, plan
) -> tuple[Search, Any]:
    f, x = flatten(loss, params)
    _, unravel = ravel_pytree(params)
    symmetries, scales = orbits
    units = natural_units(f, x)
    least = default_gradient_tolerance(x, units) if tolerance is None else tolerance
    scaled, small = units.scaled(f), least / units.slope
    problem = scaled, x / units.length, units, small, max_steps
    error = jnp.zeros((), x.dtype)

    def complement(y):
        """What projects vectors, or the rows of a matrix, across the orbit through y."""
        if not symmetries.parameters:
            return lambda v: v
        tangent = tangent_basis(symmetries, unravel(units.length * y), scales)
        return functools.partial(across, tangent)

    if method == "gradient_norm":
        end, steps, path = _minimise_gradient_norm(*problem)
    elif method == "newton_mr":
        end, steps, path = _newton_mr(*problem, complement)
    else:
        to_scale = units.length**2 / units.height

        def dense(y):
            matrix, error = dense_hessian(loss, unravel(units.length * y), plan)
            off = complement(y)
            return to_scale * off(off(matrix).T), error

        end, steps, path, error = _newton(*problem, dense)
    value, size = path["loss"][steps], path["gradient_norm"][steps]
    largest, flatness = _flatness(scaled, end, jax.grad(scaled)(end))
    if tolerance is None:
        small = jnp.maximum(small, 4 * jnp.finfo(x.dtype).eps * largest * norm(end))
    converged = size <= small
    found = Search(
        params=unravel(units.length * end),
        loss=units.height * value,
        gradient_norm=units.slope * size,
        converged=converged,
        flat=~converged & (flatness < flat_tolerance),
        flatness=flatness,
        steps=steps,
        path={
            "loss": units.height * path["loss"],
            "gradient_norm": units.slope * path["gradient_norm"],
        },
    )
    return found, error


def _flatness(f, x, gradient):
    """‖H‖ and ‖Hg‖/(‖H‖‖g‖), the norm by 30 power iterations: from below, and ample for this."""
    tiny = jnp.finfo(x.dtype).tiny

    def advance(k, carry):
        v, largest, _ = carry
        v = jnp.where(k == 30, gradient, v)  # the last product is the gradient's
        v = hessian_vector_product(f, x, v / jnp.maximum(norm(v), tiny))
        size = norm(v)
        return v, jnp.where(k < 30, jnp.maximum(largest, size), largest), size

    zero = jnp.zeros((), x.dtype)
    start = (jax.random.normal(jax.random.key(0), x.shape, x.dtype), zero, zero)
    _, largest, curvature = jax.lax.fori_loop(0, 31, advance, start)
    # a loss that is linear has no curvature at all: 0, as flat as can be
    return largest, jnp.where(gradient.any(), curvature / jnp.maximum(largest, tiny), jnp.nan)


def _minimise_gradient_norm(f, x, units, tolerance, max_steps):
    del units

    def half_square(x):
        value, gradient = jax.value_and_grad(f)(x)
        # out of the domain of the loss its gradient may still be defined
        return jnp.where(jnp.isfinite(value), 0.5 * (gradient**2).sum(), jnp.nan)

    def measure(x, value, _):  # the gradient is that of ½‖g‖²
        size = jnp.sqrt(2 * value)
        return size, {"loss": f(x), "gradient_norm": size}

    return lbfgs(half_square, x, natural_units(half_square, x), measure, tolerance, max_steps)


def _record(path, k, value, gradient):
    return {
        "loss": path["loss"].at[k].set(value),
        "gradient_norm": path["gradient_norm"].at[k].set(norm(gradient)),
    }


def _newton(f, x, units, tolerance, max_steps, dense):
    """Minimise ‖g + Hp‖ over a trust region ‖p‖ ≤ r: Levenberg and Marquardt's step on ½‖g‖².

    The Hessian is kept while steps with it at least halve the gradient (Shamanskii's method): it
    costs hundreds of gradients. Beside the end, the steps and the path it returns the largest
    error of a Hessian.
    """
    differentiate = jax.value_and_grad(f)

    def decompose(x):
        matrix, error = dense(x)
        return (*jnp.linalg.eigh(matrix), error)

    def advance(c):
        eigenvalues, vectors, error = jax.lax.cond(
            c["refresh"],
            lambda: decompose(c["x"]),
            lambda: (c["eigenvalues"], c["vectors"], c["error"]),
        )
        components = vectors.T @ c["gradient"]
        step, inside = _least_squares_step(eigenvalues, components, c["radius"])
        trial = c["x"] + vectors @ step
        value, gradient = differentiate(trial)
        size, new = norm(c["gradient"]), norm(gradient)
        predicted = size**2 - norm(components + eigenvalues * step) ** 2
        gain = (size**2 - new**2) / predicted
        accept = (new < size) & jnp.isfinite(value)
        x, value, gradient = jax.tree.map(
            lambda new, old: jnp.where(accept, new, old),
            (trial, value, gradient),
            (c["x"], c["value"], c["gradient"]),
        )
        # a step of an old Hessian that was rejected says nothing of the region
        current = c["refresh"] | c["current"]
        length = norm(step)
        larger = jnp.where(inside, jnp.maximum(c["radius"], length), 2 * c["radius"])
        radius = jnp.where(gain > 0.75, larger, c["radius"])
        radius = jnp.where(accept & (gain >= 0.25) | ~current, radius, length / 4)
        return {
            "x": x,
            "value": value,
            "gradient": gradient,
            "eigenvalues": eigenvalues,
            "vectors": vectors,
            "error": jnp.maximum(error, c["error"]),
            "radius": radius,
            "current": current & ~accept,
            "refresh": jnp.where(accept, new > 0.5 * size, ~current),
            "k": c["k"] + 1,
            "path": _record(c["path"], c["k"] + 1, value, gradient),
            "going": (trial != c["x"]).any(),
        }

    end = _iterate(
        x,
        units,
        tolerance,
        max_steps,
        advance,
        {
            "eigenvalues": jnp.ones_like(x),
            "vectors": jnp.zeros((x.size, x.size), x.dtype),
            "radius": jnp.ones((), x.dtype),
            "current": jnp.bool_(False),  # the Hessian in hand is that at x
            "refresh": jnp.bool_(True),
            "error": jnp.zeros((), x.dtype),
        },
    )
    return end["x"], end["k"], end["path"], end["error"]


def _least_squares_step(eigenvalues, gradient, radius):
    """The step s that minimises ‖g + Λs‖ within the radius, and whether it lies inside of it.

    It is −Λ(Λ² + μ²)⁻¹g. Its length falls in μ, from that of −Λ⁺g; the μ of the given length is
    found by bisection, to the rounding of its logarithm.
    """
    epsilon = jnp.finfo(gradient.dtype).eps
    largest = abs(eigenvalues).max()
    zero = epsilon * gradient.size * largest

    def step(mu):
        return -eigenvalues / jnp.maximum(eigenvalues**2 + mu**2 + zero**2, tiny) * gradient

    tiny = jnp.finfo(gradient.dtype).tiny
    inside = norm(step(0.0)) <= radius
    # |λ|/(λ² + μ²) ≤ |λ|/μ², so that at the upper bound the step is short enough
    high = jnp.log(jnp.maximum(jnp.sqrt(largest * norm(gradient) / radius), tiny)) + 1
    low = jnp.log(jnp.maximum(zero, tiny)) - 5
    damping = damping_of_length(step, radius, jnp.minimum(low, high), high)
    return jnp.where(inside, step(0.0), step(damping)), inside


def _iterate(x, units, tolerance, max_steps, advance, extra):
    """A dict of `x`, `value`, `gradient`, `k`, `path`, `going` and `extra`, advanced to the end.

    All of it is in the units, of which the start's value and gradient are.
    """

    def going_on(c):
        small = norm(c["gradient"]) <= tolerance
        return (c["k"] < max_steps) & ~small & c["going"]

    value, gradient = units.value / units.height, units.gradient / units.slope
    empty = dict.fromkeys(("loss", "gradient_norm"), jnp.full(max_steps + 1, jnp.nan, x.dtype))
    return jax.lax.while_loop(
        going_on,
        advance,
        {
            "x": x,
            "value": value,
            "gradient": gradient,
            "k": jnp.int32(0),
            "path": _record(empty, 0, value, gradient),
            "going": jnp.bool_(True),
            **extra,
        },
    )


def _newton_mr(f, x, units, tolerance, max_steps, complement):
    """Step by p ≈ −H⁺g from MINRES, halved until the gradient is smaller."""
    differentiate = jax.value_and_grad(f)

    def advance(c):
        x, gradient = c["x"], c["gradient"]
        _, full = jax.linearize(jax.grad(f), x)
        off = complement(x)
        product = lambda v: off(full(off(v)))  # noqa: E731
        # loose far away, where a full solution along near-null directions would leave the region
        # in which the gradient is linear; tight enough at the end for superlinear convergence
        forcing = jnp.clip(norm(gradient), jnp.finfo(x.dtype).eps ** 0.5, 0.1)
        p = minres(product, -gradient, forcing, max_steps=min(4 * x.size, 500))
        merit = inner(gradient, gradient)
        slope = inner(p, product(gradient))  # of ½‖g‖² along p; −‖Hp‖² for the exact solution

        def halve(trial):
            length = trial[0] / 2
            return length, *differentiate(x + length * p)

        def too_long(trial):
            length, value, new = trial
            falls = (inner(new, new) <= merit + 2e-4 * length * slope) & jnp.isfinite(value)
            return (length > 1e-8) & ~falls

        length, value, new = jax.lax.while_loop(
            too_long, halve, (jnp.full((), 2.0, x.dtype), c["value"], gradient + jnp.inf)
        )
        accept = (inner(new, new) < merit) & jnp.isfinite(value)
        x = jnp.where(accept, x + length * p, x)
        value = jnp.where(accept, value, c["value"])
        gradient = jnp.where(accept, new, gradient)
        return {
            "x": x,
            "value": value,
            "gradient": gradient,
            "k": c["k"] + 1,
            "path": _record(c["path"], c["k"] + 1, value, gradient),
            "going": accept,
        }

    end = _iterate(x, units, tolerance, max_steps, advance, {})
    return end["x"], end["k"], end["path"]
