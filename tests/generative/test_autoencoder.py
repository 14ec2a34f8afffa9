"""Auto-encoders: linear ones by their closed forms, what is added by hand, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from jaxml import generative, landscape, nn, training
from jaxml.training import augmentation, losses, sampling

KEY = jax.random.key(0)
SIZE, CODES = 5, 2
RNG = np.random.default_rng(0)
DATA = (
    RNG.normal(size=(40, SIZE))
    * [3.0, 2.0, 1.0, 0.5, 0.2]
    @ np.linalg.qr(RNG.normal(size=(SIZE, SIZE)))[0]
)
DATA -= DATA.mean(0)


def linear(codes=CODES, **options):
    own = nn.linear(SIZE, codes, bias=False), nn.linear(codes, SIZE, bias=False)
    return own, generative.autoencoder(*own, optax.sgd(0.05), **options)


def minimum(algorithm, rows):
    state = algorithm.init(KEY)
    with jax.enable_x64(True):
        loss = training.full_loss(algorithm, state, rows)
        start = jax.tree.map(lambda leaf: np.asarray(leaf, float), state.params)
        return landscape.descend(loss, start, max_steps=2000)


@pytest.mark.slow
def test_a_linear_one_spans_the_principal_components():
    _, algorithm = linear()
    found = minimum(algorithm, {"x": DATA})
    pca = PCA(CODES).fit(DATA)
    span = found.params["decoder"]["dense_0"]["kernel"].T
    assert subspace_angles(span, pca.components_.T).max() < 1e-5
    rest = ((DATA - pca.inverse_transform(pca.transform(DATA))) ** 2).mean()
    assert found.loss == pytest.approx(rest, rel=1e-9)


@pytest.mark.slow
def test_the_linear_denoiser_is_the_wiener_filter():
    """At full width C(C + σ²I)⁻¹, the noise being all of `cubature` at once."""
    sigma = 0.8
    noise = sigma * generative.cubature(SIZE)
    rows = {"x": np.repeat(DATA, len(noise), 0) + np.tile(noise, (len(DATA), 1)),
            "y": np.repeat(DATA, len(noise), 0)}  # fmt: skip
    _, algorithm = linear(SIZE)
    found = minimum(algorithm, rows).params
    whole = found["encoder"]["dense_0"]["kernel"] @ found["decoder"]["dense_0"]["kernel"]
    covariance = DATA.T @ DATA / len(DATA)
    expected = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(SIZE))
    np.testing.assert_allclose(whole, expected, atol=1e-5)


def test_a_step_by_hand_and_what_it_tells():
    _, plain = linear(l2=0.3)
    _, sparse = linear(l2=0.3, sparsity=0.7)
    state, rows = plain.init(KEY), {"x": jnp.asarray(DATA, jnp.float32)}
    a, b = (np.asarray(state.params[n]["dense_0"]["kernel"]) for n in ("encoder", "decoder"))
    code = DATA @ a
    rest = code @ b - DATA
    for algorithm, weight in ((plain, 0.0), (sparse, 0.7)):
        moved, metrics = jax.jit(algorithm.step)(state, rows, KEY)
        of_code = 2 * rest @ b.T / SIZE + weight * np.sign(code)
        slope = DATA.T @ of_code / len(DATA) + 0.3 * a
        found = moved.params["encoder"]["dense_0"]["kernel"]
        np.testing.assert_allclose(found, a - 0.05 * slope, rtol=1e-4, atol=1e-6)
        error = (rest**2).mean()
        added = weight * abs(code).sum(1).mean() + 0.15 * ((a**2).sum() + (b**2).sum())
        assert float(metrics["reconstruction"]) == pytest.approx(error, rel=1e-5)
        assert float(metrics["loss"]) == pytest.approx(error + added, rel=1e-5)


def test_reconstructions_are_what_is_trained():
    own, algorithm = linear()
    state = algorithm.init(KEY)
    found = generative.reconstruct(*own, state, DATA)
    a, b = (np.asarray(state.params[n]["dense_0"]["kernel"]) for n in ("encoder", "decoder"))
    np.testing.assert_allclose(found.code, DATA @ a, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.outputs, DATA @ a @ b, rtol=1e-4, atol=1e-6)
    error = training.full_loss(algorithm, state, {"x": DATA})(state.params)
    np.testing.assert_allclose(error, ((found.outputs - DATA) ** 2).mean(), rtol=1e-5)


def test_corrupted_batches_keep_what_was():
    sample = generative.corrupted(sampling.epochs(8), augmentation.noise(0.5))
    rows = {"x": jnp.asarray(DATA, jnp.float32)}
    batch, clean = (s(rows, KEY, 3) for s in (sample, sampling.epochs(8)))
    np.testing.assert_array_equal(batch["y"], clean["x"])
    assert 0.3 < float(jnp.std(batch["x"] - batch["y"])) < 0.7
    assert generative.corrupted(sampling.epochs(8), augmentation.noise(0.5)) is sample


REFUSED = {
    "a negative sparsity": (lambda: linear(sparsity=-1.0), "sparsity.*at least 0, got -1.0"),
    "sparsity as text": (lambda: linear(sparsity="0"), "sparsity to be a number, got '0'"),
    "no loss": (lambda: linear(loss=None), "a loss.*got None"),
    "no network": (
        lambda: generative.autoencoder(nn.linear(4, 2), None, optax.sgd(0.1)),
        "decoder as a Model, got NoneType"),
    "nothing to corrupt by": (
        lambda: generative.corrupted(sampling.epochs(2)), "a transform.*got none"),
    "outputs of another shape": (
        lambda: training.fit(
            generative.autoencoder(nn.linear(4, 2), nn.linear(2, 3), optax.sgd(0.1)),
            {"x": np.ones((4, 4))}, sampling.full(), key=KEY, steps=1),
        r"targets of shape \(4, 3\), got \(4, 4\)"),
    "data outside of logits' range": (
        lambda: training.fit(
            linear(loss=losses.sigmoid_cross_entropy)[1], {"x": DATA}, sampling.full(), key=KEY,
            steps=1),
        "probabilities in data"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
