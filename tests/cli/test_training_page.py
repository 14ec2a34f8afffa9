"""The page after a training says what its log says."""

import json
from pathlib import Path

import pytest

from jaxml.cli import main
from jaxml.cli.training_page import training_finding
from jaxml.core.finding import finding

RESULTS = {"train": {"loss": 0.1}, "validation": {"loss": 0.5}, "test": {"loss": 0.6}}


def log(*validation):
    return [
        {"step": 10 * (i + 1), "train": {"loss": 1 / (i + 1)}, "validation": {"loss": value}}
        for i, value in enumerate(validation)
    ]


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        (log(0.9, 0.4, 0.5), "least at step 20 of 30 and is 25.0% higher at the end"),
        (log(0.9, 0.6, 0.5), "the validation loss is least at the end"),
    ],
)
def test_where_the_validation_loss_turns(lines, verdict):
    found = training_finding(lines, RESULTS)
    assert found.verdict.startswith("loss 0.6 on the test set; ")
    assert verdict in found.verdict


@pytest.mark.parametrize("lines", [[], [{"step": 3, "train": {"loss": 0.1}, "validation": None}]])
def test_a_log_without_validation(lines):
    found = training_finding(lines, {"train": {"loss": 0.1}})
    assert found.verdict == "loss 0.1 on the train set"
    assert str(finding(found))


@pytest.mark.slow
def test_train_writes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = "train linear --data two_spirals --steps 4 --checkpoint-every 2 --out run"
    assert main(command.split()) == 0
    test = json.loads(Path("run/metrics.json").read_text())["metrics"]["test"]
    page = Path("run/report.html").read_text()
    assert f"loss {test['loss']:.4g}, accuracy {test['accuracy']:.4g} on the test set" in page
    assert page.count("<svg") == 3
    capsys.readouterr()
