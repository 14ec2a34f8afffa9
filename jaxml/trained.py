"""The network that a run trained, from its folder alone."""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxml import nn, training
from jaxml.core import checksummed_dirs
from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.files import write_atomically
from jaxml.core.run_folder import CONFIG, checkpoints, config_of
from jaxml.core.types import Model, Params

# widths of the training inputs' range, beyond which an input is warned of
_FAR = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A trained network, with what it expects.

    Attributes:
        model: the network; from sequences to sequences an `nn.Seq2Seq`, see `sequence.decode`.
        params: its parameters.
        state: its model state: the moving averages of batch norm, `{}` without one.
        meta: of the data that it was trained on: `name`, `task`, `classes` and `class_names`,
            `feature_names`, `columns` and what else their `Dataset.meta` holds; `network`, as
            `nn.from_description` takes it; `input`, the `shape` of one input and the `range` of
            the training inputs; `target`, the `shape` of one target, and the tokens that `begin`
            and `end` a sequence; `tokenizer`, the digest of that of byte pairs, if there is one (it
            stands in the run's folder: `tokens.load(path, digest=)`); `step`, that of the
            checkpoint, and `steps`, how many the run was asked for.
    """

    model: Model | nn.Seq2Seq = dataclasses.field(repr=False)
    params: Params = dataclasses.field(repr=False)
    state: Any = dataclasses.field(repr=False)
    meta: dict[str, Any]

    def outputs(
        self,
        x: Any,
        *,
        batch_size: int = 1000,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """What the network puts out, in evaluation mode: logits, or the regressed numbers.

        Args:
            x: inputs of shape `(N, ...)`, each shaped as the data set's or the network's.
            batch_size: inputs that pass through the network at a time.
            on_progress: called with how many inputs are done, and of how many.

        Returns:
            Numbers of shape `(N, outputs)`.

        Raises:
            ValueError: if `x` is no array of finite numbers of such a shape.
        """
        batch_size = require_positive_int("batch_size", batch_size)
        other = "a network from sequences to sequences, for sequence.decode"
        require(isinstance(self.model, Model), "a network of one output an input", other)
        x = self._checked(x)
        size = min(batch_size, len(x))
        found = []
        for start in range(0, len(x), size):
            # the last batch begins early enough to be whole
            first = min(start, len(x) - size)
            y = _apply(self.model.apply, self.params, self.state, x[first : first + size])
            found.append(np.asarray(y)[start - first :])
            if on_progress is not None:
                on_progress(first + size, len(x))
        return np.concatenate(found)

    def predict(self, x: Any, *, batch_size: int = 1000) -> np.ndarray:
        """The likeliest class's number of each input, or its targets in their own units.

        Args:
            x: as in `outputs`.
            batch_size: likewise.

        Returns:
            Of shape `(N,)` and int32 in classification, where `meta["class_names"]`, if there
            are some, names the classes; shaped as the data set's `y` in regression.

        Raises:
            ValueError: as `outputs`.
        """
        y = self.outputs(x, batch_size=batch_size)
        if self.meta["task"] == "classification":
            return y.argmax(-1).astype(np.int32)
        return y.reshape(len(y), *self.meta["target"]["shape"])

    def probabilities(self, x: Any, *, batch_size: int = 1000) -> np.ndarray:
        """The softmax of the outputs: of each class, by the network.

        Args:
            x: as in `outputs`.
            batch_size: likewise.

        Returns:
            Numbers of shape `(N, classes)`, of which each row sums to one.

        Raises:
            ValueError: as `outputs`; for a regression.
        """
        task = self.meta["task"]
        require(task == "classification", "a classification, for probabilities", f"a {task}")
        return np.asarray(jax.nn.softmax(self.outputs(x, batch_size=batch_size)))

    def export(self, path: str | os.PathLike[str], *, platforms: Sequence[str] = ()) -> None:
        """Write the network and its parameters as a program that needs nothing of jaxml.

        `jax.export.deserialize(Path(path).read_bytes()).call(x)` are its `outputs` of any number
        of float32 inputs, shaped as `meta["input"]` says. JAX keeps such files readable for six
        months at least. The extra `jaxml[export]` must be installed.

        Args:
            path: of the file.
            platforms: that it shall run on, of "cpu", "cuda", "rocm", "tpu"; this one by default.

        Raises:
            ValueError: for an unknown platform.
        """
        from jax import export  # noqa: PLC0415 - few need it

        for platform in platforms:
            require_choice("platforms", platform, ("cpu", "cuda", "rocm", "tpu"))
        shape = (*export.symbolic_shape("batch"), *self.meta["input"]["shape"])
        network = jax.jit(lambda x: self.model.apply(self.params, self.state, x)[0])
        write = export.export(network, platforms=tuple(platforms) or None)
        program = write(jax.ShapeDtypeStruct(shape, np.float32))
        write_atomically(Path(path), bytes(program.serialize()))

    def _checked(self, x: Any) -> np.ndarray:
        """The inputs in float32, shaped as the network takes them."""
        given = jnp.asarray(x) if isinstance(x, jax.Array) else np.asarray(x)
        own = tuple(self.meta["input"]["shape"])
        others = (self.meta.get(name) for name in ("input_shape", "image_shape"))
        shapes = list(dict.fromkeys([own, *(tuple(s) for s in others if s is not None)]))
        expected = " or ".join(f"(N, {', '.join(map(str, shape))})" for shape in shapes)
        fits = given.ndim > 0 and given.shape[1:] in shapes
        require(fits, f"x of shape {expected}", f"shape {given.shape}")
        require(len(given) > 0, "at least one input in x", f"shape {given.shape}")
        numeric = jnp.issubdtype(given.dtype, np.number) or given.dtype == bool
        real = numeric and not jnp.issubdtype(given.dtype, np.complexfloating)
        require(real, "real numbers in x", f"dtype {given.dtype}")
        with np.errstate(over="ignore"):
            inputs = np.asarray(given).astype(np.float32)
        bad = np.argwhere(~np.isfinite(inputs))
        first = tuple(map(int, bad[0])) if len(bad) else ""
        require(
            len(bad) == 0,
            "numbers in x that are finite in float32",
            f"{len(bad)} that are not, the first at {first}",
        )
        low, high = self.meta["input"]["range"]
        margin, least, greatest = _FAR * (high - low), inputs.min(), inputs.max()
        if least < low - margin or greatest > high + margin:
            warnings.warn(
                f"x from {least:.4g} to {greatest:.4g}, where the network was trained on "
                f"{low:.4g} to {high:.4g}: is it scaled as the training data were?",
                stacklevel=3,
            )
        return inputs.reshape(len(inputs), *own)


@functools.partial(jax.jit, static_argnames="apply")
def _apply(apply, params, state, x):
    return apply(params, state, x)[0]


def load(run: str | os.PathLike[str], *, step: int | Literal["best"] | None = None) -> Trained:
    """The network that `jaxml train` trained, from the run's folder.

    Neither the data nor the optimiser are needed, and nothing else of a checkpoint is read.

    Args:
        run: the folder.
        step: which checkpoint of it: a step, or `"best"` for that of the least loss on the
            validation set; the latest by default.

    Raises:
        ValueError: if the folder holds no run of `jaxml train`, one without a checkpoint, none
            of this step, or one of an earlier version, which does not describe the network; if
            a file is not what was written (`training.DamagedError` of a checkpoint).

    Example:
        >>> import contextlib, os, tempfile
        >>> import jaxml
        >>> from jaxml.cli import main
        >>> train = "train mlp --data two_spirals --norm batch --steps 20 --out"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        ...         code = main([*train.split(), f"{folder}/run"])
        ...     trained = load(f"{folder}/run")
        >>> trained.meta["step"], trained.predict([[0.0, 1.0], [2.0, 0.5]]).shape
        (20, (2,))
    """
    folder = Path(run)
    config = config_of(folder, "train")
    meta = _meta(folder, config)
    model = nn.from_description(meta["network"])
    where = checkpoints(folder)
    saved = checksummed_dirs.numbers(where)
    require(
        len(saved) > 0, "a run with a checkpoint", f"{folder}, which was ended before its first"
    )
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    like = {"step": jnp.int32(0), "params": params, "model_state": state}
    found = training.restore_fields(where, like, step=step)
    meta["step"] = int(found["step"])
    return Trained(model, found["params"], found["model_state"], meta)


def _meta(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What `Trained.meta` says but for the step."""
    require(
        "network" in config,
        f"a run that describes its network in {CONFIG}",
        f"{folder} of an earlier version (jaxml train --resume {folder} adds it)",
    )
    try:
        data = config["data"]
        low, high = map(float, config["input"]["range"])
        return data | {
            "task": data["task"],
            "network": config["network"],
            "input": {"shape": tuple(config["input"]["shape"]), "range": (low, high)},
            "target": {**config["target"], "shape": tuple(config["target"]["shape"])},
            "steps": int(config["steps"]),
            **{name: str(config[name]) for name in ("tokenizer",) if name in config},
        }
    except (KeyError, TypeError, ValueError) as error:
        path = folder / CONFIG
        raise ValueError(f"expected {path} as it was written, got a damaged one") from error
