"""The largest Hessian eigenvalue along a training run, against its stability threshold."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jaxml.core.checks import require, require_positive_int
from jaxml.core.empirical_risk import EmpiricalRisk
from jaxml.core.seeds import key as key_of
from jaxml.core.selfcheck import require_sound_backend
from jaxml.core.types import Algorithm
from jaxml.landscape.operators.hessian import flatten
from jaxml.linalg.davidson import largest
from jaxml.training.loop import Chunk
from jaxml.training.supervised_learning import full_loss

_MAX_BASIS = 24  # products at most for one value
_FIRST = 12  # what the first value takes, from a random start
_KEPT = 3  # vectors from one value to the next: the second best may become the best
# In gradients of the same rows: a product of matrices in a network is three in its gradient, and
# six in a Hessian-vector product once the gradient is linearised.
_PRODUCT = 2
_BESIDE = 3  # the linearisation is one; what a call costs, in a small network, no more than two
_PLAIN = (optax.EmptyState, optax.ScaleByScheduleState)


class edge_of_stability:  # noqa: N801 - used as a function
    """A hook of `fit` that follows λ_max of the training loss and the edge of stability.

    Where λ_max is above the threshold, a step of the optimiser moves away from the minimum of the
    loss's quadratic model. Training over the full batch raises λ_max up to there, and then it
    hovers around it. For heavy-ball momentum m ← βm + g, θ ← θ − ηm, and for m's look-ahead:

    | optimiser | matrix | threshold |
    |---|---|---|
    | gradient descent | H | 2/η |
    | heavy ball | H | (2 + 2β)/η |
    | Nesterov | H | (2 + 2β)/((1 + 2β)η) |
    | Adam | P⁻¹H | (2 + 2β₁)/((1 − β₁)η), which is 38/η at β₁ = 0.9 |

    Adam's step is −ηP⁻¹m with the moving average m ← β₁m + (1 − β₁)g and, the corrections of
    both biases included, P = (1 − β₁ᵗ)·diag(√(v/(1 − β₂ᵗ)) + ε), from v and t after the last step.

    Each value starts from the eigenvectors found before, and takes a few Hessian-vector products.
    They are counted against the gradients of training, not timed, so that a run is repeatable:
    a value is taken after a chunk if its products keep the share below `cost`. So the chunks decide
    when values are taken, and a value only within the tolerance.

    Args:
        algorithm: what trains: one that descends a loss, such as `supervised`'s, by SGD (with or
            without momentum), Adam or AdamW from optax. What leaves no trace in the optimiser's
            state, such as clipping or weight decay, is not seen.
        data: over which rows λ_max is taken: the training split, or some rows of it where it is
            large.
        learning_rate: η, a number or a schedule; by default read from the state of an optimiser
            made by `optax.inject_hyperparams`.
        momentum: β, or Adam's β₁. By default read in the same way, 0.9 for Adam; needed where
            the optimiser keeps a momentum.
        nesterov: whether the momentum looks ahead.
        b2: Adam's β₂.
        eps: Adam's ε.
        batch_size: examples in a step of training; all of `data` by default.
        cost: the share of the hook's work in that of training, counted in gradients of one
            example; infinite for a value after every chunk.
        tolerance: ‖Hv − λv‖/|λ| at which a value is good enough.
        seed: of the first start.
        mesh: as in `fit`.

    Attributes:
        history: `"step"`, `"sharpness"` (λ_max, of Adam that of P⁻¹H), `"residual"` (an eigenvalue
            lies within it of λ_max; of Adam in the symmetric form P^-½HP^-½), `"threshold"` and
            `"products"`, each a list.
        share: the work so far as a share of that of training.
        seconds: the time each value took, the first with its compilation.

    Raises:
        ValueError: for an algorithm without a loss, bad data or options; when it runs, if the
            state is of several lanes, the optimiser is none of these, or η or β is not known.

    Reference:
        Cohen et al. 2021 (arXiv:2103.00065) for gradient descent and momentum; Cohen et al. 2022
        (arXiv:2207.14484) for Adam.

    Example:
        >>> import jax, optax
        >>> from jaxml import data, nn, training
        >>> from jaxml.training import losses, sampling
        >>> xor = data.load("xor").train
        >>> model = nn.mlp([2, 4, 2], activation="tanh")
        >>> algorithm = training.supervised(model, losses.softmax_cross_entropy, optax.sgd(0.5))
        >>> edge = edge_of_stability(algorithm, xor, learning_rate=0.5)
        >>> key = jax.random.key(0)
        >>> run = training.fit(algorithm, xor, sampling.full(), key=key, steps=800, hooks=[edge])
        >>> edge.history["threshold"][0], edge.share < 0.1
        (4.0, True)
    """

    def __init__(
        self,
        algorithm: Algorithm,
        data: Any,
        *,
        learning_rate: optax.ScalarOrSchedule | None = None,
        momentum: float | None = None,
        nesterov: bool = False,
        b2: float = 0.999,
        eps: float = 1e-8,
        batch_size: int | None = None,
        cost: float = 0.1,
        tolerance: float = 0.01,
        seed: int = 0,
        mesh: jax.sharding.Mesh | None = None,
    ) -> None:
        require(isinstance(algorithm, Algorithm), "an Algorithm", type(algorithm).__name__)
        require(algorithm.loss is not None, "an algorithm that descends a loss", "one without")
        known = learning_rate is None or callable(learning_rate) or 0 < learning_rate < math.inf
        require(known, "a learning_rate above 0, or a schedule", learning_rate)
        require(momentum is None or 0 <= momentum < 1, "momentum in [0, 1)", momentum)
        require(0 <= b2 < 1, "b2 in [0, 1)", b2)
        require(eps >= 0, "eps of at least 0", eps)
        require(cost > 0, "a cost above 0", cost)
        require(0 < tolerance < 1, "a tolerance in (0, 1)", tolerance)
        rows = len(next(iter(data.values()))) if data else 1
        size = rows if batch_size is None else require_positive_int("batch_size", batch_size)
        self._whole = lambda state: full_loss(algorithm, state, data, mesh=mesh)
        self._loss: EmpiricalRisk | None = None
        fixed = learning_rate is not None and not callable(learning_rate)
        self._rate: Any = (lambda _: learning_rate) if fixed else learning_rate
        self._momentum: Any = momentum
        self._nesterov = nesterov
        self._b2, self._eps, self._tolerance, self._seed = b2, eps, tolerance, seed
        # the work is counted in gradients over `data`
        self._cost, self._step_work = cost, size / rows
        self._trained = self._spent = 0.0
        self._starts: Any = None
        self.history: dict[str, list] = {"step": []}
        self.seconds: list[float] = []

    @property
    def share(self) -> float:
        """The work so far as a share of that of training."""
        return self._spent / self._trained if self._trained else 0.0

    def __call__(self, chunk: Chunk) -> None:
        """See `Hook`."""
        state = chunk.state
        require(np.ndim(state.step) == 0, "the state of one run, from fit", "several lanes")
        steps = max((np.shape(values)[-1] for values in chunk.metrics.values()), default=1)
        self._trained += steps * self._step_work
        left = self._cost * self._trained - self._spent - _BESIDE
        max_matvecs = int(min(left / _PRODUCT, _MAX_BASIS))
        expected = self.history["products"][-1] + 1 if self.seconds else _FIRST
        if max_matvecs < min(expected, _MAX_BASIS):
            return
        began = time.perf_counter()
        second, threshold = self._read(state.opt_state, chunk.step)
        if self._loss is None:
            require_sound_backend()
            self._loss = self._whole(state)
            size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
            key = key_of(self._seed)
            dtype = jax.tree.leaves(state.params)[0].dtype
            self._starts = jax.random.normal(key, (_KEPT, size), dtype)
        loss = dataclasses.replace(self._loss, state=state)
        found = _measure(loss, state.params, second, self._starts, self._tolerance, max_matvecs)
        self._starts = found.vectors
        record = {
            "step": chunk.step,
            "sharpness": float(found.eigenvalue),
            "residual": float(found.residual),
            "threshold": threshold,
            "products": int(found.products),
        }
        for name, value in record.items():
            self.history.setdefault(name, []).append(value)
        self._spent += _BESIDE + _PRODUCT * record["products"]
        self.seconds.append(time.perf_counter() - began)

    def _read(self, opt_state: Any, step: int) -> tuple[Any, float]:
        """What P is made of, if anything, and the threshold of the next step."""
        states = list(_states(opt_state))
        given: dict[str, Any] = {}
        for state in states:
            given |= getattr(state, "hyperparams", {})
        kinds = (*_PLAIN, optax.TraceState, optax.ScaleByAdamState)
        for state in states:
            known = isinstance(state, kinds) or hasattr(state, "hyperparams")
            require(known, "optax's SGD, momentum or Adam", f"a {type(state).__name__}")
        adam = [state for state in states if isinstance(state, optax.ScaleByAdamState)]
        kept = [state for state in states if isinstance(state, optax.TraceState)]
        require(len(adam + kept) <= 1, "one momentum", f"{len(adam + kept)} in the optimiser")
        known = self._rate is not None or "learning_rate" in given
        require(known, "learning_rate=", "one whose rate is not in its state")
        rate = float(given["learning_rate"] if self._rate is None else self._rate(step))
        beta = self._momentum
        if beta is None:
            beta = given.get("b1" if adam else "momentum", 0.9 if adam else None)
        require(beta is not None or not kept, "momentum=, as the optimiser has", "none")
        require(bool(adam + kept) or not beta, "no momentum, as the optimiser", beta)
        require(bool(kept) or not self._nesterov, "nesterov with a momentum", "none, or Adam's")
        beta = float(beta or 0.0)
        edge = most_stable(beta, nesterov=self._nesterov) / rate if rate > 0 else math.inf
        if not adam:
            return None, edge
        b2, eps = given.get("b2", self._b2), given.get("eps", self._eps)
        return (adam[0].nu, adam[0].count, beta, b2, eps), edge / (1 - beta)


def most_stable(momentum: float = 0.0, *, nesterov: bool = False) -> float:
    """The stability threshold of an optimiser: the largest η·λ along an eigenvector.

    Args:
        momentum: β; 0 for plain gradient descent.
        nesterov: whether it is Nesterov's.

    Example:
        >>> most_stable(), most_stable(0.5), most_stable(0.5, nesterov=True)
        (2.0, 3.0, 1.5)
    """
    return (2 + 2 * momentum) / (1 + 2 * momentum * nesterov)


def _states(opt_state: Any) -> Iterator[Any]:
    """The states of the transformations that an optimiser is made of."""
    if hasattr(opt_state, "inner_state"):
        yield from _states(opt_state.inner_state)
    if hasattr(opt_state, "_fields"):
        yield opt_state
    elif isinstance(opt_state, tuple):
        for state in opt_state:
            yield from _states(state)


@jax.jit
def _measure(loss: Callable, params, second, kept, tolerance, max_matvecs):
    f, x = flatten(loss, params)
    gradient, product = jax.linearize(jax.grad(f), x)
    root = jnp.ones_like(x)
    if second is not None:
        nu, count, b1, b2, eps = second
        p = (1 - b1**count) * (jnp.sqrt(ravel_pytree(nu)[0] / (1 - b2**count)) + eps)
        root = jnp.sqrt(p)
    # above the edge the gradient comes to lie along what is unstable
    starts = jnp.concatenate([kept, (gradient / root)[None]])
    symmetric = lambda v: product(v / root) / root  # noqa: E731 - similar to P⁻¹H
    found = largest(
        symmetric, starts, tolerance=tolerance, max_matvecs=max_matvecs, max_basis=_MAX_BASIS
    )
    return found._replace(vectors=found.vectors[:_KEPT])
