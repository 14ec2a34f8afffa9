"""Games of gradient descent: several losses of the same parameters, each lowered by its player."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from scipy.sparse.linalg import LinearOperator

from jaxml.core.checks import require
from jaxml.core.empirical_risk import Loss
from jaxml.core.selfcheck import require_sound_backend
from jaxml.core.types import Params
from jaxml.landscape.operators.dense_hessian import require_matrix
from jaxml.landscape.operators.validation import (
    check_problem,
    needs_float64,
    precision,
    unravel_host,
)


@dataclasses.dataclass(frozen=True)
class GameJacobian:
    """The Jacobian J = ∂v of the field v = (−∇₁L₁, …, −∇ₙLₙ) that the players follow.

    It is no symmetric matrix. Its diagonal blocks are minus the players' own Hessians; the others
    say how one player's move turns another's gradient. Nothing is computed before it is used.

    Attributes:
        losses: as they were when they were read, functions of the tuple of all parameters.
        params: of each player.
        memory: bytes that `dense()` may take.

    Example:
        >>> bilinear = game_jacobian([lambda x, y: x * y, lambda x, y: -x * y], [0.5, 1.0])
        >>> bilinear.dense().astype(int).tolist(), bilinear.field().tolist()
        ([[0, -1], [1, 0]], [-1.0, 0.5])
        >>> bilinear.rmatvec(np.array([1.0, 0.0])).tolist()
        [0.0, -1.0]
    """

    losses: tuple[Loss, ...]
    params: tuple[Params, ...]
    memory: int | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Parameters of each player."""
        return tuple(sum(leaf.size for leaf in jax.tree.leaves(own)) for own in self.params)

    @property
    def size(self) -> int:
        """Parameters of all players."""
        return sum(self.sizes)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.size, self.size

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64."""
        return np.dtype(jax.tree.leaves(self.params)[0].dtype)

    @property
    def blocks(self) -> tuple[slice, ...]:
        """The rows of each player."""
        ends = np.cumsum(self.sizes).tolist()
        return tuple(slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True))

    def field(self) -> Float[np.ndarray, " size"]:
        """The field at the point, flat, one player after the other."""
        return self._of(_field, ())

    def matvec(self, vector: Float[Array | np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
        """J times a flat vector.

        Raises:
            ValueError: if it is of another shape.
        """
        return self._of(_product, self._flat(vector))

    def rmatvec(self, vector: Float[Array | np.ndarray, " size"]) -> Float[np.ndarray, " size"]:
        """Jᵀ times a flat vector.

        Raises:
            ValueError: if it is of another shape.
        """
        return self._of(_transposed, self._flat(vector))

    def dense(self) -> Float[np.ndarray, "size size"]:
        """The matrix.

        Raises:
            ValueError: if it would not fit into memory, with what it would need.
        """
        require_matrix(self.size, self.dtype, self.memory)
        return self._of(_dense, ())

    def unravel(self, vector: Float[Array | np.ndarray, " size"]) -> tuple[Params, ...]:
        """A flat vector as numpy pytrees shaped like the players' parameters."""
        return unravel_host(self.params, np.asarray(vector))

    def to_scipy(self) -> LinearOperator:
        """It as a `scipy.sparse.linalg.LinearOperator`, on NumPy arrays."""
        make: Any = LinearOperator  # its own __new__ takes what its __init__ does not
        matvec, rmatvec = (
            lambda vector, by=by: by(np.reshape(vector, -1)) for by in (self.matvec, self.rmatvec)
        )
        return make(self.shape, matvec=matvec, rmatvec=rmatvec, dtype=self.dtype)

    def _flat(self, vector: Any) -> tuple[Any]:
        require(np.shape(vector) == (self.size,), f"a vector of size {self.size}", np.shape(vector))
        return (np.asarray(vector, self.dtype),)

    def _of(self, function: Callable, vectors: tuple) -> np.ndarray:
        with precision(self.dtype == np.float64):
            return np.asarray(function(self.losses, self.params, *vectors))


def game_jacobian(
    losses: Sequence[Callable[..., Any]], params: Sequence[Params], *, memory: int | None = None
) -> GameJacobian:
    """The Jacobian of simultaneous gradient descent, each player on its own loss.

    Args:
        losses: of each player, `(params_1, …, params_n) -> scalar`, which it lowers by its own
            parameters; twice differentiable by JAX. They are read anew at every call.
        params: of each player, a pytree of arrays, float32 or float64; float64 where any of them
            is.
        memory: bytes that `dense()` may take; half of what is free by default.

    Returns:
        Its products, by `jvp` and `vjp`, and the matrix; all arrays are numpy's.

    Raises:
        ValueError: if there are not as many losses as players, or a loss or its parameters are not
            as `hessian` wants them.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Mescheder, Nowozin and Geiger (2017), arXiv:1705.10461, section 3; Balduzzi et al. (2018),
        arXiv:1802.05642, where minus v and minus J are called ξ and the Hessian of the game.

    Example:
        >>> zero_sum = [lambda x, y: x * y + x**2, lambda x, y: -x * y - x**2]
        >>> game_jacobian(zero_sum, [0.0, 0.0]).dense().tolist()
        [[-2.0, -1.0], [1.0, 0.0]]
    """
    params = tuple(params)
    several = len(losses) == len(params) > 0
    require(several, "a loss for each player", f"{len(losses)} losses, {len(params)} players")
    require_sound_backend()
    float64 = needs_float64(params, False)
    with precision(float64):
        found = [check_problem(_of_all(loss), params, float64=float64) for loss in losses]
    read, points = zip(*found, strict=True)
    return GameJacobian(tuple(read), points[0], memory)


def _of_all(loss: Callable[..., Any]) -> Callable[[tuple[Params, ...]], Any]:
    require(callable(loss), "a function loss(params_1, ..., params_n)", type(loss).__name__)
    return lambda params: loss(*params)


def descent(losses: Sequence[Loss], params: tuple[Params, ...]) -> tuple[Params, ...]:
    """Minus the gradient of each player's loss by its own parameters; traceable."""
    gradients = (jax.grad(own_loss(f, params, i))(params[i]) for i, f in enumerate(losses))
    return jax.tree.map(jnp.negative, tuple(gradients))


def own_loss(loss: Loss, params: tuple[Params, ...], i: int) -> Callable[[Params], Any]:
    """A loss as a function of the parameters of player i alone, the others staying."""
    return lambda own: loss((*params[:i], own, *params[i + 1 :]))


def flat_field(losses: Sequence[Loss], params: tuple[Params, ...]) -> tuple[Callable, jax.Array]:
    """The field as a function of one vector, and the parameters as that vector."""
    x, unravel = ravel_pytree(params)
    return lambda x: ravel_pytree(descent(losses, unravel(x)))[0], x


@jax.jit
def _field(losses, params):
    field, x = flat_field(losses, params)
    return field(x)


@jax.jit
def _product(losses, params, vector):
    field, x = flat_field(losses, params)
    return jax.jvp(field, (x,), (vector,))[1]


@jax.jit
def _transposed(losses, params, vector):
    field, x = flat_field(losses, params)
    return jax.vjp(field, x)[1](vector)[0]


@jax.jit
def _dense(losses, params):
    return jacobian_matrix(*flat_field(losses, params))


def jacobian_matrix(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """The Jacobian of a function of one vector, 64 columns at a time; traceable."""
    along = jax.linearize(function, x)[1]
    return jax.lax.map(along, jnp.eye(x.size, dtype=x.dtype), batch_size=64).T
