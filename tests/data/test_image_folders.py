"""Folders of images, whole, in splits, and with every fault a folder can have."""

import numpy as np
import pytest
from PIL import Image

from jaxml import data
from jaxml.cli import main
from jaxml.data import from_image_folder, image_rows

RNG = np.random.default_rng(0)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Six of one class and four of the other, 4 by 6, in shades of grey."""
    for kind, count in (("wolf", 6), ("dog", 4)):
        for i in range(count):
            save(tmp_path / "pets" / kind / f"{i}.png", RNG.integers(0, 256, (4, 6)))
    return tmp_path / "pets"


def test_pixels_and_classes(folder):
    dataset = from_image_folder(folder, validation=0, test=0)
    assert dataset.meta["class_names"] == ["dog", "wolf"]
    assert dataset.meta["input_shape"] == (4, 6, 1)
    rows = {row.tobytes(): label for row, label in zip(*dataset.train.values(), strict=True)}
    for label, (kind, count) in enumerate((("dog", 4), ("wolf", 6))):
        for i in range(count):
            pixels = np.asarray(Image.open(folder / kind / f"{i}.png"), np.float32) / 255
            assert rows[pixels.tobytes()] == label
    shares = from_image_folder(folder, validation=0.2, test=0.2)
    assert shares.meta["counts"] == {"train": 6, "validation": 2, "test": 2}


def test_splits_that_are_there_already(tmp_path):
    levels = {"train": (10, 20), "test": (30, 40)}
    for part, (low, high) in levels.items():
        save(tmp_path / part / "a" / "x.png", np.full((2, 2), low))
        save(tmp_path / part / "b" / "x.png", np.full((2, 2), high))
    (tmp_path / "train" / ".cache").mkdir()
    dataset = from_image_folder(tmp_path)
    assert dataset.validation is None
    for part, expected in levels.items():
        split = dataset.splits[part]
        np.testing.assert_array_equal(split["y"], [0, 1])
        np.testing.assert_allclose(split["x"][:, 0, 0, 0] * 255, expected, rtol=1e-6)
    save(tmp_path / "test" / "c" / "x.png", np.zeros((2, 2)))
    with pytest.raises(
        ValueError, match=r"the classes a, b in .*test, got a difference in \['c'\]"
    ):
        from_image_folder(tmp_path)


def test_kinds_of_pixels(tmp_path):
    colour = RNG.integers(0, 256, (2, 2, 3))
    clear = np.concatenate([colour, np.full((2, 2, 1), 51)], -1)  # a fifth of the colour on white
    save(tmp_path / "a" / "1.png", colour)
    save(tmp_path / "a" / "2.png", clear)
    save(tmp_path / "b" / "3.png", colour[..., 0])
    grey16 = (np.arange(4).reshape(2, 2) * 65535 / 3).astype(np.uint16)
    Image.fromarray(grey16).save(tmp_path / "b" / "4.png")
    x = from_image_folder(tmp_path, validation=0, test=0, seed=0).train["x"]
    x = {row.tobytes(): row for row in np.round(x * 255)}
    expected = [
        colour,
        np.round(255 - (255 - colour) / 5),
        np.repeat(colour[..., :1], 3, -1),
        np.repeat(np.arange(4).reshape(2, 2, 1) * 85, 3, -1),
    ]
    for one in expected:
        assert min(np.abs(row - one).max() for row in x.values()) <= 1


def test_sizes(folder):
    save(folder / "dog" / "wide.png", np.repeat([[0, 100]], 8, 0).repeat(6, 1))
    with pytest.raises(ValueError, match=r"4 by 6 pixels .* got .*wide.png of 8 by 12"):
        from_image_folder(folder)
    dataset = from_image_folder(folder, size=(2, 4), validation=0, test=0)
    assert dataset.meta["input_shape"] == (2, 4, 1)
    areas = [row for row in dataset.train["x"] if np.allclose(row[0, :, 0] * 255, [0, 0, 100, 100])]
    assert len(areas) == 1
    assert from_image_folder(folder, size=3).meta["input_shape"] == (3, 3, 1)


def cut_short(folder):
    file = folder / "dog" / "0.png"
    save(file, RNG.integers(0, 256, (40, 60)))
    file.write_bytes(file.read_bytes()[:900])


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        (lambda f: (f / "dog" / "notes.txt").write_text("hm"), {}, "Pillow reads, got .*notes.txt"),
        (lambda f: (f / "dog" / "0.png").write_bytes(b""), {}, "Pillow reads, got .*0.png"),
        (cut_short, {"size": 4}, "whole image, got .*0.png"),
        (lambda f: (f / "cat").mkdir(), {}, "images in each folder of them, got none in .*cat"),
        (lambda f: (f / "wolf").rename(f / "dog" / "wolf"), {}, "two classes .* got .'dog'."),
        (lambda f: f.rename(f.parent / "gone"), {}, "a folder of images, got .*pets"),
        (lambda f: f, {"size": (4, 6, 1)}, "size to be .height, width. or one number"),
        (lambda f: f, {"size": 0}, "size .* got 0"),
        (lambda f: f, {"seed": -1}, "seed .* got -1"),
    ],
)
def test_bad_folders(folder, change, options, expected):
    change(folder)
    with pytest.raises(ValueError, match=expected):
        from_image_folder(folder, **options)


def test_images_to_predict(folder):
    meta = from_image_folder(folder).meta
    rows = image_rows(folder, meta)
    assert rows["y"].tolist() == [0] * 4 + [1] * 6
    alone = image_rows(folder / "wolf", meta)
    assert set(alone) == {"x"}
    np.testing.assert_array_equal(alone["x"], rows["x"][4:])
    save(folder / "cat" / "1.png", np.zeros((4, 6)))
    with pytest.raises(ValueError, match=r"the classes dog, wolf, got \['cat'\]"):
        image_rows(folder, meta)


@pytest.mark.slow
def test_train_and_predict_by_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    digits = data.load("digits").train
    for i, (x, y) in enumerate(zip(digits["x"][:200], digits["y"][:200], strict=True)):
        if y < 2:
            level = (x.reshape(8, 8) * 255 / digits["x"].max()).astype(np.uint8)
            save(tmp_path / "ink" / ["zero", "one"][y] / f"{i}.png", level)
    train = "train cnn --data ink --image-size 12 --channels 4 --hidden 8 --steps 60 --out run"
    assert main(train.split()) == 0
    assert "classes one, zero" in capsys.readouterr().out
    assert main(["predict", "run", "ink"]) == 0
    out, told = capsys.readouterr()
    table = out.splitlines()
    assert table[0] == "prediction,probability_one,probability_zero"
    right = [line.split(",")[0] for line in table[1:]].count("one"), len(table) - 1
    assert 0 < right[0] < right[1] == len(list(tmp_path.glob("ink/*/*.png")))
    assert "accuracy" in told
    assert main(["train", "mlp", "--data", "digits", "--image-size", "12"]) == 2
    assert "--image-size for a folder of images as --data, got 'digits'" in capsys.readouterr().err
