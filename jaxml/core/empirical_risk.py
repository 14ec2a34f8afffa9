"""Losses over data, as sums over examples that can be split.

A curvature matrix needs the parts of a loss that an optimiser does not: the network's outputs for
Gauss–Newton, one value an example for the Fisher information, one batch at a time for data that
do not fit. An `Objective` keeps them apart, and `jax.tree_util.Partial(objective, ...)` is still
the plain `params -> scalar` that everything takes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.sharding import Mesh
from jax.tree_util import Partial

from jaxml.core.checks import require
from jaxml.core.programs import Bits
from jaxml.core.row_coupling import coupling
from jaxml.core.row_rules import Mixed, Rows, State
from jaxml.core.sharding import constrain, shard
from jaxml.core.types import Batch, DataLoss, Params

Tree = TypeVar("Tree")


def examples(batch: Batch) -> int:
    """How many a batch holds."""
    return jax.tree.leaves(_tree(batch))[0].shape[0]


def _tree(batch: Any) -> Any:
    """A batch as a pytree, which a mapping that is no dict is not."""
    return dict(batch) if isinstance(batch, Mapping) else batch


def per_example(values: jax.Array, batch: Batch) -> jax.Array:
    """The values, if there is one for each example; numbers of 16 bits in float32, to be summed.

    Raises:
        ValueError: if there is not.
    """
    shape = (examples(batch),)
    require(values.shape == shape, f"one value per example, shape {shape}", f"shape {values.shape}")
    return in_float32(values)


def weights_of(batch: Batch, dtype: Any) -> jax.Array:
    """What each example's value counts: `batch["weights"]` times the targets that its mask leaves.

    Either is 1 in a batch without.
    """
    weights = _weights(batch)
    return jnp.ones(examples(batch), dtype) if weights is None else weights.astype(dtype)


def weighted_mean(values: jax.Array, batch: Batch) -> jax.Array:
    """The mean over the batch, weighted where it has weights or a mask."""
    values, weights = per_example(values, batch), _weights(batch)
    if weights is None:
        return values.mean()
    weights = in_float32(weights)
    return (values * weights).sum() / weights.sum()


def _weights(batch: Batch) -> jax.Array | None:
    """`None` where all examples count the same."""
    names = {"weights", "mask"} & set(batch) if isinstance(batch, Mapping) else ()
    weights, shape = None, (examples(batch),)
    if "weights" in names:
        weights = jnp.asarray(batch["weights"])
        require(weights.shape == shape, f"batch['weights'] of shape {shape}", weights.shape)
    if "mask" in names:
        left = jnp.asarray(batch["mask"]).astype(jnp.float32).reshape(*shape, -1).sum(-1)
        weights = left if weights is None else in_float32(weights) * left
    return weights


def _on_device(leaf: Any) -> jax.Array:
    """NumPy's as JAX's: functions of a batch may use what only the latter have."""
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)


def in_float32(array: jax.Array) -> jax.Array:
    """An array of 16-bit numbers in float32; any other as it is."""
    low = jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize < 4
    return array.astype(jnp.float32) if low else array


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """The mean or sum of one value an example, plus (l2/2)‖θ‖²: `(params, state, batch) -> scalar`.

    Equal to others of the same functions, penalty and reduction, to be compiled once.

    Attributes:
        predict: `(params, state, batch) -> outputs`, with one leading axis of examples.
        values: `(outputs, batch) -> values`, one an example.
        l2: λ of the penalty.
        reduction: "mean" or "sum" of the values, weighted where the batch has weights.
    """

    predict: Callable[..., Any]
    values: DataLoss
    l2: Any = 0.0
    reduction: str = "mean"

    def __hash__(self) -> int:
        return hash((self.predict, self.values))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Objective):
            return False
        mine, theirs = ((o.predict, o.values, o.reduction) for o in (self, other))
        return mine == theirs and Bits(self.l2) == Bits(other.l2)

    def __call__(self, params: Params, state: Any, batch: Batch) -> jax.Array:
        """The mean or sum over the batch, with the penalty."""
        params, batch = jax.tree.map(_on_device, (params, batch))
        if self.reduction == "sum":
            return self.penalized(self.total(params, state, batch), params)
        value = weighted_mean(self.values(self.predict(params, state, batch), batch), batch)
        return self.penalized(value, params)

    def divisor(self, batch: Batch, dtype: Any) -> jax.Array:
        """What the weighted sum of the values over all of a batch is divided by."""
        return jnp.ones((), dtype) if self.reduction == "sum" else weights_of(batch, dtype).sum()

    def penalized(self, value: jax.Array, params: Params) -> jax.Array:
        """The value plus the penalty."""
        if not isinstance(self.l2, jax.Array) and self.l2 == 0:
            return value
        params = jax.tree.map(in_float32, params)
        return value + 0.5 * self.l2 * optax.tree.norm(params, squared=True)

    def total(self, params: Params, state: Any, batch: Batch) -> jax.Array:
        """The weighted sum of the values, without the penalty."""
        values = per_example(self.values(self.predict(params, state, batch), batch), batch)
        return (values * weights_of(batch, values.dtype)).sum()

    def coupling(self, params: Params, state: Any, batch: Batch) -> State:
        """How the values depend on the examples of a batch, or of the shapes of one."""

        def values(batch):
            return self.values(self.predict(params, state, batch), batch)

        return coupling(values, _tree(batch), examples(batch))


@flax.struct.dataclass(eq=False)
class EmpiricalRisk:
    """A loss over data, `params -> scalar`: a pytree whose leaves are the state and the data.

    Compiled functions take it as an argument, and serve all that are equal in the rest.

    Attributes:
        objective: an `Objective`, or any other `(params, state, batch) -> scalar`.
        state: what it is given beside the parameters.
        batch: all rows.
        mesh: along whose axis `data` the rows lie, or `None`.
        repeated: how often the last row is repeated, with weight zero.
        batch_size: rows that pass through the network at a time, all of them if `None`.
        per_batch: whether a row's value may depend on the others of its batch, as in training.
    """

    objective: Any = flax.struct.field(pytree_node=False)
    state: Any
    batch: Any
    mesh: Mesh | None = flax.struct.field(pytree_node=False, default=None)
    repeated: int = flax.struct.field(pytree_node=False, default=0)
    batch_size: int | None = flax.struct.field(pytree_node=False, default=None)
    per_batch: bool = flax.struct.field(pytree_node=False, default=False)

    def __call__(self, params: Params) -> jax.Array:
        """The loss over all rows.

        Raises:
            ValueError: if by its program the value of a row taken with `batch_size` others is not
                that of the row among all, or is changed by a row that is repeated.
        """
        if isinstance(self.objective, Objective):
            self.check_rows(params)
        params, batch = self.placed(params, self.batch)
        if self.batch_size is None:
            return self.objective(params, self.state, batch)

        # a batch's inner values are computed again for its gradient rather than kept
        @jax.checkpoint
        def total(params, rows):
            return self.objective.total(params, self.state, rows)

        value = over_batches(functools.partial(total, params), batch, self.batch_size, self.mesh)
        return self.objective.penalized(value / self.objective.divisor(batch, value.dtype), params)

    def with_predict(self, predict: Callable[..., Any]) -> EmpiricalRisk:
        """The same of an objective with another `predict`."""
        objective = dataclasses.replace(self.objective, predict=predict)
        return dataclasses.replace(self, objective=objective)

    def check_rows(self, params: Params) -> None:
        """Refuse rows that by the program depend on others that they are split from.

        Raises:
            ValueError: if they do.
        """
        count, size = examples(self.batch), self.batch_size
        if size is not None and size < count and not self.per_batch:
            shape = lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype)  # noqa: E731
            try:
                found = self.objective.coupling(params, self.state, jax.tree.map(shape, self.batch))
            except TypeError as error:
                raise ValueError(
                    f"expected a loss of which {size} of {count} rows can be taken at a time, "
                    f"got {error}"
                ) from error
            mixed = isinstance(found, Mixed)
            got = f"rows that {found.cause} mixes" if mixed else "rows that depend on their place"
            require(_may_split(found), f"rows that can be taken {size} at a time", got)
        if self.repeated:
            found = self.objective.coupling(params, self.state, self.batch)
            devices = 1 if self.mesh is None else self.mesh.shape["data"]
            require(
                not isinstance(found, Mixed) or not found.known,
                f"rows that do not depend on each other, or in multiples of {devices}",
                f"{count - self.repeated} that do",
            )

    def placed(self, params: Params, batch: dict[str, Any]) -> tuple[Params, dict]:
        """Parameters whole on every device, and rows, its own or like them, divided among them."""
        if self.mesh is None:
            return params, batch
        params = constrain(params, self.mesh)  # the derivatives too are then
        batch = shard(batch, self.mesh)  # also where jit has made constants of them
        if self.repeated and not isinstance(self.objective, Objective):
            weigh = lambda weights: self.objective(params, self.state, batch | {"weights": weights})  # noqa: E731
            traced = jax.make_jaxpr(weigh)(batch["weights"]).jaxpr
            read = any(v is traced.invars[0] for e in traced.eqns for v in e.invars)
            devices = self.mesh.shape["data"]
            rows = len(batch["weights"]) - self.repeated
            require(
                read,
                f"a loss weighted by batch['weights'], or rows in multiples of {devices}",
                f"one that ignores them, and {rows} rows",
            )
        return params, batch


def over_batches(
    total: Callable[[dict[str, Any]], Tree],
    batch: Mapping[str, Any],
    batch_size: int,
    mesh: Mesh | None = None,
) -> Tree:
    """Σ total(rows) over the batches of `fold_batches`; traceable.

    Args:
        total: rows -> a pytree of sums over them.
        batch: as there.
        batch_size: as there.
        mesh: as there.
    """
    if examples(batch) <= batch_size:
        return total(_tree(batch))
    some = jax.tree.map(lambda leaf: leaf[:batch_size], _tree(batch))
    shapes = jax.eval_shape(total, some)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    add = lambda sums, rows: jax.tree.map(jnp.add, sums, total(rows))  # noqa: E731
    return fold_batches(add, zeros, batch, batch_size, mesh)


def fold_batches(
    add: Callable[[Tree, dict[str, Any]], Tree],
    sums: Tree,
    batch: Mapping[str, Any],
    batch_size: int,
    mesh: Mesh | None = None,
) -> Tree:
    """Add consecutive batches of rows, of which the last may be short, to sums; traceable.

    Args:
        add: `(sums, rows) -> sums`.
        sums: so far.
        batch: all rows.
        batch_size: of a batch.
        mesh: along whose axis `data` the rows of every batch lie.
    """
    count = examples(batch)
    size = min(batch_size, count)
    if size == count:
        return add(sums, _tree(batch))
    whole = count // size
    # one batch takes rows from every device's share, so that no row moves between them
    shares = 1 if mesh is None else mesh.shape["data"]
    if size % shares or (count % size) % shares or count % shares:
        shares = 1

    def take(leaf, first, rows):
        if shares == 1:
            return jax.lax.dynamic_slice_in_dim(leaf, first, rows)
        apart = leaf.reshape(shares, count // shares, *leaf.shape[1:])
        part = jax.lax.dynamic_slice_in_dim(apart, first // shares, rows // shares, axis=1)
        return part.reshape(rows, *leaf.shape[1:])

    def rows(first, number):
        taken = jax.tree.map(lambda leaf: take(leaf, first, number), _tree(batch))
        return taken if mesh is None or shares == 1 else shard(taken, mesh)

    sums, _ = jax.lax.scan(
        lambda sums, i: (add(sums, rows(i * size, size)), None), sums, jnp.arange(whole)
    )
    return add(sums, rows(whole * size, count % size)) if count % size else sums


Loss = Partial | EmpiricalRisk
"""A loss `params -> scalar` that is a pytree of the arrays it reads."""


def as_pytree(loss: Callable[[Params], Any]) -> Loss:
    """A loss as it is where it is a pytree, in a `Partial` otherwise."""
    return loss if isinstance(loss, Partial | EmpiricalRisk) else Partial(loss)


def over_examples(loss: Any) -> EmpiricalRisk | None:
    """A loss whose values of single examples are known, as of `data_loss`; `None` for any other."""
    if isinstance(loss, EmpiricalRisk) and isinstance(loss.objective, Objective):
        return loss
    return None


def _may_split(found: State) -> bool:
    """Whether nothing speaks against taking the rows in batches."""
    return (
        not found.known if isinstance(found, Mixed) else not isinstance(found, Rows) or found.alone
    )


# rows of each of two batches whose values are compared with those of both together
_COMPARED = 32


def divisible(taken: EmpiricalRisk, params: Params) -> bool:
    """Whether a loss is the same in whichever batches its rows are taken.

    By its program, and by its values: a program may use what does not show in it, such as the
    number of rows.

    Args:
        taken: the loss.
        params: arrays, or tracers.
    """
    if taken.per_batch:
        return False
    found = taken.objective.coupling(params, taken.state, taken.batch)
    traced = any(isinstance(x, Tracer) for x in jax.tree.leaves((taken.state, taken.batch)))
    if traced and isinstance(found, Mixed):
        return False
    return _may_split(found) and (traced or _same_apart(taken, params))


def check_batches(taken: EmpiricalRisk, params: Params) -> None:
    """Refuse a loss that its `batch_size` makes another.

    Raises:
        ValueError: if its values in batches are others than together.
    """
    size = taken.batch_size
    if size is None or size >= examples(taken.batch) or taken.per_batch:
        return
    taken.check_rows(params)
    leaves = jax.tree.leaves((taken.state, taken.batch))
    same = any(isinstance(x, Tracer) for x in leaves) or _same_apart(taken, params)
    require(same, f"rows that can be taken {size} at a time", "other values from fewer rows")


def _same_apart(taken: EmpiricalRisk, params: Params) -> bool:
    """Whether some rows have the same values together and in two halves.

    At random parameters, and at these where they are known.
    """
    half = min(_COMPARED, examples(taken.batch) // 2)
    random = np.random.default_rng(0)
    points = [jax.tree.map(lambda x: random.normal(size=x.shape).astype(x.dtype), params)]
    if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(params)):
        points.append(params)
    rows = [
        jax.tree.map(lambda leaf, a=a, b=b: leaf[a:b], taken.batch)
        for a, b in ((0, half), (half, 2 * half), (0, 2 * half))
    ]
    for point in points if half else ():
        try:
            some = [np.asarray(_values(taken.objective, point, taken.state, r)) for r in rows]
        except (TypeError, ValueError):  # it takes all its rows or none
            return False
        apart, together = np.concatenate(some[:2]), some[2]
        tolerance = float(np.finfo(together.dtype).eps) ** 0.5
        tolerance *= np.max(abs(together), where=np.isfinite(together), initial=0)
        if not np.allclose(apart, together, rtol=0, atol=tolerance, equal_nan=True):
            return False
    return True


@functools.partial(jax.jit, static_argnames="objective")
def _values(objective, params, state, rows):
    return per_example(objective.values(objective.predict(params, state, rows), rows), rows)
