"""GANs: their losses and penalties by formulas, their updates by hand, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml import generative, nn, training
from jaxml.core.types import Model
from jaxml.generative import GAMES, clip, gradient_penalty, r1, r2
from jaxml.training import sampling

REAL, FAKE = np.array([0.3, -2.0]), np.array([-1.5, 4.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("minimax", -np.log(sigmoid(REAL)) - np.log(1 - sigmoid(FAKE)), np.log(1 - sigmoid(FAKE))),
        ("non_saturating", -np.log(sigmoid(REAL)) - np.log(1 - sigmoid(FAKE)),
         -np.log(sigmoid(FAKE))),
        ("least_squares", ((REAL - 1) ** 2 + FAKE**2) / 2, (FAKE - 1) ** 2 / 2),
        ("hinge", [0.7 + 0, 3 + 5], -FAKE),
        ("wasserstein", FAKE - REAL, -FAKE),
    ],
)  # fmt: skip
def test_losses_are_the_papers(name, discriminator, generator):
    game = GAMES[name]
    np.testing.assert_allclose(game.discriminator(REAL, FAKE), discriminator, rtol=1e-5)
    np.testing.assert_allclose(game.generator(FAKE), generator, rtol=1e-5)


def test_no_loss_overflows():
    for game in GAMES.values():
        far = jnp.array([-1e4, 1e4])
        slopes = jax.grad(lambda x, g=game: (g.discriminator(x, x) + g.generator(x)).sum())(far)
        assert np.isfinite(slopes).all()


def quadratic(params, x):
    """The critic xᵀAx/2 + b·x, whose slope is (A + Aᵀ)x/2 + b."""
    return (x * (x @ params["a"])).sum(-1) / 2 + x @ params["b"]


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(3, 3)).astype("f"), "b": rng.normal(size=3).astype("f")}
    return params, *(rng.normal(size=(5, 3)).astype("f") for _ in range(2))


def slopes(params, x):
    return x @ (params["a"] + params["a"].T) / 2 + params["b"]


def test_penalties_are_of_the_critics_slope(points):
    params, real, fake = points
    key = jax.random.key(3)
    for penalty, at in ((r1(4.0), real), (r2(4.0), fake)):
        expected = 2 * (slopes(params, at) ** 2).sum(1).mean()
        np.testing.assert_allclose(penalty(quadratic, params, real, fake, key), expected, rtol=1e-5)
    share = np.asarray(jax.random.uniform(key, (5, 1)))
    norms = np.linalg.norm(slopes(params, real + share * (fake - real)), axis=1)
    found = gradient_penalty(7.0, center=0.5)(quadratic, params, real, fake, key)
    np.testing.assert_allclose(found, 7 * ((norms - 0.5) ** 2).mean(), rtol=1e-5)


def test_a_flat_critic_has_a_finite_gradient(points):
    params, real, fake = points
    flat = jax.tree.map(np.zeros_like, params)
    gradient = jax.grad(lambda p: gradient_penalty()(quadratic, p, real, fake, jax.random.key(0)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(flat)))


@pytest.mark.oracle
@pytest.mark.slow
def test_the_penaltys_gradient_is_pytorchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    real, fake = (rng.normal(size=(4, 9, 9, 1)).astype("f") for _ in range(2))
    kernels = [rng.normal(size=shape).astype("f") * 0.3
               for shape in ((3, 3, 1, 4), (3, 3, 4, 4))]  # fmt: skip
    key = jax.random.key(1)

    def critic(params, x):
        for kernel in params:
            x = nn.conv_general_dilated(
                x, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jnp.tanh(x)
        return x.sum((1, 2, 3))

    value, gradient = jax.value_and_grad(
        lambda p: gradient_penalty()(critic, p, real, fake, key)
    )([jnp.asarray(k) for k in kernels])  # fmt: skip
    share = np.asarray(jax.random.uniform(key, (4, 1, 1, 1)))
    x = torch.tensor(np.moveaxis(real + share * (fake - real), -1, 1), requires_grad=True)
    weights = [torch.tensor(k.transpose(3, 2, 0, 1), requires_grad=True) for k in kernels]
    h = x
    for weight in weights:
        h = torch.tanh(torch.nn.functional.conv2d(h, weight, stride=2))
    (slope,) = torch.autograd.grad(h.sum(), x, create_graph=True)
    expected = 10 * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    for ours, theirs in zip(gradient, weights, strict=True):
        np.testing.assert_allclose(
            ours, theirs.grad.numpy().transpose(2, 3, 1, 0), rtol=1e-3, atol=1e-5
        )


def number(name):
    """A network of one number: z + it, or it times x."""

    def init(key, x=None):
        return {"number": jnp.float32(0.7 if name == "critic" else 0.4)}, {}

    def apply(params, state, x, *, train=False, key=None):
        return (params["number"] * x if name == "critic" else x + params["number"]), state

    return Model(init, apply)


def small(game="wasserstein", **options):
    sgd = (optax.sgd(0.1), optax.sgd(0.2))
    fixed = {"latents": lambda _, n: jnp.zeros((n, 1)), **options}
    return generative.gan(number("generator"), number("critic"), game, sgd, **fixed)


BATCH = {"x": jnp.full((4, 1), 2.0)}


def moved(algorithm):
    state, metrics = algorithm.step(algorithm.init(jax.random.key(0)), BATCH, jax.random.key(1))
    return float(state.generator.params["number"]), float(state.critic.params["number"]), metrics


def test_updates_are_those_by_hand():
    # the critic's loss is ψ(θ − 2), its slope θ − 2; the generator's −ψθ, its slope −ψ
    critic = 0.7 - 0.2 * (0.4 - 2)
    theta, psi, metrics = moved(small())
    assert (theta, psi) == pytest.approx((0.4 + 0.1 * critic, critic))
    assert float(metrics["critic_loss"]) == pytest.approx(0.7 * (0.4 - 2))
    assert float(metrics["generator_loss"]) == pytest.approx(-critic * 0.4)
    assert float(metrics["critic_gradient_norm"]) == pytest.approx(1.6)
    theta, psi, _ = moved(small(alternating=False))
    assert (theta, psi) == pytest.approx((0.4 + 0.1 * 0.7, critic))
    theta, psi, _ = moved(small(critic_steps=2))
    twice = critic - 0.2 * (0.4 - 2)
    assert (theta, psi) == pytest.approx((0.4 + 0.1 * twice, twice))
    theta, psi, _ = moved(small(project=clip(0.5)))
    assert (theta, psi) == pytest.approx((0.4 + 0.1 * 0.5, 0.5))
    # R1: γψ²/2, so that the slope has γψ more
    theta, psi, _ = moved(small(penalty=r1(3.0)))
    assert psi == pytest.approx(0.7 - 0.2 * (0.4 - 2 + 3 * 0.7))


@pytest.mark.parametrize("steps", [1, 3])
def test_an_unrolled_critic_is_differentiated_through(steps):
    # after k steps more it is ψ − 0.2k(θ − 2), so that the generator's slope has 0.2kθ more
    critic = 0.7 - 0.2 * (0.4 - 2)
    later = critic - 0.2 * steps * (0.4 - 2)
    theta, psi, metrics = moved(small(unrolled=steps))
    assert psi == pytest.approx(critic)  # its own update is one
    assert theta == pytest.approx(0.4 - 0.1 * (-later + 0.2 * steps * 0.4))
    assert float(metrics["generator_loss"]) == pytest.approx(-later * 0.4)


@pytest.mark.slow
def test_noise_is_on_examples_and_samples():
    algorithm = small(noise=0.5)
    state = algorithm.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 4000)
    states, metrics = jax.jit(jax.vmap(lambda key: algorithm.step(state, BATCH, key)))(keys)
    slopes = (0.7 - states.critic.params["number"]) / 0.2
    # the mean of four samples less that of four examples, each with noise of 0.5
    assert float(slopes.mean()) == pytest.approx(0.4 - 2, abs=0.03)
    assert float(slopes.std()) == pytest.approx(0.5 * np.sqrt(2 / 4), rel=0.05)
    shown = -metrics["generator_loss"] / states.critic.params["number"]
    assert float(shown.mean()) == pytest.approx(0.4, abs=0.03)
    assert float(shown.std()) == pytest.approx(0.5 / 2, rel=0.05)


def test_the_average_follows_the_generator():
    algorithm = small(average=0.999)
    state, _ = algorithm.step(algorithm.init(jax.random.key(0)), BATCH, jax.random.key(1))
    ours = 0.4 + (1 - 2 / 11) * (float(state.generator.params["number"]) - 0.4)
    assert float(state.average["number"]) == pytest.approx(ours)


@pytest.mark.slow
def test_lanes_are_single_runs_and_resuming_is_exact():
    adam = optax.adam(1e-3, b1=0.5)
    nets = nn.mlp([2, 4, 2]), nn.mlp([2, 4, 1])
    algorithm = generative.gan(*nets, "hinge", (adam, adam), latents=2, critic_steps=2)
    data = {"x": np.random.default_rng(0).normal(size=(32, 2)).astype("f")}
    keys = jax.random.split(jax.random.key(0), 2)
    options = {"data": data, "sample": sampling.epochs(8)}
    many = training.fit_many(algorithm, **options, keys=keys, steps=6)
    runs = [training.fit(algorithm, **options, key=key, steps=6) for key in keys]
    for i, run in enumerate(runs):
        np.testing.assert_allclose(
            run.history["critic_loss"], many.history["critic_loss"][i], rtol=1e-4
        )
    half = training.fit(algorithm, **options, key=keys[0], steps=3)
    again = training.fit(algorithm, **options, key=keys[0], steps=3, state=half.state)
    jax.tree.map(np.testing.assert_array_equal, again.state, runs[0].state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"game": "minmax"}, "minimax"),
        ({"latents": 0}, "latents"),
        ({"critic_steps": 0}, "critic_steps"),
        ({"critic_steps": 2, "alternating": False}, "one critic step where both move at once"),
        ({"unrolled": -1}, "unrolled to be a whole number of at least 0"),
        ({"noise": -0.1}, "a finite noise of at least 0"),
        ({"average": 1.0}, r"average in \[0, 1\)"),
    ],
)
def test_other_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_other_networks_and_numbers_are_refused():
    with pytest.raises(ValueError, match="batches of a multiple of 3 rows, got 4"):
        moved(small(critic_steps=3))
    with pytest.raises(ValueError, match=r"samples of shape \(4, 1\), got \(4, 2\)"):
        moved(small(latents=2))
    with pytest.raises(ValueError, match="a finite strength of at least 0"):
        r1(-1.0)
    with pytest.raises(ValueError, match="a finite bound above 0"):
        clip(0.0)
    sgd = optax.sgd(0.1)
    normed = nn.mlp([1, 2, 1]), nn.spectral_norm(nn.mlp([1, 2, 1], norm="batch"))
    with pytest.raises(ValueError, match=r"slope is of each row alone .* got batch norm"):
        generative.gan(*normed, "hinge", (sgd, sgd), latents=1, penalty=r1()).init(
            jax.random.key(0)
        )
    with pytest.raises(ValueError, match="several rows for a critic with batch norm, got 1"):
        moved(generative.gan(*normed, "hinge", (sgd, sgd), latents=1, critic_steps=4))
    algorithm = small()
    state = algorithm.init(jax.random.key(0))
    nets = number("generator"), number("critic")
    with pytest.raises(ValueError, match="4 rows of latents, as of data, got 3"):
        generative.gan_losses(*nets, "hinge", state, BATCH["x"], np.zeros((3, 1)))
