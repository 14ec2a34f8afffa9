"""What a command line may be meant for, and numbers that no option takes."""

import re

import pytest

from jaxml import data, nn, studies
from jaxml.cli import main


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("tran mlp", "'train'"),
        ("landscape --probs 3", "'--probes'"),
        ("landscape --tolerence=3", "'--tolerance'"),
        ("train mlp --data digits --optimiser adam", "'--optimizer'"),
        ("data fetch --debg mnist", "'--debug'"),
        ("data lst", "'list'"),
        ("train mpl --data digits", "'mlp'"),
        ("train mlp --data digts", "'digits'"),
        ("train mlp --data digits --optimizer adan", "'adam'"),
        ("train mlp --data digits --schedule cosin", "'cosine'"),
        ("train mlp --data digits --activation rleu", "'relu'"),
        ("train cnn --data digits --augment shfit:1", "'shift'"),
    ],
)
def test_what_may_be_meant(command, meant, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert f"(did you mean {meant}?)" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_may_be_meant_in_python():
    for call, meant in (
        (lambda: data.load("digits", sed=1), "seed"),
        (lambda: nn.mlp([2, 3, 2], norm="batsh"), "batch"),
        (lambda: studies.grid([8], [0.1], optimizers=["momentun"]), "momentum"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"(did you mean '{meant}'?)")):
            call()


NUMBERS = {
    "landscape own.py:f": ["--tolerance", "--probes", "--points", "--radius", "--searches", "--top",
                           "--lowest", "--batch-size", "--memory"],
    "landscape": ["--l2", "--seeds", "--steps"],
    "train mlp --data digits": ["--learning-rate", "--l2", "--dropout", "--batch-size", "--steps",
                                "--epochs", "--keep", "--checkpoint-every"],
    "train cnn --data digits": ["--augment rotation:", "--augment mixup:"],
}  # fmt: skip


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e999"])
@pytest.mark.parametrize(
    ("command", "option"), [(c, option) for c, options in NUMBERS.items() for option in options]
)
def test_numbers_that_are_refused_before_any_work(
    command, option, value, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arguments = [*command.split(), *option.split()]
    arguments[-1] += value if option.endswith(":") else f"={value}"
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert re.search("expected|invalid int value", error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
