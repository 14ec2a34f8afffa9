"""summary against closed forms."""

import io
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from rich.console import Console

from jaxml import nn
from jaxml.core.types import Model


def rows(table):
    return {row.name: (row.output, row.parameters, row.flops) for row in table.rows}


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("batch", [1, 7])
def test_mlp_closed_form(norm, batch):
    widths = [6, 5, 4, 3]
    model = nn.mlp(widths, norm=norm, dropout=0.1, residual=True)
    x = None if batch == 1 else jax.ShapeDtypeStruct((batch, 6), jnp.float32)
    table = nn.summary(model, x)
    params, _ = model.init(jax.random.key(0))
    pairs = list(itertools.pairwise(widths))
    assert table.flops == sum(2 * batch * a * b for a, b in pairs)
    assert table.parameters == sum(leaf.size for leaf in jax.tree.leaves(params))
    expected = {
        f"dense_{i}": ((batch, b), (a + 1) * b, 2 * batch * a * b) for i, (a, b) in enumerate(pairs)
    }
    if norm is not None:
        expected |= {f"norm_{i}": ((batch, b), 2 * b, 0) for i, (_, b) in enumerate(pairs[:-1])}
    assert rows(table) == expected
    assert [row.name for row in table.rows] == sorted(expected, key=lambda name: (name[-1], name))


class Everything(linen.Module):
    """A convolution, attention, a recurrent net, a method and a product of its own."""

    def setup(self):
        self.conv = linen.Conv(8, (3, 3), padding="VALID")
        self.attention = linen.MultiHeadDotProductAttention(2)
        self.recurrent = linen.RNN(linen.GRUCell(5))
        self.head = linen.Dense(3)
        self.scale = self.param("scale", linen.initializers.ones, (3, 3))

    def encode(self, x):
        return self.attention(linen.relu(self.conv(x)).reshape(len(x), -1, 8))

    def __call__(self, x):
        return self.head(self.recurrent(self.encode(x))) @ self.scale


def test_layers_of_many_kinds():
    table = nn.summary(nn.from_linen(Everything(), jnp.zeros((2, 6, 6, 4))))
    B, T = 2, 16
    found = rows(table)
    assert found["conv"] == ((B, 4, 4, 8), 9 * 4 * 8 + 8, 2 * B * T * 8 * 9 * 4)
    assert found["attention/query"] == ((B, T, 2, 4), 8 * 8 + 8, 2 * B * T * 8 * 8)
    assert found["attention"][1:] == (0, 2 * (2 * B * T * T * 8))  # scores and averages
    cell = {name: row[1:] for name, row in found.items() if name.startswith("recurrent/cell/")}
    assert sum(flops for _, flops in cell.values()) == T * 2 * B * (3 * 8 * 5 + 3 * 5 * 5)
    assert sum(size for size, _ in cell.values()) == 3 * (8 * 5 + 5) + 3 * 5 * 5 + 5
    assert found["head"] == ((B, T, 3), 18, 2 * B * T * 5 * 3)
    assert found["Everything"] == ((B, T, 3), 9, 2 * B * T * 3 * 3)
    assert (len(cell), len(found)) == (6, 6 + 5 + 3)  # conv, 5 of attention, head, scale


def by_hand(function):
    return Model(
        lambda key, x=None: ({"w": jnp.zeros((4, 4))}, {}),
        lambda params, state, x, train=False, key=None: (function(params["w"], x), state),
    )


PRODUCT = 2 * 3 * 4 * 4


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (lambda w, x: jax.lax.scan(lambda h, _: (h @ w, None), x, length=5)[0], 5),
        (lambda w, x: jax.lax.fori_loop(0, 5, lambda _, h: h @ w, x), 5),
        (lambda w, x: jax.lax.while_loop(lambda h: h.sum() < 9, lambda h: h @ w, x), 1),
        (lambda w, x: jax.lax.cond(x.sum() > 0, lambda: x @ w @ w, lambda: x @ w), 2),
        (lambda w, x: jax.jit(jax.checkpoint(lambda x: x @ w))(x), 1),
        (lambda w, x: jax.vmap(lambda x: x @ w)(x), 1),
    ],
    ids=["scan", "fori_loop", "while", "cond", "jit", "vmap"],
)
def test_programs_without_names_have_one_row(function, products):
    table = nn.summary(by_hand(function), jnp.ones((3, 4)))
    assert rows(table) == {"model": ((3, 4), 16, products * PRODUCT)}


@pytest.mark.parametrize(
    ("features", "groups", "padding", "output"), [(6, 1, "SAME", 25), (6, 2, "VALID", 9)]
)
def test_convolution(features, groups, padding, output):
    module = linen.Conv(features, (3, 3), padding=padding, feature_group_count=groups)
    table = nn.summary(nn.from_linen(module, jnp.zeros((2, 5, 5, 4))))
    assert table.flops == 2 * 2 * output * features * 9 * 4 // groups


def test_nnx():
    model = nn.from_nnx(lambda rngs: nnx.Linear(4, 3, rngs=rngs))
    assert rows(nn.summary(model, np.zeros((2, 4), np.float32))) == {"model": ((2, 3), 15, 48)}
    with pytest.raises(ValueError, match="example batch x"):
        nn.summary(model)


def test_parameters_of_ones_own():
    # A kernel kept for 3 outputs where init would have made 2: what counts is what is given.
    params = {"dense_0": {"kernel": np.zeros((4, 3)), "bias": np.zeros(3)}}
    model = nn.linear(4, 3)._replace(init=nn.linear(4, 2).init)
    assert nn.summary(model, params=params).parameters == 15


def test_table():
    table = nn.summary(nn.mlp([784, 1024, 10]))
    lines = str(table).splitlines()
    assert lines[0].split() == ["layer", "output", "parameters", "FLOPs"]
    assert lines[-1].split() == ["total", "814,090", "1,626,112"]
    assert len({len(line) for line in lines if "─" not in line}) == 1  # aligned
    console = Console(file=io.StringIO(), width=60)
    with console.capture() as capture:
        console.print(table)
    assert "1,626,112" in capture.get()
