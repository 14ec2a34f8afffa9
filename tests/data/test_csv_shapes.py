"""`from_csv` of tables as spreadsheets, databases and archives write them."""

import csv
import datetime
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from jaxml import data


def read(tmp_path, text, **options):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return data.from_csv(path, **{"validation": 0, "test": 0} | options)


def rows_of(dataset):
    """Rows of x and y, in an order of their own."""
    x, y = dataset.train["x"], dataset.train["y"]
    return sorted([*map(float, row), float(target)] for row, target in zip(x, y, strict=True))


PLAIN = "a,b,kind\n" + "".join(f"{i}.5,{-i},{'pq'[i % 2]}\n" for i in range(12))
ROWS = sorted([i + 0.5, -float(i), float(i % 2)] for i in range(12))


def lines(text, change):
    return "".join(change(i, line) + "\n" for i, line in enumerate(text.splitlines()))


SHAPES = {
    "as it is": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "aligned by spaces": lines(PLAIN, lambda i, line: "".join(f"{c:>6}" for c in line.split(","))),
    "decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "byte order mark": "\ufeff" + PLAIN,
    "quoted": lines(PLAIN, lambda i, line: ",".join(f'"{cell}"' for cell in line.split(","))),
    "spaces": PLAIN.replace(",", " , "),
    "blank lines": PLAIN.replace("\n", "\n\n"),
    "Windows": PLAIN.replace("\n", "\r\n"),
    "index of pandas": lines(PLAIN, lambda i, line: f"{i - 1 if i else ''},{line}"),
    "identifier": lines(PLAIN, lambda i, line: f"{7 * 10**18 + i if i else 'customer_id'},{line}"),
    "keys of text": lines(PLAIN, lambda i, line: f"{f'k-{i}' if i else 'Name'},{line}"),
    "lines ended by commas": PLAIN.replace("\n", ",\n"),
    "a header ended by a comma": PLAIN.replace("kind", "kind,"),
    "no header": PLAIN.partition("\n")[2],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_table_in_many_shapes(shape, tmp_path):
    got = read(tmp_path, SHAPES[shape])
    assert rows_of(got) == ROWS
    assert got.meta["class_names"] == ["p", "q"]
    assert got.meta["task"] == "classification"
    names = ["column 1", "column 2"] if shape == "no header" else ["a", "b"]
    assert got.meta["feature_names"] == names
    assert got.meta["target_name"] == ("column 3" if shape == "no header" else "kind")
    assert len(got.meta["left_out"]) == (shape in ("index of pandas", "identifier", "keys of text"))


def test_scikit_learns_irises_as_pandas_writes_them(tmp_path):
    frame = load_iris(as_frame=True).frame
    frame["target"] = frame["target"].map(dict(enumerate(["setosa", "versicolor", "virginica"])))
    for options in ({}, {"index": False}, {"sep": ";"}, {"quoting": csv.QUOTE_ALL}):
        got = read(tmp_path, frame.to_csv(**options))
        x, y = load_iris(return_X_y=True)
        expected = np.column_stack([x.astype(np.float32), y])
        np.testing.assert_array_equal(rows_of(got), sorted(expected.tolist()))
        assert got.meta["class_names"] == ["setosa", "versicolor", "virginica"]


def test_categories_are_one_hot(tmp_path):
    frame = pd.DataFrame(
        {
            "size": [1.0, 2.0, 3.0, 4.0],
            "colour": ["red", "blue", "red", "a, b"],
            "flag": [True, False, False, True],
            "price": [1.5, 2.5, 3.5, 4.25],
        }
    )
    got = read(tmp_path, frame.to_csv(index=False))
    expected = pd.get_dummies(frame, columns=["colour", "flag"], prefix_sep="=")  # as pandas does
    order = ["size", "colour=a, b", "colour=blue", "colour=red", "flag=False", "flag=True"]
    assert got.meta["feature_names"] == order
    assert rows_of(got) == sorted(expected[[*order, "price"]].astype(float).values.tolist())


def test_dates_are_days(tmp_path):
    days = [datetime.date(2024, 2, 28) + datetime.timedelta(days=3 * i) for i in range(12)]
    for form in ("%Y-%m-%d", "%Y-%m-%d 00:00:00", "%d.%m.%Y", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y"):
        text = "day,y\n" + "".join(f"{day.strftime(form)},{i}.5\n" for i, day in enumerate(days))
        assert rows_of(read(tmp_path, text)) == [[3 * i, i + 0.5] for i in range(12)]
    with pytest.raises(ValueError, match=r"a date as 2024-01-31 in line 2, .* two readings"):
        read(tmp_path, "day,y\n01/02/2024,1.5\n03/04/2024,2.5\n")


MISSING = "a,colour,y\n1,red,0.5\n,blue,1.5\n3,NA,2.5\n8,red,3.5\nnan,red,4.5\n5,blue,\n"


def test_missing_values(tmp_path):
    for options, match in (
        ({}, "a target in line 7, column 'y' .* got an empty cell"),
        ({"target": "a"}, "a target in line 3, column 'a'"),
    ):
        with pytest.raises(ValueError, match=match):
            read(tmp_path, MISSING, **options)
    whole_target = MISSING.replace("5,blue,\n", "")
    with pytest.raises(ValueError, match=r"line 3, column 'a' .* an empty cell, .*missing=impute"):
        read(tmp_path, whole_target)
    got = read(tmp_path, MISSING, missing="drop")
    assert rows_of(got) == [[1, 0, 1, 0.5], [8, 0, 1, 3.5]]
    assert got.meta["rows_dropped"] == 4
    got = read(tmp_path, MISSING, missing="impute")
    # the median of 1, 3, 8; no category is zeros
    expected = [[1, 0, 1, 0.5], [3, 1, 0, 1.5], [3, 0, 0, 2.5], [8, 0, 1, 3.5], [3, 0, 1, 4.5]]
    assert rows_of(got) == sorted(expected)
    assert got.meta["imputed"] == {"a": 3.0, "colour=blue": 0.0, "colour=red": 0.0}
    assert got.meta["rows_dropped"] == 1


def test_what_is_imputed_comes_from_the_training_rows_alone(tmp_path):
    text = "a,b,y\n" + "".join(f"{i**3 if i % 3 else ''},{i},{i}.5\n" for i in range(60))
    got = read(tmp_path, text, missing="impute", validation=0.3, test=0.2)
    numbers = got.train["x"][got.train["x"][:, 1] % 3 > 0, 0]
    assert got.meta["imputed"]["a"] == np.median(numbers)
    for split in (got.train, got.validation, got.test):
        holes = split["x"][:, 1] % 3 == 0
        assert (split["x"][holes, 0] == np.median(numbers)).all()
        np.testing.assert_allclose(split["x"][~holes, 0], split["x"][~holes, 1] ** 3)


def test_text_that_is_no_category_is_left_out_and_told(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{i},A/5 {i},{rng.integers(9)}{'x' * (i % 2)},{i % 2}\n" for i in range(40)]
    got = read(tmp_path, "n,ticket,code,y\n" + "".join(rows))
    assert got.meta["left_out"] == {"ticket": "text of 40 different values"}
    assert got.meta["feature_names"][0] == "n"
    assert got.meta["feature_names"][1].startswith("code=")
    # asked for, it is there
    got = read(tmp_path, "n,ticket,y\n1,p,0\n2,q,1\n", features=["ticket"])
    assert got.meta["feature_names"] == ["ticket=p", "ticket=q"]
    # a slip among numbers is no category
    slip = "n,y\n" + "".join(f"{i if i != 30 else '3O'},{i % 2}\n" for i in range(40))
    with pytest.raises(ValueError, match=r"finite number in line 32, column 'n' .* got '3O'"):
        read(tmp_path, slip)


@pytest.mark.parametrize(
    ("labels", "task", "names", "classes"),
    [
        (["1", "2", "3"], None, ["1", "2", "3"], [0, 1, 2]),
        (["7", "3", "2000000000"], None, ["3", "7", "2000000000"], [1, 0, 2]),
        (["-1", "1", "1"], "classification", ["-1", "1"], [0, 1, 1]),
        (["True", "False", "True"], None, ["False", "True"], [1, 0, 1]),
        (["NA", "EU", "NA"], None, ["EU", "NA"], [1, 0, 1]),
        (["0", "1", "2"], None, None, [0, 1, 2]),
    ],
)
def test_labels_keep_their_names(labels, task, names, classes, tmp_path):
    text = "x,y\n" + "".join(f"{i % 3}.5,{labels[i % 3]}\n" for i in range(60))
    got = read(tmp_path, text, task=task)
    assert got.meta.get("class_names") == names
    assert got.meta["classes"] == len(set(labels))
    expected = {i + 0.5: label for i, label in enumerate(classes)}
    for x, y in zip(got.train["x"][:, 0], got.train["y"], strict=True):
        assert expected[float(x)] == y


def test_columns_that_float32_merges_are_named(tmp_path):
    text = "serial,y\n" + "".join(f"{7 * 10**18 + i},{i}.5\n" for i in range(30))
    with pytest.raises(ValueError, match="tell apart in column 'serial'"):
        read(tmp_path, text)
    text = "x,serial\n" + "".join(f"{i}.5,{7 * 10**18 + i}\n" for i in range(30))
    with pytest.raises(
        ValueError, match=r"the task, .* for column .serial., got 30 different integers"
    ):
        read(tmp_path, text)
    with pytest.raises(ValueError, match="float32 can tell apart in y"):
        read(tmp_path, text, task="regression")


@pytest.mark.parametrize("form", ["{}%", "$ {}", "{} €", "£{}.50", '"{},000"'])
def test_formatted_numbers_are_no_categories(form, tmp_path):
    cells = [form.format(i + 1) for i in range(40)]
    for text in (
        "cost,y\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells)),
        "y,cost\n" + "".join(f"{i % 2},{cell}\n" for i, cell in enumerate(cells)),
    ):
        got = re.escape(repr(cells[0].strip('"')))
        with pytest.raises(ValueError, match=f"finite number in line 2, column 'cost' .*{got}"):
            read(tmp_path, text)


def test_words_of_which_nearly_every_row_has_its_own(tmp_path):
    text = "x,name\n" + "".join(f"{i}.5,name {i // 2 * 2 % 50}\n" for i in range(45))
    with pytest.raises(ValueError, match=r"task classification .* 23 different words in 45 rows"):
        read(tmp_path, text)
    assert read(tmp_path, text, task="classification").meta["classes"] == 23


def test_a_header_of_numbers_where_the_target_names_it(tmp_path):
    text = "2001,2002\n1,0.5\n2,1.5\n"
    assert rows_of(read(tmp_path, text, target="2002")) == [[1, 0.5], [2, 1.5]]
    assert rows_of(read(tmp_path, text)) == [[1, 0.5], [2, 1.5], [2001, 2002]]


def test_what_else_is_refused(tmp_path):
    for text, options, match in (
        ("a,b\n,1\n,2\n", {}, "at least one feature column"),
        ("a,y\n,1\n2,\n", {"missing": "drop"}, "a row without missing values"),
        ("a,y\n1,1\n", {"missing": "guess"}, "missing to be one of refuse, impute, drop"),
    ):
        with pytest.raises(ValueError, match=match):
            read(tmp_path, text, **options)
