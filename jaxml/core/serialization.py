"""Results as files: nested dataclasses of arrays and plain values, in one `.npz` without pickle."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxml.core.checks import require

_STRUCTURE = "structure"


def to_npz(value: Any) -> bytes:
    """The bytes of an `.npz` file from which `from_npz` makes the value again, to the bit.

    Args:
        value: arrays (they come back as numpy's), numbers, strings, `None`, and lists, tuples,
            dicts, dataclasses and NamedTuples of such; a dict's keys are strings or whole numbers.

    Raises:
        ValueError: if something else is among them.
    """
    arrays: list[np.ndarray] = []
    structure = json.dumps(_flattened(value, arrays))
    buffer = io.BytesIO()
    members = {str(i): array for i, array in enumerate(arrays)}
    np.savez(buffer, allow_pickle=False, **{_STRUCTURE: np.array(structure)}, **members)
    return buffer.getvalue()


def from_npz(content: bytes, types: Sequence[type]) -> Any:
    """What `to_npz` was given.

    Args:
        content: of the file.
        types: the dataclasses and NamedTuples that may be in it. Where one of them, a field or
            the key of a dict there had another name in an earlier version, its `FORMERLY` says
            which: old -> new.

    Raises:
        ValueError: if the file is not of this kind, or holds a type that is not among these.

    Example:
        >>> import collections
        >>> Point = collections.namedtuple("Point", ["place", "name"])
        >>> from_npz(to_npz([Point(np.ones(2), "top")]), [Point])
        [Point(place=array([1., 1.]), name='top')]
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        require(_STRUCTURE in file.files, "a file that to_npz wrote", f"keys {file.files}")
        structure = json.loads(str(file[_STRUCTURE]))
        arrays = [file[str(i)] for i in range(len(file.files) - 1)]
    return _put_together(structure, arrays, _known(types))


def _known(types: Sequence[type]) -> dict[str, type]:
    """The types by their names, those of earlier versions too."""
    known = {}
    for kind in types:
        former = getattr(kind, "FORMERLY", {})
        names = [name for name, new in former.items() if new == kind.__name__]
        known |= dict.fromkeys([*names, kind.__name__], kind)
    return known


def _flattened(value: Any, arrays: list[np.ndarray]) -> Any:
    """The value as JSON, where a list is `[kind, content]` and arrays are told by their number."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        arrays.append(np.asarray(value))
        return ["array", len(arrays) - 1]
    if isinstance(value, dict):
        # pairs, because JSON would make strings of whole numbers
        return ["dict", [[key, _flattened(item, arrays)] for key, item in value.items()]]
    names = getattr(value, "_fields", None)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    if names is not None:
        fields = {name: _flattened(getattr(value, name), arrays) for name in names}
        return ["object", type(value).__name__, fields]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_flattened(item, arrays) for item in value]]
    known = value is None or isinstance(value, str | int | float)
    require(known, "arrays, plain values, and containers of them", type(value).__name__)
    return value


def _put_together(value: Any, arrays: list[np.ndarray], types: dict[str, type]) -> Any:
    if not isinstance(value, list):
        return value
    kind, content = value[0], value[1]
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {key: _put_together(item, arrays, types) for key, item in content}
    if kind == "object":
        require(content in types, f"objects among {sorted(types)}", content)
        former = getattr(types[content], "FORMERLY", {})
        fields = {name: _put_together(item, arrays, types) for name, item in value[2].items()}
        return types[content](**_renamed(fields, former))
    items = [_put_together(item, arrays, types) for item in content]
    return tuple(items) if kind == "tuple" else items


def _renamed(fields: dict[Any, Any], former: Mapping[str, str]) -> dict[Any, Any]:
    """The fields, and dicts that are fields, under their present names."""
    return {
        former.get(name, name): _renamed(item, former) if former and type(item) is dict else item
        for name, item in fields.items()
    }
