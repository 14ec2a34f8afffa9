"""What every function of this package is given: a loss and a point, checked before tracing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from jaxml.checks import require
from jaxml.types import Params


def precision(float64: bool) -> contextlib.AbstractContextManager:
    """The context in which float64 arrays exist, if they are asked for."""
    return jax.enable_x64(True) if float64 else contextlib.nullcontext()


def check_problem(
    loss: Callable[[Params], Any], params: Params, *, float64: bool = False
) -> tuple[Partial, Params]:
    """The loss as a pytree and the parameters as JAX arrays.

    Args:
        loss: `params -> scalar`.
        params: a pytree of arrays from any library (numpy, JAX, PyTorch).
        float64: cast the parameters to float64; the caller is within `jax.enable_x64(True)`.

    Raises:
        ValueError: if the loss is not a function, does not return one floating-point number,
            does not depend on the parameters, or stays in float32 on float64 parameters; if a
            parameter is not floating point, not finite, or of another dtype than the rest.
    """
    require(callable(loss), "a function loss(params)", type(loss).__name__)
    params = _arrays(params, float64)
    loss = loss if isinstance(loss, Partial) else Partial(loss)
    try:
        jaxpr, out = jax.make_jaxpr(loss, return_shape=True)(params)
    except TypeError as error:
        # jax keeps what it made of a captured numpy array, also across a change of precision
        if float64 and "int32, int64" in str(error):
            raise ValueError(
                "expected a loss whose integer arrays are JAX arrays (jnp.asarray), got numpy "
                "ones, which jax has taken for int32 before float64 was asked for"
            ) from error
        raise
    dtype = jax.tree.leaves(params)[0].dtype
    shapes = jax.tree.map(lambda leaf: leaf.shape, out)
    single = isinstance(out, jax.ShapeDtypeStruct) and out.shape == ()
    require(single, "a loss that returns one number", f"outputs of shapes {shapes}")
    require(out.dtype == dtype, f"a loss in {dtype}, as its parameters", f"one in {out.dtype}")
    require(_depends(jaxpr.jaxpr), "a loss that depends on the parameters", "a constant one")
    return loss, params


def _arrays(params: Params, float64: bool) -> Params:
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    require(len(leaves) > 0, "parameters", "a pytree without leaves")
    arrays = []
    for path, leaf in leaves:
        name = f"params{jax.tree_util.keystr(path)}"
        if hasattr(leaf, "detach"):  # a PyTorch tensor
            leaf = leaf.detach().cpu().numpy()  # noqa: PLW2901
        numeric = isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int)
        require(numeric, f"an array as {name}", f"{type(leaf).__name__} (leave it out of params)")
        array = jnp.asarray(leaf)
        require(
            array.dtype in (jnp.float32, jnp.float64),
            f"float32 or float64 in {name}",
            f"{array.dtype}",
        )
        if not isinstance(array, Tracer):
            bad = int((~jnp.isfinite(array)).sum())
            require(bad == 0, f"finite values in {name}", f"{bad} of {array.size} that are not")
        arrays.append(array.astype(jnp.float64) if float64 else array)
    dtypes = sorted({str(array.dtype) for array in arrays})
    require(len(dtypes) == 1, "parameters of one dtype", " and ".join(dtypes))
    require(sum(array.size for array in arrays) > 0, "at least one parameter", "empty arrays")
    return jax.tree_util.tree_unflatten(structure, arrays)


def unravel_host(like: Params, vectors: np.ndarray) -> Params:
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


def _depends(jaxpr: Any) -> bool:
    """Whether the output of a traced function can be reached from its inputs."""
    reached = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if any(not hasattr(v, "val") and v in reached for v in equation.invars):
            reached.update(equation.outvars)
    return any(not hasattr(v, "val") and v in reached for v in jaxpr.outvars)
