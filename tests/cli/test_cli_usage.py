"""What a command line may be meant for, and numbers that no option takes."""

import re

import pytest

from jaxml import data, nn, studies
from jaxml.cli import main
from jaxml.cli.commands.study import KINDS


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("tran mlp", "train"),
        ("landscape --probs 3", "--probes"),
        ("landscape --tolerence=3", "--tolerance"),
        ("train mlp --data digits --optimiser adam", "--optimizer"),
        ("data lst", "list"),
        ("train mpl --data digits", "mlp"),
        ("train mlp --data digts", "digits"),
        ("train mlp --data digits --optimizer adan", "adam"),
        ("train mlp --data digits --schedule cosin", "cosine"),
        ("train mlp --data digits --activation rleu", "relu"),
        ("train cnn --data digits --augment shfit:1", "shift"),
    ],
)
def test_what_may_be_meant(command, meant, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert re.search(f"[dD]id you mean \\W?{meant}\\W?\\?", error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("edge --target .1 --depths 3", "Unknown option: --target"),
        ("depth --model cnn", "Unknown option: --model"),
        ("depth --hidden 64", "Unknown option: --hidden"),
        ("batch-size --depths 3", "Unknown option: --depths"),
        ("batch-size --acceptable .1", "Unknown option: --acceptable"),
        ("normalization --norm batch", "Unknown option: --norm"),
        ("generalization --seeds 3", "Unknown option: --seeds"),
        ("diagnose --optimizers sgd", "Unknown option: --optimizers"),
        ("edge --momenta 0.9", "Did you mean --momentum?"),
        ("batch-size --rate .1", "Did you mean --rates?"),
        ("dept", "got 'dept' (did you mean 'depth'?)"),
        ("batch-size --model mpl", "got 'mpl' (did you mean 'mlp'?)"),
        ("batch-size --rates .1,nan", "--rates: expected numbers as 8,16"),
        ("batch-size --rates .1:inf:3", "--rates: expected numbers as 8,16"),
        (
            "batch-size --rates .1:1:1000000000",
            "--rates: expected numbers as 8,16",
        ),
        ("batch-size --momenta nan", "--momenta: expected numbers as 8,16"),
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
    common = {"help", "config", "data", "task", "target-column", "missing", "image-size", "l2"}
    common |= {"out"}
    network = {"model", "hidden", "channels", "activation", "norm", "dropout"}
    sweep = {"batch-sizes", "rates", "optimizers", "momenta", "schedules", "warmup", "seeds"}
    sweep |= {"target", "epochs", "steps", "plateau", "train-loss"}
    own = {
        "batch-size": network | sweep,
        "optimizers": network | sweep,
        "depth": {"activation", "rates", "seeds", "epochs", "parameters", "depths"},
        "edge": network | {"rates", "optimizers", "momentum", "steps"},
        "generalization": network | {"rates", "epochs"},
        "normalization": network - {"norm"} | {"rates", "epochs"},
        "diagnose": network - {"model", "channels"} | {"rates", "epochs", "acceptable"},
    }
    assert own.keys() == KINDS.keys()
    for kind in KINDS:
        assert main(["study", kind, "--help"]) == 0
        text = capsys.readouterr().out
        assert KINDS[kind] in text
        options = set(re.findall(r"^. --([a-z0-9-]+)", text, flags=re.MULTILINE))
        assert options == own[kind] | common - {"help"}


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
    assert re.search("expected|Invalid value", error)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
