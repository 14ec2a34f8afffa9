"""Training on one's own tokens in the place of some right ones: scheduled sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxml.core.checks import require, require_choice, require_positive_int
from jaxml.core.types import Algorithm, Batch, Params
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.sequence.arrays import is_known
from jaxml.sequence.teacher_forcing import forced, teacher_forcing

OWN = ("sample", "likeliest")

_PRNG_DATA = 150603099
"""Folded into a step's key, which itself is left for dropout."""


def scheduled_sampling(
    network: Seq2Seq,
    optimizer: optax.GradientTransformation,
    probability: float | Callable[[jax.Array], Any],
    *,
    begin: int,
    own: str = "sample",
    passes: int = 1,
    **options: Any,
) -> Algorithm:
    """Teacher forcing where each token before may be the network's own instead of the right one.

    A first pass behind the right tokens says what the network would have put out; a second one,
    which alone has a gradient, is given these tokens at places drawn at random. So it works for
    every network that takes all tokens at once. The own tokens of one pass stand behind right ones:
    with more passes each is made of the mixture of the pass before, and with as many as there are
    tokens they are those of decoding one by one.

    Args:
        network: from sequences to sequences.
        optimizer: as in `training.supervised`.
        probability: of an own token, or `step -> probability`, such as `optax.linear_schedule(0.0,
            0.5, 1000)`; less than 0 is as 0, more than 1 as 1.
        begin: the token before the first, which is always right.
        own: "sample", drawn by the network's probabilities, or "likeliest".
        passes: before the one that learns, without dropout.
        **options: as in `teacher_forcing`.

    Returns:
        The algorithm of `teacher_forcing`, but for the tokens that its updates are given: with
        probability 0 it is that. Its `loss` is that behind right tokens. Padding is never replaced.

    Raises:
        ValueError: if an argument is not as described; as `teacher_forcing`.

    Reference:
        Bengio et al. (2015), arXiv:1506.03099; Mihaylova and Martins (2019), arXiv:1906.07651, for
        two passes; Duckworth et al. (2019), arXiv:1906.04331, for more of them.

    >>> from jaxml import nn
    >>> network = nn.recurrent_seq2seq(5, 7, width=8)
    >>> rise = optax.linear_schedule(0.0, 0.5, 1000)
    >>> algorithm = scheduled_sampling(network, optax.adam(1e-3), rise, begin=5)
    """
    algorithm = teacher_forcing(network, optimizer, begin=begin, **options)
    if not callable(probability) and is_known(probability):
        number = isinstance(probability, int | float | np.number | jax.Array)
        valid = number and np.ndim(probability) == 0 and 0 <= probability <= 1
        require(valid, "a probability from 0 to 1, or a function of the step", repr(probability))
    require_choice("own", own, OWN)
    passes = require_positive_int("passes", passes)

    def step(state, batch, key):
        share = probability(state.step) if callable(probability) else probability
        drawing = jax.random.fold_in(key, _PRNG_DATA)
        previous = mixed(
            network, state.params, batch, share, drawing, begin=begin, own=own, passes=passes
        )
        return algorithm.step(state, {**batch, "previous": previous}, key)

    return algorithm._replace(step=step)


def mixed(
    network: Seq2Seq,
    params: Params,
    batch: Batch,
    probability: Any,
    key: jax.Array,
    *,
    begin: int,
    own: str,
    passes: int,
) -> jax.Array:
    """The token before each, some of them the network's own; see `scheduled_sampling`."""
    x, x_length, right = forced(batch, begin=begin)
    key_place, key_token = jax.random.split(key)
    replaced = jax.random.uniform(key_place, right.shape) < probability
    replaced = replaced.at[:, 0].set(False)
    if "mask" in batch:
        replaced = replaced.at[:, 1:].min(jnp.asarray(batch["mask"])[:, :-1] > 0)
    previous = right
    for _ in range(passes):
        logits, _ = network.apply(params, {}, (x, x_length, previous))
        # the same noise in each pass, so that what stands behind the same tokens is the same
        chosen = jax.random.categorical(key_token, logits) if own == "sample" else logits.argmax(-1)
        behind = jnp.roll(chosen, 1, axis=1).astype(right.dtype)
        previous = jnp.where(replaced, behind, right)
    return previous
