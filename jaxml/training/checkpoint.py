"""States on disk, written by orbax: a checkpoint is complete or not there."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

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
    """

    def __init__(self, directory: str | Path, *, keep: int = 3) -> None:
        self._manager = _manager(directory, require_positive_int("keep", keep))

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        import orbax.checkpoint as ocp  # noqa: PLC0415

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
        saved = manager.item_metadata(step)
        shapes = {jax.tree_util.keystr(k): tuple(v.shape) for k, v in _leaves(saved)}
        wanted = {jax.tree_util.keystr(k): tuple(v.shape) for k, v in _leaves(like)}
        require(
            sorted(shapes.values()) == sorted(wanted.values()),
            f"a checkpoint with {len(wanted)} arrays shaped like the algorithm's state",
            f"{len(shapes)} arrays of other shapes in {str(directory)!r}",
        )
        return manager.restore(step, args=ocp.args.StandardRestore(like))


def _leaves(tree: Any) -> list:
    return jax.tree_util.tree_leaves_with_path(tree)
