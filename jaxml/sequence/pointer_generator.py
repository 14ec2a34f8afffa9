"""Copying: words of the source may be put out, those outside the vocabulary too."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxml.core.checks import require, require_positive_int
from jaxml.core.types import Batch
from jaxml.nn.seq2seq import Seq2Seq
from jaxml.sequence.arrays import require_token, require_tokens


def pointer_generator(network: Seq2Seq, vocabulary: int, *, extra: int, unknown: int) -> Seq2Seq:
    """A network that either puts out a word of its vocabulary or points at one of the source.

    The probability of a word is p · (that of the network) + (1 − p) · (the attention of the
    decoder's last layer to all places where the source has the word), with a p for each token.
    So it can put out words that the network itself has no output for: with tokens from
    `vocabulary` on, of which the network sees all as `unknown`.

    Args:
        network: from tokens to tokens, of at least `vocabulary` inputs and `vocabulary` + 1
            outputs, the last of which is the logit of p; `nn.transformer` and
            `nn.recurrent_seq2seq` are of this kind.
        vocabulary: its words, those that begin and end among them. They are the same in source
            and target.
        extra: how many words outside the vocabulary a source may have, see `extended`; none if the
            vocabulary is of parts of words.
        unknown: the word of the vocabulary that stands for them where the network reads.

    Returns:
        A network with the parameters of the one given, to be trained and decoded as that is; its
        outputs are the log-probabilities of `vocabulary` + `extra` words. (Those that can be
        neither written nor copied have about 1e-38.)

    Raises:
        ValueError: if an argument is not as described; by its functions, if the network has another
            number of outputs, or a source has other tokens.

    Reference:
        See, Liu and Manning (2017), arXiv:1704.04368, section 2.2; p is an output of the network
        here, in the place of equation 8, and so depends on all that its words depend on.

    >>> from jaxml import nn
    >>> network = nn.recurrent_seq2seq(6, 7, width=8)
    >>> copying = pointer_generator(network, 6, extra=2, unknown=1)
    >>> params, state = copying.init(jax.random.key(0))
    >>> given = (jnp.array([[5, 7, 6]]), None, jnp.array([[2, 6]]))
    >>> jnp.exp(copying.apply(params, state, given)[0]).sum(-1).round(4)
    Array([[1., 1.]], dtype=float32)
    """
    look = network.look
    require(look is not None, "a network that tells where it looks", "one without `look`")
    assert look is not None
    vocabulary = require_positive_int("vocabulary", vocabulary)
    unknown = require_token("unknown", unknown, vocabulary)
    size = vocabulary + _count(extra)

    def seen(tokens):
        return jnp.where(jnp.asarray(tokens) < vocabulary, tokens, unknown)

    def looked(params, given, **mode):
        x, x_length, previous = given
        x = require_tokens("sources", x, vocabulary=size)
        logits, attention = look(params, (seen(x), x_length, seen(previous)), **mode)
        return mixture(logits, attention[..., -1, :], x, size), attention

    def apply(params, model_state, given, **mode):
        return looked(params, given, **mode)[0], model_state

    def encode(params, x, x_length=None):
        x = require_tokens("sources", x, vocabulary=size)
        return {"seen": network.encode(params, seen(x), x_length), "x": x}

    def start(memory, steps):
        return {"network": network.start(memory["seen"], steps), "x": memory["x"]}

    def step(params, tokens, cache):
        logits, own, attention = network.step(params, seen(tokens), cache["network"])
        found = mixture(logits[:, None], attention[:, None, -1], cache["x"], size)
        return found[:, 0], {**cache, "network": own}, attention

    return Seq2Seq(network.init, apply, encode, start, step, looked)


def mixture(logits: jax.Array, attention: jax.Array, x: jax.Array, size: int) -> jax.Array:
    """The log-probabilities of words and of those that are copied.

    Args:
        logits: `(batch, t, vocabulary + 1)`, the last that of generating.
        attention: to the source, `(batch, t, n)`.
        x: the source `(batch, n)`, tokens below `size`.
        size: of the extended vocabulary.

    Raises:
        ValueError: if there are not so many logits.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    words, switch = logits[..., :-1], logits[..., -1:]
    beyond = size - words.shape[-1]
    require(beyond >= 0, f"a network of at most {size + 1} outputs", logits.shape[-1])
    tiny = jnp.finfo(logits.dtype).tiny
    empty = jnp.zeros((logits.shape[1], size), logits.dtype)
    copied = jax.vmap(lambda weights, x: empty.at[:, x].add(weights))(attention, x)
    # above 0, where a logarithm and its gradient are finite
    copied = jax.nn.log_sigmoid(-switch) + jnp.log(jnp.maximum(copied, tiny))
    written = jax.nn.log_sigmoid(switch) + jax.nn.log_softmax(words)
    written = jnp.pad(written, ((0, 0), (0, 0), (0, beyond)), constant_values=jnp.log(tiny))
    return jnp.logaddexp(written, copied)


def extended(
    data: Batch, vocabulary: int, *, extra: int, unknown: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Words outside the vocabulary numbered anew in each row, in the order of the source.

    Args:
        data: with `"x"` `(N, n)` and, where there are targets, `"y"` `(N, t)`: the words' numbers,
            as large as one likes; those below `vocabulary` are words of it.
        vocabulary: as in `pointer_generator`, and so what follows.
        extra: how many words outside it a source may have.
        unknown: what stands for words of the target that are neither in it nor in the source.

    Returns:
        The data with tokens below `vocabulary` + `extra`, and the words that those from
        `vocabulary` on stand for in each row `(N, extra)`, −1 where there is none.

    Raises:
        ValueError: if a source has more such words, or the numbers are none.

    >>> data = {"x": np.array([[5, 99, 70, 99]]), "y": np.array([[70, 5, 80]])}
    >>> found, words = extended(data, 10, extra=3, unknown=1)
    >>> found["x"].tolist(), found["y"].tolist(), words.tolist()
    ([[5, 10, 11, 10]], [[11, 5, 1]], [[99, 70, -1]])
    """
    vocabulary = require_positive_int("vocabulary", vocabulary)
    extra = _count(extra)
    unknown = require_token("unknown", unknown, vocabulary)
    arrays = {name: np.asarray(data[name]) for name in ("x", "y") if name in data}
    require("x" in arrays, "data with sources 'x'", sorted(data))
    for name, array in arrays.items():
        require_tokens(name, array, rows=len(arrays["x"]))
    words = np.full((len(arrays["x"]), extra), -1)
    found = {name: array.astype(np.int32) for name, array in arrays.items()}
    for i, row in enumerate(arrays["x"]):
        outside = list(dict.fromkeys(row[row >= vocabulary].tolist()))
        expected = f"at most {extra} words outside the vocabulary in a source"
        require(len(outside) <= extra, expected, f"{len(outside)} in that at {i}")
        words[i, : len(outside)] = outside
        number = {word: vocabulary + k for k, word in enumerate(outside)}
        for name, array in arrays.items():
            far = array[i] >= vocabulary
            found[name][i, far] = [number.get(word, unknown) for word in array[i, far].tolist()]
    return {**data, **found}, words


def _count(extra: Any) -> int:
    whole = not isinstance(extra, bool) and hasattr(extra, "__index__") and int(extra) >= 0
    require(whole, "extra to be a whole number of at least 0", repr(extra))
    return int(extra)
