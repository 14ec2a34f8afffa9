"""States on disk, written by orbax: a checkpoint is complete or not there, and damage is seen."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core import checksummed_dirs
from jaxml.core.checks import require, require_positive_int
from jaxml.core.files import to_json
from jaxml.core.sharding import gather
from jaxml.training.callbacks import Watched, evaluation, metrics_log
from jaxml.training.loop import Chunk

_ABOUT = "checkpoint.json"
_STATE = "state"


class checkpoint:  # noqa: N801 - used as a function
    """A hook that saves the state after each chunk.

    A checkpoint is a folder named after its step. It appears whole or not at all, however the
    process ends, and holds the SHA-256 of each of its files. Of several processes the first
    writes; all of them must have the hook.

    Args:
        directory: where to; made if it is not there.
        keep: how many of the latest checkpoints stay.
        watched: an `evaluation`, placed before this hook in the list of hooks: the checkpoint at
            which it was best stays too.
        metric: which of its values, a number.
        mode: `"min"` where small is good, `"max"` where large is.
        log: a `metrics_log`, placed before this hook in the list of hooks: each checkpoint holds
            the SHA-256 of what it has written by then, for `check_log`.

    Raises:
        ValueError: at the first chunk, if the directory holds a checkpoint of that step or a
            later one, which is another run's; if the checkpoint, which is read back there, is
            not what was written; if the evaluation has no such metric.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int = 3,
        watched: evaluation | None = None,
        metric: str = "loss",
        mode: str = "min",
        log: metrics_log | None = None,
    ) -> None:
        self._directory = Path(directory)
        self._keep = require_positive_int("keep", keep)
        self._read_back, self._log = False, log
        self._watched = None if watched is None else Watched(watched, metric, mode)

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        state = gather(chunk.state)
        if jax.process_index() > 0:
            return
        latest = max(checksummed_dirs.numbers(self._directory), default=None)
        require(
            latest is None or latest < chunk.step,
            f"a directory without checkpoints from step {chunk.step} on",
            f"{str(self._directory)!r} with one of step {latest}",
        )
        state = _arrays(state)
        about = {"step": chunk.step, "score": None, "leaves": _leaves(state)}
        if self._watched is not None:
            about["score"] = self._watched.score()
        if self._log is not None:
            about["log"] = self._log.seal
        with checksummed_dirs.new(self._directory, chunk.step) as folder:
            with _orbax() as (orbax, args), _plainly_named(folder) as place:
                host = jax.tree.map(np.asarray, _without_keys(state))
                orbax.save(place / _STATE, args=args.StandardSave(host))
                if not self._read_back:
                    back = orbax.restore(place / _STATE, args=args.StandardRestore(host))
                    require(_same(back, host), "to read back what was written", f"else in {folder}")
                    self._read_back = True
            (folder / _ABOUT).write_text(to_json(about, 1))
        steps = checksummed_dirs.numbers(self._directory)
        for step in {*steps[: -self._keep]} - {_best(self._directory)}:
            checksummed_dirs.remove(self._directory, step)


def restore(directory: str | Path, like: Any, *, step: int | Literal["best"] | None = None) -> Any:
    """The state of a checkpoint; of several processes each reads it.

    Args:
        directory: what `checkpoint` wrote to.
        like: a state of the same algorithm, for structure, shapes and dtypes:
            `algorithm.init(key)`.
        step: which checkpoint: a step, or `"best"` for that at which the evaluation that
            `checkpoint` watched was best; the latest by default.

    Raises:
        ValueError: if there is no such checkpoint, or it holds a state of other names, shapes or
            dtypes.
        DamagedError: (a `ValueError`) if a file of the checkpoint is not what was written; it
            names the checkpoint and the latest whole one before it.
    """
    folder, saved = _folder(directory, step)
    like = _arrays(like)
    _require_alike(folder, saved, _leaves(like))
    with _orbax() as (orbax, args), _plainly_named(folder) as place:
        form = args.StandardRestore(_without_keys(like))
        state = orbax.restore(place / _STATE, args=form)
    return jax.tree.map(_as_key, like, state)


def restore_fields(
    directory: str | Path, like: Mapping[str, Any], *, step: int | Literal["best"] | None = None
) -> dict[str, Any]:
    """Some fields of the state of a checkpoint; the others are not read.

    With `{"params": ..., "model_state": ...}` a trained network is restored without the
    optimiser that trained it.

    Args:
        directory: as in `restore`.
        like: field of the state -> a pytree of arrays, or of what `jax.eval_shape` returns.
        step: as in `restore`.

    Raises:
        ValueError: as `restore`.
        DamagedError: likewise.
    """
    folder, saved = _folder(directory, step)
    fields = {path: kind for path, kind in saved.items() if path.partition("/")[0] in like}
    _require_alike(folder, fields, _leaves(dict(like)))
    form = jax.eval_shape(_without_keys, dict(like))
    form = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), form)
    with _orbax("PyTree") as (orbax, args), _plainly_named(folder) as place:
        found = orbax.restore(place / _STATE, args=args.PyTreeRestore(form, partial_restore=True))
    return jax.tree.map(lambda like, leaf: _as_key(like, jnp.asarray(leaf)), dict(like), found)


def _folder(
    directory: str | Path, step: int | Literal["best"] | None
) -> tuple[Path, dict[str, str]]:
    """A whole checkpoint, and the dtype and shape of each leaf in it."""
    require(Path(directory).is_dir(), "a directory of checkpoints", repr(str(directory)))
    if step == "best":
        step = _best(Path(directory))
        require(step is not None, "checkpoints written with watched=", f"{str(directory)!r}")
    folder = checksummed_dirs.checked(directory, step)
    return folder, json.loads((folder / _ABOUT).read_text())["leaves"]


def _require_alike(folder: Path, saved: dict[str, str], wanted: dict[str, str]) -> None:
    differ = [k for k in wanted | saved if wanted.get(k) != saved.get(k)]
    require(
        not differ,
        "a checkpoint of a state like the one given, where "
        + ", ".join(f"{k} is {wanted.get(k, 'nothing')}" for k in differ[:1]),
        ", ".join(f"{saved.get(k, 'nothing')} in {str(folder)!r}" for k in differ[:1]),
    )


def check_log(path: str | Path, directory: str | Path, step: int) -> None:
    """Refuse a log that is not what it was when a checkpoint was written.

    Lines that were written later are not looked at. A log that is not there, or of which the
    checkpoint knows nothing, is not refused.

    Args:
        path: what the `metrics_log` wrote to.
        directory: what `checkpoint(..., log=)` wrote to.
        step: which checkpoint.

    Raises:
        ValueError: if a byte up to there is changed or missing.
    """
    about = json.loads((Path(directory) / str(step) / _ABOUT).read_text(encoding="utf-8"))
    if "log" not in about or not Path(path).exists():
        return
    written = Path(path).read_bytes()[: about["log"]["bytes"]]
    require(
        hashlib.sha256(written).hexdigest() == about["log"]["sha256"],
        f"{path} as it was written up to step {step}",
        "a damaged one (moved away, it makes place for a new one)",
    )


@contextlib.contextmanager
def _orbax(kind: str = "Standard") -> Iterator[tuple[Any, Any]]:
    """Its checkpointer, which waits for no other process, and its arguments."""
    import orbax.checkpoint as ocp  # noqa: PLC0415 - slow, and few runs need it

    this = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=this, active_processes={this})
    handler = getattr(ocp, f"{kind}CheckpointHandler")(multiprocessing_options=alone)
    with contextlib.closing(ocp.Checkpointer(handler, multiprocessing_options=alone)) as orbax:
        yield orbax, ocp.args


@contextlib.contextmanager
def _plainly_named(folder: Path) -> Iterator[Path]:
    """A link to the folder, as orbax and tensorstore read some characters of a path otherwise."""
    with tempfile.TemporaryDirectory(prefix="jaxml-") as parent:
        link = Path(parent, "checkpoint")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


def _same(a: Any, b: Any) -> bool:
    """To the bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def _best(directory: Path) -> int | None:
    """The step of the best evaluation, the earliest of equals."""
    known = []
    for step in checksummed_dirs.numbers(directory):
        # one that is damaged is not chosen here; whoever asks for it is told
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((directory / str(step) / _ABOUT).read_text())
            score = about["score"] if "score" in about else about["badness"]  # as 0.1 wrote it
            known += [] if score is None else [(float(score), step)]
    return min(known, default=(0.0, None))[1]


def _arrays(tree: Any) -> Any:
    """The tree with plain numbers, which a state before its first step may hold, as arrays."""

    def array(leaf: Any) -> Any:
        if isinstance(leaf, np.generic):
            return np.asarray(leaf)
        return leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)

    return jax.tree.map(array, tree)


def _without_keys(tree: Any) -> Any:
    """The tree with its typed keys' data, as orbax saves such keys only from all hosts together."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def _as_key(like: Any, leaf: Any) -> Any:
    """The leaf, as a typed key where it is to be like one."""
    return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(like)) if _is_key(like) else leaf


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _leaves(tree: Any) -> dict[str, str]:
    """Path -> dtype and shape."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(
            path, simple=True, separator="/"
        ): f"{leaf.dtype} of shape {leaf.shape}"
        for path, leaf in leaves
    }
