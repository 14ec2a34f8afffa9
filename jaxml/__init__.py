"""Train neural networks in JAX and understand the training.

Everything is imported when it is first used: `import jaxml` alone initialises no backend and
costs little beyond `import jax`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxml import (
        cli,
        core,
        course,
        data,
        generative,
        landscape,
        linalg,
        nn,
        report,
        sequence,
        studies,
        trained,
        training,
    )
    from jaxml.core.types import Algorithm, Model, Run, TrainState
    from jaxml.landscape import (
        analyze,
        descend,
        escape,
        explore,
        find_critical_point,
        find_minimum,
        follow,
        hessian,
    )
    from jaxml.studies.topics import staircase
    from jaxml.trained import load
    from jaxml.training import fit, fit_many, full_loss, supervised

__version__ = "0.2.0"

__all__ = [
    "Algorithm",
    "Model",
    "Run",
    "TrainState",
    "analyze",
    "cli",
    "core",
    "course",
    "data",
    "descend",
    "escape",
    "explore",
    "find_critical_point",
    "find_minimum",
    "fit",
    "fit_many",
    "follow",
    "full_loss",
    "generative",
    "hessian",
    "landscape",
    "linalg",
    "load",
    "nn",
    "report",
    "sequence",
    "staircase",
    "studies",
    "supervised",
    "trained",
    "training",
]

_HOMES: dict[str, str] = dict.fromkeys(("Algorithm", "Model", "Run", "TrainState"), "core.types")
_HOMES["load"] = "trained"
_HOMES |= dict.fromkeys(("fit", "fit_many", "full_loss", "supervised"), "training")
_HOMES |= dict.fromkeys(
    (
        "analyze",
        "descend",
        "escape",
        "explore",
        "find_critical_point",
        "find_minimum",
        "follow",
        "hessian",
    ),
    "landscape",
)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"jaxml.{_HOMES[name]}"), name)
    if name == "staircase":
        return importlib.import_module("jaxml.studies.topics.staircase")
    if name in __all__:
        return importlib.import_module(f"jaxml.{name}")
    raise AttributeError(f"module 'jaxml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
