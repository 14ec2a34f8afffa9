"""Normalising flows: invertible networks, whose density is known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxml import nn
from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Batch, Model, Params


class Flow(NamedTuple):
    """An invertible map from examples to noise, and back.

    Attributes:
        init: `(key, x) -> params`; `x` is a batch of examples.
        forward: `(params, x) -> (z, log_determinant)`, of the shape of `x` and `(batch,)`; the
            latter is log |∂z/∂x| (nats) of each example.
        inverse: `(params, z) -> x`.
    """

    init: Callable[[jax.Array, Any], Params]
    forward: Callable[[Params, Any], tuple[jax.Array, jax.Array]]
    inverse: Callable[[Params, Any], jax.Array]


def chain(flows: Sequence[Flow]) -> Flow:
    """One flow after the other, from examples to noise; its parameters are a list of theirs.

    Raises:
        ValueError: if there is none.

    >>> flow = chain([logit(), activation_norm(2)])
    >>> x = jnp.array([[0.2, 0.9], [0.5, 0.1]])
    >>> params = flow.init(jax.random.key(0), x)
    >>> bool(jnp.allclose(flow.inverse(params, flow.forward(params, x)[0]), x))
    True
    """
    flows = tuple(flows)
    require(flows and all(isinstance(f, Flow) for f in flows), "at least one Flow", flows)

    def init(key, x):
        params = []
        for flow, own in zip(flows, jax.random.split(key, len(flows)), strict=True):
            params.append(flow.init(own, x))
            x, _ = flow.forward(params[-1], x)
        return params

    def forward(params, x):
        total = jnp.zeros(len(x), jnp.result_type(x))
        for flow, own in zip(flows, params, strict=True):
            x, log_determinant = flow.forward(own, x)
            total = total + log_determinant
        return x, total

    def inverse(params, z):
        for flow, own in zip(flows[::-1], params[::-1], strict=True):
            z = flow.inverse(own, z)
        return z

    return Flow(init, forward, inverse)


def coupling(model: Model, mask: Sequence[Any] | np.ndarray, *, bound: float = 2.0) -> Flow:
    """Scale and shift some columns by what a network says of the others, which stay.

    Args:
        model: from the columns that stay, `(..., those)`, to the shifts and then the logarithms of
            the scales of the others, `(..., 2 · others)`; without a state.
        mask: one for each column, true where it stays; some must stay and some must not.
        bound: of the logarithm of a scale, which is bound · tanh(output / bound).

    Raises:
        ValueError: if an argument is not as described; by `init`, if the network has a state; by
            `forward` and `inverse`, if it puts out other columns.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), arXiv:1605.08803, equations 4 to 8.

    >>> flow = coupling(nn.mlp([1, 8, 2]), [True, False])
    >>> x = jnp.array([[1.0, 2.0]])
    >>> params = flow.init(jax.random.key(0), x)
    >>> z, log_determinant = flow.forward(params, x)
    >>> float(z[0, 0]), log_determinant.shape
    (1.0, (1,))
    """
    require(isinstance(model, Model), "a jaxml Model", type(model).__name__)
    require(0 < bound < float("inf"), "a finite bound above 0", bound)
    kept = np.asarray(mask, bool)
    both = kept.ndim == 1 and kept.any() and not kept.all()
    require(both, "a mask of columns that stay and columns that do not", mask)
    # of 32 bits: as traced constants those of 64 do not meet others within enable_x64
    stay, go = (np.flatnonzero(part).astype(np.int32) for part in (kept, ~kept))
    order = np.argsort(np.concatenate([stay, go])).astype(np.int32)

    def init(key, x):
        params, state = model.init(key, jnp.asarray(x)[..., stay])
        require(not jax.tree.leaves(state), "a network without a state", state)
        return params

    def changes(params, still):
        outputs, _ = model.apply(params, {}, still)
        require(outputs.shape[-1] == 2 * len(go), f"{2 * len(go)} outputs", outputs.shape[-1])
        shift, raw = jnp.split(outputs, 2, -1)
        return shift, bound * jnp.tanh(raw / bound)

    def forward(params, x):
        x = _columns(x, len(kept))
        still, moved = x[..., stay], x[..., go]
        shift, log_scale = changes(params, still)
        z = jnp.concatenate([still, moved * jnp.exp(log_scale) + shift], -1)
        return z[..., order], _total(log_scale)

    def inverse(params, z):
        z = _columns(z, len(kept))
        still, moved = z[..., stay], z[..., go]
        shift, log_scale = changes(params, still)
        x = jnp.concatenate([still, (moved - shift) * jnp.exp(-log_scale)], -1)
        return x[..., order]

    return Flow(init, forward, inverse)


def activation_norm(size: int) -> Flow:
    """Each column shifted and scaled, at first to mean 0 and variance 1 over the first batch.

    Args:
        size: columns, of the last axis.

    Reference:
        Kingma and Dhariwal (2018), arXiv:1807.03039, section 3.1.

    >>> x = jnp.array([[1.0, 10.0], [3.0, 30.0]])
    >>> flow = activation_norm(2)
    >>> z, _ = flow.forward(flow.init(jax.random.key(0), x), x)
    >>> z.round(3).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """
    size = require_positive_int("size", size)

    def init(key, x):  # noqa: ARG001
        rows = _columns(x, size).reshape(-1, size)
        return {"mean": rows.mean(0), "log_scale": -jnp.log(rows.std(0) + 1e-6)}

    def forward(params, x):
        x = _columns(x, size)
        z = (x - params["mean"]) * jnp.exp(params["log_scale"])
        return z, _total(jnp.broadcast_to(params["log_scale"], x.shape))

    def inverse(params, z):
        return _columns(z, size) * jnp.exp(-params["log_scale"]) + params["mean"]

    return Flow(init, forward, inverse)


def invertible_convolution(size: int) -> Flow:
    """The columns of each pixel, or of each row, times one square matrix; at first a rotation.

    Args:
        size: columns, of the last axis.

    Reference:
        Kingma and Dhariwal (2018), arXiv:1807.03039, section 3.2: the 1 × 1 convolution.

    >>> flow = invertible_convolution(3)
    >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> z, log_determinant = flow.forward(params, jnp.ones((1, 3)))
    >>> bool(abs(log_determinant[0]) < 1e-5)
    True
    """
    size = require_positive_int("size", size)

    def init(key, x):
        drawn = jax.random.normal(key, (size, size), jnp.result_type(x, jnp.float32))
        return {"matrix": jnp.linalg.qr(drawn)[0]}

    def forward(params, x):
        x = _columns(x, size)
        pixels = x[0, ..., 0].size
        volume = pixels * jnp.linalg.slogdet(params["matrix"])[1]
        return x @ params["matrix"], jnp.broadcast_to(volume, len(x))

    def inverse(params, z):
        return _columns(z, size) @ jnp.linalg.inv(params["matrix"])

    return Flow(init, forward, inverse)


def logit(margin: float = 1e-6) -> Flow:
    """Numbers of [0, 1] onto the line: log y/(1 − y) of y = margin + (1 − 2 margin)x.

    Args:
        margin: in (0, 0.5), so that 0 and 1 stay finite.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), arXiv:1605.08803, section 4.1; Papamakarios,
        Pavlakou and Murray (2017), arXiv:1705.07057, have 1e-6 for digits.

    >>> logit().forward({}, jnp.array([[0.5]]))[0].tolist()
    [[0.0]]
    """
    require(0 < margin < 0.5, "a margin in (0, 0.5)", margin)

    def forward(params, x):  # noqa: ARG001
        x = jnp.asarray(x)
        up, down = margin + (1 - 2 * margin) * x, margin + (1 - 2 * margin) * (1 - x)
        slope = math.log(1 - 2 * margin) - jnp.log(up) - jnp.log(down)
        return jnp.log(up) - jnp.log(down), _total(slope)

    def inverse(params, z):  # noqa: ARG001
        return (jax.nn.sigmoid(z) - margin) / (1 - 2 * margin)

    return Flow(lambda key, x: {}, forward, inverse)  # noqa: ARG005


def real_nvp(
    size: int, *, couplings: int = 8, hidden: Sequence[int] = (64, 64), seed: int = 0
) -> Flow:
    """Couplings in pairs, so that each column is moved by one of two; at first the identity.

    Args:
        size: columns, at least 2.
        couplings: how many; an even number.
        hidden: widths of each one's network, an `nn.mlp`.
        seed: of the halves that stay. Those of the first pair are the even and the odd columns,
            those of the others are drawn.

    Raises:
        ValueError: if an argument is not as described.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), arXiv:1605.08803; without their batch norm.

    >>> flow = real_nvp(2, couplings=2)
    >>> params = flow.init(jax.random.key(0), jnp.zeros((1, 2)))
    >>> flow.forward(params, jnp.array([[3.0, 4.0]]))[0].tolist()
    [[3.0, 4.0]]
    """
    size, couplings = _sizes(size, couplings=couplings)
    require(couplings % 2 == 0, "an even number of couplings", couplings)
    random = np.random.default_rng(seed)
    flows = []
    for i in range(couplings // 2):
        columns = np.arange(size) if i == 0 else random.permutation(size)
        mask = columns % 2 == 0
        flows += [_coupling(mask, hidden), _coupling(~mask, hidden)]
    return chain(flows)


def glow(size: int, *, steps: int = 8, hidden: Sequence[int] = (64, 64)) -> Flow:
    """Steps of `activation_norm`, `invertible_convolution` and a coupling of the first half.

    Args:
        size: columns, at least 2.
        steps: how many.
        hidden: as in `real_nvp`.

    Raises:
        ValueError: if an argument is not as described.

    Reference:
        Kingma and Dhariwal (2018), arXiv:1807.03039, figure 2a, of rows in the place of images.

    >>> x = jax.random.normal(jax.random.key(0), (5, 3))
    >>> flow = glow(3, steps=2)
    >>> params = flow.init(jax.random.key(1), x)
    >>> flow.forward(params, x)[1].shape
    (5,)
    """
    size, steps = _sizes(size, steps=steps)
    mask = np.arange(size) < size // 2
    flows = []
    for _ in range(steps):
        flows += [activation_norm(size), invertible_convolution(size), _coupling(mask, hidden)]
    return chain(flows)


def log_likelihood(flow: Flow, x: Any) -> Model:
    """A flow from a distribution to the standard normal one, as a network that tells log p(x).

    `training.supervised(log_likelihood(flow, x), negative_log_likelihood, ...)` trains it; samples
    are `flow.inverse(params, z)` of standard normal z.

    Args:
        flow: examples to noise.
        x: a batch of examples, for the first parameters; not all of one value.

    Returns:
        The model, `x -> (batch,)`, in nats.

    Raises:
        ValueError: if it is no flow.

    >>> model = log_likelihood(real_nvp(2), jnp.zeros((1, 2)))
    >>> params, state = model.init(jax.random.key(0))
    >>> float(model.apply(params, state, jnp.zeros((1, 2)))[0][0])  # -log 2π
    -1.8378770351409912
    """
    require(isinstance(flow, Flow), "a Flow", type(flow).__name__)
    example = x

    def init(key, x=None):
        return flow.init(key, jnp.asarray(example if x is None else x)), {}

    def apply(params, model_state, x, *, train=False, key=None):  # noqa: ARG001
        z, log_determinant = flow.forward(params, x)
        normal = -(z**2 + math.log(2 * math.pi)) / 2
        return _total(normal) + log_determinant, model_state

    return Model(init, apply)


def negative_log_likelihood(outputs: jax.Array, batch: Batch) -> jax.Array:
    """The loss of a network that tells log p(x), `(batch,)` in nats."""
    del batch
    return -outputs


def dequantize(x: Any, key: jax.Array, levels: int = 256) -> jax.Array:
    """Whole numbers as numbers of [0, 1], drawn evenly from the width of each level.

    The mean log-likelihood of these is at most that of the levels themselves.

    Args:
        x: from 0 to levels − 1.
        key: of the draws; anew at each step, by `augmentation.augmented`.
        levels: how many there are.

    Raises:
        ValueError: if the numbers are not as described (not while they are traced).

    Reference:
        Theis, van den Oord and Bethge (2016), arXiv:1511.01844, section 3.1.

    >>> x = dequantize(jnp.array([0, 255]), jax.random.key(0))
    >>> bool(x[0] < 1 / 256), bool(x[1] >= 255 / 256)
    (True, True)
    """
    levels = require_positive_int("levels", levels)
    x = jnp.asarray(x, jnp.float32)
    if not isinstance(x, Tracer) and x.size:
        known = np.asarray(x)
        whole = known.min() >= 0 and known.max() < levels and (known == known.round()).all()
        found = f"numbers from {known.min()} to {known.max()}"
        require(bool(whole), f"whole numbers from 0 to {levels - 1}", found)
    return (x + jax.random.uniform(key, x.shape)) / levels


def bits_per_dimension(log_likelihood: Any, size: int, levels: int = 256) -> jax.Array:
    """What a density spends on each number of an example, in bits.

    Args:
        log_likelihood: of `dequantize`d examples, in nats.
        size: numbers in an example.
        levels: as in `dequantize`.

    Raises:
        ValueError: if a number is not positive.

    >>> float(bits_per_dimension(0.0, 784))  # an even density spends them all
    8.0
    """
    size, levels = require_positive_int("size", size), require_positive_int("levels", levels)
    return -jnp.asarray(log_likelihood) / (size * math.log(2)) + math.log2(levels)


def _coupling(mask: np.ndarray, hidden: Sequence[int]) -> Flow:
    """One whose network puts out zeros at first."""
    net = nn.mlp([int(mask.sum()), *hidden, 2 * int((~mask).sum())])
    last = f"dense_{len(hidden)}"

    def init(key, x=None):
        params, state = net.init(key, x)
        return {**params, last: jax.tree.map(jnp.zeros_like, params[last])}, state

    return coupling(Model(init, net.apply), mask)


def _sizes(size: int, **count: int) -> tuple[int, int]:
    require(require_positive_int("size", size) > 1, "at least 2 columns", size)
    ((name, number),) = count.items()
    return size, require_positive_int(name, number)


def _columns(x: Any, size: int) -> jax.Array:
    x = jnp.asarray(x)
    fits = x.ndim > 1 and x.shape[-1] == size
    require(fits, f"examples of shape (batch, ..., {size})", x.shape)
    return x


def _total(values: jax.Array) -> jax.Array:
    """The sum over all of each example."""
    return values.reshape(len(values), -1).sum(1)
