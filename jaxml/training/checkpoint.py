"""States on disk, written by orbax: a checkpoint is complete or not there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxml.checks import require, require_positive_int
from jaxml.training.loop import Chunk

if TYPE_CHECKING:
    import orbax.checkpoint as ocp


def _manager(directory: str | Path, keep: int | None = None) -> ocp.CheckpointManager:
    import orbax.checkpoint as ocp  # noqa: PLC0415 - slow, and few runs need it

    options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
    return ocp.CheckpointManager(
        Path(directory).absolute(), item_handlers=ocp.StandardCheckpointHandler(), options=options
    )


class checkpoint(contextlib.AbstractContextManager):  # noqa: N801 - used as a function
    """A hook that saves the state after each chunk.

    Args:
        directory: where to; made if it is not there.
        keep: how many of the latest checkpoints stay.

    Raises:
        ValueError: at the first chunk, if the directory holds a checkpoint of that step or a
            later one, which is another run's.
    """

    def __init__(self, directory: str | Path, *, keep: int = 3) -> None:
        self._directory = str(directory)
        self._manager = _manager(directory, require_positive_int("keep", keep))

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        import orbax.checkpoint as ocp  # noqa: PLC0415

        # orbax would skip such a step without a word
        latest = self._manager.latest_step()
        require(
            latest is None or latest < chunk.step,
            f"a directory without checkpoints from step {chunk.step} on",
            f"{self._directory!r} with one of step {latest}",
        )
        self._manager.save(chunk.step, args=ocp.args.StandardSave(chunk.state))


def restore(directory: str | Path, like: Any, *, step: int | None = None) -> Any:
    """The state of a checkpoint.

    Args:
        directory: what `checkpoint` wrote to.
        like: a state of the same algorithm, for structure, shapes and dtypes:
            `algorithm.init(key)`.
        step: which checkpoint; the latest by default.

    Raises:
        ValueError: if there is no such checkpoint, or it holds a state of another shape.
    """
    import orbax.checkpoint as ocp  # noqa: PLC0415

    require(Path(directory).is_dir(), "a directory of checkpoints", repr(str(directory)))
    with contextlib.closing(_manager(directory)) as manager:
        steps = manager.all_steps()
        require(len(steps) > 0, "a directory of checkpoints", f"{str(directory)!r} without any")
        step = max(steps) if step is None else step
        require(step in steps, f"a step among {sorted(steps)}", step)
        saved, wanted = _shapes(manager.item_metadata(step)), _shapes(like)
        differ = [k for k in wanted | saved if wanted.get(k) != saved.get(k)]
        require(
            not differ,
            "a checkpoint of a state like the algorithm's, where "
            + ", ".join(f"{k} is {wanted.get(k, 'nothing')}" for k in differ[:1]),
            ", ".join(f"{saved.get(k, 'nothing')} in {str(directory)!r}" for k in differ[:1]),
        )
        return manager.restore(step, args=ocp.args.StandardRestore(like))


def _shapes(tree: Any) -> dict[str, str]:
    """Path -> shape; the paths of a state and of what orbax makes of it are the same."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"of shape {np.shape(leaf)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
