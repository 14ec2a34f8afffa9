# %% [markdown]
# # Where did my optimiser stop?
#
# A loss curve that has gone flat does not say whether the training has arrived: at a minimum, at a
# saddle, or nowhere. Below, a network written in plain JAX and trained by optax is looked at with
# `jaxml.landscape`. Every result begins with its verdict and shows its own pictures.

# %%
import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.sparse.linalg
from flax import nnx

from jaxml import data, landscape, nn, training
from jaxml.training import losses, optimizers, sampling

x = jnp.linspace(-3, 3, 80)[:, None]
y = jnp.sin(2 * x) + 0.3 * x

# %% [markdown]
# ## A network of one's own
# Parameters are any pytree of arrays, the loss any function of them that returns one number.


# %%
def predict(params, x):
    return jnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"]


def loss(params):
    decay = sum((leaf**2).sum() for leaf in jax.tree.leaves(params))
    return ((predict(params, x) - y) ** 2).mean() + 1e-3 * decay


keys = jax.random.split(jax.random.key(0))
start = {
    "w1": jax.random.normal(keys[0], (1, 5)),
    "b1": jnp.zeros(5),
    "w2": jax.random.normal(keys[1], (5, 1)),
}


@jax.jit
def train(params):
    adam = optax.adam(1e-2)

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    (params, _), curve = jax.lax.scan(step, (params, adam.init(params)), length=1000)
    return params, curve


params, curve = train(start)
print(f"loss {curve[0]:.3f} at first, {curve[-2]:.5f} and {curve[-1]:.5f} at last")

# %% [markdown]
# The loss hardly moves any more. Has it arrived?

# %%
landscape.spectrum(loss, params)

# %% [markdown]
# `find_minimum` descends from there until the Hessian certifies where it is.

# %%
minimum = landscape.find_minimum(loss, params)
minimum

# %% [markdown]
# ## A saddle, and the way out
# A sixth unit whose weights are all zero changes no prediction and has no gradient: gradient
# descent stays there. Is it a minimum of the larger network too? `analyze` is `spectrum` for points
# that are thought to be critical; in float64 its tolerances are smaller.

# %%
found = minimum.params  # NumPy's, in float64
wider = {
    "w1": np.pad(found["w1"], ((0, 0), (0, 1))),
    "b1": np.pad(found["b1"], (0, 1)),
    "w2": np.pad(found["w2"], ((0, 1), (0, 0))),
}
landscape.analyze(loss, wider, float64=True)

# %% [markdown]
# It is a saddle: its lowest eigenvector leads out, with both signs.

# %%
landscape.escape(loss, wider, float64=True)

# %% [markdown]
# ## The neighbourhood
# Searches for critical points from the point and around it. Each that is found is analysed, and
# left downwards if it is a saddle.

# %%
explored = landscape.explore(loss, wider, searches=4, float64=True)
explored

# %%
explored.to_dataframe()[["role", "loss", "kind", "index", "escape_loss"]]

# %% [markdown]
# A plane through the minimum, along two random directions whose parts are as long as the weights:

# %%
directions = landscape.random_directions(found)
landscape.surface(loss, found, directions)

# %% [markdown]
# ## By products alone
# Above 3,000 parameters `spectrum` forms no matrix: it multiplies by the Hessian, and every number
# carries its error. The network below has 1,210, so that this page takes seconds, and is told to.

# %%
digits = data.load("digits").train
model = nn.mlp([64, 16, 10], activation="tanh")
algorithm = training.supervised(model, losses.softmax_cross_entropy, optimizers.adam(3e-3), l2=1e-4)
run = training.fit(algorithm, digits, sampling.epochs(64), key=jax.random.key(0), steps=400)
digits_loss = training.full_loss(algorithm, run.state, digits)

landscape.spectrum(digits_loss, run.state.params, exact=False)

# %%
operator = landscape.hessian(digits_loss, run.state.params)
pairs = landscape.eigenpairs(operator, top=4)
pairs

# %% [markdown]
# SciPy takes the same operator, and finds the same eigenvalues:

# %%
theirs, _ = scipy.sparse.linalg.eigsh(operator.to_scipy(), k=4, which="LA", tol=1e-5)
assert np.allclose(pairs.values, theirs, rtol=1e-4)
theirs

# %% [markdown]
# The distribution of all of them, from a few random vectors, and their sum:

# %%
landscape.spectral_density(operator, steps=30, probes=4)

# %%
landscape.trace(operator, max_products=60)

# %% [markdown]
# ## A module of NNX, a module of Equinox
# Modules are taken as they are.

# %%
module = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
landscape.spectrum(lambda module: ((module(x) - y) ** 2).mean(), module)

# %%
mlp = equinox.nn.MLP(1, 1, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
landscape.spectrum(lambda mlp: ((jax.vmap(mlp)(x) - y) ** 2).mean(), mlp)
