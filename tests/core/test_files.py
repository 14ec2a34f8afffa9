"""Files are whole or not there."""

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from jaxml.core.files import new_folder, numbered_folder, to_json, write_atomically


def test_write_and_replace(tmp_path):
    path = tmp_path / "a.txt"
    for content, expected in (("ü", "ü".encode()), (b"\0\1", b"\0\1")):
        assert write_atomically(path, content) == path
        assert path.read_bytes() == expected
    assert [child.name for child in tmp_path.iterdir()] == ["a.txt"]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full_disk(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["a.txt"]


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="existing folder"):
        write_atomically(tmp_path / "nowhere" / "a.txt", "x")


def test_folders(tmp_path):
    assert new_folder(tmp_path / "a" / "b").is_dir()
    assert new_folder(tmp_path / "a" / "b").is_dir()  # empty, so taken
    (tmp_path / "a" / "b" / "kept").touch()
    with pytest.raises(ValueError, match=r"new or empty folder.*kept"):
        new_folder(tmp_path / "a" / "b")
    assert [numbered_folder(tmp_path, "r").name for _ in range(3)] == ["r-1", "r-2", "r-3"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": np.nan, "b": [np.inf, -np.inf, 1.5]}, '{"a": null, "b": [null, null, 1.5]}'),
        ({"a": np.array([1.0, np.nan]), "b": np.float32(np.inf)}, '{"a": [1.0, null], "b": null}'),
        ((np.int64(3), np.bool_(True), None, "NaN"), '[3, true, null, "NaN"]'),
        ({"path": Path("a/b"), "b": ml_dtypes.bfloat16(1.5)}, '{"path": "a/b", "b": 1.5}'),
        ([ml_dtypes.bfloat16(np.nan)], "[null]"),
    ],
)
def test_json_is_strict(value, text):
    assert to_json(value) == text
