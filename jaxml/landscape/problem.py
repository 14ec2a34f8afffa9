"""What every function of this package is given: a loss and a point, checked before tracing."""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from jaxml.checks import require
from jaxml.types import Params


def needs_float64(params: Params, float64: bool) -> bool:
    """Whether to compute in float64: asked for, or the dtype of a parameter already."""
    dtypes = [getattr(leaf, "dtype", None) for leaf in jax.tree.leaves(params)]
    return float64 or any(str(dtype).endswith("float64") for dtype in dtypes)


def leaves_float64(float64: bool) -> bool:
    """Whether float64 mode ends with `precision(float64)`: its JAX arrays are of no use then."""
    config: Any = jax.config  # its settings are made at run time
    return float64 and not config.jax_enable_x64


def precision(float64: bool) -> contextlib.AbstractContextManager:
    """The context in which float64 arrays exist, if they are needed."""
    return jax.enable_x64(True) if float64 else contextlib.nullcontext()


def check_problem(
    loss: Callable[[Params], Any], params: Params, *, float64: bool
) -> tuple[Partial, Params]:
    """The loss as a pytree and the parameters as JAX arrays of one dtype.

    Args:
        loss: `params -> scalar`.
        params: a pytree of arrays from any library (numpy, JAX, PyTorch).
        float64: `needs_float64`; the caller is within `precision(float64)`.

    Raises:
        ValueError: if the loss is not a function, does not return one floating-point number,
            does not depend on the parameters, differs from call to call, or stays in float32 on
            float64 parameters; if a parameter is not float32 or float64, or not finite.
    """
    require(callable(loss), "a function loss(params)", type(loss).__name__)
    params = _arrays(params, jnp.float64 if float64 else jnp.float32)
    loss = loss if isinstance(loss, Partial) else Partial(loss)
    try:
        traced = trace(loss, params)
    except TypeError as error:
        # jax keeps what it made of a captured numpy array, also across a change of precision
        if float64 and "int32, int64" in str(error):
            raise ValueError(
                "expected a loss whose integer arrays are JAX arrays (jnp.asarray), got numpy "
                "ones, which jax has taken for int32 before float64 was asked for"
            ) from error
        raise
    leaves, dtype = jax.tree.leaves(params), jax.tree.leaves(params)[0].dtype
    shapes = jax.tree.map(lambda leaf: leaf.shape, traced.out_info)
    single = shapes == () and jax.tree.leaves(traced.out_info) != []
    require(single, "a loss that returns one number", f"outputs of shapes {shapes}")
    kind = jax.tree.leaves(traced.out_info)[0].dtype
    require(kind == dtype, f"a loss in {dtype}, as its parameters", f"one in {kind}")
    depends = _depends(traced.jaxpr.jaxpr, len(leaves))
    require(depends, "a loss that depends on the parameters", "a constant one")
    _check_deterministic(loss, params, traced.jaxpr)
    return loss, params


def _check_deterministic(loss: Partial, params: Params, jaxpr: Any) -> None:
    """Trace the loss once more: a draw made by the host would be another number."""
    if jaxpr in _SAME:
        return
    again = jax.make_jaxpr(lambda loss, params: loss(params))(loss, params)
    pairs = itertools.zip_longest(_constants(jaxpr), _constants(again))
    require(
        all(np.array_equal(a, b, equal_nan=True) for a, b in pairs),
        "a loss that is the same function at every call",
        "one that draws new random numbers (dropout or shuffling without a fixed key?)",
    )
    _SAME.add(jaxpr)


# those found to be the same at every call; jax keeps them as `trace` says
_SAME: weakref.WeakSet = weakref.WeakSet()


def _constants(jaxpr: Any) -> Iterator[np.ndarray]:
    """All numbers that a traced function holds, in order."""
    yield from map(_plain, getattr(jaxpr, "consts", ()))
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield from (_plain(v.val) for v in equation.invars if hasattr(v, "val"))
        for part in jax.tree.leaves(list(equation.params.values())):
            if hasattr(part, "eqns"):
                yield from _constants(part)


def _plain(value: Any) -> np.ndarray:
    dtype: Any = getattr(value, "dtype", None)
    key = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    array = jax.random.key_data(value) if key else value
    return np.zeros(0) if isinstance(array, Tracer) else np.asarray(array)


_call = jax.jit(lambda loss, params: loss(params))


def trace(loss: Callable, params: Params) -> Any:
    """The traced loss; jax keeps it, so that the next call for these shapes costs nothing."""
    return _call.trace(loss, params)


def _arrays(params: Params, dtype: Any) -> Params:
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    require(len(leaves) > 0, "parameters", "a pytree without leaves")
    arrays = []
    for path, leaf in leaves:
        name = f"params{jax.tree_util.keystr(path)}"
        if hasattr(leaf, "detach"):  # a PyTorch tensor
            leaf = leaf.detach().cpu().numpy()  # noqa: PLW2901
        numeric = isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int)
        require(numeric, f"an array as {name}", f"{type(leaf).__name__} (leave it out of params)")
        kind = getattr(leaf, "dtype", np.dtype(type(leaf)))
        floating = kind in (np.float32, np.float64)
        require(floating, f"float32 or float64 in {name}", f"{kind}")
        # in numpy where it can be: jax would compile each of these operations for each shape
        array = leaf if isinstance(leaf, Tracer) else np.asarray(leaf)
        if isinstance(array, np.ndarray):
            bad = int((~np.isfinite(array)).sum())
            require(bad == 0, f"finite values in {name}", f"{bad} of {array.size} that are not")
        arrays.append(jnp.asarray(array.astype(dtype)))
    require(sum(array.size for array in arrays) > 0, "at least one parameter", "empty arrays")
    return jax.tree_util.tree_unflatten(structure, arrays)


def unravel_host(like: Params, vectors: np.ndarray | jax.Array) -> Params:
    """Flat vectors as numpy pytrees shaped like the parameters, with the vectors' leading axes.

    The order is that of `jax.flatten_util.ravel_pytree`; no XLA program is compiled for it.
    """
    vectors = np.asarray(vectors)
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = zip(np.split(vectors, ends, axis=-1), leaves, strict=True)
    return structure.unflatten(
        [part.reshape(vectors.shape[:-1] + np.shape(x)) for part, x in parts]
    )


def ravel_host(tree: Params) -> np.ndarray:
    """A pytree as one flat numpy vector, in the order of `jax.flatten_util.ravel_pytree`."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(tree))])


def _depends(jaxpr: Any, inputs: int) -> bool:
    """Whether the output of a traced function can be reached from its last inputs."""
    reached = set(jaxpr.invars[-inputs:])
    for equation in jaxpr.eqns:
        if any(not hasattr(v, "val") and v in reached for v in equation.invars):
            reached.update(equation.outvars)
    return any(not hasattr(v, "val") and v in reached for v in jaxpr.outvars)
