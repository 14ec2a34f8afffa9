"""Options from a file, and completion of options in a shell."""

import json
import re
from pathlib import Path

import pytest

from jaxml import training
from jaxml.cli import main

TRAIN = ["train", "mlp", "--data", "two_spirals", "--checkpoint-every", "4"]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_the_config_of_a_run_trains_the_same_again(capsys):
    assert main([*TRAIN, "--hidden", "8,4", "--steps", "8", "--out", "one"]) == 0
    digest = capsys.readouterr().out.splitlines()[-1]
    assert main(["train", "--config", "one/config.json", "--out", "two"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == digest
    one, two = (json.loads(Path(run, "config.json").read_text()) for run in ("one", "two"))
    assert one["arguments"] | {"out": "two"} == two["arguments"]
    assert two["command_line"] == "jaxml train --config one/config.json --out two"
    assert two["date"].endswith("UTC")


def test_a_toml_file_and_what_stands_on_the_command_line_before_it(monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", interrupted)  # the options are written by then
    text = 'model = "mlp"\ndata = "two_spirals"\nhidden = [8, 4]\nsteps = 8\nlearning_rate = 0.5\n'
    Path("own.toml").write_text(text)
    assert main(["train", "--config", "own.toml", "--learning-rate", "0.25", "--out", "run"]) == 130
    arguments = json.loads(Path("run/config.json").read_text())["arguments"]
    assert arguments["hidden"] == "8,4"
    assert arguments["learning_rate"] == 0.25
    assert arguments["steps"] == 8
    capsys.readouterr()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "options in a .toml or .json file, got own.toml: .*No such file"),
        ("hidden = ", "options in a .toml or .json file, got own.toml: Invalid value"),
        ("hiden = 3", "hiden"),
        ("batch_size = 0", r"\[batch_size\] provided by own.toml. expected a whole number"),
        ('command = "study"', "options of jaxml train, got own.toml, of jaxml study"),
    ],
)
def test_files_that_are_refused(content, message, capsys):
    if content is not None:
        Path("own.toml").write_text(content)
    assert main([*TRAIN, "--steps", "2", "--config", "own.toml", "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not Path("run").exists()


def test_a_config_is_of_one_study(capsys):
    Path("own.json").write_text(json.dumps({"command": "study", "arguments": {"kind": "depth"}}))
    assert main(["study", "edge", "--config", "own.json"]) == 2
    assert "study edge, got own.json, of jaxml study depth" in capsys.readouterr().err


OWN = """
from jaxml import nn
def tiny(shape, outputs): return nn.mlp([*shape, 2, outputs])
def none(shape, outputs): return 3
"""


STUDY = ["study", "edge", "--optimizers", "sgd", "--rates", "0.1", "--steps", "2"]


@pytest.mark.slow
def test_a_study_of_ones_own_network(capsys):
    Path("own.py").write_text(OWN)
    assert main([*STUDY, "--hidden", "2", "--activation", "relu", "--out", "a"]) == 0
    told = capsys.readouterr().out.splitlines()[:-1]
    assert main([*STUDY, "--model", "own.py:tiny", "--out", "b"]) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == told


def test_networks_that_a_study_refuses(capsys):
    Path("own.py").write_text(OWN)
    for options, message in {
        "own.py:tiny --norm batch": "networks beside .*own.py:tiny, got --norm",
        "own.py:none": "a jaxml.Model from .*own.py:none, got int",
        "own.py:nothing": "a function of .*own.py, such as .*tiny",
        "mpl": r"FILE.py:FUNCTION, or linear, .*got 'mpl' \(did you mean 'mlp'\?\)",
    }.items():
        assert main([*STUDY, "--model", *options.split()]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_completion(capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd()))
    assert main(["--install-completion", "--shell", "bash"]) == 0
    written = [path for path in Path.cwd().rglob("*") if path.is_file()]
    assert any("--learning-rate" in path.read_text() for path in written)
    capsys.readouterr()
