"""Data sets that are fetched once, verified, and kept as plain arrays in a cache folder."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from jaxml.core.files import write_atomically
from jaxml.data.sources import Arrays, Report, Source, folder

VARIABLE = "JAXML_DATA"
"""The environment variable that names another cache folder."""


class Fetched(NamedTuple):
    """What is known of a data set before it is fetched.

    Attributes:
        meta: as in `Dataset`, without what is worked out there.
        counts: split -> number of rows, with the default options.
        sha256: of the arrays, as `content_sha256` takes it: every source must give these.
        sources: to be tried in this order.
    """

    meta: dict[str, Any]
    counts: dict[str, int]
    sha256: str
    sources: Sequence[Source]

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.meta["name"]

    @property
    def path(self) -> Path:
        """The cached file, whether it is there or not."""
        return cache_folder() / f"{self.name}.npz"

    @property
    def by_hand(self) -> Path:
        """A folder for the publisher's files, for those who fetch them themselves."""
        return cache_folder() / self.name


def cache_folder() -> Path:
    """`$JAXML_DATA`, or else the platform's cache folder for jaxml; it need not exist."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    import pooch  # noqa: PLC0415 - slow to import and seldom needed

    return Path(pooch.os_cache("jaxml"))


def content_sha256(arrays: Arrays) -> str:
    """The SHA-256 of names, types, shapes and values, whatever the file they came from.

    >>> content_sha256({"y": np.arange(3, dtype=np.int32)})[:8]
    '3f596f26'
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = np.asarray(arrays[name], arrays[name].dtype.newbyteorder("<"))
        digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def fetch(fetched: Fetched) -> tuple[Arrays, str]:
    """The arrays, from the cache or else from the first source that has them.

    What is fetched goes into the cache in one piece: several processes may do so at once. A
    cached file that is damaged is fetched anew. On a terminal a bar shows the progress.

    Returns:
        The arrays, and the title of where they came from.

    Raises:
        ValueError: if no source has them (the message has each, and why), or if the cache
            folder cannot be written to.
    """
    arrays, damage = _cached(fetched)
    if arrays is not None:
        return arrays, "the cache"
    _require_writable(fetched)
    failures = [] if damage is None else [f"{fetched.path}: {damage}"]
    for source in [*_placed_by_hand(fetched), *fetched.sources]:
        try:
            with tempfile.TemporaryDirectory() as scratch, _progress(fetched, source) as report:
                arrays = source.arrays(Path(scratch), report)
                found = content_sha256(arrays)
                if found != fetched.sha256:
                    raise ValueError(f"its arrays have SHA-256 {found}, not {fetched.sha256}")
        except Exception as error:  # a damaged file can raise anything
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise _no_room(fetched, error) from error
            failures.append(f"{source.title}: {_reason(error)}")
            continue
        _store(fetched, arrays)
        return arrays, source.title
    raise ValueError(_nowhere(fetched, failures))


def _cached(fetched: Fetched) -> tuple[Arrays | None, str | None]:
    """The arrays in the cache, or None, and what is wrong with the file if there is one."""
    try:
        # Read first: numpy leaves a file open where the archive turns out damaged.
        content = io.BytesIO(fetched.path.read_bytes())
        with np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if content_sha256(arrays) == fetched.sha256:
            return arrays, None
    except FileNotFoundError:
        return None, None
    except Exception as error:  # a damaged file can raise anything
        return None, f"damaged ({_reason(error)})"
    return None, "damaged (wrong SHA-256 of its arrays)"


def _placed_by_hand(fetched: Fetched) -> Iterator[Source]:
    if fetched.by_hand.is_dir():
        for source in fetched.sources:
            if source.by_hand:
                yield folder(fetched.by_hand, source.files, source.read)


def _store(fetched: Fetched, arrays: Arrays) -> None:
    content = io.BytesIO()
    members: dict[str, Any] = dict(arrays)
    np.savez_compressed(content, allow_pickle=False, **members)
    try:
        write_atomically(fetched.path, content.getvalue())
    except OSError as error:
        raise _no_room(fetched, error) from error


def _require_writable(fetched: Fetched) -> None:
    """Found out before anything is downloaded."""
    place = fetched.path.parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ValueError(
            f"expected a cache folder to write {fetched.name} to, got {place} "
            f"({_reason(error)}); set {VARIABLE} to another folder"
        ) from error


def _no_room(fetched: Fetched, error: OSError) -> ValueError:
    return ValueError(
        f"expected room for {fetched.name} in {fetched.path.parent} and {tempfile.gettempdir()}, "
        f"got: {_reason(error)}; free some, or set {VARIABLE} or TMPDIR to another folder"
    )


def _nowhere(fetched: Fetched, failures: Sequence[str]) -> str:
    tried = "; ".join(f"({i}) {failure}" for i, failure in enumerate(failures, 1))
    advice = [source.advice for source in fetched.sources if source.advice]
    for source in [source for source in fetched.sources if source.by_hand][:1]:
        names = ", ".join(file.name for file in source.files)
        advice.append(f"put {names} from {source.title} into {fetched.by_hand}")
    advice.append(f"set {VARIABLE} to a folder that has {fetched.path.name}")
    return (
        f"expected {fetched.name} from one of its sources, got it from none: {tried}. "
        f"Connect to the internet, or {', or '.join(advice)}"
    )


def _reason(error: Exception) -> str:
    """In one line of bearable length; an error that is not said for people has its type."""
    text = " ".join(str(error).split())
    text = text if len(text) <= 300 else f"{text[:297]}..."
    spoken = isinstance(error, OSError | ValueError) and text
    return text if spoken else f"{type(error).__name__}: {text}".removesuffix(": ")


@contextlib.contextmanager
def _progress(fetched: Fetched, source: Source) -> Iterator[Report]:
    """A bar on a terminal, else silence."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    shown = source.size != 0 and sys.stderr.isatty()
    with Progress(
        *columns,
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not shown,
    ) as progress:
        title = source.title.partition("://")[2].partition("/")[0] or source.title
        task = progress.add_task(f"{fetched.name} from {title}", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
