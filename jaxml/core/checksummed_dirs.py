"""Numbered folders that are complete or not there, and whose damage is seen before they are read.

Checkpoints live in them. Each is filled beside its place, sealed by the SHA-256 of every file
(in `SHA256SUMS`, so that `sha256sum -c SHA256SUMS` in the folder checks it too) and moved there.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from jaxml.core.checks import require

_SUMS = "SHA256SUMS"
_PARTIAL = ".partial"


class DamagedError(ValueError):
    """A checkpoint is not what was written; the message names it and the one to take instead.

    Attributes:
        number: the damaged one's.
        before: that of the latest whole one before it, or `None`.
    """

    def __init__(self, message: str, number: int, before: int | None) -> None:
        super().__init__(message)
        self.number, self.before = number, before


def numbers(directory: str | Path) -> list[int]:
    """Which folders there are, ascending; none where the directory is not there."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal())


@contextlib.contextmanager
def new(directory: str | Path, number: int) -> Iterator[Path]:
    """A new folder to be filled: there, and sealed, once the block is left without an error.

    What an earlier one that was cut short left behind is removed.

    Args:
        directory: what the folders stand in; made if it is not there.
        number: of the folder; there must be none of this number.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for remains in directory.glob(f".*{_PARTIAL}"):
        shutil.rmtree(remains)
    partial = directory / f".{number}{_PARTIAL}"
    partial.mkdir()
    yield partial
    (partial / _SUMS).write_bytes(_sums(partial))
    partial.rename(directory / str(number))


def remove(directory: str | Path, number: int) -> None:
    """Remove a folder; cut short, it leaves no half of it under its name."""
    partial = Path(directory) / f".{number}{_PARTIAL}"
    (Path(directory) / str(number)).rename(partial)
    shutil.rmtree(partial)


def remove_after(directory: str | Path, number: int) -> None:
    """Remove the folders of higher numbers, the highest first."""
    for later in reversed(numbers(directory)):
        if later > number:
            remove(directory, later)


def checked(directory: str | Path, number: int | None = None) -> Path:
    """A folder that is as it was written.

    Args:
        directory: what the folders stand in.
        number: which; the latest by default.

    Raises:
        ValueError: if there is none, or none of this number.
        DamagedError: if a file of it is missing, added, cut short or changed by a single bit.
    """
    known = numbers(directory)
    require(len(known) > 0, "a directory of checkpoints", f"{str(directory)!r} without any")
    number = known[-1] if number is None else number
    require(number in known, f"a step among {known}", number)
    path = Path(directory) / str(number)
    if fault := _fault(path):
        earlier = (n for n in reversed(known) if n < number and not _fault(Path(directory, str(n))))
        before = next(earlier, None)
        offer = "none before it is whole" if before is None else f"{before} before it is whole"
        message = f"expected a whole checkpoint, got {path}, which is damaged: {fault}; {offer}"
        raise DamagedError(message, number, before)
    return path


def _fault(folder: Path) -> str | None:
    """What is wrong with a sealed folder."""
    if not (folder / _SUMS).is_file():
        return f"{_SUMS} is missing"
    written, found = (folder / _SUMS).read_bytes(), _sums(folder)
    if written == found:
        return None
    lines = (text.decode(errors="replace").splitlines() for text in (written, found))
    then, now = ({line[66:]: line[:64] for line in text} for text in lines)
    for name in then | now:
        if name not in now:
            return f"{name} is missing"
        if then.get(name) != now[name]:
            return f"{name} is not what was written"
    return f"{_SUMS} is not what was written"


def _sums(folder: Path) -> bytes:
    return "".join(f"{_sha256(folder / name)}  {name}\n" for name in _files(folder)).encode()


def _files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in paths if path.name != _SUMS)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
