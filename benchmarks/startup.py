"""What a user waits for: from typing `jaxml landscape` to its first lines and to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def landscape(rounds: int) -> Iterator[dict[str, Any]]:
    """With JAX's compilation cache empty, and then with what the run before left in it."""
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("cold", "warm"):
                yield {"cache": cache, **_run(Path(folder), cache)}


def _run(folder: Path, name: str) -> dict[str, float]:
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "jaxml.cli", "landscape", "--out", str(folder / name)]
    start = time.perf_counter()
    lines: list[tuple[float, str]] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append((time.perf_counter() - start, line.rstrip()))
    if process.returncode:
        raise RuntimeError("\n".join(text for _, text in lines))
    header = next(i for i, (_, text) in enumerate(lines) if text.startswith("width"))
    return {
        "first_line": lines[0][0],
        "first_width": lines[header + 1][0],
        "end": time.perf_counter() - start,
    }
