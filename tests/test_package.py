"""The package as a whole: importing it, its public names."""

import pkgutil
import subprocess
import sys

import pytest

import jaxml


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_import_initialises_no_backend():
    modules = "cli, data, landscape, nn, report, staircase, studies, training"
    code = f"import jaxml; from jaxml import {modules}; from jax._src import xla_bridge as b; "
    assert python(code + "print(b.backends_are_initialized())") == "False"


def test_import_costs_little_beyond_jax():
    heavy = "flax, optax, matplotlib, sklearn, orbax, rich, scipy.optimize"
    code = f"import sys, jaxml; print([m for m in {heavy.split(', ')} if m in sys.modules])"
    assert python(code) == "[]"


def test_the_command_line_needs_no_pandas_before_a_text_file():
    assert python("import sys, jaxml.data.csv_files; print('pandas' in sys.modules)") == "False"


@pytest.mark.slow
def test_every_package_is_an_attribute_of_jaxml():
    names = [entry.name for entry in pkgutil.iter_modules(jaxml.__path__) if entry.ispkg]
    assert {"cli", "studies"} < set(names) <= set(jaxml.__all__)
    chain = ", ".join(f"jaxml.{name}.__name__" for name in names)
    code = f"import jaxml; print({chain}); from jax._src import xla_bridge as b; "
    shown = python(code + "print(b.backends_are_initialized())").split()
    assert shown == [f"jaxml.{name}" for name in names] + ["False"]


@pytest.mark.parametrize("name", jaxml.__all__)
def test_public_names_are_there_and_documented(name):
    assert getattr(jaxml, name).__doc__


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        jaxml.nothing  # noqa: B018
