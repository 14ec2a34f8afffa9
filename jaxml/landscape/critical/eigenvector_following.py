"""Steps uphill along some eigenvectors of the Hessian and downhill along all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.landscape.critical.trust_region import damping_of_length
from jaxml.linalg.davidson import largest
from jaxml.linalg.projections import across, stiffened
from jaxml.linalg.reductions import norm
from jaxml.linalg.steihaug import steihaug

# error of the linear model of the gradient, as a share of its change, from which on a step is
# rejected, shortens the region, and up to which it lets the region grow
_REJECTED, _POOR, _GOOD = 1.0, 0.5, 0.25
# products at most for the lowest eigenvectors at one point, and the residual that is enough
_PRODUCTS, _RESIDUAL = 60, 0.01


class Curvature(NamedTuple):
    """What is known of the Hessian at a point.

    Attributes:
        values: eigenvalues: all of them, ascending, or the `index + 1` lowest.
        vectors: theirs, in rows.
        followed: which of them are followed, shape `(values,)`.
        size: ‖H‖.
        slack: what the distance from the critical point explains of an eigenvalue.
        products: Hessian-vector products taken so far.
        error: of the dense Hessians so far, the largest, see `dense_hessian`.
    """

    values: Array
    vectors: Array
    followed: Array
    size: Array
    slack: Array
    products: Array
    error: Array

    @property
    def null(self) -> Array:
        """Which eigenvalues rounding explains, or that distance."""
        rounding = 10 * self.vectors.shape[1] * jnp.finfo(self.values.dtype).eps * self.size
        return abs(self.values) <= rounding + self.slack

    @property
    def negative(self) -> Array:
        """How many eigenvalues are negative, of those that are known."""
        return ((self.values < 0) & ~self.null).sum()

    @property
    def wrong(self) -> Array:
        """Which eigenvalues have not the sign that they have at the saddle."""
        return jnp.where(self.followed, self.values > 0, self.values < 0) & ~self.null


class Step(NamedTuple):
    """A step within a region.

    Attributes:
        step: s.
        image: Hs.
        inside: whether it is Newton's.
        products: Hessian-vector products taken for it.
        error: what the gradient changed by beside Hs -> that, relative to Hs, in a measure in which
            stiff directions do not outweigh all others.
    """

    step: Array
    image: Array
    inside: Array
    products: Array
    error: Callable[[Array], Array]


class Method(NamedTuple):
    """How the curvature is found, and the step that follows from it.

    Attributes:
        begin: x -> a `Curvature` to begin with.
        look: (x, the last `Curvature`, followed before as rows) -> `Curvature`.
        step: (x, `Curvature`, gradient, radius) -> `Step`.
    """

    begin: Callable
    look: Callable
    step: Callable


def dense_method(hessian: Callable, index: int) -> Method:
    """By all eigenvectors of the matrix.

    Args:
        hessian: x -> the matrix and its error, see `dense_hessian`.
        index: how many eigenvectors are followed.
    """

    def begin(x):
        zeros = jnp.zeros_like(x)
        matrix, no, zero = jnp.zeros((x.size, x.size), x.dtype), jnp.zeros(x.shape, bool), zeros[0]
        return Curvature(zeros, matrix, no, zero, zero, jnp.int32(0), zero)

    def look(x, last, before):
        matrix, error = hessian(x)
        values, vectors = jnp.linalg.eigh(matrix)
        rows = vectors.T
        seen = last._replace(
            values=values,
            vectors=rows,
            size=abs(values).max(),
            error=jnp.maximum(error, last.error),
        )
        # those of negative eigenvalues and, among these and among the others, those that continue
        # the eigenvectors followed so far: the lowest change places where eigenvalues cross, and
        # a search that follows them goes to and fro
        overlaps = ((rows @ before.T) ** 2).sum(1) + 2 * (values < 0)
        lowest = -jnp.arange(x.size, dtype=x.dtype)
        score = jnp.where(before.any(), overlaps, lowest)
        _, chosen = jax.lax.top_k(jnp.where(seen.null, -jnp.inf, score), index)
        return seen._replace(followed=jnp.zeros(x.size, bool).at[chosen].set(True))

    def step(x, seen, gradient, radius):
        signs = jnp.where(seen.followed, 1, -1) * ~seen.null
        slopes = signs * (seen.vectors @ gradient)
        components, damping = _limited(seen.values, slopes, radius)
        image = (seen.values * components) @ seen.vectors
        # the metric of the step itself
        weights = jnp.maximum(abs(seen.values) + damping, jnp.finfo(x.dtype).eps * seen.size)

        def error(rest):
            size = jnp.sqrt((weights * components**2).sum())
            return jnp.sqrt(((seen.vectors @ rest) ** 2 / weights).sum()) / size

        return Step(components @ seen.vectors, image, damping == 0, jnp.int32(0), error)

    return Method(begin, look, step)


def product_method(product: Callable, tangent: Callable, index: int) -> Method:
    """By products alone: the lowest eigenvectors, and conjugate gradients across them.

    Args:
        product: (x, vector) -> the Hessian times it.
        tangent: x -> what is along an orbit there, see `stiffened`.
        index: how many eigenvectors are followed: the lowest.
    """
    count = index + 1

    def begin(x):
        rows = jax.random.normal(jax.random.key(0), (count, x.size), x.dtype)
        first = jnp.arange(count) < index
        zeros = jnp.zeros(count, x.dtype)
        zero = zeros[0]
        return Curvature(zeros, jnp.linalg.qr(rows.T)[0].T, first, zero, zero, jnp.int32(0), zero)

    def linearized(x, stiffness):
        _, apply = jax.linearize(lambda v: product(x, v), jnp.zeros_like(x))
        return stiffened(apply, tangent(x), stiffness)

    def look(x, last, before):
        # a little of everything else, for what the earlier vectors do not contain
        drawn = jax.random.normal(jax.random.key(1), last.vectors.shape, x.dtype)
        starts = last.vectors.at[:index].set(jnp.where(before.any(), before, last.vectors[:index]))
        starts = starts + 0.01 * drawn / x.size**0.5
        limits = dict.fromkeys(("max_matvecs", "max_basis"), min(_PRODUCTS, x.size))
        top = largest(linearized(x, 0.0), drawn[:1], tolerance=0.1, **limits)
        size, products = abs(top.eigenvalue), last.products + top.products
        apply = linearized(x, size)
        values, rows = jnp.zeros_like(last.values), jnp.zeros_like(starts)
        for k in range(count):  # one after another, each across those before it
            rest = stiffened(apply, rows.T, size)
            found = largest(
                lambda v, rest=rest: -rest(v),
                starts[k : k + 1],
                tolerance=_RESIDUAL,
                **limits,
            )
            values = values.at[k].set(-found.eigenvalue)
            rows = rows.at[k].set(found.vectors[0])
            products += found.products
        size = jnp.maximum(size, abs(values).max())
        return last._replace(values=values, vectors=rows, size=size, products=products)

    def step(x, seen, gradient, radius):
        followed = seen.vectors[:index]
        apply = linearized(x, seen.size)
        along, damping = _limited(seen.values[:index], followed @ gradient, radius)
        rest = across(followed.T, gradient)
        unit = jnp.where(rest.any(), norm(rest), 1)
        # in units in which the forcing term of the conjugate gradients is that of a small residual
        projected = stiffened(apply, followed.T, 0.0)
        down, _, taken = steihaug(projected, 1e-4 * rest / unit, 1e-4 * radius / unit)
        down = 1e4 * unit * down
        inside = (damping == 0) & (norm(down) < 0.99 * radius)
        there = along @ followed + down
        image = apply(there)

        def error(rest):
            size = (abs(seen.values[:index]) + damping) @ along**2 + abs(down @ image)
            return abs(rest @ there) / size

        return Step(there, image, inside, taken + 1, error)

    return Method(begin, look, step)


def _limited(values, slopes, radius):
    """slopes/(|values| + μ) with the least μ ≥ 0 for which it lies within the radius, and μ."""
    tiny = jnp.finfo(values.dtype).tiny

    def step(mu):
        return jnp.where(slopes == 0, 0, slopes / jnp.maximum(abs(values) + mu, tiny))

    inside = norm(step(0.0)) <= radius
    high = jnp.log(jnp.maximum(norm(slopes) / radius, tiny))
    damping = jnp.where(inside, 0, damping_of_length(step, radius, high - 60, high + 1e-3))
    return step(damping), damping


def follow_eigenvectors(
    f: Callable,
    x: Float[Array, " size"],
    method: Method,
    followed: Float[Array, "index size"],
    push: Float[Array, " size"],
    length: Array,
    tolerance: float | None,
    max_steps: int,
) -> dict[str, Any]:
    """Climb along as many eigenvectors as there are rows, descend along the others; traceable.

    A step is Newton's at a saddle of that index, and elsewhere has the signs of one. It is
    limited to a region in which the gradient is linear, to a part of its change that the step
    itself measures: no function falls on the way to a saddle. Where the gradient vanishes and an
    eigenvalue has not the sign that it should, it leaves along the eigenvectors of those, in the
    sign for which the loss is lower.

    Args:
        f: vector -> scalar.
        x: where to start.
        method: how the curvature is found.
        followed: the directions to begin with; zeros for the lowest eigenvectors.
        push: the first step; zero for none.
        length: the first radius of the region.
        tolerance: the gradient norm at which it ends; by default 4·ε·‖H‖·(‖x‖ + length).
        max_steps: at most so many steps, those included that are rejected.

    Returns:
        A dict of the end `x`, its `value` and `gradient`, the curvature `seen` there, the
        eigenvectors `followed` and their `eigenvalues`, `converged`, the number of `steps` and of
        `looks` at the curvature, and the `path`.
    """
    differentiate, epsilon = jax.value_and_grad(f), jnp.finfo(x.dtype).eps

    def enough(seen, x):
        return 4 * epsilon * seen.size * (norm(x) + length) if tolerance is None else tolerance

    def advance(c):
        x, gradient = c["x"], c["gradient"]
        # of what is as good as critical, the eigenvalues along an orbit are zero only so far
        slack = jnp.where(norm(gradient) <= enough(c["seen"], x), norm(gradient) / length, 0)
        last = c["seen"]._replace(slack=slack)
        seen = jax.lax.cond(c["moved"], lambda: method.look(x, last, c["followed"]), lambda: last)
        followed = seen.vectors[_places(seen, len(c["followed"]))]
        small, wrong = norm(gradient) <= enough(seen, x), seen.wrong
        leaving = small & wrong.any() & ~c["pushed"].any()
        converged = small & (seen.negative == len(followed))

        proposed = method.step(x, seen, gradient, c["radius"])
        step, image = proposed.step, proposed.image
        away = length * _signed_sum(seen.vectors, wrong)
        away = jnp.where(f(x - away) < f(x + away), -away, away)
        step = jnp.where(c["pushed"].any(), c["pushed"], jnp.where(leaving, away, step))
        free = leaving | c["pushed"].any()
        trial = x + step
        value, new = differentiate(trial)
        defined = jnp.isfinite(value) & jnp.isfinite(new).all()
        rest = new - gradient - image
        rounded = norm(rest) <= 10 * epsilon * seen.size * norm(x)
        error = jnp.where(rounded, 0, proposed.error(rest))
        accept = defined & ((error <= _REJECTED) | free) & ~converged & (c["k"] < max_steps)
        radius, size = c["radius"], norm(step)
        grown = jnp.where(proposed.inside, radius, jnp.maximum(radius, 2 * size))
        radius = jnp.where(error <= _GOOD, grown, jnp.where(error > _POOR, size / 2, radius))
        radius = jnp.where(defined, radius, size / 4)
        k = c["k"] + 1
        x, value, gradient = jax.tree.map(
            lambda new, old: jnp.where(accept, new, old),
            (trial, value, new),
            (c["x"], c["value"], c["gradient"]),
        )
        ended = converged | (c["k"] >= max_steps)
        highest = jnp.where(seen.followed, seen.values, -jnp.inf).max()
        path = {
            "loss": c["path"]["loss"].at[k].set(jnp.where(ended, jnp.nan, value), mode="drop"),
            "gradient_norm": c["path"]["gradient_norm"]
            .at[k]
            .set(jnp.where(ended, jnp.nan, norm(gradient)), mode="drop"),
            "eigenvalue": c["path"]["eigenvalue"].at[c["k"]].set(highest, mode="drop"),
        }
        return {
            "x": x,
            "value": value,
            "gradient": gradient,
            "seen": seen._replace(products=seen.products + jnp.where(ended, 0, proposed.products)),
            "followed": followed,
            "pushed": jnp.zeros_like(x),
            "radius": jnp.where(free, length, radius),
            "moved": accept,
            "k": jnp.where(ended, c["k"], k),
            "looks": c["looks"] + c["moved"],
            "path": path,
            "converged": converged,
            "ended": ended | ~(trial != c["x"]).any(),
        }

    value, gradient = differentiate(x)
    empty = jnp.full(max_steps + 1, jnp.nan, x.dtype)
    end = jax.lax.while_loop(
        lambda c: ~c["ended"],
        advance,
        {
            "x": x,
            "value": value,
            "gradient": gradient,
            "seen": method.begin(x),
            "followed": followed,
            "pushed": push,
            "radius": length,
            "moved": jnp.bool_(True),
            "k": jnp.int32(0),
            "looks": jnp.int32(0),
            "path": {
                "loss": empty.at[0].set(value),
                "gradient_norm": empty.at[0].set(norm(gradient)),
                "eigenvalue": empty,
            },
            "converged": jnp.bool_(False),
            "ended": jnp.bool_(False),
        },
    )
    eigenvalues = end["seen"].values[_places(end["seen"], len(followed))]
    return {**end, "steps": end["k"], "eigenvalues": eigenvalues}


def _places(seen: Curvature, count: int) -> Array:
    """Of the followed eigenvectors."""
    return jax.lax.top_k(seen.followed.astype(jnp.int32), count)[1]


def _signed_sum(rows: Array, chosen: Array) -> Array:
    """The sum of some rows, each with its largest entry positive, as a unit vector."""
    largest_entry = jnp.take_along_axis(rows, abs(rows).argmax(1)[:, None], 1)[:, 0]
    total = (jnp.where(chosen, jnp.sign(largest_entry), 0)) @ rows
    return total / jnp.where(total.any(), norm(total), 1)
