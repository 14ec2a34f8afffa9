"""Back-translation by a reverse network that is known."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn, sequence
from jaxml.sequence import decoding

BEGIN, END, OUTPUTS = 8, 9, 10
PAIRS = {
    "x": np.array([[7, 7, 7, 7, 7]]), "x_length": np.array([5]),
    "y": np.array([[1, 2]]), "y_length": np.array([2]),
}  # fmt: skip
TARGETS = {"y": np.array([[3, 1, 2], [4, 0, 0], [2, 3, 0]]), "y_length": np.array([3, 1, 2])}


def step(params, tokens, cache):
    """Puts out the target that it reads, each token doubled and less 1, and ends before a 4.

    The second best is a 6.
    """
    at = cache["at"]
    read = jnp.take_along_axis(cache["x"], jnp.minimum(at, 2)[:, None], 1)[:, 0]
    ends = (at >= cache["x_length"]) | (read == 4)
    token = jnp.where(ends, END, 2 * read - 1)
    logits = jnp.zeros((len(at), OUTPUTS)).at[:, 6].set(3.0)
    return logits.at[jnp.arange(len(at)), token].set(9.0), {**cache, "at": at + 1}, None


def start(memory, steps):
    return {**memory, "at": jnp.zeros(len(memory["x"]), jnp.int32)}


def encode(params, x, x_length=None):
    return {"x": jnp.asarray(x), "x_length": jnp.asarray(x_length)}


def none(*given):
    raise NotImplementedError


REVERSE = nn.Seq2Seq(none, none, encode, start, step)
make = functools.partial(
    sequence.back_translation, REVERSE, {}, begin=BEGIN, end=END, maximum_length=4
)


@pytest.mark.parametrize(
    "options", [{}, {"search": decoding.beam, "size": 2, "n_best": 2}, {"batch_size": 2}]
)
def test_what_is_read_stands_before_its_target(options):
    found = make(PAIRS, TARGETS, **options)
    known = {  # a 4 is read as nothing, and left out
        "x": [[7, 7, 7, 7, 7], [5, 1, 3, 0, 0], [3, 5, 0, 0, 0]], "x_length": [5, 3, 2],
        "y": [[1, 2, 0], [3, 1, 2], [2, 3, 0]], "y_length": [2, 3, 2],
    }  # fmt: skip
    assert {name: values.tolist() for name, values in found.items()} == known
    assert sequence.with_end(found, 7)["mask"].sum() == 3 + 4 + 3


def test_targets_that_are_all_read_as_nothing():
    found = make(PAIRS, {"y": np.array([[4]]), "y_length": np.array([1])})
    assert {name: values.tolist() for name, values in found.items()} == {
        name: values.tolist() for name, values in PAIRS.items()
    }


@pytest.mark.parametrize(
    ("pairs", "targets", "message"),
    [({"y": 0}, TARGETS, "pairs with x, x_length, y, y_length, got none of x, x_length, y_length"),
     (PAIRS, {"y": 0}, "targets with y, y_length, got none of y_length"),
     (PAIRS, {"y": np.zeros((0, 2), int), "y_length": np.zeros(0, int)}, "at least one source")],
)  # fmt: skip
def test_bad_input(pairs, targets, message):
    with pytest.raises(ValueError, match=message):
        make(pairs, targets)
