"""Symmetric matrices over flattened parameters, as products and as dense matrices."""

from __future__ import annotations

import dataclasses
import functools
import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float
from scipy.sparse.linalg import LinearOperator

from jaxml.core.checks import require
from jaxml.core.types import Params
from jaxml.landscape.operators.dense_hessian import require_matrix
from jaxml.landscape.operators.validation import leaves_float64, precision


@dataclasses.dataclass(frozen=True)
class SymmetricOperator:
    """A symmetric matrix over the flattened parameters; nothing is computed before it is used.

    Operators of one size and dtype are added and subtracted, and multiplied by numbers. `operator @
    vector` and `operator(vector)` are products, `operator @ columns` is one with each column, and
    `to_scipy` is for SciPy's solvers.

    Attributes:
        size: how many parameters.
        dtype: float32 or float64.
        unravel: flat vector -> a pytree shaped as the parameters.
        make_product: makes `product`.
        make_dense: makes the matrix.

    Example:
        >>> a = symmetric(lambda v: jnp.arange(3.0) * v, 3)
        >>> b = 2 * a + symmetric(lambda v: v, 3)
        >>> b.shape, (b @ np.ones(3)).tolist(), np.trace(b.dense()).item()
        ((3, 3), [1.0, 3.0, 5.0], 9.0)
    """

    size: int
    dtype: np.dtype
    unravel: Callable[[Float[Array, " size"]], Params]
    make_product: Callable[[], Partial]
    make_dense: Callable[[], Float[Array, "size size"]]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.size, self.size

    @functools.cached_property
    def product(self) -> Partial:
        """`matvec` for what is compiled: a pytree that carries the data, to be an argument.

        It takes and returns JAX arrays, in float64 within `jax.enable_x64(True)`.
        """
        with precision(self.dtype == np.float64):
            return self.make_product()

    def matvec(
        self, vector: Float[Array | np.ndarray, " size"]
    ) -> Float[Array | np.ndarray, " size"]:
        """The matrix times a flat vector."""
        return self._hosted(lambda: _apply(self.product, jnp.asarray(vector, self.dtype)))

    def __call__(
        self, vector: Float[Array | np.ndarray, " size"]
    ) -> Float[Array | np.ndarray, " size"]:
        """The matrix times a flat vector."""
        return self @ vector

    def __matmul__(self, other: Any) -> Array | np.ndarray:
        """The matrix times a flat vector, or times each column of a matrix.

        Raises:
            ValueError: if the shapes do not fit.
        """
        shape = np.shape(other)
        fits = len(shape) in (1, 2) and shape[0] == self.size
        require(fits, f"a vector or matrix of {self.size} rows", f"shape {shape}")
        if len(shape) == 1:
            return self.matvec(other)
        return self._hosted(lambda: _apply_to_columns(self.product, jnp.asarray(other, self.dtype)))

    def __add__(self, other: Any) -> SymmetricOperator:
        """The sum with an operator of the same size and dtype.

        Raises:
            ValueError: if it has another.
        """
        if not isinstance(other, SymmetricOperator):
            return NotImplemented
        mine, theirs = ((o.size, str(o.dtype)) for o in (self, other))
        require(mine == theirs, "operators of one size and dtype", f"{mine} and {theirs}")
        return dataclasses.replace(
            self,
            make_product=lambda: Partial(_sum, self.product, other.product),
            make_dense=lambda: self.make_dense() + other.make_dense(),
        )

    def __mul__(self, factor: Any) -> SymmetricOperator:
        """The operator times a number."""
        if not isinstance(factor, numbers.Real) and np.shape(factor) != ():
            return NotImplemented
        number = np.asarray(factor, self.dtype)
        require(np.isfinite(number), "a finite factor", factor)
        return dataclasses.replace(
            self,
            make_product=lambda: Partial(_multiple, jnp.asarray(number), self.product),
            make_dense=lambda: number * self.make_dense(),
        )

    __rmul__ = __mul__

    def __neg__(self) -> SymmetricOperator:
        """The operator times −1."""
        return -1.0 * self

    def __sub__(self, other: Any) -> SymmetricOperator:
        """The difference from an operator of the same size and dtype."""
        return self + -other if isinstance(other, SymmetricOperator) else NotImplemented

    def dense(self) -> Float[Array | np.ndarray, "size size"]:
        """The matrix.

        Raises:
            ValueError: if it would not fit into memory, with what it would need.
        """
        return self._hosted(self.make_dense)

    def to_scipy(self) -> LinearOperator:
        """It as a `scipy.sparse.linalg.LinearOperator`, on NumPy arrays.

        Example:
            >>> from scipy.sparse.linalg import eigsh
            >>> operator = symmetric(lambda v: jnp.arange(9.0) * v, 9, np.float64)
            >>> eigsh(operator.to_scipy(), k=1, which="LA")[0].round(6).tolist()
            [8.0]
        """

        def multiply(vector: np.ndarray) -> np.ndarray:
            return np.asarray(self.matvec(vector.reshape(-1)))

        make: Any = LinearOperator  # its own __new__ takes what its __init__ does not
        return make(
            self.shape,
            matvec=multiply,
            rmatvec=multiply,
            matmat=lambda columns: np.asarray(self @ columns),
            dtype=self.dtype,
        )

    def _hosted(self, function: Callable[[], Array]) -> Array | np.ndarray:
        float64 = self.dtype == np.float64
        leaves = leaves_float64(float64)
        with precision(float64):
            result = function()
            return jax.device_get(result) if leaves else result


@jax.jit
def _apply(product, vector):
    return product(vector)


@jax.jit
def _apply_to_columns(product, columns):
    return jax.lax.map(product, columns.T).T


def _sum(one, other, vector):
    return one(vector) + other(vector)


def _multiple(factor, product, vector):
    return factor * product(vector)


def symmetric(
    product: Callable[[Float[Array, " size"]], Float[Array, " size"]],
    size: int,
    dtype: Any = np.float32,
) -> SymmetricOperator:
    """A symmetric matrix of which only its products are known.

    Args:
        product: flat vector -> the matrix times it, traceable; a `jax.tree_util.Partial` where it
            carries arrays.
        size: rows.
        dtype: float32 or float64.

    Example:
        >>> diagonal = symmetric(lambda v: jnp.arange(3.0) * v, 3)
        >>> diagonal.matvec(jnp.ones(3)).tolist()
        [0.0, 1.0, 2.0]
    """
    require(callable(product), "a function vector -> vector", type(product).__name__)
    wrapped = product if isinstance(product, Partial) else Partial(product)
    return SymmetricOperator(
        size=size,
        dtype=np.dtype(dtype),
        unravel=lambda vector: vector,
        make_product=lambda: wrapped,
        make_dense=lambda: dense_of(wrapped, size, dtype),
    )


def dense_of(
    product: Partial, size: int, dtype: Any, memory: int | None = None
) -> Float[Array, "size size"]:
    """The matrix of a product, column by column.

    Raises:
        ValueError: if it does not fit into memory, with what it would need.
    """
    require_matrix(size, np.dtype(dtype), memory)
    return _columns(product, size, np.dtype(dtype))


@functools.partial(jax.jit, static_argnames=("size", "dtype"))
def _columns(product, size, dtype):
    def column(i):
        return product(jax.nn.one_hot(i, size, dtype=dtype))

    matrix = jax.lax.map(column, jnp.arange(size))
    return (matrix + matrix.T) / 2
