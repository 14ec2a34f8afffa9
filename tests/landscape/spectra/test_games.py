"""Games of gradient descent: closed forms, dense matrices, and a small GAN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import landscape
from jaxml.landscape.operators.hessian import hessian

NOTHING = [np.float64(0), np.float64(0)]
CRITIC = {
    "minimax": jax.nn.log_sigmoid,
    "wasserstein": lambda t: t,
}


def dirac(name, extra=lambda t, p: 0.0):
    """The generator draws t, the critic's output at x is p x, the data are at 0."""
    f = CRITIC[name]
    return [lambda t, p: f(-p * t) + f(0 * p), lambda t, p: extra(t, p) - f(-p * t) - f(0 * p)]


def r1(gamma):
    return lambda _, p: gamma / 2 * p**2


def noisy(sigma):
    """The critic's expected loss when noise of this deviation is added to data and samples."""
    x, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = weights / weights.sum()
    f = jax.nn.log_sigmoid

    def value(t, p):
        return (weights * (f(-p * (t + sigma * x)) + f(p * sigma * x))).sum()

    return [value, lambda t, p: -value(t, p)]


@pytest.mark.parametrize(("name", "turns"), [("minimax", 0.5), ("wasserstein", 1.0)])
def test_the_dirac_gan_circles(name, turns):
    found = landscape.game_spectrum(dirac(name), NOTHING)
    assert found.kind == "rotating"
    np.testing.assert_allclose(found.eigenvalues, [1j * turns, -1j * turns], atol=1e-15)
    assert found.stable_step == 0


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.5])
def test_r1_attracts(gamma):
    found = landscape.game_spectrum(dirac("minimax", r1(gamma)), NOTHING)
    root = np.sqrt(complex(gamma**2 / 4 - 0.25))
    expected = np.array([-gamma / 2 + root, -gamma / 2 - root])
    assert found.kind == "attracting"
    np.testing.assert_allclose(found.eigenvalues, expected, atol=3e-8 if gamma == 1 else 1e-15)
    assert (abs(found.eigenvalues - expected) <= found.bounds).all()
    # of x' = (I + hJ) x the largest modulus is 1 at the largest stable step
    at = landscape.update_jacobian(dirac("minimax", r1(gamma)), NOTHING, found.stable_step)
    assert at.radius == pytest.approx(1, abs=1e-7)
    below = landscape.update_jacobian(dirac("minimax", r1(gamma)), NOTHING, found.stable_step / 2)
    assert below.radius < 1


@pytest.mark.parametrize("sigma", [0.5, 1.8])
def test_instance_noise_attracts(sigma):
    found = landscape.game_spectrum(noisy(sigma), NOTHING)
    root = np.sqrt(complex(sigma**4 / 16 - 0.25))
    assert found.kind == "attracting"
    np.testing.assert_allclose(
        found.eigenvalues, [-(sigma**2) / 4 + root, -(sigma**2) / 4 - root], atol=1e-12
    )


def test_alternating_steps_keep_their_distance():
    for h in (0.1, 1.0, 3.9):
        both = landscape.update_jacobian(dirac("minimax"), NOTHING, h)
        assert both.radius == pytest.approx(abs(1 + 0.5j * h), abs=1e-14)
        turns = landscape.update_jacobian(dirac("minimax"), NOTHING, [h, h], alternating=True)
        assert turns.radius == pytest.approx(1, abs=1e-14)
    assert landscape.update_jacobian(dirac("minimax"), NOTHING, 4.1, alternating=True).radius > 1.2


def test_repelling_and_undecided():
    flat = [lambda x, y: x**2 + 0 * y, lambda x, y: 0 * x + y**4]
    assert landscape.game_spectrum(flat, NOTHING).kind == "undecided"
    uphill = [lambda x, y: x**2 + 0 * y, lambda x, y: -(y**2) + 0 * x]
    found = landscape.game_spectrum(uphill, NOTHING)
    assert (found.kind, found.eigenvalues.tolist()) == ("repelling", [2, -2])


def two_nets(zero_sum):
    """A generator of 2 to 4 to 2 and a critic of 2 to 4 to 1, on eight points."""
    key = jax.random.split(jax.random.key(0), 6)
    normal = jax.random.normal
    with jax.enable_x64(True):
        f64 = jnp.float64
        generator = {"a": normal(key[0], (2, 4), f64), "b": normal(key[1], (4, 2), f64)}
        critic = {"a": normal(key[2], (2, 4), f64), "b": normal(key[3], (4,), f64)}
        real, noise = (np.asarray(normal(k, (8, 2), f64)) for k in key[4:])

    def outputs(generator, critic):
        fake = jnp.tanh(noise @ generator["a"]) @ generator["b"]
        return [jnp.tanh(x @ critic["a"]) @ critic["b"] for x in (real, fake)]

    def of_critic(generator, critic):
        on_real, on_fake = outputs(generator, critic)
        return -(jax.nn.log_sigmoid(on_real) + jax.nn.log_sigmoid(-on_fake)).mean()

    def of_generator(generator, critic):
        if zero_sum:
            return -of_critic(generator, critic)
        return -jax.nn.log_sigmoid(outputs(generator, critic)[1]).mean()

    return [of_generator, of_critic], jax.device_get([generator, critic])


@pytest.mark.slow
@pytest.mark.parametrize("zero_sum", [True, False])
def test_blocks_are_the_players_hessians(zero_sum):
    losses, params = two_nets(zero_sum)
    game = landscape.game_jacobian(losses, params)
    matrix, (g, d) = game.dense(), game.blocks
    own = [
        hessian(lambda p: losses[0](p, params[1]), params[0]).dense(),
        hessian(lambda p: losses[1](params[0], p), params[1]).dense(),
    ]
    np.testing.assert_allclose(matrix[g, g], -own[0], atol=1e-14)
    np.testing.assert_allclose(matrix[d, d], -own[1], atol=1e-14)
    off = abs(matrix[g, d] + matrix[d, g].T).max()
    assert off < 1e-14 if zero_sum else off > 1e-3
    vectors = np.random.default_rng(0).normal(size=(2, game.size))
    np.testing.assert_allclose(game.matvec(vectors[0]), matrix @ vectors[0], atol=1e-13)
    np.testing.assert_allclose(game.rmatvec(vectors[1]), matrix.T @ vectors[1], atol=1e-13)
    # by finite differences of the field
    step = 1e-6
    moved = [
        landscape.game_jacobian(
            losses,
            jax.tree.map(lambda p, v, sign=sign: p + sign * step * v, tuple(params),
                         game.unravel(vectors[0])),
        ).field()
        for sign in (1, -1)
    ]  # fmt: skip
    np.testing.assert_allclose((moved[0] - moved[1]) / (2 * step), matrix @ vectors[0], atol=1e-7)


@pytest.mark.slow
def test_products_find_what_the_matrix_has():
    losses, params = two_nets(False)
    whole = landscape.game_spectrum(losses, params)
    some = landscape.game_spectrum(losses, params, exact=False, top=4)
    assert some.kind == whole.kind
    np.testing.assert_allclose(some.eigenvalues[0].real, whole.eigenvalues[0].real, atol=1e-9)
    np.testing.assert_allclose(some.norm, abs(whole.eigenvalues).max(), rtol=1e-9)
    for ends, own in zip(some.players, whole.players, strict=True):
        np.testing.assert_allclose(ends, [own[0], own[-1]], atol=1e-6)


def test_a_loss_is_read_anew():
    scale = {"of": 1.0}
    game = [lambda x, y: scale["of"] * x * y, lambda x, y: -scale["of"] * x * y]
    first = landscape.game_spectrum(game, NOTHING).eigenvalues
    scale["of"] = 3.0
    np.testing.assert_allclose(landscape.game_spectrum(game, NOTHING).eigenvalues, 3 * first)


def test_a_spiral_and_a_straight_way():
    def spiral(turning):
        return [lambda x, y: x**2 / 2 + turning * x * y, lambda x, y: y**2 / 2 - turning * x * y]

    start, end = [np.float64(1), np.float64(0)], NOTHING
    for turning in (0.0, 2.0):
        found = landscape.path_angle(spiral(turning), start, end, points=11, beyond=1.0)
        cosine = 1 / np.sqrt(1 + turning**2)
        expected = np.where(found.places < 1, cosine, -cosine)
        away = found.norms > 1e-12
        np.testing.assert_allclose(found.cosines[away], expected[away], atol=1e-12)


def test_results_are_shown_and_kept(tmp_path):
    found = landscape.game_spectrum(dirac("minimax", r1(2.0)), NOTHING)
    assert str(found).startswith("attracting: small displacements shrink, the slowest at the rate")
    again = landscape.GameSpectrum.load(found.save(tmp_path / "game.npz"))
    np.testing.assert_array_equal(again.eigenvalues, found.eigenvalues)
    assert found.to_dict()["kind"] == "attracting"
    found.plot()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda losses, params: (losses[:1], params), "a loss for each player, got 1 losses, 2"),
        (lambda losses, params: ([1, 2], params), r"a function loss\(params_1"),
        (lambda losses, params: ([lambda x, y: x, losses[1]], [np.ones(2), 0.0]), "one number"),
        (lambda losses, params: (losses, [np.nan, 0.0]), "finite values in params"),
    ],
)
def test_other_games_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        landscape.game_spectrum(*change(dirac("minimax"), NOTHING))


def test_other_options_are_refused():
    losses = dirac("minimax")
    with pytest.raises(ValueError, match="one finite step, or 2"):
        landscape.update_jacobian(losses, NOTHING, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="top up to 0"):
        landscape.game_spectrum(losses, NOTHING, exact=False)
    with pytest.raises(ValueError, match="an end that is not the start"):
        landscape.path_angle(losses, NOTHING, NOTHING)
    with pytest.raises(ValueError, match="a vector of size 2"):
        landscape.game_jacobian(losses, NOTHING).matvec(np.ones(3))
