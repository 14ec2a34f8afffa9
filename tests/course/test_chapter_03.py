"""What chapter 3's experiments measure with, against independent truths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot
from scipy.signal import correlate2d

from jaxml import nn
from jaxml.course import pictures
from jaxml.course.chapter_03 import depth, filters, moved
from jaxml.course.curve_fits import fit_curve

IMAGES = np.random.default_rng(0).uniform(size=(2, 8, 8, 1)).astype(np.float32)


def test_shifted_by_a_pixel():
    right = moved.shifted(IMAGES, 1)
    np.testing.assert_allclose(right[:, :, 1:], IMAGES[:, :, :-1], atol=1e-6)
    np.testing.assert_allclose(right[:, :, 0], 0, atol=1e-6)


def test_turned_by_a_quarter():
    np.testing.assert_allclose(
        moved.turned(IMAGES, 90), np.rot90(IMAGES, -1, (1, 2)), atol=1e-5
    )  # clockwise


def test_scaled_twofold_is_each_pixel_about_four_times():
    even = np.full((1, 8, 8, 1), 0.5, np.float32)
    np.testing.assert_allclose(moved.scaled(IMAGES, 1), IMAGES, atol=1e-6)
    assert moved.scaled(even, 2) == pytest.approx(0.5)
    assert moved.scaled(even, 0.5).sum() == pytest.approx(even.sum() / 4, rel=1e-5)


def test_activation_is_that_of_the_network():
    random = np.random.default_rng(1)
    first, second = (
        {"kernel": random.normal(size=(3, 3, *channels)), "bias": random.normal(size=channels[1])}
        for channels in ((1, 2), (2, 3))
    )
    params = jax.tree.map(np.float32, {"conv_0": first, "conv_1": second})

    def layer(maps, weights):
        found = []
        for k, bias in enumerate(weights["bias"]):
            kernels = np.moveaxis(weights["kernel"][..., k], -1, 0)
            parts = [correlate2d(m, w, "same") for m, w in zip(maps, kernels, strict=True)]
            found.append(np.maximum(sum(parts) + bias, 0))
        return found

    known = []
    for image in IMAGES[..., 0]:
        pooled = [m.reshape(4, 2, 4, 2).max((1, 3)) for m in layer([image], first)]
        known.append([m.mean() for m in layer(pooled, second)])
    np.testing.assert_allclose(filters.activation(params, jnp.asarray(IMAGES)), known, rtol=1e-5)


def test_parity_counts_the_first_bits_and_repeats_no_row():
    splits = depth._parity(bits=6, counted=3, examples=10)
    x = np.concatenate([rows["x"] for rows in splits])
    assert [len(rows["x"]) for rows in splits] == [10, 10, 44]
    assert len(np.unique(x, axis=0)) == 64
    odd = np.concatenate([rows["y"] for rows in splits]) == 1
    np.testing.assert_array_equal(x[:, :3].prod(1) == 1, odd)  # ones are +1, zeros -1


def test_errors_are_told_apart_only_beyond_the_interval():
    some = np.array([0.1, 0.2, 0.3])
    assert depth._compared(some + 1, some) == "more"
    assert depth._compared(some, some + 1) == "less"
    assert depth._compared(some, some + 0.1) == "not told apart"
    assert depth._compared(np.zeros(3), np.zeros(3)) == "the same"


def test_a_line_is_fitted_at_the_best_of_the_rates():
    x = np.linspace(-1, 1, 17)
    errors, values = fit_curve(nn.linear(1, 1), x, 2 * x + 1, seeds=2, steps=200, rates=(1e-6, 0.1))
    assert errors.shape == (2,)
    assert errors.max() < 1e-2
    assert np.sqrt(((values - 2 * x - 1) ** 2).mean()) == pytest.approx(errors.min(), abs=1e-6)


def test_curves_have_intervals_where_they_are_given():
    figure = pictures.curves({"a": ([1, 2], [3, 4], [0.5, 1.5]), "b": [1, 2]}, "Two lines.")
    _, axes = pyplot.subplots()
    figure.draw(axes)
    (bars,) = axes.containers
    segments = bars[2][0].get_segments()
    np.testing.assert_allclose([s[:, 1] for s in segments], [[2.5, 3.5], [2.5, 5.5]])
    pyplot.close()
