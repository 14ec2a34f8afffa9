"""What a command line may be meant for, and numbers that no option takes."""

import re

import pytest

from jaxml import data, nn, studies
from jaxml.cli import main
from jaxml.cli.study_options import KINDS


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


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("edge --target .1 --depths 3", "unrecognized arguments: --target .1 --depths 3"),
        ("depth --model cnn", "unrecognized arguments: --model cnn"),
        ("depth --hidden 64", "unrecognized arguments: --hidden"),
        ("batch-size --depths 3", "unrecognized arguments: --depths 3"),
        ("batch-size --acceptable .1", "unrecognized arguments: --acceptable"),
        ("normalization --norm batch", "unrecognized arguments: --norm"),
        ("generalization --seeds 3", "unrecognized arguments: --seeds"),
        ("diagnose --optimizers sgd", "unrecognized arguments: --optimizers"),
        ("edge --momenta 0.9", "(did you mean '--momentum'?)"),
        ("batch-size --rate .1", "(did you mean '--rates'?)"),
        ("dept", "(did you mean 'depth'?), expected a study among batch-size, optimizers"),
        ("batch-size --model mpl", "got 'mpl' (did you mean 'mlp'?)"),
        ("batch-size --rates .1,nan", "--rates as 8,16 or LOW:HIGH:COUNT"),
        ("batch-size --rates .1:inf:3", "--rates as 8,16 or LOW:HIGH:COUNT"),
        ("batch-size --rates .1:1:1000000000", "--rates as 8,16 or LOW:HIGH:COUNT"),
        ("batch-size --momenta nan", "--momenta as 8,16"),
        ("--resume nowhere --from 3 depth", "nothing beside --resume DIR"),
    ],
)
def test_a_study_takes_its_own_options_alone(command, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", *command.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_each_study_has_a_help_of_its_own(capsys):
    texts = {}
    for kind in KINDS:
        with pytest.raises(SystemExit):
            main(["study", kind, "--help"])
        texts[kind] = capsys.readouterr().out
        options = {f"--{name.replace('_', '-')}" for name in KINDS[kind][1]}
        common = [
            "--help",
            "--debug",
            "--data",
            "--task",
            "--target-column",
            "--missing",
            "--l2",
            "--out",
        ]
        assert set(re.findall(r"--[a-z0-9-]+", texts[kind])) == options | set(common)
    assert len(set(texts.values())) == len(KINDS)


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
    "study batch-size": ["--l2", "--epochs", "--steps", "--plateau", "--train-loss", "--target",
                         "--warmup", "--dropout"],
    "study diagnose": ["--acceptable", "--epochs"],
    "study depth": ["--parameters"],
    "study edge": ["--momentum", "--steps"],
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
