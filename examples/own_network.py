"""A network of your own, of no library in particular, through the critical-point tool.

Run:    jaxml landscape examples/own_network.py:problem
Time:   some ten seconds on 2 CPU cores
Expect: 100 steps of gradient descent have not reached a critical point; near it are saddles,
        and every escape from those leads to a minimum
"""

import jax
import jax.numpy as jnp
from sklearn.datasets import load_iris

features, labels = load_iris(return_X_y=True)
features = jnp.asarray((features - features.mean(0)) / features.std(0))
labels = jnp.asarray(labels)


def loss(params):
    hidden = jnp.tanh(features @ params["w1"] + params["b1"])
    logits = hidden @ params["w2"] + params["b2"]
    log_probabilities = jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]
    decay = sum((leaf**2).sum() for leaf in jax.tree.leaves(params))
    return -log_probabilities.mean() + 5e-3 * decay


def problem():
    """What `jaxml landscape` calls: a loss, and a point to look at."""
    key1, key2 = jax.random.split(jax.random.key(0))
    params = {
        "w1": jax.random.normal(key1, (4, 6)) / 2,
        "b1": jnp.zeros(6),
        "w2": jax.random.normal(key2, (6, 3)) / 2,
        "b2": jnp.zeros(3),
    }

    @jax.jit
    def descend(params, _):
        gradient = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient), None

    params, _ = jax.lax.scan(descend, params, length=100)
    return loss, params
