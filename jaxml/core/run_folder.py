"""What stands where in the folder of a run that a command wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jaxml.core.checks import require

CONFIG = "config.json"
"""What was asked for, and what of."""


def checkpoints(folder: Path) -> Path:
    """Where a run's checkpoints are."""
    return folder / "checkpoints"


def config_of(folder: Path, command: str) -> dict[str, Any]:
    """What a run's `config.json` holds, `"arguments"` among it.

    Raises:
        ValueError: if the folder holds no run of that command.
    """
    path = folder / CONFIG
    require(path.is_file(), f"the folder of a run, with its {CONFIG}", str(folder))
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        was, _ = config["command"], dict(config["arguments"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"expected {path} as it was written, got a damaged one") from error
    require(was == command, f"a run of jaxml {command}", f"{folder}, one of jaxml {was}")
    return config
