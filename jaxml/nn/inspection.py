"""What a network is made of: its layers, their outputs, parameters and cost."""

from __future__ import annotations

import dataclasses
import io
import math
from collections import Counter
from typing import Any

import jax
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxml.core.checks import require
from jaxml.core.flops import Path, abstract, equations_of, shape_of
from jaxml.core.types import Model


@dataclasses.dataclass(frozen=True)
class LayerSummary:
    """One row of a `Summary`.

    Attributes:
        name: where the layer is, as in "encoder/dense_0".
        output: the shape of the last array that the layer itself, rather than a layer inside
            it, computes (of the network's output in the row that is the whole network); None
            if it computes none.
        parameters: how many numbers its parameters are.
        flops: floating-point operations of its matrix products and convolutions in a forward
            pass over the whole batch, a multiply-add counted as two.
    """

    name: str
    output: tuple[int, ...] | None
    parameters: int
    flops: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """A network's layers in the order they compute; prints as a table.

    Attributes:
        rows: the layers that have parameters or do matrix products or convolutions.
    """

    rows: tuple[LayerSummary, ...]

    @property
    def parameters(self) -> int:
        """How many numbers the parameters are."""
        return sum(row.parameters for row in self.rows)

    @property
    def flops(self) -> int:
        """Floating-point operations of a forward pass over the whole batch."""
        return sum(row.flops for row in self.rows)

    def __rich__(self) -> Table:
        table = Table(box=box.SIMPLE, show_edge=False, show_footer=True, footer_style="bold")
        table.add_column("layer", footer="total")
        table.add_column("output", justify="right")
        for heading, total in (("parameters", self.parameters), ("FLOPs", self.flops)):
            table.add_column(heading, footer=f"{total:,}", justify="right")
        for row in self.rows:
            shape = "" if row.output is None else str(row.output)
            table.add_row(Text(row.name), shape, f"{row.parameters:,}", f"{row.flops:,}")
        return table

    def __str__(self) -> str:
        # Wide enough that no cell is folded; the table takes only what it needs.
        console = Console(file=io.StringIO(), width=1000, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())


def summary(model: Model, x: Any = None, params: Any = None) -> Summary:
    """A table of a network's layers, found by tracing its forward pass; nothing is computed.

    A layer is what one entry of the parameter tree holds, and what JAX's name stack (`jax.
    named_scope`, which Linen sets to the names of modules) calls by the same name. A network
    that names nothing, as those of `from_nnx` and hand-written ones, gets a single row.

    FLOPs are those of `dot_general` and `conv_general_dilated`, two for each multiply-add, in
    evaluation mode. Elementwise work is not counted. A scan's body counts as often as it runs,
    a while loop's once (how often it runs is unknown), and of a conditional's branches the
    dearest counts.

    Args:
        model: any model.
        x: an example batch, arrays or `jax.ShapeDtypeStruct`s; a batch of one by default, for
            those models that know the shape of their input.
        params: parameters to count instead of those of `model.init`.

    Raises:
        ValueError: if `x` is missing for a model that needs it.

    >>> from jaxml import nn
    >>> print(nn.summary(nn.mlp([64, 32, 10])))
     layer      output   parameters   FLOPs
    ────────────────────────────────────────
     dense_0   (1, 32)        2,080   4,096
     dense_1   (1, 10)          330     640
    ────────────────────────────────────────
     total                    2,410   4,736
    """
    x = getattr(model.init, "example", None) if x is None else x
    require(x is not None, "an example batch x, since the model knows none", "None")
    x = abstract(x)
    initial, model_state = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), x)
    params = initial if params is None else abstract(params)
    forward = jax.make_jaxpr(lambda *arguments: model.apply(*arguments)[0])
    program = forward(params, model_state, x)
    steps = list(equations_of(program.jaxpr, (), 1))

    # Linen's outermost module has a name in the stack, but none in the tree of parameters.
    outermost = {step.path[0] for step in steps if step.path}
    root = outermost.pop() if len(outermost) == 1 else None
    named = root is not None or bool(outermost)

    parameters: Counter[Path] = Counter()
    for path, leaf in jax.tree.leaves_with_path(params):
        layer = tuple(jax.tree_util.keystr((key,), simple=True) for key in path[:-1])
        parameters[layer if named else ()] += math.prod(leaf.shape)

    flops: Counter[Path] = Counter()
    outputs: dict[Path, tuple[int, ...]] = {}
    for step in steps:
        within = step.path if root is None else step.path[1:]
        # An RNN's cell, for one, is named twice, and its parameters may lie higher up.
        owners = (layer for layer in parameters if _is_at(step.path, layer))
        layer = max(owners, key=len, default=within)
        if step.flops or layer in parameters or layer in flops:
            flops[layer] += step.flops
            outputs[layer] = step.output
    if () in outputs:
        outputs[()] = shape_of(program.jaxpr.outvars[0])

    return Summary(
        tuple(
            LayerSummary(
                name="/".join(layer) or root or "model",
                output=outputs.get(layer),
                parameters=parameters[layer],
                flops=flops[layer],
            )
            for layer in dict.fromkeys([*outputs, *parameters])
        )
    )


def _is_at(path: Path, layer: Path) -> bool:
    """Whether the path ends as the layer's does and has all its names, in this order."""
    names = iter(path)
    return bool(layer) and path[-1:] == layer[-1:] and all(name in names for name in layer)
