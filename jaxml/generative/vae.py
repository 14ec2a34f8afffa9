"""Variational auto-encoders: a code with a distribution, and bounds on the likelihood of data."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Algorithm, Batch, Model
from jaxml.generative.autoencoder import check_both, start_both
from jaxml.training import supervised
from jaxml.training.batches import expect, of_batch
from jaxml.training.supervised_learning import number_of


class Likelihood(NamedTuple):
    """What a decoder's outputs say of data, each number on its own given the code.

    Attributes:
        params: its own that are trained, `{}` for none.
        log_density: `(params, outputs, x) -> ` log p of each number, all constants in.
        mean: `outputs -> ` what is expected of the data.
        kind: of the data, `"numbers"` or `"probabilities"`, which are from 0 to 1.
    """

    params: dict[str, Any]
    log_density: Callable[[Any, jax.Array, jax.Array], jax.Array]
    mean: Callable[[jax.Array], jax.Array]
    kind: str


def bernoulli() -> Likelihood:
    """Outputs are the logits of data that are 0 or 1.

    Data between the two count as the probability of a 1: the value is then the mean over what
    might be drawn from them, and no density of theirs.

    >>> likelihood = bernoulli()
    >>> float(likelihood.log_density({}, jnp.zeros(()), jnp.ones(())))  # -log 2
    -0.6931471824645996
    """

    def log_density(_: Any, outputs: jax.Array, x: jax.Array) -> jax.Array:
        return x * outputs - jax.nn.softplus(outputs)

    return Likelihood({}, log_density, jax.nn.sigmoid, "probabilities")


def gaussian(deviation: float | None = None) -> Likelihood:
    """Outputs are the means of data, which have one standard deviation around them.

    Args:
        deviation: in the units of the data; by default it is trained, as `log_variance`, from 1.

    Raises:
        ValueError: if it is not above 0.

    >>> likelihood = gaussian(1.0)
    >>> float(likelihood.log_density({}, jnp.zeros(()), jnp.zeros(())))  # -log(2 pi)/2
    -0.9189385175704956
    """
    if deviation is not None:
        require(0 < deviation < float("inf"), "a standard deviation above 0", deviation)
    params = {"log_variance": np.float32(0)} if deviation is None else {}

    def log_density(own: Any, outputs: jax.Array, x: jax.Array) -> jax.Array:
        log_variance = own["log_variance"] if deviation is None else 2 * np.log(deviation)
        square = (x - outputs) ** 2 * jnp.exp(-log_variance)
        return -0.5 * (square + log_variance + np.log(2 * np.pi))

    return Likelihood(params, log_density, lambda outputs: outputs, "numbers")


class ELBO(NamedTuple):
    """The two parts of a lower bound on log p(x), in nats, one value an example.

    Attributes:
        reconstruction: the mean of log p(x|z) over codes z of the posterior, all constants in.
        kl: KL(q(z|x) ‖ p(z)), of the posterior from the standard normal prior: the rate.
    """

    reconstruction: jax.Array
    kl: jax.Array

    @property
    def value(self) -> jax.Array:
        """The bound: `reconstruction` less `kl`."""
        return self.reconstruction - self.kl


def vae(
    encoder: Model,
    decoder: Model,
    likelihood: Likelihood,
    optimizer: optax.GradientTransformation,
    *,
    beta: Any = 1.0,
    binarize: bool = False,
    l2: Any = 0.0,
) -> Algorithm:
    """Maximise the lower bound on the likelihood, the posterior being normal and diagonal.

    Args:
        encoder: data -> `(batch, 2 codes)`: means of the code, then logarithms of its variances.
        decoder: codes `(batch, codes)` -> outputs shaped as the data.
        likelihood: `bernoulli()` or `gaussian(...)`.
        optimizer: of all parameters.
        beta: what the divergence from the prior counts; 1 for the bound.
        binarize: whether each step draws its data as 0 or 1, with those in [0, 1] as the
            probabilities.
        l2: as in `training.supervised`.

    Returns:
        An algorithm on batches with `"x"`: that of `training.supervised`, with one code drawn for
        each example and step. The parameters are `{"encoder": ..., "decoder": ...,
        "likelihood": ...}`. Metrics: `loss`, `gradient_norm`, and the parts of the bound,
        `reconstruction` and `kl` (nats an example). `training.full_loss` has no randomness: its
        mean over codes is that over the points of `cubature`, which is exact where log p(x|z) is a
        polynomial in z of up to the third degree, as with a linear decoder and `gaussian`; there
        the data are not drawn.

    Raises:
        ValueError: if an argument is not as described; by `fit`, if data are outside [0, 1] that
            must not be; when the encoder's outputs have no two halves, or the decoder's are not
            shaped as the data.

    Reference:
        Kingma and Welling (2014), arXiv:1312.6114, equation 10 and appendix B; Higgins et al.
        (2017), "beta-VAE: learning basic visual concepts with a constrained variational
        framework".

    >>> from jaxml import nn
    >>> algorithm = vae(nn.linear(6, 4), nn.linear(2, 6), gaussian(), optax.adam(1e-3))
    >>> state = algorithm.init(jax.random.key(0))
    >>> state, metrics = algorithm.step(state, {"x": jnp.ones((8, 6))}, jax.random.key(1))
    >>> sorted(state.params), sorted(metrics)
    (['decoder', 'encoder', 'likelihood'], ['gradient_norm', 'kl', 'loss', 'reconstruction'])
    """
    beta = number_of("beta", beta)
    model = _network(encoder, decoder, likelihood, binarize)
    kinds = [likelihood.kind, *["probabilities"] * binarize]

    def parts(found: _Coded, batch: Batch) -> ELBO:
        for kind in kinds:
            expect(of_batch(batch, "x"), kind)
        return _parts(likelihood, found)

    def values(found: _Coded, batch: Batch) -> jax.Array:
        of = parts(found, batch)
        return beta * of.kl - of.reconstruction

    metrics = {
        "reconstruction": lambda found, batch: parts(found, batch).reconstruction,
        "kl": lambda found, batch: parts(found, batch).kl,
    }
    return supervised(model, values, optimizer, metrics=metrics, l2=l2)


def elbo(
    encoder: Model,
    decoder: Model,
    likelihood: Likelihood,
    state: Any,
    x: Any,
    *,
    key: jax.Array,
    samples: int = 1,
) -> ELBO:
    """The lower bound on log p(x), the networks in evaluation mode.

    Args:
        encoder: as in `vae`, and so what follows.
        decoder: likewise.
        likelihood: likewise.
        state: of its training.
        x: data, `(batch, ...)`, as they are: those of `binarize` are to be drawn before.
        key: of the codes.
        samples: codes for each example, over which the reconstruction is the mean.

    Raises:
        ValueError: if data are outside [0, 1] that must not be; as `vae`.

    Reference:
        Kingma and Welling (2014), arXiv:1312.6114, equation 3.

    >>> from jaxml import nn
    >>> nets = nn.linear(6, 4), nn.linear(2, 6), bernoulli()
    >>> state = vae(*nets, optax.adam(1e-3)).init(jax.random.key(0))
    >>> elbo(*nets, state, jnp.ones((8, 6)), key=jax.random.key(1)).kl.shape
    (8,)
    """
    x = _data(likelihood, x)
    samples = require_positive_int("samples", samples)

    def noise(shape, dtype):
        return jax.random.normal(key, (shape[0], samples, shape[1]), dtype)

    run = functools.partial(_run, encoder, decoder)
    return _parts(likelihood, run(state.params, state.model_state, x, noise)[0])


def importance_bound(
    encoder: Model,
    decoder: Model,
    likelihood: Likelihood,
    state: Any,
    x: Any,
    *,
    key: jax.Array,
    samples: int,
) -> jax.Array:
    """A tighter bound on log p(x): log of the mean of p(x, z)/q(z|x) over k codes each.

    Its expectation grows with k, from that of `elbo` at 1, and converges to log p(x).

    Args:
        encoder: as in `vae`, and so what follows.
        decoder: likewise.
        likelihood: likewise.
        state: of its training.
        x: data, `(batch, ...)`, as in `elbo`. Codes are taken one after the other, the examples at
            once.
        key: of the codes.
        samples: k.

    Returns:
        In nats, one value an example.

    Raises:
        ValueError: as `elbo`.

    Reference:
        Burda, Grosse and Salakhutdinov (2016), arXiv:1509.00519, equation 8.

    >>> from jaxml import nn
    >>> nets = nn.linear(6, 4), nn.linear(2, 6), bernoulli()
    >>> state = vae(*nets, optax.adam(1e-3)).init(jax.random.key(0))
    >>> importance_bound(*nets, state, jnp.ones((8, 6)), key=jax.random.key(1), samples=5).shape
    (8,)
    """
    x = _data(likelihood, x)
    samples = require_positive_int("samples", samples)
    posterior = _encoded(encoder, state.params, state.model_state, x)[0]
    mean, log_variance = posterior

    def add(total, key):
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        z = mean + jnp.exp(log_variance / 2) * noise
        of = state.params["decoder"], state.model_state["decoder"]
        outputs = _shaped(decoder.apply(*of, z)[0], x.shape)
        density = likelihood.log_density(state.params["likelihood"], outputs, x)
        # of log p(z) and log q(z|x) the constants are the same
        ratio = 0.5 * (noise**2 + log_variance - z**2).sum(1)
        return jnp.logaddexp(total, density.reshape(len(x), -1).sum(1) + ratio), None

    start = jnp.full(len(x), -jnp.inf, mean.dtype)
    total, _ = jax.lax.scan(add, start, jax.random.split(key, samples))
    return total - np.log(samples)


def cubature(dimensions: int) -> np.ndarray:
    """Points whose mean of any polynomial of up to the third degree is that of a standard normal.

    Args:
        dimensions: d.

    Returns:
        `(2d, d)`, √d to either side along each axis.

    Reference:
        Arasaratnam and Haykin (2009), IEEE Transactions on Automatic Control 54:1254-1269, section
        III.C.

    >>> points = cubature(3)
    >>> points.shape, bool(np.allclose(points.T @ points / 6, np.eye(3)))
    ((6, 3), True)
    """
    d = require_positive_int("dimensions", dimensions)
    return np.sqrt(d) * np.concatenate([np.eye(d), -np.eye(d)])


class _Coded(NamedTuple):
    """What a network puts out, with one leading axis of examples.

    Attributes:
        x: the data that it is of.
        mean: of the posterior, `(batch, codes)`.
        log_variance: likewise.
        outputs: the decoder's, `(batch, samples, ...)`.
        own: the likelihood's parameters, the same for each example.
    """

    x: Any
    mean: Any
    log_variance: Any
    outputs: Any
    own: Any


def _network(encoder: Model, decoder: Model, likelihood: Likelihood, binarize: bool) -> Model:
    check_both(encoder, decoder)
    known = isinstance(likelihood, Likelihood)
    require(known, "a Likelihood such as bernoulli()", repr(likelihood))
    run = functools.partial(_run, encoder, decoder)

    def init(key, x=None):  # noqa: ARG001 - they know the shapes of their inputs
        params, model_state = start_both(encoder, decoder, key)
        return params | {"likelihood": jax.tree.map(jnp.asarray, likelihood.params)}, model_state

    def apply(params, model_state, x, *, train=False, key=None):
        if not train:

            def points(shape, dtype):
                return jnp.asarray(cubature(shape[1]), dtype)[None]

            return run(params, model_state, x, points)
        require(key is not None, "key= for codes that are drawn", "None")
        assert key is not None
        key_x, key_code, *keys = jax.random.split(key, 4)
        if binarize:
            x = jax.random.bernoulli(key_x, x).astype(x.dtype)

        def drawn(shape, dtype):
            return jax.random.normal(key_code, (shape[0], 1, shape[1]), dtype)

        return run(params, model_state, x, drawn, train=True, keys=keys)

    return Model(init, apply)


def _run(encoder, decoder, params, model_state, x, noise, *, train=False, keys=(None, None)):
    """The networks on data: a `_Coded` and their new states.

    `noise` makes, of the shape and dtype of the codes, `(batch or 1, samples, codes)`.
    """
    x = jnp.asarray(x)
    encoded = _encoded(encoder, params, model_state, x, train=train, key=keys[0])
    (mean, log_variance), first = encoded
    drawn = noise(mean.shape, mean.dtype)
    z = mean[:, None] + jnp.exp(log_variance / 2)[:, None] * drawn
    of = params["decoder"], model_state["decoder"]
    outputs, second = decoder.apply(*of, z.reshape(-1, z.shape[2]), train=train, key=keys[1])
    count = z.shape[1]
    outputs = _shaped(outputs, (len(x) * count, *x.shape[1:]))
    outputs = outputs.reshape(len(x), count, *x.shape[1:])
    own = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (len(x), *jnp.shape(leaf))), params["likelihood"]
    )
    states = {"encoder": first, "decoder": second}
    return _Coded(x, mean, log_variance, outputs, own), states


def _encoded(encoder, params, model_state, x, **mode):
    """Mean and log-variance of the posterior, and the encoder's new state."""
    of = params["encoder"], model_state["encoder"]
    found, new = encoder.apply(*of, x, **mode)
    halves = found.ndim == 2 and len(found) == len(x) and found.shape[1] % 2 == 0
    require(halves, "an encoder of outputs (batch, 2 codes)", f"shape {found.shape}")
    return jnp.split(found, 2, axis=1), new


def _shaped(outputs: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    require(outputs.shape == shape, f"a decoder of outputs {shape}, as the data", outputs.shape)
    return outputs


def _parts(likelihood: Likelihood, found: _Coded) -> ELBO:
    def of_example(own, outputs, x):
        densities = likelihood.log_density(own, outputs, x[None])
        return densities.reshape(len(outputs), -1).sum(1).mean()

    reconstruction = jax.vmap(of_example)(found.own, found.outputs, found.x)
    mean, log_variance = found.mean, found.log_variance
    kl = 0.5 * (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum(1)
    return ELBO(reconstruction, kl)


def _data(likelihood: Likelihood, x: Any) -> jax.Array:
    """Data of a call that is not traced, checked."""
    known = isinstance(likelihood, Likelihood)
    require(known, "a Likelihood such as bernoulli()", repr(likelihood))
    if likelihood.kind == "probabilities" and not isinstance(x, Tracer):
        values = np.asarray(x)
        inside = values.size > 0 and values.min() >= 0 and values.max() <= 1
        got = f"{values.min()} to {values.max()}" if values.size else "none"
        require(inside, "data from 0 to 1", got)
    return jnp.asarray(x)
