"""`jaxml predict`: what it prints is what NumPy makes of the run's files, by hand."""

import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxml import data
from jaxml.cli import console, main


def run(command, capsys, code=0):
    """What it wrote, and what it said on standard error."""
    got = main(command if isinstance(command, list) else command.split())
    captured = capsys.readouterr()
    assert got == code, captured.err
    return captured.out, captured.err


def table(text):
    header, *rows = csv.reader(io.StringIO(text))
    return header, rows


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def row(i):
    """Size, with holes; colour; what follows from both, written with a comma."""
    size, colour = (7 * i) % 50 / 10 + 0.05, ("red", "blue")[i % 2]
    kind = "plum" if size + (colour == "red") > 3 else ("pear, green", "apple")[size > 1.5]
    return ["" if i % 10 == 4 else f"{size:.2f}", colour, kind]


def write(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture(scope="module")
def fruits(tmp_path_factory):
    """A folder with a table and a run on it, of batch norm."""
    folder = tmp_path_factory.mktemp("fruits")
    write(folder / "own.csv", ["size", "colour", "kind"], [row(i) for i in range(150)])
    command = f"train mlp --data {folder}/own.csv --missing impute --hidden 6 --norm batch"
    options = f"--steps 150 --learning-rate 2e-2 --checkpoint-every 50 --out {folder}/run"
    assert main([*command.split(), *options.split()]) == 0
    return folder


@pytest.fixture
def here(fruits, tmp_path, monkeypatch):
    shutil.copytree(fruits, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "run/config.json"  # which says where the table is
    config.write_text(config.read_text().replace(str(fruits), str(tmp_path)))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
def test_a_table_is_predicted_as_by_hand(capsys):
    rows = [["blue", "3", ""], ["red", "2.5", "4.00"], ["blue", "x", "0.3"], ["NA", "", "2.75"]]
    write("new.csv", ["colour", "note", "size"], rows)
    out, err = run("predict run new.csv", capsys)
    assert err == ""
    header, predictions = table(out)
    names = ["apple", "pear, green", "plum"]
    assert header == ["prediction", *(f"probability_{name}" for name in names)]
    # the median of the sizes in the rows that were trained on, none of whose targets counts
    trained_on = data.from_csv("own.csv", missing="impute").train["x"][:, 0].astype(float)
    sizes = {f"{float(r[0]):.2f}" for r in map(row, range(150)) if r[0]}
    known = [size for size in trained_on if f"{size:.2f}" in sizes]
    median = np.median(known)
    x = np.array([[median, 1, 0], [4.0, 0, 1], [0.3, 1, 0], [2.75, 0, 0]])
    p, s = arrays("run/params.npz"), arrays("run/model_state.npz")
    h = x @ p["dense_0/kernel"] + p["dense_0/bias"]
    h = (h - s["batch_stats/norm_0/mean"]) / np.sqrt(s["batch_stats/norm_0/var"] + 1e-5)
    h = np.maximum(h * p["norm_0/scale"] + p["norm_0/bias"], 0)
    z = np.exp(h @ p["dense_1/kernel"] + p["dense_1/bias"])
    expected = z / z.sum(1, keepdims=True)
    np.testing.assert_allclose([list(map(float, r[1:])) for r in predictions], expected, atol=1e-5)
    assert [r[0] for r in predictions] == [names[i] for i in expected.argmax(1)]
    assert len({r[0] for r in predictions}) > 1


@pytest.mark.usefixtures("here")
def test_the_accuracy_where_there_are_targets(capsys):
    told = json.loads(Path("run/metrics.json").read_text())["metrics"]
    for part, values in told.items():
        out, err = run(f"predict run {part}", capsys)
        count = len(table(out)[1])
        assert err == f"accuracy {values['accuracy']:.4f} on {count} rows\n"
    rows = [row(i) for i in range(150)]
    out, err = run("predict run own.csv", capsys)
    right = np.mean([r[0] == t[-1] for r, t in zip(table(out)[1], rows, strict=True)])
    assert err == f"accuracy {right:.4f} on 150 rows\n"
    assert 0.5 < right < 1
    # rows without a target do not count
    write("some.csv", ["size", "colour", "kind"], [[*r[:2], r[2] if i % 3 else ""]
                                                    for i, r in enumerate(rows)])  # fmt: skip
    some, err = run("predict run some.csv", capsys)
    assert some == out
    assert re.fullmatch(r"accuracy 0\.\d{4} on 100 rows\n", err)
    # into a file, and from another checkpoint
    told, err = run("predict run own.csv --out there.csv", capsys)
    assert (told, err) == (f"there.csv\naccuracy {right:.4f} on 150 rows\n", "")
    assert Path("there.csv").read_text() == out
    earlier, _ = run("predict run own.csv --step 50", capsys)
    assert earlier != out
    log = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    _, err = run("predict run validation --step 50", capsys)
    assert err == f"accuracy {log[0]['validation']['accuracy']:.4f} on 30 rows\n"


@pytest.mark.usefixtures("here")
def test_what_is_refused(capsys):
    write("pink.csv", ["size", "colour"], [["1", "red"], ["1", "pink"]])
    write("less.csv", ["size"], [["1"], ["2"]])
    np.savez("wide.npz", x=np.ones((2, 4)))
    np.savez("label.npz", x=np.ones((2, 3)), y=[0, 3])
    np.savez("long.npz", x=np.ones((2, 3)), y=[0, 1, 1])
    np.save("nan.npy", np.full((2, 3), np.nan))
    Path("x.txt.gz").write_bytes(b"")
    before = sorted(Path().rglob("*"))
    for command, message in {
        "run nothing.csv": "the path of a text file, got nothing.csv",
        "run pink.csv": "such as blue, red in line 3, column 'colour' of pink.csv, got 'pink'",
        "run less.csv": "the columns size, colour in less.csv, got one without 'colour'",
        "run wide.npz": r"x of shape \(N, 3\), got shape \(2, 4\)",
        "run label.npz": "y of labels from 0 to 2, got others",
        "run long.npz": r"y of shape \(2,\), got \(3,\)",
        "run nan.npy": "x that are finite in float32",
        "run x.txt.gz": r"or .dat, .npz or .npy file, or one of train, validation, test, got 'x",
        "run all": "one of train, validation, test, got 'all'",
        "run test --step 51": r"a step among \[50, 100, 150\], got 51",
        "run test --step first": "expected the number of a step, or best, got 'first'",
        "run test --out own.csv": "a new file in a folder that is there, as --out, got own.csv",
        "run test --out no/such.csv": "a new file in a folder that is there, as --out, got no/such",
        "own.csv test": "the folder of a run, with its config.json, got own.csv",
        "run": "--file requires an argument",
    }.items():
        _, error = run(f"predict {command}", capsys, 2)
        assert re.search(message, error), error
        assert error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    write("own.csv", ["size", "colour", "kind"], [row(i) for i in range(149)])
    _, error = run("predict run test", capsys, 2)
    assert "the data that run was trained on, got other data of that name" in error
    path = Path("run/checkpoints/150/state/manifest.ocdbt")
    path.write_bytes(path.read_bytes()[:-1])
    _, error = run("predict run pink.csv", capsys, 2)
    assert "run/checkpoints/150, which is damaged" in error
    assert "100 before it is whole" in error
    shutil.rmtree("run/checkpoints/150")
    write("new.csv", ["size", "colour"], [["1", "red"]])
    _, error = run("predict run new.csv", capsys)
    assert error == "jaxml: warning: the run is at step 100 of 150\n"


@pytest.mark.parametrize(
    ("shape", "header"),
    [
        ((), ["prediction"]),
        pytest.param((2,), ["prediction_0", "prediction_1"], marks=pytest.mark.slow),
    ],
)
def test_a_regression_and_its_error(shape, header, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = 50 + (x @ rng.normal(size=(3, int(np.prod(shape))))).reshape(60, *shape)
    np.savez("own.npz", x=x, y=y)
    run("train linear --data own.npz --steps 20 --learning-rate 0.5 --out run", capsys)
    np.savez("new.npz", x=x[:7], y=y[:7])
    out, err = run("predict run new.npz", capsys)
    p = arrays("run/params.npz")
    by_hand = x[:7] @ p["dense_0/kernel"] + p["dense_0/bias"]
    got, rows = table(out)
    assert got == header
    np.testing.assert_allclose(np.array(rows, float), by_hand, rtol=1e-5)
    error = np.sqrt(((by_hand - y[:7].reshape(7, -1)) ** 2).mean())
    assert float(re.fullmatch(r"RMSE (\S+) on 7 rows\n", err)[1]) == pytest.approx(error, rel=1e-4)
    np.save("new.npy", x[:7])
    assert run("predict run new.npy", capsys) == (out, "")
    np.savez("new.npz", x=x[:7], y=y[:7] * np.nan)
    assert "y of finite numbers" in run("predict run new.npz", capsys, 2)[1]
    write("new.csv", ["a", "b", "c"], x[:7].tolist())
    assert "an .npz or .npy file, as the" in run("predict run new.csv", capsys, 2)[1]


@pytest.mark.slow
def test_a_built_in_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    told, _ = run("train mlp --data two_spirals --hidden 8 --steps 40 --out run", capsys)
    out, err = run("predict run test", capsys)
    accuracy = re.search(r"^test loss \S+ accuracy (\S+)$", told, flags=re.MULTILINE)[1]
    assert err == f"accuracy {accuracy} on 200 rows\n"
    header, rows = table(out)
    assert header == ["prediction", "probability_0", "probability_1"]
    assert {r[0] for r in rows} <= {"0", "1"}


def test_a_terminal_obeys_no_class(monkeypatch, capsys):
    """In a file or a pipe the names stand as they are."""
    for terminal, shown in ((True, r"a\x1b[2Jb"), (False, "a\x1b[2Jb")):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        console.print_raw("prediction\na\x1b[2Jb\n")
        assert capsys.readouterr().out == f"prediction\n{shown}\n"
