"""Run folders: `config.json` holds all that was asked for, so that a run can go on from there."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
from cyclopts import CycloptsError

from jaxml import data, report
from jaxml.cli.console import out
from jaxml.cli.options import parsed, recorded
from jaxml.core import checksummed_dirs, provenance
from jaxml.core.checks import require
from jaxml.core.files import new_folder, numbered_folder, to_json, write_atomically
from jaxml.core.result import types_in
from jaxml.core.run_folder import CONFIG, checkpoints, config_of
from jaxml.core.serialization import from_npz, to_npz
from jaxml.data.dataset import leaves


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a command was asked for.

    Attributes:
        command: its name.
        settings: the arguments, from the command line or from the run that goes on.
        folder: of the run that goes on; `None` for a new one.
        config: what that run's `config.json` holds.
        start: the checkpoint to go on from; the latest if `None`.
        kind: of the command, if it has kinds.
    """

    command: str
    settings: Any
    folder: Path | None = None
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    start: int | None = None
    kind: str | None = None

    def change(self, **settings: Any) -> Asked:
        """The same with some settings changed."""
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, **settings))

    def recorded(self) -> dict[str, Any]:
        """The settings as plain values, with the kind."""
        return ({"kind": self.kind} if self.kind else {}) | recorded(self.settings)

    @property
    def checkpoints(self) -> Path | None:
        """Where those of the run that goes on are; `None` if there are none to go on from."""
        path = None if self.folder is None else checkpoints(self.folder)
        return path if path and (self.start is not None or checksummed_dirs.numbers(path)) else None


def asked(
    command: str, settings: Any, resume: str | None, start: int | None, kind: str | None = None
) -> Asked:
    """What was asked for, now or when the run that goes on was begun.

    Args:
        command: its name.
        settings: from the command line; a dataclass.
        resume: the folder of the run that goes on.
        start: the checkpoint to go on from.
        kind: of the command, if it has kinds.

    Raises:
        ValueError: if the folder holds no such run.
    """
    if resume is None:
        return Asked(command, settings, kind=kind)
    folder = Path(resume)
    config = config_of(folder, command)
    try:
        arguments = {k: v for k, v in config["arguments"].items() if k != "kind"}
        settings = parsed(type(settings), arguments)
    except CycloptsError as error:
        raise ValueError(f"expected {folder / CONFIG} as it was written: {error}") from error
    return Asked(command, settings, folder, config, start, kind)


@contextlib.contextmanager
def opened(asked: Asked, dataset: data.Dataset | None = None, **about: Any) -> Iterator[Path]:
    """The run's folder, made before the work and held for this process alone.

    A new one is gone again if the work fails before its first checkpoint. Where the work is
    interrupted, how to go on is said. Of several processes the first makes and holds it, and it
    alone is to write there.

    Args:
        asked: what was asked for.
        dataset: what the run works on.
        **about: what else `config.json` shall say.

    Raises:
        ValueError: if the folder cannot be made; if another process is at work in it; if the data
            are no longer those that the run was begun with; if a checkpoint is damaged.
    """
    if dataset is not None:
        about["data"] = {**dataset.meta, "sha256": dataset_sha256(dataset)}
    first = jax.process_index() == 0
    settings = asked.recorded()
    new = first and asked.folder is None
    if new and settings["out"] is None:
        folder = numbered_folder("runs", asked.command)
    elif new:
        folder = new_folder(settings["out"])
    elif asked.folder is None:
        folder = Path(settings["out"] or "runs")  # its number is not known here
    else:
        folder = asked.folder
        if dataset is not None:
            same = asked.config.get("data", {}).get("sha256") == about["data"]["sha256"]
            require(same, f"the data that {folder} was begun with", "other data of that name")
        _compare_versions(asked.config)
    how = _to_resume(asked, folder)
    with _held(folder) if first else contextlib.nullcontext(), _sigterm_exits():
        if new:
            new_folder(folder)  # still: another process may have taken it meanwhile
        try:
            if new:
                config = {
                    "command": asked.command,
                    "command_line": provenance.command(),
                    "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
                    "arguments": settings,
                    **report.provenance(),
                    **about,
                }
                write_atomically(folder / CONFIG, to_json(config, 1))
            yield folder
        except checksummed_dirs.DamagedError as error:
            if error.before is None:
                raise
            raise ValueError(f"{error}: {how} --from {error.before}") from error
        except Exception:
            if new and not checkpoints(folder).is_dir():
                _remove(folder)
            raise
        except BaseException:
            saved = checksummed_dirs.numbers(checkpoints(folder))
            out.print(f"interrupted; {'go on' if saved else 'begin again'} with: {how}")
            raise


def update(asked: Asked, folder: Path, **about: Any) -> None:
    """Have the `config.json` of a run that goes on say what it goes on to, where that is new.

    Args:
        asked: what was asked for.
        folder: the run's.
        **about: what else `config.json` shall say.
    """
    config = to_json(asked.config | {"arguments": asked.recorded(), **about}, 1)
    if config != to_json(asked.config, 1):
        write_atomically(folder / CONFIG, config)


def keep(folder: Path, name: str, value: Any) -> None:
    """Keep what is done of a run, as its latest checkpoint; of the earlier ones one stays.

    Args:
        folder: the run's.
        name: of the file.
        value: for `to_npz`.
    """
    where = checkpoints(folder)
    number = max(checksummed_dirs.numbers(where), default=0) + 1
    with checksummed_dirs.new(where, number) as checkpoint:
        write_atomically(checkpoint / name, to_npz(value))
    for old in checksummed_dirs.numbers(where)[:-2]:
        checksummed_dirs.remove(where, old)


def kept(asked: Asked, name: str, kind: type) -> Any:
    """What `keep` kept where the run goes on from, or `None`; what was kept after it goes.

    Args:
        asked: what was asked for.
        name: of the file.
        kind: of what is in it.

    Raises:
        DamagedError: if the checkpoint is damaged.
    """
    if asked.checkpoints is None:
        return None
    file = checksummed_dirs.checked(asked.checkpoints, asked.start) / name
    value = from_npz(file.read_bytes(), types_in(kind))
    checksummed_dirs.remove_after(asked.checkpoints, int(file.parent.name))
    return value


def stopped(asked: Asked, folder: Path, received: signal.Signals, where: str) -> int:
    """Say that a run was stopped, and how to go on; the exit code."""
    how = _to_resume(asked, folder)
    out.print(f"stopped by {received.name} after {where}; go on with: {how}")
    return 128 + received


def _to_resume(asked: Asked, folder: Path) -> str:
    together = " --distributed …" if jax.process_count() > 1 else ""
    name = f"./{folder}" if str(folder).startswith("-") else str(folder)
    return f"jaxml {asked.command} --resume {shlex.quote(name)}{together}"


def arrays_sha256(tree: Any) -> str:
    """The SHA-256 of all arrays' bytes, in the order of the pytree's leaves."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def dataset_sha256(dataset: data.Dataset) -> str:
    """The SHA-256 of all splits' arrays, with their names, dtypes and shapes."""
    digest = hashlib.sha256()
    for name, split in dataset.splits.items():
        for key, values in leaves(split):
            digest.update(f"{name} {key} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _compare_versions(config: Mapping[str, Any]) -> None:
    now = report.provenance()
    differ = [
        f"{name} {then} then, {now[part].get(name)} now"
        for part in ("versions", "device")
        for name, then in config.get(part, {}).items()
        if now[part].get(name) != then
    ]
    if differ:
        out.print(f"not as this run was begun, the last digits may differ: {'; '.join(differ)}")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Held for this process alone, until it ends, however it ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ValueError(
            f"expected a run that is not under way, got {folder}, at which another process works"
        ) from error
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _sigterm_exits() -> Iterator[None]:
    """SIGTERM unwinds the stack, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _remove(folder: Path) -> None:
    """A new run's folder and what the run wrote, and the folder above if it is empty then."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with contextlib.suppress(OSError):
        if folder.parent.name == "runs":
            folder.parent.rmdir()
