"""VAEs: densities by SciPy, bounds by the exact likelihood of linear ones, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxml import generative, landscape, nn, training
from jaxml.core.types import Model
from jaxml.generative import bernoulli, gaussian
from jaxml.training import sampling

KEY = jax.random.key(0)
CODES, SIZE, SIGMA = 2, 3, 0.7
RNG = np.random.default_rng(0)
DECODER = RNG.normal(size=(CODES, SIZE))
ENCODER = 0.4 * RNG.normal(size=(SIZE, CODES))
LOG_VARIANCE = np.array([-0.5, 0.3])
DATA = RNG.normal(size=(6, SIZE))


def linear(kernel, extra=None):
    """x kernel, with some constants behind it."""

    def apply(params, state, x, *, train=False, key=None):
        y = x @ params["kernel"]
        tail = jnp.broadcast_to(params["extra"], (len(x), len(params["extra"])))
        return jnp.concatenate([y, tail], axis=1), state

    params = {"kernel": kernel, "extra": np.zeros(0) if extra is None else extra}
    return Model(lambda key, x=None: (jax.tree.map(jnp.asarray, params), {}), apply)


def nets(likelihood=None):
    return linear(ENCODER, LOG_VARIANCE), linear(DECODER), likelihood or gaussian(SIGMA)


def state_of(*nets):
    return generative.vae(*nets, optax.sgd(0.1)).init(KEY)


def exact():
    """log p(x), the ELBO and its two parts of the linear network, in closed form."""
    covariance = DECODER.T @ DECODER + SIGMA**2 * np.eye(SIZE)
    likelihood = stats.multivariate_normal(np.zeros(SIZE), covariance).logpdf(DATA)
    mean, variance = DATA @ ENCODER, np.exp(LOG_VARIANCE)
    rest = ((DATA - mean @ DECODER) ** 2).sum(1) + (variance[:, None] * DECODER**2).sum()
    reconstruction = -0.5 * rest / SIGMA**2 - SIZE / 2 * np.log(2 * np.pi * SIGMA**2)
    kl = 0.5 * ((mean**2).sum(1) + (variance - 1 - LOG_VARIANCE).sum())
    return likelihood, reconstruction, kl


def test_densities_are_scipys():
    outputs, x = jnp.array([-3.0, 0.2, 4.0]), jnp.array([1.0, 0.0, 1.0])
    expected = stats.bernoulli(jax.nn.sigmoid(outputs)).logpmf(x)
    np.testing.assert_allclose(bernoulli().log_density({}, outputs, x), expected, rtol=1e-5)
    np.testing.assert_allclose(bernoulli().mean(outputs), 1 / (1 + np.exp(-outputs)), rtol=1e-6)
    for likelihood, own in ((gaussian(0.3), {}), (gaussian(), {"log_variance": np.log(0.09)})):
        expected = stats.norm(outputs, 0.3).logpdf(x)
        np.testing.assert_allclose(likelihood.log_density(own, outputs, x), expected, rtol=1e-5)
    # of one that is grey: the mean over what is drawn
    grey, p = 0.3, stats.bernoulli(jax.nn.sigmoid(outputs))
    mean = grey * p.logpmf(1) + (1 - grey) * p.logpmf(0)
    np.testing.assert_allclose(bernoulli().log_density({}, outputs, grey), mean, rtol=1e-5)


def test_the_points_have_the_moments_of_a_normal_distribution():
    points = generative.cubature(3)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-15)
    np.testing.assert_allclose(points.T @ points / len(points), np.eye(3), atol=1e-15)
    np.testing.assert_allclose((points**3).mean(0), 0, atol=1e-15)


@pytest.mark.parametrize("batch_size", [None, pytest.param(4, marks=pytest.mark.slow)])
def test_the_full_loss_of_a_linear_network_is_exact(batch_size):
    with jax.enable_x64(True):
        _, reconstruction, kl = exact()
        algorithm = generative.vae(*nets(), optax.sgd(0.1), beta=2.5)
        state = algorithm.init(KEY)
        loss = training.full_loss(algorithm, state, {"x": DATA}, batch_size=batch_size)
        expected = (2.5 * kl - reconstruction).mean()
        np.testing.assert_allclose(loss(state.params), expected, rtol=1e-12)


@pytest.mark.slow
def test_bounds_are_below_the_likelihood_and_approach_it():
    with jax.enable_x64(True):
        likelihood, reconstruction, kl = exact()
        state = state_of(*nets())
        found = generative.elbo(*nets(), state, DATA, key=KEY, samples=100_000)
        np.testing.assert_allclose(found.kl, kl, rtol=1e-12)
        np.testing.assert_allclose(found.reconstruction, reconstruction, rtol=0.02)
        np.testing.assert_allclose(found.value, found.reconstruction - found.kl)
        tight = generative.importance_bound(*nets(), state, DATA, key=KEY, samples=20_000)
    assert (reconstruction - kl < likelihood).all()
    assert (reconstruction - kl).mean() < likelihood.mean() - 0.5
    np.testing.assert_allclose(tight, likelihood, atol=0.1)


def test_with_the_exact_posterior_every_bound_is_the_likelihood():
    precision = DECODER @ DECODER.T / SIGMA**2 + np.eye(CODES)
    covariance = np.linalg.inv(precision)
    # turned so that the posterior is diagonal, as the encoder's is
    turn = np.linalg.eigh(covariance)[1].T
    covariance = turn @ covariance @ turn.T
    decoder = turn @ DECODER
    encoder = decoder.T @ covariance / SIGMA**2
    with jax.enable_x64(True):
        own = linear(encoder, np.log(np.diag(covariance))), linear(decoder), gaussian(SIGMA)
        state = state_of(*own)
        likelihood = exact()[0]
        for samples in (1, 3):
            tight = generative.importance_bound(*own, state, DATA, key=KEY, samples=samples)
            np.testing.assert_allclose(tight, likelihood, rtol=1e-10)
        loss = training.full_loss(generative.vae(*own, optax.sgd(0.1)), state, {"x": DATA})
        np.testing.assert_allclose(loss(state.params), -likelihood.mean(), rtol=1e-12)


@pytest.mark.oracle
def test_the_divergence_is_pytorchs():
    torch = pytest.importorskip("torch")
    normal = torch.distributions.Normal
    mean = torch.tensor(DATA @ ENCODER)
    posterior = normal(mean, torch.tensor(np.exp(LOG_VARIANCE / 2)).expand_as(mean))
    expected = torch.distributions.kl_divergence(posterior, normal(0.0, 1.0)).sum(1)
    found = generative.elbo(*nets(), state_of(*nets()), DATA, key=KEY)
    np.testing.assert_allclose(found.kl, expected.numpy(), rtol=1e-5)


def test_a_step_is_gradient_ascent_on_one_draw():
    """Of a code that the decoder ignores: its mean and variance go to those of the prior."""
    own = linear(ENCODER, LOG_VARIANCE), linear(np.zeros((CODES, SIZE))), gaussian(SIGMA)
    algorithm = generative.vae(*own, optax.sgd(0.1), beta=3.0)
    state, metrics = jax.jit(algorithm.step)(algorithm.init(KEY), {"x": jnp.asarray(DATA)}, KEY)
    mean = DATA @ ENCODER
    slope = 3.0 * DATA.T @ mean / len(DATA)
    np.testing.assert_allclose(
        state.params["encoder"]["kernel"], ENCODER - 0.1 * slope, rtol=1e-4, atol=1e-6
    )
    slope = 3.0 * 0.5 * (np.exp(LOG_VARIANCE) - 1)
    np.testing.assert_allclose(
        state.params["encoder"]["extra"], LOG_VARIANCE - 0.1 * slope, rtol=1e-4
    )
    loss = 3.0 * metrics["kl"] - metrics["reconstruction"]
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)


@pytest.mark.slow
def test_a_trained_deviation_is_that_of_the_rest():
    own = linear(np.zeros((SIZE, CODES)), np.zeros(CODES)), linear(np.zeros((CODES, SIZE)))
    algorithm = generative.vae(*own, gaussian(), optax.sgd(0.1))
    state = algorithm.init(KEY)
    loss = training.full_loss(algorithm, state, {"x": DATA})

    def slope(log_variance):
        likelihood = {"log_variance": jnp.float32(log_variance)}
        return jax.grad(loss)(state.params | {"likelihood": likelihood})["likelihood"]

    assert abs(slope(np.log((DATA**2).mean()))["log_variance"]) < 1e-5
    assert abs(slope(0.0)["log_variance"]) > 1e-2


@pytest.mark.slow
def test_collapse_is_a_saddle_of_known_index():
    """Each code has [[1/σ², −λ/σ²], [−λ/σ², λ]] for each λ, and ½ for its variance."""
    eigenvalues = np.array([2.0, 0.8, 0.1])
    x = generative.cubature(SIZE) * np.sqrt(eigenvalues)
    own = linear(np.zeros((SIZE, CODES)), np.zeros(CODES)), linear(np.zeros((CODES, SIZE)))
    with jax.enable_x64(True):
        algorithm = generative.vae(*own, gaussian(SIGMA), optax.sgd(0.1))
        state = algorithm.init(KEY)
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), state.params)
        found = landscape.analyze(training.full_loss(algorithm, state, {"x": x}), params)
    pairs = [
        np.linalg.eigvalsh(np.array([[1, -v], [-v, v * SIGMA**2]]) / SIGMA**2) for v in eigenvalues
    ]
    expected = np.sort([*np.concatenate(pairs), 0.5] * CODES)
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-12)
    assert found.kind == "saddle"
    assert found.index == CODES * (eigenvalues > SIGMA**2).sum() == 4


@pytest.mark.slow
def test_data_are_drawn_as_0_or_1():
    own = nn.linear(4, 2), nn.linear(1, 4), bernoulli()
    rows = {"x": jnp.tile(jnp.array([0.0, 0.25, 1.0, 1.0]), (4000, 1))}
    algorithm = generative.vae(*own, optax.sgd(0.1), binarize=True)
    state = algorithm.init(KEY)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    # with zeros everywhere the gradient of the decoder's bias is 1/2 − x
    zeros["decoder"]["dense_0"]["bias"] = jnp.zeros(4)
    state = state.replace(params=zeros)
    moved, _ = jax.jit(algorithm.step)(state, rows, KEY)
    drawn = 0.5 + moved.params["decoder"]["dense_0"]["bias"] / 0.1
    np.testing.assert_allclose(drawn, [0, 0.25, 1, 1], atol=0.03)
    assert drawn[1] != 0.25
    plain, _ = generative.vae(*own, optax.sgd(0.1)).step(state, rows, KEY)
    mean = 0.5 + plain.params["decoder"]["dense_0"]["bias"] / 0.1
    np.testing.assert_allclose(mean, [0, 0.25, 1, 1], atol=1e-5)


@pytest.mark.slow
def test_lanes_are_single_runs_and_resuming_is_exact():
    own = nn.mlp([4, 6, 4]), nn.mlp([2, 6, 4]), bernoulli()
    data = {"x": np.random.default_rng(0).uniform(size=(32, 4)).astype("f")}
    keys = jax.random.split(KEY, 2)
    options = {"data": data, "sample": sampling.epochs(8)}

    def algorithm(beta):
        return generative.vae(*own, optax.adam(1e-2), beta=beta, binarize=True)

    many = training.fit_many(
        algorithm, **options, keys=keys, steps=6, hyperparameters={"beta": [0.5, 2.0]}
    )
    for i, beta in enumerate((0.5, 2.0)):
        run = training.fit(algorithm(beta), **options, key=keys[i], steps=6)
        np.testing.assert_allclose(run.history["loss"], many.history["loss"][i], rtol=1e-4)
    half = training.fit(algorithm(2.0), **options, key=keys[1], steps=3)
    again = training.fit(algorithm(2.0), **options, key=keys[1], steps=3, state=half.state)
    jax.tree.map(np.testing.assert_array_equal, again.state, run.state)


def small(likelihood=None, **options):
    own = nn.linear(4, 2), nn.linear(1, 4), likelihood or bernoulli()
    return generative.vae(*own, optax.sgd(0.1), **options)


def fit(rows, algorithm=None):
    return training.fit(algorithm or small(), {"x": rows}, sampling.full(), key=KEY, steps=1)


def bound(x, encoder=None, decoder=None, likelihood=None, samples=1):
    own = encoder or nn.linear(4, 2), decoder or nn.linear(1, 4), likelihood or bernoulli()
    state = state_of(*own)
    return generative.importance_bound(*own, state, x, key=KEY, samples=samples)


GREY = np.full((3, 4), 0.5, np.float32)
REFUSED = {
    "data above 1": (lambda: fit(GREY + 1), r"probabilities in data\['x'\].*1\.5"),
    "data below 0": (lambda: bound(GREY - 1), "data from 0 to 1, got -0.5 to -0.5"),
    "no data": (lambda: bound(GREY[:0]), "data from 0 to 1, got none"),
    "numbers to be drawn": (
        lambda: fit(GREY + 1, small(gaussian(), binarize=True)), r"probabilities in data\['x'\]"),
    "a deviation of 0": (lambda: gaussian(0.0), "a standard deviation above 0, got 0.0"),
    "a negative beta": (lambda: small(beta=-1.0), "beta to be finite and at least 0, got -1.0"),
    "beta as text": (lambda: small(beta="1"), "beta to be a number, got '1'"),
    "a likelihood's name": (lambda: small("bernoulli"), "a Likelihood.*got 'bernoulli'"),
    "no network": (
        lambda: generative.vae(None, nn.linear(1, 4), bernoulli(), optax.sgd(0.1)),
        "encoder as a Model, got NoneType"),
    "an odd encoder": (
        lambda: bound(GREY, nn.linear(4, 3)), r"\(batch, 2 codes\), got shape \(3, 3\)"),
    "a decoder of another size": (
        lambda: bound(GREY, decoder=nn.linear(1, 5)), r"outputs \(3, 4\), as the data, got \(3, 5"),
    "no samples": (lambda: bound(GREY, samples=0), "samples.*at least 1, got 0"),
    "points of no dimension": (lambda: generative.cubature(0), "dimensions.*at least 1, got 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
