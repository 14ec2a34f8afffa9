"""Where numbers come from: the command, versions, device and date."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import Any


def provenance() -> dict[str, Any]:
    """What numbers were computed with: versions and device."""
    import jax  # noqa: PLC0415 - slow, and a command's help needs none of this

    device = jax.devices()[0]
    names = ("jaxml", "jax", "jaxlib", "flax", "optax")
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in names},
        },
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
            "machine": platform.machine(),
        },
    }


COMMAND: ContextVar[list[str] | None] = ContextVar("command", default=None)
"""The words of the command that runs, where they are not those of the process."""


def command() -> str:
    """The command line of this process, without the folders of its program."""
    if (words := COMMAND.get()) is not None:
        return shlex.join(words)
    program, *arguments = sys.argv
    name = Path(program).name
    return shlex.join(["jaxml" if name == "__main__.py" else name, *arguments])


def today() -> str:
    """The date, in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def line(about: Mapping[str, Any]) -> str:
    """The command, seed, versions, device and date, in a line.

    Args:
        about: what is known better than by `provenance` now, such as of a result of last week.

    Example:
        >>> line({"seed": 3, "command": "jaxml study", "date": "2026-01-31"}).split(";")[:3]
        ['jaxml study', ' seed 3', ' 2026-01-31']
    """
    about = {"command": command(), "date": today(), **provenance(), **about}
    parts = [str(about["command"])]
    if about.get("seed") is not None:
        parts.append(f"seed {about['seed']}")
    parts.append(str(about["date"]))
    parts.append(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    device = about["device"]
    count = f"{device['count']} × " if device["count"] > 1 else ""
    parts.append(f"{count}{device['kind']}, {device['machine']}")
    return "; ".join(part for part in parts if part)
