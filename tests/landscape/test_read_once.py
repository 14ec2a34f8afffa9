"""A public call reads its loss once, whatever it calls in turn, and compiles each program once.

To read is to trace twice: what a host draws anew would differ.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compilations

from jaxml import landscape
from jaxml.landscape.critical.scale import length_scale
from jaxml.training import losses

START = np.float32([0.9, -1.1])
DATA = {"x": np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32), "y": np.ones(12)}
# what is looked at on the way is more than one point, by more than one function
CALLS = {
    "find_minimum": lambda f, **how: landscape.find_minimum(f, START, **how),
    "explore": lambda f, **how: landscape.explore(f, START, searches=3, **how),
    "search_from": lambda f, **how: landscape.search_from(f, [START, -START], **how),
}


def plain(traced):
    def loss(w):
        traced.append(w.dtype)
        return ((w**2 - 1) ** 2).sum()

    return loss


def over_data(traced):
    def predict(w, batch):
        traced.append(w.dtype)
        return batch["x"] @ w

    return landscape.data_loss(predict, losses.mse, DATA)


@pytest.mark.slow
@pytest.mark.parametrize("float64", [None, False])
@pytest.mark.parametrize("make", [plain, over_data])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_one_reading(call, make, float64):
    traced = []
    loss = make(traced)
    for _ in range(2):  # at every call
        call(loss, float64=float64)
        assert traced == 2 * [jnp.float32 if float64 is False else jnp.float64]
        traced.clear()


@pytest.mark.slow
def test_a_reading_in_another_precision_is_none():
    """float64 is tried, found not to be possible, and the loss is read again in float32."""
    traced = []

    def loss(w):
        traced.append(w.dtype)
        return ((w.astype(jnp.float32) ** 2 - 1) ** 2).sum()

    with pytest.warns(UserWarning, match="computed in float32"):
        assert landscape.find_minimum(loss, START).dtype == np.float32
    assert traced == 2 * [jnp.float64] + 2 * [jnp.float32]


@pytest.mark.slow
@pytest.mark.parametrize("make", [plain, over_data])
def test_one_compilation(make):
    with compilations() as first:
        landscape.find_minimum(make([]), START[:1] if make is plain else START)
    ours = {"_descend", "_derivatives", "length_scale", "_changes"}
    assert {name: first[name] for name in ours if first[name] > 1} == {}
    with compilations() as second:
        landscape.find_minimum(make([]), START[:1] if make is plain else START)
    assert not second


def test_derivatives_are_compiled_few_times():
    """What takes a compiler long is every place in a program where the loss is differentiated."""
    line_search = importlib.import_module("jaxml.landscape.critical.escape")._line_search
    loss = jax.tree_util.Partial(lambda w: jnp.tanh(w).sum())
    one, senses = jnp.float32(1), np.float32([1, -1])
    copies = [
        program.as_text().count("stablehlo.tanh")
        for program in (
            length_scale.lower(loss, START),
            line_search.lower(loss, START, START, senses, one),
        )
    ]
    assert copies == [2, 5]
