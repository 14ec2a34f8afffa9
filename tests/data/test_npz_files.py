"""`from_npz`: round trips, and files that are not what they should be."""

import io
import os
import random
import zipfile

import numpy as np
import pytest

from jaxml import data
from jaxml.data import npz_files

X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


def test_whole_arrays_split_as_from_arrays_does(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, x=X, y=Y)
    got = data.from_npz(path, validation=0.3, test=0.1, seed=4)
    expected = data.from_arrays(X, Y, validation=0.3, test=0.1, seed=4, name="mine")
    for part in ("train", "validation", "test"):
        for key in "xy":
            np.testing.assert_array_equal(getattr(got, part)[key], getattr(expected, part)[key])
    assert got.meta == expected.meta


def test_splits_of_the_file_are_kept(tmp_path):
    path = tmp_path / "parts.npz"
    np.savez(path, x_train=X[:15], y_train=Y[:15], x_test=X[15:], y_test=Y[15:] + 2)
    got = data.from_npz(path)
    np.testing.assert_array_equal(got.train["x"], X[:15])
    np.testing.assert_array_equal(got.test["y"], Y[15:] + 2)
    assert got.validation is None
    assert got.meta["classes"] == 4  # a label that only the test has counts
    assert got.meta["counts"] == {"train": 15, "validation": 0, "test": 5}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "got no key"),
        ({"x": X}, "keys x and y, .* got x in"),
        ({"x": X, "y": Y, "z": X}, "got x, y, z in"),
        ({"x_train": X}, "got x_train in"),
        ({"x_test": X, "y_test": Y}, "got x_test, y_test in"),
        ({"x_train": X, "y_train": Y, "x_valid": X, "y_valid": Y}, "got x_train, x_valid"),
        ({"x": X, "y": Y[:3]}, "20 and 3 rows"),
        ({"x_train": X, "y_train": Y[:3]}, "x_train and y_train of one length"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y},
            r"x_test to have rows of shape \(2,\), as x_train has, got \(1,\)",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y * 0.5},
            "y_test to hold integer labels",
        ),
    ],
)
def test_keys_and_shapes_that_do_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.from_npz(tmp_path / "bad.npz")


class Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["npz", "npy", "pickle"])
def test_nothing_is_unpickled(tmp_path, form):
    path, exploded = tmp_path / "bomb.npz", tmp_path / "exploded"
    bomb = np.array([Bomb(exploded)], dtype=object)
    if form == "npz":
        np.savez(path, x=bomb, y=Y)
    elif form == "npy":
        with path.open("wb") as file:
            np.save(file, bomb, allow_pickle=True)
    else:
        bomb.dump(path)
    with pytest.raises(ValueError, match=r"expected an? .*npz file.* got .*bomb\.npz"):
        data.from_npz(path)
    assert not exploded.exists()
    # The bomb is live, so its silence above means something.
    if form != "pickle":
        loaded = np.load(path, allow_pickle=True)
        _ = loaded["x"] if form == "npz" else loaded
        assert exploded.exists()


def test_files_that_are_no_npz(tmp_path):
    with pytest.raises(ValueError, match="which is not a file"):
        data.from_npz(tmp_path / "missing.npz")
    with pytest.raises(ValueError, match="which is not a file"):
        data.from_npz(tmp_path)
    (tmp_path / "text.npz").write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match=r"a whole \.npz file"):
        data.from_npz(tmp_path / "text.npz")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("x", "one")
        archive.writestr("y", "two")
    with pytest.raises(ValueError, match=r"x in .* to be an array"):
        data.from_npz(tmp_path / "other.npz")


def test_a_truncated_file_is_refused_wherever_it_is_cut(tmp_path):
    buffer, path = io.BytesIO(), tmp_path / "cut.npz"
    np.savez_compressed(buffer, x=X, y=Y)
    whole = buffer.getvalue()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"expected a whole \.npz file"):
            data.from_npz(path)


def test_a_damaged_file_is_read_or_refused_with_a_value_error(tmp_path):
    buffer, path = io.BytesIO(), tmp_path / "damaged.npz"
    np.savez(buffer, x=X, y=Y)
    whole, rng, messages = buffer.getvalue(), random.Random(0), []
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            data.from_npz(path)
        except ValueError as error:
            messages.append(str(error))
    assert all(message.startswith("expected ") for message in messages)
    assert len(messages) > 200  # most bytes are under a checksum


def bomb(path, count):
    """A small file of many zeros."""
    np.savez_compressed(path, x=np.zeros((count, 1000), np.uint8), y=np.arange(count) % 2)


def test_more_than_memory_holds_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    bomb(path, 20_000)
    monkeypatch.setattr(np, "load", None)
    free = npz_files.psutil.virtual_memory()._replace(available=50_000_000)
    monkeypatch.setattr(npz_files.psutil, "virtual_memory", lambda: free)
    message = r"a third of the 50.0 MB .*, got .*bomb.npz of 0.. MB, which unpacks to 20.2 MB"
    with pytest.raises(ValueError, match=message):
        data.from_npz(path)
    # nor is what nobody asked for
    np.savez_compressed(path, x=X, y=Y, z=X)
    with pytest.raises(ValueError, match="got x, y, z in"):
        data.from_npz(path)


def test_a_small_file_that_unpacks_to_much_is_warned_of(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    bomb(path, 20_000)
    monkeypatch.setattr(npz_files, "_LARGE", 10**7)
    with pytest.warns(UserWarning, match=r"of 0.. MB, which unpacks to 20.2 MB"):
        data.from_npz(path)
    np.savez(path, x=np.zeros((20_000, 1000), np.uint8), y=np.arange(20_000) % 2)
    data.from_npz(path)  # as large as it says


def test_a_name_and_a_task(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x=X, y=np.arange(len(X)) % 3)
    assert data.from_npz(path).meta["task"] == "classification"
    got = data.from_npz(path, task="regression", name="other")
    assert (got.meta["task"], got.meta["name"]) == ("regression", "other")
    assert got.train["y"].dtype == np.float32
