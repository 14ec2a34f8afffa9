"""Flax modules, Linen or NNX, as `jaxml.types.Model`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import errors, linen

from jaxml.core.checks import require
from jaxml.core.types import Model

if TYPE_CHECKING:
    from flax import nnx

INVERTED = ("deterministic", "use_running_average")
"""Arguments of Linen modules that are true when the module does *not* train."""


# Compared by identity, as functions are, so that a Model can be a static argument of jit.
@dataclasses.dataclass(frozen=True, eq=False)
class ExampleInit:
    """`Model.init` of a network that knows an example of its input; `summary` reads it."""

    initialize: Callable[[jax.Array, Any], tuple[Any, Any]]
    example: Any

    def __call__(self, key: jax.Array, x: Any = None) -> tuple[Any, Any]:
        """The parameters and the state, from the example unless another batch is given."""
        return self.initialize(key, self.example if x is None else x)


def from_linen(module: linen.Module, x: Any, *, train_argument: str | None = None) -> Model:
    """A Linen module as a `Model`.

    `params` is the module's collection of that name, and `model_state` a dict of all its other
    collections (`{"batch_stats": ...}`; `{}` where there is none), which the module may write
    to whether it trains or not. `key` serves all random streams of the module.

    Args:
        module: a module that is called on one argument (any pytree) and, perhaps, on
            `train_argument`; give other arguments a value by wrapping the module.
        x: an example batch, which `init` runs the module on where it is given none.
        train_argument: the argument of `__call__` that says whether the module trains, most
            often "train" or "deterministic"; it is passed by name, and negated if it is
            "deterministic" or "use_running_average". None passes nothing.

    Returns:
        The model; `init` runs the module in evaluation mode.

    Raises:
        ValueError: if the module has no such argument; by `apply`, if the module asks for
            randomness and no `key` was given, or changes the structure of its state.

    >>> import flax.linen, jax, jax.numpy as jnp
    >>> model = from_linen(flax.linen.Dense(3), jnp.zeros((1, 2)))
    >>> params, model_state = model.init(jax.random.key(0))
    >>> y, _ = model.apply(params, model_state, jnp.ones((5, 2)))
    >>> params["kernel"].shape, y.shape
    ((2, 3), (5, 3))
    """
    if train_argument is not None:
        arguments = inspect.signature(type(module).__call__).parameters
        accepted = train_argument in arguments or any(
            argument.kind is argument.VAR_KEYWORD for argument in arguments.values()
        )
        require(
            accepted,
            f"train_argument to be an argument of {type(module).__name__}.__call__",
            repr(train_argument),
        )

    def mode(train) -> dict[str, Any]:
        if train_argument is None:
            return {}
        return {train_argument: not train if train_argument in INVERTED else train}

    def initialize(key, x):
        variables = dict(module.init(key, x, **mode(False)))
        return variables.pop("params", {}), variables

    def apply(params, model_state, x, *, train=False, key=None):
        try:
            y, updated = module.apply(
                {"params": params, **model_state},
                x,
                **mode(train),
                mutable=list(model_state),
                # Streams that have no key of their own draw from that of "params".
                rngs=None if key is None else {"params": key},
            )
        except errors.InvalidRngError as error:
            raise ValueError(
                f"expected key= for a random layer of {type(module).__name__}, got None"
            ) from error
        return y, _as_before(dict(updated), model_state)

    return Model(ExampleInit(initialize, x), apply)


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """An NNX module as a `Model` of pure functions.

    `params` is a plain dict of the values of the module's `nnx.Param`, and `model_state` one of
    its other variables (batch statistics, say). The module's random streams are in neither:
    `apply` starts them anew from `key`, and from a fixed key where it is given none in
    evaluation, so that a result depends on the arguments alone. `train` calls the module's
    `train()` or `eval()`. Values of type `nnx.Intermediate` are dropped. To train in float64,
    cast the model state along with the parameters: NNX writes no float64 to a float32 variable.

    Each `apply` builds a module of its own, with variables of its own; that is what lets it be
    differentiated inside `lax.scan` and mapped over.

    Args:
        make: builds the module, which is called on one argument (any pytree); it must build
            the same structure whatever the key.

    Returns:
        The model; its `init` needs no `x`.

    Raises:
        ValueError: by `apply`, if a module that holds random streams trains without `key`, or
            if the module changes the structure of its state.

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> model = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    >>> params, model_state = model.init(jax.random.key(0))
    >>> y, _ = model.apply(params, model_state, jnp.ones((5, 2)))
    >>> params["kernel"].shape, y.shape
    ((2, 3), (5, 3))
    """
    from flax import nnx  # noqa: PLC0415 (slow to import, and most users never need it)

    def split(module):
        return nnx.split(module, nnx.Param, nnx.RngState, ...)

    @functools.cache
    def structure():
        return split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def filled(state, values):
        state = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(state, values)
        return state

    def initialize(key, x=None):  # noqa: ARG001 (NNX modules know the shape of their input)
        _, params, _, rest = split(make(nnx.Rngs(key)))
        return nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def apply(params, model_state, x, *, train=False, key=None):
        graph, abstract_params, abstract_streams, abstract_rest = structure()
        streams = nnx.to_pure_dict(abstract_streams)
        require(
            not (train and streams and key is None),
            "key= for a module with random streams in training",
            "None",
        )
        module = nnx.merge(
            graph,
            filled(abstract_params, params),
            filled(abstract_streams, _seeded(streams, jax.random.key(0) if key is None else key)),
            filled(abstract_rest, model_state),
            copy=True,
        )
        module.train() if train else module.eval()
        y = module(x)
        nnx.pop(module, nnx.Intermediate)
        *_, rest = split(module)
        return y, _as_before(nnx.to_pure_dict(rest), model_state)

    return Model(initialize, apply)


def _seeded(streams, key):
    """Random streams with their counts at zero and their keys all different."""
    leaves, structure = jax.tree.flatten(streams)
    return structure.unflatten(
        jax.random.split(jax.random.fold_in(key, i), leaf.shape)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros(leaf.shape, leaf.dtype)
        for i, leaf in enumerate(leaves)
    )


def _as_before(updated, model_state):
    """The updated state with the dtypes it had, so that it can be carried through a scan."""
    before, after = jax.tree.structure(model_state), jax.tree.structure(updated)
    require(before == after, f"the network to keep the structure of its state, {before}", after)
    return jax.tree.map(
        lambda new, old: jnp.asarray(new).astype(jnp.result_type(old)), updated, model_state
    )
