"""Results as plain values, for JSON."""

from __future__ import annotations

import dataclasses
import platform
from importlib import metadata
from typing import Any

import jax
import numpy as np

from jaxml.landscape import Analysis, Eigenpairs, Exploration, Inspection
from jaxml.studies import (
    DepthStudy,
    DiagnosisStudy,
    EdgeStudy,
    Findings,
    GeneralizationStudy,
    Lanes,
    NormalizationStudy,
    Sharpening,
    Smoothness,
    Study,
)
from jaxml.studies.topics.staircase import Staircase

Chapter = DepthStudy | DiagnosisStudy | EdgeStudy | GeneralizationStudy | NormalizationStudy
"""Studies of one question."""


def provenance() -> dict[str, Any]:
    """What the figures were computed with: versions, device, precision."""
    device = jax.devices()[0]
    return {
        "versions": {
            "python": platform.python_version(),
            **{
                name: metadata.version(name) for name in ("jaxml", "jax", "jaxlib", "flax", "optax")
            },
        },
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "machine": platform.machine(),
        },
    }


def record(
    result: Analysis | Chapter | Staircase | Exploration | Findings | Inspection,
) -> dict[str, Any]:
    """All figures of a result as plain values that JSON can hold (NaN as `None`).

    Args:
        result: from `landscape.analyze`, `landscape.explore`, `landscape.inspect`,
            `staircase.walk` or `studies.findings`.
    """
    if isinstance(result, Staircase):
        body = _staircase(result)
    elif isinstance(result, Inspection):
        body = _inspection(result)
    elif isinstance(result, Findings):
        body = _findings(result)
    elif isinstance(result, Chapter):
        body = _chapter(result)
    elif isinstance(result, Exploration):
        body = _exploration(result)
    else:
        body = {"points": [_point(result, role="given")]}
    return _plain({**provenance(), **body})


def _point(analysis: Analysis, **about: Any) -> dict[str, Any]:
    return {
        **about,
        "kind": analysis.kind,
        "certified": analysis.certified,
        "loss": analysis.loss,
        "gradient_norm": analysis.gradient_norm,
        "gradient_tolerance": analysis.gradient_tolerance,
        "index": analysis.index,
        "counts": analysis.counts._asdict(),
        "minimum_ratio": analysis.minimum_ratio,
        "tolerance": analysis.tolerance,
        "distance": analysis.distance,
        "size": analysis.size,
        "symmetry_modes": analysis.symmetry_modes,
        "dtype": str(analysis.dtype),
        "descent_found": analysis.descent is not None,
        "eigenvalues": analysis.eigenvalues,
    }


def _chapter(result: Chapter) -> dict[str, Any]:
    """All numbers but those of single lanes and parameters."""

    def without(value: Any) -> Any:
        if isinstance(value, Study | Lanes):
            return None
        if isinstance(value, Smoothness):
            arrays = dataclasses.replace(value, params=None, model_state=None)
            return dataclasses.asdict(arrays)
        if isinstance(value, Sharpening):
            return dataclasses.asdict(value) | {"ratio": value.ratio}
        if isinstance(value, dict):
            return {str(key): without(item) for key, item in value.items()}
        if hasattr(value, "_asdict"):
            return without(value._asdict())
        return [without(item) for item in value] if isinstance(value, list | tuple) else value

    return {
        field.name: without(getattr(result, field.name)) for field in dataclasses.fields(result)
    }


def _findings(result: Findings) -> dict[str, Any]:
    def named(of: dict[tuple[str, float], Any]) -> list[dict[str, Any]]:
        return [
            {"optimizer": name, "momentum": momentum, **dataclasses.asdict(found)}
            for (name, momentum), found in of.items()
        ]

    noise = {
        str(size): [{"loss": loss, **dataclasses.asdict(scale)} for loss, scale in points]
        for size, points in result.noise.items()
    }
    body: dict[str, Any] = {
        "target": None if result.study.target is None else result.study.target._asdict(),
        "steps": [row._asdict() for row in result.table.rows],
        "hyperbola": named(result.hyperbola),
        "overhead": named(result.overhead),
        "noise_scale": noise,
        "noise_along": [
            at._asdict() | {"scale": dataclasses.asdict(at.scale)} for at in result.noise_along
        ],
        "throughput": [row._asdict() for row in result.throughput],
        "published": result.published and result.published._asdict(),
    }
    body["descents"] = {
        surface: [
            {"optimizer": name, "learning_rate": rate, "reached": reached, "why": why}
            for name, rate, reached, why in zip(
                found.names, found.rates, found.reached, found.why, strict=True
            )
        ]
        for surface, found in result.descents.items()
    }
    if result.equal_loss is not None:
        equal = result.equal_loss
        body["equal_loss"] = {
            "loss": equal.loss,
            "missed": equal.missed,
            "rank": equal.rank,
            "p_value": equal.p_value,
            "minima": [
                m._asdict() | {"sharpness": dataclasses.asdict(m.sharpness)} for m in equal.minima
            ],
        }
    return body


def _staircase(result: Staircase) -> dict[str, Any]:
    points = []
    for level in result.levels:
        points += [
            _point(point, role="minimum", width=level.width, seed=seed)
            for seed, point in enumerate(level.minima)
        ]
        points += [
            _point(
                saddle.measured,
                role="dead unit",
                width=level.width + 1,
                seed=seed,
                predicted_index=saddle.predicted.index,
                predicted_lowest_eigenvalue=saddle.predicted.lowest,
                spectrum_error=saddle.spectrum_error,
                escape_distance=saddle.escape and saddle.escape.distance,
                escape_loss=saddle.escape and saddle.escape.loss,
            )
            for seed, saddle in enumerate(level.saddles)
        ]
    width = result.levels[0].width
    return {
        "arguments": result.config,
        "points": points
        + [_point(f.point, role="found", width=width) for f in result.found if f.point],
        "searches": [_search(f) for f in result.found],
        "training": [
            {"width": level.width, "steps": level.steps, "losses": level.losses}
            for level in result.levels
        ],
        "spectra": {
            "width": width,
            "steps": result.spectra_steps,
            "loss": result.spectra.loss,
            "index": result.spectra.index,
            "eigenvalues": result.spectra.eigenvalues,
        },
    }


def _inspection(result: Inspection) -> dict[str, Any]:
    body: dict[str, Any] = {
        name: getattr(result, name)
        for name in ("size", "dtype", "loss", "gradient_norm", "products", "seconds")
    }
    body |= {"product_seconds": result.product_seconds, "product_bytes": result.product_bytes}
    if result.ends is not None:
        body["ends"] = _ends(result.ends)
    if result.index is not None:
        body["index"] = dataclasses.asdict(result.index)
    if result.sharpness is not None:
        body["sharpness"] = dataclasses.asdict(result.sharpness)
    if result.density is not None:
        shares = {
            name: {"value": share.value, "low": share.low, "high": share.high}
            for name, share in result.density.shares()._asdict().items()
        }
        body["density"] = dataclasses.asdict(result.density) | {"shares": shares}
    if result.layers is not None:
        body["layers"] = [
            {"name": layer.name, "size": layer.size, **_ends(layer.ends)} for layer in result.layers
        ]
    if result.series is not None:
        body["series"] = [
            {"step": at.step, "loss": at.loss, "gradient_norm": at.gradient_norm, **_ends(at.ends)}
            for at in result.series
        ]
    if result.surface is not None:
        body["surface"] = {
            "kind": result.surface_kind,
            "coordinates": result.surface.coordinates,
            "losses": result.surface.losses,
        }
    if (seen := result.trajectory) is not None:
        body["trajectory"] = {
            name: getattr(seen, name)
            for name in (
                *("explained_variance_ratio", "path", "distances", "losses"),
                "projected_losses",
            )
        }
    return body


def _ends(pairs: Eigenpairs) -> dict[str, Any]:
    """All but the vectors."""
    names = ("values", "residuals", "bounds", "converged", "products", "norm", "rounding")
    return {name: getattr(pairs, name) for name in names}


def _exploration(result: Exploration) -> dict[str, Any]:
    points = [_point(result.point, role="given")]
    for i, point in enumerate(result.distinct):
        about: dict[str, Any] = {"role": "found"}
        if i in result.escapes:
            way, end = result.escapes[i]
            about |= {
                "escape_distance": way.distance,
                "escape_loss": end.loss,
                "escape_kind": end.kind,
            }
        points.append(_point(point, **about))
    searches = [_search(f) for f in result.found]
    return {"arguments": result.config, "points": points, "searches": searches}


def _search(found: Any) -> dict[str, Any]:
    search = found.search
    return {
        "ending": found.ending,
        "loss": search.loss,
        "gradient_norm": search.gradient_norm,
        "flatness": search.flatness,
        "steps": search.steps,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | jax.Array):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
