"""`jaxml landscape FILE.py:FUNCTION`: files as people have them, and how they fail."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxml.cli import main
from jaxml.cli.own_file import own_problem


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


DATACLASS = """
from __future__ import annotations
import dataclasses, typing
import jax.numpy as jnp

@dataclasses.dataclass
class Spring:
    stiffness: float = 3.0
    count: typing.ClassVar[int] = 2
    shift: dataclasses.KW_ONLY = None

def problem():
    spring = Spring()
    return lambda w: spring.stiffness * (w**2).sum(), jnp.ones(spring.count)
"""

LINEN = """
from __future__ import annotations
import flax.linen as nn
import jax
import jax.numpy as jnp
from helper_of_mine import target

class Net(nn.Module):
    width: int = 2
    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x)

def problem():
    net, x = Net(), jnp.eye(3)
    params = net.init(jax.random.key(0), x)
    return lambda p: ((net.apply(p, x) - target) ** 2).mean(), params
"""


def test_annotations_are_looked_up_in_the_module():
    Path("spring.py").write_text(DATACLASS)
    loss, params = own_problem("spring.py:problem")
    assert float(loss(params)) == 6.0
    assert "spring" in sys.modules
    Path("net.py").write_text(LINEN)
    Path("helper_of_mine.py").write_text("target = 0.5\n")
    loss, params = own_problem("net.py:problem")
    assert np.isfinite(float(loss(params)))


def test_a_file_with_the_name_of_a_module_takes_no_place():
    Path("json.py").write_text(DATACLASS)
    loss, params = own_problem("json.py:problem")
    assert float(loss(params)) == 6.0
    assert sys.modules["json"] is json
    # another of the same name, as after a change of it
    Path("json.py").write_text(DATACLASS.replace("3.0", "4.0"))
    assert float(own_problem("json.py:problem")[0](np.ones(2))) == 8.0


@pytest.mark.oracle
def test_parameters_of_pytorch(capsys):
    torch = pytest.importorskip("torch")
    Path("own.py").write_text(
        "import torch\n"
        "def f():\n"
        "    w = torch.nn.Parameter(torch.tensor([2.0, 1.0]))\n"
        "    b = torch.tensor([0.5, 1.5, 3.0], dtype=torch.bfloat16)\n"
        "    return (lambda p: (p['w'] ** 2).sum() + (p['b'] ** 2).sum() * 2), {'w': w, 'b': b}\n"
    )
    _, params = own_problem("own.py:f")
    np.testing.assert_array_equal(np.asarray(params["b"], np.float32), [0.5, 1.5, 3.0])
    assert str(params["b"].dtype) == "bfloat16"
    assert params["w"].dtype == np.float32
    assert main(["landscape", "own.py:f", "--top", "5", "--lowest", "0", "--out", "look"]) == 0
    values = json.loads(Path("look/inspection.json").read_text())["eigenpairs"]["values"]
    np.testing.assert_allclose(sorted(values), [2, 2, 4, 4, 4], rtol=1e-5)
    assert "Traceback" not in capsys.readouterr().err
    assert main(["landscape", "own.py:f", "--searches", "1", "--out", "seen"]) == 0
    assert torch is not None


FAILING = """
import helper_that_fails_later
import jax.numpy as jnp

def divides():
    return 1 / 0

def inside():
    return helper_that_fails_later.f()

def refuses():
    raise ValueError("no data here")

def ends():
    raise SystemExit(3)

def later():
    def loss(w):
        return w @ jnp.ones(5)
    return loss, jnp.ones(2)
"""


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("own.py:divides", "own.py:divides failed: ZeroDivisionError: .* (own.py, line 6)"),
        ("own.py:inside", "failed: KeyError: 'missing' (helper_that_fails_later.py, line 2)"),
        ("own.py:refuses", "failed: ValueError: no data here (own.py, line 12)"),
        ("own.py:ends", "expected own.py:ends to return, got sys.exit (own.py, line 15)"),
        ("own.py:later", "(own.py, line 19; --debug shows more)"),
        ("own.py:divide", "got 'divide' (did you mean 'divides'?)"),
        ("syntax.py:f", "failed: SyntaxError: invalid syntax (syntax.py, line 2)"),
        ("absent.py:f", "ModuleNotFoundError: No module named 'of_nobody' (absent.py, line 1)"),
    ],
)
def test_failures_have_a_place(target, message, capsys):
    Path("own.py").write_text(FAILING)
    Path("helper_that_fails_later.py").write_text("def f():\n    return {}['missing']\n")
    Path("syntax.py").write_text("x = 1\ndef f(: pass\n")
    Path("absent.py").write_text("import of_nobody\n")
    assert main(["landscape", target]) == 2
    error = capsys.readouterr().err
    first, _, last = message.partition(".*")
    assert first in error
    assert last in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()
