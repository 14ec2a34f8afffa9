"""A `Dataset` from numpy's own file format."""

from __future__ import annotations

import contextlib
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
import psutil

from jaxml.core.checks import require
from jaxml.data.arrays import checked_rows, described, from_arrays
from jaxml.data.dataset import Dataset, Split

WHOLE = {"x", "y"}
PARTS = ("train", "validation", "test")
# the arrays, what float32 makes of them, and the splits' copies
_COPIES = 3
# a file that unpacks to so many bytes, and to so many times its own size, is warned of
_LARGE, _TIMES = 2**28, 50

_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,  # numpy's for a pickle, and for a header that does not parse
    MemoryError,  # a damaged header can ask for any size
    RuntimeError,  # an encrypted member, an unknown compression
    zipfile.BadZipFile,
    zlib.error,
)


def from_npz(
    path: str | os.PathLike[str],
    *,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    task: str | None = None,
    name: str | None = None,
) -> Dataset:
    """Read a data set from an `.npz` file, as `np.savez` writes it.

    The file holds either `x` and `y`, which are split here, or splits of its own, which are kept
    as they are: `x_train` and `y_train` and, if it has them, `x_validation`, `y_validation`,
    `x_test`, `y_test`. Pickled objects are never loaded, and nothing is unpacked before the
    file's directory says how much that will be: a small file that unpacks to much is warned of.

    Args:
        path: of the file.
        validation: as in `from_arrays`; has no effect on a file with splits of its own.
        test: likewise.
        seed: likewise.
        task: as in `from_arrays`.
        name: what to call it in `meta`; by default the file's name without its ending.

    Raises:
        ValueError: if the file is missing, damaged or no `.npz`, if it holds other keys than
            these or pickled objects, if it unpacks to more than memory has room for, if its
            splits differ in the shape of a row, or if `from_arrays` would raise.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", x=np.eye(10), y=np.arange(10.0))
    ...     mine = from_npz(f"{folder}/mine.npz")
    >>> mine.meta["name"], mine.meta["task"], mine.meta["input_shape"]
    ('mine', 'regression', (10,))
    """
    arrays = _read(path, _check_keys)
    name = Path(path).stem if name is None else name
    if set(arrays) == WHOLE:
        return from_arrays(
            **arrays, validation=validation, test=test, seed=seed, task=task, name=name
        )
    splits: dict[str, Split] = {}
    for part in _present(arrays):  # train comes first and settles the task
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        splits[part], task = checked_rows(x, y, task, suffix=f"_{part}")
        for key, values in splits[part].items():
            shape = splits["train"][key].shape[1:]
            require(
                values.shape[1:] == shape,
                f"{key}_{part} to have rows of shape {shape}, as {key}_train has",
                values.shape[1:],
            )
    assert task is not None  # checked_rows settles it
    parts = (splits["train"], splits.get("validation"), splits.get("test"))
    return Dataset(*parts, meta=described(name, task, parts, source=Path(path).name))


def array_rows(path: str | os.PathLike[str]) -> Split:
    """The array `x`, and `y` if it is there, from an `.npz` file; a `.npy` file is `x` alone.

    Raises:
        ValueError: if the file is missing, damaged or another, if it holds other keys than these
            or pickled objects, or if it unpacks to more than memory has room for.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/mine.npy", np.eye(3))
    ...     rows = array_rows(f"{folder}/mine.npy")
    >>> rows["x"].shape
    (3, 3)
    """
    if Path(path).suffix.lower() != ".npy":
        return _read(path, _check_rows)
    require(Path(path).is_file(), "the path of a .npy file", f"{path}, which is not a file")
    with open(path, "rb") as file:
        plain = file.read(6) == b"\x93NUMPY"
        require(plain, "a .npy file", f"{path}, which is another")
        file.seek(0)
        with _reading(path):
            return {"x": np.load(file, allow_pickle=False)}


def _check_rows(path: str | os.PathLike[str], keys: Collection[str]) -> None:
    found = f"{', '.join(sorted(keys)) or 'no key'} in {path}"
    require("x" in keys and set(keys) <= WHOLE, "an .npz file with the key x, or x and y", found)


def _read(
    path: str | os.PathLike[str], check: Callable[[str | os.PathLike[str], Collection[str]], None]
) -> dict[str, np.ndarray]:
    require(Path(path).is_file(), "the path of an .npz file", f"{path}, which is not a file")
    # Opened here because numpy leaves the file open where the archive turns out damaged.
    with open(path, "rb") as file:
        whole = file.read(2) == b"PK" and zipfile.is_zipfile(file)
        require(whole, "a whole .npz file", f"{path}, which is another or cut short")
        with _reading(path), zipfile.ZipFile(file) as archive:
            sizes = {m.filename.removesuffix(".npy"): m.file_size for m in archive.infolist()}
        check(path, sizes)
        _check_sizes(path, sizes)
        file.seek(0)
        with _reading(path), np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    for key, values in arrays.items():  # numpy gives a member that is no array as bytes
        require(isinstance(values, np.ndarray), f"{key} in {path} to be an array", "other bytes")
    return arrays


@contextlib.contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise ValueError(
            f"expected an .npz file of plain arrays, got {path}, which cannot be read: {error}"
        ) from error


def _present(keys: Collection[str]) -> list[str]:
    return [part for part in PARTS if f"x_{part}" in keys or f"y_{part}" in keys]


def _check_keys(path: str | os.PathLike[str], keys: Collection[str]) -> None:
    wanted = {f"{key}_{part}" for part in _present(keys) for key in "xy"}
    require(
        set(keys) == WHOLE or ("train" in _present(keys) and set(keys) == wanted),
        "an .npz file with the keys x and y, or x_train and y_train with, at will, x_validation "
        "and y_validation, x_test and y_test",
        f"{', '.join(sorted(keys)) or 'no key'} in {path}",
    )


def _check_sizes(path: str | os.PathLike[str], sizes: dict[str, int]) -> None:
    """Refuse more bytes than there is memory for."""
    size, unpacked = os.path.getsize(path), sum(sizes.values())
    free = psutil.virtual_memory().available
    told = f"{path} of {_megabytes(size)}, which unpacks to {_megabytes(unpacked)}"
    require(
        _COPIES * unpacked <= free,
        f"a file that unpacks to at most a third of the {_megabytes(free)} of memory that are free",
        told,
    )
    if unpacked > max(_LARGE, _TIMES * size):
        warnings.warn(told, stacklevel=4)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
