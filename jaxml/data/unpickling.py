"""Arrays out of a pickle, without running what else a pickle may hold."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

Globals = Mapping[tuple[str, str], Any]
"""`(module, name)` as it stands in the pickle -> what takes its place."""


def _from_buffer(buffer: Any, dtype: np.dtype, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _encode(text: str, encoding: str) -> bytes:  # noqa: ARG001
    return text.encode("latin1")


_NUMPY: Globals = {
    ("_codecs", "encode"): _encode,  # how Python 3 writes bytes for Python 2
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")  # numpy 1 and 2
        for module, name, function in (
            ("multiarray", "_reconstruct", np.zeros(0).__reduce__()[0]),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, allowed: Globals) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")  # what Python 2 wrote
        self._allowed = allowed

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        found = self._allowed.get((module_name, global_name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return found


def restricted_loads(content: bytes, allowed: Globals | None = None) -> Any:
    """Unpickle plain objects and numpy arrays, and nothing that could run code.

    Args:
        content: the pickle.
        allowed: further globals that the pickle may name, and what takes their place.

    Raises:
        ValueError: if the pickle names any other global, or is damaged.

    >>> restricted_loads(pickle.dumps({"x": np.arange(3)}))
    {'x': array([0, 1, 2])}
    >>> restricted_loads(pickle.dumps(print))
    Traceback (most recent call last):
    ValueError: expected a pickle of numpy arrays alone, got another: it asks for builtins.print
    """
    try:
        return _Unpickler(content, {**_NUMPY, **(allowed or {})}).load()
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(
            f"expected a pickle of numpy arrays alone, got another: {error}"
        ) from error
