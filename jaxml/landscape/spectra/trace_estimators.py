"""Estimates of a trace from products with random vectors, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxml.linalg.probe_intervals import Bounds, mean_bounds, standard_error, student

# of the jackknife: as many estimates are computed once more
_GROUPS = 20


class Found(NamedTuple):
    """What a sample tells.

    Attributes:
        value: the estimate.
        error: its standard error.
        bounds: without rounding.
        scale: what rounding is relative to: ‖A‖, or less where less is rounded.
    """

    value: Any
    error: Any
    bounds: Bounds
    scale: float


def around(value: Any, factor: float, error: Any) -> Bounds:
    """So many standard errors to each side; no bounds where the factor is infinite."""
    if factor == np.inf:
        return Bounds(np.full_like(value, -np.inf), np.full_like(value, np.inf))
    return Bounds(value - factor * error, value + factor * error)


def hutchinson(forms: np.ndarray, squares: np.ndarray) -> Found:
    """The mean of zᵀAz, from these and ‖Az‖²."""
    scale = np.sqrt(squares.mean())
    return Found(forms.mean(), standard_error(forms), mean_bounds(forms, forms), scale)


def hutchpp(qaq, qz, qaz, forms):
    """The trace of QᵀAQ, and Hutchinson's estimate of what Q leaves: zᵀ(I−QQᵀ)A(I−QQᵀ)z."""
    rest = forms - 2 * (qz * qaz).sum(axis=0) + (qz * (qaq @ qz)).sum(axis=0)
    kept = np.trace(qaq)
    low, high = mean_bounds(rest, rest)
    scale = np.linalg.norm(qaz) / len(forms) ** 0.5
    return Found(kept + rest.mean(), standard_error(rest), Bounds(kept + low, kept + high), scale)


def xtrace(size: int) -> Callable[..., Found]:
    """XTrace of an operator of so many rows, with the standard error of a jackknife."""

    def estimate(qaq, qz, qaz, forms):
        value = _leave_one_out(size, qaq, qz, qaz, forms).mean()
        groups = np.array_split(np.arange(len(forms)), min(len(forms), _GROUPS))
        without = []
        for group in groups if len(groups) > 1 else []:
            kept = np.delete(np.arange(len(forms)), group)
            q = np.linalg.qr(qaz[:, kept])[0]
            part = q.T @ qaq @ q, q.T @ qz[:, kept], q.T @ qaz[:, kept], forms[kept]
            without.append(_leave_one_out(size, *part).mean())
        # Efron and Stein: at least the variance of an estimate from one group less
        error = (
            np.linalg.norm(np.subtract(without, np.mean(without)))
            if without
            else np.float64(np.nan)
        )
        bounds = around(value, student(len(without)), error)
        return Found(value, error, bounds, np.linalg.norm(qaz) / len(forms) ** 0.5)

    return estimate


def _leave_one_out(size, qaq, qz, qaz, forms):
    """The estimates of the trace that take one vector for the sample, the rest for the sketch.

    Column i of `left` is orthogonal to QᵀA times every vector but the i-th: without that
    direction Q is the basis of the rest.
    """
    u, sigma, vt = np.linalg.svd(qaz)
    floor = np.finfo(float).eps * sigma[0] or 1.0
    left = (u / np.maximum(sigma, floor)) @ vt
    left /= np.linalg.norm(left, axis=0)
    inner = qz - left * (left * qz).sum(axis=0)
    rest = forms - 2 * (inner * qaz).sum(axis=0) + (inner * (qaq @ inner)).sum(axis=0)
    scale = (size - len(qaq) + 1) / (size - (inner**2).sum(axis=0))
    return np.trace(qaq) - (left * (qaq @ left)).sum(axis=0) + scale * rest
