"""Where arrays live on several devices: rows along a mesh's axis `data`, lanes along `lanes`.

Placement is data, not code: XLA divides the work as the arrays are divided, and the same
functions run on one device and on many. On several hosts every process holds the same arrays,
calls the same functions in the same order, and keeps the shards of its own devices.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxml.core.checks import require


def check_mesh(mesh: Any, *axes: str) -> Mesh | None:
    """The mesh with all its axes left to XLA, whatever `jax.make_mesh` made them.

    Args:
        mesh: `jax.make_mesh((8,), ("data",))`, or `None` for one device.
        axes: those it must have.

    Raises:
        ValueError: if it is no mesh or lacks an axis.
    """
    if mesh is None:
        return None
    require(isinstance(mesh, Mesh), "a mesh, from jax.make_mesh", type(mesh).__name__)
    for axis in axes:
        names = ", ".join(map(repr, mesh.axis_names))
        require(axis in mesh.axis_names, f"a mesh with an axis {axis!r}", f"one of {names}")
    return Mesh(mesh.devices, mesh.axis_names)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["count", "mesh"]
)
@dataclasses.dataclass(frozen=True)
class Rows:
    """A split with its rows along the axis `data` of a mesh.

    Attributes:
        arrays: a pytree of arrays, equally many rows of each on every device: the last row is
            repeated where the devices do not divide them.
        count: how many rows there are.
        mesh: where.
    """

    arrays: Any
    count: int
    mesh: Mesh

    @property
    def repeated(self) -> int:
        """How often the last row is repeated."""
        return -self.count % self.mesh.shape["data"]

    def split(self) -> Any:
        """The rows and no repetitions; to be traced."""
        return jax.tree.map(lambda array: array[: self.count], self.arrays)

    def weighted(self) -> Any:
        """The rows with repetitions, if any, of weight zero.

        Raises:
            ValueError: if there are, and nowhere to put the weights.
        """
        if not self.repeated:
            return self.arrays
        devices, named = self.mesh.shape["data"], isinstance(self.arrays, dict)
        require(named, f"a dict of arrays, or rows in multiples of {devices}", f"{self.count} rows")
        once = np.arange(self.count + self.repeated) < self.count
        weights = place(once.astype(np.float32), self.mesh, "data")
        if "weights" in self.arrays:
            weights = self.arrays["weights"] * weights
        return self.arrays | {"weights": weights}


def place_rows(arrays: Any, mesh: Mesh) -> Any:
    """A split on a mesh: as `Rows` if that has an axis `data`, else whole on every device."""
    if "data" not in mesh.axis_names:
        return place(arrays, mesh)
    count, devices = len(jax.tree.leaves(arrays)[0]), mesh.shape["data"]

    def put(array):
        array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)
        padded = np.concatenate([array, array[-1:].repeat(-count % devices, axis=0)])
        sharding = NamedSharding(mesh, PartitionSpec("data"))
        return jax.make_array_from_callback(padded.shape, sharding, padded.__getitem__)

    return Rows(jax.tree.map(put, arrays), count, mesh)


def place(tree: Any, mesh: Mesh | None, axis: str | None = None) -> Any:
    """Arrays on all devices of a mesh: whole, or divided by their leading axis along `axis`."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec(axis) if axis else PartitionSpec())

    def put(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            # jax has no device_put of keys to another process's devices
            data = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        here = isinstance(leaf, jax.Array) and leaf.is_fully_addressable
        if here and not sharding.is_fully_addressable:
            leaf = np.asarray(leaf)  # nor one of arrays that are committed to this one's
        return jax.device_put(leaf, sharding)

    return jax.tree.map(put, tree)


def gather(tree: Any) -> Any:
    """Arrays divided among several hosts whole on each; every process must call it."""

    def get(leaf):
        divided = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        if not divided or leaf.is_fully_replicated:
            return leaf
        sharding: Any = leaf.sharding  # named, as those of `place` and `constrain` are
        return place(leaf, sharding.mesh)

    return jax.tree.map(get, tree)


def constrain(tree: Any, mesh: Mesh | None, axis: str | None = None) -> Any:
    """`place` for what is being traced."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec(axis) if axis else PartitionSpec())
    return jax.lax.with_sharding_constraint(tree, sharding)


def shard(batch: Any, mesh: Mesh) -> Any:
    """A batch being traced, with its examples along the axis `data`.

    Raises:
        ValueError: if the devices do not divide the examples. (XLA would divide them unevenly, but
            in float64 mode its partitioner aborts the process on some gradients then.)
    """
    devices = mesh.shape["data"]

    def put(leaf):
        if not jnp.ndim(leaf):
            return leaf
        even = leaf.shape[0] % devices == 0
        require(even, f"batches of a multiple of the mesh's {devices} examples", leaf.shape[0])
        return constrain(leaf, mesh, "data")

    return jax.tree.map(put, batch)


def spans_devices(tree: Any) -> bool:
    """Whether an array in the tree lies on several devices."""
    arrays = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]
    return any(len(array.sharding.device_set) > 1 for array in arrays)
