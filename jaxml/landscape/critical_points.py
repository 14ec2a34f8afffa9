"""Searches for critical points: where the gradient vanishes, whatever the index."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from jaxml.backend import require_sound_backend
from jaxml.checks import require, require_choice, require_positive_int
from jaxml.landscape.descent import lbfgs
from jaxml.landscape.exact import precision
from jaxml.landscape.operators import (
    block_size,
    dense_hessian,
    flatten,
    hessian_vector_product,
)
from jaxml.landscape.problem import check_problem
from jaxml.types import Params

METHODS = ("newton", "newton_mr", "gradient_norm", "saddle_free_newton")


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
        steps: updates taken.
        path: `"loss"` and `"gradient_norm"` before the first update and after each, shape
            `(max_steps + 1,)`, NaN after the end.
    """

    params: Any
    loss: Float[Array, "*starts"]
    gradient_norm: Float[Array, "*starts"]
    converged: Bool[Array, "*starts"]
    flat: Bool[Array, "*starts"]
    flatness: Float[Array, "*starts"]
    steps: Int[Array, "*starts"]
    path: dict[str, Float[Array, "*starts steps"]]


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
            - `saddle_free_newton`: |H|⁻¹g, damped, descending the loss itself, so that it passes
              saddles and ends at a minimum; by the dense Hessian.
        gradient_tolerance: the gradient norm at which the search has converged; ε^(2/3) by
            default, 4e-11 in float64 and 2e-5 in float32.
        max_steps: at most so many updates.
        flat_tolerance: see `Search.flat`.
        float64: cast the parameters to float64 and compute in it.
        memory: bytes that the dense Hessian may take; half of what is free by default.

    Returns:
        A pytree, see `Search`.

    Raises:
        ValueError: for a bad loss, bad parameters or options; if a dense Hessian does not fit.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Frye et al. 2019 (arXiv:1901.10603) compares the first three as finders of critical
        points; Roosta et al. 2018 (arXiv:1810.00303) for Newton-MR; Fan and Yuan 2005 for the
        damping; Dauphin et al. 2014 (arXiv:1406.2572) for |H|⁻¹; Frye et al. 2021
        (arXiv:2003.10397) for gradient-flat points.

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
    with precision(float64):
        loss, params = check_problem(loss, params, float64=float64)
        dense = method in ("newton", "saddle_free_newton")
        block = block_size(loss, params, memory, copies=6) if dense else None
        found = _search(loss, params, method, gradient_tolerance, max_steps, flat_tolerance, block)
        # float64 arrays of JAX are of no use once its float64 mode is left
        traced = isinstance(found.loss, jax.core.Tracer)
        return jax.device_get(found) if float64 and not traced else found


@functools.partial(jax.jit, static_argnames=("method", "max_steps", "block"))
def _search(loss, params, method, tolerance, max_steps, flat_tolerance, block) -> Search:
    f, x = flatten(loss, params)
    _, unravel = ravel_pytree(params)
    if tolerance is None:
        tolerance = float(jnp.finfo(x.dtype).eps) ** (2 / 3)
    if method == "gradient_norm":
        end, steps, path = _minimise_gradient_norm(f, x, tolerance, max_steps)
    else:
        attempt = (
            functools.partial(_minres_attempts, f)
            if method == "newton_mr"
            else functools.partial(_spectral_attempts, f, method == "saddle_free_newton", block)
        )
        end, steps, path = _damped(f, x, attempt, tolerance, max_steps)
    value, gradient = jax.value_and_grad(f)(end)
    gradient_norm = jnp.linalg.norm(gradient)
    converged = gradient_norm <= tolerance
    curvature = jnp.linalg.norm(hessian_vector_product(f, end, gradient))
    flatness = curvature / (_spectral_norm(f, end) * gradient_norm)
    return Search(
        params=unravel(end),
        loss=value,
        gradient_norm=gradient_norm,
        converged=converged,
        flat=~converged & (flatness < flat_tolerance),
        flatness=flatness,
        steps=steps,
        path=path,
    )


def _minimise_gradient_norm(f, x, tolerance, max_steps):
    def half_square(x):
        return 0.5 * (jax.grad(f)(x) ** 2).sum()

    def measure(x, gradient):  # noqa: ARG001 - the gradient is that of ½‖g‖²
        value, g = jax.value_and_grad(f)(x)
        size = jnp.linalg.norm(g)
        return size, {"loss": value, "gradient_norm": size}

    return lbfgs(half_square, x, measure, tolerance, max_steps)


def _damped(f, x, attempts, tolerance, max_steps):
    """Iterate `attempts(x, value, gradient, damping) -> (new x, damping, whether it moved)`."""

    def advance(carry):
        x, value, gradient, damping, k, path, _ = carry
        x, damping, moved = attempts(x, value, gradient, damping)
        value, gradient = jax.value_and_grad(f)(x)
        path = {
            "loss": path["loss"].at[k + 1].set(value),
            "gradient_norm": path["gradient_norm"].at[k + 1].set(jnp.linalg.norm(gradient)),
        }
        return x, value, gradient, damping, k + 1, path, moved

    def going_on(carry):
        _, _, gradient, _, k, _, moved = carry
        return (k < max_steps) & (jnp.linalg.norm(gradient) > tolerance) & moved

    value, gradient = jax.value_and_grad(f)(x)
    empty = jnp.full(max_steps + 1, jnp.nan, x.dtype)
    path = {
        "loss": empty.at[0].set(value),
        "gradient_norm": empty.at[0].set(jnp.linalg.norm(gradient)),
    }
    start = (x, value, gradient, jnp.ones((), x.dtype), jnp.int32(0), path, jnp.bool_(True))
    x, _, _, _, k, path, _ = jax.lax.while_loop(going_on, advance, start)
    return x, k, path


def _spectral_attempts(f, descend, block, x, value, gradient, damping):
    """A damped step from the Hessian's eigenvectors; a rejected one is tried again more damped.

    The damping μ is relative to the gradient, μ = damping·‖g‖ (squared for H²), so that it
    vanishes at a critical point fast enough for quadratic convergence, singular or not.
    """
    eigenvalues, vectors = jnp.linalg.eigh(dense_hessian(f, x, block))
    coefficients = vectors.T @ gradient
    norm = jnp.linalg.norm(gradient)
    largest = jnp.abs(eigenvalues).max()
    floor = jnp.finfo(x.dtype).eps * x.size * largest

    def step(damping):
        mu = damping * norm
        if descend:
            scale = 1 / (jnp.abs(eigenvalues) + mu + floor)
        else:
            scale = eigenvalues / (eigenvalues**2 + mu**2 + floor**2)
        return -vectors @ (scale * coefficients)

    def good(p):
        new_value, new_gradient = jax.value_and_grad(f)(x + p)
        new_norm = jnp.linalg.norm(new_gradient)
        smaller = new_norm < norm
        if not descend:
            return smaller
        promised = -gradient @ p
        # below the rounding of the loss only the gradient tells which point is lower
        rounding = 10 * jnp.finfo(x.dtype).eps * jnp.maximum(1, jnp.abs(value))
        lower = new_value <= value - 1e-4 * promised
        return jnp.where(promised > rounding, lower, smaller & (new_value <= value + rounding))

    def retry(carry):
        damping, tries, _ = carry
        return 4 * damping, tries + 1, good(step(4 * damping))

    damping, _, accepted = jax.lax.while_loop(
        lambda carry: ~carry[2] & (carry[1] < 40), retry, (damping, 0, good(step(damping)))
    )
    new = jnp.where(accepted, x + step(damping), x)
    return new, damping / 10, accepted & (new != x).any()


def _minres_attempts(f, x, value, gradient, damping):  # noqa: ARG001
    """p ≈ −H⁺g by MINRES, then the first of x + p, x + p/2, x + p/4, … with a smaller gradient."""
    _, product = jax.linearize(jax.grad(f), x)
    p = minres(product, -gradient, max_steps=min(4 * x.size, 500))
    merit = gradient @ gradient
    slope = p @ product(gradient)  # of ½‖g‖² along p; −‖Hp‖² for the exact solution

    def retry(carry):
        length, _ = carry
        new = jax.grad(f)(x + length / 2 * p)
        return length / 2, new @ new <= merit + 2e-4 * length / 2 * slope

    first = jax.grad(f)(x + p)
    length, accepted = jax.lax.while_loop(
        lambda carry: ~carry[1] & (carry[0] > 1e-8),
        retry,
        (jnp.ones((), x.dtype), first @ first <= merit + 2e-4 * slope),
    )
    new = jnp.where(accepted, x + length * p, x)
    return new, damping, accepted & (new != x).any()


def minres(
    product: Callable, b: Float[Array, " size"], max_steps: int, tolerance: float | None = None
) -> Float[Array, " size"]:
    """The least-squares solution of Ax = b for a symmetric A, singular or indefinite; traceable.

    Args:
        product: vector -> A·vector.
        b: the right-hand side.
        max_steps: at most so many products.
        tolerance: it ends when the residual r has ‖r‖ ≤ tolerance·‖b‖, or, for the least-squares
            solution of an incompatible system, ‖Ar‖ ≤ tolerance·‖A‖‖r‖; √ε by default.

    Returns:
        x of the Krylov space of b.

    Reference:
        Paige and Saunders 1975, section 5; the recurrences follow Choi, Paige and Saunders 2011
        (arXiv:1003.4042), table 3.1, without the QLP part.
    """
    epsilon, tiny = jnp.finfo(b.dtype).eps, jnp.finfo(b.dtype).tiny
    tolerance = epsilon**0.5 if tolerance is None else tolerance
    beta1 = jnp.linalg.norm(b)
    zero, zeros = jnp.zeros((), b.dtype), jnp.zeros_like(b)

    def advance(s):
        v = s["v"]
        w = product(v) - s["beta"] * s["v_old"]
        alpha = w @ v
        w = w - alpha * v
        beta = jnp.linalg.norm(w)
        # the last left rotation, then the new one
        delta = s["c"] * s["dbar"] + s["s"] * alpha
        gbar = s["s"] * s["dbar"] - s["c"] * alpha
        epsilon_new, dbar = s["s"] * beta, -s["c"] * beta
        gamma = jnp.maximum(jnp.hypot(gbar, beta), tiny)
        c, sn = gbar / gamma, beta / gamma
        d = (v - s["eps"] * s["d_older"] - delta * s["d_old"]) / gamma
        norm = jnp.maximum(s["norm"], jnp.sqrt(alpha**2 + beta**2 + s["beta"] ** 2))
        # ‖Ar‖ before this step: zero at a least-squares solution, where the step would be 0/0
        normal = s["phi"] * jnp.hypot(gbar, dbar)
        least = normal <= tolerance * norm * s["phi"]
        return {
            "k": s["k"] + 1,
            "x": jnp.where(least, s["x"], s["x"] + s["phi"] * c * d),
            "v_old": v,
            "v": w / jnp.maximum(beta, tiny),
            "beta": beta,
            "c": c,
            "s": sn,
            "dbar": dbar,
            "eps": epsilon_new,
            "d_older": s["d_old"],
            "d_old": d,
            "phi": s["phi"] * sn,
            "norm": norm,
            "ended": least | (beta <= epsilon * norm),
        }

    def going_on(s):
        return (s["k"] < max_steps) & (s["phi"] > tolerance * beta1) & ~s["ended"]

    start = {
        "k": jnp.int32(0),
        "x": zeros,
        "v_old": zeros,
        "v": b / jnp.maximum(beta1, tiny),
        "beta": zero,
        "c": zero - 1,
        "s": zero,
        "dbar": zero,
        "eps": zero,
        "d_older": zeros,
        "d_old": zeros,
        "phi": beta1,
        "norm": zero,
        "ended": beta1 == 0,
    }
    return jax.lax.while_loop(going_on, advance, start)["x"]


def _spectral_norm(f, x) -> Float[Array, ""]:
    """‖H‖ by 30 power iterations, from below; ample for the ratio that it stands in."""
    v = jax.random.normal(jax.random.key(0), x.shape, x.dtype)

    def advance(_, v):
        w = hessian_vector_product(f, x, v / jnp.linalg.norm(v))
        return jnp.where(jnp.linalg.norm(w) > 0, w, v)

    return jnp.linalg.norm(jax.lax.fori_loop(0, 30, advance, v))
