"""Modules of NNX and Equinox in the place of parameters: their arrays, the rest set aside."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax

from jaxml.core.empirical_risk import over_examples
from jaxml.core.types import Params

Function = TypeVar("Function", bound=Callable[..., Any])


class Parted(NamedTuple):
    """A module in two parts.

    Attributes:
        params: its parameters: for NNX a nested dict of the values of its `nnx.Param`, for Equinox
            the module with None for all that is no array of floating-point numbers.
        merge: such parameters -> the module with these; traceable.
    """

    params: Params
    merge: Callable[[Params], Any]


def part_module(value: Any) -> Parted | None:
    """The parts of a module of NNX or Equinox; None for anything else, as for a module of arrays.

    Neither library is imported: who has a module of one has imported it.
    """
    nnx: Any = sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(value, nnx.Module):
        graph, state, rest = nnx.split(value, nnx.Param, ...)

        def merge(params: Params) -> Any:
            filled = jax.tree.map(lambda leaf: leaf, state)
            nnx.replace_by_pure_dict(filled, params)
            return nnx.merge(graph, filled, rest, copy=True)

        return Parted(nnx.to_pure_dict(state), merge)
    equinox: Any = sys.modules.get("equinox")
    if equinox is not None and isinstance(value, equinox.Module):
        params, static = equinox.partition(value, equinox.is_inexact_array)
        if jax.tree.leaves(static):
            return Parted(params, lambda params: equinox.combine(params, static))
    return None


def takes_modules(function: Function) -> Function:
    """A function of a loss and parameters that takes modules of NNX and Equinox as parameters.

    The loss is then given such a module, and all that is returned or handed in as parameters
    otherwise, such as a direction, is like its parameters, see `Parted`.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        merges = []

        def params_of(value: Any) -> Any:
            if isinstance(value, list | tuple) and any(map(part_module, value)):
                return [params_of(one) for one in value]
            parted = part_module(value)
            if parted is None:
                return value
            merges.append(parted.merge)
            return parted.params

        loss = given.arguments.pop("loss", None)
        arguments = {name: params_of(value) for name, value in given.arguments.items()}
        if "loss" in signature.parameters:
            arguments["loss"] = _of_params(loss, merges[0]) if merges else loss
        return function(**arguments)

    return cast(Function, call)


def _of_params(loss: Any, merge: Callable[[Params], Any]) -> Any:
    """A loss of a module as one of its parameters, over data where it is."""
    taken = over_examples(loss)
    if taken is None:
        return (lambda params: loss(merge(params))) if callable(loss) else loss
    predict = taken.objective.predict
    return taken.with_predict(lambda params, state, batch: predict(merge(params), state, batch))
