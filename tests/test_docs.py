"""The Python blocks of README and docs run, their commands are understood, the site is whole."""

import re
import shlex
from pathlib import Path

import pytest

from jaxml.cli.main import app, main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text):
    lines = "\n".join(blocks(text, "sh")).splitlines()
    split = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [words[1:] for words in split if words[:1] == ["jaxml"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if blocks(page.read_text(), "python")],
    ids=lambda page: page.stem,
)
def test_python_blocks(page, tmp_path, monkeypatch):
    """In order, in one namespace; those of libraries that are not here are left out."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    for words in commands(text):
        if words[:1] == ["train"] and "runs/digits" in words:  # which a block loads
            assert main(words) == 0
    namespace = {}
    ran = 0
    for block in blocks(text, "python"):
        try:
            exec(compile(block, page.name, "exec"), namespace)
        except ModuleNotFoundError as error:
            if error.name not in ("haiku", "torch"):
                raise
        else:
            ran += 1
    assert ran
    if page.name == "README.md":
        assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_understood(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs/train-1").mkdir(parents=True)
    Path("runs/train-1/config.json").write_text('{"command": "train", "arguments": {}}')
    for words in commands(page.read_text()):
        command, *_ = app().parse_args(words, exit_on_error=False, print_error=False)
        assert callable(command)


def test_readme_begins_with_the_two_lines_and_is_short():
    first = blocks(README, "sh")[0].splitlines()
    assert first == ["pip install -e . && jaxml landscape", "pip install -e '.[test]' && pytest"]
    assert len(README.split()) < 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_gallery_has_every_example():
    gallery = (ROOT / "docs" / "gallery.md").read_text()
    listed = re.findall(r"^\| `(\w+\.py)` \| (.*?) \| `(.*)` \|$", gallery, flags=re.MULTILINE)
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert [name for name, *_ in listed] == [script.name for script in scripts]
    for script, (_, title, command) in zip(scripts, listed, strict=True):
        header = script.read_text()
        assert header.startswith(f'"""{title}.\n')
        assert f"Run:    {command}\n" in header
