import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxml import nn, training
from jaxml.training import losses, optimizers, sampling

IMAGES = jax.random.uniform(jax.random.key(0), (6, 8, 8, 1))


class Reference(linen.Module):
    """`nn.cnn` by Linen's own layers."""

    @linen.compact
    def __call__(self, x):
        for i, channels in enumerate((3, 5)):
            x = linen.Conv(channels, (3, 3), name=f"conv_{i}")(x)
            x = linen.max_pool(linen.relu(x), (2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)
        return linen.Dense(4, name="dense_1")(linen.relu(linen.Dense(7, name="dense_0")(x)))


@pytest.mark.slow
def test_cnn_equals_linens_layers_in_value_and_gradient():
    model = nn.cnn((8, 8, 1), 4, channels=(3, 5), hidden=(7,))
    params, model_state = model.init(jax.random.key(1))

    def ours(params):
        return (jnp.sin(model.apply(params, model_state, IMAGES)[0])).sum()

    def theirs(params):
        return jnp.sin(Reference().apply({"params": params}, IMAGES)).sum()

    results = [jax.jit(jax.value_and_grad(f))(params) for f in (ours, theirs)]
    for actual, expected in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_lenet_5_has_the_papers_sizes():
    model = nn.cnn(
        (32, 32, 1), 10, channels=(6, 16), hidden=(120, 84), kernel_size=5, padding="VALID",
        pool="mean", activation="tanh",
    )  # fmt: skip
    params, _ = model.init(jax.random.key(0))
    counts = {name: sum(map(np.size, leaves.values())) for name, leaves in params.items()}
    # C1, C5 and F6 as in the paper; C3 connects all maps (1,516 in the paper's sparse table)
    assert counts == {
        "conv_0": 156, "conv_1": 2416, "dense_0": 48120, "dense_1": 10164, "dense_2": 850,
    }  # fmt: skip


def test_resnet_20_has_the_papers_size():
    model = nn.resnet((32, 32, 3), 10, blocks=3)
    params, model_state = jax.eval_shape(model.init, jax.random.key(0))
    # 0.27 million in table 6 of the paper
    assert 0.265e6 < sum(leaf.size for leaf in jax.tree.leaves(params)) < 0.275e6
    weighted = [name for name in params if name.startswith(("conv", "dense"))]
    assert len(weighted) - sum("norm" in name for name in weighted) == 20
    assert set(model_state) == {"batch_stats"}


def test_resnet_halves_height_and_width_in_all_stages_but_the_first():
    model = nn.resnet((8, 8, 1), 4, channels=(2, 3), norm=None)
    outputs = {row.name: row.output for row in nn.summary(model).rows}
    assert outputs["conv_2"] == (1, 8, 8, 2)
    assert outputs["conv_4"] == outputs["skip_1"] == (1, 4, 4, 3)


@pytest.mark.parametrize(
    "model",
    [
        nn.cnn((8, 8, 1), 4, channels=(3, 5), hidden=(7,), norm="batch", dropout=0.2),
        pytest.param(nn.resnet((8, 8, 1), 4, channels=(3, 5)), marks=pytest.mark.slow),
    ],
)
def test_training_lowers_the_loss_and_compiles_no_convolution(model):
    data = {"x": np.asarray(IMAGES), "y": np.arange(6) % 4}
    algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.momentum(0.02))
    run = training.fit(algorithm, data, sampling.full(), key=jax.random.key(0), steps=60, chunk=60)
    assert run.history["loss"][-10:].mean() < 0.5 * run.history["loss"][0]
    compiled = jax.jit(algorithm.step).lower(run.state, data, jax.random.key(0)).compile()
    assert " convolution(" not in compiled.as_text()


@pytest.mark.slow
def test_a_channel_mean_of_batch_norm_goes_over_all_pixels():
    model = nn.resnet((8, 8, 1), 4, channels=(2,))
    params, model_state = model.init(jax.random.key(0))
    _, new = model.apply(params, model_state, IMAGES, train=True)
    conv = linen.Conv(2, (3, 3), use_bias=False).apply({"params": params["conv_0"]}, IMAGES)
    np.testing.assert_allclose(
        new["batch_stats"]["norm_0"]["mean"], 0.1 * conv.mean((0, 1, 2)), atol=1e-6
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.cnn((28, 28), 10), "image_shape to be"),
        (lambda: nn.cnn(28, 10), "image_shape"),
        (lambda: nn.cnn((28, 28, 0), 10), "image_shape"),
        (lambda: nn.cnn((28, 28, 1), 0), "outputs"),
        (lambda: nn.cnn((28, 28, 1), 10, channels=()), "channels"),
        (lambda: nn.cnn((28, 28, 1), 10, channels=(8,) * 5), "nothing is left after 5"),
        (lambda: nn.cnn((4, 4, 1), 10, kernel_size=5, padding="VALID"), "nothing is left after 1"),
        (lambda: nn.cnn((28, 28, 1), 10, padding="same"), "padding"),
        (lambda: nn.cnn((28, 28, 1), 10, pool="median"), "pool"),
        (lambda: nn.cnn((28, 28, 1), 10, norm="group"), "norm"),
        (lambda: nn.cnn((28, 28, 1), 10, dropout=1.0), "dropout"),
        (lambda: nn.cnn((28, 28, 1), 10, activation="reul"), "activation"),
        (lambda: nn.resnet((28, 28, 1), 10, blocks=0), "blocks"),
        (lambda: nn.resnet((28, 28, 1), 10, channels=(16, -1)), "channels"),
        (lambda: nn.resnet((28, 28, 1), 10, dtype=int), "dtype"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 784), (2, 28, 28, 3)])
def test_images_of_another_shape(shape):
    model = nn.cnn((28, 28, 1), 10)
    params, model_state = jax.eval_shape(model.init, jax.random.key(0))
    with pytest.raises(ValueError, match=r"cnn expects inputs of shape \(batch, 28, 28, 1\)"):
        jax.eval_shape(model.apply, params, model_state, jnp.zeros(shape))
