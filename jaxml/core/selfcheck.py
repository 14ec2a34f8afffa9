"""Known answers, computed on the backend in use before any figure is reported from it.

jax 0.10.2 on CPU miscomputes a fused product and reduction without a word, so that curvature
comes out wrong by more than its own size. Numbers from such a backend are worse than none.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class BackendError(RuntimeError):
    """The backend in use returns wrong numbers; the message names the fault."""


class Answer(NamedTuple):
    """One known answer.

    Attributes:
        name: what was computed.
        error: the largest deviation from the truth, relative to its size.
        tolerance: the deviation that float32 arithmetic explains.
    """

    name: str
    error: float
    tolerance: float

    @property
    def right(self) -> bool:
        """Whether the backend's answer is the known one."""
        return self.error <= self.tolerance


def _relative(got: jax.Array, truth: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(got, np.float64) - truth)) / np.max(np.abs(truth)))


def _softmax_curvature() -> float:
    """The softmax cross-entropy curvature times many tangents at once.

    The fault of jax 0.10.2 shows once the product has more than about 32,768 elements.
    """
    p = np.linspace(0.1, 1.0, 64 * 10).reshape(64, 10)
    tangents = np.sin(np.arange(128 * 64 * 10)).reshape(128, 64, 10)
    truth = p * (tangents - (p * tangents).sum(-1, keepdims=True))
    product = jax.jit(lambda p, t: p * (t - (p * t).sum(-1, keepdims=True)))
    return _relative(product(jnp.float32(p), jnp.float32(tangents)), truth)


def _matrix_product() -> float:
    a = np.sin(np.arange(96 * 160)).reshape(96, 160)
    b = np.cos(np.arange(160 * 96)).reshape(160, 96)
    product = functools.partial(jnp.matmul, precision="highest")
    return _relative(jax.jit(product)(jnp.float32(a), jnp.float32(b)), a @ b)


def _hessian() -> float:
    """The Hessian of log Σ exp is diag(p) − p pᵀ."""
    x = np.linspace(-1.0, 1.0, 12)
    p = np.exp(x) / np.exp(x).sum()
    got = jax.jit(jax.hessian(jax.nn.logsumexp))(jnp.float32(x))
    return _relative(got, np.diag(p) - np.outer(p, p))


def _eigenvalues() -> float:
    """The path graph's Laplacian has the eigenvalues 2 − 2cos(πk/(n+1))."""
    n = 24
    matrix = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    truth = 2 - 2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1))
    return _relative(jax.jit(jnp.linalg.eigvalsh)(jnp.float32(matrix)), truth)


# error in units of its largest entry that float32 explains, each with a wide margin over
# what is seen (about 1e-7) and far below what the fault does (about 1)
_QUESTIONS: dict[str, tuple[Callable[[], float], float]] = {
    "softmax curvature": (_softmax_curvature, 1e-5),
    "matrix product": (_matrix_product, 1e-4),
    "Hessian of log-sum-exp": (_hessian, 1e-5),
    "symmetric eigenvalues": (_eigenvalues, 1e-5),
}


@functools.cache
def known_answers(platform: str | None = None) -> tuple[Answer, ...]:
    """Compute all known answers on a backend.

    Args:
        platform: `"cpu"`, `"gpu"` or `"tpu"`; the default backend if none is named.

    Returns:
        One `Answer` for each question; computed once in a process.
    """
    # concrete numbers even where the caller is being traced, and float32 whatever its precision
    with (
        jax.ensure_compile_time_eval(),
        jax.enable_x64(False),
        jax.default_device(jax.local_devices(backend=platform)[0]),
    ):
        return tuple(Answer(name, ask(), tol) for name, (ask, tol) in _QUESTIONS.items())


def require_sound_backend() -> None:
    """Refuse to go on where the default backend returns wrong numbers.

    Raises:
        BackendError: naming the first known answer that came out wrong.
    """
    for answer in known_answers():
        if not answer.right:
            raise BackendError(
                f"jax {jax.__version__} on {jax.default_backend()} returns wrong numbers: "
                f"{answer.name} is off by {answer.error:.1e} of its size "
                f"(expected at most {answer.tolerance:.0e}); install another release of jax "
                "(0.10.1 is right where 0.10.2 is not)"
            )


def parallel_map(
    function: Callable[[_In], _Out], items: Iterable[_In], *, compiled: bool = False
) -> list[_Out]:
    """The function of each item, in as many threads as there are cores.

    For host loops around compiled work on small networks. Most of XLA's CPU programs for them keep
    one core busy, so that threads are faster than one after another; `vmap` is slower than either,
    because a mapped `while_loop` runs every branch, for as long as its longest lane takes. Unless
    all is `compiled`, the first item goes alone, so that the others find what it compiled.

    JAX's context managers hold for the thread that enters them; the precision (`enable_x64`,
    `default_matmul_precision`) and device of the caller are carried over to the others.
    """
    items = list(items)
    if len(items) <= 1:
        return [function(item) for item in items]
    config: Any = jax.config  # its settings are made at run time
    x64, device = config.jax_enable_x64, config.jax_default_device
    precision = config.jax_default_matmul_precision

    def as_here(item: _In) -> _Out:
        with (
            jax.enable_x64(x64),
            jax.default_device(device),
            jax.default_matmul_precision(precision),
        ):
            return function(item)

    first = [] if compiled else [as_here(items[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [*first, *pool.map(as_here, items[len(first) :])]
