"""What every function of this package is given: a loss and a point, checked before tracing."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from jaxml.core.checks import require
from jaxml.core.empirical_risk import EmpiricalRisk, Loss, as_pytree, check_batches, over_examples
from jaxml.core.programs import AsRead, Program, alike, as_read, read
from jaxml.core.selfcheck import require_sound_backend
from jaxml.core.types import Params


def needs_float64(params: Params, float64: bool) -> bool:
    """Whether to compute in float64: asked for, or the dtype of a parameter already."""
    dtypes = [getattr(leaf, "dtype", None) for leaf in jax.tree.leaves(params)]
    return float64 or any(str(dtype).endswith("float64") for dtype in dtypes)


def leaves_float64(float64: bool) -> bool:
    """Whether float64 mode ends with `precision(float64)`: its JAX arrays are of no use then."""
    config: Any = jax.config  # its settings are made at run time
    return float64 and not config.jax_enable_x64


def precision(float64: bool) -> contextlib.AbstractContextManager:
    """The context of an analysis: float64 arrays exist in it if, and only if, they are needed.

    Under a global `jax_enable_x64` too, where float32 arrays would meet float64 constants.
    """
    return jax.enable_x64(float64)


def check_problem(
    loss: Callable[[Params], Any], params: Params, *, float64: bool
) -> tuple[Loss, Params]:
    """The loss as it is now, as a pytree, and the parameters as JAX arrays of one dtype.

    The loss is traced anew: whatever it reads may have changed since the last call.

    Args:
        loss: `params -> scalar`.
        params: a pytree of arrays from any library (numpy, JAX, PyTorch).
        float64: `needs_float64`; the caller is within `precision(float64)`.

    Raises:
        ValueError: if the loss is not a function, does not return one floating-point number,
            does not depend on the parameters, differs from call to call, or stays in float32 on
            float64 parameters; if a parameter is not floating-point, or not finite.
    """
    require(callable(loss), "a function loss(params)", type(loss).__name__)
    params = _arrays(params, jnp.float64 if float64 else jnp.float32)
    leaves, dtype = jax.tree.leaves(params), jax.tree.leaves(params)[0].dtype
    loss = as_pytree(loss)
    if _is_read(loss, params):
        return loss, params
    loss = _read(loss, params)
    traced = trace(loss, params)
    shapes = jax.tree.map(lambda leaf: leaf.shape, traced.out_info)
    single = shapes == () and jax.tree.leaves(traced.out_info) != []
    require(single, "a loss that returns one number", f"outputs of shapes {shapes}")
    kind = jax.tree.leaves(traced.out_info)[0].dtype
    require(kind == dtype, f"a loss in {dtype}, as its parameters", f"one in {kind}")
    depends = _depends(traced.jaxpr.jaxpr, len(leaves))
    require(depends, "a loss that depends on the parameters", "a constant one")
    return loss, params


@contextlib.contextmanager
def checked_problem(
    loss: Callable[[Params], Any], params: Params, float64: bool = False
) -> Iterator[tuple[Loss, Params]]:
    """The loss and parameters as `check_problem` returns them, in the precision they need.

    What every function of this package begins with that computes of a loss at a point.

    Args:
        loss: `params -> scalar`.
        params: the point.
        float64: compute in float64, as is done anyway where a parameter is in it.

    Raises:
        ValueError: as `check_problem`.
        BackendError: if the backend computes known answers wrong.
    """
    require_sound_backend()
    float64 = needs_float64(params, float64)
    with precision(float64):
        yield check_problem(loss, params, float64=float64)


def read_problem(
    loss: Callable[[Params], Any], params: Params, float64: bool | None
) -> tuple[Loss, bool]:
    """The loss as it is now, to be handed on, and whether to compute in float64.

    As asked, or by default wherever the loss can be: a loss that casts to a lower precision
    inside, or meets float32 data that it captured, cannot. What it is handed on to does not read
    it again, for parameters of the same shapes in that precision.

    Raises:
        ValueError: as `check_problem`.

    Warns:
        UserWarning: that it cannot, and why.
    """
    if float64 is not None:
        float64 = needs_float64(params, float64)
        with precision(float64):
            return check_problem(loss, params, float64=float64)[0], float64
    try:
        with precision(True):
            return check_problem(loss, params, float64=True)[0], True
    except (TypeError, ValueError) as error:
        if needs_float64(params, False):
            raise
        with precision(False):
            read, _ = check_problem(loss, params, float64=False)
        reason = " ".join(str(error).split())
        warnings.warn(f"computed in float32, as in float64: {reason}", stacklevel=3)
        return read, False


def _is_read(loss: Loss, params: Params) -> bool:
    """Whether a public function hands on what it has read itself."""
    if isinstance(loss, Partial):
        program: Any = loss.func
        return isinstance(program, Program) and program.takes(*loss.args, params)
    taken = over_examples(loss)
    if taken is None:
        return False
    predict, values = taken.objective.predict, taken.objective.values
    return (
        isinstance(predict, AsRead)
        and isinstance(values, AsRead)
        and predict.takes(params, taken.state, taken.batch)
    )


def _read(loss: Loss, params: Params) -> Loss:
    """The loss as it is now, with whatever it captured among its leaves."""
    try:
        taken = over_examples(loss)
        if taken is not None:
            return _as_read(taken, params)
        leaves, structure = jax.tree.flatten(loss)
        whole = lambda leaves, params: structure.unflatten(leaves)(params)  # noqa: E731
        reading = _twice(read, whole, leaves, params)
        return Partial(reading.func, *reading.args, leaves)
    except TypeError as error:
        # jax keeps what it made of a captured numpy array, also across a change of precision
        if needs_float64(params, False) and "int32, int64" in str(error):
            raise ValueError(
                "expected a loss whose integer arrays are JAX arrays (jnp.asarray), got numpy "
                "ones, which jax has taken for int32 before float64 was asked for"
            ) from error
        raise


def _as_read(taken: EmpiricalRisk, params: Params) -> EmpiricalRisk:
    """A loss over data, its functions as they are now and its data in the parameters' dtype."""
    dtype = jax.tree.leaves(params)[0].dtype

    def placed(leaf):
        kept = leaf if isinstance(leaf, jax.Array) else jnp.array(leaf)
        return kept.astype(dtype) if kept.dtype in (jnp.float32, jnp.float64) else kept

    state, batch = jax.tree.map(placed, (taken.state, taken.batch))
    objective = taken.objective
    predict = _twice(as_read, objective.predict, params, state, batch)
    values = _twice(as_read, objective.values, predict.reading.func.outputs, batch)
    objective = dataclasses.replace(objective, predict=predict, values=values)
    risk = dataclasses.replace(taken, objective=objective, state=state, batch=batch)
    check_batches(risk, params)
    return risk


def _twice(reader: Callable, function: Callable, *arguments: Any) -> Any:
    """What the reader makes of a function, and makes again: a draw by the host would differ."""
    first = reader(function, *arguments)
    require(
        alike(first, reader(function, *arguments)),
        "a loss that is the same function at every call",
        "one that draws new random numbers (dropout or shuffling without a fixed key?)",
    )
    return first


_call = jax.jit(lambda loss, params: loss(params))


def trace(loss: Callable, params: Params) -> Any:
    """The traced loss; jax keeps it, so that the next call for these shapes costs nothing."""
    return _call.trace(loss, params)


def _arrays(params: Params, dtype: Any) -> Params:
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    require(len(leaves) > 0, "parameters", "a pytree without leaves")
    arrays, low = [], set[str]()
    for path, leaf in leaves:
        name = f"params{jax.tree_util.keystr(path)}"
        if hasattr(leaf, "detach"):  # a PyTorch tensor; NumPy knows no bfloat16
            leaf = leaf.detach().cpu()  # noqa: PLW2901
            low.update({str(leaf.dtype).rpartition(".")[2]} & {"bfloat16", "float16"})
            leaf = (leaf.float() if str(leaf.dtype).endswith("bfloat16") else leaf).numpy()  # noqa: PLW2901
        numeric = isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int)
        require(numeric, f"an array as {name}", f"{type(leaf).__name__} (leave it out of params)")
        kind = getattr(leaf, "dtype", np.dtype(type(leaf)))
        floating = jnp.issubdtype(kind, np.floating)
        require(floating, f"float32 or float64 in {name}", f"{kind}")
        low.update({str(kind)} - {"float32", "float64"})
        # in numpy where it can be: jax would compile each of these operations for each shape
        array = leaf if isinstance(leaf, Tracer) else np.asarray(leaf)
        if isinstance(array, np.ndarray):
            bad = int((~np.isfinite(array)).sum())
            require(bad == 0, f"finite values in {name}", f"{bad} of {array.size} that are not")
        arrays.append(jnp.asarray(array.astype(dtype)))
    require(sum(array.size for array in arrays) > 0, "at least one parameter", "empty arrays")
    if low:
        name = " and ".join(sorted(low))
        warnings.warn(f"parameters in {name} are analysed in {np.dtype(dtype)}", stacklevel=3)
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
