"""`from_csv`: round trips, and tables with slips in them."""

import csv

import numpy as np
import pytest

from jaxml import data


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_numbers_come_back_as_they_were(tmp_path, delimiter):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["a", "target", "b", "c"])
        writer.writerows([a, t, b, c] for (a, b, c), t in zip(x, y, strict=True))
    got = data.from_csv(tmp_path / "table.csv", target="target", delimiter=delimiter, seed=3)
    expected = data.from_arrays(x, y, seed=3)
    for part in ("train", "validation", "test"):
        for key in "xy":
            np.testing.assert_array_equal(getattr(got, part)[key], getattr(expected, part)[key])
    assert got.meta["name"] == "table"
    assert got.meta["task"] == "regression"
    assert got.meta["feature_names"] == ["a", "b", "c"]
    assert "class_names" not in got.meta


def test_words_become_classes_in_sorted_order(tmp_path):
    # As a spreadsheet may write it: byte order mark, quotes, spaces, blank line, \r\n.
    text = 'size, kind\r\n1,pear\r\n2, "apple, red"\r\n\r\n3,pear\r\n'
    path = write(tmp_path, text, encoding="utf-8-sig")
    got = data.from_csv(path, target="kind", validation=0, test=0)
    assert got.meta["class_names"] == ["apple, red", "pear"]
    assert got.meta["task"] == "classification"
    assert got.meta["classes"] == 2
    assert got.meta["feature_names"] == ["size"]
    assert dict(zip(got.train["x"][:, 0], got.train["y"], strict=True)) == {1: 1, 2: 0, 3: 1}


@pytest.mark.parametrize(
    ("targets", "task", "expected", "names"),
    [
        (["0", "2", "1"], None, [0, 2, 1], None),
        (["0", "2", "1"], "regression", [0.0, 2.0, 1.0], None),
        (["0", "2", "1.0"], None, [0.0, 2.0, 1.0], None),
        (["3", "a", "3"], "classification", [0, 1, 0], ["3", "a"]),
        (["yes", "no", "yes"], "classification", [1, 0, 1], ["no", "yes"]),
    ],
)
def test_what_a_target_means(tmp_path, targets, task, expected, names):
    path = write(tmp_path, "x,y\n" + "".join(f"{i},{t}\n" for i, t in enumerate(targets)))
    got = data.from_csv(path, target="y", task=task, validation=0, test=0)
    order = got.train["x"][:, 0].astype(int)
    np.testing.assert_array_equal(got.train["y"], np.array(expected)[order])
    assert got.meta["task"] == (task or ("regression" if "1.0" in targets else "classification"))
    assert got.meta.get("class_names") == names


def test_features_are_taken_in_the_order_asked_for(tmp_path):
    path = write(tmp_path, "a,b,note,y\n1,2,hello,0\n1,2,world,1\n")
    got = data.from_csv(path, target="y", features=["b", "a"], validation=0, test=0)
    np.testing.assert_array_equal(got.train["x"], [[2, 1], [2, 1]])


ROWS = "a,b,y\n1,2,0\n3,4,1\n5,6,0\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "header and at least one row, got 0 lines"),
        ("a,b,y\n", {}, "header and at least one row, got 1 lines"),
        ("a,b,y\n1,2,0\n3,,1\n", {}, "number in line 3, column 'b' .* got an empty cell"),
        ("a,b,y\n1,2,0\n\n3,x,1\n", {}, "number in line 4, column 'b' .* got 'x'"),
        ("a,b,y\nnan,2,0\n", {}, "number in line 2, column 'a' .* got 'nan'"),
        ("a,b,y\n1,-inf,0\n", {}, "number in line 2, column 'b' .* got '-inf'"),
        ("a,b,y\n1,1_000,0\n", {}, "number in line 2, column 'b' .* got '1_000'"),
        ("a,b,y\n1,2,\n", {}, "target in line 2, column 'y' .* got an empty cell"),
        ("a,b,y\n1,2,0.5\n1,2,l\n", {}, "number in line 3, column 'y' .* got 'l'"),
        ("a,b,y\n1,2,u\n", {"task": "regression"}, "number in line 2, column 'y' .* got 'u'"),
        ("a,b,y\n1,2,0\n1,2\n", {}, "3 cells in every row .* got 2 in line 3"),
        ("a,b,y\n1,2,0,9\n", {}, "3 cells in every row .* got 4 in line 2"),
        ("a,a,y\n1,2,0\n", {}, r"different column names .* got \['a'\] twice"),
        ("a,,y\n1,2,0\n", {}, "name for every column"),
        ("y\n1\n", {}, "at least one feature column"),
        ('a,b,y\n1,"2,0\n', {}, "table in UTF-8, .* unreadable"),
        ("a,b,y\n1,2,-1\n", {}, "got the label -1"),
        (ROWS, {"target": "z"}, "column among a, b, y, got 'z'"),
        (ROWS, {"features": ["a", "q"]}, "column among a, b, y, got 'q'"),
        (ROWS, {"features": ["a", "y"]}, "features without the target, got 'y'"),
        (ROWS, {"features": ["a", "a"]}, "each feature once"),
        (ROWS, {"features": []}, "at least one feature column"),
        (ROWS, {"features": "ab"}, "list of columns, got 'ab'"),
        (ROWS, {"delimiter": ", "}, "delimiter .* got ', '"),
        (ROWS, {"delimiter": ";"}, "column among a,b,y, got 'y'"),
        (ROWS, {"task": "ranking"}, "task .* got 'ranking'"),
        (ROWS, {"test": 0.9}, "at least one row to train on"),
    ],
)
def test_what_from_csv_refuses(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        data.from_csv(write(tmp_path, text), **{"target": "y", **options})


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(ValueError, match="which is not a file"):
        data.from_csv(tmp_path / "missing.csv", target="y")
    with pytest.raises(ValueError, match="table in UTF-8"):
        data.from_csv(write(tmp_path, "größe,y\n1,0\n", encoding="latin-1"), target="y")


def test_a_name(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
    assert data.from_csv(path).meta["name"] == "mine"
    assert data.from_csv(path, name="other").meta["name"] == "other"
