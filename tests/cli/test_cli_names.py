"""Names that a file system takes and a terminal, a path or a markup language reads otherwise."""

import io
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table

from jaxml import training
from jaxml.cli import console, main, runs
from jaxml.core.files import new_folder, numbered_folder
from jaxml.training import checkpointing

TRAIN = ["train", "linear", "--data", "two_spirals", "--steps", "2", "--checkpoint-every", "1"]


def run(arguments, capsys, code=0):
    got = main(arguments)
    captured = capsys.readouterr()
    assert got == code, captured.err
    return (captured.err if code == 2 else captured.out).splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "exp[1]",
        "back\\slash",
        "gs:",
        "[/x]",
        "[lr=0.1] :smile: a*b?c%20#d ünï 学",
        "-dash",
    ],
)
def test_a_run_in_a_folder_of_any_name(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = run([*TRAIN, f"--out={name}"], capsys)
    assert lines[-5] == name
    assert Path(name, "metrics.json").is_file()
    lines = run(["train", f"--resume={name}"], capsys)
    assert f"{name}: all steps are done" in lines


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\tb", os.fsdecode(b"\xff"), "x" * 300])
def test_names_that_are_refused_before_the_training(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "fit", None)
    (error,) = run([*TRAIN, "--out", name], capsys, 2)
    assert "expected a folder" in error
    assert error.isprintable()
    assert os.listdir() == []


def test_a_path_without_room_for_files(tmp_path):
    deep = tmp_path
    while len(str(deep)) < 3900:
        deep /= "x" * 60
    with pytest.raises(ValueError, match=r"a folder's path \d+ bytes shorter"):
        new_folder(deep)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_how_to_go_on_in_a_folder_with_a_leading_dash(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        lines = run([*TRAIN, "--out=-x y"], capsys, 130)
    assert lines[-1] == "interrupted; begin again with: jaxml train --resume './-x y'"
    run(["train", "--resume", "./-x y"], capsys)


def test_what_is_printed_stands_as_it_is(capsys):
    for text, shown in {
        "[bold]x[/bold] [/y]": "[bold]x[/bold] [/y]",
        ":warning:": ":warning:",
        "a\x1b]0;title\x07b\x9b2J\rc\x7f": r"a\x1b]0;title\x07b\x9b2J\rc\x7f",
        "\u202egpj.exe": r"\u202egpj.exe",
    }.items():
        console.out.print(text)
        assert capsys.readouterr().out == shown + "\n"
        table = Table(text, box=None, pad_edge=False)
        table.add_row(text)
        console.out.print(table)
        assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [shown, shown]


def test_error_messages_hold_no_control_characters(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", **{"\x1b[2Jx": np.ones(3), "y": np.ones(3)})
    for command in (["train", "mlp", "--data", "own.npz"], ["train", "mlp", "--data", "\x1b[2J"]):
        (error,) = run(command, capsys, 2)
        assert r"\x1b[2J" in error
    (error,) = run(["\x1b[2J"], capsys, 2)
    assert r"\x1b[2J" in error


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize("command", ["landscape --help", "train --help", "list"])
def test_a_terminal_of_another_encoding(command, encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    try:
        code = main(command.split())
    except SystemExit as exit_:
        code = exit_.code
    stream.flush()
    text = stream.buffer.getvalue().decode(encoding)
    assert code == 0
    assert ("θ" in text) == (encoding == "utf-8")
    assert ("\\u03b8" in text) == (encoding != "utf-8")


def test_as_a_module_in_a_terminal_of_ascii():
    done = subprocess.run(
        [sys.executable, "-m", "jaxml", "study", "--help"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: jaxml study")


def test_starts_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: numbered_folder(tmp_path / "runs", "train"), range(80)))
    assert sorted(path.name for path in found) == sorted(f"train-{i}" for i in range(1, 81))


def test_a_folder_that_another_run_took_meanwhile_is_left_alone(tmp_path, monkeypatch, capsys):
    """Between the look at an empty folder and the lock another process may begin there."""
    monkeypatch.chdir(tmp_path)
    original = runs.new_folder

    def slow(path):
        folder = original(path)
        (folder / "config.json").write_text("theirs")
        monkeypatch.setattr(runs, "new_folder", original)
        return folder

    monkeypatch.setattr(runs, "new_folder", slow)
    (error,) = run([*TRAIN, "--out", "here"], capsys, 2)
    assert "a new or empty folder, got here, which holds config.json" in error
    assert Path("here/config.json").read_text() == "theirs"


def test_the_first_checkpoint_is_read_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpointing, "_same", lambda *_: False)
    (error,) = run([*TRAIN, "--out", "here"], capsys, 2)
    assert "expected to read back what was written" in error
    assert json.loads(Path("here/config.json").read_text())["command"] == "train"
