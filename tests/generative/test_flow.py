"""Flows: there and back, volumes against Jacobians, densities against integrals and distrax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from jaxml import nn, training
from jaxml.core.types import Model
from jaxml.generative import flow as flows
from jaxml.training import sampling


def made(flow, shape, seed=0):
    """Parameters that are not those of a start, and some examples."""
    x = jax.random.uniform(jax.random.key(seed), shape, minval=0.05, maxval=0.95)
    params = jax.jit(flow.init)(jax.random.key(seed + 1), x)
    leaves, tree = jax.tree.flatten(params)
    random = np.random.default_rng(seed)
    leaves = [leaf + 0.3 * random.normal(size=leaf.shape).astype(leaf.dtype) for leaf in leaves]
    return tree.unflatten(leaves), x


CASES = {
    "real_nvp": (flows.real_nvp(3, couplings=4, hidden=(8,)), (5, 3)),
    "glow": (flows.glow(4, steps=2, hidden=(8,)), (5, 4)),
    "logit": (flows.chain([flows.logit(), flows.activation_norm(2)]), (5, 2)),
    "images": (
        flows.chain([flows.activation_norm(2), flows.invertible_convolution(2)]), (4, 2, 3, 2),
    ),
}  # fmt: skip


SLOW = ("real_nvp", "glow")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CASES]
)
def test_there_and_back_and_the_volume_is_that_of_the_jacobian(name):
    flow, shape = CASES[name]
    params, x = made(flow, shape)
    there_and_back = jax.jit(lambda params, x: flow.inverse(params, flow.forward(params, x)[0]))
    np.testing.assert_allclose(there_and_back(params, x), x, atol=1e-5)
    with jax.enable_x64(True):
        wide, x = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, x))

        def flat(row):
            return flow.forward(wide, row.reshape(1, *shape[1:]))[0].ravel()

        jacobians = jax.jit(jax.vmap(jax.jacobian(flat)))(x.reshape(len(x), -1))
        _, found = jax.jit(flow.forward)(wide, x)
        assert found.dtype == np.float64
        expected = np.linalg.slogdet(np.asarray(jacobians))[1]
        assert abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.slow
def test_a_density_of_the_plane_integrates_to_one():
    flow = flows.glow(2, steps=2, hidden=(8,))
    params, x = made(flow, (50, 2))
    model = flows.log_likelihood(flow, x)
    axis = np.linspace(-12, 13, 1001)
    plane = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2).astype("f")
    density = np.exp(np.asarray(jax.jit(model.apply)(params, {}, plane)[0], float))
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-3)


def test_at_first_it_is_the_standard_normal_density():
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("f")
    model = flows.log_likelihood(flows.real_nvp(4, hidden=(8,)), x)
    found, _ = model.apply(*model.init(jax.random.key(0)), x)
    np.testing.assert_allclose(found, scipy.stats.norm.logpdf(x).sum(1), rtol=1e-5)


def test_activation_norm_is_of_the_first_batch():
    x = np.random.default_rng(0).normal(3, 5, size=(100, 2, 3)).astype("f")
    flow = flows.chain([flows.activation_norm(3), flows.invertible_convolution(3)])
    z, _ = flow.forward(flow.init(jax.random.key(0), x), x)
    # a rotation keeps the identity as covariance
    np.testing.assert_allclose(np.asarray(z).reshape(-1, 3).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose((np.asarray(z) ** 2).sum(2).mean(), 3, rtol=1e-4)


def test_bits_of_an_even_density_and_of_a_normal_one():
    x = flows.dequantize(jnp.arange(256), jax.random.key(0))
    np.testing.assert_array_equal(np.floor(256 * np.asarray(x)), np.arange(256))
    assert float(flows.bits_per_dimension(0.0, 10)) == 8
    # levels of 1/4 under a density of 4 everywhere: nothing is left to tell
    assert float(flows.bits_per_dimension(3 * np.log(4), 3, levels=4)) == pytest.approx(0)


@pytest.mark.slow
def test_training_finds_a_gaussian():
    random = np.random.default_rng(0)
    matrix = np.array([[1.0, 0.5], [0.0, 0.4]])
    x = (random.normal(size=(4000, 2)) @ matrix + [2, -1]).astype("f")
    flow = flows.real_nvp(2, couplings=4, hidden=(16,))
    model = flows.log_likelihood(flow, x[:100])
    schedule = optax.cosine_decay_schedule(1e-2, 800)
    algorithm = training.supervised(model, flows.negative_log_likelihood, optax.adam(schedule))
    run = training.fit(
        algorithm, {"x": x}, sampling.epochs(200), key=jax.random.key(0), steps=800
    )  # fmt: skip
    entropy = np.log(2 * np.pi * np.e) + np.log(abs(np.linalg.det(matrix)))
    assert run.history["loss"][-50:].mean() == pytest.approx(entropy, abs=0.05)
    drawn = flow.inverse(run.state.params, jax.random.normal(jax.random.key(1), (4000, 2)))
    np.testing.assert_allclose(np.mean(drawn, 0), [2, -1], atol=0.1)
    np.testing.assert_allclose(np.cov(drawn.T), matrix.T @ matrix, atol=0.15)


@pytest.mark.oracle
@pytest.mark.slow
def test_couplings_are_distraxs():
    distrax = pytest.importorskip("distrax")
    params, x = made(CASES["real_nvp"][0], (5, 3))
    layers = []
    for i, own in enumerate(params[:2]):
        mask = np.arange(3) % 2 == i

        def conditioner(h, own=own, mask=mask):
            widths = [int(mask.sum()), 8, 2 * int((~mask).sum())]
            found, _ = nn.mlp(widths).apply(own, {}, h[..., mask])
            shift, raw = jnp.split(found, 2, -1)
            whole = jnp.zeros((*h.shape, 2))
            return whole.at[..., ~mask, :].set(jnp.stack([shift, 2 * jnp.tanh(raw / 2)], -1))

        layers.append(
            distrax.MaskedCoupling(
                mask, conditioner, lambda p: distrax.ScalarAffine(p[..., 0], log_scale=p[..., 1])
            )
        )
    theirs = distrax.Chain(layers[::-1])  # the last is applied first
    z, expected = theirs.forward_and_log_det(x)
    pair = flows.real_nvp(3, couplings=2, hidden=(8,))
    found, log_determinant = pair.forward(params[:2], x)
    np.testing.assert_allclose(found, z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_determinant, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pair.inverse(params[:2], z), theirs.inverse(z), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: flows.coupling(nn.mlp([1, 2]), [True]), "columns that stay and columns that do"),
        (lambda: flows.coupling(nn.mlp([1, 2]), [1, 0], bound=0.0), "a finite bound above 0"),
        (lambda: flows.coupling(len, [1, 0]), "a jaxml Model"),
        (lambda: flows.real_nvp(1), "at least 2 columns, got 1"),
        (lambda: flows.real_nvp(2, couplings=3), "an even number of couplings, got 3"),
        (lambda: flows.glow(2, steps=0), "steps to be a whole number"),
        (lambda: flows.logit(0.5), "a margin in"),
        (lambda: flows.chain([]), "at least one Flow"),
        (lambda: flows.log_likelihood(nn.mlp([1, 2]), np.ones((1, 1))), "a Flow, got Model"),
        (lambda: flows.dequantize(np.array([0, 256]), jax.random.key(0)), "from 0 to 255"),
        (lambda: flows.dequantize(np.array([0.5]), jax.random.key(0)), "whole numbers"),
        (lambda: flows.bits_per_dimension(0.0, 0), "size"),
        (lambda: flows.activation_norm(2).init(jax.random.key(0), np.ones((3, 4))),
         r"examples of shape \(batch, ..., 2\)"),
        (lambda: flows.coupling(nn.mlp([1, 3]), [1, 0]).forward(
            nn.mlp([1, 3]).init(jax.random.key(0))[0], np.ones((3, 2))), "2 outputs, got 3"),
        (lambda: flows.coupling(nn.mlp([1, 2, 2], norm="batch"), [1, 0]).init(
            jax.random.key(0), np.ones((3, 2))), "a network without a state"),
    ],
)  # fmt: skip
def test_other_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_network_of_images_of_channels_is_taken():
    # a network sees the channels that stay at each pixel
    def init(key, x=None):
        return {"w": jnp.full((1, 2), 0.5)}, {}

    model = Model(init, lambda params, state, x, **_: (x @ params["w"], state))
    flow = flows.coupling(model, [0, 1])
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 2))
    z, log_determinant = flow.forward({"w": jnp.full((1, 2), 0.5)}, x)
    scale = 2 * np.tanh(np.asarray(x[..., 1]) / 4)
    np.testing.assert_allclose(log_determinant, scale.sum((1, 2)), rtol=1e-5)
    expected = np.asarray(x[..., 0]) * np.exp(scale) + 0.5 * np.asarray(x[..., 1])
    np.testing.assert_allclose(z[..., 0], expected, rtol=1e-5, atol=1e-6)
