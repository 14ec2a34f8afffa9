"""The README's Python blocks run, and its commands are understood."""

import re
import shlex
from pathlib import Path

import pytest

from jaxml.cli.main import app, main

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
def test_python_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert blocks("python")
    commands = [line.split() for block in blocks("sh") for line in block.splitlines()]
    for words in commands:
        if words[:2] == ["jaxml", "train"] and "runs/digits" in words:  # which a block loads
            assert main(words[1:]) == 0
    namespace = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_commands_are_understood():
    lines = "\n".join(blocks("sh")).splitlines()
    commands = [shlex.split(part) for line in lines for part in line.split("&&")]
    ours = [words[1:] for words in commands if words[:1] == ["jaxml"]]
    assert len(ours) >= 4
    for words in ours:
        if words != ["--version"]:
            command, *_ = app().parse_args(words, exit_on_error=False, print_error=False)
            assert callable(command)


def test_the_two_lines_stand_first():
    first = blocks("sh")[0].splitlines()
    assert first == ["pip install -e . && jaxml landscape", "pip install -e '.[test]' && pytest"]
