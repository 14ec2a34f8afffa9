"""Saddles sought on purpose: of a given index, from one point or between two minima."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from jaxml.core.checks import require, require_positive_int
from jaxml.core.result import Result
from jaxml.core.types import Params
from jaxml.landscape.critical.analysis import Analysis, analyze
from jaxml.landscape.critical.eigenvector_following import (
    dense_method,
    follow_eigenvectors,
    product_method,
)
from jaxml.landscape.critical.escape import DENSE_SIZE, Escape, escape
from jaxml.landscape.critical.orbits import generator_scales, tangent_basis
from jaxml.landscape.critical.scale import length_scale
from jaxml.landscape.critical.string_method import lower_string
from jaxml.landscape.critical.symmetry_checks import check_symmetries
from jaxml.landscape.critical.symmetry_group import Declared
from jaxml.landscape.operators.dense_hessian import Dense, checked, dense_hessian, plan_dense
from jaxml.landscape.operators.hessian import flatten, hessian_vector_product
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import checked_problem, leaves_float64, needs_float64
from jaxml.linalg.projections import stiffened
from jaxml.linalg.reductions import norm


@flax.struct.dataclass
class SaddleSearch(Result):
    """What a search for a saddle found; under `vmap` every field has a leading axis.

    Attributes:
        params: the end of the search.
        loss: the loss there.
        gradient_norm: the gradient's 2-norm there.
        index: how many eigenvalues of the Hessian are negative there; without a dense Hessian of
            the `index + 1` lowest alone.
        converged: whether the gradient is within the tolerance and the index is the one sought, by
            the analysis too where there is one: at a degenerate point it need not be.
        directions: the eigenvectors that were followed, at a saddle those of the negative
            eigenvalues: a pytree like the parameters with a leading axis of length `index`.
        eigenvalues: theirs, shape `(index,)`.
        steps: steps tried.
        gradients: gradients computed, those of the string included.
        hessians: dense Hessians formed.
        products: Hessian-vector products taken.
        path: `"loss"`, `"gradient_norm"` and `"eigenvalue"` (the highest of those followed) before
            the first step and after each, shape `(max_steps + 1,)`, NaN after the end.
        string: with `to`, the points of the string: a pytree with a leading axis; else `None`.
        point: the analysis of the end, which certifies the saddle or does not; `None` under `vmap`,
            above 2,000 parameters and where the search did not come so far.
    """

    params: Any
    loss: Any
    gradient_norm: Any
    index: Any
    converged: Any
    directions: Any
    eigenvalues: Any
    steps: Any
    gradients: Any
    hessians: Any
    products: Any
    path: dict[str, Any]
    string: Any
    point: Analysis | None


@takes_modules
def find_saddle(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    index: int = 1,
    to: Params | None = None,
    direction: Params | None = None,
    gradient_tolerance: float | None = None,
    max_steps: int = 300,
    images: int = 15,
    string_steps: int = 300,
    dense: bool | None = None,
    float64: bool = False,
    memory: int | None = None,
    symmetries: Declared = (),
) -> SaddleSearch:
    """Search for a saddle of a given index from a point, such as a minimum, or between two.

    Uphill along `index` eigenvectors of the Hessian, downhill along all others, by steps that are
    Newton's near the saddle. From a minimum it leaves along the lowest eigenvectors, or along
    `direction`. Between two minima a string of points is lowered first, and the search begins at
    its highest point, along the string: where there are several saddles on the way, at the
    highest.

    For many starts, map it: `jax.vmap(lambda p: find_saddle(loss, p))(starts)`. The minima on
    either side of a saddle are those of `connected_minima`.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: where to start.
        index: how many eigenvalues are to be negative.
        to: the other end of a string from `params`, such as another minimum; for an index of 1.
        direction: where to leave the start: the first step, as long as the Hessian takes to change
            by half, see `length_scale`. A pytree like the parameters, for an index above 1 with a
            leading axis of length `index`. The eigenvectors followed are those nearest to it;
            without a dense Hessian it is where their search begins.
        gradient_tolerance: the gradient norm at which the search has converged; by default
            4·ε·‖H‖·(‖x‖ + ℓ) at the end: what the rounding of the parameters explains there, ℓ
            being the length above.
        max_steps: at most so many steps.
        images: points of the string, both ends included.
        string_steps: steps that lower it.
        dense: whether by all eigenvectors of the dense Hessian, which continues the eigenvectors
            followed from step to step, or by products alone, which follows the lowest ones: where
            these change places it may go to and fro. By default the former up to 2,000
            parameters.
        float64: compute in float64, as is done anyway where a parameter is in it.
        memory: bytes that the dense Hessian may take; half of what is free by default.
        symmetries: transformations that leave the loss unchanged, see `analyze`: no eigenvector
            along their orbits is followed, and the analysis of the end is that of the quotient.

    The units of the loss and of the parameters do not matter.

    Returns:
        See `SaddleSearch`.

    Raises:
        ValueError: for a bad loss, bad parameters, directions or options; if a dense Hessian does
            not fit.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Cerjan and Miller 1981, "On finding transition states", for the eigenvectors followed and
        the trust region; Munro and Wales 1999, "Defect migration in crystalline silicon", for the
        hybrid by products (lowest eigenvectors, conjugate gradients across them). Here a region is
        judged by the error of the gradient's linear model. See `lower_string` for the string.

    Example:
        >>> import jax.numpy as jnp
        >>> well = lambda w: (w[0] ** 2 - 1) ** 2 + w[1] ** 2
        >>> found = find_saddle(well, jnp.array([1.0, 0.0]), direction=jnp.array([-1.0, 0.0]))
        >>> found.params.round(6).tolist(), found.point.kind, found.point.certified
        ([0.0, 0.0], 'saddle', True)
        >>> [way.params.round(4).tolist() for way in connected_minima(well, found.params)]
        [[1.0, 0.0], [-1.0, 0.0]]
    """
    index = require_positive_int("index", index)
    max_steps = require_positive_int("max_steps", max_steps)
    string_steps = require_positive_int("string_steps", string_steps)
    require(require_positive_int("images", images) >= 3, "at least 3 images", images)
    if gradient_tolerance is not None:
        require(0 < gradient_tolerance < float("inf"), "gradient_tolerance > 0", gradient_tolerance)
    require(to is None or index == 1, "index 1 for a saddle between two points", index)
    require(to is None or direction is None, "either `to` or a direction", "both")
    float64 = needs_float64((params, to), float64)
    leaves = leaves_float64(float64)
    with checked_problem(loss, params, float64) as problem:
        loss, params = problem
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        require(index <= size, f"an index of at most the {size} parameters", index)
        end = None if to is None else _like(params, to, "to", ())
        if end is not None:
            differ = isinstance(end, Tracer) or bool((end != ravel_pytree(params)[0]).any())
            require(differ, "two points that differ", "the same twice")
        rows = None
        if direction is not None:
            rows = _like(params, direction, "direction", (index,) if index > 1 else ())
            rows = rows.reshape(index, size)
            given = isinstance(rows, Tracer) or bool(rows.any(axis=1).all())
            require(given, "a direction of length above 0", "zeros")
        dense = size <= DENSE_SIZE if dense is None else dense
        held = check_symmetries(symmetries, loss, params)
        found = checked(
            lambda plan: _search(
                loss,
                params,
                end,
                rows,
                held,
                gradient_tolerance,
                index,
                max_steps,
                images,
                string_steps,
                plan if dense else None,
            ),
            plan_dense(loss, params, memory, copies=6) if dense else Dense((), 0),
        )
        traced = isinstance(found.loss, Tracer)
        if not traced and size <= DENSE_SIZE and found.converged:
            # computed again, the gradient rounds differently
            tolerance = 1.001 * gradient_tolerance if gradient_tolerance else None
            point = analyze(
                loss,
                found.params,
                gradient_tolerance=tolerance,
                memory=memory,
                symmetries=held,
            )
            found = found.replace(point=point, converged=np.bool_(point.index == index))
        return jax.device_get(found) if leaves and not traced else found


def _like(params: Params, tree: Params, name: str, leading: tuple[int, ...]) -> Any:
    """A pytree of the parameters' shapes behind leading axes, as a flat vector for each."""
    shapes = jax.tree.map(lambda leaf: (*leading, *leaf.shape), params)
    got = jax.tree.map(np.shape, tree)
    require(got == shapes, f"{name} of shapes {shapes}", got)
    dtype = jax.tree.leaves(params)[0].dtype
    flat = [jnp.asarray(leaf, dtype).reshape(*leading, -1) for leaf in jax.tree.leaves(tree)]
    joined = jnp.concatenate(flat, axis=-1)
    finite = isinstance(joined, Tracer) or bool(jnp.isfinite(joined).all())
    require(finite, f"a finite {name}", "one that is not")
    return joined


_STATIC = ("index", "max_steps", "images", "string_steps", "plan")


@functools.partial(jax.jit, static_argnames=_STATIC)
def _search(
    loss, params, end, rows, symmetries, tolerance, index, max_steps, images, string_steps, plan
) -> tuple[SaddleSearch, Any]:
    f, x = flatten(loss, params)
    _, unravel = ravel_pytree(params)
    followed, push = jnp.zeros((index, x.size), x.dtype), jnp.zeros_like(x)
    string, gradients = None, 0
    if end is not None:
        string, losses = lower_string(f, x, end, images, string_steps)
        highest = 1 + jnp.argmax(losses[1:-1])
        along = string[highest + 1] - string[highest - 1]
        x, followed = string[highest], (along / norm(along))[None]
        gradients = (images - 2) * string_steps
    length, _ = length_scale(loss, unravel(x))
    if rows is not None:
        followed = rows / jax.vmap(norm)(rows)[:, None]
        total = followed.sum(0)
        push = length * total / norm(total)
    scales = generator_scales(symmetries, unravel(x), length) if symmetries.parameters else None

    def tangent(y):
        if scales is None:
            return jnp.zeros((x.size, 0), x.dtype)
        return tangent_basis(symmetries, unravel(y), scales)

    def hessian(y):
        matrix, error = dense_hessian(loss, unravel(y), plan)
        if scales is None:
            return matrix, error
        # a Rayleigh quotient for the stiffness, so that it does not exceed the norm
        stiff = stiffened(lambda rows: rows @ matrix, tangent(y), abs(jnp.diag(matrix)).max())
        return stiff(jnp.eye(x.size, dtype=x.dtype)), error

    if plan is None:
        method = product_method(lambda y, v: hessian_vector_product(f, y, v), tangent, index)
    else:
        method = dense_method(hessian, index)
    found = follow_eigenvectors(f, x, method, followed, push, length, tolerance, max_steps)
    seen, steps = found["seen"], found["steps"]
    result = SaddleSearch(
        params=unravel(found["x"]),
        loss=found["value"],
        gradient_norm=norm(found["gradient"]),
        index=seen.negative,
        converged=found["converged"],
        directions=jax.vmap(unravel)(found["followed"]),
        eigenvalues=found["eigenvalues"],
        steps=steps,
        gradients=gradients + 1 + steps,
        hessians=found["looks"] if plan is not None else jnp.int32(0),
        products=seen.products,
        path=found["path"],
        string=None if string is None else jax.vmap(unravel)(string),
        point=None,
    )
    return result, seen.error


@takes_modules
def connected_minima(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    direction: Params | None = None,
    max_steps: int = 500,
    gradient_tolerance: float | None = None,
    float64: bool = False,
    memory: int | None = None,
    symmetries: Declared = (),
) -> tuple[Escape, Escape]:
    """The minima on either side of a saddle: `escape` along a direction and against it.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: the saddle.
        direction: a pytree like the parameters, such as one of `SaddleSearch.directions`; by
            default as in `escape`, along the lowest eigenvector.
        max_steps: see `escape`, as are the others.
        gradient_tolerance: of the descents.
        float64: compute in float64, as is done anyway where a parameter is in it.
        memory: bytes that the dense analysis may take.
        symmetries: see `escape`.

    Raises:
        ValueError: as `escape`.
        NoDescentError: (a `ValueError`) if the loss does not fall in either sense.

    Example:
        >>> import jax.numpy as jnp
        >>> well = lambda w: (w[0] ** 2 - 1) ** 2 + w[1] ** 2
        >>> [round(float(way.params[0]), 4) for way in connected_minima(well, jnp.zeros(2))]
        [1.0, -1.0]
    """
    options = {
        "max_steps": max_steps,
        "gradient_tolerance": gradient_tolerance,
        "float64": float64,
        "memory": memory,
        "symmetries": symmetries,
    }
    first = escape(loss, params, direction=direction, one_sided=True, **options)
    back = jax.tree.map(lambda leaf: -leaf, first.direction)
    return first, escape(loss, params, direction=back, one_sided=True, **options)
