"""A loss that changes between two calls is another loss: ½s²‖Xw‖² has the Hessian s²XᵀX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxml import landscape
from jaxml.landscape.critical import analysis
from jaxml.training import losses

W = np.array([1.0, -0.5], np.float32)
EYE = np.eye(2, dtype=np.float32)
SCALE = 1.0


class Quadratic:
    """Reads an attribute."""

    def __init__(self):
        self.X = EYE

    def loss(self, w):
        return 0.5 * ((self.X @ w) ** 2).sum()


def quartic(holder):
    """With critical points whose place does not depend on the scale, but whose loss does."""
    return lambda w: holder["s"] ** 2 * ((w**2 - 1) ** 2).sum()


def top(operator):
    return float(landscape.eigenpairs(operator, top=1).values[-1])


# of a loss that is s² times another, something that grows as s²
MEASURED = {
    "analyze": lambda f: landscape.analyze(f, W).eigenvalues[-1],
    "hessian dense": lambda f: landscape.hessian(f, W).dense()[0, 0],
    "hessian matvec": lambda f: landscape.hessian(f, W).matvec(EYE[0])[0],
    "eigenpairs": lambda f: top(landscape.hessian(f, W)),
    "trace": lambda f: landscape.trace(landscape.hessian(f, W)).value,
    "density": lambda f: landscape.spectral_density(landscape.hessian(f, W)).moment(1).value,
    "block": lambda f: landscape.hessian_block(
        lambda p: f(jnp.stack([p["a"], p["b"]])), {"a": W[0], "b": W[1]}, "a", "a"
    ).matvec(np.ones(1, np.float32))[0],
    "layers": lambda f: top(
        landscape.hessian(lambda p: f(p["a"]), {"a": W, "b": W[:1]}, layers="a")
    ),
    "find_critical_point": lambda f: landscape.find_critical_point(f, W / 8).path["loss"][0],
    "find_saddle": lambda f: landscape.find_saddle(f, W / 8).path["loss"][0],
    "connected_minima": lambda f: landscape.connected_minima(f, 0 * W, direction=EYE[0])[0].path[
        "loss"
    ][0],
    "descend": lambda f: landscape.descend(f, W).path["loss"][0],
    "escape": lambda f: landscape.escape(f, 0 * W, direction=EYE[0], max_steps=0).path["loss"][0],
    "follow": lambda f: landscape.follow(f, W[None]).eigenvalues[0, -1],
    "surface": lambda f: landscape.surface(f, W, EYE, coordinates=[-1.0, 0.0, 1.0]).losses[0, 0],
    "sharpness": lambda f: landscape.sharpness(f, W).largest_eigenvalue,
    "connect": lambda f: landscape.connect(f, W, -W, steps=2).line[0],
    "explore": lambda f: landscape.explore(f, W, searches=1).point.loss,
    "find_minimum": lambda f: landscape.find_minimum(f, np.float32([0.9, -1.1])).eigenvalues[-1],
    "inspect": lambda f: landscape.inspect(f, W, top=1).eigenpairs.values[-1],
}


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURED.values(), ids=MEASURED)
def test_everything_reads_the_loss_at_every_call(measure):
    holder = {"s": 1.0}
    loss = quartic(holder)
    before = float(measure(loss))
    holder["s"] = 3.0
    assert float(measure(loss)) == pytest.approx(9 * before, rel=1e-4)
    assert before != 0


@pytest.mark.slow
def test_attribute_global_closure_in_place_and_partial():
    global SCALE  # noqa: PLW0603 - the point of the test
    largest = lambda loss: landscape.analyze(loss, W).eigenvalues[-1]  # noqa: E731

    holder = Quadratic()
    assert largest(holder.loss) == 1
    holder.X = 3 * EYE
    assert largest(holder.loss) == 9
    holder.X *= 2
    assert largest(holder.loss) == 36

    def of_global(w):
        return SCALE * (w**2).sum()

    seen = []
    for value in (1.0, 4.0):
        SCALE = value
        seen += [largest(of_global), largest(Partial(of_global))]
    SCALE = 1.0
    assert seen == [2, 2, 8, 8]


def test_the_program_is_kept_where_only_numbers_change():
    holder = Quadratic()
    before = analysis._derivatives._cache_size()
    for scale in (1, 2, 3):
        holder.X = scale * EYE
        assert landscape.analyze(holder.loss, W).eigenvalues.tolist() == [scale**2, scale**2]
        fresh = lambda w, X=holder.X: 0.5 * ((X @ w) ** 2).sum()  # noqa: E731
        assert landscape.analyze(fresh, W).eigenvalues.tolist() == [scale**2, scale**2]
    assert analysis._derivatives._cache_size() <= before + 1


def test_an_operator_is_of_the_loss_as_it_was():
    holder = {"s": 1.0}
    operator = landscape.hessian(quartic(holder), W)
    holder["s"] = 3.0
    np.testing.assert_allclose(operator.dense(), np.diag(12 * W**2 - 4), rtol=1e-6)


DATA = {"x": np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32), "y": np.ones(12)}
OVER_DATA = {
    "dense": lambda f: landscape.hessian(f, W).dense()[0, 0],
    "matvec": lambda f: landscape.hessian(f, W).matvec(EYE[0])[0],
    "analyze": lambda f: landscape.analyze(f, W).eigenvalues.sum(),
    "gauss_newton": lambda f: landscape.gauss_newton(f, W).matvec(EYE[0])[0],
    "fisher": lambda f: landscape.fisher(f, W).matvec(EYE[0])[0],
}


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("measure", OVER_DATA.values(), ids=OVER_DATA)
def test_losses_over_data_too(measure, batch_size):
    holder = {"s": 1.0}
    loss = landscape.data_loss(
        lambda w, batch: holder["s"] * (batch["x"] @ w), losses.mse, DATA, batch_size=batch_size
    )
    before = float(measure(loss))
    holder["s"] = 3.0
    assert float(measure(loss)) == pytest.approx(9 * before, rel=1e-4)


def test_an_operator_over_data_says_that_its_loss_has_changed():
    holder = {"s": 1.375}  # compiled nowhere else
    loss = landscape.data_loss(
        lambda w, batch: holder["s"] * (batch["x"] @ w), losses.mse, DATA, batch_size=5
    )
    operator = landscape.hessian(loss, W)
    holder["s"] = 3.0
    with pytest.raises(ValueError, match="got one that has changed since"):
        operator.matvec(EYE[0])


@pytest.mark.slow
def test_custom_rules_are_read_too():
    factor = {"of": 2.0}

    @jax.custom_jvp
    def square(x):
        return x**2

    @square.defjvp
    def rule(primals, tangents):
        return square(*primals), factor["of"] * primals[0] * tangents[0]

    def loss(w):
        return square(w).sum()

    assert landscape.analyze(loss, W).eigenvalues.tolist() == [2, 2]
    factor["of"] = 5.0
    assert landscape.analyze(loss, W).eigenvalues.tolist() == [5, 5]
