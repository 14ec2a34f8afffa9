"""A loss and parameters, or a network, from a Python file of the user's."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

import jaxml
from jaxml.core.checks import near, require
from jaxml.core.types import Model

_JAXML = str(Path(jaxml.__file__).parent)
_PYTHON = str(Path(contextlib.__file__).parent)


def own_problem(target: str) -> tuple[Any, Any]:
    """The loss and parameters that the function named `FILE.py:FUNCTION` returns.

    Raises:
        ValueError: if there is no such function, if it fails, or returns anything but a pair.
    """
    problem = _called(target)
    pair = isinstance(problem, tuple) and len(problem) == 2
    require(pair, f"(loss, params) from {target}", type(problem).__name__)
    loss, params = problem
    return loss, jax.tree.map(_array, params)


def own_model(target: str, shape: tuple[int, ...], outputs: int) -> Model:
    """The network that the function named `FILE.py:FUNCTION` makes.

    Args:
        target: it is called with the two that follow.
        shape: of one input.
        outputs: of the network.

    Raises:
        ValueError: if there is no such function, if it fails, or returns no `Model`.
    """
    model = _called(target, shape, outputs)
    require(isinstance(model, Model), f"a jaxml.Model from {target}", type(model).__name__)
    return model


def _called(target: str, *arguments: Any) -> Any:
    """What the function returns.

    The file is run as Python would import it: its folder is on the path, and its module is known
    by its name while dataclasses and Linen modules look up their annotations.
    """
    file, _, name = target.rpartition(":")
    require(file.endswith(".py") and name.isidentifier(), "FILE.py:FUNCTION", repr(target))
    path = Path(file)
    require(path.is_file(), "a Python file", repr(file))
    with _failures_of(target):
        module = _imported(path)
    function = getattr(module, name, None)
    names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
    expected = f"a function of {file}, such as {', '.join(names)}"
    require(callable(function), expected, f"{name!r}{near(name, names)}")
    assert function is not None
    with _failures_of(target):
        return function(*arguments)


def place_of(error: BaseException) -> str | None:
    """The file and line of the user's at which an error came up, or None if in none of them."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        installed = frame.filename.startswith((_JAXML, _PYTHON, "<"))
        if not installed and "site-packages" not in Path(frame.filename).parts:
            return f"{Path(frame.filename).name}, line {frame.lineno}"
    return None


def _imported(path: Path) -> ModuleType:
    # not in the place of a module of the same name
    name = path.stem if path.stem not in sys.modules else f"{path.stem} of {path.resolve()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python FILE.py` would
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def _failures_of(target: str) -> Iterator[None]:
    try:
        yield
    except SystemExit as error:
        where = place_of(error)
        raise ValueError(f"expected {target} to return, got sys.exit ({where})") from error
    except Exception as error:
        where = f" ({place})" if (place := place_of(error)) else ""
        text = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(f"{target} failed: {type(error).__name__}: {text}{where}") from error


def _array(leaf: Any) -> Any:
    """A PyTorch tensor as an array of its own precision."""
    if not hasattr(leaf, "detach"):
        return leaf
    tensor = leaf.detach().cpu().contiguous()
    # NumPy itself knows no bfloat16
    return jnp.from_dlpack(tensor) if "bfloat16" in str(tensor.dtype) else tensor.numpy()
