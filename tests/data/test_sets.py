"""Each built-in set against its closed form or an independent source."""

import numpy as np
import pytest
import sklearn.datasets

from jaxml import data


def sorted_rows(x, y):
    table = np.column_stack([x, y])
    return table[np.lexsort(table.T)]


@pytest.mark.parametrize("seed", [0, 5])
def test_digits_are_scikit_learns_each_once(seed):
    digits = data.digits(seed=seed)
    assert digits.meta["counts"] == {"train": 1077, "validation": 360, "test": 360}
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    whole = digits.everything()
    np.testing.assert_array_equal(
        sorted_rows(whole["x"] * 16, whole["y"]), sorted_rows(x.astype(np.float32), y)
    )
    # No two of the images are the same, so the equality above says that the splits are disjoint.
    assert len(np.unique(x, axis=0)) == 1797


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_digits_are_balanced_and_in_range(part):
    split = getattr(data.digits(), part)
    assert split["x"].min() == 0
    assert split["x"].max() == 1
    whole = np.bincount(sklearn.datasets.load_digits().target)
    expected = whole * len(split["y"]) / 1797
    assert np.abs(np.bincount(split["y"], minlength=10) - expected).max() <= 2


def test_xor_is_no_linear_function_of_its_bits():
    train = data.xor().train
    np.testing.assert_array_equal(train["y"], train["x"].sum(1) == 1)
    design = np.column_stack([train["x"], np.ones(4)])
    np.testing.assert_allclose(design @ np.linalg.lstsq(design, train["y"])[0], 0.5, atol=1e-6)


def test_two_spirals_are_lang_and_witbrocks():
    train = data.two_spirals(n=194, validation=0, test=0).train
    i = np.arange(97)
    angle, radius = i * np.pi / 16, 6.5 * (104 - i) / 104
    for label, sign in ((0, 1), (1, -1)):
        expected = sign * np.column_stack([radius * np.sin(angle), radius * np.cos(angle)])
        got = train["x"][train["y"] == label]
        distance = np.linalg.norm(got[:, None] - expected, axis=-1)
        assert got.shape == (97, 2)
        assert distance.min(0).max() < 1e-5


def test_noise_of_two_spirals_has_its_deviation():
    options = {"n": 20_000, "validation": 0, "test": 0}
    clean = data.two_spirals(**options).train["x"]
    noise = data.two_spirals(**options, noise=0.3).train["x"] - clean
    assert noise.std() == pytest.approx(0.3, rel=5 / np.sqrt(2 * noise.size))


def test_ring_has_its_modes():
    ring = data.ring(n=16_000, noise=0.05, validation=0, test=0)
    centres, y = ring.meta["centres"], ring.train["y"]
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 2)
    neighbours = np.linalg.norm(centres - np.roll(centres, 1, axis=0), axis=1)
    np.testing.assert_allclose(neighbours, 4 * np.sin(np.pi / 8))
    np.testing.assert_array_equal(np.bincount(y), 2000)
    off = ring.train["x"] - centres[y]
    for mode in range(8):
        assert np.abs(off[y == mode].mean(0)).max() < 5 * 0.05 / np.sqrt(2000)
        assert off[y == mode].std() == pytest.approx(0.05, rel=5 / np.sqrt(2 * 4000))


def test_the_grid_has_its_modes():
    grid = data.gaussian_grid(n=5000, validation=0, test=0)
    centres, y = grid.meta["centres"], grid.train["y"]
    assert {tuple(c) for c in centres} == {(a, b) for a in range(-4, 5, 2) for b in range(-4, 5, 2)}
    np.testing.assert_array_equal(np.bincount(y), 200)
    off = grid.train["x"] - centres[y]
    assert off.std() == pytest.approx(0.05, rel=5 / np.sqrt(2 * off.size))


def test_linear_teacher_is_found_by_least_squares():
    dataset = data.linear_teacher(n=5000, inputs=6, outputs=3, noise=0.2)
    whole = dataset.everything()
    found, residual, _, _ = np.linalg.lstsq(whole["x"], whole["y"])
    # An entry's standard error is noise / sqrt(n): 5 of them for 18 entries.
    assert np.abs(found.T - dataset.meta["teacher"]).max() < 5 * 0.2 / np.sqrt(5000)
    np.testing.assert_allclose(np.sqrt(residual / (5000 - 6)), 0.2, rtol=5 / np.sqrt(2 * 5000))


def test_linear_teacher_stays_when_rows_and_noise_change():
    first, second = data.linear_teacher(n=10), data.linear_teacher(n=99, noise=0.0)
    np.testing.assert_array_equal(first.meta["teacher"], second.meta["teacher"])
    train = second.train
    np.testing.assert_allclose(train["x"] @ second.meta["teacher"].T, train["y"], atol=1e-5)
