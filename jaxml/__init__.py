"""Train neural networks in JAX and understand the training.

Everything is imported when it is first used: `import jaxml` alone initialises no backend and
costs little beyond `import jax`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxml import cli, data, landscape, nn, report, staircase, studies, trained, training, types
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
    from jaxml.trained import load
    from jaxml.training import fit, fit_many, full_loss, supervised
    from jaxml.types import Algorithm, Model, Run, TrainState

__version__ = "0.1.0"

__all__ = [
    "Algorithm",
    "Model",
    "Run",
    "TrainState",
    "analyze",
    "cli",
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
    "hessian",
    "landscape",
    "load",
    "nn",
    "report",
    "staircase",
    "studies",
    "supervised",
    "trained",
    "training",
    "types",
]

_HOMES: dict[str, str] = dict.fromkeys(("Algorithm", "Model", "Run", "TrainState"), "types")
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
    if name in __all__:
        return importlib.import_module(f"jaxml.{name}")
    raise AttributeError(f"module 'jaxml' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
