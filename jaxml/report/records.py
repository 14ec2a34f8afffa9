"""Results as plain values, for JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxml.core.provenance import provenance
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

Chapter = DepthStudy | DiagnosisStudy | EdgeStudy | GeneralizationStudy | NormalizationStudy
"""Studies of one question."""


def record(
    result: Chapter | Findings,
) -> dict[str, Any]:
    """All figures of a result as plain values that JSON can hold (NaN as `None`).

    Args:
        result: from `landscape.analyze`, `landscape.explore`, `landscape.inspect`,
            `staircase.walk` or `studies.findings`.
    """
    body = _findings(result) if isinstance(result, Findings) else _chapter(result)
    return _plain({**provenance(), **body})


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
