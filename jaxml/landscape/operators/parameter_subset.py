"""Parts of the parameters by name: a loss as a function of some layers alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

from jaxml.core.checks import require
from jaxml.core.empirical_risk import Loss, Objective, as_pytree, over_examples
from jaxml.core.types import Params
from jaxml.landscape.operators.modules import takes_modules


@takes_modules
def layer_names(params: Params, layers: str | Sequence[str] | None = None) -> dict[str, list[str]]:
    """The layers of a pytree of parameters: name -> the paths of its arrays.

    A layer is all that shares a path up to the last step; empty arrays are in none.

    Args:
        params: a pytree of arrays, or a module, see `hessian`.
        layers: only arrays that these name, see `on_layers`; all by default.

    Raises:
        ValueError: for a name that matches nothing.

    Example:
        >>> layer_names({"dense_0": {"kernel": 0.0, "bias": 0.0}, "scale": 0.0})
        {'dense_0': ['dense_0/bias', 'dense_0/kernel'], 'scale': ['scale']}
        >>> layer_names({"dense_0": {"kernel": 0.0, "bias": 0.0}, "scale": 0.0}, "*/kernel")
        {'dense_0': ['dense_0/kernel']}
    """
    paths, names = leaf_paths(params), {}
    chosen = [True] * len(paths) if layers is None else _chosen(paths, layers)
    for path, leaf, inside in zip(paths, jax.tree.leaves(params), chosen, strict=True):
        if not np.size(leaf) or not inside:
            continue
        names.setdefault(path.rpartition("/")[0] or path, []).append(path)
    return names


@takes_modules
def on_layers(
    loss: Callable[[Params], Any], params: Params, layers: str | Sequence[str]
) -> tuple[Loss, dict[str, Any]]:
    """The loss as a function of some layers, the others as they are.

    Args:
        loss: `params -> scalar`.
        params: all parameters.
        layers: names, or one: a path such as `dense_0/kernel`, what it begins with, such as
            `dense_0`, or a pattern of either, such as `*/kernel` or `block_?`; see `layer_names`.

    Returns:
        The loss of those layers, and their parameters: path -> array. An L2 penalty of the
        others, a constant, is left out.

    Raises:
        ValueError: for a name that matches nothing, with the names there are.

    Example:
        >>> loss = lambda p: (p["a"] ** 2).sum() + p["b"].prod()
        >>> params = {"a": jax.numpy.ones(2), "b": 3 * jax.numpy.ones(2)}
        >>> some, of = on_layers(loss, params, "b")
        >>> float(some(of)), list(of)
        (11.0, ['b'])
    """
    leaves, structure = jax.tree.flatten(params)
    paths = leaf_paths(params)
    chosen = _chosen(paths, layers)
    rest = [leaf for leaf, inside in zip(leaves, chosen, strict=True) if not inside]
    some = {p: leaf for p, leaf, inside in zip(paths, leaves, chosen, strict=True) if inside}
    merge = _Merge(structure, tuple(paths), chosen)
    taken = over_examples(loss)
    if taken is None:
        return Partial(_merged, Partial(merge), as_pytree(loss), rest), some
    risk = taken.with_predict(_Predict(taken.objective, merge))
    return dataclasses.replace(risk, state=(rest, taken.state)), some


@dataclasses.dataclass(frozen=True)
class _Merge:
    """Puts chosen leaves, by path, among the rest."""

    structure: Any
    paths: tuple[str, ...]
    chosen: tuple[bool, ...]

    def __call__(self, some: dict[str, Any], rest: Sequence[Any]) -> Params:
        others = iter(rest)
        pairs = zip(self.paths, self.chosen, strict=True)
        return self.structure.unflatten(some[p] if inside else next(others) for p, inside in pairs)


def _merged(merge, loss, rest, some):
    return loss(merge(some, rest))


@dataclasses.dataclass(frozen=True)
class _Predict:
    """An objective's `predict` that is given the rest of the parameters with the state."""

    objective: Objective
    merge: _Merge

    def __call__(self, some: dict[str, Any], state: Any, batch: Any) -> Any:
        rest, state = state
        return self.objective.predict(self.merge(some, rest), state, batch)


def leaf_paths(params: Params) -> list[str]:
    """The path of each array, such as `dense_0/kernel`; `""` where the parameters are one array."""
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in flat]


def _chosen(paths: Sequence[str], layers: str | Sequence[str]) -> tuple[bool, ...]:
    """Whether each path is one of those that are named."""
    names = [layers] if isinstance(layers, str) else list(layers)
    require(len(names) > 0, "at least one layer", "none")
    for name in names:
        known = dict.fromkeys(path.rpartition("/")[0] or path for path in paths)
        found = any(_names(name, path) for path in paths)
        require(found, f"layers among {', '.join(known)}", repr(name))
    return tuple(any(_names(name, path) for name in names) for path in paths)


def _names(name: str, path: str) -> bool:
    """Whether a path is, begins with, or matches a name."""
    inside = path == name or path.startswith(f"{name}/")
    return inside or fnmatchcase(path, name) or fnmatchcase(path, f"{name}/*")
