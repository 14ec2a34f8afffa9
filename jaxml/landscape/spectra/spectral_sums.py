"""Sums of a function over all eigenvalues, by stochastic Lanczos quadrature with bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jaxml.core.checks import require
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.spectra.density import (
    OnProgress,
    check_accuracy,
    exact_spectrum,
    krylov_probes,
)
from jaxml.landscape.spectra.stochastic_trace import Estimate
from jaxml.linalg.probe_intervals import mean_bounds, standard_error
from jaxml.linalg.quadrature import Rule, gauss, lowest_bound, radau
from jaxml.linalg.rounding import rounding_error


def log_determinant(
    operator: SymmetricOperator,
    *,
    shift: float = 0.0,
    lowest: float | None = None,
    steps: int = 90,
    probes: int = 10,
    accuracy: float | None = None,
    seed: int = 0,
    on_progress: OnProgress = None,
) -> Estimate:
    """The logarithm of det(A + shift·I), by stochastic Lanczos quadrature.

    Exact where `steps·probes` products could form the whole matrix, as `spectral_density`.

    The interval holds whatever the steps could not resolve: the Gauss rule bounds the integral of
    each probe from above, the Radau rule with a node below all eigenvalues from below. How far
    below they reach is known from `lowest`, or else from what the probes leave possible, with a
    risk of 1 %. Where that is not above −shift there is no lower bound: one eigenvalue as close
    to −shift as it likes would make the logarithm as low as it likes.

    Args:
        operator: such as `hessian(loss, params)`.
        shift: added to every eigenvalue.
        lowest: what no eigenvalue is known to be below, such as 0 of a Gauss–Newton matrix.
        steps: how many products a probe takes; see `Estimate.truncation`.
        probes: at most how many random vectors.
        accuracy: end once the standard error is at most so much of the value's size; not before
            the fifth probe.
        seed: of the probes.
        on_progress: see `spectral_density`.

    Raises:
        ValueError: for bad options; if the products are not finite; if an eigenvalue is at or
            below −shift, up to rounding, or below `lowest`. That none was found is no proof that
            none is.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Ubaru, Chen and Saad 2017 (doi:10.1137/16M1104974); Bai, Fahey and Golub 1996
        (doi:10.1016/0377-0427(96)00018-0) and Golub and Meurant 2010, chapter 6, for the bounds.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> operator = hessian(lambda w: (jnp.exp(w)).sum(), jnp.arange(3.0))
        >>> round(log_determinant(operator).value, 5)
        3.0
    """
    require(np.isfinite(shift), "a finite shift", shift)
    return _spectral_sum(
        operator,
        lambda values: np.log(values + shift),
        shift,
        lowest,
        steps,
        probes,
        accuracy,
        seed,
        on_progress,
    )


def effective_dimension(
    operator: SymmetricOperator,
    damping: float,
    *,
    lowest: float | None = None,
    steps: int = 90,
    probes: int = 10,
    accuracy: float | None = None,
    seed: int = 0,
    on_progress: OnProgress = None,
) -> Estimate:
    """Σ λ/(λ + damping): how many directions the data determine beyond the damping.

    Args:
        operator: such as `hessian(loss, params)` at a minimum, without eigenvalues at or below
            −damping.
        damping: above 0: the prior's precision, per example where the loss is a mean.
        lowest: as of `log_determinant`, and so are the other options.
        steps: products a probe.
        probes: at most how many random vectors.
        accuracy: see `log_determinant`.
        seed: of the probes.
        on_progress: see `spectral_density`.

    Raises:
        ValueError: as `log_determinant`; if the damping is not above 0.
        BackendError: if the backend computes known answers wrong.

    Reference:
        MacKay 1992, section 4.1; Maddox, Benton and Wilson 2020 (arXiv:2003.02139).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> operator = hessian(lambda w: (jnp.array([1.0, 3.0]) * w**2).sum() / 2, jnp.zeros(2))
        >>> effective_dimension(operator, 1.0).value
        1.25
    """
    require(0 < damping < np.inf, "a damping above 0", damping)
    return _spectral_sum(
        operator,
        lambda values: values / (values + damping),
        damping,
        lowest,
        steps,
        probes,
        accuracy,
        seed,
        on_progress,
    )


def _spectral_sum(
    operator: SymmetricOperator,
    function: Callable[[np.ndarray], np.ndarray],
    shift: float,
    lowest: float | None,
    steps: int,
    probes: int,
    accuracy: float | None,
    seed: int,
    on_progress: OnProgress,
) -> Estimate:
    """The sum of a function over the eigenvalues, which must all be above −shift.

    The function has to rise and its derivatives to alternate in sign from there on: then the
    Gauss rule is never below the integral, and the Radau rule with a node at or below the lowest
    eigenvalue never above.
    """
    check_accuracy(accuracy)
    valid = lowest is None or np.isfinite(lowest)
    require(valid, "a finite `lowest`", lowest)
    epsilon, size = float(np.finfo(operator.dtype).eps), operator.size

    def require_above(nodes):
        tolerance = epsilon * float(np.abs(nodes).max())
        least = float(nodes.min())
        require(
            least + shift > tolerance,
            f"eigenvalues above {-shift:.3g} (by {tolerance:.1e}, the rounding error)",
            f"{least:.6g}; a larger shift would do",
        )
        claimed = -np.inf if lowest is None else lowest
        rounding = rounding_error(size, operator.dtype, float(np.abs(nodes).max()))
        found = f"no eigenvalue below `lowest`, {claimed:.6g}"
        require(least >= claimed - 10 * rounding, found, f"one at most {least:.6g}")

    if exact := exact_spectrum(operator, steps, probes):
        require_above(exact.nodes)
        rounding = rounding_error(size, operator.dtype, float(np.abs(exact.nodes).max()))
        value, high = (float(function(exact.nodes + r).sum()) for r in (0, rounding))
        above = exact.nodes.min() - rounding + shift > 0
        low = float(function(exact.nodes - rounding).sum()) if above else -np.inf
        return Estimate(value, 0.0, exact.products, 0.0, low, high)

    def rules(pairs):
        found = [gauss(*pair) for pair in pairs]
        for rule in found:
            require_above(rule.nodes)
        return found

    def sums(found):
        return np.array([size * (rule.weights @ function(rule.nodes)) for rule in found])

    def enough(pairs):
        values = sums(rules(pairs))
        return standard_error(values) <= accuracy * abs(values.mean())

    found = rules(
        krylov_probes(
            operator,
            steps,
            probes,
            seed,
            lambda pairs: accuracy is not None and enough(pairs),
            on_progress,
        )
    )
    values = sums(found)
    # of Lanczos in floating point: the moments are those of a matrix so far away
    rounding = 10 * epsilon * max(float(np.abs(rule.nodes).max()) for rule in found)
    floor = lowest_bound(found, size)
    floor = (floor if lowest is None else max(floor, lowest)) - rounding
    low = np.array([size * _least(function, rule, floor, rounding, shift) for rule in found])
    high = np.array([size * (rule.weights @ function(rule.nodes + rounding)) for rule in found])
    bounds = mean_bounds(low, high)
    return Estimate(
        float(values.mean()),
        float(standard_error(values)),
        steps * len(found),
        float(max(values.mean() - low.mean(), high.mean() - values.mean())),
        *map(float, bounds),
    )


def _least(
    function: Callable[[np.ndarray], np.ndarray],
    rule: Rule,
    floor: float,
    rounding: float,
    shift: float,
) -> float:
    """What the integral is not below, where no eigenvalue is below the floor."""
    floor = min(floor, float(rule.nodes[0]) - rounding)
    if floor - rounding + shift <= 0:
        return -np.inf
    nodes, masses = radau(rule, floor)
    return float(masses @ function(np.maximum(nodes, floor) - rounding))
