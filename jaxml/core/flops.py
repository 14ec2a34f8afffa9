"""Matrix products and convolutions of a traced program, counted as often as they run."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

Path = tuple[str, ...]


def flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations of a function's matrix products and convolutions.

    Two for each multiply-add of `dot_general` and `conv_general_dilated` in the program that JAX
    traces; nothing is computed. A scan's body counts as often as it runs, a while loop's once, and
    of a conditional's branches the dearest.

    Args:
        function: of arrays, or of trees of them.
        *arguments: arrays or `jax.ShapeDtypeStruct`s.

    Example:
        >>> flops(jnp.matmul, jnp.ones((2, 3)), jnp.ones((3, 4)))
        48
    """
    program = jax.make_jaxpr(function)(*map(abstract, arguments))
    return sum(step.flops for step in equations_of(program.jaxpr, (), 1))


def abstract(tree: Any) -> Any:
    """A tree's shapes and dtypes."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), tree)


class Equation(NamedTuple):
    """One equation: the names it stands under, the shape of its output, its cost."""

    path: Path
    output: tuple[int, ...]
    flops: int


def equations_of(jaxpr: Jaxpr, outer: Path, times: int) -> Iterator[Equation]:
    """Every equation of a program that runs so many times, those inside another before it."""
    for equation in jaxpr.eqns:
        path = _path(outer, str(equation.source_info.name_stack))
        repeats = times * equation.params["length"] if equation.primitive.name == "scan" else times
        bodies = [list(equations_of(body, path, repeats)) for body in _bodies(equation)]
        if equation.primitive.name == "cond":
            bodies = [max(bodies, key=lambda steps: sum(step.flops for step in steps))]
        yield from itertools.chain(*bodies)
        if equation.outvars:
            output = shape_of(equation.outvars[0])
            yield Equation(path, output, times * _multiply_adds(equation) * 2)


def _path(outer: Path, stack: str) -> Path:
    """(Net, dense_0) of "vmap(Net)/Net.encode/dense_0", `encode` being a method of Net."""
    path = outer
    for part in stack.split("/"):
        name, _, method = re.sub(r"\w+\(|\)", "", part).partition(".")
        own_method = method and path[-1:] == (name,)
        if name and not own_method and "->" not in part:  # jnp.einsum enters its formula
            path = (*path, name)
    return path


def _bodies(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """The programs inside an equation: those of jit, scan, cond, custom_jvp, remat and so on."""
    for value in equation.params.values():
        for body in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(body, ClosedJaxpr):
                yield body.jaxpr
            elif isinstance(body, Jaxpr):
                yield body


def _multiply_adds(equation: JaxprEqn) -> int:
    """For every output of a product or convolution, how many inputs it sums over."""
    if equation.primitive.name == "dot_general":
        (contracting, _), _ = equation.params["dimension_numbers"]
        summed = math.prod(shape_of(equation.invars[0])[axis] for axis in contracting)
    elif equation.primitive.name == "conv_general_dilated":
        kernel = shape_of(equation.invars[1])
        features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        summed = math.prod(kernel) // features
    else:
        return 0
    return math.prod(shape_of(equation.outvars[0])) * summed


def shape_of(variable: Any) -> tuple[int, ...]:
    """The shape of what a program computes."""
    return tuple(getattr(variable.aval, "shape", ()))  # a token has none
