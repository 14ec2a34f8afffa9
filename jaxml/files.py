"""Writing files so that none is ever half there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from jaxml.checks import require


def write_atomically(path: str | Path, content: str | bytes) -> Path:
    """Write a file beside its place, then move it there.

    Args:
        path: where to; its folder must exist.
        content: text (as UTF-8) or bytes.

    Raises:
        ValueError: if the folder is not there or cannot be written to.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    require(path.parent.is_dir(), f"an existing folder for {path.name}", repr(str(path.parent)))
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise ValueError(f"expected a writable folder, got {path.parent} ({error})") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def new_folder(path: str | Path) -> Path:
    """Make a folder, or take one that is there and empty.

    Raises:
        ValueError: if something is there already, or the folder cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"expected a folder that can be made, got {path} ({error})") from error
    held = sorted(child.name for child in path.iterdir())
    require(not held, "a new or empty folder", f"{path}, which holds {', '.join(held[:3])}")
    require(os.access(path, os.W_OK), "a writable folder", str(path))
    return path


def numbered_folder(parent: str | Path, name: str) -> Path:
    """The first of `parent/name-1`, `parent/name-2`, … that is not there yet, made.

    Raises:
        ValueError: if it cannot be made.
    """
    number = 1
    while True:
        path = Path(parent) / f"{name}-{number}"
        if not path.exists():
            return new_folder(path)
        number += 1
