"""Writing files so that none is ever half there."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxml.core.checks import require

# what the names of files in a run's folder take at most
_WITHIN = 256


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


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON that every parser reads: NaN and infinity, which JSON lacks, are `null`.

    Args:
        value: of dicts, lists, numbers, arrays and their scalars; anything else is its `str`.
        indent: as in `json.dumps`.

    Example:
        >>> to_json({"loss": [0.5, float("nan")], "steps": np.int64(3)})
        '{"loss": [0.5, null], "steps": 3}'
    """
    return json.dumps(plain(value), indent=indent, allow_nan=False, default=str)


def plain(value: Any) -> Any:
    """A value as dicts, lists and plain values that strict JSON holds.

    Dataclasses and NamedTuples become dicts, arrays lists, NaN and infinity `None`; of a result
    what it says itself, see `core.result`.
    """
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if hasattr(value, "_asdict"):
        value = value._asdict()
    elif dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "dtype"):
        array = np.asarray(value)
        other = array.dtype.kind == "V"  # bfloat16, which NumPy does not know
        value = (array.astype(float) if other else array).tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def new_folder(path: str | Path, *, empty: bool = True) -> Path:
    """Make a folder, or take one that is there.

    Args:
        path: of the folder.
        empty: whether it must be.

    Raises:
        ValueError: if something is there already, or the folder cannot be made or written to; if
            its name holds control characters or is not UTF-8, or leaves no room for the names of
            files in it.
    """
    path = Path(path)
    name = str(path)
    printable = not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)
    require(printable, "a folder's name in UTF-8 without control characters", ascii(name))
    free = os.pathconf("/", "PC_PATH_MAX") - len(os.fsencode(path.absolute()))
    require(free >= _WITHIN, f"a folder's path {_WITHIN - free} bytes shorter", repr(name))
    try:
        path.mkdir(parents=True, exist_ok=True)
        held = sorted(child.name for child in path.iterdir())
    except OSError as error:
        raise ValueError(f"expected a folder that can be made, got {path} ({error})") from error
    require(
        not (held and empty), "a new or empty folder", f"{path}, which holds {', '.join(held[:3])}"
    )
    require(os.access(path, os.W_OK), "a writable folder", str(path))
    return path


def numbered_folder(parent: str | Path, name: str) -> Path:
    """The first of `parent/name-1`, `parent/name-2`, … that is not there yet, made.

    Of several processes that ask at once each gets its own.

    Raises:
        ValueError: if it cannot be made.
    """
    number = 1
    while True:
        path = Path(parent) / f"{name}-{number}"
        new_folder(path.parent, empty=False)
        try:
            path.mkdir()
            return new_folder(path)
        except FileExistsError:
            number += 1
        except FileNotFoundError:  # another process, which failed, took the parent away again
            continue
