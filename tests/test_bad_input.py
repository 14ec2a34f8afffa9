"""Bad input of every kind: a ValueError (or one line and exit code 2) that says what came."""

import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxml import data, landscape, nn, report, staircase, training
from jaxml.cli import main
from jaxml.training import losses, optimizers, sampling

KEY = jax.random.key(0)
XOR = data.xor().train
MODEL = nn.mlp([2, 3, 2])
ALGORITHM = training.supervised(MODEL, losses.softmax_cross_entropy, optimizers.sgd(0.1))


def fit(rows=XOR, sample=None, **options):
    arguments = {"key": KEY, "steps": 2} | options
    return training.fit(ALGORITHM, rows, sample or sampling.full(), **arguments)


def bowl(w):
    return (w**2).sum()


W = np.ones(2, np.float32)

TABLE = {
    # data
    "NaN in data": (
        lambda: data.from_arrays([[1.0], [np.nan], [2.0]] * 4, [0, 1, 1] * 4),
        r"finite.*\(1, 0\)|NaN|nan",
    ),
    "empty set": (lambda: data.from_arrays(np.zeros((0, 2)), np.zeros(0)), "at least one"),
    "lengths differ": (lambda: data.from_arrays(np.zeros((3, 2)), np.zeros(4)), "3|4"),
    "negative label": (lambda: data.from_arrays(np.zeros((4, 1)), [0, 1, -1, 1]), "-1"),
    "nothing left to train on": (
        lambda: data.from_arrays(np.zeros((4, 1)), [0, 1] * 2, validation=0.6, test=0.6),
        "left|fraction|row",
    ),
    "unknown data set": (lambda: data.load("digit"), "did you mean 'digits'"),
    "unknown option": (lambda: data.load("digits", size=3), "seed.*got size"),
    "missing file": (lambda: data.from_npz("nowhere.npz"), "nowhere.npz"),
    # networks
    "negative width": (lambda: nn.mlp([2, -3, 2]), "-3"),
    "one width": (lambda: nn.mlp([2]), r"outputs\], got \[2\]"),
    "unknown activation": (lambda: nn.mlp([2, 3, 2], activation="tahn"), "tanh.*got 'tahn'"),
    "dropout of 1.5": (lambda: nn.mlp([2, 3, 2], dropout=1.5), "1.5"),
    "input of another shape": (lambda: MODEL.apply(MODEL.init(KEY)[0], {}, jnp.ones((4, 3))), "3"),
    # training
    "steps of 0": (lambda: fit(steps=0), "steps.*at least 1, got 0"),
    "steps of 1.5": (lambda: fit(steps=1.5), "whole number.*1.5"),
    "negative chunk": (lambda: fit(chunk=-1), "chunk.*got -1"),
    "key that is a number": (lambda: fit(key=0), r"jax.random.key\(seed\), got int"),
    "whole data set": (lambda: fit(rows=data.xor()), "dataset.train"),
    "NaN in a batch": (lambda: fit(rows=XOR | {"x": XOR["x"] * np.nan}), r"8 that.*\(0, 0\)"),
    "arrays of other lengths": (lambda: fit(rows=XOR | {"y": XOR["y"][:2]}), "'x': 4, 'y': 2"),
    "batch larger than the data": (lambda: fit(sample=sampling.epochs(5)), "at most the 4.*got 5"),
    "loss that is one number": (
        lambda: training.fit(
            training.supervised(MODEL, lambda y, batch: y.mean(), optimizers.sgd(0.1)),
            XOR,
            sampling.full(),
            key=KEY,
            steps=1,
        ),
        "one value per example",
    ),
    "negative l2": (
        lambda: training.supervised(MODEL, losses.mse, optimizers.sgd(0.1), l2=-1.0),
        "l2.*got -1",
    ),
    "targets that would broadcast": (
        lambda: losses.mse(jnp.ones((4, 2)), {"y": jnp.ones(4)}),
        r"\(4, 2\), got \(4,\)",
    ),
    "hyper-parameters of another length": (
        lambda: training.fit_many(
            lambda rate: ALGORITHM,
            XOR,
            sampling.full(),
            keys=jax.random.split(KEY, 2),
            hyperparameters={"rate": [0.1]},
            steps=1,
        ),
        r"rate of shape \(2,\).*got \(1,\)",
    ),
    # the loss surface
    "loss that is no function": (lambda: landscape.analyze(3, W), "function.*got int"),
    "loss that returns a vector": (
        lambda: landscape.analyze(lambda w: w, W),
        r"one number.*\(2,\)",
    ),
    "loss that is constant": (lambda: landscape.analyze(lambda w: jnp.float32(1), W), "a constant"),
    "loss that is not finite": (lambda: landscape.analyze(lambda w: bowl(w) / 0, W), "finite loss"),
    "integer leaves": (lambda: landscape.analyze(bowl, np.ones(2, int)), r"float32.*got int"),
    "NaN in params": (lambda: landscape.analyze(bowl, W * np.nan), "2 of 2 that are not"),
    "no params": (lambda: landscape.analyze(bowl, {}), "without leaves"),
    "function among the params": (lambda: landscape.hessian(bowl, {"f": jnp.tanh}), "params.'f'."),
    "unknown method": (lambda: landscape.find_critical_point(bowl, W, "sgd"), "newton.*'sgd'"),
    "escape from a minimum": (lambda: landscape.escape(bowl, W * 0), "direction of descent"),
    "direction of another size": (
        lambda: landscape.escape(bowl, W, direction=np.ones(3)),
        r"\(2,\), got \(3,\)",
    ),
    "Hessian beyond memory": (
        lambda: landscape.hessian(bowl, W, memory=10).dense(),
        "memory.*eigenpairs",
    ),
    "l2 of 0 on the staircase": (lambda: staircase.walk(XOR, [2], l2=0.0), "l2 above 0.*got 0"),
    "widths with a gap": (lambda: staircase.walk(XOR, [2, 4]), "consecutive"),
    "page of something else": (lambda: report.write(3, "report.html"), "got int"),
    "page in no folder": (
        lambda: report.write(landscape.analyze(bowl, W * 0), "nowhere/report.html"),
        "existing folder",
    ),
}


@pytest.mark.parametrize("kind", TABLE)
def test_python(kind):
    call, message = TABLE[kind]
    with pytest.raises(ValueError, match=message):
        call()


OWN = """
import jax.numpy as jnp
import numpy as np

def vector(): return lambda w: w, jnp.ones(2)
def integers(): return lambda w: w.sum(), jnp.ones(2, int)
def constant(): return lambda w: 1.0, jnp.ones(2)
def infinite(): return lambda w: (w / 0).sum(), jnp.ones(2)
def alone(): return 3
def fails(): return 1 / 0
def fails_later(): return lambda w: w.no_such_thing, jnp.ones(2)
"""

COMMANDS = {
    "unknown command": ("dance", "Unknown command .dance."),
    "unknown option": ("landscape --wat", "Unknown option: --wat"),
    "unknown data": ("landscape --data mnits", "name to be one of .*did you mean 'mnist'"),
    "unknown data to fetch": ("data fetch mnits", "Did you mean .mnist."),
    "widths reversed": ("landscape --hidden 8:3", "first:last.*'8:3'"),
    "widths in words": ("landscape --hidden three", "first:last"),
    "negative l2": ("landscape --l2 -1", "l2 above 0.*got -1"),
    "no seeds": ("landscape --seeds 0", "seeds.*at least 1, got 0"),
    "no steps": ("landscape --steps 0", "steps.*at least 1, got 0"),
    "folder in use": ("landscape --out full", "new or empty folder.*precious"),
    "folder under a file": ("landscape --out full/precious/x", "folder that can be made"),
    "option of the other mode": ("landscape own.py:alone --seeds 3", "--seeds only without"),
    "no such file": ("landscape nowhere.py:f", "Python file.*nowhere"),
    "no function named": ("landscape own.py", "FILE.py:FUNCTION"),
    "function not in the file": ("landscape own.py:nothing", "a function of own.py.*'nothing'"),
    "not a pair": ("landscape own.py:alone", r"\(loss, params\) from own.py:alone, got int"),
    "function that fails": ("landscape own.py:fails", "ZeroDivisionError"),
    "loss that fails": ("landscape own.py:fails_later", "AttributeError.*no_such_thing"),
    "vector": ("landscape own.py:vector", "returns one number"),
    "integer params": ("landscape own.py:integers", "float32 or float64.*int"),
    "constant loss": ("landscape own.py:constant", "depends on the parameters|in float64"),
    "infinite loss": ("landscape own.py:infinite", "a finite loss"),
    "unknown model": (
        "train mlpp --data digits",
        "Choose from: .*Did you mean .mlp.",
    ),
    "unknown optimizer": (
        "train mlp --data digits --optimizer adan",
        "Did you mean .adam.",
    ),
    "unknown schedule": ("train mlp --data digits --schedule x", "--schedule.*cosine"),
    "negative rate": ("train mlp --data digits --learning-rate -1", "--learning-rate.*above 0"),
    "widths of a model": (
        "train mlp --data digits --hidden 64,x",
        "numbers as 64,32, got '64,x'",
    ),
    "both lengths": (
        "train mlp --data digits --steps 1 --epochs 1",
        "--epochs, got both",
    ),
    "no data": ("train mlp", "required: --data"),
    "epochs of 0": ("train mlp --data digits --epochs 0", "--epochs.*at least 1"),
    "a file that is no npz": ("train mlp --data broken.npz", "broken.npz"),
    "NaN in an npz": ("train mlp --data nan.npz", "finite|NaN|nan"),
    "training that diverges": (
        "train mlp --data digits --optimizer sgd --learning-rate 1e30 --steps 50",
        "metric 'loss' became|metric 'gradient_norm' became",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
def test_command_line(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    Path("broken.npz").write_text("not a zip")
    np.savez("nan.npz", x=np.full((9, 2), np.nan), y=np.zeros(9, int))
    Path("full").mkdir()
    Path("full/precious").write_text("kept")
    before = sorted(os.listdir())
    command, message = COMMANDS[kind]
    try:
        code = main(command.split())
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err
    assert code == 2
    assert re.search(message, error), error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    # what was there is there, and nothing beside it
    assert os.listdir("full") == ["precious"]
    assert set(os.listdir()) - set(before) <= {"__pycache__"}


def test_unwritable_folder(tmp_path, monkeypatch, capsys):
    if os.geteuid() == 0:  # root writes everywhere; the check itself is what can be shown
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    else:
        tmp_path.chmod(0o500)
    assert main(["landscape", "--out", str(tmp_path)]) == 2
    assert "expected a writable folder" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="Python file"):
        main(["landscape", "nowhere.py:f", "--debug"])
