"""`jaxml study`."""

import csv
import json

import numpy as np
import pytest

from jaxml import data
from jaxml.cli import main, options, runs
from jaxml.core import checksummed_dirs

SMALL = [
    *("study", "batch-size", "--batch-sizes", "16,64", "--rates", "0.05,0.2,0.8"),
    *("--momenta", "0.9", "--seeds", "2", "--hidden", "8", "--epochs", "6", "--target", "0.2"),
]


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_study_and_its_files(tmp_path, capsys):
    assert main([*SMALL, "--train-loss", "0.6", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "12 lanes of 610 parameters on 1,077 examples" in printed
    assert "hyperbola" in printed
    assert "at a training loss of 0.6" in printed
    lanes, records = rows_of(tmp_path / "run/lanes.csv"), rows_of(tmp_path / "run/records.csv")
    assert len(lanes) == 12
    assert {row["exit"] for row in lanes} <= {"target", "budget"}
    assert {row["lane"] for row in records} == {str(i) for i in range(12)}
    told = json.loads((tmp_path / "run/study.json").read_text())
    assert told["arguments"]["rates"] == "0.05,0.2,0.8"
    assert [row["batch_size"] for row in told["steps"]] == [16, 64]
    assert "Sharpness at equal loss" in (tmp_path / "run/report.html").read_text()


@pytest.mark.slow
def test_a_stopped_study_goes_on(tmp_path, monkeypatch, capsys):
    assert main([*SMALL, "--out", str(tmp_path / "whole")]) == 0
    original = runs.keep

    def interrupt(*what):
        original(*what)
        monkeypatch.setattr(runs, "keep", original)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "keep", interrupt)
    assert main([*SMALL, "--out", str(tmp_path / "cut")]) == 130
    assert checksummed_dirs.numbers(runs.checkpoints(tmp_path / "cut")) == [1]
    assert "go on with: jaxml study --resume" in capsys.readouterr().out
    assert main(["study", "--resume", str(tmp_path / "cut")]) == 0
    for name in ("lanes.csv", "records.csv"):
        assert rows_of(tmp_path / "cut" / name) == rows_of(tmp_path / "whole" / name)


@pytest.mark.slow
def test_optimizers(tmp_path, capsys):
    arguments = (
        "study optimizers --optimizers sgd,adam --rates 0.01,0.1 --seeds 1 --hidden 8 "
        "--epochs 2 --target 0.5 --schedules constant"
    )
    assert main([*arguments.split(), "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "\nuse " in printed
    assert "\nadam " in printed[printed.index("On a saddle") :]
    page = (tmp_path / "run/report.html").read_text()
    assert "On a ravine" in page


FROM_ZERO = """
import jax.numpy as jnp
from jaxml import Model

def line(shape, outputs):
    def init(key, x=None):
        return {"kernel": jnp.zeros((*shape, outputs)), "bias": jnp.zeros(outputs)}, {}
    def apply(params, state, x, *, train=False, key=None):
        return x @ params["kernel"] + params["bias"], state
    return Model(init, apply)
"""


@pytest.mark.slow
def test_a_regression_descends_as_least_squares_does(tmp_path, capsys):
    """Gradient descent over all rows of a table, from 0: θ_t = (I − (I − ηH)ᵗ)θ*."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 2)) * [1.0, 0.5]
    price = features @ [30.0, -20.0] + 12 + rng.normal(size=60)
    np.savetxt(
        tmp_path / "prices.csv",
        np.column_stack([features, price]),
        delimiter=",",
        header="width,height,price",
        comments="",
    )
    (tmp_path / "own.py").write_text(FROM_ZERO)
    dataset = data.from_csv(tmp_path / "prices.csv", task="regression")
    splits = dataset.splits
    x, held_x = (
        np.column_stack([splits[name]["x"], np.ones(len(splits[name]["x"]))]).astype(float)
        for name in ("train", "validation")
    )
    y, held_y = splits["train"]["y"], splits["validation"]["y"]
    hessian = 2 * x.T @ x / len(x)
    best, (residual,), *_ = np.linalg.lstsq(x, y, rcond=None)
    rates, target, loss = [0.05, 0.25, 0.4, 3.0], 2.0, 5.0

    def path(rate):
        left = np.eye(3) - rate * hessian
        points = [best - np.linalg.matrix_power(left, t) @ best for t in range(21)]
        errors = [np.abs(held_x @ w - held_y).mean() for w in points]
        return np.array(errors), np.array([((x @ w - y) ** 2).mean() for w in points])

    command = (
        f"study batch-size --data {tmp_path / 'prices.csv'} --task regression "
        f"--model {tmp_path / 'own.py'}:line --batch-sizes {len(x)} --optimizers sgd --momenta 0 "
        f"--rates 0.05,0.25,0.4,3 --seeds 1 --steps 20 --target {target} --train-loss {loss}"
    )
    assert main([*command.split(), "--out", str(tmp_path / "run")]) == 0
    lanes, records = rows_of(tmp_path / "run/lanes.csv"), rows_of(tmp_path / "run/records.csv")
    expected = {}
    for number, rate in enumerate(rates):
        errors, losses = path(rate)
        hit = np.flatnonzero(errors <= target)
        expected[rate] = hit[0] if len(hit) else np.inf
        assert float(lanes[number]["steps_to_target"]) == expected[rate]
        own = [row for row in records if int(row["lane"]) == number]
        seen = [float(row["validation mae"]) for row in own]
        np.testing.assert_allclose(seen, errors[: len(seen)], rtol=1e-3)
        running = [float(row["running"]) for row in own[1:]]  # the loss before each update
        np.testing.assert_allclose(running, losses[: len(running)], rtol=1e-3)
        assert min(running) >= residual / len(x)
    assert 1 < expected[0.4] < expected[0.25] < 20 < expected[0.05] == expected[3.0]
    told = json.loads((tmp_path / "run/study.json").read_text())
    assert told["steps"][0]["learning_rate"] == 0.4
    assert told["steps"][0]["steps"] == expected[0.4]
    (minimum,) = told["equal_loss"]["minima"]
    assert minimum["updates"] == np.flatnonzero(path(0.4)[1] <= loss)[0]
    top = np.linalg.eigvalsh(hessian)[-1]
    assert minimum["sharpness"]["largest_eigenvalue"] == pytest.approx(top, rel=1e-4)
    assert "validation mae ≤ 2" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "depth --depths 1,2 --parameters 700 --rates 0.1 --seeds 1 --epochs 1",
            "(one seed), then ",
        ),
        (
            "edge --hidden 4 --optimizers sgd,adam --rates 0.1 --steps 20",
            "within 10 % of the stab",
        ),
        (
            "generalization --hidden 4 --rates 0.1,0.3 --epochs 1",
            "best of 1,000 models errs",
        ),
        (
            "normalization --data linear_teacher --hidden 8,8 --rates 0.1 --epochs 1",
            "batch norm is finite up to",
        ),
        ("diagnose --hidden 2,2 --rates 0.001 --epochs 1", "model bias: training error"),
        (
            "edge --data linear_teacher --model linear --optimizers sgd --rates 0.1 --steps 20",
            "0 of 1 trainings end within",
        ),
    ],
)
def test_one_question(arguments, said, tmp_path, capsys):
    assert main(["study", *arguments.split(), "--out", str(tmp_path / "run")]) == 0
    assert said in capsys.readouterr().out
    told = json.loads((tmp_path / "run/study.json").read_text())["arguments"]
    assert told.get("epochs") == 1 or told.get("steps") == 20
    assert "<svg" in (tmp_path / "run/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("study", "a study among batch-size, optimizers, depth,"),
        ("study depths", "a study among"),
        ("study batch-size --rates fast", "--rates: expected numbers as 8,16 or LOW:HIGH:COUNT"),
        ("study batch-size --batch-sizes 8,5000", "at most the 1077 examples"),
        ("study batch-size --optimizers sdg", "got 'sdg' (did you mean 'sgd'?)"),
        ("study batch-size --target 2", "a target in [0, 1)"),
        ("study batch-size --data two_spirals --model cnn", "images for a cnn"),
        (
            "study edge --optimizers sgd,adagrad",
            "nesterov, adam, got 'adagrad'",
        ),
        ("study batch-size --epochs 0", "--epochs. expected a finite number above 0"),
        ("study batch-size --seeds 0", "--seeds. expected a whole number of at least 1"),
        (
            "study batch-size --data linear_teacher",
            "--target: a mean absolute error above 0 (the training median's is 0.534), got none",
        ),
        ("study optimizers --data linear_teacher --target -1", "above 0 (the training median's is"),
        ("study depth --data linear_teacher", "whose wrong answers study depth counts, got reg"),
        ("study generalization --data linear_teacher", "classification data, whose wrong answers"),
        ("study diagnose --data linear_teacher", "classification data, whose wrong answers"),
        (
            "study edge --model linear --hidden 8",
            "none of the networks' options with linear, got --hidden",
        ),
        ("study edge --data ring", "classification or regression data, got generation"),
    ],
)
def test_is_refused(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*"))


def test_numbers():
    assert options._counts("8,16") == [8, 16]
    np.testing.assert_allclose(options._numbers("0.01:1:3"), [0.01, 0.1, 1.0])
