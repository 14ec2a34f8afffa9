"""Guided attention: the penalty in NumPy, and what of it a training sees."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import nn, sequence, training
from jaxml.core.types import TrainState
from jaxml.training import sampling

NETWORK = nn.recurrent_seq2seq(5, 7, width=6, attention="location")
RANDOM = np.random.default_rng(0)
ATTENTION = RANDOM.dirichlet(np.ones(5), (3, 4))
X_LENGTH, Y_LENGTH = np.array([5, 2, 3]), np.array([4, 4, 1])


@pytest.mark.parametrize("size", [1, 3, 6])
def test_the_exact_diagonal_costs_nothing(size):
    """Of each length, in arrays that are longer."""
    diagonal = jnp.pad(jnp.eye(size), ((0, 6 - size), (0, 6 - size)))[None]
    np.testing.assert_array_equal(sequence.off_diagonal(diagonal, [size], [size]), 0)
    if size > 1:
        turned = jnp.roll(diagonal, 1, axis=1)
        assert sequence.off_diagonal(turned, [size], [size]).max() > 0.05


@pytest.mark.parametrize("width", [0.1, 0.4])
def test_the_penalty_in_numpy(width):
    found = sequence.off_diagonal(jnp.asarray(ATTENTION), X_LENGTH, Y_LENGTH, width=width)
    for b in range(3):
        for t in range(4):
            known = sum(
                ATTENTION[b, t, n]
                * (1 - np.exp(-((n / X_LENGTH[b] - t / Y_LENGTH[b]) ** 2) / (2 * width**2)))
                for n in range(5)
            )
            inside = t < Y_LENGTH[b]
            np.testing.assert_allclose(found[b, t], known if inside else 0, rtol=1e-5)


@pytest.mark.slow
def test_the_loss_is_cross_entropy_and_penalty():
    """Over tokens, padding left out; with a strength of 0 it is teacher forcing."""
    x = RANDOM.integers(1, 5, (3, 4))
    data = {"x": x, "x_length": np.array([4, 2, 3]), "y": x, "y_length": np.array([4, 2, 3])}
    data = sequence.with_end(data, 6)
    marks = {"begin": 5, "label_smoothing": 0.1}
    plain = sequence.teacher_forcing(NETWORK, optax.sgd(0.1), **marks)
    guided = [
        sequence.guided_attention(NETWORK, optax.sgd(0.1), strength=strength, **marks)
        for strength in (0.0, 2.0)
    ]
    shapes, _ = jax.eval_shape(NETWORK.init, jax.random.key(0))
    draw = lambda leaf: jnp.asarray(0.5 * RANDOM.normal(size=leaf.shape), leaf.dtype)  # noqa: E731
    params = jax.tree.map(draw, shapes)
    state = TrainState(jnp.int32(0), params, {}, ())

    @jax.jit
    def found(params):
        own = [algorithm.loss(params, state, data) for algorithm in (plain, *guided)]  # type: ignore
        return own, NETWORK.look(params, sequence.forced(data, begin=5))[1]  # type: ignore

    (first, none, two), attention = found(params)
    np.testing.assert_allclose(none, first, rtol=1e-6)
    lengths = data["mask"].sum(1)
    far = sequence.off_diagonal(attention[:, :, 0], data["x_length"], lengths)
    np.testing.assert_allclose(two - none, 2 * far.sum() / lengths.sum(), rtol=1e-4)
    assert two - none > 0.1


@pytest.mark.slow
def test_training_lowers_the_penalty_and_tells_it():
    x = RANDOM.integers(1, 5, (40, 4))
    data = sequence.with_end({"x": x, "y": x, "y_length": np.full(40, 4)}, 6)
    algorithm = sequence.guided_attention(
        NETWORK, optax.adam(2e-2), begin=5, strength=3.0,
        metrics={"right": training.metrics.accuracy},
    )  # fmt: skip
    run = training.fit(
        algorithm, data, sampling.full(), key=jax.random.key(0), steps=100, chunk=100
    )
    far = run.history["off_diagonal"]
    assert far[-1] < far[0] / 3
    assert run.history["right"][-1] > run.history["right"][0]
    assert (run.history["loss"] > 3 * far).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sequence.off_diagonal(ATTENTION[0], [4], [5]),
         r"attention of shape \(batch, t, n\), got \(4, 5\)"),
        (lambda: sequence.off_diagonal(ATTENTION, X_LENGTH, Y_LENGTH, width=0.0),
         "width above 0, got 0.0"),
        (lambda: sequence.off_diagonal(ATTENTION, X_LENGTH + 1, Y_LENGTH),
         r"x_length from 0 to 5, got \[6\]"),
        (lambda: sequence.off_diagonal(ATTENTION, X_LENGTH, Y_LENGTH / 2),
         "y_length as 3 whole numbers"),
        (lambda: sequence.guided_attention(NETWORK.model, optax.sgd(1.0), begin=5),  # type: ignore
         "a network nn.Seq2Seq, got Model"),
        (lambda: sequence.guided_attention(NETWORK._replace(look=None), optax.sgd(1.0), begin=5),
         "tells where it looks, got one without"),
        (lambda: sequence.guided_attention(NETWORK, optax.sgd(1.0), begin=5, strength=-1.0),
         "strength of at least 0, got -1.0"),
        (lambda: sequence.guided_attention(NETWORK, optax.sgd(1.0), begin=5, width=float("inf")),
         "width above 0, got inf"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
