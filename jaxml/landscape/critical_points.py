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

from jaxml.backend import require_sound_backend
from jaxml.checks import require, require_choice, require_positive_int
from jaxml.landscape.dense import Dense, checked, dense_hessian, plan_dense
from jaxml.landscape.descent import default_gradient_tolerance, lbfgs
from jaxml.landscape.minres import minres
from jaxml.landscape.operators import (
    flatten,
    hessian_vector_product,
)
from jaxml.landscape.problem import check_problem, leaves_float64, needs_float64, precision
from jaxml.types import Params

METHODS = ("newton", "newton_mr", "gradient_norm")


@flax.struct.dataclass
class Search:
    """What a search found; under `vmap` every field has a leading axis.

    Attributes:
        params: the end of the path.
        loss: the loss there.
        gradient_norm: the gradient's 2-norm there.
        converged: whether that is below the tolerance.
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
) -> Search:
    """Search for a critical point of a loss from a starting point.

    For many starts, map it: `jax.vmap(lambda p: find_critical_point(loss, p))(starts)`.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: the starting point.
        method: how.

            - `newton`: damped Newton (Levenberg–Marquardt) on ½‖g‖²; finds points of any index,
              by the dense Hessian.
            - `newton_mr`: the step is the least-squares solution of Hp = −g by MINRES, with a
              line search on ½‖g‖²; matrix-free.
            - `gradient_norm`: L-BFGS on ½‖g‖²; matrix-free.
        gradient_tolerance: the gradient norm at which the search has converged; ε^(2/3) by
            default, 4e-11 in float64 and 2e-5 in float32.
        max_steps: at most so many steps.
        flat_tolerance: see `Search.flat`.
        float64: compute in float64, as is done anyway where a parameter is in it.
        memory: bytes that the dense Hessian may take; half of what is free by default.

    Returns:
        A pytree, see `Search`.

    Raises:
        ValueError: for a bad loss, bad parameters or options; if a dense Hessian does not fit.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Frye et al. 2019 (arXiv:1901.10603) compares the three as finders of critical points;
        Roosta et al. 2018 (arXiv:1810.00303) for Newton-MR; Fan and Yuan 2005 for the damping;
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
    require_sound_backend()
    float64 = needs_float64(params, float64)
    leaves = leaves_float64(float64)
    with precision(float64):
        loss, params = check_problem(loss, params, float64=float64)
        newton = method == "newton"
        found = checked(
            lambda plan: _search(
                loss, params, method, gradient_tolerance, max_steps, flat_tolerance, plan
            ),
            plan_dense(loss, params, memory, copies=6) if newton else Dense((), 0),
        )
        traced = isinstance(found.loss, Tracer)
        return jax.device_get(found) if leaves and not traced else found


@functools.partial(jax.jit, static_argnames=("method", "max_steps", "plan"))
def _search(loss, params, method, tolerance, max_steps, flat_tolerance, plan) -> tuple[Search, Any]:
    f, x = flatten(loss, params)
    _, unravel = ravel_pytree(params)
    if tolerance is None:
        tolerance = default_gradient_tolerance(x.dtype)
    error = jnp.zeros((), x.dtype)
    if method == "gradient_norm":
        end, steps, path = _minimise_gradient_norm(f, x, tolerance, max_steps)
    elif method == "newton_mr":
        end, steps, path = _newton_mr(f, x, tolerance, max_steps)
    else:
        dense = lambda y: dense_hessian(loss, unravel(y), plan)  # noqa: E731
        end, steps, path, error = _damped_newton(f, x, tolerance, max_steps, dense)
    value, gradient = jax.value_and_grad(f)(end)
    gradient_norm = jnp.linalg.norm(gradient)
    converged = gradient_norm <= tolerance
    flatness = _flatness(f, end, gradient)
    found = Search(
        params=unravel(end),
        loss=value,
        gradient_norm=gradient_norm,
        converged=converged,
        flat=~converged & (flatness < flat_tolerance),
        flatness=flatness,
        steps=steps,
        path=path,
    )
    return found, error


def _flatness(f, x, gradient):
    """‖Hg‖/(‖H‖‖g‖), with ‖H‖ by 30 power iterations: from below, and ample for this ratio."""
    tiny = jnp.finfo(x.dtype).tiny

    def advance(k, carry):
        v, norm, _ = carry
        v = jnp.where(k == 30, gradient, v)  # the last product is the gradient's
        v = hessian_vector_product(f, x, v / jnp.maximum(jnp.linalg.norm(v), tiny))
        size = jnp.linalg.norm(v)
        return v, jnp.where(k < 30, jnp.maximum(norm, size), norm), size

    zero = jnp.zeros((), x.dtype)
    start = (jax.random.normal(jax.random.key(0), x.shape, x.dtype), zero, zero)
    _, norm, curvature = jax.lax.fori_loop(0, 31, advance, start)
    # a loss that is linear has no curvature at all: 0, as flat as can be
    return jnp.where(gradient.any(), curvature / jnp.maximum(norm, tiny), jnp.nan)


def _minimise_gradient_norm(f, x, tolerance, max_steps):
    def half_square(x):
        return 0.5 * (jax.grad(f)(x) ** 2).sum()

    def measure(x, value, gradient):  # noqa: ARG001 - the gradient is that of ½‖g‖²
        size = jnp.sqrt(2 * value)
        return size, {"loss": f(x), "gradient_norm": size}

    return lbfgs(half_square, x, measure, tolerance, max_steps)


def _record(path, k, value, gradient):
    return {
        "loss": path["loss"].at[k].set(value),
        "gradient_norm": path["gradient_norm"].at[k].set(jnp.linalg.norm(gradient)),
    }


def _damped_newton(f, x, tolerance, max_steps, dense):
    """Step by p = −H(H² + μ²)⁻¹g, Levenberg and Marquardt's step on ½‖g‖².

    The damping μ is relative to the gradient, μ = damping·‖g‖, so that it vanishes at a critical
    point fast enough for quadratic convergence, singular or not. The Hessian is kept while steps
    with it at least halve the gradient (Shamanskii's method): it costs hundreds of gradients.
    Beside the end, the steps and the path it returns the largest error of a Hessian.
    """
    differentiate = jax.value_and_grad(f)

    def step(gradient, eigenvalues, vectors, damping):
        mu = damping * jnp.linalg.norm(gradient)
        zero = jnp.finfo(x.dtype).eps * x.size * jnp.abs(eigenvalues).max()
        scale = eigenvalues / (eigenvalues**2 + mu**2 + zero**2)
        return -vectors @ (scale * (vectors.T @ gradient))

    def decompose(x):
        matrix, error = dense(x)
        return (*jnp.linalg.eigh(matrix), error)

    def advance(c):
        eigenvalues, vectors, error = jax.lax.cond(
            c["refresh"],
            lambda: decompose(c["x"]),
            lambda: (c["eigenvalues"], c["vectors"], c["error"]),
        )
        trial = c["x"] + step(c["gradient"], eigenvalues, vectors, c["damping"])
        value, gradient = differentiate(trial)
        ratio = jnp.linalg.norm(gradient) / jnp.linalg.norm(c["gradient"])
        accept = ratio < 1
        x, value, gradient = jax.tree.map(
            lambda new, old: jnp.where(accept, new, old),
            (trial, value, gradient),
            (c["x"], c["value"], c["gradient"]),
        )
        # a step that an old Hessian proposed in vain says nothing of the damping
        current = c["refresh"] | c["current"]
        return {
            "x": x,
            "value": value,
            "gradient": gradient,
            "eigenvalues": eigenvalues,
            "vectors": vectors,
            "error": jnp.maximum(error, c["error"]),
            "damping": c["damping"] * jnp.where(accept, 0.1, jnp.where(current, 4, 1)),
            "current": current & ~accept,
            "refresh": jnp.where(accept, ratio > 0.5, ~current),
            "k": c["k"] + 1,
            "path": _record(c["path"], c["k"] + 1, value, gradient),
            "going": (trial != c["x"]).any() & (c["damping"] < 1e12),
        }

    end = _iterate(
        f,
        x,
        tolerance,
        max_steps,
        advance,
        {
            "eigenvalues": jnp.ones_like(x),
            "vectors": jnp.zeros((x.size, x.size), x.dtype),
            "damping": jnp.ones((), x.dtype),
            "current": jnp.bool_(False),  # the Hessian in hand is that at x
            "refresh": jnp.bool_(True),
            "error": jnp.zeros((), x.dtype),
        },
    )
    return end["x"], end["k"], end["path"], end["error"]


def _iterate(f, x, tolerance, max_steps, advance, extra):
    """A dict of `x`, `value`, `gradient`, `k`, `path`, `going` and `extra`, advanced to the end."""

    def going_on(c):
        small = jnp.linalg.norm(c["gradient"]) <= tolerance
        return (c["k"] < max_steps) & ~small & c["going"]

    value, gradient = jax.value_and_grad(f)(x)
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


def _newton_mr(f, x, tolerance, max_steps):
    """Step by p ≈ −H⁺g from MINRES, halved until the gradient is smaller."""
    differentiate = jax.value_and_grad(f)

    def advance(c):
        x, gradient = c["x"], c["gradient"]
        _, product = jax.linearize(jax.grad(f), x)
        # loose far away, where a full solution along near-null directions would leave the region
        # in which the gradient is linear; tight enough at the end for superlinear convergence
        forcing = jnp.clip(jnp.linalg.norm(gradient), jnp.finfo(x.dtype).eps ** 0.5, 0.1)
        p = minres(product, -gradient, forcing, max_steps=min(4 * x.size, 500))
        merit = gradient @ gradient
        slope = p @ product(gradient)  # of ½‖g‖² along p; −‖Hp‖² for the exact solution

        def halve(trial):
            length = trial[0] / 2
            return length, *differentiate(x + length * p)

        def too_long(trial):
            length, _, new = trial
            return (length > 1e-8) & ~(new @ new <= merit + 2e-4 * length * slope)

        length, value, new = jax.lax.while_loop(
            too_long, halve, (jnp.full((), 2.0, x.dtype), c["value"], gradient + jnp.inf)
        )
        accept = new @ new < merit
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

    end = _iterate(f, x, tolerance, max_steps, advance, {})
    return end["x"], end["k"], end["path"]
