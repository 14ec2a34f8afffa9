"""`csv_rows`: rows of another file, prepared as those that were trained on."""

import json

import numpy as np
import pytest

from jaxml import data

KEYS = ("x", "y")


def written(tmp_path, text, name="own.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def saved(dataset):
    """The meta as a run's folder keeps it."""
    return json.loads(json.dumps(dataset.meta))


def fruit(i, delimiter=","):
    """A row of all kinds: a number that tells the rows apart, holes, words, dates, truth values."""
    cells = [
        f"{i}.5" if delimiter == "," else f"{i},5",
        "" if i % 7 == 3 else str(i % 5),
        "NA" if i % 9 == 4 else ("red", "green", "blue")[i % 3],
        f"2024-0{1 + i % 9}-1{i % 10}",
        ("true", "false")[i % 2],
        ("pear", "plum")[i % 4 == 0],
    ]
    return delimiter.join(cells)


HEADER = "weight,count,colour,picked,ripe,kind"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_same_file_gives_the_rows_of_the_data_set(delimiter, tmp_path):
    lines = [HEADER.replace(",", delimiter), *(fruit(i, delimiter) for i in range(60))]
    path = written(tmp_path, "\n".join(lines))
    dataset = data.from_csv(path, missing="impute", seed=1)
    rows, everything = data.csv_rows(path, saved(dataset)), dataset.everything()
    order = np.argsort(everything["x"][:, 0])
    assert list(dataset.meta["imputed"]) == [
        "count",
        *(f"colour={c}" for c in ["blue", "green", "red"]),
    ]
    for key in KEYS:
        assert rows[key].dtype == everything[key].dtype
        np.testing.assert_array_equal(rows[key], everything[key][order])
    assert rows["known"].all()


def test_without_a_header(tmp_path):
    path = written(
        tmp_path, "\n".join(f"{i}.5,{'ab'[i % 2]},{'pq'[i % 3 == 0]}" for i in range(30))
    )
    dataset = data.from_csv(path)
    everything = dataset.everything()
    order = np.argsort(everything["x"][:, 0])
    rows = data.csv_rows(path, saved(dataset))
    np.testing.assert_array_equal(rows["x"], everything["x"][order])
    np.testing.assert_array_equal(rows["y"], everything["y"][order])
    # one row, and without the target
    rows = data.csv_rows(written(tmp_path, "7.25,b\n", "new.csv"), saved(dataset))
    np.testing.assert_array_equal(rows["x"], [[7.25, 0, 1]])
    assert set(rows) == {"x"}


def test_columns_go_by_their_names(tmp_path):
    path = written(tmp_path, "\n".join([HEADER, *map(fruit, range(60))]))
    meta = saved(data.from_csv(path, missing="impute"))
    text = "ripe,more,picked,colour,count,weight\nTRUE,x,2024-01-12,red,1e1,3\nfalse,y,,?,,-4.25\n"
    rows = data.csv_rows(written(tmp_path, text, "new.csv"), meta)
    fill, first = meta["fill"], meta["columns"]["picked"]["first"]
    day = (np.datetime64("2024-01-12") - np.datetime64("1970-01-01")).astype(int) - first
    np.testing.assert_allclose(
        rows["x"],
        [[3, 10, 0, 0, 1, day, 0, 1], [-4.25, fill["count"], 0, 0, 0, fill["picked"], 1, 0]],
    )
    # the median of the training rows, also where none was missing there
    weights = data.from_csv(path, missing="impute").train["x"][:, 0]
    assert fill["weight"] == np.median(weights)
    assert "weight" not in meta["imputed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight,count,colour,ripe\n1,1,red,true", r"the columns weight, .* one without 'picked'"),
        (f"{HEADER}\n1,1,pink,2024-01-01,true,pear", "such as blue, .* line 2, column 'colour'"),
        (f"{HEADER}\n1,1,red,2024-01-01,true,pear\n1,one,red,2024-01-01,true,plum",
         "a finite number in line 3, column 'count' .*'one'"),
        (f"{HEADER}\n1,inf,red,2024-01-01,true,pear", "a finite number in line 2, column 'count'"),
        (f"{HEADER}\n1,1e39,red,2024-01-01,true,pear", "float32's range in line 2, column 'count'"),
        (f"{HEADER}\n1,1,red,soon,true,pear", "a date in line 2, column 'picked' .*'soon'"),
        (f"{HEADER}\n1,1,red,2024-01-01,maybe,pear", "such as False, True in line 2, .*'Maybe'"),
        (f"{HEADER}\n1,1,red,2024-01-01,true,kiwi", "a class such as pear, plum .* got 'kiwi'"),
        (f"{HEADER}\n1,1,red,2024-01-01,true", "6 cells in every row"),
        (f"{HEADER}\n", "a header and at least one row"),
        ("", "a header and at least one row"),
    ],
)  # fmt: skip
def test_what_is_refused(text, message, tmp_path):
    path = written(tmp_path, "\n".join([HEADER, *map(fruit, range(60))]))
    meta = saved(data.from_csv(path, missing="impute"))
    with pytest.raises(ValueError, match=message):
        data.csv_rows(written(tmp_path, text, "new.csv"), meta)
    with pytest.raises(ValueError, match="the path of a text file"):
        data.csv_rows(tmp_path / "nothing.csv", meta)


@pytest.mark.parametrize("missing", ["refuse", "drop"])
def test_a_missing_value_that_nothing_stands_for(missing, tmp_path):
    rows = [fruit(i) for i in range(60) if i % 7 != 3 and i % 9 != 4]
    path = written(tmp_path, "\n".join([HEADER, *rows]))
    meta = saved(data.from_csv(path, missing=missing))
    text = f"{HEADER}\n{rows[0]}\n,1,red,2024-01-01,true,pear"
    with pytest.raises(ValueError, match=r"a value in line 3, column 'weight' .* a missing one"):
        data.csv_rows(written(tmp_path, text, "new.csv"), meta)


@pytest.mark.parametrize(
    ("targets", "options", "cells", "y", "known"),
    [
        # labels that begin at 1, of which one is written otherwise, and one is missing
        (["1", "2", "3"], {}, ["3", "2.0", "", "1"], [2, 1, 0, 0], [1, 1, 0, 1]),
        (["0", "1"], {}, ["1", "?", "0"], [1, 0, 0], [1, 0, 1]),
        (["None", "x"], {}, ["x", "None", ""], [1, 0, 0], [1, 1, 0]),
        (["1.25", "2.5"], {"task": "regression"}, ["7", "", "-1.5"], [7, 0, -1.5], [1, 0, 1]),
    ],
)
def test_targets(targets, options, cells, y, known, tmp_path):
    text = "\n".join(["a,b", *(f"{i}.5,{targets[i % len(targets)]}" for i in range(30))])
    meta = saved(data.from_csv(written(tmp_path, text), **options))
    new = written(tmp_path, "\n".join(["a,b", *(f"1,{cell}" for cell in cells)]), "new.csv")
    rows = data.csv_rows(new, meta)
    np.testing.assert_array_equal(rows["y"], y)
    np.testing.assert_array_equal(rows["known"], known)
    assert rows["y"].dtype == (np.float32 if options else np.int32)
    # a column without any is one to be filled
    new.write_text("a,b\n1,\n2,\n")
    assert set(data.csv_rows(new, meta)) == {"x"}


def test_arrays(tmp_path):
    x, y = np.eye(3), np.arange(3)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    np.savez(tmp_path / "one.npz", x=x)
    np.save(tmp_path / "one.npy", x)
    assert {k: v.tolist() for k, v in data.array_rows(tmp_path / "both.npz").items()} == {
        "x": x.tolist(), "y": y.tolist(),
    }  # fmt: skip
    for name in ("one.npz", "one.npy"):
        rows = data.array_rows(tmp_path / name)
        assert set(rows) == {"x"}
        np.testing.assert_array_equal(rows["x"], x)
    np.savez(tmp_path / "other.npz", x=x, z=y)
    np.savez(tmp_path / "y.npz", y=y)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "one.npy").read_bytes()[:-8])
    (tmp_path / "text.npy").write_text("x")
    for name, message in {
        "other.npz": "an .npz file with the key x, or x and y, got x, z in",
        "y.npz": "the key x, or x and y, got y in",
        "objects.npy": "plain arrays, got .*objects.npy, which cannot be read",
        "cut.npy": "plain arrays, got .*cut.npy, which cannot be read",
        "text.npy": "a .npy file, got .*text.npy, which is another",
        "nothing.npy": "the path of a .npy file",
        "nothing.npz": "the path of an .npz file",
    }.items():
        with pytest.raises(ValueError, match=message):
            data.array_rows(tmp_path / name)
