"""All eigenvalues of a dense symmetric matrix, without vectors, by the fastest driver at hand."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float

from jaxml.core.checks import require

# below this the two stages only cost their overhead
_TWO_STAGES = 2000


def eigenvalues(matrix: Float[Any, "size size"]) -> Float[np.ndarray, " size"]:
    """The eigenvalues of a symmetric matrix, ascending.

    In the matrix's own precision, so off by some eps·‖A‖ (1e-6·‖A‖ in float32); NumPy's
    `eigvalsh` takes float32 to float64 first, which is slower. A matrix on an accelerator stays
    there. Of a large one on CPU LAPACK's two-stage reduction is taken, most of which is matrix
    products, where the OpenBLAS that NumPy's wheels bring has it.

    Args:
        matrix: float32 or float64; its lower triangle is read.

    Raises:
        ValueError: if it is not square, not floating point or not finite.

    Reference:
        Haidar, Ltaief and Dongarra 2011 (doi:10.1145/2063384.2063394).

    Example:
        >>> eigenvalues(np.array([[0.0, -2.0], [-2.0, 0.0]])).tolist()
        [-2.0, 2.0]
    """
    shape, dtype = np.shape(matrix), np.dtype(getattr(matrix, "dtype", float))
    square = len(shape) == 2 and shape[0] == shape[1] > 0
    require(square, "a square matrix", f"an array of shape {shape}")
    require(dtype in (np.float32, np.float64), "float32 or float64", dtype)
    if isinstance(matrix, jax.Array) and jax.default_backend() != "cpu":
        values = np.asarray(jnp.linalg.eigvalsh(matrix, symmetrize_input=False))
        require(bool(np.isfinite(values).all()), "a finite matrix", "one that is not")
        return values
    array = np.asarray(matrix)
    require(bool(np.isfinite(array).all()), "a finite matrix", "one that is not")
    if len(array) >= _TWO_STAGES and (driver := _two_stage_driver(dtype.char)) is not None:
        return _two_stages(driver, array)
    return scipy.linalg.eigvalsh(array, driver="evd", check_finite=False)


@functools.cache
def _two_stage_driver(kind: str) -> Callable | None:
    """`?syevd_2stage` of the OpenBLAS in NumPy's wheels, whose integers have 64 bits."""
    name = {"f": "scipy_ssyevd_2stage_64_", "d": "scipy_dsyevd_2stage_64_"}[kind]
    try:
        from numpy.linalg import _umath_linalg  # noqa: PLC0415

        return getattr(ctypes.CDLL(_umath_linalg.__file__), name)
    except (ImportError, OSError, AttributeError):
        return None


def _two_stages(driver: Callable, array: np.ndarray) -> np.ndarray:
    copy = np.array(array.T, order="F")  # LAPACK counts rows first, and writes over it
    size, dtype = len(copy), copy.dtype
    values, info = np.empty(size, dtype), ctypes.c_int64()

    def call(work: np.ndarray, more: np.ndarray, lengths: tuple[int, int]) -> None:
        number = lambda k: ctypes.byref(ctypes.c_int64(k))  # noqa: E731
        pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)  # noqa: E731
        driver(
            *(b"N", b"U", number(size), pointer(copy), number(size), pointer(values)),
            *(pointer(work), number(lengths[0]), pointer(more), number(lengths[1])),
            *(ctypes.byref(info), ctypes.c_size_t(1), ctypes.c_size_t(1)),
        )
        if info.value:
            raise np.linalg.LinAlgError(f"expected convergence, got info {info.value} from LAPACK")

    work, more = np.empty(1, dtype), np.empty(1, np.int64)
    call(work, more, (-1, -1))
    # the length is given as a float, which rounds it
    length = int(work[0] * (1 + 2 * float(np.finfo(dtype).eps))) + 1
    call(np.empty(length, dtype), np.empty(int(more[0]), np.int64), (length, int(more[0])))
    return values
