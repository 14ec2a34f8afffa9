"""How sharp a loss is at a point: curvature, and how much it rises nearby."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxml.core.checks import require
from jaxml.core.result import Result
from jaxml.core.seeds import key as key_of
from jaxml.core.types import Params
from jaxml.landscape.operators.hessian import flatten, hessian
from jaxml.landscape.operators.modules import takes_modules
from jaxml.landscape.operators.validation import checked_problem
from jaxml.landscape.spectra.eigenpairs import eigenpairs
from jaxml.landscape.spectra.stochastic_trace import trace
from jaxml.linalg.probe_intervals import CONFIDENCE


class Rise(NamedTuple):
    """How much the loss rises in a neighbourhood.

    Attributes:
        largest: the largest rise found, a lower bound of the largest there is.
        first_order: the rise at the point where the gradient alone would have it largest.
    """

    largest: float
    first_order: float


@dataclasses.dataclass(frozen=True)
class Sharpness(Result):
    """Measures of sharpness at one point.

    Attributes:
        loss: the loss there.
        largest_eigenvalue: λ_max of the Hessian.
        residual: ‖Hv − λv‖ of the unit vector it belongs to; an eigenvalue lies within it of
            `largest_eigenvalue`.
        converged: whether that residual is below 1e-4·‖H‖; otherwise λ_max may lie far above.
        trace: of the Hessian, an unbiased estimate.
        trace_error: its standard error; 0 where it is exact, NaN from one probe. Of few probes
            it is itself a guess: `trace_low` and `trace_high` are what to report.
        trace_low: the least and
        trace_high: the largest that the trace is, at 95 % or more: random vectors and rounding
            together, see `landscape.Estimate`. Infinite from one probe.
        keskar: Keskar's φ in per cent, 100·(max f − f)/(1 + f) over the box |yᵢ| ≤ ε(|xᵢ| + 1);
            NaN for a loss of −1 or less, where it would be infinite or change its sign.
        sam: the rise over the ball ‖y‖ ≤ ρ.
        adaptive_sam: the rise over the ellipsoid ‖y/|x|‖ ≤ ρ.
    """

    loss: float
    largest_eigenvalue: float
    residual: float
    converged: bool
    trace: float
    trace_error: float
    trace_low: float
    trace_high: float
    keskar: float
    sam: Rise
    adaptive_sam: Rise

    @property
    def stated_trace(self) -> str:
        """The trace with its interval, in words."""
        if self.trace_error == 0:
            return f"{self.trace:.5g}"
        if not math.isfinite(self.trace_high - self.trace_low):
            return f"{self.trace:.5g} (one random vector tells no interval)"
        return (
            f"{self.trace:.5g} ({self.trace_low:.5g} to {self.trace_high:.5g} at {CONFIDENCE:.0%})"
        )


@takes_modules
def sharpness(
    loss: Callable[[Params], Any],
    params: Params,
    *,
    box: float = 1e-3,
    radius: float = 0.05,
    adaptive_radius: float = 0.5,
    probes: int = 64,
    rounds: int = 20,
    random_starts: int = 3,
    seed: int = 0,
    memory: int | None = None,
) -> Sharpness:
    """Measure how sharp a loss is at a point.

    The maxima are sought by conditional gradients: to the point of the neighbourhood that the
    gradient prefers, again and again, which never falls where the loss is convex (elsewhere a
    share of the way is taken). Starts are the gradient's choice, both signs of the top
    eigenvector and random directions. At a minimum, where the gradient says nothing, SAM is
    ½ρ²λ_max to second order.

    λ_max, the trace, φ and SAM depend on how a network is parametrised: the weights of a ReLU
    layer times α and those of the next by 1/α give the same network another sharpness. Adaptive
    SAM is free of that.

    To train by SAM there is `optax.contrib.sam`; between its synchronisations the parameters are
    the perturbed ones.

    Args:
        loss: `params -> scalar`, twice differentiable; see `hessian`.
        params: the point.
        box: Keskar's ε.
        radius: SAM's ρ.
        adaptive_radius: adaptive SAM's ρ.
        probes: products for the trace.
        rounds: steps of each search at most, each a gradient and a few losses.
        random_starts: starts of each search beside those; there are three searches.
        seed: of the probes and starts.
        memory: bytes that the products may take; half of what is free by default.

    Returns:
        The measures, see `Sharpness`.

    Raises:
        ValueError: for a bad loss or bad parameters, as `hessian`; for a size that is not above 0.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Keskar et al. 2017 (arXiv:1609.04836), equations 3 and 4 with A = I; they maximise by ten
        steps of L-BFGS-B. Foret et al. 2021 (arXiv:2010.01412), equation 2 for the first-order
        point. Kwon et al. 2021 (arXiv:2102.11600), definition 2 with p = 2 and T_w = diag|w| over
        all parameters; their code adds 0.01 to |w| and leaves biases unscaled, which is not
        invariant.
        Hutchinson 1990 for the trace; Journée et al. 2010 (arXiv:0811.4724), section 3, for the
        ascent.

    Example:
        >>> import jax.numpy as jnp
        >>> found = sharpness(lambda w: 2 * w[0] ** 2 + w[1] ** 2, jnp.zeros(2))
        >>> round(found.largest_eigenvalue, 5), round(found.trace, 5), round(found.keskar, 7)
        (4.0, 6.0, 0.0003)
    """
    for name, size in {"box": box, "radius": radius, "adaptive_radius": adaptive_radius}.items():
        require(0 < size < math.inf, f"a {name} above 0", size)
    operator = hessian(loss, params, memory=memory)
    top = eigenpairs(operator, top=1, tolerance=1e-4, seed=seed)
    total = trace(operator, method="hutchinson", max_products=probes, seed=seed)
    vector = top.vectors[0]
    with checked_problem(loss, params) as problem:
        loss, params = problem
        sizes = (box, radius, adaptive_radius)
        value, found = jax.device_get(
            _rises(loss, params, vector, sizes, key_of(seed), rounds, random_starts)
        )
    keskar, sam, adaptive = (Rise(*map(float, rise)) for rise in zip(*found, strict=True))
    return Sharpness(
        loss=float(value),
        largest_eigenvalue=float(top.values[0]),
        residual=float(top.residuals[0]),
        converged=bool(top.converged[0]),
        trace=float(total.value),
        trace_error=float(total.standard_error),
        trace_low=float(total.low),
        trace_high=float(total.high),
        keskar=100 * keskar.largest / (1 + float(value)) if value > -1 else math.nan,
        sam=sam,
        adaptive_sam=adaptive,
    )


@functools.partial(jax.jit, static_argnames=("rounds", "random_starts"))
def _rises(loss, params, vector, sizes, key, rounds, random_starts):
    f, x = flatten(loss, params)
    value, gradient = jax.value_and_grad(f)(x)
    box, radius, adaptive = sizes
    # where in a neighbourhood a linear function is largest
    neighbourhoods = (
        lambda g: box * (abs(x) + 1) * jnp.sign(g),
        lambda g: radius * _unit(g),
        lambda g: adaptive * abs(x) * _unit(abs(x) * g),
    )
    noise = jax.random.normal(key, (random_starts, x.size), x.dtype)
    directions = jnp.concatenate([jnp.stack([gradient, vector, -vector]), noise])

    def rises(kind):
        def rise(direction):
            farthest = functools.partial(jax.lax.switch, kind, neighbourhoods)
            start = farthest(direction)
            return f(x + start) - value, _ascend(f, x, start, farthest, rounds) - value

        first, last = jax.lax.map(rise, directions)
        # a search that began out of the domain of the loss has found nothing
        return jnp.nanmax(last, initial=0), first[0]

    # one after the other, so that one program is compiled for the three
    return value, jax.lax.map(rises, jnp.arange(3))


def _unit(v: Float[Array, " size"]) -> Float[Array, " size"]:
    return v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny)


def _ascend(f: Callable, x: Array, start: Array, farthest: Callable, rounds: int) -> Array:
    """The largest value along an ascent by conditional gradients."""

    def advance(at, _):
        y, value = at
        way = farthest(jax.grad(f)(x + y)) - y

        def shorter(tried):
            share = tried[0] / 2
            return share, f(x + y + share * way)

        def falls(tried):
            return ~(tried[1] > value) & (tried[0] > 0.05)

        share, there = jax.lax.while_loop(
            falls, shorter, shorter((jnp.full((), 2, x.dtype), value))
        )
        rises = there > value
        return (jnp.where(rises, y + share * way, y), jnp.where(rises, there, value)), None

    (_, value), _ = jax.lax.scan(advance, (start, f(x + start)), length=rounds)
    return value
