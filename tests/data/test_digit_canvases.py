"""Canvases of digits against the digits that they are made of."""

import numpy as np
import pytest

from jaxml import data

OPTIONS = {"n": 300, "most": 3, "size": 24}


def pieces(split, size):
    """The image, the class and the number of times of each digit that stands on a canvas."""
    sides = np.rint(split["boxes"] * size)
    for row in range(len(split["x"])):
        for place in range(split["y_length"][row]):
            across, down, width, height = split["boxes"][row, place] * size
            left, top = round(across - width / 2), round(down - height / 2)
            width, height = sides[row, place, 2:].astype(int)
            yield row, split["x"][row, top : top + height, left : left + width, 0], place


def cut(image):
    """The part of an image that has ink."""
    ink = image > 0
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def test_what_is_in_the_boxes_are_digits_of_their_own_split():
    canvases, digits = data.load("digit_canvases", **OPTIONS), data.load("digits")
    assert canvases.meta["counts"] == {"train": 300, "validation": 60, "test": 60}
    for name, split in canvases.splits.items():
        images = digits.splits[name]["x"].reshape(-1, 8, 8)
        known = {cut(i).tobytes(): y for i, y in zip(images, digits.splits[name]["y"], strict=True)}
        ink = np.zeros(len(split["x"]))
        for row, found, place in pieces(split, 24):
            assert known[found.tobytes()] == split["y"][row, place]
            ink[row] += found.sum()
        # nothing else is there, and nothing lies upon another
        np.testing.assert_allclose(ink, split["x"].sum((1, 2, 3)), rtol=1e-5)


def test_counts_classes_and_places_are_drawn_evenly():
    train = data.load("digit_canvases", n=3000).train
    counts = np.bincount(train["y_length"], minlength=4)[1:]
    assert abs(counts - 1000).max() < 5 * np.sqrt(3000 * 2 / 9)
    present = np.arange(3) < train["y_length"][:, None]
    classes = np.bincount(train["y"][present])
    assert abs(classes - present.sum() / 10).max() < 6 * np.sqrt(present.sum() * 0.09)
    np.testing.assert_allclose(train["boxes"][present][:, :2].mean(0), 0.5, atol=0.02)
    assert (train["boxes"][~present] == 0).all()
    assert (train["y"][~present] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 23}, "size of at least 24 for 3 digits, got 23"),
     ({"n": 0}, "n to be a whole number"), ({"most": 1.5}, "most to be a whole number"),
     ({"seed": -1}, "seed to be")],
)  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("digit_canvases", **options)
