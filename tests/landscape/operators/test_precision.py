"""Parameters of any precision and size, in and out of JAX's float64 mode."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxml import landscape
from jaxml.training import losses

# with Hessian diag(8, −1) whatever else there is
PARAMS = {
    "bias": np.zeros((0,), np.float32),
    "w": np.array([1.0, -0.5], np.float32),
    "kernel": np.zeros((3, 0, 2), np.float32),
}


def quartic(params):
    nothing = sum(leaf.sum() for leaf in jax.tree.leaves(params) if not leaf.size)
    return ((params["w"] ** 2 - 1) ** 2).sum() + nothing


MEASURED = {
    "analyze": lambda: landscape.analyze(quartic, PARAMS).eigenvalues,
    "dense": lambda: np.diag(landscape.hessian(quartic, PARAMS).dense())[::-1],
    "matvec": lambda: landscape.hessian(quartic, PARAMS).matvec(np.float32([1, 1]))[::-1],
    "eigenpairs": lambda: (
        landscape.eigenpairs(landscape.hessian(quartic, PARAMS), top=1, lowest=1).values
    ),
    "follow": lambda: landscape.follow(
        quartic, jax.tree.map(lambda leaf: np.stack([leaf, leaf]), PARAMS)
    ).eigenvalues[0],
    "inspect": lambda: (
        landscape.inspect(quartic, PARAMS, ["eigenpairs", "layers"], top=1).eigenpairs.values
    ),
    "layers": lambda: np.diag(landscape.hessian(quartic, PARAMS, layers="w").dense())[::-1],
    "density": lambda: landscape.spectral_density(landscape.hessian(quartic, PARAMS)).nodes[0],
}


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("measure", MEASURED.values(), ids=MEASURED)
def test_empty_arrays_and_global_float64(measure, x64):
    with jax.enable_x64(x64):
        values = measure()
    np.testing.assert_allclose(values, [-1, 8], rtol=1e-5)
    assert np.asarray(values).dtype in (np.float32, np.float64)


@pytest.mark.slow
@pytest.mark.parametrize("x64", [False, True])
def test_descents_with_empty_arrays(x64):
    with jax.enable_x64(x64):
        for method in ("lbfgs", "trust_region"):
            assert landscape.descend(quartic, PARAMS, method).loss < 1e-9
        for method in ("newton", "newton_mr", "gradient_norm"):
            assert landscape.find_critical_point(quartic, PARAMS, method).converged
    plane = landscape.random_directions(PARAMS, biases=True)
    seen = landscape.surface(quartic, PARAMS, plane, coordinates=[-1.0, 0.0, 1.0])
    assert seen.losses[1, 1] == 0.5625


@pytest.mark.slow
def test_a_layer_without_inputs():
    rng = np.random.default_rng(0)
    params = {
        "W": np.zeros((0, 4), np.float32),
        "b": rng.normal(size=4).astype(np.float32),
        "V": rng.normal(size=(4, 1)).astype(np.float32),
    }
    loss = landscape.data_loss(
        lambda p, batch: jnp.tanh(batch["x"][:, :0] @ p["W"] + p["b"]) @ p["V"],
        lambda z, batch: (z[:, 0] - batch["y"]) ** 2,
        {"x": np.ones((6, 2), np.float32), "y": np.arange(6, dtype=np.float32)},
    )
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    truth = jax.jit(jax.hessian(lambda v: loss(unravel(v))))(flat)
    np.testing.assert_allclose(landscape.hessian(loss, params).dense(), truth, atol=1e-5)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_16_bit_parameters_are_analysed_in_float32_and_said_so(dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    with pytest.warns(UserWarning, match="are analysed in float32"):
        point = landscape.analyze(quartic, params)
    assert point.dtype == np.float32
    np.testing.assert_allclose(point.eigenvalues, [-1, 8], rtol=1e-6)


def casting(params):
    """A quartic in mixed precision: what it returns is float32 whatever the parameters are."""
    return quartic(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params))


KERNEL = np.ones((1, 1, 2), np.float32)


def convolving(params):
    """A raw convolution, which does not promote, over captured float32 data."""
    flat = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)])
    out = jax.lax.conv(flat[None, None, :], jnp.asarray(KERNEL), (1,), "SAME")
    return (out**2).sum() + (flat**2).sum()


@pytest.mark.slow
@pytest.mark.parametrize("loss", [casting, convolving])
@pytest.mark.filterwarnings("error")
def test_a_loss_that_cannot_be_in_float64_is_searched_in_float32_with_a_word(loss):
    with pytest.warns(UserWarning, match="computed in float32, as in float64"):
        lowest = landscape.find_minimum(loss, PARAMS)
    asked = landscape.find_minimum(loss, PARAMS, float64=False)
    for point in (lowest, asked):
        assert point.dtype == np.float32
        assert point.kind == "minimum"
    with pytest.raises((TypeError, ValueError), match="float32"):
        landscape.find_minimum(loss, PARAMS, float64=True)


@pytest.mark.slow
def test_an_exploration_in_float32():
    seen = landscape.explore(casting, PARAMS, searches=2, float64=False)
    assert seen.point.dtype == np.float32
    assert seen.config["float64"] is False
    with pytest.raises(ValueError, match="one number"):
        landscape.explore(lambda p: jnp.ones(2), PARAMS, searches=2)


@pytest.mark.oracle
def test_bfloat16_tensors():
    torch = pytest.importorskip("torch")
    params = {name: torch.tensor(leaf).bfloat16() for name, leaf in PARAMS.items()}
    with pytest.warns(UserWarning, match="bfloat16 are analysed in float64"):
        point = landscape.analyze(quartic, params, float64=True)
    np.testing.assert_allclose(point.eigenvalues, [-1, 8], rtol=1e-12)


def test_float64_data_keep_their_digits():
    # in float32 the two rows are one, and the Hessian 2·mean(x²) of (xw)² is another
    x = np.array([[1.0], [1.0 + 1e-9]])
    loss = landscape.data_loss(lambda w, b: b["x"] @ w, losses.mse, {"x": x, "y": np.zeros(2)})
    got = landscape.hessian(loss, np.ones(1)).dense()[0, 0]
    assert got == pytest.approx(2 * (x**2).mean(), rel=1e-15)
    assert got != 2
    assert float(loss(jnp.ones(1))) == 1  # float32, as everything outside of float64 mode


def test_functions_of_a_batch_are_given_jax_arrays_outside_of_jit_too():
    x = np.array([[1.0], [3.0]])
    first = lambda w, batch: batch["x"].at[:, 0].get()[:, None] @ w  # noqa: E731
    loss = landscape.data_loss(first, losses.mse, {"x": x, "y": np.zeros(2)})
    assert float(loss(np.ones(1, np.float32))) == 5


@pytest.mark.slow
def test_data_of_either_precision_meet_the_parameters():
    """A raw lax primitive does not promote."""

    def predict(w, batch):
        return jax.lax.dot_general(batch["x"], w, (((1,), (0,)), ((), ())))

    for x in (np.ones((3, 2), np.float32), jnp.ones((3, 2)), np.ones((3, 2))):
        loss = landscape.data_loss(predict, losses.mse, {"x": x, "y": np.zeros(3, np.float32)})
        for dtype in (np.float32, np.float64):
            point = landscape.analyze(loss, np.zeros(2, dtype))
            assert point.dtype == dtype
            np.testing.assert_allclose(point.eigenvalues, [0, 4], atol=1e-6)
