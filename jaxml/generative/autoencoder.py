"""Networks that give back what they are given, through a code between them."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxml.core.checks import require
from jaxml.core.types import Algorithm, Batch, DataLoss, Model, Params
from jaxml.training import losses, supervised
from jaxml.training.augmentation import Transform, augmented
from jaxml.training.batches import of_batch
from jaxml.training.loop import Sample
from jaxml.training.supervised_learning import number_of


class Reconstruction(NamedTuple):
    """What an auto-encoder makes of data.

    Attributes:
        outputs: the decoder's, shaped as the data.
        code: the encoder's, `(batch, ...)`.
    """

    outputs: Any
    code: Any


def autoencoder(
    encoder: Model,
    decoder: Model,
    optimizer: optax.GradientTransformation,
    *,
    loss: DataLoss = losses.mse,
    sparsity: Any = 0.0,
    l2: Any = 0.0,
) -> Algorithm:
    """Train two networks one after the other to give back what the first is given.

    Args:
        encoder: data -> codes.
        decoder: codes -> outputs shaped as the data.
        optimizer: of both.
        loss: of the outputs; `losses.sigmoid_cross_entropy` takes them as logits of data in [0, 1].
        sparsity: λ in λ times the sum of a code's absolute values, which leaves few that are not
            near 0; its mean over the examples is added.
        l2: as in `training.supervised`.

    Returns:
        An algorithm on batches with `"x"`: that of `training.supervised` with `"x"` as the targets,
        or `"y"` where a batch has it, as those of `corrupted` do. The parameters are
        `{"encoder": ..., "decoder": ...}`, and so is the model state. Metrics: besides
        `supervised`'s `reconstruction`, the loss without what is added.

    Raises:
        ValueError: if an argument is not as described; when the outputs are not shaped as the
            targets.

    Reference:
        Hinton and Salakhutdinov (2006), Science 313:504-507; Baldi and Hornik (1989), Neural
        Networks 2:53-58, of linear networks; Ng (2011), CS294A lecture notes "Sparse autoencoder",
        with the absolute values in the place of its divergence.

    >>> from jaxml import nn
    >>> algorithm = autoencoder(nn.linear(4, 2), nn.linear(2, 4), optax.adam(1e-3), sparsity=0.1)
    >>> state = algorithm.init(jax.random.key(0))
    >>> state, metrics = algorithm.step(state, {"x": jnp.ones((8, 4))}, jax.random.key(1))
    >>> sorted(state.params), sorted(metrics)
    (['decoder', 'encoder'], ['gradient_norm', 'loss', 'reconstruction'])
    """
    require(callable(loss), "a loss, (outputs, batch) -> values", repr(loss))
    sparsity = number_of("sparsity", sparsity)

    def reconstruction(found: Reconstruction, batch: Batch) -> jax.Array:
        targets = batch["y"] if "y" in batch else of_batch(batch, "x")
        return loss(found.outputs, {**batch, "y": targets})

    def values(found: Reconstruction, batch: Batch) -> jax.Array:
        value = reconstruction(found, batch)
        if not isinstance(sparsity, jax.Array) and sparsity == 0:
            return value
        return value + sparsity * jnp.abs(found.code).reshape(len(found.code), -1).sum(1)

    return supervised(
        _through(encoder, decoder),
        values,
        optimizer,
        metrics={"reconstruction": reconstruction},
        l2=l2,
    )


def reconstruct(encoder: Model, decoder: Model, state: Any, x: Any) -> Reconstruction:
    """Outputs and codes, the networks in evaluation mode.

    Args:
        encoder: as in `autoencoder`.
        decoder: likewise.
        state: of its training.
        x: data, `(batch, ...)`.

    >>> from jaxml import nn
    >>> nets = nn.linear(4, 2), nn.linear(2, 4)
    >>> state = autoencoder(*nets, optax.adam(1e-3)).init(jax.random.key(0))
    >>> jax.tree.map(jnp.shape, reconstruct(*nets, state, jnp.ones((3, 4))))
    Reconstruction(outputs=(3, 4), code=(3, 2))
    """
    return _through(encoder, decoder).apply(state.params, state.model_state, jnp.asarray(x))[0]


@functools.cache
def corrupted(sample: Sample, *transforms: Transform) -> Sample:
    """Batches whose `"x"` was changed, with what it was as `"y"`: to train on without noise.

    Args:
        sample: whose batches.
        transforms: of `training.augmentation`, such as `augmentation.noise(0.3)`, or one's own.

    Returns:
        A sampler; as in `sampling`, the same arguments give the same.

    Raises:
        ValueError: if there is no transform; as `augmentation.augmented`.

    Reference:
        Vincent et al. (2008), "Extracting and composing robust features with denoising
        autoencoders", section 2.3.

    >>> from jaxml.training import augmentation, sampling
    >>> sample = corrupted(sampling.epochs(2), augmentation.noise(0.1))
    >>> batch = sample({"x": jnp.zeros((6, 4))}, jax.random.key(0), 0)
    >>> bool((batch["x"] != 0).all()), bool((batch["y"] == 0).all())
    (True, True)
    """
    require(len(transforms) > 0, "a transform such as augmentation.noise(0.3)", "none")
    return augmented(sample, lambda batch, _: {**batch, "y": batch["x"]}, *transforms)


def start_both(encoder: Model, decoder: Model, key: jax.Array) -> tuple[Params, Any]:
    """First parameters and model states of both, by the names `"encoder"` and `"decoder"`."""
    keys = jax.random.split(key)
    first = {"encoder": encoder.init(keys[0]), "decoder": decoder.init(keys[1])}
    params, states = ({name: pair[i] for name, pair in first.items()} for i in range(2))
    return params, states


def check_both(encoder: Any, decoder: Any) -> None:
    """Raises `ValueError` for what are no networks."""
    for name, model in (("encoder", encoder), ("decoder", decoder)):
        require(isinstance(model, Model), f"{name} as a Model", type(model).__name__)


def _through(encoder: Model, decoder: Model) -> Model:
    """Both as one network, from data to a `Reconstruction`."""
    check_both(encoder, decoder)

    def init(key, x=None):  # noqa: ARG001 - they know the shapes of their inputs
        return start_both(encoder, decoder, key)

    def apply(params, model_state, x, *, train=False, key=None):
        keys = (None, None) if key is None else jax.random.split(key)
        of = [(params[name], model_state[name]) for name in ("encoder", "decoder")]
        code, first = encoder.apply(*of[0], x, train=train, key=keys[0])
        outputs, second = decoder.apply(*of[1], code, train=train, key=keys[1])
        return Reconstruction(outputs, code), {"encoder": first, "decoder": second}

    return Model(init, apply)
