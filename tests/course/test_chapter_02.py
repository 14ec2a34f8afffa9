"""What the experiments of chapter 2 make themselves, against optax and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxml.course.chapter_02 import rates


def updates_of(optimizer, gradients, state=None):
    state = optimizer.init(gradients[0]) if state is None else state
    found = []
    for gradient in gradients:
        update, state = optimizer.update(gradient, state)
        found.append(update)
    return np.array(found)


@pytest.fixture
def gradients():
    with jax.enable_x64(True):
        yield jnp.asarray(np.random.default_rng(0).normal(size=(30, 4)) * np.logspace(0, -9, 4))


def test_the_mean_over_all_steps_with_decay_is_adagrad(gradients):
    falling = rates.over_root_mean_square(lambda step: 0.3 / jnp.sqrt(step + 1.0))
    peer = optax.adagrad(0.3, initial_accumulator_value=0.0, eps=0.0)
    expected = updates_of(peer, gradients)
    np.testing.assert_allclose(updates_of(falling, gradients), expected, rtol=1e-12)


def test_the_mean_over_the_recent_steps_is_rmsprop_from_the_first_square(gradients):
    peer = optax.scale_by_rms(decay=0.99, eps=0.0)
    state = optax.ScaleByRmsState(nu=gradients[0] ** 2)
    expected = -0.1 * updates_of(peer, gradients, state)
    found = updates_of(rates.over_root_mean_square(0.1, 0.99), gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_without_a_gradient_nothing_moves():
    zeros = jnp.zeros((3, 2))
    assert not updates_of(rates.over_root_mean_square(0.3), zeros).any()
