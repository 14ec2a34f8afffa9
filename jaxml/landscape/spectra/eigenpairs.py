"""The extreme eigenvalues of a curvature matrix, by products alone, with error bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.result import Result
from jaxml.core.seeds import require_seed
from jaxml.core.selfcheck import require_sound_backend
from jaxml.landscape.operators.base import SymmetricOperator
from jaxml.landscape.operators.dense_hessian import available_memory
from jaxml.landscape.operators.validation import precision
from jaxml.linalg.eigsh import eigsh, useful_rows


@dataclasses.dataclass(frozen=True)
class Eigenpairs(Result):
    """The extreme eigenvalues, each with its error bound. All arrays are numpy's.

    Attributes:
        values: ascending, the lowest first, shape `(pairs,)`.
        vectors: of unit length, in rows, shape `(pairs, size)`; `operator.unravel(row)` is a
            pytree like the parameters.
        residuals: ‖Hv − θv‖ of each pair: an eigenvalue lies within so much of θ. Computed from
            products, not from the recurrence, and with `rounding` added.
        bounds: how far each value is from an eigenvalue: the residual r, or r²/gap with what
            rounding adds to it where that is less, with the gap to the rest of the spectrum as
            far as it has been seen.
        converged: whether the residual is at most tolerance·‖H‖ and, where multiplicities were
            asked for, the last search changed nothing.
        products: Hessian-vector products used.
        norm: ‖H‖, estimated from below by the largest |θ| seen, those not asked for included.
        rounding: what rounding leaves uncertain of a product: ‖Hz − Σcᵢ(Hvᵢ)‖ for one z = Σcᵢvᵢ
            of unit length. Large where the loss is random.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    bounds: np.ndarray
    converged: np.ndarray
    products: int
    norm: float
    rounding: float


def eigenpairs(
    operator: SymmetricOperator,
    *,
    top: int = 5,
    lowest: int = 0,
    tolerance: float = 1e-5,
    multiplicities: bool = False,
    max_products: int = 1000,
    start: Eigenpairs | None = None,
    seed: int = 0,
    memory: int | None = None,
    on_progress: Callable[[int, int], bool | None] | None = None,
) -> Eigenpairs:
    """The algebraically largest and lowest eigenvalues of a symmetric operator.

    One Krylov space serves both sides. Its basis V is kept orthonormal to rounding, so that no
    eigenvalue shows twice, and HV is kept beside it, so that the residual of every Ritz pair
    costs no further product. One more product, of a mixture of the vectors found, measures what
    rounding adds.

    The products needed grow with ‖H‖ over the gaps between the eigenvalues sought. Of a spectrum
    that falls over many orders of magnitude the lowest ones may not converge in 20,000 products.
    What helps there:

    - `eigenvalues(operator.dense())`, while size² numbers fit into memory: every eigenvalue to
      rounding, some ε·‖H‖, so in float64 where those sought are below 1e-6·‖H‖.
    - A larger `tolerance`, where it is enough that they are so small.
    - Other units of the parameters, where the scales are those of single parameters. The Hessian
      of `lambda u: loss(scales * u)` at `params / scales`, with `scales` 1/√|diagonal|, has as many
      negative, zero and positive eigenvalues, of like sizes; see `diagonal`.

    Args:
        operator: from `hessian`, or any other `SymmetricOperator`.
        top: how many of the largest.
        lowest: how many of the lowest.
        tolerance: of the residuals, relative to ‖H‖. A Krylov space sees the largest first, so
            that one much looser than 1/√size may end before a later one has shown.
        multiplicities: whether to search again from a random vector orthogonal to the pairs
            found, until that changes nothing: a Krylov space holds one vector of each eigenspace,
            so that without it a repeated eigenvalue may count once. It at least doubles the
            products.
        max_products: at most so many products.
        start: what this returned at a point nearby, which saves products.
        seed: of the random starting vector.
        memory: bytes; half of what is free by default. Half of them are for the basis, four
            arrays of (rows, size) at its largest. Up to 96 rows are used (more for many pairs).
        on_progress: called with the products done and `max_products` about every fourth product;
            ends the search if it returns True.

    Returns:
        The pairs, see `Eigenpairs`; all of them where `top + lowest` reaches the size. Those
        that have not converged say so.

    Raises:
        ValueError: if options are out of range, the basis does not fit into memory, or a product
            is not finite.
        BackendError: if the backend computes known answers wrong.

    Reference:
        Wu and Simon 2000, "Thick-restart Lanczos method for large symmetric eigenvalue problems",
        with full reorthogonalisation and Rayleigh–Ritz on the explicit V·HV in place of the
        recurrence; Parlett 1998, chapter 11, for the bounds.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxml.landscape import hessian
        >>> scales = jnp.arange(1.0, 101.0)
        >>> operator = hessian(lambda w: 0.5 * (scales * w**2).sum(), jnp.zeros(100))
        >>> found = eigenpairs(operator, top=2, lowest=1)
        >>> found.values.round(3).tolist(), found.converged.all().item()
        ([1.0, 99.0, 100.0], True)
    """
    size = operator.size
    for name, count in {"top": top, "lowest": lowest}.items():
        whole = not isinstance(count, bool) and hasattr(count, "__index__")
        require(whole and 0 <= count <= size, f"{name} from 0 to the size {size}", repr(count))
    pairs = min(top + lowest, size)
    require(pairs > 0, "at least one eigenvalue to find", f"top={top} and lowest={lowest}")
    require(0 < tolerance < 1, "a tolerance between 0 and 1", tolerance)
    max_products = require_positive_int("max_products", max_products)
    require(max_products > pairs, f"max_products above the {pairs} pairs", max_products)
    require_seed(seed)
    if start is not None:
        shape = np.shape(start.vectors)
        fits = len(shape) == 2 and shape[0] > 0 and shape[1] == size
        require(fits, f"a start with vectors of size {size}", f"vectors of shape {shape}")
        require(np.isfinite(start.vectors).all(), "a start of finite vectors", "others")
    rows = basis_rows(operator, pairs, memory)
    require_sound_backend()
    with precision(operator.dtype == np.float64):
        found = eigsh(
            operator.product,
            size,
            operator.dtype,
            top=top,
            lowest=lowest,
            tolerance=tolerance,
            multiplicities=multiplicities,
            max_products=max_products,
            rows=rows,
            start=None if start is None else start.vectors,
            seed=seed,
            on_progress=on_progress,
        )
    return Eigenpairs(**found._asdict())


def basis_rows(operator: SymmetricOperator, pairs: int, memory: int | None) -> int:
    """How many rows of a basis memory allows, no more than are of use for so many pairs.

    Raises:
        ValueError: if they are too few to hold the pairs and restart.
    """
    # the basis and its image, and what the next chunk makes of them
    row = 4 * operator.size * operator.dtype.itemsize
    bound = (available_memory() // 2 if memory is None else memory) // 2  # as the product keeps
    (least, useful), fits = useful_rows(pairs, operator.size), bound // row - 1
    require(
        fits >= least,
        f"memory for a basis of {least} rows, {(least + 1) * row / 2**20:,.1f} MiB",
        f"{bound / 2**20:,.1f} MiB; ask for fewer pairs",
    )
    return int(min(fits, useful))
