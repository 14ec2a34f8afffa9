"""Data of one's own on the command line: what they are taken for is said, and not guessed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from jaxml import training
from jaxml.cli import main

TRAIN = ["train", "linear", "--steps", "2", "--data"]


def run(arguments, capsys, code=0):
    got = main(arguments)
    captured = capsys.readouterr()
    assert got == code, captured.err
    return (captured.err if code == 2 else captured.out).splitlines()


def table(path, header, row, rows=60):
    Path(path).write_text("\n".join([header, *(row(i) for i in range(rows))]))


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def _untrained(monkeypatch):
    """Interrupts before the first step: what is said of the data has been said by then."""

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", interrupted)


@pytest.mark.slow
def test_what_is_trained_on_is_said(capsys):
    table("own.csv", "id,size,colour,note,kind",
          lambda i: f"{7 * 10**18 + i},{i}.5,{'rb'[i % 2]},n{i},{'pq'[i % 2]}")  # fmt: skip
    lines = run([*TRAIN, "own.csv"], capsys)
    assert lines[:5] == [
        "own: classification, 2 classes of 18 training rows; "
        "inputs of shape (3,) from 0 to 59.5, not scaled",
        "  kind from size, colour=b, colour=r",
        "  classes p, q",
        "  left out: id, tells the rows apart",
        "  left out: note, text of 60 different values",
    ]
    config = json.loads(Path("runs/train-1/config.json").read_text())
    assert config["data"]["class_names"] == ["p", "q"]
    assert run(["train", "--resume", "runs/train-1"], capsys)[-4:] == lines[-4:]


@pytest.mark.usefixtures("_untrained")
def test_what_a_built_in_set_is_is_said(capsys):
    lines = run([*TRAIN, "digits"], capsys, 130)
    assert re.match(r"digits: classification, 10 classes of 10\d to 1\d\d training rows; inputs "
                    r"of shape \(64,\) from 0 to 1, not scaled", lines[0])  # fmt: skip


@pytest.mark.usefixtures("_untrained")
def test_the_target_the_task_and_missing_values(capsys):
    table("own.csv", "price,rooms,size",
          lambda i: f"{100_000 + 997 * i},{i % 5},{i if i % 7 else ''}")  # fmt: skip
    (error,) = run([*TRAIN, "own.csv", "--target-column", "price"], capsys, 2)
    assert "the task, classification or regression, to be given for column 'price'" in error
    options = ["own.csv", "--target-column", "price", "--task", "regression"]
    (error,) = run([*TRAIN, *options], capsys, 2)
    assert "own.csv, got an empty cell, which missing=impute" in error
    lines = run([*TRAIN, *options, "--missing", "impute"], capsys, 130)
    assert lines[0].startswith("own: regression on targets from 1")
    assert re.match(r"  for missing values: size \d", lines[2])
    lines = run([*TRAIN, *options, "--missing", "drop"], capsys, 130)
    assert lines[2] == "  left out: 9 rows with missing values"


@pytest.mark.usefixtures("_untrained")
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.arange(400) * 997 % 128_334, "the task, .* 400 different integers in 400 rows"),
        (np.repeat(np.arange(3.0), 100), "the task, .* 3 whole numbers again and again"),
        (np.r_[np.zeros(99, int), 1, 2 * 10**9], "3 different ones up to 2,000,000,000"),
        (10**18 + np.arange(400), "the task, .* 400 different integers"),
    ],
)
def test_a_task_is_not_guessed(y, message, capsys):
    np.savez("own.npz", x=np.ones((len(y), 2)), y=y)
    (error,) = run([*TRAIN, "own.npz"], capsys, 2)
    assert re.search(message, error)
    assert not Path("runs").exists()
    task = "regression" if len(np.unique(y)) > 3 else "classification"
    if y.max() < 10**6:
        assert task in run([*TRAIN, "own.npz", "--task", task], capsys, 130)[0]
    if y.min() > 10**17:
        (error,) = run([*TRAIN, "own.npz", "--task", task], capsys, 2)
        assert "tell apart in y" in error


@pytest.mark.usefixtures("_untrained")
def test_warnings_are_one_line(capsys):
    np.savez("own.npz", x=np.ones((200, 2)), y=np.arange(200) % 25)
    assert main([*TRAIN, "own.npz"]) == 130
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "jaxml: warning: y is taken for the labels of classes: 25 different integers in 200 rows",
        "jaxml: interrupted",
    ]
    assert "25 classes of 4 to 5 training rows" in captured.out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train linear --data digits --task regression", "--task for a .npz or .csv file"),
        ("train linear --data own.npz --target-column y", "--target-column for a .csv file"),
        ("study batch-size --data xor --missing drop", "--missing for a .csv file"),
        ("landscape --data own.npz --missing drop", "--missing for a .csv file"),
        ("landscape runs/x --task regression", "--task only without a target"),
        ("train linear --data none.csv", "none.csv, which is not a file"),
        (
            "train linear --data own.npz --task ranking",
            "Choose from: ",
        ),
    ],
)
def test_options_that_do_not_fit(command, message, capsys):
    np.savez("own.npz", x=np.ones((20, 2)), y=np.arange(20) % 2)
    (error,) = run(command.split(), capsys, 2)
    assert message in error


@pytest.mark.usefixtures("_untrained")
def test_columns_of_any_name_are_shown_as_they_are(capsys):
    table("own.csv", "\x1b[31mred,[bold],[/x]", lambda i: f"{i},{i * i},{'pq'[i % 2]}")
    lines = run([*TRAIN, "own.csv"], capsys, 130)
    assert lines[1] == r"  [/x] from \x1b[31mred, [bold]"
