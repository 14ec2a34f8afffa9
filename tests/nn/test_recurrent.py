"""Recurrent networks against PyTorch's, and what padding does to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import nn

LENGTHS = jnp.array([5, 2, 7])


def inputs():
    return jax.random.normal(jax.random.key(2), (3, 7, 3))


def made(**options):
    model = nn.rnn(3, 4, width=6, **options)
    return model, *model.init(jax.random.key(0))


@pytest.mark.oracle
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_equals_pytorch(cell):
    torch = pytest.importorskip("torch")
    model, params, state = made(cell=cell, bidirectional=True)
    theirs = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](
        3, 6, batch_first=True, bidirectional=True
    )
    gates = {"lstm": "ifgo", "gru": "rzn"}[cell]
    with torch.no_grad():
        for suffix, name in (("l0", "layer_0"), ("l0_reverse", "layer_0_backward")):
            own = params[f"{name}_cell"]
            for kind, side in (("ih", "i"), ("hh", "h")):
                parts = [own[side + gate] for gate in gates]
                kernels = np.concatenate([np.asarray(part["kernel"]).T for part in parts])
                biases = [np.asarray(part.get("bias", np.zeros(6))) for part in parts]
                getattr(theirs, f"weight_{kind}_{suffix}").copy_(torch.tensor(kernels))
                getattr(theirs, f"bias_{kind}_{suffix}").copy_(torch.tensor(np.concatenate(biases)))
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            torch.tensor(np.asarray(inputs())), torch.tensor(np.asarray(LENGTHS)),
            batch_first=True, enforce_sorted=False,
        )  # fmt: skip
        known, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    kernel, bias = params["output"]["kernel"], params["output"]["bias"]
    found = model.apply(params, state, (inputs(), LENGTHS))[0]
    seen = np.arange(7) < np.asarray(LENGTHS)[:, None]
    np.testing.assert_allclose(found[seen], (known.numpy() @ kernel + bias)[seen], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["each", "last"])
def test_padding_changes_nothing(output):
    model, params, state = made(cell="simple", output=output, bidirectional=True, layers=2)
    seen = jnp.arange(7) < LENGTHS[:, None]
    found, other = (
        model.apply(params, state, (jnp.where(seen[..., None], inputs(), fill), LENGTHS))[0]
        for fill in (0.0, 9.0)
    )
    rows = ... if output == "last" else seen
    np.testing.assert_array_equal(found[rows], other[rows])
    alone = model.apply(params, state, inputs()[1:2, :2])[0][0]
    np.testing.assert_allclose(alone, found[1] if output == "last" else found[1, :2], atol=1e-6)


def test_the_simple_cell_by_hand():
    model, params, state = made(cell="simple", output="last")
    own, h = params["layer_0_cell"], jnp.zeros(6)
    for x in inputs()[0]:
        h = jnp.tanh(x @ own["i"]["kernel"] + own["i"]["bias"] + h @ own["h"]["kernel"])
    known = h @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(model.apply(params, state, inputs())[0][0], known, atol=1e-6)


def test_refused():
    with pytest.raises(ValueError, match="cell to be one of gru, lstm, simple, got 'lsmt'"):
        nn.rnn(3, 4, cell="lsmt")
    with pytest.raises(ValueError, match="output to be one of each, last"):
        nn.rnn(3, 4, output="first")
    model, params, state = made()
    with pytest.raises(ValueError, match=r"inputs of shape \(batch, n, 3\), got \(7, 3\)"):
        model.apply(params, state, inputs()[0])


@pytest.mark.parametrize(
    ("lengths", "message"),
    [([3, 0], "lengths from 1 to 3, got 0 to 3"),
     ([4, 1], "lengths from 1 to 3, got 1 to 4"),
     ([2.0, 1.0], "whole lengths, got dtype float64"),
     ([2], r"lengths of shape \(2,\), got \(1,\)")],
)  # fmt: skip
@pytest.mark.parametrize("network", [nn.rnn, nn.transformer_encoder])
def test_bad_lengths(network, lengths, message):
    model = network(2, 1, width=4)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            lambda p: model.apply(p, state, (jnp.zeros((2, 3, 2)), np.array(lengths)))[0], params
        )


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple"])
def test_of_64_bits(cell):
    model, params, state = made(cell=cell, bidirectional=True)
    run = jax.jit(lambda params, x: model.apply(params, state, x)[0])
    given = (params, inputs())
    known = run(*given)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), given)
        found = run(*wide)
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, known, atol=1e-5)
